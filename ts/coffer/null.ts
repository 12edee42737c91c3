import { checkOptions } from '../check.ts'
import { keylessKind } from '../keys/kinds.ts'
import type { ModeText } from '../member/options.ts'
import { Coffer } from './coffer.ts'
import { open } from './open.ts'
import { type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/**
 * For tests: a tar in zstd, not sealed and not protected against tampering. Changes are
 * committed by `flush` and `close`, unless `autoFlush` is true.
 *
 * @example
 * ```js
 * import { CofferNull } from 'coffer'
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * await box.write('a', 'readable without a key')
 * await box.close()
 * ```
 */
export class CofferNull extends Coffer {
  /**
   * Opens a coffer without keys.
   *
   * @param path a path or a `file:` URL
   * @param mode as for {@link Coffer.open}
   * @param options other options
   * @returns the open coffer
   * @throws {@link CofferError} as {@link Coffer.open}
   */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferNull> {
    checkOptions(options, 'CofferNull.open', openOptions)
    return new CofferNull(await open(path, mode, keylessKind, options))
  }

  /**
   * Copies every undamaged member into a new coffer: see {@link Coffer.salvage}.
   *
   * @param path the damaged coffer, which is only read
   * @param target the path of the new coffer, which must not exist
   * @param options the lock, cancellation and progress
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage}
   */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferNull.salvage', salvageOptions)
    return salvage(path, target, keylessKind, options)
  }

  /**
   * No keys: nothing is sealed.
   *
   * @returns an empty object, so that all kinds have the same calls
   */
  static override generateKeys(): Record<never, string> {
    return {}
  }
}
