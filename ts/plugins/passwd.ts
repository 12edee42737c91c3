import { NoRoom } from '../cbor/heap.ts'
import { CofferError } from '../errors.ts'
import type { PasswordEntry } from './password-entry.ts'
import { Global, PickledObject, unpickle } from './pickle.ts'

/** The member with the pickle of PyCoffer's password plugin. */
export const PASSWD = '.plugins/passwd'

/** PyCoffer's class of a password entry. */
class PyPasswordInfo extends PickledObject {}

/** The bytes of a pickled date: two of the year, month, day, hour, minute, second, three of the microseconds. */
const DATE_BYTES = 10

/** The most characters of all entries together: a pickle can refer to one long text many times. */
const MAX_TEXT = 64 * 1024 * 1024

/** The globals that a record of PyCoffer uses, in all protocols. Protocols below 3 use the names of Python 2. */
const globals: ReadonlyMap<string, Global> = new Map(
  [
    new Global('pycoffer.plugins.password.PasswordInfo', () => new PyPasswordInfo()),
    new Global('datetime.datetime', ([bytes, ...rest]) => localDate(bytes, rest)),
    // Protocols 0 and 1 create objects with these,
    ...['copyreg._reconstructor', 'copy_reg._reconstructor'].map((name) => new Global(name, reconstruct)),
    ...['builtins.object', '__builtin__.object'].map((name) => new Global(name, refuseCall)),
    // and protocols below 3 write bytes with this.
    new Global('_codecs.encode', ([text, encoding]) => latin1(text, encoding)),
  ].map((global) => [global.name, global]),
)

/**
 * The passwords in a record of PyCoffer. Nothing in it is executed: anything but a dict of PyCoffer's
 * `PasswordInfo` is an error.
 *
 * @throws {CofferError} `ERR_COFFER_CORRUPT`; `ERR_COFFER_LIMIT` if it takes too much memory
 */
export function passwordsFromPyCoffer(pickle: Uint8Array, path: string): PasswordEntry[] {
  try {
    return entriesFrom(unpickle(pickle, globals))
  } catch (error) {
    // Causes contain parts of the record, so they are not passed on.
    const reason = error instanceof Error ? error.message : 'it cannot be read'
    throw new CofferError(
      error instanceof NoRoom ? 'ERR_COFFER_LIMIT' : 'ERR_COFFER_CORRUPT',
      `'${PASSWD}' of ${path} is not a record of PyCoffer's password plugin: ${reason}`,
      { path, member: PASSWD },
    )
  }
}

function entriesFrom(store: unknown): PasswordEntry[] {
  if (!(store instanceof Map)) throw new Error('it is not a dict')
  let length = 0
  return Array.from(store, ([key, info]) => {
    if (!Array.isArray(key) || key.length !== 2) throw new Error('it has a key that is not an owner and a name')
    if (!(info instanceof PyPasswordInfo)) throw new Error('it has a value that is not a PasswordInfo')
    const text = (value: unknown, what: string): string | null => {
      if (value === undefined || value === null) return null
      if (typeof value !== 'string' || !value.isWellFormed())
        throw new Error(`it has an entry whose ${what} is not text`)
      length += value.length
      if (length > MAX_TEXT) throw new Error('it unfolds to more than 64 MiB')
      return value
    }
    const field = (what: string): string | null => text(info.attributes.get(what), what)
    const date = (what: string): Date => {
      const value = info.attributes.get(what)
      if (!(value instanceof Date)) throw new Error(`it has an entry whose ${what} is not a date`)
      return value
    }
    return {
      name: text(key[1], 'name') ?? '',
      owner: text(key[0], 'owner'),
      username: field('username'),
      password: field('password'),
      url: field('url'),
      note: field('note'),
      ctime: date('ctime'),
      mtime: date('mtime'),
    }
  })
}

/** PyCoffer's dates are local times without a zone. */
function localDate(bytes: unknown, rest: readonly unknown[]): Date {
  if (!Buffer.isBuffer(bytes) || bytes.length !== DATE_BYTES) throw new Error('it has an invalid date')
  if (rest.length > 0) throw new Error('it has a date with a time zone, which PyCoffer does not write')
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = bytes.subarray(2)
  // The highest bit of the month is `fold`: it distinguishes the repeated hour when a clock is set back.
  const monthOfYear = month & 0x7f
  if (monthOfYear < 1 || monthOfYear > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59) {
    throw new Error('it has an invalid date')
  }
  // The constructor of Date maps years below 100 to the twentieth century.
  const date = new Date(0)
  date.setFullYear(bytes.readUInt16BE(0), monthOfYear - 1, day)
  date.setHours(hour, minute, second, Math.floor(bytes.readUIntBE(7, 3) / 1_000))
  return date
}

function reconstruct([type]: readonly unknown[]): unknown {
  if (!(type instanceof Global)) throw new Error('it creates an object without a class')
  return type.call([])
}

function refuseCall(): never {
  throw new Error('it creates an object without a class')
}

function latin1(text: unknown, encoding: unknown): Buffer {
  // Only dates are bytes in such a record; longer bytes could exhaust memory.
  if (typeof text !== 'string' || text.length > DATE_BYTES || encoding !== 'latin1') {
    throw new Error('it has bytes that are not a date')
  }
  return Buffer.from(text, 'latin1')
}
