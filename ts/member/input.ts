import { isErrored, isReadable, Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { types } from 'node:util'
import { checkThere, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import type { Stop } from './cancellation.ts'

/**
 * What a member is written from: text, which is stored as UTF-8, or bytes; a stream of Node.js or
 * of the web; or any other iterable of text and bytes.
 *
 * What comes little by little may have any length. It waits in a sealed temporary file, and becomes
 * part of the coffer when it has ended, all of it or nothing.
 */
export type MemberInput =
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
export function isWhole(data: MemberInput): data is string | Uint8Array {
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
    checkThere(chunk, 'a chunk of the data')
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
 * returns, so that no error of it goes unheard; when anything fails, it is stopped. How it takes
 * that changes nothing: what it throws then is dropped.
 */
export async function pour(data: MemberInput, sink: Sink, ...given: (Stop | undefined)[]): Promise<void> {
  const stops = given.filter((stop) => stop !== undefined)
  const chunks = chunksOf(data)
  const encoder = new Encoder()
  const check = (): void => {
    const stopped = stops.find((stop) => stop.stopped)?.stopped
    if (stopped) throw stopped.reason
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
  if (stops.length === 0) return pouring
  // A source that has stalled would never notice.
  const undo: (() => void)[] = []
  const stopped = new Promise<never>((_, reject) => {
    const stop = (reason: unknown): void => {
      reject(reason)
      chunks.stop(reason)
    }
    for (const one of stops) undo.push(one.onStop(stop))
  })
  try {
    await Promise.race([pouring, stopped])
  } finally {
    for (const one of undo) one()
  }
}

interface Chunks {
  next(): IteratorResult<unknown> | Promise<IteratorResult<unknown>>
  /** Tells the source that nothing more of it is wanted. It never throws. */
  stop(reason: unknown): void
}

function chunksOf(data: MemberInput): Chunks {
  const given: unknown = data
  if (isObject(given)) {
    if ('getReader' in given) return chunksOfWeb(given as ReadableStream)
    if (Symbol.asyncIterator in given) {
      if ('destroy' in given) return chunksOfNode(given as Readable)
      // A generator that waits for something ends when it has got it, and nothing waits for that.
      return chunksOfIterator((given as AsyncIterable<unknown>)[Symbol.asyncIterator]())
    }
    if (Symbol.iterator in given) return chunksOfIterator((given as Iterable<unknown>)[Symbol.iterator]())
  }
  throw invalid(
    `the data must be a string or a Uint8Array, or a stream or another iterable of them, not ${shown(given)}`,
  )
}

/** What an iterator gives. The language's own loop shows a result that is no object in its error. */
export function checkResult<T>(result: T): T {
  if (isObject(result)) return result
  throw invalid(`an iterator must give result objects, not ${shown(result)}`)
}

export function chunksOfIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): Chunks {
  let stopped = false
  const stop = (): void => {
    if (stopped) return
    quietly(() => {
      // A generator that is running, because it is what stops the call, cannot return, and throws.
      const returned: unknown = iterator.return?.()
      stopped = true
      return returned
    })
  }
  return { next: () => iterator.next(), stop }
}

function chunksOfWeb(stream: ReadableStream): Chunks {
  if (stream.locked) throw invalid('the stream is locked: something else is reading it')
  // These functions take web streams as well, which their types do not say.
  const given = stream as unknown as Readable
  // A stream that failed says so when it is read.
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
  // Whatever it had is gone: an empty member in its place would look like success.
  if (stream.destroyed || stream.readableEnded) {
    throw invalid('the stream has been read to its end, or destroyed, before: nothing is left in it')
  }
  const iterator = stream[Symbol.asyncIterator]()
  const stop = (): void => {
    // It may fail at being destroyed, and that is an event which ends the process where it is not heard.
    stream.on('error', ignore)
    quietly(() => stream.destroy())
  }
  return { next: () => iterator.next(), stop }
}

/** Does something whose failure, now or later, changes nothing. */
function quietly(work: () => unknown): void {
  try {
    heard(work())
  } catch {
    // What the call fails with is known already.
  }
}

/** A promise that may fail before something waits for it. */
function heard<T>(value: T | Promise<T>): Promise<T> {
  const promise = Promise.resolve(value)
  promise.catch(ignore)
  return promise
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function ignore(): void {}
