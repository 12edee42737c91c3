import { Coffer } from './coffer.ts'
import { generateKey, store } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'

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

  /** A new random key. */
  static override generateKeys(): { cofferKey: string } {
    return { cofferKey: generateKey('secretbox') }
  }
}
