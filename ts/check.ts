import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect, types } from 'node:util'
import { invalid } from './errors.ts'

/** What a value was to be, where a message may show the value itself if it is of that type. */
type Showable = 'name' | 'number' | 'choice'

/**
 * What a message says of a value that a caller gave: the one place that decides this. A value may be
 * a key, a passphrase or contents that got into the wrong place, so its type is said, and not the
 * value. Only what was to be a name and is a string, or was to be a number and is one, is shown.
 */
export function shown(value: unknown, as?: Showable): string {
  if (as === 'name' && typeof value === 'string') return inspect(value)
  if (as === 'number' && (typeof value === 'number' || typeof value === 'bigint')) return String(value)
  if (as === 'choice' && typeof value === 'string') return 'another string'
  if (value === undefined || value === null) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  if (Array.isArray(value)) return 'an array'
  if (types.isDate(value)) return Number.isNaN(Date.prototype.getTime.call(value)) ? 'an invalid Date' : 'a Date'
  // The tag is the engine's own for these, while a class's name, or a tag of its own, is the caller's.
  if (types.isTypedArray(value)) return `a ${TYPED_ARRAY_TAG.call(value)}`
  return 'an object'
}

const TYPED_ARRAY_TAG = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)
  ?.get as (this: unknown) => string

/** The names of all options that calls take: a message may show one of these where it does not belong. */
const optionNames = [
  'autoClose',
  'autoFlush',
  'backup',
  'blockSize',
  'buffer',
  'checksum',
  'chunkSize',
  'cipher',
  'cofferKey',
  'container',
  'csv',
  'delete',
  'digest',
  'dryRun',
  'durability',
  'encoding',
  'end',
  'exclude',
  'expect',
  'flags',
  'force',
  'from',
  'generation',
  'highWaterMark',
  'include',
  'kdf',
  'legacy',
  'length',
  'level',
  'lock',
  'lockTimeout',
  'maxCatalogSize',
  'maxKdfMemory',
  'maxMemberSize',
  'maxTotalSize',
  'member',
  'members',
  'memory',
  'mode',
  'mtime',
  'offset',
  'onProgress',
  'owner',
  'passes',
  'passphrase',
  'position',
  'prefix',
  'recursive',
  'replace',
  'salt',
  'secureKey',
  'signal',
  'start',
  'symlinks',
  'tempDir',
]

/**
 * Options as an object. A name that is not among the known ones is refused rather than ignored: a
 * misspelt key or lock would leave the coffer less protected than was meant. It is only shown if it
 * is the name of some option: a dictionary of secrets in the place of options has others.
 */
export function checkOptions<T extends object>(options: T, what: string, known: readonly (keyof T)[]): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options) || ArrayBuffer.isView(options)) {
    throw invalid(`the options of ${what} must be an object, not ${shown(options)}`)
  }
  const names = known.map(String)
  for (const name of Object.keys(options)) {
    if (names.includes(name) || (options as Record<string, unknown>)[name] === undefined) continue
    const meant = names.find((other) => other.toLowerCase() === name.toLowerCase())
    const there = `it has ${names.join(', ') || 'none'}`
    if (meant !== undefined) throw invalid(`${what} has no option ${name}: did you mean ${meant}?`)
    const elsewhere = optionNames.includes(name)
    throw invalid(`${what} has no option ${elsewhere ? name : 'of a name that was given'}: ${there}`)
  }
  return options
}

/** One of some strings, or nothing. */
export function checkChoice<T extends string>(
  value: T | undefined,
  what: string,
  choices: readonly T[],
): T | undefined {
  if (value === undefined || choices.includes(value)) return value
  const named = choices.map((choice) => `'${choice}'`).join(', ')
  throw invalid(`${what} must be one of ${named}, not ${shown(value, 'choice')}`)
}

/** True, false, or nothing. */
export function checkBoolean(value: boolean | undefined, what: string): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw invalid(`${what} must be true or false, not ${shown(value)}`)
}

/** A signal, or nothing. */
export function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  // That of jsdom, and of other realms, has its own class.
  if (
    signal === undefined ||
    (typeof signal?.throwIfAborted === 'function' && typeof signal.addEventListener === 'function')
  ) {
    return signal
  }
  throw invalid(`signal must be an AbortSignal, not ${shown(signal)}`)
}

/** An integer within limits, or nothing. */
export function checkInteger(value: number | undefined, what: string, min: number, max: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return value
  throw invalid(`${what} must be an integer from ${min} to ${max}, not ${shown(value, 'number')}`)
}

/** An absolute path of the file system, from a path or a `file:` URL. */
export function checkPath(value: string | URL, what: string): string {
  const path = isURL(value) ? pathOf(value, what) : value
  if (typeof path !== 'string' || path === '') {
    throw invalid(`${what} must be a path or a file: URL, not ${path === '' ? 'an empty string' : shown(path)}`)
  }
  if (path.includes('\0')) throw invalid(`${what} must not contain NUL`)
  return resolve(path)
}

/** Whether something is a URL, also one of another realm's class, as jsdom has it. */
export function isURL(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null) return false
  const { href, protocol } = value as Partial<URL>
  return typeof href === 'string' && typeof protocol === 'string'
}

/** Protocols that a message may show: another may be a secret with a colon in it. */
const protocols = ['http:', 'https:', 'data:', 'blob:', 'ftp:', 'file:']

function pathOf({ href, protocol }: URL, what: string): string {
  try {
    return fileURLToPath(href)
  } catch {
    throw invalid(
      `${what} must be a path or a file: URL, not ${protocols.includes(protocol) ? protocol : 'another URL'}`,
    )
  }
}

/** The name of an encoding of Node.js's, or nothing. */
export function checkEncoding(encoding: BufferEncoding | undefined): BufferEncoding | undefined {
  if (encoding === undefined || (typeof encoding === 'string' && Buffer.isEncoding(encoding))) return encoding
  throw invalid(`encoding must be one that Node.js has, such as 'utf8' or 'latin1', not ${shown(encoding, 'choice')}`)
}

/** The name of a member. The engine has rules of its own for it. */
export function checkName(name: string, what = 'the name of a member'): string {
  if (typeof name !== 'string') throw invalid(`${what} must be a string, not ${shown(name)}`)
  if (!name.isWellFormed()) throw invalid(`${what} has half of a surrogate pair in it, so it cannot be stored as UTF-8`)
  return name
}

/** Names of members, or nothing. */
export function checkNames(members: readonly string[] | undefined): string[] | undefined {
  if (members === undefined) return undefined
  if (!Array.isArray(members)) throw invalid(`members must be an array of names, not ${shown(members)}`)
  return members.map((name: string) => checkName(name))
}

/**
 * A view whose memory is there. That of one which was transferred to another thread, or lies behind
 * the end of a buffer that was made smaller, is not: it has no bytes, and an empty member in place of
 * them would look like success.
 */
export function checkThere<View extends NodeJS.ArrayBufferView>(view: View, what: string): View {
  if (view.byteLength > 0 || isThere(view)) return view
  throw invalid(`${what}: the memory of the array is gone: it was transferred, or its buffer was made smaller`)
}

function isThere(view: NodeJS.ArrayBufferView): boolean {
  try {
    // Every method of a typed array or DataView begins with this check, and this one does nothing else.
    if (types.isTypedArray(view)) Uint8Array.prototype.keys.call(view as Uint8Array)
    else BYTE_LENGTH.call(view)
    return true
  } catch {
    return false
  }
}

const BYTE_LENGTH = Object.getOwnPropertyDescriptor(DataView.prototype, 'byteLength')?.get as (this: unknown) => number
