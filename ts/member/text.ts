import { constants } from 'node:buffer'
import { CofferError } from '../errors.ts'

/** The most bytes that a Buffer can have. */
export const MOST_BYTES: number = constants.MAX_LENGTH

/** The maximal bytes of an encoding that decode to one UTF-16 code unit. */
const bytesPerCharacter: Readonly<Partial<Record<BufferEncoding, number>>> = {
  utf8: 3,
  'utf-8': 3,
  utf16le: 2,
  'utf-16le': 2,
  ucs2: 2,
  'ucs-2': 2,
  hex: 1 / 2,
  base64: 3 / 4,
  base64url: 3 / 4,
}

/** The maximal bytes of an encoding whose text can fit into a string. */
export function mostBytesOf(encoding: BufferEncoding): number {
  const name = encoding.toLowerCase() as BufferEncoding
  return Math.min(MOST_BYTES, Math.ceil(constants.MAX_STRING_LENGTH * (bytesPerCharacter[name] ?? 1)) + 2)
}

/** Decodes bytes to text; an error if it does not fit into a string. */
export function textOf(bytes: Buffer, encoding: BufferEncoding, member: string): string {
  try {
    return bytes.toString(encoding)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STRING_TOO_LONG') throw error
    throw tooLong(member)
  }
}

/** The error for a member whose text does not fit into a string. */
export function tooLong(member: string): CofferError {
  const most = constants.MAX_STRING_LENGTH
  const message = `the text is longer than the ${most} characters that a string can have: read it as bytes, or as a stream`
  return new CofferError('ERR_COFFER_LIMIT', message, { member })
}
