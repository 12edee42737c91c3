import type { Readable } from 'node:stream'
import { types } from 'node:util'
import { CofferError, invalid } from '../errors.ts'

// tar-stream, which writes archives, lacks what import needs: names as bytes, so that U+FFFD in a name
// differs from bytes that are not UTF-8; the end marker; headers of v7 and of sparse files; and a limit
// on the length of a PAX header.

/** The header of an entry, with its extensions applied. */
export interface TarEntry {
  /** The name; undefined if it is not UTF-8. */
  name: string | undefined
  /** The name, with U+FFFD for bytes that are not UTF-8. */
  shownName: string
  /** The type flag: `0` for a file. */
  type: string
  /** The target of a link; undefined if it is not UTF-8. */
  linkname: string | undefined
  /** The bytes of content that follow the header. */
  size: number
  /** Permission bits; undefined if the header has none. */
  mode: number | undefined
  /** Nanoseconds since 1970; undefined if the header has none. */
  mtime: bigint | undefined
  /** Whether it is a sparse file, whose content is a map of its parts. */
  sparse: boolean
}

const RECORD = 512
const NS_PER_S = 1_000_000_000n
const PERMISSIONS = 0o7777
/** The most bytes of an extension header, which is held in memory. */
const MAX_EXTENSION = 8 << 20
const EMPTY = Buffer.alloc(0)
const ZEROS = Buffer.alloc(RECORD)
/** The most bytes of a chunk of content. */
const MOST_BYTES = 1 << 20

/** The type flags of entries without content, also if their header has a size. */
const WITHOUT_CONTENT = '23456V'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The records of PAX headers; values are bytes. */
type Pax = ReadonlyMap<string, Buffer>

/** The PAX keys that are used. Others are not kept. */
const paxKeys = new Set(['path', 'linkpath', 'size', 'mtime'])
const SPARSE = 'GNU.sparse.'

/** The extension headers before an entry. */
interface Extensions {
  pax?: Pax
  name?: Buffer
  linkname?: Buffer
}

/**
 * Reads the entries of a tar archive: POSIX (ustar, PAX), GNU, or v7. Archives that are concatenated,
 * each ended by zeros, are read as one, as `tar --ignore-zeros` does.
 */
export class TarReader {
  readonly #input: Input
  /** The records of global PAX headers. */
  #global: Pax = new Map()
  /** Whether there has been a PAX header. */
  #isPax = false
  /** Whether there has been a header. */
  #isBegun = false
  /** Unread bytes of the content and the padding. */
  #left = 0
  #padding = 0

  /** @param source the archive, not compressed */
  constructor(source: Readable) {
    this.#input = new Input(source)
  }

  /**
   * The next entry. Unread content of the previous one is skipped.
   *
   * @returns the entry; undefined at the end of the archive
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`, `ERR_COFFER_LIMIT`, or the error of the source
   */
  async next(): Promise<TarEntry | undefined> {
    const extensions: Extensions = {}
    for (;;) {
      const header = await this.#header()
      if (header === undefined) {
        if (Object.keys(extensions).length === 0) return undefined
        throw damaged('it ends where an entry should follow')
      }
      const size = sizeIn(header)
      const type = typeOf(header)
      switch (type) {
        case 'g':
          this.#isPax = true
          this.#global = merged(this.#global, parsePax(await this.#extension(size)))
          break
        case 'x':
        case 'X':
          this.#isPax = true
          extensions.pax = parsePax(await this.#extension(size))
          break
        case 'L':
          extensions.name = beforeNul(await this.#extension(size))
          break
        case 'K':
          extensions.linkname = beforeNul(await this.#extension(size))
          break
        case 'V':
          // A volume label, which belongs to no entry.
          this.#expect(0)
          break
        default:
          return this.#entry(header, type, size, extensions)
      }
    }
  }

  /** The content of the entry, chunk by chunk. */
  async *content(): AsyncGenerator<Buffer, void, undefined> {
    while (this.#left > 0) {
      const part = await this.#input.some(Math.min(this.#left, MOST_BYTES))
      if (part.length === 0) throw cutShort()
      this.#left -= part.length
      yield part
    }
  }

  /** Skips unread content, and reads the next header; undefined at the end. */
  async #header(): Promise<Buffer | undefined> {
    for await (const _ of this.content()) {
      // Skipped.
    }
    if ((await this.#input.upTo(this.#padding)).length < this.#padding) throw cutShort()
    this.#padding = 0
    let record = await this.#input.upTo(RECORD)
    if (record.length === 0) {
      throw damaged(
        this.#input.isEmpty
          ? 'it is empty'
          : 'it is cut short, since the zeros that mark its end are missing. If it never had any, append 1,024 zeros',
      )
    }
    while (record.equals(ZEROS)) {
      record = await this.#input.upTo(RECORD)
      if (record.equals(ZEROS.subarray(0, record.length)) && record.length < RECORD) return undefined
    }
    if (record.length === RECORD && hasChecksum(record)) {
      this.#isBegun = true
      return record
    }
    if (!this.#isBegun) throw damaged('it does not begin with a header. If it is compressed, decompress it first')
    throw record.length < RECORD ? cutShort() : damaged('the checksum of a header is wrong')
  }

  /** Sets the size of the content that follows. */
  #expect(size: number): void {
    this.#left = size
    this.#padding = (RECORD - (size % RECORD)) % RECORD
  }

  async #extension(size: number): Promise<Buffer> {
    if (size > MAX_EXTENSION) {
      throw new CofferError(
        'ERR_COFFER_LIMIT',
        `the tar archive has a header of ${size} bytes; at most ${MAX_EXTENSION} are read`,
      )
    }
    this.#expect(size)
    const content = await this.#input.upTo(size)
    if (content.length < size) throw cutShort()
    this.#left = 0
    return content
  }

  async #entry(header: Buffer, type: string, said: number, extensions: Extensions): Promise<TarEntry> {
    const pax = merged(this.#global, extensions.pax ?? new Map())
    const name = pax.get('GNU.sparse.name') ?? pax.get('path') ?? extensions.name ?? nameIn(header)
    const linkname = pax.get('linkpath') ?? extensions.linkname ?? beforeNul(header.subarray(157, 257))
    const given = pax.get('size')
    let size = given === undefined ? said : decimalSize(given)
    // Only in PAX archives does a hard link have content; others may have a size without content.
    if (WITHOUT_CONTENT.includes(type) || (type === '1' && !this.#isPax)) size = 0
    // The size does not count the records that continue the map of a sparse file.
    let more = type === 'S' && header[482] !== 0
    while (more) {
      const record = await this.#input.upTo(RECORD)
      if (record.length < RECORD) throw cutShort()
      more = record[504] !== 0
    }
    this.#expect(size)
    const text = textOf(name)
    return {
      name: text,
      shownName: text ?? name.toString('utf8'),
      type: type === '0' && text?.endsWith('/') ? '5' : type,
      linkname: textOf(linkname),
      size,
      mode: modeIn(header),
      mtime: paxTime(pax.get('mtime')) ?? timeIn(header),
      sparse: type === 'S' || [...pax.keys()].some((key) => key.startsWith(SPARSE)),
    }
  }
}

/** Reads bytes of a stream in the requested lengths. */
class Input {
  readonly #chunks: AsyncIterator<unknown>
  #rest: Buffer = EMPTY
  /** Whether no byte has been read. */
  isEmpty = true

  constructor(source: Readable) {
    this.#chunks = source[Symbol.asyncIterator]()
  }

  /** At least one byte and at most `most`; none at the end. */
  async some(most: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#chunks.next()
      if (done === true) return EMPTY
      if (!types.isUint8Array(value)) {
        throw invalid('the archive must be a stream of bytes, without an encoding')
      }
      this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    this.isEmpty = false
    const part = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(part.length)
    return part
  }

  /** `length` bytes, or fewer at the end of the stream. */
  async upTo(length: number): Promise<Buffer> {
    const parts: Buffer[] = []
    let left = length
    while (left > 0) {
      const part = await this.some(left)
      if (part.length === 0) break
      left -= part.length
      parts.push(part)
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }
}

/** The type flag of a header; that of a file in v7 is NUL. */
function typeOf(header: Buffer): string {
  return header[156] === 0 || header[156] === 0x37 ? '0' : String.fromCharCode(header[156] ?? 0)
}

/**
 * Whether the checksum of a header fits: the sum of its bytes, with spaces for the checksum. Some writers add
 * signed bytes.
 */
function hasChecksum(header: Buffer): boolean {
  let [unsigned, signed] = [0, 0]
  for (let at = 0; at < RECORD; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0)
    unsigned += byte
    signed += byte > 127 ? byte - 256 : byte
  }
  const said = parsedNumber(header.subarray(148, 156))
  return said === BigInt(unsigned) || said === BigInt(signed)
}

/** The name in a header. In ustar the field `prefix` has the beginning of a long name. */
function nameIn(header: Buffer): Buffer {
  const name = beforeNul(header.subarray(0, 100))
  if (header.toString('latin1', 257, 263) !== 'ustar\0' || header[345] === 0) return name
  // In the format of star the prefix is shorter, and two times follow it.
  const end = header.toString('latin1', 508, 512) === 'tar\0' ? 476 : 500
  return Buffer.concat([beforeNul(header.subarray(345, end)), Buffer.from('/'), name])
}

function sizeIn(header: Buffer): number {
  const size = numberIn(header, 124, 12)
  if (size === undefined) return 0
  return checkedSize(size)
}

function decimalSize(text: Buffer): number {
  const digits = text.toString('latin1')
  if (!/^\d{1,20}$/.test(digits)) throw damaged('a PAX header has a size that is not a number')
  return checkedSize(BigInt(digits))
}

function checkedSize(size: bigint): number {
  if (size < 0n) throw damaged('an entry has a size below zero')
  if (size > BigInt(Number.MAX_SAFE_INTEGER - RECORD)) {
    throw new CofferError('ERR_COFFER_LIMIT', `the tar archive has an entry of ${size} bytes`)
  }
  return Number(size)
}

function modeIn(header: Buffer): number | undefined {
  const mode = numberIn(header, 100, 8)
  return mode === undefined ? undefined : Number(mode & BigInt(PERMISSIONS))
}

function timeIn(header: Buffer): bigint | undefined {
  const seconds = numberIn(header, 136, 12)
  return seconds === undefined ? undefined : seconds * NS_PER_S
}

/** A numeric field; undefined if it is blank. */
function numberIn(header: Buffer, at: number, length: number): bigint | undefined {
  const number = parsedNumber(header.subarray(at, at + length))
  if (number === null) throw damaged('a header has something else where a number should be')
  return number
}

/** Parses octal digits, or a binary number if the first bit is set. Null for anything else. */
function parsedNumber(field: Buffer): bigint | undefined | null {
  const first = field[0] ?? 0
  if (first >= 0x80) {
    const number = BigInt(`0x${field.toString('hex')}`)
    // Two's complement; in a number that is not negative the first bit is only the flag of the binary form.
    const bits = BigInt(8 * field.length)
    return first >= 0xc0 ? number - (1n << bits) : number - (1n << (bits - 1n))
  }
  const text = field.toString('latin1').replaceAll('\0', ' ').trim()
  if (text === '') return undefined
  return /^[0-7]+$/.test(text) ? BigInt(`0o${text}`) : null
}

/** Parses the records of a PAX header, each `LENGTH KEY=VALUE` and a newline. The last of one key counts. */
function parsePax(bytes: Buffer): Pax {
  const pax = new Map<string, Buffer>()
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = bytes.toString('latin1', at, Math.min(space < 0 ? at : space, at + 20))
    const end = at + Number(digits)
    const equals = bytes.indexOf(0x3d, space)
    const isRecord = /^\d+$/.test(digits) && end <= bytes.length && space < equals && equals < end - 1
    if (!isRecord || bytes[end - 1] !== 0x0a) {
      // Some writers include the padding in the size.
      if (bytes.subarray(at).every((byte) => byte === 0)) break
      throw damaged('a PAX header is malformed')
    }
    const key = bytes.toString('utf8', space + 1, equals)
    if (paxKeys.has(key) || key.startsWith(SPARSE)) pax.set(key, bytes.subarray(equals + 1, end - 1))
    at = end
  }
  return pax
}

/** Merges the records of two PAX headers: the second overrides the first, and an empty value removes a key. */
function merged(first: Pax, second: Pax): Pax {
  const all = new Map([...first, ...second])
  for (const [key, value] of all) if (value.length === 0) all.delete(key)
  return all
}

/** Parses seconds with decimals to nanoseconds, rounded down. */
function paxTime(text: Buffer | undefined): bigint | undefined {
  if (text === undefined) return undefined
  const [, sign, whole = '', part = ''] = /^(-?)(\d{1,17})(?:\.(\d*))?$/.exec(text.toString('latin1')) ?? []
  if (sign === undefined) return undefined
  const ns = BigInt(whole) * NS_PER_S + BigInt(part.slice(0, 9).padEnd(9, '0'))
  const isCut = /[1-9]/.test(part.slice(9))
  return sign === '-' ? -ns - (isCut ? 1n : 0n) : ns
}

function beforeNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

function textOf(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

function damaged(why: string): CofferError {
  return new CofferError('ERR_COFFER_CORRUPT', `this is not a tar archive, or it is damaged: ${why}`)
}

function cutShort(): CofferError {
  return damaged('it is cut short')
}
