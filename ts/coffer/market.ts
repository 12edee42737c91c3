import { checkOptions } from '../check.ts'
import { market } from '../keys/kinds.ts'
import { generateKey, type MarketSecret, secretNames } from '../keys/secret.ts'
import type { NoOptions } from '../member/options.ts'
import { CofferBase } from './coffer.ts'
import { setKindClass } from './kind-of.ts'
import { type CofferClass, type OpenedCoffer, open } from './open.ts'
import { checkOpenMode, checkOpenNames, type OpenFlags, type OptionsOf } from './options.ts'
import { type SalvageOptions, type SalvageResult, salvage, salvageOptions } from './salvage.ts'

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
export class CofferMarket extends CofferBase {
  /**
   * A class of the caller's that extends this one passes the argument on.
   *
   * @param opened the coffer that {@link open} has opened
   */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
  }

  /**
   * Opens a market.
   *
   * @typeParam Made the class that it is called on
   * @typeParam Flags the mode
   * @param this the class: a class of the caller's gets instances of its own
   * @param path a path or a `file:` URL
   * @param flags the mode, as for {@link Coffer.open}
   * @param options `secureKey` or `passphrase`; and other options
   * @returns the open market
   * @throws {@link CofferError} as {@link Coffer.open} except `…_KEYLESS`
   */
  static async open<Made extends CofferMarket = CofferMarket, Flags extends OpenFlags = OpenFlags>(
    this: CofferClass<Made>,
    path: string | URL,
    flags: Flags,
    options: OptionsOf<Flags> & MarketSecret,
  ): Promise<Made> {
    const mode = checkOpenMode(flags)
    checkOpenNames(options, 'CofferMarket.open', mode, secretNames)
    return open(this, path, mode, market, options)
  }

  /**
   * Copies every undamaged member into a new market: see {@link Coffer.salvage}.
   *
   * @param path the damaged market, which is only read
   * @param target the path of the new market, which must not exist
   * @param options `secureKey` or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage} except `…_KEYLESS`
   */
  static async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions & MarketSecret,
  ): Promise<SalvageResult> {
    checkOptions(options, 'CofferMarket.salvage', salvageOptions)
    return salvage(path, target, market, options)
  }

  /**
   * A new random key of 32 bytes.
   *
   * @param options none
   * @returns the key, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any option
   */
  static generateKeys(options: NoOptions = {}): Record<'secureKey', string> {
    checkOptions(options, 'CofferMarket.generateKeys', [])
    return { secureKey: generateKey('secretbox') }
  }
}

setKindClass('market', CofferMarket)
