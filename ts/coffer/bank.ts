import { checkOptions } from '../check.ts'
import type { Keys } from '../keys/key.ts'
import { bank } from '../keys/kinds.ts'
import { bankCipher, generateKey } from '../keys/secret.ts'
import type { ModeText } from '../member/options.ts'
import { Coffer } from './coffer.ts'
import { open } from './open.ts'
import { type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For confidential records: members are compressed (zstd 3) and sealed with secretbox (`secureKey`), and
 * the container is sealed again with Fernet or AES-OCB (`cofferKey`). Each change is flushed, unless
 * `autoFlush` is false.
 *
 * @example
 * ```js
 * import { CofferBank } from 'coffer'
 *
 * const keys = CofferBank.generateKeys()
 * const bank = await CofferBank.open('bank.coffer', 'w', keys)
 * await bank.write('alice', '100') // is on the disk when it returns
 * await bank.close()
 * ```
 */
export class CofferBank extends Coffer {
  /**
   * Opens a bank.
   *
   * @param path a path or a `file:` URL
   * @param mode as for {@link Coffer.open}
   * @param options `cofferKey` and `secureKey`, or `passphrase`; and other
   *   options
   * @returns the open bank
   * @throws {@link CofferError} as {@link Coffer.open}
   */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferBank> {
    checkOptions(options, 'CofferBank.open', [...openOptions, 'cipher'])
    return new CofferBank(await open(path, mode, bank(bankCipher(options)), options))
  }

  /**
   * Copies every undamaged member into a new bank: see {@link Coffer.salvage}.
   *
   * @param path the damaged bank, which is only read
   * @param target the path of the new bank, which must not exist
   * @param options `cofferKey` and `secureKey`, or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage}
   */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferBank.salvage', [...salvageOptions, 'cipher'])
    return salvage(path, target, bank(bankCipher(options)), options)
  }

  /**
   * New random keys of 32 bytes each.
   *
   * @param options `cipher`: the cipher of the container, `fernet` by default
   * @returns both keys, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any other option
   */
  static override generateKeys(options: { cipher?: 'fernet' | 'aes-ocb' | undefined } = {}): Required<Keys> {
    const { cipher } = checkOptions(options, 'CofferBank.generateKeys', ['cipher'])
    return { cofferKey: generateKey(cipher ?? 'fernet'), secureKey: generateKey('secretbox') }
  }
}
