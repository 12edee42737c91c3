import { Transform, type TransformCallback } from 'node:stream'

/** An encryptor or decryptor of the engine: one call at a time, and released at the end. */
interface Native {
  release(): void
}

/** How a stream uses its coder. */
interface Coding<N extends Native> {
  /** Takes bytes, and yields output. */
  take(native: N, bytes: Uint8Array): AsyncIterable<Buffer>
  /** Takes the end of the input, and yields the rest of the output. */
  finish(native: N): AsyncIterable<Buffer>
}

/** The bytes collected for one call of the engine: enough for several of its threads. */
const GATHERED = 4 << 20

/**
 * A stream through a coder of the engine, with backpressure: no input is taken while output waits for
 * its reader.
 */
export class CodingStream<N extends Native> extends Transform {
  readonly #coding: Coding<N>
  readonly #opening: Promise<N>
  #native: N | undefined
  /** The collected bytes: a copy, because the writer may reuse its memory. */
  readonly #gathered = Buffer.allocUnsafeSlow(GATHERED)
  #size = 0
  #wanted: (() => void) | undefined

  constructor(opening: Promise<N>, coding: Coding<N>) {
    super()
    this.#coding = coding
    this.#opening = opening
    // A stream that is destroyed at once never awaits it.
    opening.catch(() => {})
  }

  override _construct(done: (error?: Error | null) => void): void {
    this.#opening.then(
      (native) => {
        this.#native = native
        done()
      },
      (error: Error) => done(error),
    )
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    if (this.#size + chunk.length < GATHERED) {
      this.#gather(chunk)
      done()
    } else {
      this.#pass(this.#take(chunk), done)
    }
  }

  override _flush(done: TransformCallback): void {
    this.#pass(this.#end(), done)
  }

  override _read(size: number): void {
    this.#wanted?.()
    super._read(size)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#wanted?.()
    this.#gathered.fill(0, 0, this.#size)
    this.#opening.then(
      (native) => native.release(),
      () => {},
    )
    done(error)
  }

  /** Pushes output as fast as it is read. */
  #pass(coming: AsyncIterable<Buffer>, done: TransformCallback): void {
    const pass = async (): Promise<void> => {
      for await (const part of coming) {
        // A destroyed stream is never read again.
        if (part.length > 0 && !this.destroyed && !this.push(part)) {
          await new Promise<void>((wanted) => {
            this.#wanted = wanted
          })
          this.#wanted = undefined
        }
        if (this.destroyed) return
      }
    }
    pass().then(
      () => done(),
      (error: Error) => done(error),
    )
  }

  /** Collects as much of a chunk as fits, and returns the number of bytes. */
  #gather(chunk: Buffer): number {
    const copied = chunk.copy(this.#gathered, this.#size)
    this.#size += copied
    return copied
  }

  async *#take(chunk: Buffer): AsyncGenerator<Buffer, void, undefined> {
    let rest = chunk.subarray(this.#gather(chunk))
    while (this.#size === GATHERED) {
      yield* this.#code()
      rest = rest.subarray(this.#gather(rest))
    }
  }

  async *#end(): AsyncGenerator<Buffer, void, undefined> {
    if (this.#size > 0) yield* this.#code()
    if (this.#native) yield* this.#coding.finish(this.#native)
  }

  /** Passes the collected bytes to the engine. */
  async *#code(): AsyncGenerator<Buffer, void, undefined> {
    const bytes = this.#gathered.subarray(0, this.#size)
    this.#size = 0
    try {
      if (this.#native) yield* this.#coding.take(this.#native, bytes)
    } finally {
      bytes.fill(0)
    }
  }
}
