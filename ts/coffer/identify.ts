import { binding, settled } from '../binding/native.ts'
import { checkPath } from '../check.ts'
import type { Cipher, KindName } from '../keys/kinds.ts'
import { type Kdf, kdfFrom } from '../keys/passphrase.ts'

/** What kind of file something is, by its beginning alone. Nothing of it is authenticated. */
export interface Identity {
  /**
   * `coffer`; `legacy` for what may be a coffer that PyCoffer wrote (a file in zstd begins the same
   * way as one that is not sealed); `unknown` for everything else, a coffer whose first bytes are
   * damaged among it.
   */
  format: 'coffer' | 'legacy' | 'unknown'
  /** The version of a coffer's format. */
  version?: number
  /** The kind of a coffer, if this version of the package knows its format. */
  kind?: KindName
  /** What a coffer's container is sealed with. */
  cipher?: Cipher
  /** Whether a coffer's keys come from a passphrase. */
  passphrase?: boolean
  /** How they come from it: what {@link deriveKeys} takes, absent if they do not. */
  kdf?: Kdf
}

/**
 * Tells what kind of file something is, by its first 4,096 bytes: without keys, and without taking
 * or heeding a lock. Nothing of it is authenticated, so a file may say what it likes.
 *
 * @param path a path or a `file:` URL
 * @returns what the file says
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
