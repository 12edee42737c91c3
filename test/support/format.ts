/**
 * A second reader of the file format's outermost layer, enough to take a coffer apart and put it
 * together wrong. It knows the framing and the marks, nothing of what is sealed.
 */

/** Bytes before a chunk's payload: the length and the reserved bytes. */
export const chunkHead = 32
/** Bytes of a mark. */
export const markLength = 28
const skippableMagic = 0x184d2a5c
const skippableHead = 8

/** What a record's mark says it is. */
export type RecordKind = 'header' | 'key' | 'commit' | 'footer'

/** One chunk of a sealed container, or one frame of an unsealed one. */
export interface Piece {
  /** Where it begins in the file. */
  readonly offset: number
  /** Its whole length, framing included. */
  readonly length: number
  /** Where its mark or reserved bytes begin in the file; null for a zstd frame with data. */
  readonly mark: number | null
  /** The record it belongs to; null for data and dead space. */
  readonly record: RecordKind | null
  /** Where its payload begins in the file. */
  readonly payload: number
}

const marks: Readonly<Record<string, RecordKind>> = { cofH: 'header', cofK: 'key', cofC: 'commit', cofF: 'footer' }

function recordAt(file: Buffer, mark: number): RecordKind | null {
  return marks[file.toString('latin1', mark, mark + 4)] ?? null
}

/** The chunks of a sealed container, in file order. */
export function chunks(file: Buffer): Piece[] {
  const found: Piece[] = []
  for (let offset = 0; offset + chunkHead <= file.length; ) {
    const length = chunkHead + file.readUInt32LE(offset)
    if (offset + length > file.length) throw new Error(`the chunk at ${offset} runs past the end of the file`)
    const mark = offset + 4
    found.push({ offset, length, mark, record: recordAt(file, mark), payload: offset + chunkHead })
    offset += length
  }
  return found
}

/** The length of the zstd frame at an offset, from its block headers (RFC 8878, section 3.1.1). */
function zstdFrameLength(file: Buffer, offset: number): number {
  const descriptor = file.readUInt8(offset + 4)
  const singleSegment = (descriptor & 0x20) !== 0
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0
  let at = offset + 5 + (singleSegment ? 0 : 1) + dictionary + contentSize
  for (;;) {
    const block = file.readUIntLE(at, 3)
    const repeated = ((block >> 1) & 3) === 1
    at += 3 + (repeated ? 1 : block >> 3)
    if ((block & 1) === 1) break
  }
  return at + ((descriptor & 4) !== 0 ? 4 : 0) - offset
}

/** The frames of an unsealed container, in file order. */
export function frames(file: Buffer): Piece[] {
  const found: Piece[] = []
  for (let offset = 0; offset + 4 <= file.length; ) {
    const magic = file.readUInt32LE(offset)
    if (magic === 0xfd2fb528) {
      const length = zstdFrameLength(file, offset)
      found.push({ offset, length, mark: null, record: null, payload: offset })
      offset += length
    } else if (magic === skippableMagic) {
      const length = skippableHead + file.readUInt32LE(offset + 4)
      const mark = offset + skippableHead
      const record = length >= skippableHead + markLength ? recordAt(file, mark) : null
      found.push({ offset, length, mark, record, payload: record === null ? mark : mark + markLength })
      offset += length
    } else {
      throw new Error(`neither a zstd frame nor a record of ours at ${offset}`)
    }
  }
  return found
}

/** The pieces of a coffer, whichever form its container has. */
export function pieces(file: Buffer, sealed: boolean): Piece[] {
  return sealed ? chunks(file) : frames(file)
}

/** The bytes of a piece. */
export function bytesOf(file: Buffer, piece: Piece): Buffer {
  return file.subarray(piece.offset, piece.offset + piece.length)
}

/** The pieces that hold data or dead space and lie in a range of the file. */
export function dataPieces(file: Buffer, sealed: boolean, from = 0, to = file.length): Piece[] {
  return pieces(file, sealed).filter(
    (piece) => piece.record === null && piece.offset >= from && piece.offset + piece.length <= to,
  )
}

/** The last piece of a record kind; fails if there is none. */
export function lastRecord(file: Buffer, sealed: boolean, record: RecordKind): Piece {
  const found = pieces(file, sealed).findLast((piece) => piece.record === record)
  if (found === undefined) throw new Error(`the file has no ${record}`)
  return found
}

/** A copy of the file in which one byte has been turned over. */
export function flipped(file: Buffer, offset: number, bits = 0x01): Buffer {
  const copy = Buffer.from(file)
  copy.writeUInt8(copy.readUInt8(offset) ^ bits, offset)
  return copy
}

/** Where each copy of a header mark ("cofH" or "cofK") begins, first copy first. */
export function headerMarks(file: Buffer, record: 'header' | 'key'): number[] {
  const tag = record === 'header' ? 'cofH' : 'cofK'
  const found: number[] = []
  for (let at = file.indexOf(tag, 0, 'latin1'); at >= 0; at = file.indexOf(tag, at + 1, 'latin1')) {
    found.push(at)
  }
  return found
}
