import { checkChoice, checkOptions } from '../check.ts'
import { bank } from '../keys/kinds.ts'
import { type BankCipherOption, type BankSecret, bankCipher, generateKey, secretNames } from '../keys/secret.ts'
import { CofferBase } from './coffer.ts'
import { setKindClass } from './kind-of.ts'
import { type CofferClass, type OpenedCoffer, open } from './open.ts'
import { checkOpenMode, checkOpenNames, type OpenFlags, type OptionsOf } from './options.ts'
import { type SalvageOptions, type SalvageResult, salvage, salvageOptions } from './salvage.ts'

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
export class CofferBank extends CofferBase {
  /**
   * A class of the caller's that extends this one passes the argument on.
   *
   * @param opened the coffer that {@link open} has opened
   */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
  }

  /**
   * Opens a bank.
   *
   * @typeParam Made the class that it is called on
   * @typeParam Flags the mode
   * @param this the class: a class of the caller's gets instances of its own
   * @param path a path or a `file:` URL
   * @param flags the mode, as for {@link Coffer.open}
   * @param options `cofferKey` and `secureKey`, or `passphrase`; and other
   *   options
   * @returns the open bank
   * @throws {@link CofferError} as {@link Coffer.open} except `…_KEYLESS`
   */
  static async open<Made extends CofferBank = CofferBank, Flags extends OpenFlags = OpenFlags>(
    this: CofferClass<Made>,
    path: string | URL,
    flags: Flags,
    options: OptionsOf<Flags> & BankSecret & BankCipherOption,
  ): Promise<Made> {
    const mode = checkOpenMode(flags)
    checkOpenNames(options, 'CofferBank.open', mode, [...secretNames, 'cipher'])
    return open(this, path, mode, bank(bankCipher(options)), options)
  }

  /**
   * Copies every undamaged member into a new bank: see {@link Coffer.salvage}.
   *
   * @param path the damaged bank, which is only read
   * @param target the path of the new bank, which must not exist
   * @param options `cofferKey` and `secureKey`, or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage} except `…_KEYLESS`
   */
  static async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions & BankSecret & BankCipherOption,
  ): Promise<SalvageResult> {
    checkOptions(options, 'CofferBank.salvage', [...salvageOptions, 'cipher'])
    return salvage(path, target, bank(bankCipher(options)), options)
  }

  /**
   * New random keys of 32 bytes each.
   *
   * @param options `cipher`: the cipher of the container, `fernet` by default
   * @returns both keys, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for another cipher or any other option
   */
  static generateKeys(
    options: { cipher?: 'fernet' | 'aes-ocb' | undefined } = {},
  ): Record<'cofferKey' | 'secureKey', string> {
    const { cipher } = checkOptions(options, 'CofferBank.generateKeys', ['cipher'])
    return {
      cofferKey: generateKey(checkChoice(cipher, 'cipher', ['fernet', 'aes-ocb']) ?? 'fernet'),
      secureKey: generateKey('secretbox'),
    }
  }
}

setKindClass('bank', CofferBank)
