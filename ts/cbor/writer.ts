import { MAJOR, SIMPLE, TAG } from './tags.ts'

/** Initial bytes of the three floats, RFC 8949 section 3.3. */
const FLOAT = { half: 0xf9, single: 0xfa, double: 0xfb } as const

/** The initial capacity in bytes. */
const ROOM = 1024

/** Writes data items of CBOR, each in its shortest form (RFC 8949 section 4.1). */
export class Writer {
  #bytes = Buffer.allocUnsafeSlow(ROOM)
  #length = 0

  /** All bytes written. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** The head of an item: its major type and an integer argument. */
  head(major: number, number: number): void {
    const type = major << 5
    if (number < 24) {
      this.#byte(type | number)
      return
    }
    const bytes = number < 2 ** 8 ? 1 : number < 2 ** 16 ? 2 : number < 2 ** 32 ? 4 : 8
    this.#byte(type | (24 + Math.log2(bytes)))
    const at = this.#reserve(bytes)
    if (bytes < 8) this.#length = this.#bytes.writeUIntBE(number, at, bytes)
    else this.#length = this.#bytes.writeBigUInt64BE(BigInt(number), at)
  }

  /** An integer, or a float for any other number and for minus zero. */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.#float(value)
    else if (value < 0) this.head(MAJOR.negative, -1 - value)
    else this.head(MAJOR.positive, value)
  }

  /** A bigint, always with the tag of one, so that it is decoded as one. */
  bigint(value: bigint): void {
    const digits = (value < 0n ? -1n - value : value).toString(16)
    this.head(MAJOR.tag, value < 0n ? TAG.negativeBigint : TAG.bigint)
    this.bytes(Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex'))
  }

  text(value: string): void {
    const bytes = Buffer.from(value)
    this.head(MAJOR.text, bytes.length)
    this.#put(bytes)
  }

  bytes(value: Uint8Array): void {
    this.head(MAJOR.bytes, value.length)
    this.#put(value)
  }

  simple(value: keyof typeof SIMPLE): void {
    this.#byte(SIMPLE[value])
  }

  #float(value: number): void {
    const half = halfOf(value)
    const form = half !== undefined ? 'half' : Math.fround(value) === value ? 'single' : 'double'
    this.#byte(FLOAT[form])
    const at = this.#reserve(8)
    if (half !== undefined) this.#length = this.#bytes.writeUInt16BE(half, at)
    else if (form === 'single') this.#length = this.#bytes.writeFloatBE(value, at)
    else this.#length = this.#bytes.writeDoubleBE(value, at)
  }

  #byte(value: number): void {
    const at = this.#reserve(1)
    this.#length = this.#bytes.writeUInt8(value, at)
  }

  #put(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#bytes.set(bytes, at)
    this.#length += bytes.length
  }

  /** Reserves room for `length` bytes, and returns their offset. */
  #reserve(length: number): number {
    const needed = this.#length + length
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length))
      larger.set(this.finish())
      this.#bytes = larger
    }
    return this.#length
  }
}

/** The bits of a half-precision float (IEEE 754 binary16), if it represents the value exactly. */
function halfOf(value: number): number | undefined {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00
  if (size >= 2 ** 16) return undefined
  // Below 2^-14 the number is subnormal: the exponent is fixed.
  const exponent = Math.max(Math.floor(Math.log2(size)), -14)
  const fraction = size / 2 ** (exponent - 10)
  if (!Number.isInteger(fraction)) return undefined
  return sign | (size < 2 ** -14 ? fraction : ((exponent + 15) << 10) | (fraction - 1024))
}
