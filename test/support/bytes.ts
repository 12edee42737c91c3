import { createHash, randomBytes } from 'node:crypto'

/** Bytes that do not compress, the same for the same seed and length. */
export function noise(length: number, seed: string | number = 0): Buffer {
  const out = Buffer.allocUnsafe(length)
  let at = 0
  for (let counter = 0; at < length; counter += 1) {
    at += createHash('sha512').update(`${seed}/${counter}`).digest().copy(out, at)
  }
  return out
}

/** Text that compresses well, with numbered lines. */
export function lines(count: number, prefix = 'line'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix} ${index} of a text that repeats itself`)
}

/** A needle that occurs nowhere by chance, and which compression leaves as it is. */
export function marker(): Buffer {
  return randomBytes(48)
}

/** Incompressible contents with the needle in them every few hundred bytes. */
export function marked(needle: Buffer, length: number): Buffer {
  const out = randomBytes(length)
  for (let at = 0; at + needle.length <= length; at += 500) {
    needle.copy(out, at)
  }
  return out
}

/** The SHA-256 of some bytes, in hex. */
export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** How often a needle occurs in some bytes. */
export function occurrences(haystack: Buffer, needle: Buffer): number {
  let count = 0
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) {
    count += 1
  }
  return count
}
