/** The stable code of a {@link CofferError}: what to do about each is said in docs/api.md. */
export type ErrorCode =
  /** Somebody else holds the lock. */
  | 'ERR_COFFER_LOCKED'
  /** The coffer, or a file that is to be extracted, exists and was to be created. */
  | 'ERR_COFFER_EXISTS'
  /** The coffer does not exist. */
  | 'ERR_COFFER_NOT_FOUND'
  /** The member exists and was not to be replaced, or its name is taken by a directory. */
  | 'ERR_COFFER_MEMBER_EXISTS'
  /** There is no such member. */
  | 'ERR_COFFER_MEMBER_NOT_FOUND'
  /** The key is not the one that the coffer was made with. */
  | 'ERR_COFFER_WRONG_KEY'
  /** Keys or a passphrase were given for a coffer that is sealed with none: a person who can write the file can forge it. */
  | 'ERR_COFFER_KEYLESS'
  /** The coffer is of another kind, or has another cipher. */
  | 'ERR_COFFER_WRONG_KIND'
  /** Damage or tampering. */
  | 'ERR_COFFER_CORRUPT'
  /** The coffer is in PyCoffer's format, and `legacy` was not given. */
  | 'ERR_COFFER_LEGACY'
  /** The coffer was made by a newer version of the format. */
  | 'ERR_COFFER_VERSION'
  /** The handle is closed. */
  | 'ERR_COFFER_CLOSED'
  /** The handle was opened for reading. */
  | 'ERR_COFFER_READ_ONLY'
  /** A path that leaves, or might leave, the directory it was to stay in. */
  | 'ERR_COFFER_UNSAFE_PATH'
  /** A limit of the format or of this machine. */
  | 'ERR_COFFER_LIMIT'
  /** More bytes than the caller allowed. */
  | 'ERR_COFFER_TOO_LARGE'
  /** What was being read, or stored, has been changed meanwhile. */
  | 'ERR_COFFER_STALE'
  /** An earlier failure left the handle unusable: reopen the coffer. */
  | 'ERR_COFFER_POISONED'
  /** The operating system refused; see `errno` and `syscall`. */
  | 'ERR_COFFER_IO'
  /** An argument that makes no sense. */
  | 'ERR_COFFER_INVALID_ARG'
  /** Batches of several coffers that would wait for each other for ever. */
  | 'ERR_COFFER_DEADLOCK'
  /** There is no binary for this platform, or none that loads: `import` of the package fails with it. */
  | 'ERR_COFFER_NO_BINARY'

/** What an error is about, as far as that is known. */
export interface ErrorDetails {
  /** The file that it is about. */
  path?: string | undefined
  /** The member that it is about. */
  member?: string | undefined
  /** The operating system's error number, such as 28, ENOSPC. */
  errno?: number | undefined
  /** The system call that failed, such as `open`. */
  syscall?: string | undefined
  /** Another error behind it. */
  cause?: unknown | undefined
}

const brand = Symbol.for('coffer.error')

/**
 * Every failure of Coffer's own. `code` is stable; messages may change. An aborted call is no
 * failure of Coffer's: it rejects with the signal's reason.
 *
 * No error shows a value that was given to a call: it might be a key or contents in the wrong place.
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
  /** What kind of failure it is. */
  readonly code: ErrorCode
  /** The file that it is about. */
  declare readonly path?: string
  /** The member that it is about. */
  declare readonly member?: string
  /** The operating system's error number, for `ERR_COFFER_IO`: positive, unlike those of Node.js. */
  declare readonly errno?: number
  /** The system call that failed, for `ERR_COFFER_IO`. */
  declare readonly syscall?: string

  static {
    Object.defineProperty(CofferError.prototype, 'name', { value: 'CofferError' })
    Object.defineProperty(CofferError.prototype, brand, { value: true })
  }

  /**
   * An error like Coffer's own, for plugins.
   *
   * @param code what kind of failure it is
   * @param message what happened, where, and what to do
   * @param details what it is about
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
   * What `instanceof CofferError` asks: it also holds for the errors of a second copy of this
   * package. A class that extends this one has only its own instances.
   *
   * @param value anything
   * @returns whether it is one of Coffer's errors
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: it is inherited, and `this` is the class that is asked
    if (this !== CofferError) return Function.prototype[Symbol.hasInstance].call(this, value)
    return typeof value === 'object' && value !== null && brand in value
  }
}

/** An error about an argument. */
export function invalid(message: string): CofferError {
  return new CofferError('ERR_COFFER_INVALID_ARG', message)
}
