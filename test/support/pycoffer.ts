import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Keys } from './kinds.ts'

const cofferKey = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
const secureKey = Buffer.from(Array.from({ length: 32 }, (_, index) => 100 + index)).toString('base64url')

/** The keys of the coffers in `fixtures` that PyCoffer wrote, by the label of their kind. */
export const legacyKeys: Readonly<Record<string, Keys>> = {
  bank: { cofferKey: cofferKey.toString('base64url'), secureKey },
  'bank-aes-ocb': { cofferKey: cofferKey.subarray(0, 16).toString('base64url'), secureKey },
  store: { cofferKey: cofferKey.toString('base64url') },
  market: { secureKey },
  null: {},
}

/** What each of them holds. */
export const legacyMembers: ReadonlyMap<string, Buffer> = new Map([
  ['deep/er/bytes.bin', Buffer.from(Array.from({ length: 300 * 256 }, (_, index) => index % 256))],
  ['empty', Buffer.alloc(0)],
  ['hello.txt', Buffer.from('hello from PyCoffer\nappended\n')],
  ['ünïcode/語.txt', Buffer.from('grüße\n')],
])

/** The bytes of a fixture. */
export function fixture(name: string): Buffer {
  return readFileSync(fileURLToPath(new URL(`../fixtures/${name}.pycoffer`, import.meta.url)))
}
