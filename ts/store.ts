import { Coffer } from './coffer.ts'
import { generateKey, store } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For archives, fast and small: members are compressed well, and the whole is sealed with secretbox
 * (`cofferKey`). Changes are committed by `flush` and `close`.
 */
export class CofferStore extends Coffer {
  /** Opens a store: see {@link Coffer.open}. Needs `cofferKey`. */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferStore> {
    checkOptions(options, 'CofferStore.open', openOptions)
    return new CofferStore(await open(path, mode, store, options))
  }

  /** Brings what is not damaged into a new store: see {@link Coffer.salvage}. Needs `cofferKey`, or the passphrase. */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferStore.salvage', salvageOptions)
    return salvage(path, target, store, options)
  }

  /** A new random key. */
  static override generateKeys(): { cofferKey: string } {
    return { cofferKey: generateKey('secretbox') }
  }
}
