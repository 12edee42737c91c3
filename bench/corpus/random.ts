/** Random bytes, which do not compress: the same every time. */
import { createCipheriv } from 'node:crypto'

/** Gives so many of them at each call. */
export function noise(seed: number): (length: number) => Buffer {
  const key = Buffer.alloc(32)
  key.writeUInt32LE(seed)
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return (length) => cipher.update(Buffer.alloc(length))
}

/** Whole numbers below a bound, the same ones for the same seed. */
export function numbers(seed: number): (below: number) => number {
  const bytes = noise(seed)
  return (below) => bytes(6).readUIntLE(0, 6) % below
}
