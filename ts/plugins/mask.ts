import { createCipheriv, randomBytes } from 'node:crypto'

/** Bytes that do not compress, in a length that comes in steps: see {@link mask}. */
export interface Masked {
  /** 32 random bytes: the key of AES-256-CTR, whose counter begins at 0. It is no secret beside what is masked. */
  mask: Uint8Array
  /** The content, enciphered by it. */
  masked: Uint8Array
}

const MASK_BYTES = 32
const COUNTER_BYTES = 16
/** Bytes of the length that stands before the content, big-endian. */
const LENGTH_BYTES = 4
/** The shortest step. */
const MIN_STEP = 1024
/** A longer content has at least so many steps. */
const STEPS = 8

/**
 * Hides how well a content compresses, and its exact length, before it is compressed and sealed: the
 * length, the content and zeros up to the next step, enciphered under a new random key that stands
 * beside it. What comes out is random, so nothing compresses it, not even beside other members in a
 * pack, and only the step can be seen from outside. What keeps it secret is the coffer's own seal.
 */
export function mask(content: Uint8Array): Masked {
  const plain = Buffer.alloc(stepped(LENGTH_BYTES + content.length))
  plain.writeUInt32BE(content.length)
  plain.set(content, LENGTH_BYTES)
  const mask = randomBytes(MASK_BYTES)
  return { mask, masked: enciphered(plain, mask) }
}

/** What is under a mask; undefined if this is nothing that {@link mask} returned. */
export function unmask(value: unknown): Uint8Array | undefined {
  if (!isMasked(value)) return undefined
  const plain = enciphered(value.masked, value.mask)
  const length = plain.readUInt32BE(0)
  if (length > plain.length - LENGTH_BYTES) return undefined
  return plain.subarray(LENGTH_BYTES, LENGTH_BYTES + length)
}

/** Twice is once back. */
function enciphered(bytes: Uint8Array, mask: Uint8Array): Buffer {
  return createCipheriv('aes-256-ctr', mask, Buffer.alloc(COUNTER_BYTES)).update(bytes)
}

/** The next step: multiples of 1 KiB, and of larger powers of two that are at most an eighth of the length. */
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
