import { constants } from 'node:buffer'
import { TextDecoder } from 'node:util'
import { shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import { checkResult, chunksOfIterator } from './input.ts'

/** The bytes of a member that are read at a time. */
const RANGE_BYTES = 1 << 20

/** A part of a member, with the version of the member that it belongs to. */
export interface Range<Bytes extends Uint8Array = Uint8Array> {
  bytes: Bytes
  version: bigint
  size: number
}

/** Joins lines to text, with a newline after each. */
export function joinLines(lines: Iterable<string>): string {
  let text = ''
  let length = 0
  const iterator = chunksOfIterator(lines[Symbol.iterator]())
  try {
    for (;;) {
      const { done, value: line } = checkResult(iterator.next()) as IteratorResult<unknown>
      if (done) return text
      if (typeof line !== 'string') throw invalid(`a line must be a string, not ${shown(line)}`)
      length += line.length + 1
      checkLength(length, 'the lines are together')
      text += `${line}\n`
    }
  } catch (error) {
    iterator.stop(error)
    throw error
  }
}

/** Checks that a text fits into a string. */
function checkLength(length: number, what: string): void {
  const most = constants.MAX_STRING_LENGTH
  if (length <= most) return
  throw new CofferError('ERR_COFFER_LIMIT', `${what} longer than the ${most} characters that a string can have`)
}

/**
 * Splits text into lines, without their ends (`\n` or `\r\n`). A last line without an end counts unless
 * it is empty.
 */
export function splitLines(text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/**
 * The lines of a UTF-8 member, read piece by piece. A line is held in memory whole.
 *
 * @param read reads part of the member, of the version given if any
 */
export async function* streamLines(
  read: (start: number, length: number, version?: bigint) => Promise<Range>,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  // The pieces of the current line.
  let begun: string[] = []
  let length = 0
  let start = 0
  let version: bigint | undefined
  for (let more = true; more; ) {
    const range = await read(start, RANGE_BYTES, version)
    version = range.version
    start += range.bytes.length
    more = range.bytes.length > 0 && start < range.size
    const [end = '', ...rest] = decoder.decode(range.bytes, { stream: more }).split('\n')
    begun.push(end)
    length += end.length
    checkLength(length, 'a line is')
    for (const piece of rest) {
      const line = begun.join('')
      yield line.endsWith('\r') ? line.slice(0, -1) : line
      begun = [piece]
      length = piece.length
    }
  }
  const last = begun.join('')
  if (last !== '') yield last
}
