/** The soak: a coffer under changes for a long time, with readers beside it, and what comes of its size and speed. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createHistogram } from 'node:perf_hooks'
import type { Readable, Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { type Coffer, CofferBank, type CofferWriter } from 'coffer'
import { readMembers } from '../children/soak-members.mjs'
import { numbers } from '../corpus/random.ts'
import { median } from '../statistics.ts'
import { descriptors, difference, type Written, written } from '../usage.ts'
import { bytesOf, contentOf, type Entry, Model, sizeOf } from './model.ts'

/** Members of a batch while the coffer is filled. */
const BATCH = 5_000
/** Bytes that are appended at once, from and to. */
const APPENDED = [50, 1_000] as const
/** How far the number of members may be from the one that is asked for. */
const DRIFT = 0.02
/** Members that the reader in this process reads from one handle, and milliseconds between two such rounds. */
const READS = 32
const PAUSE = 20
/** How often each coffer is opened at the end. */
const OPENINGS = 5

export interface Soak {
  /** A directory for the coffer. */
  readonly directory: string
  readonly operations: number
  readonly members: number
  /** Bytes of a member, from and to; small ones are as many as large ones in each power of two. */
  readonly sizes: readonly [least: number, most: number]
  /** Calls that are under way at once. */
  readonly callers: number
  /** Operations from one look at the size to the next. All calls have ended at each. */
  readonly look: number
  readonly durability: 'full' | 'none'
  readonly seed: number
  /** Ends the soak if it throws. */
  readonly onLook?: (look: Look) => void
  readonly onTenth?: (tenth: Tenth) => void
}

/** The state between two operations. */
export interface Look {
  /** Operations so far. */
  readonly operations: number
  readonly fileSize: number
  /** The bytes of all members. */
  readonly liveSize: number
  readonly rss: number
  readonly descriptors: number | null
}

/** A tenth of the run. Sizes, memory and descriptors are the most of its looks. */
export interface Tenth {
  readonly operations: number
  readonly perSecond: number
  /** Milliseconds of a call. */
  readonly p50: number
  readonly p99: number
  readonly fileSize: number
  readonly fileToLive: number
  readonly rss: number
  readonly descriptors: number | null
  /** Bytes for an operation. */
  readonly written: Written | null
}

/** What readers saw: members that were right, and such as had been replaced or deleted since their handle was opened. */
export interface Seen {
  readonly handles: number
  readonly read: number
  readonly gone: number
}

export interface SoakResult {
  readonly tenths: readonly Tenth[]
  readonly readers: { readonly here: Seen; readonly child: Seen }
  readonly members: number
  /** The coffer after the last operation was flushed, after it was closed, and one with the same members, written at once. */
  readonly fileSize: { readonly flushed: number; readonly closed: number; readonly fresh: number }
  /** Milliseconds. */
  readonly open: { readonly aged: number; readonly fresh: number }
}

/** Runs a soak to its end. Rejects if a reader, or the model at the end, finds wrong bytes. */
export async function soak(options: Soak): Promise<SoakResult> {
  mkdirSync(options.directory, { recursive: true })
  const path = join(options.directory, 'soak.coffer')
  const keys = CofferBank.generateKeys()
  const { durability, callers } = options
  const model = new Model()
  const draw = new Draw(options)
  const box = await CofferBank.open(path, 'x', { ...keys, durability, lock: 'w', autoFlush: true })
  for (let filled = 0; filled < options.members; filled += BATCH) {
    await box.batch(async (batch) => {
      for (let left = Math.min(BATCH, options.members - filled); left > 0; left -= 1) {
        await replace(batch, model, model.create(), draw)
      }
    })
  }
  const open = (file: string): Promise<Coffer> => CofferBank.open(file, 'r', { ...keys, lock: 'w' })
  const child = new ReaderProcess(path, keys)
  const here = new ReaderHere(() => open(path), model, draw)
  const tenths: Tenth[] = []
  try {
    for (let tenth = 1; tenth <= 10; tenth += 1) {
      const from = Math.floor((options.operations * (tenth - 1)) / 10)
      const to = Math.floor((options.operations * tenth) / 10)
      tenths.push(await runTenth(options, { box, path, model, draw, here, child }, from, to))
      options.onTenth?.(tenths.at(-1) as Tenth)
    }
  } catch (error) {
    // Calls under way end with the coffer.
    await box.close().catch(() => {})
    await child.end().catch(() => {})
    throw error
  }
  const readers = { here: here.seen, child: await child.end() }

  await box.flush()
  const flushed = statSync(path).size
  await compare(box, model, callers)
  await box.close()
  const freshPath = join(options.directory, 'fresh.coffer')
  const fresh = await CofferBank.open(freshPath, 'x', { ...keys, durability, autoFlush: true })
  await fresh.batch(async (batch) => {
    for (const entry of model.entries) await batch.write(entry.name, contentOf(entry))
  })
  await fresh.close()
  const times: Record<'aged' | 'fresh', number[]> = { aged: [], fresh: [] }
  for (let round = 0; round < OPENINGS; round += 1) {
    for (const [which, file] of [['aged', path] as const, ['fresh', freshPath] as const]) {
      const start = performance.now()
      const reader = await open(file)
      times[which].push(performance.now() - start)
      await reader.close()
    }
  }
  const again = await open(path)
  await again.verify()
  await compare(again, model, callers)
  await again.close()
  return {
    tenths,
    readers,
    members: model.entries.length,
    fileSize: { flushed, closed: statSync(path).size, fresh: statSync(freshPath).size },
    open: { aged: median(times.aged), fresh: median(times.fresh) },
  }
}

/** What an operation is, and on how much: at random, the same for the same seed. */
class Draw {
  readonly below: (below: number) => number
  readonly #sizes: readonly [number, number]

  constructor({ seed, sizes }: Soak) {
    this.below = numbers(seed)
    this.#sizes = sizes
  }

  /** From 0 to below 1. */
  share(): number {
    return this.below(1 << 30) / (1 << 30)
  }

  size([least, most]: readonly [number, number] = this.#sizes): number {
    return Math.round(least * (most / least) ** this.share())
  }

  /** A member that no call changes, which is busy from now on. */
  member({ entries }: Model): Entry {
    for (;;) {
      const entry = entries[this.below(entries.length)]
      if (entry !== undefined && !entry.busy) {
        entry.busy = true
        return entry
      }
    }
  }
}

interface Running {
  readonly box: Coffer
  readonly path: string
  readonly model: Model
  readonly draw: Draw
  readonly here: ReaderHere
  readonly child: ReaderProcess
}

async function runTenth(options: Soak, running: Running, from: number, to: number): Promise<Tenth> {
  const latencies = createHistogram()
  const before = written()
  const looks: Look[] = []
  let took = 0
  for (let done = from; done < to; ) {
    const step = Math.min(options.look, to - done)
    const start = performance.now()
    let left = step
    const caller = async (): Promise<void> => {
      while (left > 0) {
        left -= 1
        const nanoseconds = (await operate(running, options.members)) * 1e6
        latencies.record(Math.max(1, Math.round(nanoseconds)))
      }
    }
    running.here.begin()
    try {
      await Promise.all(Array.from({ length: options.callers }, caller))
      took += performance.now() - start
    } finally {
      await running.here.end()
    }
    running.child.check()
    done += step
    const look: Look = {
      operations: done,
      fileSize: statSync(running.path).size,
      liveSize: running.model.bytes,
      rss: process.memoryUsage.rss(),
      descriptors: descriptors(),
    }
    looks.push(look)
    options.onLook?.(look)
  }
  const count = to - from
  const sum = difference(before, written())
  const most = (of: (look: Look) => number): number => looks.reduce((most, look) => Math.max(most, of(look)), 0)
  return {
    operations: to,
    perSecond: (count / took) * 1000,
    p50: latencies.percentile(50) / 1e6,
    p99: latencies.percentile(99) / 1e6,
    fileSize: most(({ fileSize }) => fileSize),
    fileToLive: most(({ fileSize, liveSize }) => fileSize / liveSize),
    rss: most(({ rss }) => rss),
    descriptors: looks[0]?.descriptors === null ? null : most(({ descriptors }) => descriptors ?? 0),
    written: sum === null ? null : { device: sum.device / count, calls: sum.calls / count },
  }
}

/** One operation, and the milliseconds of its call. */
async function operate({ box, model, draw }: Running, members: number): Promise<number> {
  const drawn = draw.share()
  if (drawn < 0.7) return replace(box, model, draw.member(model), draw)
  if (drawn < 0.8) {
    const entry = draw.member(model)
    const what = model.part(draw.size(APPENDED))
    const took = await timed(() => box.append(entry.name, bytesOf(entry, what)))
    model.appended(entry, what)
    return took
  }
  // As many are added as deleted, but the number of members does not wander off.
  const count = model.entries.length
  const adds = count < members * (1 - DRIFT) || (drawn < 0.9 && count <= members * (1 + DRIFT))
  if (adds) return replace(box, model, model.create(), draw)
  const entry = draw.member(model)
  const took = await timed(() => box.delete(entry.name))
  model.deleted(entry)
  return took
}

/** Writes a member anew, or a new one. */
async function replace(to: CofferWriter, model: Model, entry: Entry, draw: Draw): Promise<number> {
  const what = model.part(draw.size())
  const bytes = bytesOf(entry, what)
  const took = await timed(() => to.write(entry.name, bytes))
  model.replaced(entry, what)
  return took
}

async function timed(call: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await call()
  return performance.now() - start
}

/** Rejects unless a coffer holds exactly the members of the model. */
async function compare(box: Coffer, { entries }: Model, callers: number): Promise<void> {
  const sizes = new Map<string, number>()
  for await (const { name, size } of box.iterate()) sizes.set(name, size)
  if (sizes.size !== entries.length) throw new Error(`the coffer has ${sizes.size} members, not ${entries.length}`)
  let next = 0
  const caller = async (): Promise<void> => {
    for (let entry = entries[next++]; entry !== undefined; entry = entries[next++]) {
      const { name } = entry
      if (sizes.get(name) !== sizeOf(entry))
        throw new Error(`${name} has ${sizes.get(name)} bytes, not ${sizeOf(entry)}`)
      if (!contentOf(entry).equals(await box.read(name))) throw new Error(`${name} has wrong bytes`)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
}

/** A reader with a handle of its own in this process, from the beginning to the end of each step. */
class ReaderHere {
  readonly #open: () => Promise<Coffer>
  readonly #model: Model
  readonly #draw: Draw
  #running: Promise<void> = Promise.resolve()
  #stop = new AbortController()
  #seen: Seen = { handles: 0, read: 0, gone: 0 }

  constructor(open: () => Promise<Coffer>, model: Model, draw: Draw) {
    this.#open = open
    this.#model = model
    this.#draw = draw
  }

  get seen(): Seen {
    return this.#seen
  }

  begin(): void {
    this.#stop = new AbortController()
    this.#running = this.#read(this.#stop.signal)
    // A rejection is for end().
    this.#running.catch(() => {})
  }

  async end(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #read(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const box = await this.#open()
      const { entries } = this.#model
      const names = Array.from({ length: READS }, () => entries[this.#draw.below(entries.length)]?.name ?? '')
      const { read, gone } = await readMembers(box, names)
      await box.close()
      const { handles, ...before } = this.#seen
      this.#seen = { handles: handles + 1, read: before.read + read, gone: before.gone + gone }
      await setTimeout(PAUSE, undefined, { signal }).catch(() => {})
    }
  }
}

/** A reader in a process of its own. */
class ReaderProcess {
  readonly #ended: Promise<Seen>
  readonly #process: ChildProcessByStdio<Writable, Readable, null>
  #failure: unknown

  constructor(path: string, keys: object) {
    const program = join(import.meta.dirname, '..', 'children', 'soak-reader.mjs')
    const child = spawn(process.execPath, [program, JSON.stringify({ path, keys })], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#process = child
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        if (code === 0) resolve(JSON.parse(output) as Seen)
        else reject(new Error(`the reader in a process of its own ended with ${signal ?? code}`))
      })
    })
    this.#ended.catch((error) => {
      this.#failure = error
    })
  }

  /** Throws if it has failed. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Ends it, and gives what it saw; rejects if it failed. */
  end(): Promise<Seen> {
    this.#process.stdin.end()
    return this.#ended
  }
}
