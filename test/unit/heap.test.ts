import { describe, expect, it } from 'vitest'
import { decode } from '../../ts/cbor/decode.ts'
import { HeapRoom, NoRoom } from '../../ts/cbor/heap.ts'
import { unpickle } from '../../ts/plugins/pickle.ts'

const origin = { path: 'box.coffer', member: 'data' }

describe('what bytes of a member ask for on the heap', () => {
  /** An array of so many of what these bytes are. */
  const arrayOf = (count: number, item: string): Buffer => {
    const head = Buffer.from([0x9a, 0, 0, 0, 0])
    head.writeUInt32BE(count, 1)
    return Buffer.concat([head, ...Array.from({ length: count }, () => Buffer.from(item, 'hex'))])
  }
  // An empty array, object, Map, Set, Buffer and typed array.
  const items = ['80', 'a0', 'd90103a0', 'd9010280', '40', 'd84040']

  it.each(items)('is counted before it is made, in CBOR: %s', (item) => {
    const bytes = arrayOf(1_000, item)
    expect(() => decode(bytes, origin, new HeapRoom(100_000))).toThrowError(
      expect.objectContaining({ code: 'ERR_COFFER_LIMIT', ...origin }),
    )
    expect(decode(bytes, origin, new HeapRoom(1_000_000))).toHaveLength(1_000)
  })

  it('is not asked for by a count alone', () => {
    const lying = Buffer.from('9bffffffffffffff00', 'hex')
    expect(() => decode(lying, origin, new HeapRoom(1_000))).toThrowError(
      expect.objectContaining({ code: 'ERR_COFFER_CORRUPT' }),
    )
  })

  it.each([
    ['lists', ']'],
    ['dicts', '}'],
    ['tuples', ')'],
    ['places in the memo', '\x94'],
    ['copies of what is on top', '2'],
  ])('is counted before it is made, in a pickle: %s', (_, opcode) => {
    const pickle = Buffer.from(`\x80\x04]${opcode.repeat(10_000)}.`, 'latin1')
    expect(() => unpickle(pickle, new Map(), new HeapRoom(500_000))).toThrow(NoRoom)
    unpickle(pickle, new Map(), new HeapRoom(10_000_000))
  })

  it('may be half of what is left', () => {
    const room = new HeapRoom()
    expect(() => room.take(2 ** 20)).not.toThrow()
    expect(() => room.take(2 ** 50)).toThrow(NoRoom)
  })
})
