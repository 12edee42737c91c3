import { Coffer } from './coffer.ts'
import { bank, bankCipher, generateKey } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For confidential records: members are compressed and sealed with secretbox (`secureKey`), and
 * the whole is sealed again with Fernet or AES-OCB (`cofferKey`). Each change is flushed.
 */
export class CofferBank extends Coffer {
  /** Opens a bank: see {@link Coffer.open}. Needs `cofferKey` and `secureKey`. */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferBank> {
    checkOptions(options, 'CofferBank.open', [...openOptions, 'cipher'])
    return new CofferBank(await open(path, mode, bank(bankCipher(options)), options))
  }

  /** Brings what is not damaged into a new bank: see {@link Coffer.salvage}. Needs `cofferKey` and `secureKey`, or the passphrase. */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferBank.salvage', [...salvageOptions, 'cipher'])
    return salvage(path, target, bank(bankCipher(options)), options)
  }

  /** New random keys. */
  static override generateKeys(options: { cipher?: 'fernet' | 'aes-ocb' } = {}): {
    cofferKey: string
    secureKey: string
  } {
    const { cipher } = checkOptions(options, 'CofferBank.generateKeys', ['cipher'])
    return { cofferKey: generateKey(cipher ?? 'fernet'), secureKey: generateKey('secretbox') }
  }
}
