// @ts-check
/** A reader in a process of its own, beside the writer of the soak: opens, reads the next members, closes, again. */
import { setTimeout } from 'node:timers/promises'
import { CofferBank } from 'coffer'
import { job, tell } from './setup.mjs'
import { readMembers } from './soak-members.mjs'

const { path, keys } = job
/** Members that are read from one handle. */
const READS = 32
/** Milliseconds between two handles. */
const PAUSE = 50

let ended = false
process.stdin.on('end', () => {
  ended = true
})
process.stdin.resume()

/** The last member that was read; the next handle goes on after it. @type {string | undefined} */
let after
const counts = { handles: 0, read: 0, gone: 0 }
while (!ended) {
  const box = await CofferBank.open(path, 'r', { ...keys, lock: 'w' })
  const members = await box.members({ after, limit: READS })
  const { read, gone } = await readMembers(
    box,
    members.map(({ name }) => name),
  )
  await box.close()
  after = members.at(-1)?.name
  counts.handles += 1
  counts.read += read
  counts.gone += gone
  await setTimeout(PAUSE)
}
tell(counts)
