import { binding, settled } from '../binding/native.ts'
import { checkPath } from '../check.ts'
import { CofferError } from '../errors.ts'
import { type BankCipher, bank, type FixedKindName, type Kind, keylessKind, market, store } from '../keys/kinds.ts'
import type { CofferClass } from './open.ts'

/** The classes of the kinds with fixed layers. They extend the class that opens by kind, so it cannot import them. */
const classes = new Map<string, CofferClass<unknown>>()

/** Sets the class of a kind. */
export function setKindClass(kind: FixedKindName, made: CofferClass<unknown>): void {
  classes.set(kind, made)
}

/** The class of a kind with fixed layers. */
export function kindClass({ native: { name } }: Kind, otherwise: CofferClass<unknown>): CofferClass<unknown> {
  return classes.get(name) ?? otherwise
}

/**
 * The kind of a coffer that exists, from its header. Nothing of it is authenticated here: opening the coffer as that
 * kind with keys checks it.
 *
 * @throws {@link CofferError} `ERR_COFFER_NOT_FOUND`, `…_WRONG_KIND` (layers of its own), `…_LEGACY`, `…_VERSION`, `…_CORRUPT`, `…_IO`
 */
export async function kindOf(given: string | URL): Promise<Kind> {
  const path = checkPath(given, 'the path of a coffer')
  const { format, version, kind, cipher } = await settled(binding.identify(path))
  if (format === 'legacy') {
    throw new CofferError(
      'ERR_COFFER_LEGACY',
      `${path} may be a coffer in PyCoffer's format, which does not say its kind: open it with the class of its kind and legacy: true`,
      { path },
    )
  }
  if (format !== 'coffer') {
    throw new CofferError(
      'ERR_COFFER_CORRUPT',
      `${path} is no coffer, or its first bytes are damaged: open it with the class of its kind, which looks for a copy of them`,
      { path },
    )
  }
  switch (kind) {
    case 'bank':
      return bank(cipher as BankCipher)
    case 'store':
      return store
    case 'market':
      return market
    case 'null':
      return keylessKind
    case 'custom':
      throw new CofferError(
        'ERR_COFFER_WRONG_KIND',
        `${path} has layers of its own, which are sealed in its header: give them as member and container`,
        { path },
      )
  }
  throw new CofferError(
    'ERR_COFFER_VERSION',
    `${path} is of version ${version} of the format, which this version of the package does not read: update it`,
    { path },
  )
}
