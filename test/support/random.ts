import { createHash } from 'node:crypto'

/** Numbers that follow from a seed: the same seed gives the same ones. */
export class Random {
  #state: number

  constructor(seed: string) {
    this.#state = createHash('sha256').update(seed).digest().readUInt32LE(0)
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    // Mulberry32.
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % end
  }

  /** One of some things. */
  of<T>(things: readonly [T, ...T[]]): T
  of<T>(things: readonly T[]): T | undefined
  of<T>(things: readonly T[]): T | undefined {
    return things[this.below(things.length)]
  }

  /** Bytes. */
  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }
}
