/** The stable code of a {@link CofferError}. docs/api.md has a remedy for each. */
export type ErrorCode =
  /** Another process, or another handle, holds the lock. */
  | 'ERR_COFFER_LOCKED'
  /** The coffer, or the target of an extraction, exists already. */
  | 'ERR_COFFER_EXISTS'
  /** The coffer does not exist. */
  | 'ERR_COFFER_NOT_FOUND'
  /** The member exists and may not be replaced, or a file has the name of a directory above it. */
  | 'ERR_COFFER_MEMBER_EXISTS'
  /** There is no such member. */
  | 'ERR_COFFER_MEMBER_NOT_FOUND'
  /** The name of a file is that of a directory. */
  | 'ERR_COFFER_IS_DIRECTORY'
  /** A directory with members in it is deleted only with `recursive`. */
  | 'ERR_COFFER_NOT_EMPTY'
  /** Two members have one name on the file system that they are extracted to. */
  | 'ERR_COFFER_NAME_COLLISION'
  /** The key does not open the coffer. */
  | 'ERR_COFFER_WRONG_KEY'
  /** Keys or a passphrase were given for a coffer that is not sealed: anyone who can write the file can forge it. */
  | 'ERR_COFFER_KEYLESS'
  /** The kind or the cipher of the coffer is not the expected one. */
  | 'ERR_COFFER_WRONG_KIND'
  /** Damage or tampering. */
  | 'ERR_COFFER_CORRUPT'
  /** The coffer is older than the commit that was expected, or no successor of it: the file was replaced. */
  | 'ERR_COFFER_ROLLED_BACK'
  /** The coffer is in PyCoffer's format, and `legacy` was not given. */
  | 'ERR_COFFER_LEGACY'
  /** The coffer was made by a newer version of the format. */
  | 'ERR_COFFER_VERSION'
  /** The handle is closed. */
  | 'ERR_COFFER_CLOSED'
  /** The handle was opened for reading. */
  | 'ERR_COFFER_READ_ONLY'
  /** A path that leaves, or could leave, the directory it is confined to. */
  | 'ERR_COFFER_UNSAFE_PATH'
  /** A limit of the format or of this machine is exceeded. */
  | 'ERR_COFFER_LIMIT'
  /** A size is above the limit that the caller set. */
  | 'ERR_COFFER_TOO_LARGE'
  /** The data changed while it was being read or stored. */
  | 'ERR_COFFER_STALE'
  /** An earlier failure left the handle unusable: reopen the coffer. */
  | 'ERR_COFFER_POISONED'
  /** A call of the operating system failed; see `systemCode`, `errno` and `syscall`. */
  | 'ERR_COFFER_IO'
  /** An invalid argument. */
  | 'ERR_COFFER_INVALID_ARG'
  /** A call that cannot be made inside a batch: make it when the batch has ended. */
  | 'ERR_COFFER_IN_BATCH'
  /** A change through a batch that has ended. */
  | 'ERR_COFFER_BATCH_ENDED'
  /** Batches, or a batch and a change outside of it, would wait for each other for ever. */
  | 'ERR_COFFER_DEADLOCK'
  /** There is no binary for this platform, or none that loads: `import` of the package fails with it. */
  | 'ERR_COFFER_NO_BINARY'

/** The subject of an error, as far as it is known. */
export interface ErrorDetails {
  /** The file concerned. */
  path?: string | undefined
  /** The member concerned. */
  member?: string | undefined
  /** The operating system's error number, negative as in Node.js: -28 is ENOSPC on Linux. */
  errno?: number | undefined
  /** The name of that error, such as `ENOSPC`. */
  systemCode?: string | undefined
  /** The system call that failed, such as `open`. */
  syscall?: string | undefined
  /** The error that caused this one. */
  cause?: unknown | undefined
}

const brand = Symbol.for('coffer.error')

/**
 * An error of Coffer. `code` is stable; messages may change. An aborted call rejects with the signal's
 * reason instead.
 *
 * No error shows the value of an argument: it might be a key or contents in the wrong place.
 *
 * @example
 * ```js
 * import { CofferError, CofferStore } from 'coffer'
 *
 * try {
 *   await CofferStore.open('missing.coffer', 'r', CofferStore.generateKeys())
 * } catch (error) {
 *   if (!(error instanceof CofferError)) throw error
 *   console.log(error.code) // ERR_COFFER_NOT_FOUND
 * }
 * ```
 */
export class CofferError extends Error {
  /** The stable code. */
  readonly code: ErrorCode
  /** The file concerned. */
  declare readonly path?: string | undefined
  /** The member concerned. */
  declare readonly member?: string | undefined
  /** The operating system's error number, for `ERR_COFFER_IO`: negative, and on Windows libuv's, as in Node.js. */
  declare readonly errno?: number | undefined
  /** The name of that error, for `ERR_COFFER_IO`: `ENOSPC`, say. Absent where the system's error has none. */
  declare readonly systemCode?: string | undefined
  /** The system call that failed, for `ERR_COFFER_IO`. */
  declare readonly syscall?: string | undefined

  static {
    Object.defineProperty(CofferError.prototype, 'name', { value: 'CofferError' })
    Object.defineProperty(CofferError.prototype, brand, { value: true })
  }

  /**
   * Creates an error, for plugins.
   *
   * @param code the stable code
   * @param message what happened, where, and what to do
   * @param details the subject of the error
   */
  constructor(code: ErrorCode, message: string, { cause, ...details }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    for (const [name, value] of Object.entries(details)) {
      if (value !== undefined) {
        Object.defineProperty(this, name, { value, enumerable: true })
      }
    }
  }

  /**
   * Implements `instanceof CofferError`, which also holds for errors of a second copy of this package.
   * For a subclass it is the usual check of the prototype chain.
   *
   * @param value anything
   * @returns whether it is an error of Coffer
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== CofferError) return Function.prototype[Symbol.hasInstance].call(this, value)
    return typeof value === 'object' && value !== null && brand in value
  }
}

/** The error for an invalid argument. */
export function invalid(message: string): CofferError {
  return new CofferError('ERR_COFFER_INVALID_ARG', message)
}
