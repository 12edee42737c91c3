import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect, types } from 'node:util'
import type { NativeTime } from '../binding/native.ts'
import { invalid } from '../errors.ts'
import type { KdfOptions, Passphrase } from '../keys/passphrase.ts'

/**
 * A key: raw bytes, or base64 or base64url text as `generateKeys` returns it. Secretbox and Fernet
 * keys have 32 bytes, AES-OCB keys 16, 24 or 32.
 */
export type Key = Uint8Array | string

/** How a coffer is opened: read, write anew, append (read and change), create. */
export type Mode = 'r' | 'w' | 'a' | 'x'

/** A {@link Mode}, or its form with a `b` that PyCoffer takes as well. */
export type ModeText = Mode | `${Mode}b`

/** A commit of a coffer: {@link Coffer.commit}, to be remembered and given as `expect` at a later `open`. */
export interface Commit {
  /** Its number, which grows by one from commit to commit. */
  generation: number
  /** Its digest in hexadecimal: 64 characters. */
  digest: string
}

/** What `open` takes. Which keys a kind needs is said at its class. A name that is not here is an error. */
export interface OpenOptions {
  /** The key of the container. */
  cofferKey?: Key | undefined
  /** The key of the members. */
  secureKey?: Key | undefined
  /** A passphrase that the keys come from, in place of keys. */
  passphrase?: Passphrase | undefined
  /** How hard the passphrase of a new coffer is to guess: 256 MiB and 3 passes by default. A coffer that exists says itself. */
  kdf?: KdfOptions | undefined
  /** The most memory in bytes that a coffer may ask for to derive its keys from a passphrase: from 19 MiB to 1 GiB, the default. More is `ERR_COFFER_LIMIT`. */
  maxKdfMemory?: number | undefined
  /** The container's cipher of a new `CofferBank`: `fernet`, or `aes-ocb`, which a key of 16 or 24 bytes implies. */
  cipher?: 'fernet' | 'aes-ocb' | undefined
  /** Whether each change is flushed before its promise settles: true by default for `Coffer` and `CofferBank`, false for the others. */
  autoFlush?: boolean | undefined
  /** Keep a copy of the coffer as it was when opened, made before the first change, under its name and this suffix; `true` is `.bak`. None by default. */
  backup?: string | true | undefined
  /** Who takes a lock: readers and writers (`rw`, the default), writers only (`w`), nobody (`none`). */
  lock?: 'rw' | 'w' | 'none' | undefined
  /** How long to wait for a lock, in milliseconds: 1,000 by default. */
  lockTimeout?: number | undefined
  /** Where temporary files go, which are sealed: the system's directory by default. */
  tempDir?: string | URL | undefined
  /** The zstd level for members that are written from now on, from 1 to 22: that of the kind by default. */
  level?: number | undefined
  /** Bytes in a chunk of a new coffer, the unit of sealing: from 288 to 4 MiB, 65,536 by default. */
  chunkSize?: number | undefined
  /** Bytes in a block of a new coffer, the unit of compression and random access: from 4 KiB to 16 MiB, 1,048,576 by default, and 4,194,304 from level 9 up. */
  blockSize?: number | undefined
  /** Whether a flush waits for the disk (`full`, the default) or leaves that to the system (`none`): then a power failure may lose or damage the last flushes. */
  durability?: 'full' | 'none' | undefined
  /** Whether a coffer in PyCoffer's format is opened, too: false by default. The first flush converts it. */
  legacy?: boolean | undefined
  /** The most bytes that a member of such a coffer may have, which is unpacked when it is opened; any number by default. More is `ERR_COFFER_TOO_LARGE`. */
  maxMemberSize?: number | undefined
  /** The most bytes that all members of such a coffer together may have; any number by default. */
  maxTotalSize?: number | undefined
  /**
   * The most bytes that the coffer's list of members and blocks may have, uncompressed, all commits that it is read from
   * together: about 40 and the name for each member, and 45 for each block. Any number by default. More is `ERR_COFFER_TOO_LARGE`.
   */
  maxCatalogSize?: number | undefined
  /** For the modes `r` and `a`, a commit that must be in the coffer's history: detects that an older copy was put back. */
  expect?: Commit | undefined
  /** Stops the opening, for example while it waits for a lock. */
  signal?: AbortSignal | undefined
}

/** The names of {@link OpenOptions}, but for `cipher`, which only a bank has. */
export const openOptions = [
  'cofferKey',
  'secureKey',
  'passphrase',
  'kdf',
  'maxKdfMemory',
  'autoFlush',
  'backup',
  'lock',
  'lockTimeout',
  'tempDir',
  'level',
  'chunkSize',
  'blockSize',
  'durability',
  'legacy',
  'maxMemberSize',
  'maxTotalSize',
  'maxCatalogSize',
  'expect',
  'signal',
] as const satisfies (keyof OpenOptions)[]

/** Node.js's own limit for a time-out. */
const MAX_TIMEOUT = 2 ** 31 - 1
const MAX_U32 = 2 ** 32 - 1
/** Permissions, set-user-id, set-group-id and sticky. */
const MAX_FILE_MODE = 0o7777

/** The least and the most memory that keys are derived with, in bytes. */
export const KDF_MEMORY = { min: 19 * 2 ** 20, max: 2 ** 30 } as const

/** The lowest and the highest zstd level. */
export const LEVELS = { min: 1, max: 22 } as const

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

/** Every option's name that there is beside those of `open`: a message may show these where they do not belong. */
const otherOptions = [
  'autoClose',
  'buffer',
  'checksum',
  'cipher',
  'container',
  'csv',
  'delete',
  'digest',
  'dryRun',
  'encoding',
  'end',
  'exclude',
  'flags',
  'force',
  'from',
  'generation',
  'highWaterMark',
  'include',
  'length',
  'member',
  'members',
  'memory',
  'mode',
  'mtime',
  'offset',
  'onProgress',
  'owner',
  'passes',
  'position',
  'prefix',
  'recursive',
  'replace',
  'salt',
  'start',
  'symlinks',
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
    const elsewhere = [...openOptions, ...otherOptions].includes(name)
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

/** The mode of `open`. */
export function checkMode(mode: ModeText): Mode {
  const match = typeof mode === 'string' && /^([rwax])b?$/.exec(mode)
  if (match) return match[1] as Mode
  throw invalid(`the mode must be 'r', 'w', 'a' or 'x' (a 'b' may follow), not ${shown(mode, 'choice')}`)
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

/** The name that `add` gives to a file or tree if it is given none. */
export function defaultName(source: string): string {
  const name = basename(source)
  if (name === '') throw invalid(`${source} has no name of its own: say what it is called in the coffer`)
  return checkName(name)
}

/** Contents, as bytes. */
export function checkData(data: string | Uint8Array): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data, 'utf8')
  if (!types.isUint8Array(data)) {
    throw invalid(`the data must be a string or a Uint8Array, not ${shown(data)}`)
  }
  checkThere(data, 'the data')
  // Memory that its owner can make smaller at any time is copied at once.
  return types.isArrayBuffer(data.buffer) && data.buffer.resizable ? Uint8Array.from(data) : data
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

/** What {@link Coffer.write} takes besides contents. */
export interface WriteOptions {
  /** Permission bits, up to 0o7777: as they were by default, or 0o644. */
  mode?: number | undefined
  /** When it was changed last: a date, or nanoseconds since 1970. Now by default. */
  mtime?: Date | bigint | undefined
}

/** What {@link Coffer.write} and {@link Coffer.append} take for contents that come little by little. */
export interface SourceOptions {
  /** Stops reading the source, and rejects with the signal's reason. Nothing is written then. */
  signal?: AbortSignal | undefined
}

/** What a member has beside its contents, in the engine's form. */
export function checkAttributes({ mode, mtime }: WriteOptions): {
  mode: number | undefined
  mtime: NativeTime | undefined
} {
  return {
    mode: checkInteger(mode, 'mode', 0, MAX_FILE_MODE),
    mtime: mtime === undefined ? undefined : checkTime(mtime),
  }
}

const NS_PER_S = 1_000_000_000n
const NS_PER_MS = 1_000_000n
/** The seconds that the format has room for. */
const MAX_SECONDS = 2n ** 63n - 1n

function checkTime(time: Date | bigint): NativeTime {
  const ns = types.isDate(time) && !Number.isNaN(time.valueOf()) ? BigInt(Math.trunc(time.valueOf())) * NS_PER_MS : time
  if (typeof ns !== 'bigint') throw invalid(`mtime must be a valid Date or nanoseconds as a bigint, not ${shown(time)}`)
  // BigInt division truncates; the engine wants the nanoseconds after the second.
  const nanoseconds = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S
  const whole = (ns - nanoseconds) / NS_PER_S
  if (whole > MAX_SECONDS || whole < -MAX_SECONDS) {
    throw invalid(`mtime must be less than 2^63 seconds from 1970, and is ${shown(ns, 'number')} nanoseconds`)
  }
  const seconds = Number(whole)
  return { seconds, nanoseconds: Number(nanoseconds), ...(Number.isSafeInteger(seconds) ? {} : { exact: whole }) }
}

/** The common options of `open`, in the engine's form. Keys and ciphers depend on the kind. */
export function checkOpenOptions(options: OpenOptions) {
  return {
    maxKdfMemory: checkKdfCeiling(options.maxKdfMemory),
    autoFlush: checkBoolean(options.autoFlush, 'autoFlush'),
    backup: checkBackup(options.backup),
    lock: checkChoice(options.lock, 'lock', ['rw', 'w', 'none']),
    lockTimeout: checkInteger(options.lockTimeout, 'lockTimeout', 0, MAX_TIMEOUT),
    tempDir: options.tempDir === undefined ? undefined : checkPath(options.tempDir, 'tempDir'),
    level: checkInteger(options.level, 'level', LEVELS.min, LEVELS.max),
    chunkSize: checkInteger(options.chunkSize, 'chunkSize', 1, MAX_U32),
    blockSize: checkInteger(options.blockSize, 'blockSize', 1, MAX_U32),
    durability: checkChoice(options.durability, 'durability', ['full', 'none']),
    legacy: checkBoolean(options.legacy, 'legacy'),
    ...checkSizeLimits(options),
    maxCatalogSize: checkInteger(options.maxCatalogSize, 'maxCatalogSize', 0, Number.MAX_SAFE_INTEGER),
    expect: options.expect === undefined ? undefined : checkCommit(options.expect),
  }
}

/** How many bytes a caller allows. */
export interface SizeLimits {
  maxMemberSize?: number | undefined
  maxTotalSize?: number | undefined
}

/** Limits of sizes, each of which may be absent. */
export function checkSizeLimits({ maxMemberSize, maxTotalSize }: SizeLimits): SizeLimits {
  return {
    maxMemberSize: checkInteger(maxMemberSize, 'maxMemberSize', 0, Number.MAX_SAFE_INTEGER),
    maxTotalSize: checkInteger(maxTotalSize, 'maxTotalSize', 0, Number.MAX_SAFE_INTEGER),
  }
}

/** The ceiling for deriving keys, in KiB as the engine has it. */
function checkKdfCeiling(bytes: number | undefined): number | undefined {
  checkInteger(bytes, 'maxKdfMemory', KDF_MEMORY.min, KDF_MEMORY.max)
  return bytes === undefined ? undefined : Math.floor(bytes / 1024)
}

function checkBackup(backup: string | true | undefined): string | undefined {
  if (backup === undefined) return undefined
  if (backup === true) return '.bak'
  if (typeof backup === 'string' && /^[^/\\\0]+$/.test(backup)) return backup
  throw invalid(`backup must be a suffix such as '.bak', without a directory, or true, not ${shown(backup, 'choice')}`)
}

function checkCommit(commit: Commit): Commit {
  const { generation, digest } = checkOptions(commit, 'expect', ['generation', 'digest'])
  if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/i.test(digest) || generation === undefined) {
    throw invalid('expect must be what the commit property of a coffer was: { generation, digest }')
  }
  checkInteger(generation, 'expect.generation', 0, Number.MAX_SAFE_INTEGER)
  return { generation, digest }
}
