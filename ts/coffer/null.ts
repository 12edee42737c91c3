import { checkOptions } from '../check.ts'
import { keylessKind } from '../keys/kinds.ts'
import { type SecretOptions, secretNames } from '../keys/secret.ts'
import type { NoOptions } from '../member/options.ts'
import { CofferBase } from './coffer.ts'
import { setKindClass } from './kind-of.ts'
import { type CofferClass, type OpenedCoffer, open } from './open.ts'
import { checkOpenMode, checkOpenNames, type OpenFlags, type OptionsOf } from './options.ts'
import { type SalvageOptions, type SalvageResult, salvage, salvageOptions } from './salvage.ts'

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
export class CofferNull extends CofferBase {
  /**
   * A class of the caller's that extends this one passes the argument on.
   *
   * @param opened the coffer that {@link open} has opened
   */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
  }

  /**
   * Opens a coffer without keys.
   *
   * @typeParam Made the class that it is called on
   * @typeParam Flags the mode
   * @param this the class: a class of the caller's gets instances of its own
   * @param path a path or a `file:` URL
   * @param flags the mode, as for {@link Coffer.open}
   * @param options other options
   * @returns the open coffer
   * @throws {@link CofferError} as {@link Coffer.open} except `…_WRONG_KEY` and `…_LIMIT`
   */
  static async open<Made extends CofferNull = CofferNull, Flags extends OpenFlags = OpenFlags>(
    this: CofferClass<Made>,
    path: string | URL,
    flags: Flags,
    options?: OptionsOf<Flags>,
  ): Promise<Made> {
    const mode = checkOpenMode(flags)
    const given = options === undefined ? {} : options
    checkOpenNames(given, 'CofferNull.open', mode, secretNames)
    return open(this, path, mode, keylessKind, given)
  }

  /**
   * Copies every undamaged member into a new coffer: see {@link Coffer.salvage}.
   *
   * @param path the damaged coffer, which is only read
   * @param target the path of the new coffer, which must not exist
   * @param options the lock, cancellation and progress
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage} except `…_WRONG_KEY` and `…_LIMIT`
   */
  static async salvage(path: string | URL, target: string | URL, options: SalvageOptions = {}): Promise<SalvageResult> {
    checkOptions<SalvageOptions & SecretOptions>(options, 'CofferNull.salvage', salvageOptions)
    return salvage(path, target, keylessKind, options)
  }

  /**
   * No keys: nothing is sealed.
   *
   * @param options none
   * @returns an empty object, so that all kinds have the same calls
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any option
   */
  static generateKeys(options: NoOptions = {}): Record<never, string> {
    checkOptions(options, 'CofferNull.generateKeys', [])
    return {}
  }
}

setKindClass('null', CofferNull)
