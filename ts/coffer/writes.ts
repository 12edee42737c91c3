import { COPIED_BYTES, feed, ownBytes } from '../binding/feed.ts'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { encode } from '../cbor/encode.ts'
import { checkBoolean, checkName, checkOptions, checkPath, checkSignal, checkThere, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import { Cancellation, cancelledBy } from '../member/cancellation.ts'
import { isWhole, type MemberData, pour } from '../member/input.ts'
import { joinLines } from '../member/lines.ts'
import {
  checkAttributes,
  checkData,
  checkSymlinks,
  defaultName,
  type SourceOptions,
  type SymlinkPolicy,
  type WriteOptions,
} from '../member/options.ts'
import { isSmall } from '../member/packed.ts'
import { type Flag, Upload } from '../member/upload.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { GatheredWrites, sendPacked } from './gathered.ts'
import type { ManyWrites, WriteManyResult } from './write-many.ts'

/** What {@link Coffer.add} takes. */
export interface AddOptions extends WatchOptions {
  /**
   * The name in the coffer: the last component of the source by default; `.` puts the content of a directory at the
   * top.
   */
  as?: string | undefined
  /**
   * Whether existing members are replaced: true by default. If not, an existing one is
   * `ERR_COFFER_MEMBER_EXISTS`, and nothing is stored.
   */
  replace?: boolean | undefined
  /** The treatment of symbolic links: `follow` by default. */
  symlinks?: SymlinkPolicy | undefined
}

/** Something that was not stored or restored, and why. */
export interface SkippedItem {
  /** Its path; for an archive its name there. */
  path: string
  /** The reason; its text may change. */
  reason: string
  /** The member concerned, if there is one. */
  member?: string | undefined
  /** The operating system's error number, if a call of it failed: the result may be incomplete then. */
  errno?: number | undefined
}

/** What {@link Coffer.add} did. */
export interface AddResult {
  /** The number of files stored. */
  files: number
  /** The number of empty directories stored. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Links, anything that is neither a file nor a directory, names that are not UTF-8, and the coffer itself. */
  skipped: SkippedItem[]
}

/** What {@link Coffer.delete} takes. */
export interface DeleteOptions {
  /** Whether a directory is deleted with everything below it: false by default. */
  recursive?: boolean | undefined
}

/**
 * The changes of a coffer or a batch. Each is handed to the engine before its first `await`, so they
 * take effect in the order of the calls. Small members that a batch writes are handed over together, at
 * the next microtask or before the next other change.
 */
export class MemberWrites {
  readonly #coffer: NativeCoffer
  readonly #batch: bigint | undefined
  readonly #gathered: GatheredWrites | undefined
  /** Cancels the changes that wait for their input when the coffer closes. */
  readonly #closing = new Cancellation()

  /** @param batch the token of the batch that the changes belong to, if any */
  constructor(native: NativeCoffer, batch?: bigint) {
    this.#coffer = native
    this.#batch = batch
    this.#gathered = batch === undefined ? undefined : new GatheredWrites(native, batch)
  }

  /** The engine's coffer, which has every change that was called before. */
  get #native(): NativeCoffer {
    this.send()
    return this.#coffer
  }

  /** Hands over what was gathered. */
  send(): void {
    this.#gathered?.send()
  }

  /** Cancels every change that still waits for its input. */
  cancel(reason: Error): void {
    this.#closing.cancel(reason)
  }

  async write(name: string, data: MemberData, options: WriteOptions & SourceOptions): Promise<void> {
    checkName(name)
    const { signal } = checkOptions(options, 'write', ['mode', 'mtime', 'signal'])
    if (!isWhole(data)) return this.#pour(name, 'w', data, options)
    const { mode, mtime } = checkAttributes(options)
    checkSignal(signal)?.throwIfAborted()
    if (this.#gathered && isSmall(name, data, mtime)) {
      if (typeof data !== 'string') checkThere(data, 'the data')
      return this.#gathered.write(name, data, mode, mtime)
    }
    const bytes = checkData(data)
    if (bytes.length > COPIED_BYTES) {
      return feed(bytes, (native) => this.#native.writeFed(this.#batch, name, native, mode, mtime))
    }
    await settled(this.#native.write(this.#batch, name, ownBytes(bytes), mode, mtime))
  }

  /** Writes many members. In a batch alone: what was written before an error is undone with the batch. */
  async writeMany(many: ManyWrites): Promise<WriteManyResult> {
    return many.write({
      send: (packed) => sendPacked(this.#native, this.#batch, packed),
      write: (name, data, options) => this.write(name, data, options),
      sizeOf: async (name) => (await settled(this.#coffer.stat(name)))?.size ?? 0,
    })
  }

  async append(name: string, data: MemberData, options: SourceOptions): Promise<void> {
    checkName(name)
    const { signal } = checkOptions(options, 'append', ['signal'])
    if (!isWhole(data)) return this.#pour(name, 'a', data, options)
    checkSignal(signal)?.throwIfAborted()
    const bytes = checkData(data)
    if (bytes.length > COPIED_BYTES) {
      return feed(bytes, (native) => this.#native.appendFed(this.#batch, name, native))
    }
    await settled(this.#native.append(this.#batch, name, ownBytes(bytes)))
  }

  /** Writes or appends a stream or iterable. The change takes effect at its end. */
  async #pour(name: string, flag: Flag, data: MemberData, options: WriteOptions & SourceOptions): Promise<void> {
    const { mode, mtime } = checkAttributes(options)
    const signal = cancelledBy(checkSignal(options.signal))
    const upload = new Upload(this.#coffer, name, this.#batch)
    try {
      await pour(data, upload, signal, this.#closing)
    } catch (error) {
      upload.abort()
      throw error
    }
    this.send()
    await upload.finish(flag, mode, mtime)
  }

  async writeLines(name: string, lines: Iterable<string>, options: WriteOptions): Promise<void> {
    checkOptions(options, 'writeLines', ['mode', 'mtime'])
    if (typeof lines === 'string' || typeof lines?.[Symbol.iterator] !== 'function') {
      throw invalid(`the lines must be an array or another iterable of strings, not ${shown(lines)}`)
    }
    await this.write(name, joinLines(lines), options)
  }

  async dump(name: string, value: unknown, options: WriteOptions): Promise<void> {
    checkOptions(options, 'dump', ['mode', 'mtime'])
    await this.write(name, encode(value), options)
  }

  async add(source: string | URL, options: AddOptions): Promise<AddResult> {
    const from = checkPath(source, 'the source of add')
    checkOptions(options, 'add', ['as', 'replace', 'symlinks', ...watchOptions])
    const to = options.as === undefined ? defaultName(from) : checkName(options.as)
    const replace = checkBoolean(options.replace, 'replace') ?? true
    const symlinks = checkSymlinks(options.symlinks)
    return watched(options, (watch) => this.#native.add(this.#batch, from, to, replace, symlinks, watch))
  }

  async makeDirectory(name: string, attributes: WriteOptions): Promise<boolean> {
    const { mode, mtime } = checkAttributes(attributes)
    const { directories } = await settled(this.#native.makeDirectory(this.#batch, checkName(name), mode, mtime))
    return directories > 0
  }

  async delete(name: string, options: DeleteOptions): Promise<void> {
    checkName(name)
    const { recursive } = checkOptions(options, 'delete', ['recursive'])
    await settled(this.#native.delete(this.#batch, name, checkBoolean(recursive, 'recursive') ?? false))
  }
}
