import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect, types } from 'node:util'
import { invalid } from './errors.ts'

/** The expected type of a value that a message may show if it has that type. */
type Showable = 'name' | 'number' | 'choice'

/**
 * The description of a caller's value in a message. The value may be a key, a passphrase or contents in
 * the wrong place, so only its type is shown; the value itself is shown where a name was expected and it
 * is a string, or a number was expected and it is one. All messages about values use this function.
 */
export function shown(value: unknown, as?: Showable): string {
  if (as === 'name' && typeof value === 'string') return inspect(value)
  if (as === 'number' && (typeof value === 'number' || typeof value === 'bigint')) return String(value)
  if (as === 'choice' && typeof value === 'string') return 'another string'
  if (value === undefined || value === null) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  if (Array.isArray(value)) return 'an array'
  if (types.isDate(value)) return Number.isNaN(Date.prototype.getTime.call(value)) ? 'an invalid Date' : 'a Date'
  // The tag of a typed array is fixed by the engine; the name of a class or another tag is the caller's.
  if (types.isTypedArray(value)) return `a ${TYPED_ARRAY_TAG.call(value)}`
  return 'an object'
}

const TYPED_ARRAY_TAG = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)
  ?.get as (this: unknown) => string

/** The names of the options of all calls. A message shows the name of an unknown option only if it is one of these. */
const optionNames = [
  'after',
  'as',
  'autoClose',
  'autoCompact',
  'autoFlush',
  'backup',
  'bigint',
  'blockSize',
  'buffer',
  'checksum',
  'chunkSize',
  'cipher',
  'claimedNames',
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
  'glob',
  'highWaterMark',
  'include',
  'interval',
  'kdf',
  'legacy',
  'length',
  'level',
  'limit',
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
  'plugins',
  'position',
  'prefix',
  'preserve',
  'recursive',
  'replace',
  'salt',
  'scrubDelay',
  'secureKey',
  'signal',
  'start',
  'symlinks',
  'tempDir',
  'throwIfNoEntry',
]

/**
 * Checks that options are an object without unknown names. An unknown name is an error, because an
 * ignored misspelling of a key or lock would leave the coffer less protected. It is shown only if it is
 * the name of an option of another call: the names in a dictionary of secrets are not shown.
 */
export function checkOptions<T extends object>(options: T, what: string, known: readonly (keyof T)[]): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options) || ArrayBuffer.isView(options)) {
    throw invalid(`the options of ${what} must be an object, not ${shown(options)}`)
  }
  const names = known.map(String)
  for (const name of Object.keys(options)) {
    if (names.includes(name) || (options as Record<string, unknown>)[name] === undefined) continue
    const meant = names.find((other) => other.toLowerCase() === name.toLowerCase())
    const there = `its options are ${names.join(', ') || 'none'}`
    if (meant !== undefined) throw invalid(`${what} has no option ${name}: did you mean ${meant}?`)
    const elsewhere = optionNames.includes(name)
    throw invalid(`${what} has no option ${elsewhere ? name : 'with a given name'}: ${there}`)
  }
  return options
}

/** Checks that a value is one of some strings, or undefined. */
export function checkChoice<T extends string>(
  value: T | undefined,
  what: string,
  choices: readonly T[],
): T | undefined {
  if (value === undefined || choices.includes(value)) return value
  const named = choices.map((choice) => `'${choice}'`).join(', ')
  throw invalid(`${what} must be one of ${named}, not ${shown(value, 'choice')}`)
}

/** Checks that a value is a boolean, or undefined. */
export function checkBoolean(value: boolean | undefined, what: string): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw invalid(`${what} must be true or false, not ${shown(value)}`)
}

/** Checks that a value is an `AbortSignal`, or undefined. */
export function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  // Signals of jsdom and of other realms are instances of other classes.
  if (
    signal === undefined ||
    (typeof signal?.throwIfAborted === 'function' && typeof signal.addEventListener === 'function')
  ) {
    return signal
  }
  throw invalid(`signal must be an AbortSignal, not ${shown(signal)}`)
}

/** Checks that a value is an integer from `min` to `max`, or undefined. */
export function checkInteger(value: number | undefined, what: string, min: number, max: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return value
  throw invalid(`${what} must be an integer from ${min} to ${max}, not ${shown(value, 'number')}`)
}

/** The absolute path of a path or `file:` URL. */
export function checkPath(value: string | URL, what: string): string {
  const path = isURL(value) ? pathOf(value, what) : value
  if (typeof path !== 'string' || path === '') {
    throw invalid(`${what} must be a path or a file: URL, not ${path === '' ? 'an empty string' : shown(path)}`)
  }
  if (path.includes('\0')) throw invalid(`${what} must not contain NUL`)
  return resolve(path)
}

/** Whether a value is a URL, also of another realm, such as that of jsdom. */
export function isURL(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null) return false
  const { href, protocol } = value as Partial<URL>
  return typeof href === 'string' && typeof protocol === 'string'
}

/** Protocols that a message may show. Any other might be a secret with a colon in it. */
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

/** Checks that a value is an encoding of Node.js, or undefined. */
export function checkEncoding(encoding: BufferEncoding | undefined): BufferEncoding | undefined {
  if (encoding === undefined || (typeof encoding === 'string' && Buffer.isEncoding(encoding))) return encoding
  throw invalid(`encoding must be one that Node.js has, such as 'utf8' or 'latin1', not ${shown(encoding, 'choice')}`)
}

/** Checks that a name of a member is a well-formed string. The engine checks the rules of the format. */
export function checkName(name: string, what = 'the name of a member'): string {
  if (typeof name !== 'string') throw invalid(`${what} must be a string, not ${shown(name)}`)
  if (!name.isWellFormed()) throw invalid(`${what} has half of a surrogate pair in it, so it cannot be stored as UTF-8`)
  return name
}

/** Checks that a value is an array of names of members. */
export function checkNames(names: readonly string[], what: string): string[] {
  if (!Array.isArray(names)) throw invalid(`${what} must be an array of names of members, not ${shown(names)}`)
  return names.map((name: string) => checkName(name))
}

/**
 * Checks that the memory of a view still exists. A view whose buffer was transferred or shrunk has a
 * length of 0, and an empty member written from it would look like success.
 */
export function checkThere<View extends NodeJS.ArrayBufferView>(view: View, what: string): View {
  if (view.byteLength > 0 || isThere(view)) return view
  throw invalid(`${what}: the memory of the array is gone: it was transferred, or its buffer was made smaller`)
}

function isThere(view: NodeJS.ArrayBufferView): boolean {
  try {
    // These throw for a detached or out-of-bounds view, and have no other effect.
    if (types.isTypedArray(view)) Uint8Array.prototype.keys.call(view as Uint8Array)
    else BYTE_LENGTH.call(view)
    return true
  } catch {
    return false
  }
}

const BYTE_LENGTH = Object.getOwnPropertyDescriptor(DataView.prototype, 'byteLength')?.get as (this: unknown) => number
