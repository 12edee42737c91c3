import { createCipheriv, createHash, randomBytes } from 'node:crypto'

/** Bytes that do not compress, the same for the same seed: a keystream of AES, which takes no time to speak of. */
export function noise(length: number, seed: string | number = 0): Buffer {
  const key = createHash('sha256').update(`${seed}`).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
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
