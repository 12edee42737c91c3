import { Coffer } from './coffer.ts'
import { generateKey, market } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'

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

  /** A new random key. */
  static override generateKeys(): { secureKey: string } {
    return { secureKey: generateKey('secretbox') }
  }
}
