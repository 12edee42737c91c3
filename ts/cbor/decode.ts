import { SequenceEvents } from 'cbor2/decoder'
import { shown } from '../check.ts'
import { CofferError } from '../errors.ts'
import { tooLong } from '../member/text.ts'
import { HeapRoom, NoRoom } from './heap.ts'
import { arrayTypes, MAJOR, MAX_LEVELS, TAG, toNativeOrder } from './tags.ts'

/** A container whose parts are being decoded. */
interface Open {
  /** Its major type. */
  readonly type: number
  /** For a tag, its number. */
  readonly tag: number | bigint | undefined
  readonly parts: unknown[]
  /** The number of missing parts; Infinity if a break ends it. */
  left: number
}

/** The origin of the bytes, for errors. */
export interface Origin {
  path: string
  member: string
}

/**
 * Decodes a value from CBOR. Nothing in it is executed, and other users of cbor2 in the process cannot
 * affect the result.
 *
 * @throws {CofferError} `ERR_COFFER_CORRUPT` if it is not CBOR, if bytes follow it, or if it has a tag or
 *   a simple value without a counterpart in JavaScript. `ERR_COFFER_LIMIT` if it is nested too deeply, or
 *   takes more memory than `room`
 */
export function decode(bytes: Uint8Array, origin: Origin, room: HeapRoom = new HeapRoom()): unknown {
  try {
    return new Decoder(room).decode(bytes)
  } catch (cause) {
    const where = `${shown(origin.member, 'name')} of ${origin.path}`
    if (cause instanceof TooDeep) {
      throw new CofferError('ERR_COFFER_LIMIT', `${where} has more than ${MAX_LEVELS} levels`, { ...origin })
    }
    if (cause instanceof NoRoom) {
      throw new CofferError('ERR_COFFER_LIMIT', `${where} cannot be loaded: ${cause.message}`, { ...origin })
    }
    if ((cause as NodeJS.ErrnoException).code === 'ERR_STRING_TOO_LONG') throw tooLong(origin.member)
    // A read beyond the end is a RangeError of DataView. Messages of cbor2 contain bytes of the input,
    // which may be a key if the member is not CBOR, so they are not passed on.
    const reason =
      cause instanceof Wrong
        ? cause.message
        : cause instanceof RangeError
          ? 'it ends too early'
          : 'it is not well-formed'
    throw new CofferError('ERR_COFFER_CORRUPT', `${where} is not CBOR that load can read: ${reason}`, { ...origin })
  }
}

class TooDeep extends Error {}

/** An error in CBOR, whose message has nothing of the input in it. */
class Wrong extends Error {}

/**
 * Estimated bytes on the heap: for a part of an array, for a part of a map or object, for a container, and for
 * a Buffer.
 */
const COST = { part: 24, pair: 64, container: 160, buffer: 160 } as const

/** Builds values from the items that cbor2 decodes. */
class Decoder {
  readonly #open: Open[] = []
  readonly #room: HeapRoom
  #complete = false
  #value: unknown

  constructor(room: HeapRoom) {
    this.#room = room
  }

  decode(bytes: Uint8Array): unknown {
    // cbor2 counts an array as two levels, so the limit in #begin is reached first.
    const items = new SequenceEvents(bytes, { maxDepth: 2 * MAX_LEVELS + 2, encoding: null, requirePreferred: false })
    for (const [type, , value] of items) {
      if (this.#complete) throw new Wrong('bytes follow it')
      this.#read(type, value)
    }
    if (!this.#complete) throw new Wrong('it is empty')
    return this.#value
  }

  #read(type: number, value: unknown): void {
    const isString = type === MAJOR.bytes || type === MAJOR.text
    if (typeof value === 'symbol') this.#break()
    else if (type === MAJOR.array || (isString && value === Infinity)) this.#begin(type, value as number)
    else if (type === MAJOR.map) this.#begin(type, (value as number) * 2)
    else if (type === MAJOR.tag) this.#begin(type, 1, value as number | bigint)
    else if (type === MAJOR.bytes) {
      this.#room.take(COST.buffer)
      this.#add(Buffer.from(value as Uint8Array))
    } else if (typeof value !== 'object' || value === null) this.#add(value)
    else throw new Wrong('it has an unknown simple value')
  }

  #begin(type: number, left: number, tag?: number | bigint): void {
    if (this.#open.length === MAX_LEVELS) throw new TooDeep()
    this.#room.take(COST.container)
    const container: Open = { type, tag, parts: [], left }
    if (left === 0) this.#add(this.#finish(container))
    else this.#open.push(container)
  }

  #break(): void {
    const container = this.#open.pop()
    if (container?.left !== Infinity) throw new Wrong('it has a misplaced break')
    this.#add(this.#finish(container))
  }

  #add(value: unknown): void {
    let item = value
    for (;;) {
      const container = this.#open.at(-1)
      if (container === undefined) {
        this.#value = item
        this.#complete = true
        return
      }
      this.#room.take(
        (container.type === MAJOR.map ? COST.pair : COST.part) + (typeof item === 'string' ? item.length : 0),
      )
      container.parts.push(item)
      container.left -= 1
      if (container.left > 0) return
      this.#open.pop()
      item = this.#finish(container)
    }
  }

  /** The value of a container, whose parent is the last of the open ones. */
  #finish({ type, tag, parts }: Open): unknown {
    switch (type) {
      case MAJOR.bytes:
        return Buffer.concat(parts as Buffer[])
      case MAJOR.text:
        return parts.join('')
      case MAJOR.map:
        return mapFrom(parts, this.#open.at(-1)?.tag === TAG.map)
      case MAJOR.tag:
        return tagged(tag, parts[0])
      default:
        return parts
    }
  }
}

/** A plain object, or a Map if it is tagged as one or has keys that are not strings. */
function mapFrom(parts: readonly unknown[], explicit: boolean): unknown {
  if (parts.length % 2 !== 0) throw new Wrong('it has a key without a value')
  const map = new Map<unknown, unknown>()
  for (let at = 0; at < parts.length; at += 2) map.set(parts[at], parts[at + 1])
  if (map.size * 2 < parts.length) throw new Wrong('it has a duplicate key')
  if (explicit || ![...map.keys()].every((key) => typeof key === 'string')) return map
  // Defines properties and calls no setter, so that `__proto__` is an ordinary name.
  return Object.fromEntries(map as Map<string, unknown>)
}

function tagged(tag: number | bigint | undefined, value: unknown): unknown {
  switch (tag) {
    case TAG.date:
      if (typeof value === 'string' && RFC_3339.test(value)) return validDate(Date.parse(value))
      break
    case TAG.time:
      if (typeof value === 'number') return validDate(milliseconds(value))
      break
    case TAG.bigint:
      if (Buffer.isBuffer(value)) return magnitude(value)
      break
    case TAG.negativeBigint:
      if (Buffer.isBuffer(value)) return -1n - magnitude(value)
      break
    case TAG.set:
      if (Array.isArray(value)) return setFrom(value)
      break
    case TAG.map:
      if (value instanceof Map) return value
      break
    default:
      if (typeof tag === 'number' && arrayTypes.has(tag)) {
        if (Buffer.isBuffer(value)) return typedArray(tag, value)
        break
      }
      throw new Wrong(`it has the unknown tag${number(tag)}`)
  }
  throw new Wrong(`the tag ${tag} is before a value of another type`)
}

/** The number of a tag for a message. A large one is left out: it may be bytes of a member that is not CBOR. */
const number = (tag: number | bigint | undefined): string => (typeof tag === 'number' && tag < 2 ** 16 ? ` ${tag}` : '')

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i

function validDate(time: number): Date {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) throw new Wrong('it has an invalid date')
  return date
}

/** Milliseconds from seconds. Only the fraction is rounded, which is more exact than multiplying the whole. */
function milliseconds(seconds: number): number {
  const whole = Math.trunc(seconds)
  return whole * 1_000 + Math.round((seconds - whole) * 1_000)
}

function magnitude(bytes: Buffer): bigint {
  return BigInt(`0x0${bytes.toString('hex')}`)
}

function setFrom(items: readonly unknown[]): Set<unknown> {
  const set = new Set(items)
  if (set.size < items.length) throw new Wrong('it has a duplicate item of a set')
  return set
}

function typedArray(tag: number, value: Buffer): ArrayBufferView {
  const Type = arrayTypes.get(tag) ?? Uint8Array
  if (value.length % Type.BYTES_PER_ELEMENT !== 0) throw new Wrong(`it has a ${Type.name} that is cut off`)
  const bytes = Buffer.from(new ArrayBuffer(value.length))
  value.copy(bytes)
  toNativeOrder(tag, bytes)
  return new Type(bytes.buffer as ArrayBuffer)
}
