import { binding, type NativeKdf, type NativeKind, type NativeLayer } from '../binding/native.ts'
import { checkChoice, checkInteger, checkOptions, type Key, LEVELS, type OpenOptions } from '../coffer/options.ts'
import { CofferError, invalid } from '../errors.ts'
import { keyText, parseKey } from './key.ts'
import { checkKdf, checkPassphrase, type KdfOptions, type Passphrase } from './passphrase.ts'

/**
 * What a layer seals with, as section 5 of docs/format.md has it: NaCl's `secretbox` (XSalsa20 and
 * Poly1305), `fernet` (the Fernet specification), `aes-ocb` (RFC 7253); `none` where it does not
 * seal.
 */
export type Cipher = 'secretbox' | 'fernet' | 'aes-ocb' | 'none'

/** A layer: compress, then seal. */
export interface Layer {
  /**
   * The zstd level, from 1 to 22, or `null` for members that are not compressed. By default 3 for
   * members, and for the container 1, or 3 if members are neither compressed nor sealed.
   */
  level?: number | null | undefined
  /** What to seal with. */
  cipher: Cipher
}

/** The layers of a coffer of your own mix. */
export interface Layers {
  /** What is done to a member's bytes before they enter the tar. */
  member: Layer
  /** What is done to the tar, which is always compressed. */
  container: Layer
}

/** Keys as `generateKeys` and {@link deriveKeys} return them: url-safe base64 with padding (RFC 4648). */
export interface Keys {
  /** The key of the container, where it is sealed. */
  cofferKey?: string
  /** The key of the members, where they are sealed. */
  secureKey?: string
}

/** What {@link Coffer.rekey} takes: all keys that the kind needs, also one that stays. */
export interface NewKeys {
  /** The key of the container. */
  cofferKey?: Key | undefined
  /** The key of the members. */
  secureKey?: Key | undefined
  /** The container's cipher from now on, for a `CofferBank`: as it was by default, or `aes-ocb` for a key of 16 or 24 bytes. */
  cipher?: 'fernet' | 'aes-ocb' | undefined
}

/** What opens a coffer, in the engine's form: bytes of our own, which {@link wipe} overwrites. */
export interface Secret {
  cofferKey?: Buffer
  secureKey?: Buffer
  passphrase?: Buffer
  kdf?: NativeKdf
}

/** A kind: its form for the engine, and what it seals with. */
export interface Kind {
  /** The class's name, for messages. */
  label: string
  native: NativeKind
  member: Cipher
  container: Cipher
}

/** Bytes in a key; the first is what `generateKeys` makes. */
const keyBytes = { secretbox: [32], fernet: [32], 'aes-ocb': [32, 24, 16] } as const

export const store: Kind = kind('CofferStore', 'store', 'none', 'secretbox')
export const market: Kind = kind('CofferMarket', 'market', 'secretbox', 'none')
export const nothing: Kind = kind('CofferNull', 'null', 'none', 'none')

/**
 * A bank with one of its two container ciphers. Without one, a new bank has Fernet, and one that
 * exists keeps what it has.
 */
export function bank(cipher?: 'fernet' | 'aes-ocb'): Kind {
  checkChoice(cipher, 'cipher', ['fernet', 'aes-ocb'])
  const bank = kind('CofferBank', 'bank', 'secretbox', cipher ?? 'fernet')
  return { ...bank, native: { ...bank.native, cipher } }
}

/** The cipher that a bank's options imply: Fernet knows keys of one length only. */
export function bankCipher({ cipher, cofferKey }: NewKeys): 'fernet' | 'aes-ocb' | undefined {
  if (cipher !== undefined || cofferKey === undefined) return cipher
  const bytes = parseKey(cofferKey, 'cofferKey')
  const { length } = bytes
  bytes.fill(0)
  return length === 16 || length === 24 ? 'aes-ocb' : undefined
}

/** Layers of the caller's choice. */
export function custom(layers: Layers): Kind {
  const member = checkLayer(layers.member, 'member')
  const container = checkLayer(layers.container, 'container')
  if (container.level === null) throw invalid('container.level must be a number: a container is always compressed')
  const plain = member.level === null && member.cipher === 'none'
  return {
    label: 'Coffer',
    native: {
      name: 'custom',
      member: nativeLayer(member, DEFAULT_LEVEL),
      // A container that only sees compressed or sealed bytes gains nothing by trying harder.
      container: nativeLayer(container, plain ? DEFAULT_LEVEL : FASTEST_LEVEL),
    },
    member: member.cipher,
    container: container.cipher,
  }
}

/** New random keys for what a kind seals. */
export function generateKeys({ member, container }: Kind): Keys {
  return {
    ...(container === 'none' ? {} : { cofferKey: generateKey(container) }),
    ...(member === 'none' ? {} : { secureKey: generateKey(member) }),
  }
}

/** A new random key for a cipher. */
export function generateKey(cipher: Exclude<Cipher, 'none'>): string {
  return keyText(binding.generateKey(keyBytes[cipher][0]))
}

/** What opens a coffer of a kind: the keys that it needs, or a passphrase. */
export function checkSecret(kind: Kind, options: OpenOptions): Secret {
  const { passphrase, kdf, cofferKey, secureKey } = options
  if (!isSealed(kind) && (passphrase ?? cofferKey ?? secureKey) !== undefined) throw keyless(`a ${kind.label}`)
  if (passphrase === undefined) {
    if (kdf !== undefined) throw invalid('kdf says how keys come from a passphrase, and there is none')
    return checkKeys(kind, options)
  }
  if (cofferKey !== undefined || secureKey !== undefined) {
    throw invalid('give either keys or a passphrase: the keys of a passphrase come from it alone')
  }
  return checkPassphraseFor(kind, passphrase, kdf)
}

/** The keys that a coffer of a kind is to have from now on, and a bank's new cipher. */
export function checkNewKeys(kind: Kind, keys: NewKeys): Secret & { cipher?: string } {
  const isBank = kind.native.name === 'bank'
  checkOptions(keys, 'rekey', ['cofferKey', 'secureKey', ...(isBank ? (['cipher'] as const) : [])])
  checkSealed(kind, 'it has no keys to change')
  if (!isBank) return checkKeys(kind, keys)
  const cipher = bankCipher(keys)
  return { ...checkKeys(bank(cipher), keys), cipher }
}

/** The passphrase that a coffer of a kind has, or is to have from now on. */
export function checkPassphraseFor(kind: Kind, passphrase: Passphrase, kdf: KdfOptions | undefined): Secret {
  checkSealed(kind, 'a passphrase would protect nothing')
  return { kdf: kdf === undefined ? undefined : checkKdf(kdf), passphrase: checkPassphrase(passphrase) }
}

/** Overwrites what a secret consists of. */
export function wipe({ cofferKey, secureKey, passphrase }: Secret): void {
  for (const bytes of [cofferKey, secureKey, passphrase]) bytes?.fill(0)
}

function checkKeys(kind: Kind, { cofferKey, secureKey }: NewKeys): Secret {
  const none = cofferKey === undefined && secureKey === undefined
  const secret: Secret = {}
  try {
    secret.cofferKey = checkKey(kind, kind.container, cofferKey, 'cofferKey', none)
    secret.secureKey = checkKey(kind, kind.member, secureKey, 'secureKey', none)
  } catch (error) {
    wipe(secret)
    throw error
  }
  return secret
}

/** The error about keys for what has none: a forged file in place of a sealed one would be taken for it. */
export function keyless(what: string): CofferError {
  return new CofferError(
    'ERR_COFFER_KEYLESS',
    `keys or a passphrase were given, but no layer of ${what} is sealed here, so they would protect nothing: if the coffer was sealed, the file was replaced; if it never was, open it without keys`,
  )
}

const isSealed = ({ member, container }: Kind): boolean => member !== 'none' || container !== 'none'

function checkSealed(kind: Kind, therefore: string): void {
  const { label } = kind
  if (!isSealed(kind)) throw invalid(`no layer of a ${label} is sealed here, so ${therefore}`)
}

/** zstd's own default. */
const DEFAULT_LEVEL = 3
const FASTEST_LEVEL = 1

function kind(label: string, name: string, member: Cipher, container: Cipher): Kind {
  return { label, native: { name }, member, container }
}

function checkLayer(layer: Layer, what: string): Layer {
  if (layer === undefined) throw invalid(`${what} must be a layer, such as { level: 3, cipher: 'secretbox' }`)
  checkOptions(layer, what, ['level', 'cipher'])
  if (checkChoice(layer.cipher, `${what}.cipher`, ['secretbox', 'fernet', 'aes-ocb', 'none']) === undefined) {
    throw invalid(`${what}.cipher must be given: 'none' for a layer that does not seal`)
  }
  if (layer.level !== null) checkInteger(layer.level, `${what}.level`, LEVELS.min, LEVELS.max)
  return layer
}

function nativeLayer({ level = 0, cipher }: Layer, byDefault: number): NativeLayer {
  return {
    level: level === null ? undefined : level || byDefault,
    cipher: cipher === 'none' ? undefined : cipher,
  }
}

function checkKey(
  { label }: Kind,
  cipher: Cipher,
  key: Key | undefined,
  what: 'cofferKey' | 'secureKey',
  none: boolean,
): Buffer | undefined {
  const layer = what === 'cofferKey' ? 'container' : 'members'
  if (cipher === 'none') {
    if (key === undefined) return undefined
    throw invalid(`${label} takes no ${what} here: the ${layer} would not be sealed with it`)
  }
  if (key === undefined) {
    const passphrase = none ? '. A passphrase will do in place of keys' : ''
    throw invalid(`${label} needs a ${what}, which seals the ${layer}: ${label}.generateKeys() makes one${passphrase}`)
  }
  const bytes = parseKey(key, what)
  const lengths: readonly number[] = keyBytes[cipher]
  if (lengths.includes(bytes.length)) return bytes
  bytes.fill(0)
  throw invalid(`${what} has ${bytes.length} bytes, but ${cipher} takes a key of ${lengths.join(', ')} bytes`)
}
