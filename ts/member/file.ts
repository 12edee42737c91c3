import { Readable, Writable } from 'node:stream'
import type { ReadableStream, WritableStream } from 'node:stream/web'
import { inspect } from 'node:util'
import { settled } from '../binding/native.ts'
import {
  checkBoolean,
  checkEncoding,
  checkInteger,
  checkName,
  checkOptions,
  checkSignal,
  checkThere,
  shown,
} from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import { bytesFrom, type CofferBytes } from './bytes.ts'
import type { FileReadOptions, FileReadResult, FileWriteOptions, FileWriteResult } from './file-options.ts'
import { checkPosition, positional } from './file-options.ts'
import { isWhole, type MemberData } from './input.ts'
import { streamLines } from './lines.ts'
import { type Member, memberFrom } from './member.ts'
import {
  checkAttributes,
  checkFileMode,
  checkReadStream,
  checkStreamOptions,
  type FileFlags,
  type FileMode,
  type NoOptions,
  type ReadStreamOptions,
  readStreamOptions,
  type SourceOptions,
  type WriteOptions,
  type WriteStreamOptions,
} from './options.ts'
import { MemberSnapshot } from './snapshot.ts'
import { MemberReadable, MemberWritable } from './streams.ts'
import { MOST_BYTES, mostBytesOf, textOf } from './text.ts'
import type { FileHost } from './writer.ts'
import { MemberWriter, ownCopy } from './writer.ts'

/** The buffer that `read` allocates, as in Node.js. */
const READ_BYTES = 16_384

/**
 * A handle on a member, modelled on `FileHandle` of `node:fs/promises`.
 * {@link Coffer.file} opens it.
 *
 * A handle for reading stays with the version of the member that it was opened on. What is written
 * becomes part of the coffer when the handle closes, all of it or nothing. Calls need not wait for each
 * other. After {@link close} each call is `ERR_COFFER_CLOSED`; a write on a handle for reading is
 * `ERR_COFFER_READ_ONLY`, and a read on one for writing `ERR_COFFER_INVALID_ARG`.
 *
 * @example
 * ```js
 * import { CofferStore } from 'coffer'
 *
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const log = await store.file('log', 'w')
 * await log.write('first line')
 * await log.close()
 *
 * const file = await store.file('log')
 * const { bytesRead, buffer } = await file.read({ length: 4, position: 6 })
 * console.log(buffer.toString('utf8', 0, bytesRead)) // line
 * await file.close()
 * await store.close()
 * ```
 */
export class CofferFile implements AsyncDisposable {
  /** The name of the member. */
  readonly name: string
  /** The mode it was opened with, without the `b`. */
  readonly mode: FileMode
  readonly #host: FileHost
  readonly #side: MemberSnapshot | MemberWriter
  #position = 0
  #closing: Promise<void> | undefined
  /** The reads under way. */
  #busy: Promise<unknown> = Promise.resolve()

  private constructor(host: FileHost, name: string, mode: FileMode, source: MemberSnapshot | MemberWriter) {
    this.#host = host
    this.name = name
    this.mode = mode
    this.#side = source
  }

  /**
   * Opens a handle: see {@link Coffer.file}.
   *
   * @internal
   */
  static async open(host: FileHost, name: string, modeText: FileFlags, options: WriteOptions): Promise<CofferFile> {
    checkName(name)
    const mode = checkFileMode(modeText)
    const attributes = checkAttributes(checkOptions(options, 'file', ['mode', 'mtime']))
    if (mode === 'r') {
      // What the handle reads stays on one commit, also if the coffer is refreshed.
      const own = { ...host, native: host.native.pinned() ?? host.native }
      return new CofferFile(own, name, mode, await MemberSnapshot.open(own, own.native, name))
    }
    const writing = await host.change('file', () => MemberWriter.open(host, name, mode, attributes))
    return new CofferFile(host, name, mode, writing)
  }

  /** Whether {@link close} or {@link abort} has been called. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /**
   * Reads bytes into a buffer: fewer, or none, at the end of the member.
   *
   * @typeParam Into the type of the buffer
   * @param buffer the buffer to fill
   * @param offset the offset in the buffer: 0 by default
   * @param length the most bytes to read: as many as fit by default
   * @param position the offset in the member: the end of the last read by default
   * @returns the number of bytes read, and the buffer
   * @throws {@link CofferError} `ERR_COFFER_STALE` if the member was replaced or deleted,
   *   `…_CORRUPT`, `…_LIMIT`, `…_INVALID_ARG`, `…_CLOSED` (the handle, or the coffer), `…_IO`
   */
  async read<Into extends NodeJS.ArrayBufferView>(
    buffer: Into,
    offset?: number | null,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<FileReadResult<Into>>
  /**
   * The same, with options after the buffer.
   *
   * @typeParam Into the type of the buffer
   * @param buffer the buffer to fill
   * @param options which bytes to read
   * @returns the number of bytes read, and the buffer
   * @throws {@link CofferError} as the first form
   */
  async read<Into extends NodeJS.ArrayBufferView>(
    buffer: Into,
    options: Omit<FileReadOptions, 'buffer'>,
  ): Promise<FileReadResult<Into>>
  /**
   * The same, with options alone.
   *
   * @typeParam Into the type of the buffer
   * @param options which bytes to read, and the buffer
   * @returns the number of bytes read, and the buffer
   * @throws {@link CofferError} as the first form
   */
  async read<Into extends NodeJS.ArrayBufferView = Buffer>(
    options?: FileReadOptions<Into>,
  ): Promise<FileReadResult<Into>>
  async read(
    first: NodeJS.ArrayBufferView | FileReadOptions<NodeJS.ArrayBufferView> = {},
    second?: number | null | Omit<FileReadOptions, 'buffer'>,
    third?: number | null,
    fourth?: number | bigint | null,
  ): Promise<FileReadResult<NodeJS.ArrayBufferView>> {
    const version = this.#reading('read')
    const given: FileReadOptions<NodeJS.ArrayBufferView> = ArrayBuffer.isView(first)
      ? {
          ...(typeof second === 'object' && second !== null ? second : positional(second, third, fourth)),
          buffer: first,
        }
      : first
    const { buffer = Buffer.alloc(READ_BYTES) } = checkOptions(given, 'read', [
      'buffer',
      'offset',
      'length',
      'position',
    ])
    if (!ArrayBuffer.isView(buffer)) throw invalid(`buffer must be a Buffer or another view, not ${shown(buffer)}`)
    checkThere(buffer, 'buffer')
    const offset = checkInteger(given.offset, 'offset', 0, buffer.byteLength) ?? 0
    const length = checkInteger(given.length, 'length', 0, buffer.byteLength - offset) ?? buffer.byteLength - offset
    const at = checkPosition(given.position)
    const start = at ?? this.#position
    const bytesRead = Math.max(0, Math.min(length, version.size - start))
    // Advanced before the read, so that reads need not wait for each other.
    if (at === null) this.#position += bytesRead
    if (bytesRead > 0) {
      const bytes = await this.#during(version.read(start, bytesRead))
      new Uint8Array(buffer.buffer, buffer.byteOffset + offset, bytesRead).set(bytes)
    }
    return { bytesRead, buffer }
  }

  /**
   * Reads from the end of the last read to the end of the member.
   *
   * @param options no encoding
   * @returns the bytes
   * @throws {@link CofferError} as {@link read}
   */
  async readFile(options?: { encoding?: null | undefined } | null): Promise<CofferBytes>
  /**
   * The same, as text.
   *
   * @param options the encoding, or an object with it as `encoding`
   * @returns the text
   * @throws {@link CofferError} as {@link read}
   */
  async readFile(options: { encoding: BufferEncoding } | BufferEncoding): Promise<string>
  async readFile(
    options?: { encoding?: BufferEncoding | null } | BufferEncoding | null,
  ): Promise<string | CofferBytes> {
    const version = this.#reading('readFile')
    const { encoding } =
      typeof options === 'string' ? { encoding: options } : checkOptions(options ?? {}, 'readFile', ['encoding'])
    checkEncoding(encoding ?? undefined)
    const start = this.#position
    const length = version.size - start
    if (length > (encoding ? mostBytesOf(encoding) : MOST_BYTES)) {
      const message = `there are ${length} bytes, more than can be returned at once: read them part by part`
      throw new CofferError('ERR_COFFER_LIMIT', message, { path: this.#host.path, member: this.name })
    }
    this.#position = version.size
    const { bytes } = await this.#during(version.range(start, length))
    return encoding ? textOf(bytes, encoding, this.name) : bytesFrom(bytes)
  }

  /**
   * The lines of a UTF-8 member from the end of the last read, without their ends (`\n` or `\r\n`). Each
   * line is held in memory.
   *
   * @returns the lines
   * @throws {@link CofferError} as {@link read}
   */
  readLines(): AsyncGenerator<string, void, undefined> {
    const version = this.#reading('readLines')
    const from = this.#position
    return streamLines(async (start, length) => {
      this.#reading('readLines')
      const range = await this.#during(version.range(from + start, length))
      return { ...range, size: range.size - from }
    })
  }

  /**
   * Writes bytes after those written before. If it fails, nothing that the handle wrote becomes part of
   * the coffer.
   *
   * @typeParam Data the type of what is given
   * @param data the bytes
   * @param offset the offset in `data`: 0 by default
   * @param length the number of bytes: to the end of `data` by default
   * @param position the end of the member, or null
   * @returns the number of bytes written, and the given data
   * @throws {@link CofferError} `ERR_COFFER_READ_ONLY`, `…_INVALID_ARG`, `…_LIMIT`, `…_CLOSED` (the
   *   handle, or the coffer), `…_IO`; or the error of an earlier write
   */
  async write<Data extends Uint8Array>(
    data: Data,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<FileWriteResult<Data>>
  /**
   * The same, with options.
   *
   * @typeParam Data the type of what is given
   * @param data the bytes
   * @param options which bytes to write
   * @returns the number of bytes written, and the given data
   * @throws {@link CofferError} as the first form
   */
  async write<Data extends Uint8Array>(data: Data, options: FileWriteOptions): Promise<FileWriteResult<Data>>
  /**
   * The same, for text.
   *
   * @param data the text
   * @param position the end of the member, or null
   * @param encoding its encoding: `utf8` by default
   * @returns the number of bytes written, and the given data
   * @throws {@link CofferError} as the first form
   */
  async write(
    data: string,
    position?: number | null,
    encoding?: BufferEncoding | null,
  ): Promise<FileWriteResult<string>>
  async write(
    data: string | Uint8Array,
    second?: number | null | FileWriteOptions,
    third?: number | BufferEncoding | null,
    position?: number | null,
  ): Promise<FileWriteResult<string | Uint8Array>> {
    const writing = this.#writing('write')
    if (typeof data === 'string') {
      const encoding = third ?? 'utf8'
      checkEncoding(encoding as BufferEncoding)
      if (typeof second === 'object' && second !== null) throw invalid('options are for bytes, not for text')
      const bytesWritten = await writing.write(Buffer.from(data, encoding as BufferEncoding), checkPosition(second))
      return { bytesWritten, buffer: data }
    }
    if (!isWhole(data))
      throw invalid(`write takes a string or a Uint8Array, not ${shown(data)}: writeFile takes streams`)
    const given = typeof second === 'object' && second !== null ? second : positional(second, third, position)
    checkOptions(given, 'write', ['offset', 'length', 'position'])
    writing.checkThere(data)
    const offset = checkInteger(given.offset, 'offset', 0, data.length) ?? 0
    const length = checkInteger(given.length, 'length', 0, data.length - offset) ?? data.length - offset
    const bytes = data.subarray(offset, offset + length)
    return { bytesWritten: await writing.write(ownCopy(bytes), checkPosition(given.position)), buffer: data }
  }

  /**
   * Writes all of an input after what was written before. If the input fails, nothing that the handle
   * wrote becomes part of the coffer.
   *
   * @param data text, bytes, a stream or another iterable of them
   * @param options the signal that stops it
   * @returns when the input has ended and all of it is taken
   * @throws {@link CofferError} as {@link write}; or the error of `data`, or the signal's reason
   */
  async writeFile(data: MemberData, options: SourceOptions = {}): Promise<void> {
    const writing = this.#writing('writeFile')
    const { signal } = checkOptions(options, 'writeFile', ['signal'])
    await writing.pour(data, checkSignal(signal))
  }

  /**
   * The same as {@link writeFile}.
   *
   * @param data text, bytes, a stream or another iterable of them
   * @param options the signal that stops it
   * @returns when the input has ended and all of it is taken
   * @throws {@link CofferError} as {@link writeFile}
   */
  async appendFile(data: MemberData, options: SourceOptions = {}): Promise<void> {
    await this.writeFile(data, options)
  }

  /**
   * The member. For a handle that writes, as if it were closed now, except that `storedSize` is 0.
   *
   * @param options none
   * @returns the member
   * @throws {@link CofferError} `ERR_COFFER_STALE` if it was replaced or deleted, `…_CORRUPT`, `…_INVALID_ARG`,
   *   `…_CLOSED`, `…_IO`
   */
  async stat(options: NoOptions = {}): Promise<Member> {
    checkOptions(options, 'stat', [])
    this.#open('stat')
    if (this.#side instanceof MemberWriter) return this.#side.stat(this.name)
    const member = await settled(this.#host.native.stat(this.name))
    // It is this version's if this version still exists.
    await this.#during(this.#side.range(0, 0))
    if (member === null)
      throw new CofferError('ERR_COFFER_STALE', `${shown(this.name, 'name')} was deleted`, { member: this.name })
    return memberFrom(member)
  }

  /**
   * A stream of the member, by default from the end of the last read, which it does not change.
   *
   * @param options which part, and the size of chunks; `autoClose`: whether the handle closes with the
   *   stream, true by default
   * @returns the stream, which fails as {@link read}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_CLOSED` at the call; the stream fails as
   *   {@link read}
   */
  createReadStream(options: ReadStreamOptions & { autoClose?: boolean | undefined } = {}): Readable {
    const version = this.#reading('createReadStream')
    checkReadStream(options, [...readStreamOptions, 'autoClose'])
    const autoClose = checkBoolean(options.autoClose, 'autoClose') ?? true
    const stream = new MemberReadable(async () => version, { ...options, start: options.start ?? this.#position })
    if (autoClose) stream.once('close', () => void this.close())
    return stream
  }

  /**
   * A stream that writes after what was written before, and closes the handle before it finishes. If it
   * is destroyed, what was written is discarded.
   *
   * @param options the size of the buffer, and the signal that destroys the stream
   * @returns the stream, which fails as {@link write} and {@link close}
   * @throws {@link CofferError} `ERR_COFFER_READ_ONLY`, `…_INVALID_ARG`, `…_CLOSED` at the call; the stream
   *   fails as {@link write}, and at its end as {@link close}
   */
  createWriteStream(options: Pick<WriteStreamOptions, 'highWaterMark' | 'signal'> = {}): Writable {
    this.#writing('createWriteStream')
    checkStreamOptions(checkOptions(options, 'createWriteStream', ['highWaterMark', 'signal']))
    return new MemberWritable(async () => this, options)
  }

  /**
   * A web stream of the member, from the end of the last read. The handle stays open.
   *
   * @returns the stream, which fails as {@link read}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_CLOSED` at the call; the stream fails as
   *   {@link read}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('original', 'the same')
   * const [from, to] = [await box.file('original'), await box.file('copy', 'x')]
   * await from.readableWebStream().pipeTo(to.writableWebStream())
   * console.log((await box.stat('copy')).size) // 8
   * await from.close()
   * await box.close()
   * ```
   */
  readableWebStream(): ReadableStream<Uint8Array> {
    return Readable.toWeb(this.createReadStream({ autoClose: false }))
  }

  /**
   * A web stream that writes, and closes the handle before it closes. If it is aborted, what was written
   * is discarded.
   *
   * @returns the stream, which fails as {@link write} and {@link close}
   * @throws {@link CofferError} `ERR_COFFER_READ_ONLY`, `…_CLOSED` at the call; the stream fails as
   *   {@link createWriteStream} except `…_INVALID_ARG`
   */
  writableWebStream(): WritableStream<string | Uint8Array> {
    return Writable.toWeb(this.createWriteStream())
  }

  /**
   * Waits for the calls under way, and makes what was written part of the coffer. May be called more than
   * once.
   *
   * @returns when the change is accepted, and with `autoFlush` when it is on the disk
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_EXISTS` also if the member was created meanwhile (`x`),
   *   `…_CLOSED` (the coffer), `…_CORRUPT` (`a`, if the end of the member is damaged), and as
   *   {@link Coffer.write} except `…_READ_ONLY` and `…_INVALID_ARG`; or the error of an earlier write
   */
  close(): Promise<void> {
    if (this.#side instanceof MemberWriter && !this.closed) return this.#host.change('close', () => this.#close())
    return this.#close()
  }

  /**
   * Discards what was written, and closes.
   *
   * @param reason the reason that pending writes reject with: an `AbortError` by default
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('report', 'old')
   * const file = await box.file('report', 'w')
   * await file.write('new, but ')
   * file.abort()
   * console.log(await box.readText('report')) // old
   * await box.close()
   * ```
   */
  abort(reason: unknown = new DOMException('The handle was aborted', 'AbortError')): void {
    if (this.closed) return
    if (this.#side instanceof MemberWriter) this.#side.fail(reason)
    this.#closing = Promise.resolve()
  }

  /**
   * The same as {@link close}, for `await using`, except that it does not report an error again that a
   * call has thrown.
   *
   * @throws {@link CofferError} as {@link close}
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#side instanceof MemberWriter && this.#side.failed) this.abort()
    else await this.close()
  }

  /**
   * The output of `console.log`.
   *
   * @internal
   */
  [inspect.custom](): string {
    const { name, mode, closed } = this
    return `CofferFile ${inspect({ name, mode, closed })}`
  }

  #close(): Promise<void> {
    this.#closing ??= this.#side instanceof MemberWriter ? this.#side.close() : this.#forget(this.#side)
    return this.#closing
  }

  async #forget(version: MemberSnapshot): Promise<void> {
    await this.#busy
    version.forget()
  }

  #open(call: string): void {
    if (!this.closed) return
    const message = `${call}: the handle on ${shown(this.name, 'name')} is closed: open it again`
    throw new CofferError('ERR_COFFER_CLOSED', message, { path: this.#host.path, member: this.name })
  }

  #reading(call: string): MemberSnapshot {
    this.#open(call)
    if (this.#side instanceof MemberSnapshot) return this.#side
    throw invalid(
      `${call}: the handle was opened with '${this.mode}', to write: what it writes can be read once it is closed`,
    )
  }

  #writing(call: string): MemberWriter {
    this.#open(call)
    if (this.#side instanceof MemberWriter) return this.#side
    const message = `${call}: the handle was opened with 'r': open it with 'w', 'a' or 'x' to write`
    throw new CofferError('ERR_COFFER_READ_ONLY', message, { path: this.#host.path, member: this.name })
  }

  #during<T>(work: Promise<T>): Promise<T> {
    const done = work.catch(() => {})
    this.#busy = Promise.all([this.#busy, done])
    return work
  }
}
