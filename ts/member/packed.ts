import type { NativeTime } from '../binding/native.ts'

/** The most bytes of a member that is packed, in UTF-8: larger ones are handed over one by one. */
export const SMALL_BYTES: number = 128 << 10
/** The most characters of a name that is packed; the engine refuses such a name wherever it gets it. */
const NAME_LENGTH = 4096
/** The most members, and the most bytes, that cross into the engine by one call. */
const MOST_MEMBERS = 512
const MOST_BYTES = 1 << 20
/** The bytes that are allocated at first. */
const LEAST_BYTES = 4096

/** The head of a packed member: see `PackedMembers` in crates/coffer-core/src/engine/writer/packed.rs. */
const HEAD_BYTES = 24
const NOT_GIVEN = 0xffffffff

/** Text of up to so many characters is not measured: it takes at most three bytes for each. */
const UNMEASURED = 4096

/** An upper bound of the bytes of text or bytes; exact above {@link SMALL_BYTES}. */
function boundOf(data: string | Uint8Array): number {
  if (typeof data !== 'string') return data.length
  return data.length > UNMEASURED ? Buffer.byteLength(data, 'utf8') : data.length * 3
}

/** Whether a member may be packed with others. */
export function isSmall(name: string, data: string | Uint8Array, mtime: NativeTime | undefined): boolean {
  return boundOf(data) <= SMALL_BYTES && name.length <= NAME_LENGTH && mtime?.exact === undefined
}

/** Small members one behind the other, in the form in which they cross into the engine together. */
export class PackedMembers {
  #bytes: Buffer = Buffer.alloc(0)
  #head = new DataView(this.#bytes.buffer)
  #length = 0
  #count = 0
  /** Where the data of the last member begins. */
  #last = 0

  /** The number of members. */
  get count(): number {
    return this.#count
  }

  /** The bytes of the data of the member that was added last. */
  get lastSize(): number {
    return this.#length - this.#last
  }

  /** The data of the member that was added last, until another one is added. */
  get lastData(): Uint8Array {
    return this.#bytes.subarray(this.#last, this.#length)
  }

  /**
   * Copies a member for which {@link isSmall} holds; false if there is no room for it. There is always room for one.
   */
  add(name: string, data: string | Uint8Array, mode?: number, mtime?: NativeTime): boolean {
    const bound = HEAD_BYTES + name.length * 3 + boundOf(data)
    if (!this.#reserve(bound)) return false
    const at = this.#length
    const bytes = this.#bytes
    const nameBytes = bytes.write(name, at + HEAD_BYTES)
    const start = at + HEAD_BYTES + nameBytes
    let dataBytes: number
    if (typeof data === 'string') {
      dataBytes = bytes.write(data, start)
    } else {
      dataBytes = data.length
      bytes.set(data, start)
    }
    const head = this.#head
    head.setUint32(at, nameBytes, true)
    head.setUint32(at + 4, dataBytes, true)
    head.setUint32(at + 8, mode ?? NOT_GIVEN, true)
    head.setUint32(at + 12, mtime?.nanoseconds ?? NOT_GIVEN, true)
    head.setFloat64(at + 16, mtime?.seconds ?? 0, true)
    this.#last = start
    this.#length = start + dataBytes
    this.#count += 1
    return true
  }

  /** The packed members, until another one is added. The next one is the first again. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length)
    this.#length = 0
    this.#last = 0
    this.#count = 0
    return taken
  }

  #reserve(more: number): boolean {
    const needed = this.#length + more
    if (this.#count > 0 && (this.#count >= MOST_MEMBERS || needed > MOST_BYTES)) return false
    if (needed <= this.#bytes.length) return true
    const bytes = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(MOST_BYTES, 2 * this.#bytes.length), LEAST_BYTES))
    bytes.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = bytes
    this.#head = new DataView(bytes.buffer)
    return true
  }
}
