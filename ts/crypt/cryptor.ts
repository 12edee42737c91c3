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
  /** Whether a file of PyCoffer's is decrypted, too: false by default, because nothing pins the order and number of its chunks. */
  legacy?: boolean | undefined
}

/** What {@link Cryptor.createTargetStream} takes. */
export interface TargetStreamOptions {
  /** Whether a file that is there is replaced: false by default. */
  replace?: boolean
}

/** What both directions from file to file take. `bytes` of their progress are those of the source. */
export interface ConvertOptions extends WatchOptions {
  /** Whether a file that is there is replaced: false by default. */
  replace?: boolean | undefined
}

/** What {@link Cryptor.encrypt} takes. */
export interface EncryptOptions extends EncryptStreamOptions, ConvertOptions {}

/** What {@link Cryptor.decrypt} takes. */
export interface DecryptOptions extends DecryptStreamOptions, ConvertOptions {}

/**
 * Encrypts and decrypts files outside a coffer with the coffer's key: `secureKey`, or `cofferKey`
 * where members are not sealed. The form of these files is section 25 of docs/format.md.
 *
 * {@link CryptPlugin} has its calls, and {@link KeyPlugin} hands it to plugins of your own: both
 * have examples.
 */
export class Cryptor {
  readonly #native: NativeCoffer

  constructor(native: NativeCoffer) {
    this.#native = native
  }

  /**
   * Encrypts a file of any size into another, which appears when it is whole. Only its owner may
   * read it.
   *
   * @param source a path or a `file:` URL
   * @param target likewise; it may be the source with `replace`, and is never the coffer
   * @param options how hard to compress, whether to replace, and who watches
   * @returns when the target is there
   * @throws {@link CofferError} `ERR_COFFER_EXISTS` if there is a target and `replace` is not set,
   *   `…_INVALID_ARG` also if the coffer has no key, or the target is there and no file, `…_LIMIT`,
   *   `…_CLOSED`, `…_IO`; or the signal's reason. The target is then as it was
   */
  async encrypt(source: string | URL, target: string | URL, options: EncryptOptions = {}): Promise<void> {
    const [from, to] = checkPaths(source, target, 'encrypt')
    checkOptions(options, 'encrypt', ['level', 'replace', ...watchOptions])
    const level = checkLevel(options)
    const replace = checkBoolean(options.replace, 'replace') ?? false
    await watched(options, (watch) => this.#native.encryptFile(from, to, level, replace, watch))
  }

  /**
   * Decrypts a file into another, which appears when all of it has been checked. Only its owner may
   * read it.
   *
   * @param source a path or a `file:` URL
   * @param target likewise; it may be the source with `replace`, and is never the coffer
   * @param options whether the file may be PyCoffer's, whether to replace, and who watches
   * @returns when the target is there
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` (damage, or something was moved, cut off or
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
   * A stream that encrypts what is written to it. It has a copy of the key until it ends, and goes
   * on when the coffer is closed.
   *
   * @param options how hard to compress
   * @returns the stream, from bytes to bytes. It fails with `ERR_COFFER_INVALID_ARG` if the coffer
   *   has no key, `…_LIMIT` and `…_CLOSED`
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
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
   * A stream that decrypts what is written to it. It may fail at its very end: only when it has
   * ended without an error is what came out of it known to be the whole file.
   *
   * @param options whether the file may be PyCoffer's
   * @returns the stream, from bytes to bytes. It fails with `ERR_COFFER_CORRUPT`, `…_WRONG_KEY`,
   *   `…_WRONG_KIND`, `…_LEGACY`, `…_VERSION`, and as {@link createEncryptStream}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
   */
  createDecryptStream(options: DecryptStreamOptions = {}): Transform {
    checkOptions(options, 'createDecryptStream', ['legacy'])
    return new CodingStream(settled(this.#native.decryptor(checkLegacy(options))), {
      async *take(decryptor, bytes) {
        await settled(decryptor.push(bytes))
        // A little may decompress to much: it comes in parts, and is asked for when it is wanted.
        for (let part = await settled(decryptor.pull()); part.length > 0; part = await settled(decryptor.pull())) {
          yield part
        }
      },
      // biome-ignore lint/correctness/useYield: nothing comes after the end
      async *finish(decryptor) {
        await settled(decryptor.finish())
      },
    })
  }

  /**
   * A stream into a file that appears when the stream has ended: for what comes out of the other
   * streams. Until then the file has another name beside its target, and if the stream is destroyed,
   * as a pipeline does when any part of it fails, nothing of it is left. Only its owner may read it.
   *
   * @param target a path or a `file:` URL
   * @param options whether a file that is there is replaced
   * @returns the stream. It fails as {@link encrypt} does
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
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
