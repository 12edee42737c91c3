import type { NativeOptions } from '../binding/native.ts'
import { checkBoolean, checkChoice, checkInteger, checkOptions, checkPath, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import { LEVELS } from '../keys/kinds.ts'
import { KDF_MEMORY, type KdfOptions } from '../keys/passphrase.ts'
import type { SecretOptions } from '../keys/secret.ts'

/** A commit of a coffer: keep {@link Coffer.head}, and pass it as `expect` to a later `open`. */
export interface CofferCommit {
  /** Its number, which grows by one from commit to commit. */
  generation: number
  /** Its digest in hexadecimal: 64 characters. */
  digest: string
}

/**
 * The mode of a coffer: read what exists (`r`), read and change what exists (`r+`), read and change, and make what
 * does not exist (`a`), write anew (`w`), create (`x`).
 */
export type OpenMode = 'r' | 'r+' | 'a' | 'w' | 'x'

/** An {@link OpenMode}; a `b` may follow, as in PyCoffer. */
export type OpenFlags = OpenMode | `${OpenMode}b` | 'rb+'

/** The options of `open` in every mode. An unknown name is an error. */
export interface OpenOptions {
  /**
   * The most memory in bytes that deriving the keys of an existing coffer may take: from 19 MiB to 1 GiB, the
   * default. More is `ERR_COFFER_LIMIT`.
   */
  maxKdfMemory?: number | undefined
  /** Which handles take a lock: readers and writers (`rw`, the default), writers only (`w`), none (`none`). */
  lock?: 'rw' | 'w' | 'none' | undefined
  /** How long to wait for a lock, in milliseconds: 1,000 by default. */
  lockTimeout?: number | undefined
  /** The directory of temporary files, which are sealed: the system's by default. */
  tempDir?: string | URL | undefined
  /** Whether a coffer in PyCoffer's format is accepted: false by default. The first flush converts it. */
  legacy?: boolean | undefined
  /**
   * The most bytes of a member that this handle returns, in every call: by `read`, streams, handles, `extract` and
   * for a coffer in PyCoffer's format, which is unpacked when it is opened. No limit by default. More is
   * `ERR_COFFER_TOO_LARGE`.
   */
  maxMemberSize?: number | undefined
  /** The most bytes that one call of `extract`, or the opening of a coffer in PyCoffer's format, unpacks. */
  maxTotalSize?: number | undefined
  /**
   * The most bytes of the catalog, uncompressed, over all commits that it is read from: about 40 and the name for each
   * member, and 45 for each block. No limit by default. More is `ERR_COFFER_TOO_LARGE`.
   */
  maxCatalogSize?: number | undefined
  /**
   * For the modes `r`, `r+` and `a`, a commit that must be in the coffer's history: detects an older copy of the
   * file, which is `ERR_COFFER_ROLLED_BACK`.
   */
  expect?: CofferCommit | undefined
  /** Cancels the opening, for example while it waits for a lock. */
  signal?: AbortSignal | undefined
}

/** The options of `open` for a handle that writes: every mode but `r`. */
export interface WritableOptions extends OpenOptions {
  /**
   * Whether each change is flushed before its promise settles. True by default for `Coffer` and `CofferBank`, whose
   * records are confirmed one by one; false for the others, which hold archives: there {@link Coffer.flush} and
   * {@link Coffer.close} store the changes, and a warning tells when a process ends without either.
   */
  autoFlush?: boolean | undefined
  /**
   * How long, with `autoFlush`, contents that a change replaced or deleted may stay in the file after the change is on
   * the disk, in milliseconds: 1,000 by default, and 0 for none. `flush` and `close` do not wait for it. While a batch
   * is open, they stay until its end; where the process ends before, until the coffer is opened for writing again.
   */
  scrubDelay?: number | undefined
  /**
   * Whether the file is compacted when what is dead in it exceeds three quarters of what lives by 8 MiB: true by
   * default. It is copied in small parts beside the changes; and when the coffer closes, if it is small.
   */
  autoCompact?: boolean | undefined
  /** Copies the file before the first change, to its name with this suffix; `true` is `.bak`. No copy by default. */
  backup?: string | true | undefined
  /** The zstd level of members that this handle writes, from 1 to 22: that of the kind by default. */
  level?: number | undefined
  /**
   * Whether a flush syncs the file to the disk (`full`, the default) or not (`none`): then a power failure may
   * lose or damage the last flushes.
   */
  durability?: 'full' | 'none' | undefined
}

/**
 * The options of `open` for a handle that may make a new coffer: the modes `a`, `w` and `x`. With the mode `a` and a
 * coffer that exists, a value that differs from the coffer's is `ERR_COFFER_INVALID_ARG`.
 */
export interface NewCofferOptions extends WritableOptions {
  /** The cost of deriving keys from the passphrase of a new coffer: 256 MiB and 3 passes by default. */
  kdf?: KdfOptions | undefined
  /** Bytes in a chunk, the unit of sealing: from 288 to 4 MiB, 65,536 by default. */
  chunkSize?: number | undefined
  /**
   * Bytes in a block, the unit of compression and random access: from 4 KiB to 16 MiB, 1,048,576 by default, and
   * 4,194,304 from level 9 up.
   */
  blockSize?: number | undefined
}

/** The options of `open` with the mode `w`. */
export interface ReplaceOptions extends NewCofferOptions {
  /**
   * Whether a file is replaced that is no coffer, is damaged, is of another kind, or is opened by other keys: false
   * by default.
   */
  replace?: boolean | undefined
}

/**
 * The options of `open` with a mode.
 *
 * @typeParam Flags the mode
 */
export type OptionsOf<Flags extends OpenFlags> = Flags extends 'r' | 'rb'
  ? OpenOptions
  : Flags extends 'r+' | 'r+b' | 'rb+'
    ? WritableOptions
    : Flags extends 'w' | 'wb'
      ? ReplaceOptions
      : NewCofferOptions

const openOptions = [
  'maxKdfMemory',
  'lock',
  'lockTimeout',
  'tempDir',
  'legacy',
  'maxMemberSize',
  'maxTotalSize',
  'maxCatalogSize',
  'expect',
  'signal',
] as const satisfies (keyof OpenOptions)[]
const writingOptions = ['autoFlush', 'scrubDelay', 'autoCompact', 'backup', 'level', 'durability'] as const
const writableOptions = [...openOptions, ...writingOptions] as const
const newOptions = [...writableOptions, 'kdf', 'chunkSize', 'blockSize'] as const
const namesOf: Record<OpenMode, readonly (keyof ReplaceOptions)[]> = {
  r: openOptions,
  'r+': writableOptions,
  a: newOptions,
  w: [...newOptions, 'replace'],
  x: newOptions,
}

/** What a mode may do that others do not, for the error about an option that needs it. */
const neededFor: readonly [names: readonly string[], need: string][] = [
  [writingOptions, 'is for a handle that writes'],
  [['kdf', 'chunkSize', 'blockSize'], "is for a coffer that is made: with 'a', 'w' or 'x'"],
  [['replace'], "is for the mode 'w'"],
]

/**
 * Checks the names of the options of `open`: those of the mode, the keys and the passphrase, and others that a class
 * adds. The values are checked by {@link checkOpenOptions} and with the keys.
 */
export function checkOpenNames(options: object, call: string, mode: OpenMode, more: readonly string[]): void {
  const known = [...namesOf[mode], ...more] as (keyof typeof options)[]
  for (const [names, need] of neededFor) {
    const name = names.find((one) => !(known as string[]).includes(one) && isGiven(options, one))
    if (name !== undefined) throw invalid(`${call}: ${name} ${need}, and the mode is '${mode}'`)
  }
  checkOptions(options, call, known)
}

function isGiven(options: object, name: string): boolean {
  return typeof options === 'object' && options !== null && (options as Record<string, unknown>)[name] !== undefined
}

/** Checks the mode of `open`. */
export function checkOpenMode(flags: OpenFlags): OpenMode {
  const match = typeof flags === 'string' && /^(?:(r\+|[rwax])b?|(rb\+))$/.exec(flags)
  if (match) return (match[1] ?? 'r+') as OpenMode
  throw invalid(`the mode must be 'r', 'r+', 'a', 'w' or 'x' (a 'b' may follow), not ${shown(flags, 'choice')}`)
}

/** The limit of timers in Node.js, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1
const MAX_U32 = 2 ** 32 - 1
/** Checks the options of `open` that do not depend on the kind, and returns them in the engine's form. */
export function checkOpenOptions(options: ReplaceOptions): Omit<NativeOptions, 'mode' | 'kind' | keyof SecretOptions> {
  return {
    maxKdfMemory: checkKdfCeiling(options.maxKdfMemory),
    autoFlush: checkBoolean(options.autoFlush, 'autoFlush'),
    scrubDelay: checkInteger(options.scrubDelay, 'scrubDelay', 0, MAX_TIMEOUT),
    autoCompact: checkBoolean(options.autoCompact, 'autoCompact'),
    backup: checkBackup(options.backup),
    lock: checkChoice(options.lock, 'lock', ['rw', 'w', 'none']),
    lockTimeout: checkInteger(options.lockTimeout, 'lockTimeout', 0, MAX_TIMEOUT),
    tempDir: options.tempDir === undefined ? undefined : checkPath(options.tempDir, 'tempDir'),
    level: checkInteger(options.level, 'level', LEVELS.min, LEVELS.max),
    chunkSize: checkInteger(options.chunkSize, 'chunkSize', 1, MAX_U32),
    blockSize: checkInteger(options.blockSize, 'blockSize', 1, MAX_U32),
    durability: checkChoice(options.durability, 'durability', ['full', 'none']),
    legacy: checkBoolean(options.legacy, 'legacy'),
    replace: checkBoolean(options.replace, 'replace'),
    ...checkSizeLimits(options),
    maxCatalogSize: checkInteger(options.maxCatalogSize, 'maxCatalogSize', 0, Number.MAX_SAFE_INTEGER),
    expect: options.expect === undefined ? undefined : checkCommit(options.expect),
  }
}

/** Limits on the bytes of members. */
export interface SizeLimits {
  maxMemberSize?: number | undefined
  maxTotalSize?: number | undefined
}

/** Checks limits on the bytes of members; each may be absent. */
export function checkSizeLimits({ maxMemberSize, maxTotalSize }: SizeLimits): SizeLimits {
  return {
    maxMemberSize: checkInteger(maxMemberSize, 'maxMemberSize', 0, Number.MAX_SAFE_INTEGER),
    maxTotalSize: checkInteger(maxTotalSize, 'maxTotalSize', 0, Number.MAX_SAFE_INTEGER),
  }
}

/** Checks the limit of memory for deriving keys, and returns it in KiB, the engine's unit. */
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

function checkCommit(commit: CofferCommit): CofferCommit {
  const { generation, digest } = checkOptions(commit, 'expect', ['generation', 'digest'])
  if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/i.test(digest) || generation === undefined) {
    throw invalid('expect must be what the head property of a coffer was: { generation, digest }')
  }
  checkInteger(generation, 'expect.generation', 0, Number.MAX_SAFE_INTEGER)
  return { generation, digest }
}
