import { types } from 'node:util'
import { checkThere, shown } from '../check.ts'
import { invalid } from '../errors.ts'

/**
 * A key: raw bytes, or base64 or base64url text as `generateKeys` returns it. Secretbox and Fernet
 * keys have 32 bytes, AES-OCB keys 16, 24 or 32.
 */
export type CofferKey = Uint8Array | string

/** Keys as `generateKeys` and {@link deriveKeys} return them: url-safe base64 with padding (RFC 4648). */
export interface CofferKeys {
  /** The key of the container, where it is sealed. */
  cofferKey?: string | undefined
  /** The key of the members, where they are sealed. */
  secureKey?: string | undefined
}

/** The length of the base64 text of a key of 32 bytes, without padding. */
const LONG_KEY = 43

/**
 * Whether a text is of words: lower case but for first letters, perhaps with digits at its end. Of random keys of 32
 * bytes, fewer than one in a thousand million have this form; shorter ones are not judged.
 */
function isWords(text: string): boolean {
  if (text.length < LONG_KEY) return false
  return text
    .replace(/[-_]?\d{1,4}$/, '')
    .split(/[-_]|(?=[A-Z])/)
    .every((word) => /^[A-Z]?[a-z]{2,}$/.test(word))
}

/** A copy of a key's bytes, for the caller to wipe. No part of the key may enter a message. */
export function parseKey(key: CofferKey, what: string): Buffer {
  if (types.isUint8Array(key)) return copied(checkThere(key, what))
  if (typeof key !== 'string') throw invalid(`${what} must be a Uint8Array or base64 text, not ${shown(key)}`)
  const text = key.trim()
  if (!/^[\w+/-]+={0,2}$/.test(text)) throw invalid(`${what} is not base64 or base64url text`)
  if (isWords(text)) {
    throw invalid(
      `${what} reads like words, not like a random key: give words as passphrase, or the bytes of the key as a Uint8Array`,
    )
  }
  return decoded(text, 'base64')
}

/** Encodes a key as `generateKeys` returns it, in url-safe base64, and wipes its bytes. */
export function keyText(bytes: Buffer): string {
  const text = bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_')
  bytes.fill(0)
  return text
}

/** A copy of bytes outside Node.js's buffer pool, whose memory other buffers share. */
export function copied(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

/** The bytes of a text, outside Node.js's buffer pool. */
export function decoded(text: string, encoding: 'base64' | 'utf8'): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text, encoding))
  return bytes.subarray(0, bytes.write(text, encoding))
}
