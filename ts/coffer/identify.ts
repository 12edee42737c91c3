import { binding, settled } from '../binding/native.ts'
import { checkPath } from '../check.ts'
import type { Cipher, KindName } from '../keys/kinds.ts'
import { type Kdf, kdfFrom } from '../keys/passphrase.ts'

/** The format of a file, from its first bytes. Nothing of it is authenticated. */
export interface Identity {
  /**
   * `coffer`; `legacy` for what may be a coffer that PyCoffer wrote (an unsealed one begins like any zstd
   * file); `unknown` for everything else, also for a coffer whose first bytes are damaged.
   */
  format: 'coffer' | 'legacy' | 'unknown'
  /** The version of a coffer's format. */
  version?: number
  /** The kind of a coffer, if this version of the package supports its format. */
  kind?: KindName
  /** The cipher of a coffer's container. */
  cipher?: Cipher
  /** Whether a coffer's keys are derived from a passphrase. */
  passphrase?: boolean
  /** The parameters of the derivation, as {@link deriveKeys} takes them; absent without a passphrase. */
  kdf?: Kdf
}

/**
 * Identifies the format of a file by its first 4,096 bytes, without keys, and without taking or checking
 * a lock. Nothing of it is authenticated: a forged file may claim anything.
 *
 * @param path a path or a `file:` URL
 * @returns what the header of the file states
 * @throws {@link CofferError} `ERR_COFFER_NOT_FOUND`, `…_INVALID_ARG`, `…_IO`
 *
 * @example
 * ```js
 * import { CofferStore, identify } from 'coffer'
 *
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const { format, kind } = await identify('store.coffer')
 * console.log(format, kind)
 * await store.close()
 * ```
 */
export async function identify(path: string | URL): Promise<Identity> {
  const { format, version, kind, cipher, passphrase, kdf } = await settled(
    binding.identify(checkPath(path, 'the path of identify')),
  )
  if (format !== 'coffer') return { format: format as Identity['format'] }
  return {
    format,
    version,
    ...(kind === undefined ? {} : { kind: kind as KindName }),
    ...(cipher === undefined ? {} : { cipher: cipher as Cipher }),
    passphrase,
    ...(kdf === undefined ? {} : { kdf: kdfFrom(kdf) }),
  }
}
