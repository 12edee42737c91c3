import { types } from 'node:util'
import { binding, type NativeDerivation, type NativeKdf, settled } from '../binding/native.ts'
import { checkInteger, checkOptions, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import { copied, decoded, keyText } from './key.ts'

/**
 * A passphrase: text, which is put into Unicode's form NFC and encoded as UTF-8, so that it is the
 * same from every keyboard; or bytes, which are taken as they are. It must not be empty.
 */
export type Passphrase = string | Uint8Array

/**
 * The cost of Argon2id (RFC 9106), which every guess of the passphrase, and every opening, has to pay.
 */
export interface KdfOptions {
  /** Memory in bytes, a multiple of 1,024 from 19 MiB to 1 GiB: 256 MiB by default. */
  memory?: number | undefined
  /** Passes over that memory, from 2 to 16: 3 by default. */
  passes?: number | undefined
}

/** The public parameters of the derivation of keys from a passphrase. */
export interface KdfParameters {
  /** 16 random bytes as url-safe base64. */
  salt: string
  /** Memory in bytes. */
  memory: number
  /** The number of passes over that memory. */
  passes: number
}

/** What {@link deriveKeys} takes. */
export interface DeriveOptions extends KdfOptions {
  /** 16 bytes, or base64 or base64url text of 16 bytes. */
  salt: Uint8Array | string
}

const KIB = 1024
const SALT_BYTES = 16
/** The limits of the memory of a derivation, in bytes. */
export const KDF_MEMORY: { readonly min: number; readonly max: number } = { min: 19 * 2 ** 20, max: 2 ** 30 }
const PASSES = { min: 2, max: 16 } as const

/**
 * Derives keys from a passphrase and a salt: for callers that keep the salt themselves, and for opening
 * a coffer that has a passphrase by its keys. The same passphrase, salt and
 * cost always give the same keys, by Argon2id (RFC 9106) and BLAKE3 as section 6 of
 * docs/format.md has it.
 *
 * @param passphrase the passphrase
 * @param options the salt and the cost; keep both, since defaults may change
 * @returns both keys, of 32 bytes each, as url-safe base64
 * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`; `…_LIMIT` if the system lacks the memory
 *
 * @example
 * ```js
 * import { randomBytes } from 'node:crypto'
 * import { CofferStore, deriveKeys } from 'coffer'
 *
 * const salt = randomBytes(16)
 * const { cofferKey } = await deriveKeys('anvil mosaic turnip lantern', { salt })
 * const store = await CofferStore.open('store.coffer', 'w', { cofferKey })
 * await store.close()
 * ```
 */
export async function deriveKeys(
  passphrase: Passphrase,
  options: DeriveOptions,
): Promise<Record<'cofferKey' | 'secureKey', string>> {
  const { salt, memory, passes } = checkOptions(options, 'deriveKeys', ['salt', 'memory', 'passes'])
  const saltBytes = checkSalt(salt)
  const kdf = checkStrength({ memory, passes }, '')
  const bytes = checkPassphrase(passphrase)
  const deriving = binding.deriveKeys(bytes, saltBytes, kdf)
  // The engine has copied it during the call.
  bytes.fill(0)
  const { cofferKey, secureKey } = await settled(deriving)
  return { cofferKey: keyText(cofferKey), secureKey: keyText(secureKey) }
}

/** A copy of a passphrase as bytes, for the caller to wipe. No part of it may enter a message. */
export function checkPassphrase(passphrase: Passphrase): Buffer {
  if (typeof passphrase !== 'string' && !types.isUint8Array(passphrase)) {
    throw invalid(`the passphrase must be a string or a Uint8Array, not ${shown(passphrase)}`)
  }
  if (passphrase.length === 0) throw invalid('the passphrase is empty')
  if (typeof passphrase !== 'string') return copied(passphrase)
  if (!passphrase.isWellFormed()) {
    throw invalid('the passphrase has half of a surrogate pair in it, so it cannot be encoded as UTF-8')
  }
  return decoded(passphrase.normalize('NFC'), 'utf8')
}

/** The option `kdf`, in the engine's form. */
export function checkKdf(kdf: KdfOptions): NativeKdf {
  return checkStrength(checkOptions(kdf, 'kdf', ['memory', 'passes']), 'kdf.')
}

/** The parameters of a derivation, from the engine's form. */
export function kdfFrom({ salt, memory, passes }: NativeDerivation): KdfParameters {
  return { salt: Buffer.from(salt).toString('base64url'), memory: memory * KIB, passes }
}

function checkStrength({ memory, passes }: KdfOptions, prefix: string): NativeKdf {
  checkInteger(memory, `${prefix}memory`, KDF_MEMORY.min, KDF_MEMORY.max)
  if (memory !== undefined && memory % KIB !== 0) {
    throw invalid(`${prefix}memory must be a multiple of ${KIB} bytes, not ${memory}`)
  }
  checkInteger(passes, `${prefix}passes`, PASSES.min, PASSES.max)
  return { memory: memory === undefined ? undefined : memory / KIB, passes }
}

function checkSalt(salt: Uint8Array | string): Uint8Array {
  if (salt === undefined) {
    throw invalid('deriveKeys needs a salt: 16 random bytes that you keep, such as crypto.randomBytes(16)')
  }
  const bytes = typeof salt === 'string' && /^[\w+/-]+={0,2}$/.test(salt) ? Buffer.from(salt, 'base64') : salt
  if (types.isUint8Array(bytes) && bytes.length === SALT_BYTES) return bytes
  throw invalid(`the salt must be a Uint8Array of ${SALT_BYTES} bytes, or base64 text of as many`)
}
