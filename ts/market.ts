import { Coffer } from './coffer.ts'
import { generateKey, market } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For archives of big files: members are compressed well and sealed with secretbox (`secureKey`);
 * the whole is not sealed, so names, sizes and times are readable. Changes are committed by `flush`
 * and `close`.
 */
export class CofferMarket extends Coffer {
  /** Opens a market: see {@link Coffer.open}. Needs `secureKey`. */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferMarket> {
    checkOptions(options, 'CofferMarket.open', openOptions)
    return new CofferMarket(await open(path, mode, market, options))
  }

  /** Brings what is not damaged into a new market: see {@link Coffer.salvage}. Needs `secureKey`, or the passphrase. */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferMarket.salvage', salvageOptions)
    return salvage(path, target, market, options)
  }

  /** A new random key. */
  static override generateKeys(): { secureKey: string } {
    return { secureKey: generateKey('secretbox') }
  }
}
