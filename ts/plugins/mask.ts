import { createCipheriv, randomBytes } from 'node:crypto'

/** A content in incompressible, padded form: see {@link mask}. */
export interface Masked {
  /**
   * 32 random bytes: the key of AES-256-CTR with a counter from 0. It is stored beside the content, so it is
   * not secret.
   */
  mask: Uint8Array
  /** The content, encrypted under it. */
  masked: Uint8Array
}

const MASK_BYTES = 32
const COUNTER_BYTES = 16
/** Bytes of the length before the content, big-endian. */
const LENGTH_BYTES = 4
/** The smallest step of padding, in bytes. */
const MIN_STEP = 1024
/** A length is padded by at most one part in this many, except to the smallest step. */
const STEPS = 8

/**
 * Hides how well a content compresses, and its exact length, before the coffer compresses and seals it:
 * the length, the content and zeros up to the next step are encrypted under a new random key that is
 * stored beside them. The result is random, so it does not compress, not even together with other members
 * of a pack, and its size reveals only the step. Secrecy comes from the seal of the coffer.
 */
export function mask(content: Uint8Array): Masked {
  const plain = Buffer.alloc(stepped(LENGTH_BYTES + content.length))
  plain.writeUInt32BE(content.length)
  plain.set(content, LENGTH_BYTES)
  const mask = randomBytes(MASK_BYTES)
  return { mask, masked: enciphered(plain, mask) }
}

/** The content of a masked value; undefined if {@link mask} did not make it. */
export function unmask(value: unknown): Uint8Array | undefined {
  if (!isMasked(value)) return undefined
  const plain = enciphered(value.masked, value.mask)
  const length = plain.readUInt32BE(0)
  if (length > plain.length - LENGTH_BYTES) return undefined
  return plain.subarray(LENGTH_BYTES, LENGTH_BYTES + length)
}

/** Encrypts or decrypts: CTR mode is its own inverse. */
function enciphered(bytes: Uint8Array, mask: Uint8Array): Buffer {
  return createCipheriv('aes-256-ctr', mask, Buffer.alloc(COUNTER_BYTES)).update(bytes)
}

/** A length rounded up to a multiple of 1 KiB, or of the largest power of two that is at most an eighth of it. */
function stepped(length: number): number {
  let step = MIN_STEP
  while (step * 2 * STEPS <= length) step *= 2
  return Math.ceil(length / step) * step
}

function isMasked(value: unknown): value is Masked {
  if (typeof value !== 'object' || value === null) return false
  const { mask, masked } = value as Partial<Masked>
  return (
    mask instanceof Uint8Array &&
    mask.length === MASK_BYTES &&
    masked instanceof Uint8Array &&
    masked.length >= LENGTH_BYTES
  )
}
