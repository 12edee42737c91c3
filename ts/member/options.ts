import { basename } from 'node:path'
import { types } from 'node:util'
import type { NativeTime } from '../binding/native.ts'
import {
  checkChoice,
  checkEncoding,
  checkInteger,
  checkName,
  checkOptions,
  checkSignal,
  checkThere,
  shown,
} from '../check.ts'
import { invalid } from '../errors.ts'

/** The mode of a handle on a member: read, write anew, append, create. */
export type FileMode = 'r' | 'w' | 'a' | 'x'

/** A {@link FileMode}; a `b` may follow, as in PyCoffer. */
export type FileFlags = FileMode | `${FileMode}b`

/** No options: every name is `ERR_COFFER_INVALID_ARG`, so that no wish is taken and not heeded. */
export interface NoOptions {
  readonly [name: string]: never
}

/** What {@link Coffer.readText} takes. */
export interface TextOptions {
  /** The encoding of the text: `utf8` by default. */
  encoding?: BufferEncoding | undefined
}

/** What {@link Coffer.readLines} takes. */
export interface LinesOptions {
  /** Ends the reading with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What {@link Coffer.stat} takes. */
export interface StatOptions {
  /** Whether a name that does not exist is an error, as in `fs`: true by default. If not, the result is undefined. */
  throwIfNoEntry?: boolean | undefined
  /** Whether the result has `mtimeNs`, a bigint: false by default. */
  bigint?: boolean | undefined
}

/** All bits of a mode: permissions, set-user-id, set-group-id and sticky. */
const MAX_FILE_MODE = 0o7777

/** What {@link Coffer.write} takes besides contents. */
export interface WriteOptions {
  /** Permission bits, up to 0o7777. By default those of the member that is replaced, or 0o644. */
  mode?: number | undefined
  /** The time of the last change: a date, or nanoseconds since 1970. Now by default. */
  mtime?: Date | bigint | undefined
}

/** What {@link Coffer.write} and {@link Coffer.append} take for streams and iterables. */
export interface SourceOptions {
  /** Stops reading, and rejects with the signal's reason. Nothing is written then. */
  signal?: AbortSignal | undefined
}

/** Checks the attributes of a member, and returns them in the engine's form. */
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
/** The limit of seconds in the format. */
const MAX_SECONDS = 2n ** 63n - 1n

function checkTime(time: Date | bigint): NativeTime {
  const ns = types.isDate(time) && !Number.isNaN(time.valueOf()) ? BigInt(Math.trunc(time.valueOf())) * NS_PER_MS : time
  if (typeof ns !== 'bigint') throw invalid(`mtime must be a valid Date or nanoseconds as a bigint, not ${shown(time)}`)
  // BigInt division truncates towards zero; the nanoseconds must count from the second below.
  const nanoseconds = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S
  const whole = (ns - nanoseconds) / NS_PER_S
  if (whole > MAX_SECONDS || whole < -MAX_SECONDS) {
    throw invalid(`mtime must be less than 2^63 seconds from 1970, and is ${shown(ns, 'number')} nanoseconds`)
  }
  const seconds = Number(whole)
  return { seconds, nanoseconds: Number(nanoseconds), ...(Number.isSafeInteger(seconds) ? {} : { exact: whole }) }
}

/** Checks the mode of a handle on a member. */
export function checkFileMode(mode: FileFlags): FileMode {
  const match = typeof mode === 'string' && /^([rwax])b?$/.exec(mode)
  if (match) return match[1] as FileMode
  throw invalid(`the mode must be 'r', 'w', 'a' or 'x' (a 'b' may follow), not ${shown(mode, 'choice')}`)
}

/** The default name of a file or tree in the coffer: the last component of its path. */
export function defaultName(source: string): string {
  const name = basename(source)
  if (name === '') throw invalid(`${source} has no last component: give a name for the coffer`)
  return checkName(name)
}

/** Checks text or bytes, and returns them as bytes. */
export function checkData(data: string | Uint8Array): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data, 'utf8')
  if (!types.isUint8Array(data)) {
    throw invalid(`the data must be a string or a Uint8Array, not ${shown(data)}`)
  }
  checkThere(data, 'the data')
  // A resizable buffer can shrink at any time, so it is copied.
  return types.isArrayBuffer(data.buffer) && data.buffer.resizable ? Uint8Array.from(data) : data
}

/**
 * The treatment of symbolic links in a directory tree: store the target file (`follow`), leave the link
 * out (`skip`), or fail with `ERR_COFFER_UNSAFE_PATH` (`error`). Links to directories are never followed.
 */
export type SymlinkPolicy = 'follow' | 'skip' | 'error'

/** Checks the option `symlinks`: `follow` by default. */
export function checkSymlinks(symlinks: SymlinkPolicy | undefined): SymlinkPolicy {
  return checkChoice(symlinks, 'symlinks', ['follow', 'skip', 'error']) ?? 'follow'
}

/** What {@link Coffer.createReadStream} takes. */
export interface ReadStreamOptions {
  /** The first byte to read: 0 by default. */
  start?: number | undefined
  /** The last byte to read, inclusive: the last of the member by default. */
  end?: number | undefined
  /** The maximal bytes of a chunk, and about the bytes that are buffered: 65,536 by default. */
  highWaterMark?: number | undefined
  /** If given, the stream yields strings; bytes by default. */
  encoding?: BufferEncoding | undefined
  /** Destroys the stream, with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What {@link Coffer.createWriteStream} takes. */
export interface WriteStreamOptions extends WriteOptions {
  /** The treatment of an existing member: replace it (`w`, the default), append (`a`), or fail (`x`). */
  flags?: 'w' | 'a' | 'x' | undefined
  /** About the bytes that are buffered before `write` returns false: 65,536 by default. */
  highWaterMark?: number | undefined
  /** Destroys the stream, with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** The names of {@link ReadStreamOptions}. */
export const readStreamOptions = ['start', 'end', 'highWaterMark', 'encoding', 'signal'] as const

/** The names of {@link WriteStreamOptions}. */
export const writeStreamOptions = ['flags', 'mode', 'mtime', 'highWaterMark', 'signal'] as const

/** Checks the common options of both streams. */
export function checkStreamOptions<T extends ReadStreamOptions | WriteStreamOptions>(options: T): T {
  checkInteger(options.highWaterMark, 'highWaterMark', 1, Number.MAX_SAFE_INTEGER)
  checkSignal(options.signal)
  return options
}

/** Checks the options of a reading stream. */
export function checkReadStream<T extends ReadStreamOptions>(options: T, known: readonly (keyof T)[]): T {
  const { start, end, encoding } = checkOptions(options, 'createReadStream', known)
  checkInteger(start, 'start', 0, Number.MAX_SAFE_INTEGER)
  if (end !== Number.POSITIVE_INFINITY) checkInteger(end, 'end', 0, Number.MAX_SAFE_INTEGER)
  if (start !== undefined && end !== undefined && start > end) {
    throw invalid(`start must not be behind end, but is ${start}, and end is ${end}`)
  }
  checkEncoding(encoding)
  return checkStreamOptions(options)
}
