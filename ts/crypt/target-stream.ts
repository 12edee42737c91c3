import { Writable } from 'node:stream'
import { type NativeOutput, settled } from '../binding/native.ts'

type Done = (error?: Error | null) => void

/** A stream to a file that gets its name at the end. */
export class TargetStream extends Writable {
  readonly #opening: Promise<NativeOutput>

  constructor(opening: Promise<NativeOutput>) {
    super({ decodeStrings: true })
    this.#opening = opening
    // A stream that is destroyed at once never awaits it.
    opening.catch(() => {})
  }

  override _construct(done: Done): void {
    this.#opening.then(() => done(), done)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#opening.then((output) => settled(output.write(chunk))).then(() => done(), done)
  }

  override _final(done: Done): void {
    this.#opening.then((output) => settled(output.finish())).then(() => done(), done)
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#opening.then(
      (output) => output.release(),
      () => {},
    )
    done(error)
  }
}
