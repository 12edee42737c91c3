import { partOf } from '../binding/feed.ts'
import { type NativeCoffer, type NativeStage, type NativeTime, settled } from '../binding/native.ts'
import type { Sink } from './input.ts'

/** Small chunks are collected up to so many bytes. */
const GATHER_BYTES = 128 * 1024
/** The most bytes per call of the engine, which JavaScript's thread copies. */
const MOST_BYTES = 1 << 20

/** The treatment of an existing member of the name: replace, append, or fail. */
export type Flag = 'w' | 'a' | 'x'

/** A member that is written in parts. One write at a time. */
export class Upload implements Sink {
  readonly #native: NativeStage
  readonly #batch: bigint | undefined
  #gathered: Buffer | undefined
  #length = 0

  constructor(native: NativeCoffer, name: string, batch?: bigint) {
    this.#native = native.stage(name)
    this.#batch = batch
  }

  /** Rejects if the upload cannot succeed: the coffer is read-only, or the name is invalid. */
  async ready(): Promise<void> {
    await this.#send(new Uint8Array())
  }

  async write(bytes: Uint8Array): Promise<void> {
    const size = bytes.length
    for (let at = 0; at < size; ) {
      if (this.#length === 0 && size - at >= GATHER_BYTES) {
        const part = partOf(bytes, at, Math.min(MOST_BYTES, size - at))
        at += part.length
        await this.#send(part)
      } else {
        this.#gathered ??= Buffer.allocUnsafeSlow(GATHER_BYTES)
        const part = partOf(bytes, at, Math.min(GATHER_BYTES - this.#length, size - at))
        this.#gathered.set(part, this.#length)
        this.#length += part.length
        at += part.length
        if (this.#length === GATHER_BYTES) await this.#flush()
      }
    }
  }

  /** Makes the member part of the coffer. */
  async finish(flag: Flag, mode?: number, mtime?: NativeTime): Promise<void> {
    await this.#flush()
    await settled(this.#native.finish(this.#batch, flag, mode, mtime))
  }

  /** Discards the upload. */
  abort(): void {
    this.#native.abort()
  }

  async #flush(): Promise<void> {
    const length = this.#length
    this.#length = 0
    if (length > 0) await this.#send(this.#gathered?.subarray(0, length) ?? new Uint8Array())
  }

  async #send(bytes: Uint8Array): Promise<void> {
    await settled(this.#native.write(bytes))
  }
}
