import type { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { types } from 'node:util'
import { invalid } from './errors.ts'
import { shown } from './options.ts'

/**
 * What a member is written from: text, which is stored as UTF-8, or bytes; a stream of Node.js or
 * of the web; or any other iterable of text and bytes.
 *
 * What comes little by little may have any length. It waits in a sealed temporary file, and becomes
 * part of the coffer when it has ended, all of it or nothing.
 */
export type Source =
  | string
  | Uint8Array
  | Readable
  | ReadableStream<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | Iterable<string | Uint8Array>

/** Where the bytes of a source go. */
export interface Sink {
  /** Fails if it would never take anything. */
  ready?(): Promise<void>
  /** Takes bytes, and resolves when the next may come. They are the caller's again then. */
  write(bytes: Uint8Array): Promise<unknown>
}

/** Whether all of a source is there already. */
export function isWhole(data: Source): data is string | Uint8Array {
  return typeof data === 'string' || types.isUint8Array(data)
}

/** Chunks of text and bytes, as bytes. Half of a surrogate pair waits for its other half. */
export class Encoder {
  #half = ''

  /** A chunk's bytes, behind what waited. */
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
    return this.#half === '' ? chunk : Buffer.concat([this.end(), chunk])
  }

  /** What waited for more, and is all there is. */
  end(): Uint8Array {
    const rest = Buffer.from(this.#half, 'utf8')
    this.#half = ''
    return rest
  }
}

/**
 * Pours a source into a sink, chunk by chunk. The source is asked for its first chunk before this
 * returns, so that no error of it goes unheard; when anything fails, it is stopped.
 */
export async function pour(data: Source, sink: Sink, signal?: AbortSignal): Promise<void> {
  const chunks = chunksOf(data)
  const encoder = new Encoder()
  const pouring = (async () => {
    try {
      signal?.throwIfAborted()
      let next = heard(chunks.next())
      await sink.ready?.()
      for (;;) {
        const { done, value } = await next
        signal?.throwIfAborted()
        if (done) break
        await sink.write(encoder.encode(value))
        signal?.throwIfAborted()
        next = heard(chunks.next())
      }
      await sink.write(encoder.end())
    } catch (error) {
      chunks.stop(error)
      throw error
    }
  })()
  if (signal === undefined) return pouring
  // A source that has stalled would never notice.
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      chunks.stop(signal.reason)
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    pouring.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

interface Chunks {
  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>>
  /** Tells the source that nobody wants more of it. */
  stop(reason: unknown): void
}

function chunksOf(data: Source): Chunks {
  const given: unknown = data
  if (isObject(given)) {
    if ('getReader' in given) return chunksOfWeb(given as ReadableStream)
    if (Symbol.asyncIterator in given) {
      if ('destroy' in given) return chunksOfNode(given as Readable)
      const iterator = (given as AsyncIterable<unknown>)[Symbol.asyncIterator]()
      // A generator that waits for something ends when it has got it, and nobody waits for that.
      return { next: () => iterator.next(), stop: () => void iterator.return?.().then(ignore, ignore) }
    }
    if (Symbol.iterator in given) {
      const iterator = (given as Iterable<unknown>)[Symbol.iterator]()
      return { next: () => iterator.next(), stop: () => void iterator.return?.() }
    }
  }
  throw invalid(
    `the data must be a string or a Uint8Array, or a stream or another iterable of them, not ${shown(given)}`,
  )
}

function chunksOfWeb(stream: ReadableStream): Chunks {
  const reader = stream.getReader()
  return { next: () => reader.read(), stop: (reason) => void reader.cancel(reason).catch(ignore) }
}

function chunksOfNode(stream: Readable): Chunks {
  if (stream.errored) throw stream.errored
  // Whatever it had is gone: an empty member in its place would look like success.
  if (stream.destroyed || stream.readableEnded) {
    throw invalid('the stream has been read to its end, or destroyed, before: nothing is left in it')
  }
  const iterator = stream[Symbol.asyncIterator]()
  return { next: () => iterator.next(), stop: () => void stream.destroy() }
}

/** A promise that may fail before somebody waits for it. */
function heard<T>(value: T | Promise<T>): Promise<T> {
  const promise = Promise.resolve(value)
  promise.catch(ignore)
  return promise
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function ignore(): void {}
