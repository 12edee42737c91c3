import { type NativeCoffer, settled } from '../binding/native.ts'
import type { Range } from './lines.ts'
import type { Member } from './member.ts'

/** The key of the method of a coffer that returns snapshots of its members: see {@link exportTar}. */
export const SNAPSHOTS: unique symbol = Symbol('versions')

/**
 * A version of a member, for reading part by part. Once the member is replaced or deleted, every read
 * is `ERR_COFFER_STALE`.
 */
export class MemberSnapshot {
  /** The bytes of the member. */
  readonly size: number
  /** The coffer, or what refers to it: it is not collected while one of its members is being read. */
  readonly owner: object
  readonly #native: NativeCoffer
  readonly #name: string
  readonly #version: bigint
  /** The bytes decoded last, and their offset. */
  #known: { at: number; bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) }

  private constructor(owner: object, native: NativeCoffer, name: string, { size, version }: Range) {
    this.owner = owner
    this.size = size
    this.#native = native
    this.#name = name
    this.#version = version
  }

  /** The snapshot of a version that the engine listed. */
  static of(owner: object, native: NativeCoffer, { name, size }: Member, version: bigint): MemberSnapshot {
    return new MemberSnapshot(owner, native, name, { size, version, bytes: new Uint8Array() })
  }

  /** The snapshot of the current version. */
  static async open(owner: object, native: NativeCoffer, name: string): Promise<MemberSnapshot> {
    // A refresh moves the coffer to another commit, and this stays.
    const own = native.pinned() ?? native
    return new MemberSnapshot(owner, own, name, await settled(own.readRange(name, 0, 0)))
  }

  /** Reads `length` bytes; up to `most`, if the engine had to decode them anyway. */
  async range(start: number, length: number, most?: number): Promise<Range<Buffer>> {
    return settled(this.#native.readRange(this.#name, start, length, this.#version, most))
  }

  /** Reads exactly `length` bytes, and keeps the bytes after them that were decoded with them. */
  async read(start: number, length: number): Promise<Buffer> {
    const { at, bytes } = this.#known
    if (start >= at && start + length <= at + bytes.length) return bytes.subarray(start - at, start - at + length)
    const range = await this.range(start, length, this.size - start)
    this.#known = { at: start, bytes: range.bytes }
    return range.bytes.subarray(0, length)
  }

  /** Drops the kept bytes. */
  forget(): void {
    this.#known = { at: 0, bytes: Buffer.alloc(0) }
  }
}
