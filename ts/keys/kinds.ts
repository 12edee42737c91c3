import type { NativeKind, NativeLayer } from '../binding/native.ts'
import { checkChoice, checkInteger, checkOptions } from '../check.ts'
import { invalid } from '../errors.ts'

/**
 * The cipher of a layer, as section 5 of docs/format.md defines it: NaCl's `secretbox` (XSalsa20 and
 * Poly1305), `fernet` (the Fernet specification), `aes-ocb` (RFC 7253); `none` for a layer that does
 * not seal.
 */
export type CofferCipher = 'secretbox' | 'fernet' | 'aes-ocb' | 'none'

/** The ciphers, each with the allowed lengths of its key in bytes; `generateKeys` uses the first. */
export const ciphers: Readonly<
  Record<Exclude<CofferCipher, 'none'>, { readonly keyBytes: readonly [number, ...number[]] }>
> = {
  secretbox: { keyBytes: [32] },
  fernet: { keyBytes: [32] },
  'aes-ocb': { keyBytes: [32, 24, 16] },
}

/** The names of {@link ciphers}. */
export const cipherNames = Object.keys(ciphers) as Exclude<CofferCipher, 'none'>[]

/** The name of a kind; `custom` is a {@link Coffer} with layers of its own. */
export type CofferKind = 'bank' | 'store' | 'market' | 'null' | 'custom'

/** The name of a kind whose layers are fixed. */
export type FixedKindName = Exclude<CofferKind, 'custom'>

/** A kind with fixed layers. */
interface FixedKind {
  readonly label: string
  readonly member: CofferCipher
  readonly containers: readonly [CofferCipher, ...CofferCipher[]]
}

/**
 * The kinds with fixed layers: the class, the cipher of members, and the allowed ciphers of the container, the
 * default first.
 */
export const kinds: Readonly<Record<FixedKindName, FixedKind>> = {
  bank: { label: 'CofferBank', member: 'secretbox', containers: ['fernet', 'aes-ocb'] },
  store: { label: 'CofferStore', member: 'none', containers: ['secretbox'] },
  market: { label: 'CofferMarket', member: 'secretbox', containers: ['none'] },
  null: { label: 'CofferNull', member: 'none', containers: ['none'] },
}

/** The names of {@link kinds}. */
export const kindNames = Object.keys(kinds) as FixedKindName[]

/** A cipher of a bank's container. */
export type BankCipher = 'fernet' | 'aes-ocb'

/** The ciphers that the container of a bank may have, the default first. */
export const bankCiphers: readonly BankCipher[] = kinds.bank.containers as readonly BankCipher[]

/** A layer: compress, then seal. */
export interface CofferLayer {
  /**
   * The zstd level, from 1 to 22, or `null` for members that are not compressed. By default 3 for
   * members, and for the container 1, or 3 if members are neither compressed nor sealed.
   */
  level?: number | null | undefined
  /** The cipher. */
  cipher: CofferCipher
}

/** The layers of a {@link Coffer}. */
export interface CofferLayers {
  /** Applied to a member's bytes before they enter the tar. */
  member: CofferLayer
  /** Applied to the tar, which is always compressed. */
  container: CofferLayer
}

/** A kind: its form for the engine, and the ciphers of its layers. */
export interface Kind {
  /** The name of the class, for messages. */
  label: string
  native: NativeKind
  member: CofferCipher
  container: CofferCipher
}

export const store: Kind = fixed('store')
export const market: Kind = fixed('market')
export const keylessKind: Kind = fixed('null')

/**
 * A bank with one of its container ciphers. Without one, a new bank has the default, and an existing
 * one keeps its own.
 */
export function bank(cipher?: BankCipher): Kind {
  checkChoice(cipher, 'cipher', bankCiphers)
  const bank = fixed('bank')
  return { ...bank, container: cipher ?? bank.container, native: { ...bank.native, cipher } }
}

function fixed(name: FixedKindName): Kind {
  const { label, member, containers } = kinds[name]
  return { label, native: { name }, member, container: containers[0] }
}

/** The kind with the caller's layers. */
export function custom(layers: CofferLayers): Kind {
  const member = checkLayer(layers.member, 'member')
  const container = checkLayer(layers.container, 'container')
  if (container.level === null) throw invalid('container.level must be a number: a container is always compressed')
  const plain = member.level === null && member.cipher === 'none'
  return {
    label: 'Coffer',
    native: {
      name: 'custom',
      member: nativeLayer(member, DEFAULT_LEVEL),
      // Compressed or sealed members do not compress further, so a higher level gains nothing.
      container: nativeLayer(container, plain ? DEFAULT_LEVEL : FASTEST_LEVEL),
    },
    member: member.cipher,
    container: container.cipher,
  }
}

/** Whether a layer of a kind is sealed, so that it has keys. */
export function isSealed({ member, container }: Pick<Kind, 'member' | 'container'>): boolean {
  return member !== 'none' || container !== 'none'
}

/** The keys that a kind with fixed layers needs. */
export function neededKeys(name: FixedKindName): ('cofferKey' | 'secureKey')[] {
  const { member, container } = fixed(name)
  return [
    ...(container === 'none' ? [] : (['cofferKey'] as const)),
    ...(member === 'none' ? [] : (['secureKey'] as const)),
  ]
}

/** The lowest and the highest zstd level. */
export const LEVELS = { min: 1, max: 22 } as const

/** The default level of zstd. */
const DEFAULT_LEVEL = 3
const FASTEST_LEVEL = 1

function checkLayer(layer: CofferLayer, what: string): CofferLayer {
  if (layer === undefined) throw invalid(`${what} must be a layer, such as { level: 3, cipher: 'secretbox' }`)
  checkOptions(layer, what, ['level', 'cipher'])
  if (checkChoice(layer.cipher, `${what}.cipher`, [...cipherNames, 'none']) === undefined) {
    throw invalid(`${what}.cipher must be given: 'none' for a layer that does not seal`)
  }
  if (layer.level !== null) checkInteger(layer.level, `${what}.level`, LEVELS.min, LEVELS.max)
  return layer
}

function nativeLayer({ level = 0, cipher }: CofferLayer, byDefault: number): NativeLayer {
  return {
    level: level === null ? undefined : level || byDefault,
    cipher: cipher === 'none' ? undefined : cipher,
  }
}
