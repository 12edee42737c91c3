import { endianness } from 'node:os'

/** The most nested containers of a value. In CBOR each takes one level, and one for its tag if it has one. */
export const MAX_DEPTH = 200

/** The most nested containers and tags in CBOR: one more for the tag of a bigint. */
export const MAX_LEVELS: number = 2 * MAX_DEPTH + 1

/** The major types, RFC 8949 section 3.1. */
export const MAJOR = { positive: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6 } as const

/** Simple values, RFC 8949 section 3.3. */
export const SIMPLE = { false: 0xf4, true: 0xf5, null: 0xf6, undefined: 0xf7 } as const

/** Tags, from IANA's registry of CBOR tags. */
export const TAG = {
  /** RFC 3339 text. Decoded, but not encoded. */
  date: 0,
  /** Seconds since 1970. */
  time: 1,
  /** A bigint and a negative one, RFC 8949 section 3.4.3. */
  bigint: 2,
  negativeBigint: 3,
  set: 258,
  /** A `Map`, also if all its keys are strings. */
  map: 259,
} as const

/** The class of a typed array. */
export type TypedArrayClass = { readonly name: string; readonly BYTES_PER_ELEMENT: number } & (new (
  buffer: ArrayBuffer,
) => ArrayBufferView)

/** Typed arrays by their tags, RFC 8746 section 2.1: the little-endian ones, which are encoded. */
const littleEndian: readonly (readonly [tag: number, type: TypedArrayClass])[] = [
  [64, Uint8Array],
  [68, Uint8ClampedArray],
  [69, Uint16Array],
  [70, Uint32Array],
  [71, BigUint64Array],
  [72, Int8Array],
  [77, Int16Array],
  [78, Int32Array],
  [79, BigInt64Array],
  [85, Float32Array],
  [86, Float64Array],
]

/** The bit of a tag for little-endian; for a Uint8Array it means clamped. */
const LITTLE_ENDIAN = 4

/** The tag of a typed array by the name of its class. */
export const arrayTags: ReadonlyMap<string, number> = new Map(littleEndian.map(([tag, { name }]) => [name, tag]))

/** The class of a typed array by its tag, in either byte order. */
export const arrayTypes: ReadonlyMap<number, TypedArrayClass> = new Map(
  littleEndian.flatMap(([tag, type]) =>
    type.BYTES_PER_ELEMENT === 1
      ? [[tag, type]]
      : [
          [tag, type],
          [tag & ~LITTLE_ENDIAN, type],
        ],
  ),
)

/** Swaps the bytes of a typed array in place if the byte order of its tag is not that of this machine. */
export function toNativeOrder(tag: number, bytes: Buffer): void {
  const size = arrayTypes.get(tag)?.BYTES_PER_ELEMENT ?? 1
  const tagged = (tag & LITTLE_ENDIAN) === 0 ? 'BE' : 'LE'
  if (size === 1 || tagged === endianness()) return
  if (size === 2) bytes.swap16()
  if (size === 4) bytes.swap32()
  if (size === 8) bytes.swap64()
}
