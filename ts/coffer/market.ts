import { checkOptions } from '../check.ts'
import type { Keys } from '../keys/key.ts'
import { market } from '../keys/kinds.ts'
import { generateKey } from '../keys/secret.ts'
import type { ModeText } from '../member/options.ts'
import { Coffer } from './coffer.ts'
import { open } from './open.ts'
import { type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For archives of large files: members are compressed with zstd 9 and sealed with secretbox
 * (`secureKey`); the container is not sealed, so names, sizes and times are readable. Changes are
 * committed by `flush` and `close`, unless `autoFlush` is true.
 *
 * @example
 * ```js
 * import { CofferMarket } from 'coffer'
 *
 * const keys = CofferMarket.generateKeys()
 * const market = await CofferMarket.open('market.coffer', 'w', keys)
 * await market.write('film.mkv', new Uint8Array(10_000_000))
 * await market.close()
 * ```
 */
export class CofferMarket extends Coffer {
  /**
   * Opens a market.
   *
   * @param path a path or a `file:` URL
   * @param mode as for {@link Coffer.open}
   * @param options `secureKey` or `passphrase`; and other options
   * @returns the open market
   * @throws {@link CofferError} as {@link Coffer.open}
   */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferMarket> {
    checkOptions(options, 'CofferMarket.open', openOptions)
    return new CofferMarket(await open(path, mode, market, options))
  }

  /**
   * Copies every undamaged member into a new market: see {@link Coffer.salvage}.
   *
   * @param path the damaged market, which is only read
   * @param target the path of the new market, which must not exist
   * @param options `secureKey` or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage}
   */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferMarket.salvage', salvageOptions)
    return salvage(path, target, market, options)
  }

  /**
   * A new random key of 32 bytes.
   *
   * @returns the key, as url-safe base64
   */
  static override generateKeys(): Required<Pick<Keys, 'secureKey'>> {
    return { secureKey: generateKey('secretbox') }
  }
}
