import { binding, type NativeKdf } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import { type CofferKey, type CofferKeys, keyText, parseKey } from './key.ts'
import { type BankCipher, bank, type CofferCipher, ciphers, isSealed, type Kind } from './kinds.ts'
import { checkKdf, checkPassphrase, type KdfOptions, type Passphrase } from './passphrase.ts'

/** What {@link Coffer.rekey} takes: all keys that the kind needs, also one that does not change. */
export interface NewCofferKeys {
  /** The key of the container. */
  cofferKey?: CofferKey | undefined
  /** The key of the members. */
  secureKey?: CofferKey | undefined
  /**
   * The new cipher of the container, for a `CofferBank`. By default the current one, or `aes-ocb` for a key of
   * 16 or 24 bytes.
   */
  cipher?: 'fernet' | 'aes-ocb' | undefined
}

/** A passphrase, from which both keys are derived, in place of keys. */
export interface PassphraseSecret {
  /** The passphrase. */
  passphrase: Passphrase
  /** No key beside a passphrase. */
  cofferKey?: undefined
  /** No key beside a passphrase. */
  secureKey?: undefined
}

/** The keys of a {@link CofferBank}. */
export interface BankKeys {
  /** The key of the container. */
  cofferKey: CofferKey
  /** The key of the members. */
  secureKey: CofferKey
  /** No passphrase beside keys. */
  passphrase?: undefined
}

/** The key of a {@link CofferStore}. */
export interface StoreKeys {
  /** The key of the container. */
  cofferKey: CofferKey
  /** No key of members: they are not sealed by themselves. */
  secureKey?: undefined
  /** No passphrase beside keys. */
  passphrase?: undefined
}

/** The key of a {@link CofferMarket}. */
export interface MarketKeys {
  /** The key of the members. */
  secureKey: CofferKey
  /** No key of the container: it is not sealed. */
  cofferKey?: undefined
  /** No passphrase beside keys. */
  passphrase?: undefined
}

/** Any keys: those that the layers of a {@link Coffer} need. */
export interface AnyKeys {
  /** The key of the container. */
  cofferKey?: CofferKey | undefined
  /** The key of the members. */
  secureKey?: CofferKey | undefined
  /** No passphrase beside keys. */
  passphrase?: undefined
}

/** The cipher of a {@link CofferBank}. */
export interface BankCipherOption {
  /** The container's cipher: `fernet` for a new bank, or `aes-ocb`, which a key of 16 or 24 bytes implies. */
  cipher?: 'fernet' | 'aes-ocb' | undefined
}

/** What opens a {@link CofferBank}. */
export type BankSecret = BankKeys | PassphraseSecret
/** What opens a {@link CofferStore}. */
export type StoreSecret = StoreKeys | PassphraseSecret
/** What opens a {@link CofferMarket}. */
export type MarketSecret = MarketKeys | PassphraseSecret
/** What opens a coffer of any kind. */
export type AnySecret = AnyKeys | PassphraseSecret

/** The names of what opens a coffer. */
export const secretNames: readonly ['cofferKey', 'secureKey', 'passphrase'] = ['cofferKey', 'secureKey', 'passphrase']

/** Keys or a passphrase, not checked. */
export interface SecretOptions {
  cofferKey?: CofferKey | undefined
  secureKey?: CofferKey | undefined
  passphrase?: Passphrase | undefined
  kdf?: KdfOptions | undefined
}

/** What opens a coffer, in the engine's form: copies of the caller's bytes, which {@link lend} wipes. */
export interface Secret {
  cofferKey?: Buffer
  secureKey?: Buffer
  passphrase?: Buffer
  kdf?: NativeKdf
}

/** New random keys for the sealed layers of a kind. */
export function generateKeys({ member, container }: Kind): CofferKeys {
  return {
    ...(container === 'none' ? {} : { cofferKey: generateKey(container) }),
    ...(member === 'none' ? {} : { secureKey: generateKey(member) }),
  }
}

/** A new random key for a cipher. */
export function generateKey(cipher: Exclude<CofferCipher, 'none'>): string {
  return keyText(binding.generateKey(ciphers[cipher].keyBytes[0]))
}

/** The cipher that a bank's options imply: a key of 16 or 24 bytes is one of AES-OCB. */
export function bankCipher({ cipher, cofferKey }: NewCofferKeys): BankCipher | undefined {
  if (cipher !== undefined || cofferKey === undefined) return cipher
  const bytes = parseKey(cofferKey, 'cofferKey')
  const { length } = bytes
  bytes.fill(0)
  return length === 16 || length === 24 ? 'aes-ocb' : undefined
}

/** Checks what opens a coffer of a kind: the keys that it needs, or a passphrase. */
export function checkSecret(kind: Kind, options: SecretOptions): Secret {
  const { passphrase, kdf, cofferKey, secureKey } = options
  if (!isSealed(kind) && (passphrase ?? cofferKey ?? secureKey) !== undefined) throw keyless(`a ${kind.label}`)
  if (passphrase === undefined) {
    if (kdf !== undefined) throw invalid('kdf is for deriving keys from a passphrase, and no passphrase is given')
    return checkKeys(kind, options)
  }
  if (cofferKey !== undefined || secureKey !== undefined) {
    throw invalid('give either keys or a passphrase: the keys of a passphrase come from it alone')
  }
  return checkPassphraseFor(kind, passphrase, kdf)
}

/** Checks the new keys of a coffer of a kind, and the new cipher of a bank. */
export function checkNewKeys(kind: Kind, keys: NewCofferKeys): Secret & { cipher?: string } {
  const isBank = kind.native.name === 'bank'
  checkOptions(keys, 'rekey', ['cofferKey', 'secureKey', ...(isBank ? (['cipher'] as const) : [])])
  checkSealed(kind, 'it has no keys to change')
  if (!isBank) return checkKeys(kind, keys)
  const cipher = bankCipher(keys)
  return { ...checkKeys(bank(cipher), keys), cipher }
}

/** Checks the passphrase, current or new, of a coffer of a kind. */
export function checkPassphraseFor(kind: Kind, passphrase: Passphrase, kdf: KdfOptions | undefined): Secret {
  checkSealed(kind, 'a passphrase would protect nothing')
  return { kdf: kdf === undefined ? undefined : checkKdf(kdf), passphrase: checkPassphrase(passphrase) }
}

/** Starts a call of the engine with a secret, and wipes it: the engine has copied it during the call. */
export function lend<T>(secret: Secret, call: (secret: Secret) => Promise<T>): Promise<T> {
  try {
    return call(secret)
  } finally {
    wipe(secret)
  }
}

/** Overwrites the bytes of a secret. */
function wipe({ cofferKey, secureKey, passphrase }: Secret): void {
  for (const bytes of [cofferKey, secureKey, passphrase]) bytes?.fill(0)
}

function checkKeys(kind: Kind, { cofferKey, secureKey }: NewCofferKeys): Secret {
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

/**
 * The error for keys of a coffer that is not sealed: opening it would accept a forged file in place of a sealed
 * one.
 */
export function keyless(what: string): CofferError {
  return new CofferError(
    'ERR_COFFER_KEYLESS',
    `keys or a passphrase were given, but no layer of ${what} is sealed here, so they would protect nothing: if the coffer was sealed, the file was replaced; if it never was, open it without keys`,
  )
}

function checkSealed(kind: Kind, therefore: string): void {
  const { label } = kind
  if (!isSealed(kind)) throw invalid(`no layer of a ${label} is sealed here, so ${therefore}`)
}

function checkKey(
  { label }: Kind,
  cipher: CofferCipher,
  key: CofferKey | undefined,
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
  const lengths: readonly number[] = ciphers[cipher].keyBytes
  if (lengths.includes(bytes.length)) return bytes
  bytes.fill(0)
  throw invalid(`${what} has ${bytes.length} bytes, but ${cipher} takes a key of ${lengths.join(', ')} bytes`)
}
