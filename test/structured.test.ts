import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import { Tag } from 'cbor2'
import { registerEncoder } from 'cbor2/encoder'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { type Coffer, CofferNull } from './support/coffer.ts'
import { PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

async function newBox(): Promise<Coffer> {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
  onTestFinished(async () => box.close())
  return box
}

async function roundTrip(value: unknown): Promise<unknown> {
  const box = await newBox()
  await box.dump('value', value)
  return box.load('value')
}

/** What loading some bytes, in hexadecimal, gives. */
async function loaded(hex: string): Promise<unknown> {
  const box = await newBox()
  await box.write('some/value', Buffer.from(hex, 'hex'))
  return box.load('some/value')
}

const corrupt = { code: 'ERR_COFFER_CORRUPT', member: 'some/value', path: expect.stringContaining('box.coffer') }

function nested(depth: number, wrap: (value: unknown) => unknown, core: unknown = 'core'): unknown {
  let value = core
  for (let level = 0; level < depth; level += 1) value = wrap(value)
  return value
}

describe('a value that was dumped comes back as it was:', () => {
  it.each<[string, unknown]>([
    ['null', null],
    ['undefined', undefined],
    ['booleans', [true, false]],
    ['integers', [0, 1, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, -1, -24, -25, -256, -257, -(2 ** 32)]],
    ['the largest safe integers', [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]],
    ['numbers beyond them', [2 ** 53, 2 ** 60, -(2 ** 60), 2 ** 64, 1e300]],
    ['fractions', [0.5, 1.5, 0.1, -0.1, 1 / 3, 1e-7, 2 ** -24, 2 ** -25, 2 ** -126, 2 ** -149]],
    ['the ends of the doubles', [Number.MIN_VALUE, Number.MAX_VALUE, Number.EPSILON]],
    ['numbers that are none or infinite', [Number.NaN, Infinity, -Infinity]],
    ['minus zero', -0],
    ['small bigints', [0n, 1n, 5n, -1n, -5n, 255n, 256n]],
    [
      'large bigints',
      [2n ** 53n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 64n), -(2n ** 64n) - 1n, 2n ** 4_000n, -(3n ** 999n)],
    ],
    ['text', ['', 'a', 'ümläut', '語', '🗝️', '\u0000\ufeff', 'x'.repeat(100_000)]],
    ['dates', [new Date(0), new Date(1), new Date(-1), new Date(1_700_000_000_123), new Date(1_001)]],
    [
      'the first and the last date',
      [new Date(-8.64e15), new Date(8.64e15), new Date(8.64e15 - 1), new Date(1 - 8.64e15)],
    ],
    ['empty containers', [[], {}, new Map(), new Set(), '', Buffer.alloc(0), new Uint8Array(0), new Float64Array(0)]],
    ['containers in containers', { a: [{ b: new Map([['c', new Set([[1, { d: null }]])]]) }] }],
    [
      'maps with keys of all types',
      new Map<unknown, unknown>([
        [1, 'one'],
        ['1', 'text'],
        [1n, 'big'],
        [null, 0],
        [undefined, 1],
        [true, 2],
        [Number.NaN, 3],
        [-1.5, 4],
      ]),
    ],
    [
      'maps whose keys are all strings',
      new Map([
        ['a', 1],
        ['b', 2],
      ]),
    ],
    [
      'maps with containers as keys',
      new Map<unknown, unknown>([
        [[1, 2], 'array'],
        [{ a: 1 }, 'object'],
        [new Map([[1, 2]]), 'map'],
        [new Set([1]), 'set'],
        [new Date(5), 'date'],
      ]),
    ],
    ['sets', new Set<unknown>([1, '1', 1n, null, undefined, 'x', new Set([2])])],
    ['typed arrays', [new Uint8Array([1, 255]), new Uint8ClampedArray([0, 255]), new Int8Array([-128, 127])]],
    [
      'typed arrays of larger items',
      [
        new Uint16Array([1, 65_535]),
        new Int16Array([-2, 258]),
        new Uint32Array([1, 2 ** 32 - 1]),
        new Int32Array([-3, 66_051]),
      ],
    ],
    ['typed arrays of bigints', [new BigInt64Array([-(2n ** 63n), 5n]), new BigUint64Array([2n ** 64n - 1n, 5n])]],
    ['typed arrays of floats', [new Float32Array([0.5, -0, Number.NaN]), new Float64Array([Math.PI, -0, Infinity])]],
    ['keys in their order', { z: 1, a: 2, m: 3 }],
    ['keys such as numbers', { 1: 'one', 10: 'ten', '-1': 'minus', '': 'empty' }],
  ])('%s', async (_, value) => {
    const back = await roundTrip(value)
    expect(back).toStrictEqual(value)
    expect(JSON.stringify(Object.keys(back ?? {}))).toBe(JSON.stringify(Object.keys(value ?? {})))
  })

  it('a Buffer as a Buffer, and a Uint8Array as a Uint8Array', async () => {
    const [buffer, array] = (await roundTrip([Buffer.from('abc'), new Uint8Array([1, 2])])) as [Buffer, Uint8Array]
    expect(Buffer.isBuffer(buffer)).toBe(true)
    expect(buffer.toString()).toBe('abc')
    expect(Object.getPrototypeOf(array)).toBe(Uint8Array.prototype)
    expect([...array]).toEqual([1, 2])
  })

  it('the part of memory that a typed array is a view of, in memory of its own', async () => {
    const memory = Uint8Array.from({ length: 32 }, (_, index) => index).buffer
    const views = [new Uint16Array(memory, 2, 3), new Float64Array(memory, 8, 2), Buffer.from(memory, 5, 4)]
    const back = (await roundTrip(views)) as typeof views
    expect(back).toStrictEqual(views)
    expect(back[0]?.buffer.byteLength).toBe(6)
  })

  it('keys that mean something to JavaScript, without a change to any prototype', async () => {
    const value = JSON.parse(
      '{"__proto__": {"polluted": 1}, "constructor": 2, "toString": 3, "hasOwnProperty": 4, "length": 5}',
    )
    const back = (await roundTrip(value)) as Record<string, unknown>
    expect(Object.keys(back)).toEqual(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length'])
    expect(Object.getOwnPropertyDescriptor(back, '__proto__')?.value).toEqual({ polluted: 1 })
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
    expect('polluted' in {}).toBe(false)
  })

  it('an object without a prototype as a plain one', async () => {
    const back = await roundTrip(Object.assign(Object.create(null), { a: 1 }))
    expect(back).toStrictEqual({ a: 1 })
  })

  it('holes of an array as undefined', async () => {
    const sparse = [1]
    sparse[3] = 4
    expect(await roundTrip(sparse)).toStrictEqual([1, undefined, undefined, 4])
  })

  it('what is in two places in both, each by itself', async () => {
    const shared = { n: 1 }
    const back = (await roundTrip({ a: shared, b: [shared, shared] })) as { a: object; b: object[] }
    expect(back).toStrictEqual({ a: { n: 1 }, b: [{ n: 1 }, { n: 1 }] })
    expect(back.a).not.toBe(back.b[0])
  })

  it('values of another realm', async () => {
    const value: unknown = runInNewContext(
      '({ list: [1], map: new Map([[1, new Set([2])]]), at: new Date(3), bytes: new Uint8Array([4]) })',
    )
    expect(await roundTrip(value)).toStrictEqual({
      list: [1],
      map: new Map([[1, new Set([2])]]),
      at: new Date(3),
      bytes: new Uint8Array([4]),
    })
  })

  it('200 levels of each container', async () => {
    for (const wrap of [
      (v: unknown) => [v],
      (v: unknown) => ({ v }),
      (v: unknown) => new Map([['v', v]]),
      (v: unknown) => new Set([v]),
    ]) {
      const value = nested(200, wrap)
      expect(await roundTrip(value)).toStrictEqual(value)
    }
  })

  it('200 levels of each container around a bigint', async () => {
    for (const wrap of [(v: unknown) => new Map([['v', v]]), (v: unknown) => new Set([v])]) {
      const value = nested(200, wrap, 5n)
      expect(await roundTrip(value)).toStrictEqual(value)
    }
  })

  it('dates up to the last one, to the millisecond', async () => {
    const times = [
      ...[8_640_000_000_000_000, 8_639_999_999_999_999, 4_503_599_627_370_497, 4_502_081_629_682_816],
      ...[4_448_976_302_412_345, 4_402_286_917_645_944, 1_709_210_096_789, 1, 0],
    ]
    const dates = [...times, ...times.map((time) => -time)].map((time) => new Date(time))
    expect(await roundTrip(dates)).toStrictEqual(dates)
  })

  it('anything that a generator makes up', async () => {
    const box = await newBox()
    const random = generator(20_240_229)
    for (let round = 0; round < 400; round += 1) {
      const value = random(4)
      await box.dump('value', value)
      expect(await box.load('value')).toStrictEqual(value)
    }
  })
})

describe('dump', () => {
  it('has stored the value as it was at the call', async () => {
    const box = await newBox()
    const value = { list: [1], bytes: new Uint8Array(3_000_000).fill(1) }
    const dumped = box.dump('value', value)
    value.list.push(2)
    value.bytes.fill(2)
    await dumped
    const { list, bytes } = await box.load<typeof value>('value')
    expect(list).toEqual([1])
    expect(bytes.every((byte) => byte === 1)).toBe(true)
  })

  it('takes the options of write', async () => {
    const box = await newBox()
    await box.dump('value', 1, { mode: 0o600, mtime: new Date(5_000) })
    expect(await box.stat('value')).toMatchObject({ mode: 0o600, mtime: new Date(5_000) })
  })

  it('belongs to a batch, and so does load', async () => {
    const box = await newBox()
    await box.dump('count', 1n)
    const failure = box.batch(async (b) => {
      await b.dump('count', (await b.load<bigint>('count')) + 1n)
      expect(await b.load('count')).toBe(2n)
      throw new Error('changed my mind')
    })
    await expect(failure).rejects.toThrow('changed my mind')
    expect(await box.load('count')).toBe(1n)
  })

  class Point {
    x = 1
  }
  it.each<[string, unknown, string]>([
    ['a function', { users: [0, 1, 2, { onClick: () => {} }] }, 'value.users[3].onClick is a function'],
    ['a symbol', [Symbol('s')], 'value[0] is a symbol'],
    ['an instance of a class', { 'the point': new Point() }, 'value["the point"] is an instance of Point'],
    ['an instance of a subclass', [new (class Names extends Map {})()], 'value[0] is an instance of Names'],
    ['an instance of an array subclass', new (class List extends Array {})(), 'value is an instance of List'],
    ['an instance of a typed array subclass', [new (class Samples extends Int16Array {})(2)], 'an instance of Samples'],
    ['a WeakMap', new Map([['weak', new WeakMap()]]), 'value.values()[0] is an instance of WeakMap'],
    ['a Promise', new Set([1, Promise.resolve()]), 'value.values()[1] is an instance of Promise'],
    ['a key of a map', new Map([[() => {}, 1]]), 'value.keys()[0] is a function'],
    ['a RegExp', [/x/], 'value[0] is an instance of RegExp'],
    ['an Error', [new Error('x')], 'value[0] is an instance of Error'],
    ['a URL', [new URL('http://a/')], 'value[0] is an instance of URL'],
    ['a DataView', [new DataView(new ArrayBuffer(1))], 'value[0] is an instance of DataView'],
    ['an ArrayBuffer', [new ArrayBuffer(1)], 'value[0] is an instance of ArrayBuffer'],
    ['a boxed number', [Object(1)], 'value[0] is an instance of Number'],
    ['an invalid Date', { at: new Date(Number.NaN) }, 'value.at is an invalid Date'],
    ['half of a surrogate pair', ['\ud800'], 'value[0] has half of a surrogate pair'],
    ['a key with half of a surrogate pair', { '\udc00': 1 }, 'value["\\udc00"] has half of a surrogate pair'],
    ['a key that is a symbol', [{ [Symbol('s')]: 1 }], 'value[0] has a property whose key is a symbol'],
    ['a method toJSON', { toJSON: () => 'something else' }, 'value.toJSON is a function'],
    ['an object of the language', Math, 'value is an instance of Math'],
    [
      'a getter that throws',
      {
        get bad() {
          throw new Error('no')
        },
      },
      'value.bad cannot be read: reading it throws',
    ],
    [
      'a Proxy that throws',
      [
        new Proxy(
          { a: 1 },
          {
            get: () => {
              throw new Error('trapped')
            },
          },
        ),
      ],
      'cannot be read: reading it throws',
    ],
    ['memory that was transferred', [transferred()], 'value[0] cannot be read'],
  ])('refuses %s and says where it is', async (_, value, message) => {
    const box = await newBox()
    await expect(box.dump('value', value)).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringContaining(message),
    })
    expect(await box.has('value')).toBe(false)
  })

  it('refuses a value that leads back to itself and says where', async () => {
    const box = await newBox()
    const user: { name: string; friends?: unknown } = { name: 'a' }
    user.friends = new Map([['self', [user]]])
    await expect(box.dump('value', { user })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: 'value.user.friends.values()[0][0] refers to an object that contains it',
    })
  })

  it('refuses more than 200 levels', async () => {
    const box = await newBox()
    await expect(
      box.dump(
        'value',
        nested(201, (v) => [v]),
      ),
    ).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
    await expect(
      box.dump(
        'value',
        nested(100_000, (v) => [v]),
      ),
    ).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
  })
})

describe('load', () => {
  it.each<[string, string, unknown]>([
    ['an integer beyond the safe ones, as a bigint', '1b0020000000000000', 2n ** 53n],
    ['a map with keys that are no strings, as a Map', 'a1016161', new Map([[1, 'a']])],
    ['arrays, maps and text of a length that is not told', '9fbf61617f61626163ffff01ff', [{ a: 'bc' }, 1]],
    ['bytes of a length that is not told', '5f41014102ff', Buffer.from([1, 2])],
    ['RFC 3339 dates', 'c074323032342d30322d32395431323a33343a35365a', new Date('2024-02-29T12:34:56Z')],
    ['seconds with a fraction', `c1fb${double(1_700_000_000.123)}`, new Date(1_700_000_000_123)],
    ['big-endian typed arrays', 'd8414401020304', new Uint16Array([0x0102, 0x0304])],
    ['half and single floats', '82f93e00fa3fc00000', [1.5, 1.5]],
    ['numbers in more bytes than needed', '821800190001', [0, 1]],
  ])('reads %s', async (_, hex, expected) => {
    expect(await loaded(hex)).toStrictEqual(expected)
  })

  it.each([
    ['nothing', ''],
    ['what is cut off in a number', '19ff'],
    ['what is cut off in text', '63616'],
    ['what is cut off in an array', '8301'],
    ['what is cut off in a map', 'a161'],
    ['a tag without a value', 'd90102'],
    ['bytes after the value', '0102'],
    ['an array without its end', '9f01'],
    ['a length of nearly 2^64', '5bffffffffffffffff'],
    ['an array of nearly 2^64 items', '9bffffffffffffffff01'],
    ['a map of 2^32 pairs', 'bb00000001000000000101'],
    ['text that is not UTF-8', '62c328'],
    ['an end without a beginning', 'ff'],
    ['an end within an array of a told length', '82ff01'],
    ['a map that ends after a key', 'bf01ff'],
    ['a reserved head', '1c'],
    ['a simple value that nobody knows', 'f0'],
    ['a key twice', 'a2616101616102'],
    ['a key twice, written in two ways', 'a20101180102'],
    ['an item of a set twice', 'd90102820101'],
    ['a tag that nobody knows', 'd9ffff01'],
    ['a tag of 64 bits', 'dbffffffffffffffff01'],
    ['an instance by the tag of a regular expression', 'd95252816161'],
    ['a bigint that is text', 'c26161'],
    ['a date that is no date', 'c0646e6f7065'],
    ['a date at 94 hours', 'c074323032342d30322d33315439393a33343a35365a'],
    ['a date of not a number', 'c1f97e00'],
    ['a date beyond all dates', 'c1fb7fefffffffffffff'],
    ['a set that is a map', 'd90102a0'],
    ['a Map that is an array', 'd9010380'],
    ['a typed array with half an item', 'd84543010203'],
    ['a typed array of text', 'd8456161'],
  ])('refuses %s', async (_, hex) => {
    await expect(loaded(hex)).rejects.toMatchObject(corrupt)
  })

  it('refuses text that was not dumped', async () => {
    const box = await newBox()
    await box.write('some/value', 'plain text')
    await expect(box.load('some/value')).rejects.toMatchObject(corrupt)
  })

  it.each([
    ['arrays', '81'],
    ['maps', 'a16161'],
    ['tags', 'd90103'],
    ['arrays without a length', '9f'],
  ])('refuses a million levels of %s', async (_, hex) => {
    await expect(loaded(hex.repeat(1_000_000))).rejects.toMatchObject({
      code: 'ERR_COFFER_LIMIT',
      member: 'some/value',
    })
  })

  it('survives every change of a byte', async () => {
    const box = await newBox()
    await box.dump('value', {
      a: [1, 2n, new Date(3), new Map([[4, 'text']])],
      b: new Set([Buffer.from('x')]),
      c: new Float32Array(2),
    })
    const bytes = await box.read('value')
    for (let at = 0; at < bytes.length; at += 1) {
      for (const change of [0x01, 0x20, 0x80, 0xff]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = (damaged[at] ?? 0) ^ change
        await box.write('value', damaged)
        await box.load('value').catch((error) => expect(error).toMatchObject({ code: 'ERR_COFFER_CORRUPT' }))
      }
    }
  })

  it('gives what it gave before when others teach cbor2 other types', async () => {
    Tag.registerDecoder(258, () => 'taught')
    Tag.registerDecoder(4_711, () => 'taught')
    registerEncoder(Date, () => [Number.NaN, 'taught'])
    onTestFinished(() => {
      Tag.clearDecoder(258)
      Tag.clearDecoder(4_711)
    })
    expect(await roundTrip([new Set([1]), new Date(5)])).toStrictEqual([new Set([1]), new Date(5)])
    await expect(loaded('d9126701')).rejects.toMatchObject(corrupt)
  })

  it('gives what was stored when others have changed what cbor2 does by default', async () => {
    const { defaultEncodeOptions } = await import('cbor2/encoder')
    const before = { ...defaultEncodeOptions }
    Object.assign(defaultEncodeOptions, { simplifyNegativeZero: true, stringNormalization: 'NFC' })
    onTestFinished(() => {
      Object.assign(defaultEncodeOptions, before)
      vi.resetModules()
    })
    vi.resetModules()
    const { encode } = await import('../ts/cbor/encode.ts')
    expect(Buffer.from(encode(['e\u0301', -0])).toString('hex')).toBe('826365cc81f98000')
  })

  it('says that a member is not there', async () => {
    const box = await newBox()
    await expect(box.load('nothing')).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_NOT_FOUND' })
  })
})

describe.skipIf(python === null)('with the CBOR of Python', () => {
  it('reads there what was dumped here', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'w')
    await box.dump('value', {
      integers: [1, -1, 5n, 2n ** 70n],
      floats: [1.5, 2 ** 60],
      text: 'grüezi 🗝️',
      bytes: Buffer.from([1, 2]),
      array: new Uint16Array([258]),
      nothing: [null, true],
      date: new Date('2024-02-29T12:34:56.789Z'),
      set: new Set([1]),
      map: new Map([[1, 'one']]),
    })
    await box.dump(
      'deep',
      nested(200, (v) => new Map([['v', v]])),
    )
    await box.close()
    const pycoffer = new PyCoffer()
    await pycoffer.open('box', 'null', path, 'r', {})
    expect(await pycoffer.loadCbor('box', 'value')).toBe(
      "{'integers': [1, -1, 5, 1180591620717411303424], 'floats': [1.5, 1.152921504606847e+18], 'text': 'grüezi 🗝️', " +
        "'bytes': b'\\x01\\x02', 'array': CBORTag(69, b'\\x02\\x01'), 'nothing': [None, True], " +
        "'date': datetime.datetime(2024, 2, 29, 12, 34, 56, 789000, tzinfo=datetime.timezone.utc), 'set': {1}, " +
        "'map': CBORTag(259, frozendict({1: 'one'}))}",
    )
    expect(await pycoffer.loadCbor('box', 'deep')).toContain("'core'")
    await pycoffer.end()
  })

  it('loads here what was written there', async () => {
    const path = join(tempDir(), 'box.coffer')
    const pycoffer = new PyCoffer()
    await pycoffer.open('box', 'null', path, 'w', {})
    const literal = `{'int': [1, -1, 2**53], 'float': 1.5, 'text': 'grüezi 🗝️', 'bytes': b'\\x01', 'none': [None, True], 'set': {1}, 'keys': {1: 'one'}, 'date': '2024-02-29T12:34:56.789+00:00'}`
    await pycoffer.dumpCbor(
      'box',
      'value',
      literal.replace('2**53', String(2n ** 53n)).replace('1, -1', `1, -1, ${2n ** 70n}`),
    )
    await pycoffer.close('box')
    await pycoffer.end()
    await using box = await CofferNull.open(path, 'r', { legacy: true })
    expect(await box.load('value')).toStrictEqual({
      int: [1, -1, 2n ** 70n, 2n ** 53n],
      float: 1.5,
      text: 'grüezi 🗝️',
      bytes: Buffer.from([1]),
      none: [null, true],
      set: new Set([1]),
      keys: new Map([[1, 'one']]),
      date: new Date('2024-02-29T12:34:56.789Z'),
    })
  })
})

/** A number as eight bytes in hexadecimal. */
function double(value: number): string {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return bytes.toString('hex')
}

function transferred(): Uint8Array {
  const array = new Uint8Array(4)
  structuredClone(array, { transfer: [array.buffer] })
  return array
}

/** Makes up values, the same for the same seed. */
function generator(seed: number): (depth: number) => unknown {
  let state = seed
  // Mulberry32.
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  const bytes = (): Uint8Array<ArrayBuffer> => Uint8Array.from({ length: 8 * below(5) }, () => below(256))
  const text = (): string =>
    Array.from({ length: below(12) }, () => String.fromCodePoint(below(2) ? below(128) : 0x1f000 + below(2_000))).join(
      '',
    )
  const list = <T>(make: () => T): T[] => Array.from({ length: below(5) }, make)
  const leaves: (() => unknown)[] = [
    () => below(2 ** 32) - 2 ** 31,
    () => new Float64Array(bytes().buffer)[0] ?? 0,
    () => Math.fround(next() * 2 ** below(40)),
    () => Math.trunc((next() - 0.5) * 2 ** 64),
    () => BigInt.asIntN(8 * below(20), BigInt(`0x0${Buffer.from(bytes()).toString('hex')}`)),
    text,
    () => new Date(Math.trunc((next() - 0.5) * 2 * 10 ** below(16))),
    () => [null, undefined, true, false][below(4)],
    () => Buffer.from(bytes()),
    ...[Uint8Array, Uint8ClampedArray, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array].map(
      (Type) => () => new Type(bytes().buffer),
    ),
    ...[Float32Array, Float64Array, BigInt64Array, BigUint64Array].map((Type) => () => new Type(bytes().buffer)),
  ]
  const containers: ((depth: number) => unknown)[] = [
    (depth) => list(() => make(depth)),
    (depth) => Object.fromEntries(list(() => [text(), make(depth)])),
    (depth) => new Map(list(() => [make(depth), make(depth)])),
    (depth) => new Set(list(() => make(depth))),
  ]
  const make = (depth: number): unknown =>
    depth > 0 && below(3) > 0 ? containers[below(containers.length)]?.(depth - 1) : leaves[below(leaves.length)]?.()
  return make
}
