import { checkOptions } from '../check.ts'
import { store } from '../keys/kinds.ts'
import { generateKey, type StoreSecret, secretNames } from '../keys/secret.ts'
import type { NoOptions } from '../member/options.ts'
import { CofferBase } from './coffer.ts'
import { setKindClass } from './kind-of.ts'
import { type CofferClass, type OpenedCoffer, open } from './open.ts'
import { checkOpenMode, checkOpenNames, type OpenFlags, type OptionsOf } from './options.ts'
import { type SalvageOptions, type SalvageResult, salvage, salvageOptions } from './salvage.ts'

/**
 * For archives, fast and small: members are compressed with zstd 9, and the container is sealed with
 * secretbox (`cofferKey`). Changes are committed by `flush` and `close`, unless `autoFlush` is true.
 *
 * @example
 * ```js
 * import { CofferStore } from 'coffer'
 *
 * const keys = CofferStore.generateKeys()
 * const store = await CofferStore.open('store.coffer', 'w', keys)
 * await store.write('report.txt', 'fine')
 * await store.close() // now it is on the disk
 * ```
 */
export class CofferStore extends CofferBase {
  /**
   * A class of the caller's that extends this one passes the argument on.
   *
   * @param opened the coffer that {@link open} has opened
   */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
  }

  /**
   * Opens a store.
   *
   * @typeParam Made the class that it is called on
   * @typeParam Flags the mode
   * @param this the class: a class of the caller's gets instances of its own
   * @param path a path or a `file:` URL
   * @param flags the mode, as for {@link Coffer.open}
   * @param options `cofferKey` or `passphrase`; and other options
   * @returns the open store
   * @throws {@link CofferError} as {@link Coffer.open} except `…_KEYLESS`
   */
  static async open<Made extends CofferStore = CofferStore, Flags extends OpenFlags = OpenFlags>(
    this: CofferClass<Made>,
    path: string | URL,
    flags: Flags,
    options: OptionsOf<Flags> & StoreSecret,
  ): Promise<Made> {
    const mode = checkOpenMode(flags)
    checkOpenNames(options, 'CofferStore.open', mode, secretNames)
    return open(this, path, mode, store, options)
  }

  /**
   * Copies every undamaged member into a new store: see {@link Coffer.salvage}.
   *
   * @param path the damaged store, which is only read
   * @param target the path of the new store, which must not exist
   * @param options `cofferKey` or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage} except `…_KEYLESS`
   */
  static async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions & StoreSecret,
  ): Promise<SalvageResult> {
    checkOptions(options, 'CofferStore.salvage', salvageOptions)
    return salvage(path, target, store, options)
  }

  /**
   * A new random key of 32 bytes.
   *
   * @param options none
   * @returns the key, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any option
   */
  static generateKeys(options: NoOptions = {}): Record<'cofferKey', string> {
    checkOptions(options, 'CofferStore.generateKeys', [])
    return { cofferKey: generateKey('secretbox') }
  }
}

setKindClass('store', CofferStore)
