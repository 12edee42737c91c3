import { binding, settled } from '../binding/native.ts'
import { checkOptions, checkPath } from '../check.ts'
import type { CofferCipher, CofferKind } from '../keys/kinds.ts'
import { type KdfParameters, kdfFrom } from '../keys/passphrase.ts'
import type { NoOptions } from '../member/options.ts'

/** A coffer, as its header states it. Nothing of it is authenticated. */
export interface IdentifiedCoffer {
  /** A coffer in the format of this package. */
  format: 'coffer'
  /** The version of the format. */
  version: number
  /** The kind, if this version of the package supports the format. */
  kind?: CofferKind | undefined
  /** The cipher of the container, if this version of the package supports the format. */
  cipher?: CofferCipher | undefined
  /** Whether the keys are derived from a passphrase. */
  passphrase: boolean
  /** The parameters of the derivation, as {@link deriveKeys} takes them; absent without a passphrase. */
  kdf?: KdfParameters | undefined
}

/**
 * Another file: `legacy` for what may be a coffer that PyCoffer wrote (an unsealed one begins like any zstd file);
 * `unknown` for everything else, also for a coffer whose first bytes are damaged.
 */
export interface IdentifiedOther {
  /** What the file may be. */
  format: 'legacy' | 'unknown'
  /** Not stated. */
  version?: undefined
  /** Not stated. */
  kind?: undefined
  /** Not stated. */
  cipher?: undefined
  /** Not stated. */
  passphrase?: undefined
  /** Not stated. */
  kdf?: undefined
}

/** The format of a file, from its first bytes. */
export type CofferIdentity = IdentifiedCoffer | IdentifiedOther

/**
 * Identifies the format of a file by its first 4,096 bytes, without keys, and without taking or checking
 * a lock. Nothing of it is authenticated: a forged file may claim anything.
 *
 * @param path a path or a `file:` URL
 * @param options none
 * @returns what the header of the file states
 * @throws {@link CofferError} `ERR_COFFER_NOT_FOUND`, `…_INVALID_ARG`, `…_IO`
 *
 * @example
 * ```js
 * import { CofferStore, identify } from 'coffer'
 *
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const identity = await identify('store.coffer')
 * if (identity.format === 'coffer') console.log(identity.kind) // store
 * await store.close()
 * ```
 */
export async function identify(path: string | URL, options: NoOptions = {}): Promise<CofferIdentity> {
  checkOptions(options, 'identify', [])
  const {
    format,
    version = 0,
    kind,
    cipher,
    passphrase = false,
    kdf,
  } = await settled(binding.identify(checkPath(path, 'the path of identify')))
  if (format !== 'coffer') return { format: format as IdentifiedOther['format'] }
  return {
    format,
    version,
    ...(kind === undefined ? {} : { kind: kind as CofferKind }),
    ...(cipher === undefined ? {} : { cipher: cipher as CofferCipher }),
    passphrase,
    ...(kdf === undefined ? {} : { kdf: kdfFrom(kdf) }),
  }
}
