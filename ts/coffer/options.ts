import { checkBoolean, checkChoice, checkInteger, checkOptions, checkPath, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import type { Key } from '../keys/key.ts'
import { LEVELS } from '../keys/kinds.ts'
import { KDF_MEMORY, type KdfOptions, type Passphrase } from '../keys/passphrase.ts'

/** A commit of a coffer: keep {@link Coffer.commit}, and pass it as `expect` to a later `open`. */
export interface Commit {
  /** Its number, which grows by one from commit to commit. */
  generation: number
  /** Its digest in hexadecimal: 64 characters. */
  digest: string
}

/** What `open` takes. Each class documents the keys that it needs. An unknown name is an error. */
export interface OpenOptions {
  /** The key of the container. */
  cofferKey?: Key | undefined
  /** The key of the members. */
  secureKey?: Key | undefined
  /** A passphrase, from which the keys are derived, in place of keys. */
  passphrase?: Passphrase | undefined
  /**
   * The cost of deriving keys from the passphrase of a new coffer: 256 MiB and 3 passes by default. Existing
   * coffers record this.
   */
  kdf?: KdfOptions | undefined
  /**
   * The most memory in bytes that deriving the keys of an existing coffer may take: from 19 MiB to 1 GiB, the
   * default. More is `ERR_COFFER_LIMIT`.
   */
  maxKdfMemory?: number | undefined
  /** The container's cipher of a new `CofferBank`: `fernet`, or `aes-ocb`, which a key of 16 or 24 bytes implies. */
  cipher?: 'fernet' | 'aes-ocb' | undefined
  /**
   * Whether each change is flushed before its promise settles: true by default for `Coffer` and `CofferBank`,
   * false for the others.
   */
  autoFlush?: boolean | undefined
  /** Copies the file before the first change, to its name with this suffix; `true` is `.bak`. No copy by default. */
  backup?: string | true | undefined
  /** Which handles take a lock: readers and writers (`rw`, the default), writers only (`w`), none (`none`). */
  lock?: 'rw' | 'w' | 'none' | undefined
  /** How long to wait for a lock, in milliseconds: 1,000 by default. */
  lockTimeout?: number | undefined
  /** The directory of temporary files, which are sealed: the system's by default. */
  tempDir?: string | URL | undefined
  /** The zstd level of members that this handle writes, from 1 to 22: that of the kind by default. */
  level?: number | undefined
  /** Bytes in a chunk of a new coffer, the unit of sealing: from 288 to 4 MiB, 65,536 by default. */
  chunkSize?: number | undefined
  /**
   * Bytes in a block of a new coffer, the unit of compression and random access: from 4 KiB to 16 MiB,
   * 1,048,576 by default, and 4,194,304 from level 9 up.
   */
  blockSize?: number | undefined
  /**
   * Whether a flush syncs the file to the disk (`full`, the default) or not (`none`): then a power failure may
   * lose or damage the last flushes.
   */
  durability?: 'full' | 'none' | undefined
  /** Whether a coffer in PyCoffer's format is accepted: false by default. The first flush converts it. */
  legacy?: boolean | undefined
  /**
   * The most bytes of a member of a coffer in PyCoffer's format, which is unpacked when it is opened. No limit
   * by default. More is `ERR_COFFER_TOO_LARGE`.
   */
  maxMemberSize?: number | undefined
  /** The most bytes of all members of such a coffer together. No limit by default. */
  maxTotalSize?: number | undefined
  /**
   * The most bytes of the catalog, uncompressed, over all commits that it is read from: about 40 and the name for each
   * member, and 45 for each block. No limit by default. More is `ERR_COFFER_TOO_LARGE`.
   */
  maxCatalogSize?: number | undefined
  /** For the modes `r` and `a`, a commit that must be in the coffer's history: detects an older copy of the file. */
  expect?: Commit | undefined
  /** Cancels the opening, for example while it waits for a lock. */
  signal?: AbortSignal | undefined
}

/** The names of {@link OpenOptions} without `cipher`, which only a bank takes. */
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

/** The limit of timers in Node.js, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1
const MAX_U32 = 2 ** 32 - 1
/** Checks the options of `open` that do not depend on the kind, and returns them in the engine's form. */
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

function checkCommit(commit: Commit): Commit {
  const { generation, digest } = checkOptions(commit, 'expect', ['generation', 'digest'])
  if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/i.test(digest) || generation === undefined) {
    throw invalid('expect must be what the commit property of a coffer was: { generation, digest }')
  }
  checkInteger(generation, 'expect.generation', 0, Number.MAX_SAFE_INTEGER)
  return { generation, digest }
}
