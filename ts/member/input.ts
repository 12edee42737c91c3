import { isErrored, isReadable, Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { types } from 'node:util'
import { checkThere, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import type { Canceller } from './cancellation.ts'

/**
 * The content of a member to write: text, which is stored as UTF-8, or bytes; a stream of Node.js or of
 * the web; or any other iterable of text and bytes.
 *
 * A stream or iterable may have any length. It is spooled to a sealed temporary file, and becomes part
 * of the coffer when it has ended, all of it or nothing.
 */
export type MemberData =
  | string
  | Uint8Array
  | Readable
  | ReadableStream<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | Iterable<string | Uint8Array>

/** The target of the bytes of an input. */
export interface Sink {
  /** Rejects if no write can succeed. */
  ready?(): Promise<void>
  /** Takes bytes, and resolves when it can take more. The caller may reuse the bytes then. */
  write(bytes: Uint8Array): Promise<unknown>
}

/** Whether an input is text or bytes, and no stream or iterable. */
export function isWhole(data: MemberData): data is string | Uint8Array {
  return typeof data === 'string' || types.isUint8Array(data)
}

/** Encodes chunks of text and bytes. Half of a surrogate pair at the end of a chunk is kept for the next. */
export class Encoder {
  #half = ''

  /** The bytes of a chunk, after what was kept of the last. */
  encode(chunk: unknown): Uint8Array {
    if (typeof chunk === 'string') {
      const text = this.#half + chunk
      const last = text.charCodeAt(text.length - 1)
      const whole = last >= 0xd800 && last <= 0xdbff ? text.length - 1 : text.length
      this.#half = text.slice(whole)
      return Buffer.from(text.slice(0, whole), 'utf8')
    }
    if (!types.isUint8Array(chunk)) {
      throw invalid(`a chunk of the data must be a string or a Uint8Array, not ${shown(chunk)}`)
    }
    checkThere(chunk, 'a chunk of the data')
    return this.#half === '' ? chunk : Buffer.concat([this.end(), chunk])
  }

  /** The bytes that are kept at the end of the input. */
  end(): Uint8Array {
    const rest = Buffer.from(this.#half, 'utf8')
    this.#half = ''
    return rest
  }
}

/**
 * Writes an input to a sink, chunk by chunk. The first chunk is requested before this returns, so that an
 * early error of the input is handled. On any failure the input is stopped, and errors of the stopping
 * are ignored.
 */
export async function pour(data: MemberData, sink: Sink, ...given: (Canceller | undefined)[]): Promise<void> {
  const cancellers = given.filter((one) => one !== undefined)
  const chunks = chunksOf(data)
  const encoder = new Encoder()
  const check = (): void => {
    const cancelled = cancellers.find((one) => one.cancelled)?.cancelled
    if (cancelled) throw cancelled.reason
  }
  const pouring = (async () => {
    try {
      check()
      let next = heard(chunks.next())
      await sink.ready?.()
      for (;;) {
        const result = checkResult(await next)
        check()
        if (result.done) break
        await sink.write(encoder.encode(result.value))
        check()
        next = heard(chunks.next())
      }
      await sink.write(encoder.end())
    } catch (error) {
      chunks.stop(error)
      throw error
    }
  })()
  if (cancellers.length === 0) return pouring
  // A stalled input would never check.
  const undo: (() => void)[] = []
  const stopped = new Promise<never>((_, reject) => {
    const stop = (reason: unknown): void => {
      reject(reason)
      chunks.stop(reason)
    }
    for (const one of cancellers) undo.push(one.onCancel(stop))
  })
  try {
    await Promise.race([pouring, stopped])
  } finally {
    for (const one of undo) one()
  }
}

/** The chunks of an input, or the items of another iterable. */
export interface Chunks {
  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>>
  /** Stops the input. It never throws. */
  stop(reason: unknown): void
}

function chunksOf(data: MemberData): Chunks {
  const given: unknown = data
  if (isObject(given)) {
    if ('getReader' in given) return chunksOfWeb(given as ReadableStream)
    if (Symbol.asyncIterator in given) {
      if ('destroy' in given) return chunksOfNode(given as Readable)
      // A generator that is waiting ends when its wait does; nothing waits for that.
      return chunksOfIterator((given as AsyncIterable<unknown>)[Symbol.asyncIterator]())
    }
    if (Symbol.iterator in given) return chunksOfIterator((given as Iterable<unknown>)[Symbol.iterator]())
  }
  throw invalid(
    `the data must be a string or a Uint8Array, or a stream or another iterable of them, not ${shown(given)}`,
  )
}

/** Checks the result of an iterator. `for…of` would show a result that is no object in its error. */
export function checkResult<T>(result: T): T {
  if (isObject(result)) return result
  throw invalid(`an iterator must give result objects, not ${shown(result)}`)
}

export function chunksOfIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): Chunks {
  let stopped = false
  const stop = (): void => {
    if (stopped) return
    quietly(() => {
      // `return` of a generator that is running throws: it is the generator that stops the call.
      const returned: unknown = iterator.return?.()
      stopped = true
      return returned
    })
  }
  return { next: () => iterator.next(), stop }
}

function chunksOfWeb(stream: ReadableStream): Chunks {
  if (stream.locked) throw invalid('the stream is locked: something else is reading it')
  // These functions also take web streams; their types do not say so.
  const given = stream as unknown as Readable
  // The error of a failed stream is thrown when it is read.
  if (Readable.isDisturbed(given) && !isReadable(given) && !isErrored(given)) {
    throw invalid('the stream has been read to its end, or cancelled, before: nothing is left in it')
  }
  const reader = stream.getReader()
  const next = async (): Promise<IteratorResult<unknown>> => {
    const result = await reader.read()
    if (result.done) reader.releaseLock()
    return { done: result.done, value: result.value }
  }
  const stop = (reason: unknown): void => quietly(() => reader.cancel(reason).finally(() => reader.releaseLock()))
  return { next, stop }
}

function chunksOfNode(stream: Readable): Chunks {
  if (stream.errored) throw stream.errored
  // Its data is gone: an empty member would look like success.
  if (stream.destroyed || stream.readableEnded) {
    throw invalid('the stream has been read to its end, or destroyed, before: nothing is left in it')
  }
  const iterator = stream[Symbol.asyncIterator]()
  const stop = (): void => {
    // `destroy` may emit an error, which without a listener ends the process.
    stream.on('error', ignore)
    quietly(() => stream.destroy())
  }
  return { next: () => iterator.next(), stop }
}

/** Runs something, and ignores its errors, also those of a promise. */
function quietly(work: () => unknown): void {
  try {
    heard(work())
  } catch {
    // The call rejects with its first error.
  }
}

/** A promise whose rejection counts as handled before it is awaited. */
function heard<T>(value: T | Promise<T>): Promise<T> {
  const promise = Promise.resolve(value)
  promise.catch(ignore)
  return promise
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function ignore(): void {}
