// @ts-check
/**
 * The members of the soak: noise in parts, each of which says which member and version it is of, so that a reader can
 * tell right bytes from wrong ones without knowing what was written.
 */
import { createCipheriv } from 'node:crypto'

/** Bytes of a part before its noise: the number of the member, the version, the length of the part. */
const HEAD = 12
/** Directories that the members are in. */
const DIRECTORIES = 500

/** @param {number} number */
export function nameOf(number) {
  return `d${number % DIRECTORIES}/m${number}`
}

/**
 * What a member gets with a version: all of it, or what is appended.
 *
 * @param {number} member
 * @param {number} version
 * @param {number} length
 */
export function part(member, version, length) {
  const key = Buffer.alloc(32)
  key.writeUInt32LE(member, 0)
  key.writeUInt32LE(version, 4)
  key.writeUInt32LE(length, 8)
  const noise = createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(Math.max(0, length - HEAD)))
  return Buffer.concat([key.subarray(0, HEAD), noise], length)
}

/**
 * Throws unless the bytes are parts of the member in the order of their versions.
 *
 * @param {string} name
 * @param {Uint8Array} content
 */
export function checkContent(name, content) {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  const number = Number(/m(\d+)$/.exec(name)?.[1])
  let [at, last] = [0, -1]
  while (at < bytes.length) {
    const [version, length] =
      bytes.length - at < HEAD ? [-1, 0] : [bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)]
    if (version <= last || length < HEAD || !part(number, version, length).equals(bytes.subarray(at, at + length))) {
      throw new Error(`${name} has wrong bytes from ${at} of ${bytes.length}`)
    }
    at += length
    last = version
  }
  if (last < 0) throw new Error(`${name} is empty`)
}

/**
 * Reads members through a handle that may be older than the newest commit, and checks what comes.
 *
 * @param {import('coffer').Coffer} box
 * @param {readonly string[]} names
 * @returns {Promise<{ read: number, gone: number }>} How many could be read, and how many had been replaced or deleted.
 */
export async function readMembers(box, names) {
  const counts = { read: 0, gone: 0 }
  for (const name of names) {
    try {
      checkContent(name, await box.read(name))
      counts.read += 1
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code !== 'ERR_COFFER_STALE' && code !== 'ERR_COFFER_MEMBER_NOT_FOUND') throw error
      counts.gone += 1
    }
  }
  return counts
}
