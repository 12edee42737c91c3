import { Readable, Writable } from 'node:stream'
import { Encoder, type Sink } from './input.ts'
import type { ReadStreamOptions, WriteStreamOptions } from './options.ts'
import type { MemberSnapshot } from './snapshot.ts'
import { MOST_BYTES } from './text.ts'

const HIGH_WATER_MARK = 64 * 1024
/** The limit of read-ahead in bytes. It grows up to this, so that several pieces are decoded in parallel. */
const MOST_AHEAD = 4 << 20

/** A stream of a part of a member. It reads ahead while its consumer works. */
export class MemberReadable extends Readable {
  readonly #open: () => Promise<MemberSnapshot>
  readonly #highWaterMark: number
  readonly #unhook: () => void
  #version: MemberSnapshot | undefined
  #at: number
  #end: number
  #step: number
  /** Bytes that were read and not yet pushed. */
  #rest: Buffer = Buffer.alloc(0)
  /** The read of the bytes after them. */
  #ahead: Promise<Buffer> | undefined

  constructor(open: () => Promise<MemberSnapshot>, options: ReadStreamOptions) {
    const { start = 0, end = Number.POSITIVE_INFINITY, highWaterMark = HIGH_WATER_MARK, encoding, signal } = options
    super({ highWaterMark, ...(encoding === undefined ? {} : { encoding }) })
    this.#open = open
    this.#highWaterMark = highWaterMark
    this.#step = highWaterMark
    this.#at = start
    this.#end = end + 1
    this.#unhook = destroyedBy(this, signal)
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.#open().then((version) => {
      this.#version = version
      this.#end = Math.min(this.#end, version.size)
      callback()
    }, callback)
  }

  override _read(): void {
    this.#next().then(
      (chunk) => this.push(chunk),
      (error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unhook()
    this.#rest = Buffer.alloc(0)
    this.#ahead = undefined
    callback(error)
  }

  async #next(): Promise<Buffer | null> {
    if (this.#rest.length === 0) {
      this.#rest = await (this.#ahead ?? this.#fetch())
      this.#ahead = this.#at < this.#end ? this.#fetch() : undefined
      if (this.#rest.length === 0) return null
    }
    const most = this.#highWaterMark
    // Each chunk has its own memory: the consumer may transfer it to another thread.
    const chunk = this.#rest.length <= most ? this.#rest : Buffer.from(this.#rest.subarray(0, most))
    this.#rest = this.#rest.subarray(chunk.length)
    return chunk
  }

  #fetch(): Promise<Buffer> {
    const fetching = this.#range()
    // A destroyed stream never awaits it.
    fetching.catch(() => {})
    return fetching
  }

  async #range(): Promise<Buffer> {
    const left = this.#end - this.#at
    if (this.#version === undefined || left <= 0) return Buffer.alloc(0)
    const length = Math.min(this.#step, left, MOST_BYTES)
    this.#step = Math.min(this.#step * 4, Math.max(this.#highWaterMark, MOST_AHEAD))
    const { bytes } = await this.#version.range(this.#at, length, left)
    this.#at += bytes.length
    return bytes
  }
}

/** The member that a stream writes. */
export interface WritableMember extends Sink {
  /** Makes it part of the coffer. */
  close(): Promise<void>
  /** Discards it, unless it is closed. */
  abort(reason: unknown): void
}

/** A stream into a member, which is part of the coffer once the stream has finished. */
export class MemberWritable extends Writable {
  readonly #open: () => Promise<WritableMember>
  readonly #encoder = new Encoder()
  readonly #unhook: () => void
  #member: WritableMember | undefined

  constructor(open: () => Promise<WritableMember>, options: WriteStreamOptions) {
    const { highWaterMark = HIGH_WATER_MARK, signal } = options
    super({ highWaterMark, decodeStrings: false })
    this.#open = open
    this.#unhook = destroyedBy(this, signal)
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.#open().then((member) => {
      this.#member = member
      callback()
    }, callback)
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this._writev([{ chunk, encoding }], callback)
  }

  override _writev(
    chunks: { chunk: unknown; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    this.#write(chunks).then(() => callback(), callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#finish().then(() => callback(), callback)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unhook()
    this.#member?.abort(error ?? new Error('the stream was destroyed before it was finished'))
    callback(error)
  }

  async #write(chunks: { chunk: unknown; encoding: BufferEncoding }[]): Promise<void> {
    for (const { chunk, encoding } of chunks) {
      const text = typeof chunk === 'string' && encoding !== 'utf8' && encoding !== 'utf-8'
      await this.#member?.write(this.#encoder.encode(text ? Buffer.from(chunk, encoding) : chunk))
    }
  }

  async #finish(): Promise<void> {
    await this.#member?.write(this.#encoder.end())
    await this.#member?.close()
  }
}

/** Destroys a stream when a signal aborts. Returns a function that removes the listener. */
function destroyedBy(stream: Readable | Writable, signal: AbortSignal | undefined): () => void {
  if (signal === undefined) return () => {}
  const abort = (): void => {
    stream.destroy(signal.reason)
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return () => signal.removeEventListener('abort', abort)
}
