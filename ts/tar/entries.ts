import type { Readable } from 'node:stream'
import { types } from 'node:util'
import { CofferError, invalid } from '../errors.ts'

// tar-stream, which writes archives, does not say what is needed here: names as bytes, so that U+FFFD
// in a name is told from bytes that are no UTF-8; where the end marker is; and headers of the oldest
// form and of sparse files. It holds a PAX header of any length in memory.

/** What an archive says of an entry. */
export interface TarEntry {
  /** Its name; undefined if it is not UTF-8. */
  name: string | undefined
  /** The same, with U+FFFD for what is not UTF-8. */
  shownName: string
  /** The type of its header, a character: `0` for a file. */
  type: string
  /** What a link leads to; undefined if that is not UTF-8. */
  linkname: string | undefined
  /** The bytes of its content that follow. */
  size: number
  /** Permission bits; undefined if the header has none. */
  mode: number | undefined
  /** Nanoseconds since 1970; undefined if the header has none. */
  mtime: bigint | undefined
  /** Whether its content has to be put together from a map of what is not zeros. */
  sparse: boolean
}

const RECORD = 512
const NS_PER_S = 1_000_000_000n
const PERMISSIONS = 0o7777
/** The most bytes of a header that only says something of the next entry: it is held in memory. */
const MAX_EXTENSION = 8 << 20
const EMPTY = Buffer.alloc(0)
const ZEROS = Buffer.alloc(RECORD)
/** What another chunk of the archive costs is paid once for so many bytes of an entry. */
const MOST_BYTES = 1 << 20

/** The types of entries that have no content, whatever their headers say. */
const WITHOUT_CONTENT = '23456V'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What PAX headers say, as bytes. */
type Pax = ReadonlyMap<string, Buffer>

/** The PAX keys that mean something here. The others are not kept. */
const paxKeys = new Set(['path', 'linkpath', 'size', 'mtime'])
const SPARSE = 'GNU.sparse.'

/** What stands before an entry and is about it. */
interface Extensions {
  pax?: Pax
  name?: Buffer
  linkname?: Buffer
}

/**
 * The entries of a tar archive: POSIX (ustar, PAX), GNU, and the oldest form (v7). An archive ends
 * with zeros; several may stand behind each other, as `tar --ignore-zeros` takes them.
 */
export class TarReader {
  readonly #input: Input
  /** What PAX headers say of all entries that follow. */
  #global: Pax = new Map()
  /** Whether there has been a PAX header. */
  #isPax = false
  /** Whether there has been a header. */
  #isBegun = false
  /** Bytes of the content and the padding that have not been read. */
  #left = 0
  #padding = 0

  /** @param source the archive, not compressed */
  constructor(source: Readable) {
    this.#input = new Input(source)
  }

  /**
   * The next entry. What was not read of the one before is passed over.
   *
   * @returns the entry; undefined at the end of the archive
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`, `ERR_COFFER_LIMIT`, or what the source fails with
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
          // The label of the archive: it is about no entry.
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

  /** Passes over what is left, and reads the next header; undefined at the end. */
  async #header(): Promise<Buffer | undefined> {
    for await (const _ of this.content()) {
      // It is not wanted.
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

  /** Says how much content follows. */
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
    // The content of a hard link is a thing of PAX archives; others put a size there, and nothing behind it.
    if (WITHOUT_CONTENT.includes(type) || (type === '1' && !this.#isPax)) size = 0
    // The map of a sparse file goes on in records that its size does not count.
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

/** The bytes of a stream, as many at a time as are wanted. */
class Input {
  readonly #chunks: AsyncIterator<unknown>
  #rest: Buffer = EMPTY
  /** Whether no byte has come yet. */
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

  /** So many bytes, or fewer where the stream ends. */
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

/** The type in a header; files of the oldest form have NUL. */
function typeOf(header: Buffer): string {
  return header[156] === 0 || header[156] === 0x37 ? '0' : String.fromCharCode(header[156] ?? 0)
}

/** The sum of the bytes of a header, the checksum itself taken for spaces. Some writers add signed bytes. */
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

/** The name in a header: POSIX has the beginning of a long one in a field of its own. */
function nameIn(header: Buffer): Buffer {
  const name = beforeNul(header.subarray(0, 100))
  if (header.toString('latin1', 257, 263) !== 'ustar\0' || header[345] === 0) return name
  // In the form of star two times stand behind a shorter field.
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
  if (!/^\d{1,20}$/.test(digits)) throw damaged('a PAX header has a size that is no number')
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

/** A number of a header; nothing if the field is blank. */
function numberIn(header: Buffer, at: number, length: number): bigint | undefined {
  const number = parsedNumber(header.subarray(at, at + length))
  if (number === null) throw damaged('a header has something else where a number should be')
  return number
}

/** Octal digits, or a binary number where the first bit is set. Null for anything else. */
function parsedNumber(field: Buffer): bigint | undefined | null {
  const first = field[0] ?? 0
  if (first >= 0x80) {
    const number = BigInt(`0x${field.toString('hex')}`)
    // Two's complement; the first bit of a number that is not negative says only that it is binary.
    const bits = BigInt(8 * field.length)
    return first >= 0xc0 ? number - (1n << bits) : number - (1n << (bits - 1n))
  }
  const text = field.toString('latin1').replaceAll('\0', ' ').trim()
  if (text === '') return undefined
  return /^[0-7]+$/.test(text) ? BigInt(`0o${text}`) : null
}

/** The records of a PAX header, each `LENGTH KEY=VALUE` and a newline. Of two with one key the later one counts. */
function parsePax(bytes: Buffer): Pax {
  const pax = new Map<string, Buffer>()
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = bytes.toString('latin1', at, Math.min(space < 0 ? at : space, at + 20))
    const end = at + Number(digits)
    const equals = bytes.indexOf(0x3d, space)
    const isRecord = /^\d+$/.test(digits) && end <= bytes.length && space < equals && equals < end - 1
    if (!isRecord || bytes[end - 1] !== 0x0a) {
      // Zeros at the end are padding that a writer has counted.
      if (bytes.subarray(at).every((byte) => byte === 0)) break
      throw damaged('a PAX header is malformed')
    }
    const key = bytes.toString('utf8', space + 1, equals)
    if (paxKeys.has(key) || key.startsWith(SPARSE)) pax.set(key, bytes.subarray(equals + 1, end - 1))
    at = end
  }
  return pax
}

/** What two PAX headers say together: the second counts more, and takes back what it has no value for. */
function merged(first: Pax, second: Pax): Pax {
  const all = new Map([...first, ...second])
  for (const [key, value] of all) if (value.length === 0) all.delete(key)
  return all
}

/** Seconds with decimals, in nanoseconds, rounded down. */
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
