import { describe, expect, it } from 'vitest'
import { joinLines, splitLines, streamLines } from '../../ts/member/lines.ts'

/** Streams the lines of some bytes that arrive in pieces of a size. */
async function streamed(bytes: Uint8Array, piece: number): Promise<string[]> {
  const asked: (bigint | undefined)[] = []
  const lines: string[] = []
  const read = async (start: number, _length: number, version?: bigint) => {
    asked.push(version)
    return { bytes: bytes.subarray(start, start + piece), version: 7n, size: bytes.length }
  }
  for await (const line of streamLines(read)) lines.push(line)
  // Every piece but the first must be of the version that the first was of.
  expect(asked).toEqual([undefined, ...Array(asked.length - 1).fill(7n)])
  return lines
}

const cases: [text: string, lines: string[]][] = [
  ['', []],
  ['\n', ['']],
  ['a', ['a']],
  ['a\n', ['a']],
  ['a\n\n', ['a', '']],
  ['\na', ['', 'a']],
  ['a\r\nb\r\n', ['a', 'b']],
  ['a\rb\n', ['a\rb']],
  ['a\r', ['a\r']],
  ['a\r\r\n', ['a\r']],
  ['  a \n\tb', ['  a ', '\tb']],
  ['\u2028a\u0085b\n', ['\u2028a\u0085b']],
  ['\ufeffžluťoučký\n馬\n🐎', ['\ufeffžluťoučký', '馬', '🐎']],
]

describe('lines', () => {
  it.each(cases)('of %j are %j', (text, lines) => {
    expect(splitLines(text)).toEqual(lines)
  })

  it.each(cases)('of %j are the same when it is read in pieces of any size', async (text, lines) => {
    const bytes = Buffer.from(text)
    for (const piece of [1, 2, 3, 5, 1000]) expect(await streamed(bytes, piece)).toEqual(lines)
  })

  it('that are joined each end with a newline', () => {
    expect(joinLines([])).toBe('')
    expect(joinLines(new Set(['a', '', 'b']))).toBe('a\n\nb\n')
  })

  it('come back as they were joined', () => {
    const lines = ['', 'a', '  b', '', 'ünï']
    expect(splitLines(joinLines(lines))).toEqual(lines)
  })

  it('end when a read brings nothing, whatever size was promised', async () => {
    const pieces = [Buffer.from('a\nb'), Buffer.alloc(0)]
    const read = async () => ({ bytes: pieces.shift() ?? Buffer.alloc(0), version: 1n, size: 100 })
    const lines: string[] = []
    for await (const line of streamLines(read)) lines.push(line)
    expect(lines).toEqual(['a', 'b'])
  })

  it('stop reading when nobody wants more', async () => {
    let reads = 0
    const read = async () => {
      reads += 1
      return { bytes: Buffer.from('a\n'), version: 1n, size: 1_000_000 }
    }
    for await (const _line of streamLines(read)) break
    expect(reads).toBe(1)
  })
})
