// @ts-check
/**
 * Competes for a coffer's lock: opens it, reads the member `counter`, writes it plus one, closes
 * it; again and again. While it holds the coffer, a file of its own lies in the directory of
 * holders, so that two holders at once see each other. Reports on its standard output:
 *
 *     won 17 waited    the coffer is open, and the counter was 17; the first attempt found it locked
 *     held             it stays open, and something else is written again and again, until it is killed
 *     wrote 18         the counter is 18, durably, and the coffer is closed
 *     poisoned         another lock file lay at the path, and nothing was written
 *     wrong …          two holders met, or a member was not what it should be
 *     over
 */
import { readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as coffer from 'coffer'

/**
 * @typedef {object} Work
 * @property {'CofferBank' | 'CofferStore' | 'CofferMarket' | 'CofferNull'} className
 * @property {string} path
 * @property {import('./kinds.ts').AnyOptions} options
 * @property {string} holders the directory of the holders' files
 * @property {string} me
 * @property {number} rounds how often the counter is to be written
 * @property {boolean} stay whether to hold the coffer, in the end, until killed
 */

const { className, path, options, holders, me, rounds, stay } = /** @type {Work} */ (JSON.parse(process.argv[2] ?? ''))

const type = /** @type {import('./kinds.ts').AnyClass} */ (coffer[className])

/** @param {string} line */
const report = (line) => writeSync(1, `${line}\n`)

const mine = join(holders, me)

/** Opens the coffer, and tells whether somebody else had it at first. */
async function acquire() {
  try {
    return { box: await type.open(path, 'a', { ...options, lockTimeout: 0 }), waited: false }
  } catch (error) {
    if (/** @type {any} */ (error).code !== 'ERR_COFFER_LOCKED') throw error
    return { box: await type.open(path, 'a', { ...options, lockTimeout: 300_000 }), waited: true }
  }
}

/** @param {'enter' | 'leave'} what */
function mark(what) {
  if (what === 'enter') writeFileSync(mine, '', { flag: 'wx' })
  const others = readdirSync(holders).filter((name) => name !== me)
  if (others.length > 0) report(`wrong ${me} met ${others.join(' ')}`)
  if (what === 'leave') rmSync(mine)
}

for (let round = 0; round < rounds; ) {
  const { box, waited } = await acquire()
  mark('enter')
  let written = 0
  try {
    const counter = (await box.has('counter')) ? Number(await box.readText('counter')) : 0
    report(`won ${counter}${waited ? ' waited' : ''}`)
    if (stay && round === rounds - 1) {
      report('held')
      for (let count = 0; ; count += 1) {
        await box.write('scratch', `${me} ${count}`.repeat(1_000))
        await box.flush()
      }
    }
    await box.write('counter', `${counter + 1}`)
    await box.flush()
    if (round % 20 === 19) await box.compact()
    written = counter + 1
  } catch (error) {
    if (/** @type {any} */ (error).code !== 'ERR_COFFER_POISONED') throw error
    report('poisoned')
  }
  mark('leave')
  await box.close().catch((error) => {
    if (error.code !== 'ERR_COFFER_POISONED') throw error
  })
  if (written > 0) {
    report(`wrote ${written}`)
    round += 1
  }
  // The others come in between: whoever asks again at once is served before those who sleep.
  await sleep(Math.random() * 3)
}
report('over')
