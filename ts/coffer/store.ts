import { checkOptions } from '../check.ts'
import type { Keys } from '../keys/key.ts'
import { store } from '../keys/kinds.ts'
import { generateKey } from '../keys/secret.ts'
import type { ModeText } from '../member/options.ts'
import { Coffer } from './coffer.ts'
import { open } from './open.ts'
import { type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

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
export class CofferStore extends Coffer {
  /**
   * Opens a store.
   *
   * @param path a path or a `file:` URL
   * @param mode as for {@link Coffer.open}
   * @param options `cofferKey` or `passphrase`; and other options
   * @returns the open store
   * @throws {@link CofferError} as {@link Coffer.open}
   */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferStore> {
    checkOptions(options, 'CofferStore.open', openOptions)
    return new CofferStore(await open(path, mode, store, options))
  }

  /**
   * Copies every undamaged member into a new store: see {@link Coffer.salvage}.
   *
   * @param path the damaged store, which is only read
   * @param target the path of the new store, which must not exist
   * @param options `cofferKey` or `passphrase`
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} as {@link Coffer.salvage}
   */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferStore.salvage', salvageOptions)
    return salvage(path, target, store, options)
  }

  /**
   * A new random key of 32 bytes.
   *
   * @returns the key, as url-safe base64
   */
  static override generateKeys(): Required<Pick<Keys, 'cofferKey'>> {
    return { cofferKey: generateKey('secretbox') }
  }
}
