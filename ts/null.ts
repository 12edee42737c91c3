import { Coffer } from './coffer.ts'
import { nothing } from './kinds.ts'
import { open } from './open.ts'
import { checkOptions, type ModeText, type OpenOptions, openOptions } from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'

/** For tests: a tar in zstd, and nothing is sealed. Changes are committed by `flush` and `close`. */
export class CofferNull extends Coffer {
  /** Opens a coffer without keys: see {@link Coffer.open}. */
  static override async open(path: string | URL, mode: ModeText, options: OpenOptions = {}): Promise<CofferNull> {
    checkOptions(options, 'CofferNull.open', openOptions)
    return new CofferNull(await open(path, mode, nothing, options))
  }

  /** Brings what is not damaged into a new coffer: see {@link Coffer.salvage}. */
  static override async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions = {},
  ): Promise<Salvaged> {
    checkOptions(options, 'CofferNull.salvage', salvageOptions)
    return salvage(path, target, nothing, options)
  }

  /** No keys: nothing is sealed. */
  static override generateKeys(): Record<never, string> {
    return {}
  }
}
