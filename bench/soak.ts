/**
 * `npm run soak`: millions of changes to one coffer, with readers beside it. Prints each tenth of the run, writes all
 * figures as JSON, and fails if a member is wrong, or if the last tenth takes more room than the first; with `--strict`
 * also if it is slower.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from '../scripts/prepare.mjs'
import { ending, heading, line, worse } from './soak/report.ts'
import { soak } from './soak/run.ts'

const LOOKS = 1_000

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '10000000' },
    members: { type: 'string', default: '100000' },
    callers: { type: 'string', default: '64' },
    durability: { type: 'string', default: 'full' },
    seed: { type: 'string', default: '1' },
    directory: { type: 'string', default: join(root, 'target', 'soak') },
    json: { type: 'string', default: join(root, 'target', 'soak.json') },
    strict: { type: 'boolean', default: false },
  },
})
const wrong: string[] = []
const operations = whole('operations', 10)
const callers = whole('callers', 1)
// A call needs a member that no other call is changing.
const members = whole('members', callers * 2)
const seed = whole('seed', 0)
const { durability, strict } = values
if (durability !== 'full' && durability !== 'none') wrong.push('--durability is full or none')
if (wrong.length > 0) {
  console.error(wrong.join('\n'))
  process.exitCode = 2
} else {
  await run(durability === 'none' ? 'none' : 'full')
}

/** The value of an option that is a whole number. */
function whole(name: 'operations' | 'members' | 'callers' | 'seed', least: number): number {
  const value = Number(values[name])
  if (!Number.isSafeInteger(value) || value < least) wrong.push(`--${name} must be a whole number from ${least}`)
  return value
}

async function run(durability: 'full' | 'none'): Promise<void> {
  const directory = join(resolve(values.directory), 'coffer-soak')
  rmSync(directory, { recursive: true, force: true })
  console.log(heading)
  const result = await soak({
    directory,
    operations,
    members,
    sizes: [200, 20_000],
    callers,
    look: Math.max(callers, Math.floor(operations / LOOKS)),
    durability,
    seed,
    onTenth: (tenth) => console.log(line(tenth)),
  })
  const found = worse(result.tenths, strict)
  const json = resolve(values.json)
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(
    json,
    `${JSON.stringify({ operations, callers, durability, seed, worse: found, ...result }, null, 1)}\n`,
  )
  rmSync(directory, { recursive: true, force: true })
  console.log(ending(result))
  if (operations < members * 10) {
    console.log(`A tenth changes fewer than the ${members} members: the first one is of a coffer that is new.`)
  }
  for (const one of found) console.error(`the last tenth is worse: ${one}`)
  if (found.length > 0) process.exitCode = 1
}
