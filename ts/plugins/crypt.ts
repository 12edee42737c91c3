import type { Transform, Writable } from 'node:stream'
import type {
  DecryptOptions,
  DecryptStreamOptions,
  EncryptOptions,
  EncryptStreamOptions,
  TargetStreamOptions,
} from '../crypt/cryptor.ts'
import { KeyPlugin } from './base.ts'

/**
 * The plugin `crypt`: encrypts and decrypts files outside a coffer with the coffer's key, as
 * {@link Cryptor} does. PyCoffer's `crypt` decrypts these files; its own files are decrypted here with
 * `legacy: true`.
 *
 * Every coffer with the same key can decrypt a file.
 *
 * @example
 * ```js
 * import { readFile, writeFile } from 'node:fs/promises'
 * import { CofferBank } from 'coffer'
 *
 * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
 * const crypt = await bank.plugin('crypt')
 * await writeFile('report.txt', 'fine')
 * await crypt.encrypt('report.txt', 'report.crypt')
 * await crypt.decrypt('report.crypt', 'again.txt')
 * console.log(await readFile('again.txt', 'utf8')) // fine
 * await crypt.close()
 * await bank.close()
 * ```
 */
export class CryptPlugin extends KeyPlugin {
  /**
   * Encrypts a file to another: see {@link Cryptor.encrypt}.
   *
   * @param source a path or a `file:` URL
   * @param target likewise
   * @param options compression, replacement, cancellation and progress
   * @returns when the target is complete
   * @throws {@link CofferError} as {@link Cryptor.encrypt}
   */
  async encrypt(source: string | URL, target: string | URL, options: EncryptOptions = {}): Promise<void> {
    return this.crypt.encrypt(source, target, options)
  }

  /**
   * Decrypts a file to another: see {@link Cryptor.decrypt}.
   *
   * @param source a path or a `file:` URL
   * @param target likewise
   * @param options whether files of PyCoffer are accepted, replacement, cancellation and progress
   * @returns when the target is complete
   * @throws {@link CofferError} as {@link Cryptor.decrypt}
   */
  async decrypt(source: string | URL, target: string | URL, options: DecryptOptions = {}): Promise<void> {
    return this.crypt.decrypt(source, target, options)
  }

  /**
   * A stream that encrypts: see {@link Cryptor.createEncryptStream}.
   *
   * @param options compression
   * @returns the stream, from bytes to bytes
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` (the plugin, or the coffer), and as
   *   {@link Cryptor.createEncryptStream}
   *
   * @example
   * ```js
   * import { createReadStream, createWriteStream } from 'node:fs'
   * import { pipeline } from 'node:stream/promises'
   * import { CofferStore } from 'coffer'
   *
   * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
   * const crypt = await store.plugin('crypt')
   * await pipeline(createReadStream('example.mjs'), crypt.createEncryptStream(), createWriteStream('example.crypt'))
   * await pipeline(createReadStream('example.crypt'), crypt.createDecryptStream(), createWriteStream('copy.mjs'))
   * await store.close()
   * ```
   */
  createEncryptStream(options: EncryptStreamOptions = {}): Transform {
    return this.crypt.createEncryptStream(options)
  }

  /**
   * A stream that decrypts: see {@link Cryptor.createDecryptStream}. It may fail at its end.
   *
   * @param options whether files of PyCoffer are accepted
   * @returns the stream, from bytes to bytes
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` (the plugin, or the coffer), and as
   *   {@link Cryptor.createDecryptStream}
   */
  createDecryptStream(options: DecryptStreamOptions = {}): Transform {
    return this.crypt.createDecryptStream(options)
  }

  /**
   * A stream to a file that appears when it is complete: see {@link Cryptor.createTargetStream}.
   *
   * @param target a path or a `file:` URL
   * @param options whether an existing file is replaced
   * @returns the stream
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` (the plugin, or the coffer), and as
   *   {@link Cryptor.createTargetStream}
   */
  createTargetStream(target: string | URL, options: TargetStreamOptions = {}): Writable {
    return this.crypt.createTargetStream(target, options)
  }
}
