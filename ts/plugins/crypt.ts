import type { Transform } from 'node:stream'
import type { DecryptOptions, DecryptStreamOptions, EncryptOptions, EncryptStreamOptions } from '../cryptor.ts'
import { KeyPlugin } from '../plugin.ts'

/**
 * Encrypts and decrypts files outside a coffer with the coffer's key. PyCoffer's `crypt` opens what
 * is encrypted here; what it encrypted opens here with `legacy: true`.
 */
export class CryptPlugin extends KeyPlugin {
  /** Encrypts a file into another. See {@link Cryptor.encrypt}. */
  async encrypt(source: string | URL, target: string | URL, options: EncryptOptions = {}): Promise<void> {
    return this.crypt.encrypt(source, target, options)
  }

  /** Decrypts a file into another. See {@link Cryptor.decrypt}. */
  async decrypt(source: string | URL, target: string | URL, options: DecryptOptions = {}): Promise<void> {
    return this.crypt.decrypt(source, target, options)
  }

  /** A stream that encrypts. See {@link Cryptor.createEncryptStream}. */
  createEncryptStream(options: EncryptStreamOptions = {}): Transform {
    return this.crypt.createEncryptStream(options)
  }

  /** A stream that decrypts. See {@link Cryptor.createDecryptStream}. */
  createDecryptStream(options: DecryptStreamOptions = {}): Transform {
    return this.crypt.createDecryptStream(options)
  }
}
