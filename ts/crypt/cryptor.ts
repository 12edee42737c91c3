import type { Transform, Writable } from 'node:stream'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkBoolean, checkInteger, checkOptions, checkPath } from '../check.ts'
import { LEVELS } from '../keys/kinds.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { CodingStream } from './coding-stream.ts'
import { TargetStream } from './target-stream.ts'

/** What {@link Cryptor.createEncryptStream} takes. */
export interface EncryptStreamOptions {
  /** The zstd level, from 1 to 22: that of the coffer's members by default. */
  level?: number | undefined
}

/** What {@link Cryptor.createDecryptStream} takes. */
export interface DecryptStreamOptions {
  /**
   * Whether files of PyCoffer are accepted: false by default, because nothing authenticates the order and
   * number of their chunks.
   */
  legacy?: boolean | undefined
}

/** What {@link Cryptor.createTargetStream} takes. */
export interface TargetStreamOptions {
  /** Whether an existing file is replaced: false by default. */
  replace?: boolean | undefined
}

/** What encryption and decryption of files take. `bytes` of their progress are those of the source. */
export interface ConvertOptions extends WatchOptions {
  /** Whether an existing file is replaced: false by default. */
  replace?: boolean | undefined
}

/** What {@link Cryptor.encrypt} takes. */
export interface EncryptOptions extends EncryptStreamOptions, ConvertOptions {}

/** What {@link Cryptor.decrypt} takes. */
export interface DecryptOptions extends DecryptStreamOptions, ConvertOptions {}

/**
 * Encrypts and decrypts files outside a coffer with the coffer's key: `secureKey`, or `cofferKey` if
 * members are not sealed. Section 25 of docs/format.md defines the format of these files.
 *
 * {@link CryptPlugin} has the same calls, and {@link KeyPlugin} gives plugins access to it: both have
 * examples.
 */
export class Cryptor {
  readonly #native: NativeCoffer

  /** @internal */
  constructor(native: NativeCoffer) {
    this.#native = native
  }

  /**
   * Encrypts a file of any size to another file, which appears when it is complete. Only its owner may read
   * it.
   *
   * @param source a path or a `file:` URL
   * @param target likewise; with `replace` it may be the source; it must not be the coffer
   * @param options compression, replacement, cancellation and progress
   * @returns when the target is complete
   * @throws {@link CofferError} `ERR_COFFER_EXISTS` if the target exists and `replace` is not set,
   *   `…_INVALID_ARG` also if the coffer has no key, or the target exists and is not a file, `…_LIMIT`,
   *   `…_CLOSED`, `…_IO`; or the signal's reason. The target is unchanged then
   */
  async encrypt(source: string | URL, target: string | URL, options: EncryptOptions = {}): Promise<void> {
    const [from, to] = checkPaths(source, target, 'encrypt')
    checkOptions(options, 'encrypt', ['level', 'replace', ...watchOptions])
    const level = checkLevel(options)
    const replace = checkBoolean(options.replace, 'replace') ?? false
    await watched(options, (watch) => this.#native.encryptFile(from, to, level, replace, watch))
  }

  /**
   * Decrypts a file to another file, which appears when all of it is authenticated. Only its owner may read
   * it.
   *
   * @param source a path or a `file:` URL
   * @param target likewise; with `replace` it may be the source; it must not be the coffer
   * @param options whether files of PyCoffer are accepted, replacement, cancellation and progress
   * @returns when the target is complete
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` (damage, or chunks were moved, removed or
   *   added), `…_WRONG_KEY`, `…_WRONG_KIND` (another cipher), `…_LEGACY`, `…_VERSION`, and as
   *   {@link encrypt}
   */
  async decrypt(source: string | URL, target: string | URL, options: DecryptOptions = {}): Promise<void> {
    const [from, to] = checkPaths(source, target, 'decrypt')
    checkOptions(options, 'decrypt', ['legacy', 'replace', ...watchOptions])
    const legacy = checkLegacy(options)
    const replace = checkBoolean(options.replace, 'replace') ?? false
    await watched(options, (watch) => this.#native.decryptFile(from, to, legacy, replace, watch))
  }

  /**
   * A stream that encrypts. It has a copy of the key until it ends, and works on when the coffer is closed.
   *
   * @param options compression
   * @returns the stream, from bytes to bytes. It fails with `ERR_COFFER_INVALID_ARG` if the coffer
   *   has no key, `…_LIMIT` and `…_CLOSED`
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; the stream fails with `…_CLOSED` if the
   *   coffer is closed, `…_LIMIT`
   */
  createEncryptStream(options: EncryptStreamOptions = {}): Transform {
    checkOptions(options, 'createEncryptStream', ['level'])
    return new CodingStream(settled(this.#native.encryptor(checkLevel(options))), {
      async *take(encryptor, bytes) {
        yield await settled(encryptor.push(bytes))
      },
      async *finish(encryptor) {
        yield await settled(encryptor.finish())
      },
    })
  }

  /**
   * A stream that decrypts. It may fail at its end: the output is known to be complete only when the stream
   * has ended without an error.
   *
   * @param options whether files of PyCoffer are accepted
   * @returns the stream, from bytes to bytes. It fails with `ERR_COFFER_CORRUPT`, `…_WRONG_KEY`,
   *   `…_WRONG_KIND`, `…_LEGACY`, `…_VERSION`, and as {@link createEncryptStream}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; the stream fails as {@link decrypt}
   *   except `…_EXISTS` and `…_IO`
   */
  createDecryptStream(options: DecryptStreamOptions = {}): Transform {
    checkOptions(options, 'createDecryptStream', ['legacy'])
    return new CodingStream(settled(this.#native.decryptor(checkLegacy(options))), {
      async *take(decryptor, bytes) {
        await settled(decryptor.push(bytes))
        // The output may be much larger than the input, so it is pulled in parts.
        for (let part = await settled(decryptor.pull()); part.length > 0; part = await settled(decryptor.pull())) {
          yield part
        }
      },
      // biome-ignore lint/correctness/useYield: there is no output after the end
      async *finish(decryptor) {
        await settled(decryptor.finish())
      },
    })
  }

  /**
   * A stream to a file that appears when the stream has ended, for the output of the other streams. Until
   * then the file has a temporary name beside the target; if the stream is destroyed, as by a failed
   * pipeline, the file is removed. Only its owner may read it.
   *
   * @param target a path or a `file:` URL
   * @param options whether an existing file is replaced
   * @returns the stream. It fails as {@link encrypt}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; the stream fails with `…_INVALID_ARG`
   *   also if the target exists and is not a file, `…_EXISTS`, `…_CLOSED`, `…_IO`
   */
  createTargetStream(target: string | URL, options: TargetStreamOptions = {}): Writable {
    const to = checkPath(target, 'the target of createTargetStream')
    checkOptions(options, 'createTargetStream', ['replace'])
    const replace = checkBoolean(options.replace, 'replace') ?? false
    return new TargetStream(settled(this.#native.output(to, replace)))
  }
}

function checkPaths(source: string | URL, target: string | URL, call: string): [source: string, target: string] {
  return [checkPath(source, `the source of ${call}`), checkPath(target, `the target of ${call}`)]
}

function checkLevel({ level }: EncryptStreamOptions): number | undefined {
  return checkInteger(level, 'level', LEVELS.min, LEVELS.max)
}

function checkLegacy({ legacy }: DecryptStreamOptions): boolean {
  return checkBoolean(legacy, 'legacy') ?? false
}
