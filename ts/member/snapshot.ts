import { type NativeCoffer, settled } from '../binding/native.ts'
import type { Range } from './lines.ts'
import type { Member } from './member.ts'

/** What gives {@link exportTar} the members of a coffer in one state. */
export const SNAPSHOTS = Symbol('versions')

/**
 * One version of a member, to be read part by part. Once the member is replaced or deleted, every
 * read is `ERR_COFFER_STALE`.
 */
export class MemberSnapshot {
  /** The bytes of the member. */
  readonly size: number
  readonly #native: NativeCoffer
  readonly #name: string
  readonly #version: bigint
  /** What was decoded last, and where it begins. */
  #known: { at: number; bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) }

  private constructor(native: NativeCoffer, name: string, { size, version }: Range) {
    this.size = size
    this.#native = native
    this.#name = name
    this.#version = version
  }

  /** The version that a look at the coffer found. */
  static of(native: NativeCoffer, { name, size }: Member, version: bigint): MemberSnapshot {
    return new MemberSnapshot(native, name, { size, version, bytes: new Uint8Array() })
  }

  /** The version that is there now. */
  static async open(native: NativeCoffer, name: string): Promise<MemberSnapshot> {
    return new MemberSnapshot(native, name, await settled(native.readRange(name, 0, 0)))
  }

  /** Some bytes, and with `most` more where they had to be decoded anyway. */
  async range(start: number, length: number, most?: number): Promise<Range<Buffer>> {
    return settled(this.#native.readRange(this.#name, start, length, this.#version, most))
  }

  /** Exactly these bytes of the member. The neighbours decoded with them are remembered. */
  async read(start: number, length: number): Promise<Buffer> {
    const { at, bytes } = this.#known
    if (start >= at && start + length <= at + bytes.length) return bytes.subarray(start - at, start - at + length)
    const range = await this.range(start, length, this.size - start)
    this.#known = { at: start, bytes: range.bytes }
    return range.bytes.subarray(0, length)
  }

  /** Forgets what it knows. */
  forget(): void {
    this.#known = { at: 0, bytes: Buffer.alloc(0) }
  }
}
