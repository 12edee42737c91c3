import { types } from 'node:util'
import { CofferError, type ErrorCode } from '../errors.ts'
import { arrayTags, MAJOR, MAX_DEPTH, TAG, toNativeOrder } from './tags.ts'
import { Writer } from './writer.ts'

/** Formats the path to a part of a container. */
type Part = (at: unknown) => string

const item: Part = (at) => `[${at}]`
const property: Part = (at) =>
  /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(`${at}`) ? `.${at}` : `[${JSON.stringify(at)}]`
const mapKey: Part = (at) => `.keys()[${at}]`
// A key of a Map is a value, which may be secret, so its index is shown. The name of a property is shown.
const mapValue: Part = (at) => `.values()[${at}]`
const setItem: Part = (at) => `.values()[${at}]`

/** A container that is being encoded, and its current part. */
interface Step {
  readonly container: object
  part: Part
  at: unknown
}

/**
 * Encodes a value as CBOR, which `decode` returns unchanged. Methods of the value, such as `toJSON`, are
 * not used.
 *
 * @throws {CofferError} `ERR_COFFER_INVALID_ARG`: the message has the path to the part that cannot be
 *   stored. `ERR_COFFER_LIMIT`: it is nested too deeply
 */
export function encode(value: unknown): Uint8Array {
  return new Encoder().encode(value)
}

class Encoder {
  readonly #writer = new Writer()
  readonly #steps: Step[] = []

  encode(value: unknown): Uint8Array {
    try {
      this.#write(value)
      return this.#writer.finish()
    } catch (error) {
      if (error instanceof CofferError) throw error
      // A getter or a Proxy has thrown, or an array was transferred. The message may contain the value, so
      // it is not repeated.
      throw this.#refusal('cannot be read: reading it throws (see the cause)', 'ERR_COFFER_INVALID_ARG', error)
    }
  }

  #write(value: unknown): void {
    if (typeof value === 'string') this.#text(value)
    else if (typeof value === 'number') this.#writer.number(value)
    else if (typeof value === 'bigint') this.#writer.bigint(value)
    else if (typeof value === 'boolean') this.#writer.simple(value ? 'true' : 'false')
    else if (value === undefined) this.#writer.simple('undefined')
    else if (value === null) this.#writer.simple('null')
    else if (typeof value === 'object') this.#object(value)
    else throw this.#refusal(`is a ${typeof value}`)
  }

  #text(value: string): void {
    if (!value.isWellFormed())
      throw this.#refusal('has half of a surrogate pair in it, which cannot be encoded as UTF-8')
    this.#writer.text(value)
  }

  #object(value: object): void {
    if (this.#steps.some(({ container }) => container === value)) {
      throw this.#refusal('refers to an object that contains it')
    }
    if (this.#steps.length === MAX_DEPTH) {
      throw this.#refusal(`is more than ${MAX_DEPTH} levels deep`, 'ERR_COFFER_LIMIT')
    }
    // An instance of a subclass has a longer prototype chain. Comparing with the class itself would refuse
    // values of other realms, such as all values in a Jest test.
    const ancestors = prototypes(value)
    if (Array.isArray(value) && ancestors === 2) this.#array(value)
    else if (types.isDate(value) && ancestors === 2) this.#date(value)
    else if (types.isMap(value) && ancestors === 2) this.#map(value)
    else if (types.isSet(value) && ancestors === 2) this.#set(value)
    else if (Buffer.isBuffer(value) && ancestors === 4) this.#writer.bytes(bytesOf(value))
    else if (types.isTypedArray(value) && ancestors === 3) this.#typedArray(value)
    else if (ancestors <= 1 && Object.prototype.toString.call(value) === '[object Object]') this.#properties(value)
    else throw this.#refusal(`is ${whatItIs(value)}`)
  }

  #array(array: readonly unknown[]): void {
    const { length } = array
    this.#writer.head(MAJOR.array, length)
    this.#inside(array, (step) => {
      step.part = item
      for (let index = 0; index < length; index += 1) {
        step.at = index
        this.#write(array[index])
      }
    })
  }

  #date(date: Date): void {
    const time = Date.prototype.getTime.call(date)
    if (Number.isNaN(time)) throw this.#refusal('is an invalid Date')
    this.#writer.head(MAJOR.tag, TAG.time)
    this.#writer.number(time / 1_000)
  }

  #map(map: ReadonlyMap<unknown, unknown>): void {
    const entries = [...Map.prototype.entries.call(map)]
    this.#writer.head(MAJOR.tag, TAG.map)
    this.#writer.head(MAJOR.map, entries.length)
    this.#inside(map, (step) => {
      for (const [index, [key, value]] of entries.entries()) {
        step.part = mapKey
        step.at = index
        this.#write(key)
        step.part = mapValue
        this.#write(value)
      }
    })
  }

  #set(set: ReadonlySet<unknown>): void {
    const items = [...Set.prototype.values.call(set)]
    this.#writer.head(MAJOR.tag, TAG.set)
    this.#writer.head(MAJOR.array, items.length)
    this.#inside(set, (step) => {
      step.part = setItem
      for (const [index, value] of items.entries()) {
        step.at = index
        this.#write(value)
      }
    })
  }

  #typedArray(array: NodeJS.TypedArray): void {
    const tag = arrayTags.get(array[Symbol.toStringTag])
    if (tag === undefined) throw this.#refusal(`is ${whatItIs(array)}`)
    const bytes = Buffer.from(bytesOf(array))
    toNativeOrder(tag, bytes)
    this.#writer.head(MAJOR.tag, tag)
    this.#writer.bytes(bytes)
  }

  #properties(value: object): void {
    const keys = Object.keys(value)
    if (
      Object.getOwnPropertySymbols(value).some((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol))
    ) {
      throw this.#refusal('has a property whose key is a symbol')
    }
    this.#writer.head(MAJOR.map, keys.length)
    this.#inside(value, (step) => {
      step.part = property
      for (const key of keys) {
        step.at = key
        this.#text(key)
        this.#write((value as Record<string, unknown>)[key])
      }
    })
  }

  #inside(container: object, write: (step: Step) => void): void {
    const step: Step = { container, part: item, at: 0 }
    this.#steps.push(step)
    write(step)
    this.#steps.pop()
  }

  #refusal(reason: string, code: ErrorCode = 'ERR_COFFER_INVALID_ARG', cause?: unknown): CofferError {
    const path = this.#steps.map(({ part, at }) => part(at)).join('')
    return new CofferError(code, `value${path} ${reason}`, { cause })
  }
}

/** The bytes of a typed array. Throws if its buffer was transferred or shrunk. */
function bytesOf({ buffer, byteOffset, byteLength }: NodeJS.TypedArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

function prototypes(value: object): number {
  let count = 0
  for (let at = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) count += 1
  return count
}

/** Tags of built-in objects whose constructor is `Object`. */
const builtIns = ['Arguments', 'Atomics', 'Intl', 'JSON', 'Math', 'Reflect', 'WebAssembly']

function whatItIs(value: object): string {
  if (types.isProxy(value)) return 'a Proxy'
  const type: unknown = Object.getPrototypeOf(value)?.constructor?.name
  const tag = Object.prototype.toString.call(value).slice('[object '.length, -1)
  // Any other tag may be the caller's.
  const builtIn = builtIns.includes(tag) ? tag : 'an unusual object'
  const name = typeof type === 'string' && type !== 'Object' ? type : builtIn
  return `an instance of ${name}: dump takes plain objects, arrays, Map, Set, Date, Buffer, typed arrays and primitive values`
}
