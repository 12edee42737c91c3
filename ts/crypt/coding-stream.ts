import { Transform, type TransformCallback } from 'node:stream'

/** A coder of the engine's: it works on one thing at a time, and is let go at the end. */
interface Native {
  release(): void
}

/** What a stream asks of its coder. */
interface Coding<N extends Native> {
  /** Takes bytes, and yields what comes out of them. */
  take(native: N, bytes: Uint8Array): AsyncIterable<Buffer>
  /** Takes the end, and yields the rest. */
  finish(native: N): AsyncIterable<Buffer>
}

/** How much is gathered before the engine is asked: enough to keep several of its threads busy. */
const GATHERED = 4 << 20

/**
 * A stream through a coder of the engine's. Neither side is ever run ahead of: nothing is taken in
 * while something that came out is not wanted yet.
 */
export class CodingStream<N extends Native> extends Transform {
  readonly #coding: Coding<N>
  readonly #opening: Promise<N>
  #native: N | undefined
  /** What is gathered: copies, because whoever wrote something may use its memory again. */
  readonly #gathered = Buffer.allocUnsafeSlow(GATHERED)
  #size = 0
  #wanted: (() => void) | undefined

  constructor(opening: Promise<N>, coding: Coding<N>) {
    super()
    this.#coding = coding
    this.#opening = opening
    // A stream that is destroyed at once never asks.
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

  /** Passes on what comes out, as fast as it is wanted. */
  #pass(coming: AsyncIterable<Buffer>, done: TransformCallback): void {
    const pass = async (): Promise<void> => {
      for await (const part of coming) {
        // Nobody asks a stream that was destroyed meanwhile for more.
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

  /** Gathers what there is room for of a chunk, and says how much that was. */
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

  /** Gives to the engine what was gathered. */
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
