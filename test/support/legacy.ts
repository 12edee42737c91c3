/** Coffers as PyCoffer lays them out, of which every byte is the test's own choice. */

const recordLength = 512
const maxBlock = 128 * 1024

/** What a tar header says; what is absent is as tarfile writes it. */
export interface TarHeader {
  readonly name: string
  readonly type?: string
  readonly size?: number
  readonly link?: string
}

/** An entry of a tar: its header, its content and the padding. */
export function tarEntry({ name, type = '0', size, link = '' }: TarHeader, content: Uint8Array | string = ''): Buffer {
  const data = Buffer.from(content)
  const header = Buffer.alloc(recordLength)
  const octal = (value: number, at: number, digits: number): void => {
    header.write(value.toString(8).padStart(digits, '0'), at, 'latin1')
  }
  header.write(name, 0, 100, 'utf8')
  octal(0o644, 100, 7)
  octal(0, 108, 7)
  octal(0, 116, 7)
  octal(size ?? data.length, 124, 11)
  octal(1_700_000_000, 136, 11)
  header.write('        ', 148, 'latin1')
  header.write(type, 156, 'latin1')
  header.write(link, 157, 100, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  )
  header.writeUInt8(0, 154)
  const padding = Buffer.alloc((recordLength - (data.length % recordLength)) % recordLength)
  return Buffer.concat([header, data, padding])
}

/** A PAX header with these records, in front of the entry that it is about. */
export function paxHeader(...records: readonly (readonly [key: string, value: string])[]): Buffer {
  const lines = records.map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`)
    let length = rest + 1
    while (String(length).length + rest !== length) length += 1
    return `${length} ${key}=${value}\n`
  })
  return tarEntry({ name: 'PaxHeader', type: 'x' }, lines.join(''))
}

/** The two blocks of zeros at the end of a tar. */
export const tarEnd = Buffer.alloc(2 * recordLength)

/** The blocks of a zstd frame: bytes as they are, or a run of one byte. */
function blocks(of: Buffer | { byte: number; times: number }): Buffer {
  const length = Buffer.isBuffer(of) ? of.length : of.times
  const out: Buffer[] = []
  for (let at = 0; at === 0 || at < length; at += maxBlock) {
    const size = Math.min(maxBlock, length - at)
    const head = Buffer.alloc(3)
    head.writeUIntLE((size << 3) | (Buffer.isBuffer(of) ? 0 : 2) | (at + size >= length ? 1 : 0), 0, 3)
    out.push(head, Buffer.isBuffer(of) ? of.subarray(at, at + size) : Buffer.of(of.byte))
  }
  return Buffer.concat(out)
}

/** A zstd frame that says nothing of its length, and wants a window of a power of two. */
export function zstdFrame(of: Buffer | { byte: number; times: number }, windowLog = 17): Buffer {
  const head = Buffer.alloc(6)
  head.writeUInt32LE(0xfd2fb528)
  head.writeUInt8((windowLog - 10) << 3, 5)
  return Buffer.concat([head, blocks(of)])
}
