import type { NativeTime } from '../binding/native.ts'
import { checkName, checkOptions, checkThere, shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import { type Canceller, cancelledBy } from '../member/cancellation.ts'
import { type Chunks, checkResult, chunksOfIterator, isWhole, type MemberData } from '../member/input.ts'
import { checkAttributes, type WriteOptions } from '../member/options.ts'
import { isSmall, PackedMembers } from '../member/packed.ts'
import { checkWatch, type Paced, paced, type WatchOptions, watchOptions } from '../progress.ts'

/** A member for {@link Coffer.writeMany}, with attributes of its own. */
export interface NamedEntry extends WriteOptions {
  /** The name of the member. */
  name: string
  /** Text, bytes, a stream or another iterable of them, as for {@link Coffer.write}. */
  data: MemberData
}

/** A member for {@link Coffer.writeMany}: its name and its data. */
export type MemberEntry = readonly [name: string, data: MemberData] | NamedEntry

/** What {@link Coffer.writeMany} did. */
export interface WriteManyResult {
  /** The number of entries. */
  files: number
  /** The bytes of their data. */
  bytes: number
}

const entryNames = ['name', 'data', 'mode', 'mtime'] as const
const known: ReadonlySet<string> = new Set(entryNames)

/** The most packs of members that the engine has at a time. */
const UNDER_WAY = 3
/** Bytes of data from which on the next entry is taken only when the member is written. */
const LARGE_BYTES = 1 << 20

/** Where many members are written. */
export interface ManyTarget {
  /** Hands packed members over during the call. The error of a member that fails has its name. */
  send(packed: Uint8Array): Promise<void>
  /** Writes one member. Text and bytes are handed over during the call. */
  write(name: string, data: MemberData, options: WriteOptions): Promise<void>
  /** The bytes of a member that was written. */
  sizeOf(name: string): Promise<number>
}

/** One call of {@link Coffer.writeMany}: the entries, and those of them that are packed. */
export class ManyWrites {
  readonly #entries: Chunks
  /** Whether each entry comes at once. */
  readonly #sync: boolean
  readonly #canceller: Canceller | undefined
  readonly #report: Paced
  readonly #packed = new PackedMembers()
  /** An entry that is taken and not packed yet. */
  #next: CheckedEntry | undefined
  #ended = false
  #files = 0
  #bytes = 0
  #name: string | undefined

  /** Checks the arguments. Nothing is taken from the entries yet. */
  constructor(entries: Iterable<MemberEntry> | AsyncIterable<MemberEntry>, options: WatchOptions) {
    checkOptions(options, 'writeMany', watchOptions)
    checkWatch(options)
    this.#canceller = cancelledBy(options.signal)
    this.#report = paced(options.onProgress)
    const iterate = iteratorOf(entries)
    if (iterate === undefined) {
      throw invalid(
        `writeMany takes an iterable of entries, [name, data] or { name, data, mode, mtime }, not ${shown(entries)}`,
      )
    }
    this.#sync = iterate.sync
    this.#entries = chunksOfIterator(iterate.begin())
  }

  /** Takes entries that come at once, as many as cross into the engine together, and copies them. */
  prepare(): void {
    if (!this.#sync) return
    try {
      while (this.#take(this.#entries.next() as IteratorResult<unknown>));
    } catch (error) {
      this.#entries.stop(error)
      throw error
    }
  }

  /** Writes all entries, in their order. */
  async write(target: ManyTarget): Promise<WriteManyResult> {
    const undo: (() => void)[] = []
    const stopped = new Promise<never>((_, reject) => {
      if (this.#canceller) undo.push(this.#canceller.onCancel(reject))
    })
    stopped.catch(() => {})
    try {
      // An iterable that stalls would never see that the call is cancelled.
      return await Promise.race([this.#write(target), stopped])
    } catch (error) {
      this.#entries.stop(error)
      throw error
    } finally {
      for (const one of undo) one()
    }
  }

  async #write(target: ManyTarget): Promise<WriteManyResult> {
    const underWay: Promise<void>[] = []
    const room = async (most: number): Promise<void> => {
      while (underWay.length > most) await underWay.shift()
      this.#check()
    }
    const begin = async (call: Promise<void>): Promise<void> => {
      const progress = { bytes: this.#bytes, members: this.#files, name: this.#name }
      const done = call.then(() => this.#report(progress))
      // It is thrown when its turn comes.
      done.catch(() => {})
      underWay.push(done)
      await room(UNDER_WAY - 1)
    }
    for (;;) {
      this.#check()
      // The entries that were prepared come first.
      while (!this.#ended && this.#next === undefined) {
        const result = this.#entries.next()
        this.#take((this.#sync ? result : await result) as IteratorResult<unknown>)
        if (!this.#sync) this.#check()
      }
      if (this.#packed.count > 0) await begin(target.send(this.#packed.take()))
      const entry = this.#next
      this.#next = undefined
      if (entry === undefined) break
      if (this.#pack(entry)) continue
      const { name, data, whole, options } = entry
      const size = whole === undefined ? 0 : lengthOf(whole)
      this.#count(name, size)
      const writing = target.write(name, data, options).catch((error: unknown) => {
        throw about(error, name)
      })
      if (whole !== undefined && size < LARGE_BYTES) {
        await begin(writing)
        continue
      }
      // The engine has what was handed over before it, and writes it first.
      await writing
      if (whole === undefined) this.#bytes += await target.sizeOf(name)
    }
    await room(0)
    const [files, bytes] = [this.#files, this.#bytes]
    this.#report.end({ bytes, members: files, name: this.#name })
    return { files, bytes }
  }

  /** Takes an entry; false if it is the last, or does not fit to those that are packed. */
  #take(given: IteratorResult<unknown>): boolean {
    const { done, value } = checkResult(given)
    if (done) {
      this.#ended = true
      return false
    }
    const entry = checkEntry(value, this.#files + 1)
    if (this.#pack(entry)) return true
    this.#next = entry
    return false
  }

  #pack(entry: CheckedEntry): boolean {
    const { name, whole, mode, mtime } = entry
    if (whole === undefined || !isSmall(name, whole, mtime)) return false
    if (!this.#packed.add(name, whole, mode, mtime)) return false
    this.#count(name, this.#packed.lastSize)
    return true
  }

  #count(name: string, bytes: number): void {
    this.#files += 1
    this.#bytes += bytes
    this.#name = name
  }

  #check(): void {
    const cancelled = this.#canceller?.cancelled
    if (cancelled) throw cancelled.reason
  }
}

/** What iterates over entries, and whether each comes at once. */
function iteratorOf(
  entries: unknown,
): { sync: boolean; begin: () => Iterator<unknown> | AsyncIterator<unknown> } | undefined {
  if (typeof entries !== 'object' || entries === null) return undefined
  const iterable = entries as Partial<Iterable<unknown> & AsyncIterable<unknown>>
  const later = iterable[Symbol.asyncIterator]
  if (typeof later === 'function') return { sync: false, begin: () => later.call(iterable as AsyncIterable<unknown>) }
  const atOnce = iterable[Symbol.iterator]
  if (typeof atOnce === 'function') return { sync: true, begin: () => atOnce.call(iterable as Iterable<unknown>) }
  return undefined
}

/** An entry whose name, attributes and type of data are checked. */
interface CheckedEntry {
  name: string
  data: MemberData
  /** The data, if it is text or bytes. */
  whole: string | Uint8Array | undefined
  mode: number | undefined
  mtime: NativeTime | undefined
  /** The attributes as they were given. */
  options: WriteOptions
}

const noAttributes: WriteOptions = {}

function checkEntry(value: unknown, position: number): CheckedEntry {
  if (Array.isArray(value)) {
    if (value.length !== 2) {
      throw invalid(`entry ${position} of writeMany must be [name, data], but the array has ${value.length} items`)
    }
    return checkMember(value[0], value[1], noAttributes, position)
  }
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) {
    throw invalid(
      `entry ${position} of writeMany must be [name, data] or { name, data, mode, mtime }, not ${shown(value)}`,
    )
  }
  for (const key in value) {
    if (!known.has(key)) checkOptions(value as NamedEntry, `entry ${position} of writeMany`, entryNames)
  }
  const { name, data, mode, mtime } = value as NamedEntry
  return checkMember(name, data, mode === undefined && mtime === undefined ? noAttributes : { mode, mtime }, position)
}

function checkMember(name: unknown, data: unknown, options: WriteOptions, position: number): CheckedEntry {
  if (typeof name !== 'string' || !name.isWellFormed()) {
    checkName(name as string, `the name of a member, in entry ${position} of writeMany,`)
  }
  const entry = { name, data, whole: undefined, mode: undefined, mtime: undefined, options } as CheckedEntry
  try {
    if (options !== noAttributes) Object.assign(entry, checkAttributes(options))
    if (isWhole(entry.data)) {
      entry.whole = entry.data
      if (typeof entry.data !== 'string') checkThere(entry.data, 'the data')
    }
  } catch (error) {
    throw about(error, entry.name)
  }
  return entry
}

function lengthOf(data: string | Uint8Array): number {
  return typeof data === 'string' ? Buffer.byteLength(data, 'utf8') : data.length
}

/** The error of an argument, with the member that the argument is about. */
function about(error: unknown, member: string): unknown {
  if (!(error instanceof CofferError) || error.code !== 'ERR_COFFER_INVALID_ARG' || error.member !== undefined)
    return error
  return new CofferError(error.code, error.message, { member, cause: error.cause })
}
