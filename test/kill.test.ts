import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { CofferError } from './support/coffer.ts'
import { contents, type Keys, type Kind, keysFor, kinds, openKind, optionsFor } from './support/kinds.ts'
import { contentOf, keysOf, randomFrom, type State, stateAfter } from './support/rounds.mjs'
import { tempDir } from './support/temp.ts'

/**
 * COFFER_SEED repeats the stories and how they were cut off, though not the very instant;
 * COFFER_KILLS asks for more kills than the default.
 */
const { COFFER_SEED: seed = randomBytes(4).toString('hex'), COFFER_KILLS: asked = '300' } = process.env
const LANES = 3
const each = Math.ceil(Number(asked) / LANES / kinds.length)
const unending = fileURLToPath(new URL('./support/unending.mjs', import.meta.url))

/** What the child was at when it was killed. */
type Doing = 'starting' | 'opening' | 'changing' | 'compact' | 'rekey' | 'reopen'

/** What a child reported before it was killed. */
interface Reported {
  /** The last round whose flush has returned. */
  readonly flushed: number
  /** How often it has certainly got new keys. */
  readonly epoch: number
  readonly doing: Doing
}

/** One coffer, and what is known of it. */
interface Lane {
  readonly kind: Kind
  readonly path: string
  readonly temp: string
  readonly seed: string
  readonly options: object
  readonly firstKeys: Keys
  /** How many rounds it certainly has behind it. */
  rounds: number
  /** How often it has certainly got new keys. */
  epoch: number
}

const killed = new Map<Doing, number>()
/** How many kills left the last flush that had returned, and how many a later one that nobody had heard of. */
const found = { reported: 0, later: 0 }

/** Lets a child change the coffer, and has it killed: while it opens it, or later. */
async function killOne(lane: Lane, random: () => number): Promise<Reported> {
  const { kind, path, temp, firstKeys, options, rounds } = lane
  const whileOpening = random() < 0.3
  const life = {
    className: kind.className,
    path,
    seed: lane.seed,
    options,
    firstKeys,
    rounds,
    epoch: lane.epoch,
    dieOpening: whileOpening ? Math.floor(random() ** 2 * 6_000) : null,
  }
  // Compactions and new keys are short and rare, so some kills wait for one.
  const target = random() < 0.25 ? (random() < 0.5 ? 'compact' : 'rekey') : 'opened'
  const patience = random() ** 2 * (target === 'opened' ? 300 : 8)
  const child = spawn(process.execPath, [unending, JSON.stringify(life)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', TMPDIR: temp },
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  let flushed = rounds
  let epoch = lane.epoch
  let doing: Doing = 'starting'
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [word, what] = line.split(' ')
    if (word === 'flushed') flushed = Number(what)
    if (word === 'keys') epoch = Number(what)
    if (word === 'done' || word === 'keys') doing = 'changing'
    if (word === 'doing') doing = what as Doing
    if (word === 'opening' && doing !== 'reopen') doing = 'opening'
    if (word === 'opened' && doing === 'opening') {
      doing = 'changing'
    }
    if (word === target || (word === 'doing' && what === target)) void sleep(patience).then(() => child.kill('SIGKILL'))
  })
  const signal = await new Promise((resolve) => child.once('close', (_, by) => resolve(by)))
  if (signal !== 'SIGKILL') throw new Error(`the child ended by itself: ${complaint}`)
  killed.set(doing, (killed.get(doing) ?? 0) + 1)
  return { flushed, epoch, doing }
}

/** Opens the coffer with the keys it may have, and says which it were. */
async function reopen(lane: Lane, mode: 'r' | 'a', epochs: readonly number[]) {
  for (const epoch of epochs) {
    try {
      const keys = keysOf(lane.seed, epoch, lane.firstKeys)
      // The lock has died with its holder: nobody is waited for.
      // What is for writing has no place in reading.
      const options = mode === 'r' ? {} : lane.options
      return { epoch, box: await openKind(lane.kind, lane.path, mode, keys, { ...options, lockTimeout: 0 }) }
    } catch (error) {
      const other = epoch !== epochs.at(-1) && error instanceof CofferError && error.code === 'ERR_COFFER_WRONG_KEY'
      if (!other) throw error
    }
  }
  throw new Error('no keys to try')
}

/** How what was found differs from a state, in a few words: nothing if it does not. */
function difference(lane: Lane, seen: ReadonlyMap<string, Buffer>, state: State): string[] {
  const names = new Set([...seen.keys(), ...state.keys()])
  return [...names].flatMap((name) => {
    const [data, parts] = [seen.get(name), state.get(name)]
    if (parts === undefined) return [`${name} should be gone`]
    if (data === undefined) return [`${name} is missing`]
    const wanted = Buffer.concat(parts.map(({ round, length }) => contentOf(lane.seed, name, round, length)))
    return data.equals(wanted) ? [] : [`${name} has other contents`]
  })
}

/** Holds what is in the coffer against what was reported, and takes it down as the new state. */
async function check(lane: Lane, { flushed, epoch, doing }: Reported, mode: 'r' | 'a'): Promise<void> {
  const opened = await reopen(lane, mode, doing === 'rekey' ? [epoch, epoch + 1] : [epoch])
  const { box } = opened
  lane.epoch = opened.epoch
  const seen = await contents(box)
  const lost = difference(lane, seen, stateAfter(lane.seed, flushed))
  lane.rounds = flushed
  if (lost.length === 0) {
    found.reported += 1
  } else {
    // One more flush may have been made before anybody could report it: all of it, or none.
    const other = difference(lane, seen, stateAfter(lane.seed, flushed + 1))
    const about = `${lane.kind.label}, seed ${lane.seed}, killed while ${doing} after round ${flushed}`
    expect({ lost, other: doing === 'changing' ? other : 'not begun' }, about).toEqual({ lost, other: [] })
    found.later += 1
    lane.rounds += 1
  }
  await expect(box.verify()).resolves.toBeDefined()
  await box.close()
}

async function runLane(lane: Lane): Promise<void> {
  const random = randomFrom(`${lane.seed}/kills`)
  for (let kill = 0; kill < each; kill += 1) {
    const before = { rounds: lane.rounds, epoch: lane.epoch }
    const reported = await killOne(lane, random)
    expect(reported.flushed).toBeGreaterThanOrEqual(before.rounds)
    // A reader leaves everything as it is, so the next child recovers; and may be killed meanwhile.
    await check(lane, reported, random() < 0.2 ? 'a' : 'r')
  }
  await checkLeft(lane)
}

/** After one more opening, nothing is left of those who were killed. */
async function checkLeft(lane: Lane): Promise<void> {
  const { kind, path, temp } = lane
  const keys = keysOf(lane.seed, lane.epoch, lane.firstKeys)
  const box = await openKind(kind, path, 'a', keys, { ...lane.options, lockTimeout: 0, tempDir: temp })
  // What is long goes through the temp directory, which is swept before.
  await box.write('last', [contentOf(lane.seed, 'last', 0, 2_500_000)])
  await box.close()
  const name = basename(path)
  const left = readdirSync(dirname(path)).filter((file) => !file.startsWith(`${name}.torn`))
  expect(left.sort()).toEqual([name, `${name}.lock`])
  // A directory that has no owner yet may still get one: it counts as dead after a minute.
  expect(readdirSync(temp).filter((entry) => existsSync(join(temp, entry, 'owner')))).toEqual([])
}

describe(`a writer that is killed again and again (seed ${seed})`, () => {
  afterAll(() => {
    const what = [...killed].map(([doing, count]) => `${count} ${doing}`).join(', ')
    console.info(
      `seed ${seed}: killed while ${what}; found the reported state ${found.reported} times, a later one ${found.later} times`,
    )
  })

  it.each(kinds)('loses no flush that it reported, $label', { timeout: 600_000 }, async (kind) => {
    const lanes = Array.from({ length: LANES }, async (_, index) => {
      const directory = tempDir()
      const temp = join(directory, 'temp')
      mkdirSync(temp)
      mkdirSync(join(directory, 'coffer'))
      const lane: Lane = {
        kind,
        path: join(directory, 'coffer', 'box.coffer'),
        temp,
        seed: `${seed}/${kind.label}/${index}`,
        options: {
          ...optionsFor(kind, {}),
          autoFlush: index === 1,
          ...(index === 0 ? {} : { chunkSize: 4_096, blockSize: 65_536 }),
        },
        firstKeys: keysFor(kind),
        rounds: 0,
        epoch: 0,
      }
      const keys = keysOf(lane.seed, 0, lane.firstKeys)
      await (await openKind(kind, lane.path, 'x', keys, lane.options)).close()
      await runLane(lane)
    })
    await Promise.all(lanes)
  })

  it('was killed 200 times at least, at work and while it opened, compacted and got new keys', () => {
    expect([...killed.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(200)
    for (const doing of ['opening', 'changing', 'compact', 'rekey'] as const) {
      expect(killed.get(doing) ?? 0, doing).toBeGreaterThan(0)
    }
  })
})
