import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Coffer, CofferError } from './support/coffer.ts'
import { bytesOf, dataPieces, flipped, headerMarks, markLength, type Piece, pieces } from './support/format.ts'
import { type Keys, type Kind, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

/** Large enough for several full pieces of the same length. */
const large = 4_500_000

const expected: ReadonlyMap<string, Buffer> = new Map([
  ['a', noise(large, 'a')],
  ['b', noise(large, 'b')],
  ['small/1', Buffer.from('one')],
  ['small/2', Buffer.from('two')],
])

interface Taken {
  readonly keys: Keys
  readonly file: Buffer
  /** The data pieces of the two large members, in file order. */
  readonly a: readonly Piece[]
  readonly b: readonly Piece[]
}

interface Made extends Taken {
  readonly path: string
}

const taken = new Map<string, Promise<Taken>>()

/** The bytes of a coffer with the members expected, or with other ones under the same names and keys. */
async function take(kind: Kind, other: boolean): Promise<Taken> {
  const keys = other ? (await takeOnce(kind, false)).keys : keysFor(kind)
  const path = join(tempDir(), 'made.coffer')
  const box = await openKind(kind, path, 'x', keys, { autoFlush: false, durability: 'none', blockSize: 1 << 20 })
  const ends: number[] = []
  const sealed = kind.container !== null
  for (const [name, data] of expected) {
    await box.write(name, other ? noise(data.length, `other ${name}`) : data)
    await box.flush()
    ends.push(readFileSync(path).length)
  }
  await box.close()
  const file = readFileSync(path)
  return { keys, file, a: dataPieces(file, sealed, 0, ends[0]), b: dataPieces(file, sealed, ends[0], ends[1]) }
}

async function takeOnce(kind: Kind, other: boolean): Promise<Taken> {
  const name = `${kind.label} ${other}`
  const made = taken.get(name) ?? take(kind, other)
  taken.set(name, made)
  return made
}

async function make(kind: Kind): Promise<Made> {
  return { path: join(tempDir(), 'box.coffer'), ...(await takeOnce(kind, false)) }
}

async function makeOther(kind: Kind): Promise<Taken> {
  return takeOnce(kind, true)
}

/** Two neighbouring pieces of the same length, well inside a member. */
function twins(of: readonly Piece[]): [Piece, Piece] {
  for (let index = of.length - 2; index > 0; index -= 1) {
    const [first, second] = [of[index - 1], of[index]]
    if (first !== undefined && second !== undefined && first.length === second.length) return [first, second]
  }
  throw new Error('no two pieces of one length')
}

/** The pieces of a member as the blocks they make up: all chunks of a block but the last are full. */
function blocks(of: readonly Piece[]): Piece[] {
  const full = Math.max(...of.map((piece) => piece.length))
  const found: Piece[] = []
  let begun: Piece | undefined
  for (const piece of of) {
    begun = begun === undefined ? piece : { ...begun, length: begun.length + piece.length }
    if (piece.length === full && piece.mark !== null) continue
    found.push(begun)
    begun = undefined
  }
  return found
}

function replaced(file: Buffer, piece: Piece, bytes: Buffer): Buffer {
  return Buffer.concat([file.subarray(0, piece.offset), bytes, file.subarray(piece.offset + piece.length)])
}

async function open(kind: Kind, { path, keys }: Made, file: Buffer): Promise<Coffer> {
  writeFileSync(path, file)
  return openKind(kind, path, 'r', keys)
}

/** Expects damage in the members named, as read and as verified, and every other one right. */
async function expectDamage(kind: Kind, made: Made, file: Buffer, ...damaged: string[]): Promise<void> {
  await using box = await open(kind, made, file)
  for (const [name, data] of expected) {
    if (damaged.includes(name)) {
      // Only the length, which is all that a failure needs to show.
      await expect(box.read(name).then((data) => data.length)).rejects.toMatchObject({
        code: 'ERR_COFFER_CORRUPT',
        member: name,
        path: made.path,
      })
    } else {
      expect((await box.read(name)).equals(data), name).toBe(true)
    }
  }
  await expect(box.verify()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', path: made.path })
}

/**
 * Expects no byte that is not right: the coffer does not open, or what it gives is what was
 * written, at the newest commit or, with a notice, at an earlier one. Returns whether the change
 * was noticed.
 */
async function expectNothingWrong(kind: Kind, made: Made, file: Buffer): Promise<boolean> {
  let noticed = false
  const failed = (error: unknown): undefined => {
    expect(error).toBeInstanceOf(CofferError)
    expect((error as CofferError).code).not.toMatch(/INVALID_ARG|IO|STALE/)
    noticed = true
    return undefined
  }
  const box = await open(kind, made, file).catch(failed)
  if (box === undefined) return true
  noticed ||= box.notices.length > 0
  const names = (await box.members()).map((member) => member.name)
  if (box.notices.length === 0) expect(names.sort()).toEqual([...expected.keys()].sort())
  for (const name of names) {
    const read = await box.read(name).catch(failed)
    expect(read?.equals(expected.get(name) ?? Buffer.alloc(0)) ?? true, name).toBe(true)
  }
  await box.verify().catch(failed)
  await box.close()
  return noticed
}

/** Expects everything that was written, at the newest commit. */
async function expectNothingLost(kind: Kind, made: Made, file: Buffer): Promise<void> {
  await using box = await open(kind, made, file)
  expect((await box.members()).map((member) => member.name).sort()).toEqual([...expected.keys()].sort())
  for (const [name, data] of expected) expect((await box.read(name)).equals(data), name).toBe(true)
}

describe.each(kinds)('tampering with data, $label', (kind) => {
  it('pieces of a member that were swapped are damage', async () => {
    const made = await make(kind)
    const [first, second] = twins(made.a)
    const swapped = replaced(replaced(made.file, first, bytesOf(made.file, second)), second, bytesOf(made.file, first))
    await expectDamage(kind, made, swapped, 'a')
  })

  it('whole blocks of a member that were swapped are damage, though each is whole in itself', async () => {
    const made = await make(kind)
    const [first, second] = twins(blocks(made.a))
    expect(first.length).toBeGreaterThan(1_000_000)
    const [one, two] = [bytesOf(made.file, first), bytesOf(made.file, second)]
    await expectDamage(kind, made, replaced(replaced(made.file, first, two), second, one), 'a')
  })

  it('pieces of two members that were swapped are damage to both', async () => {
    const made = await make(kind)
    const [[first], [second]] = [twins(made.a), twins(made.b)]
    const swapped = replaced(replaced(made.file, first, bytesOf(made.file, second)), second, bytesOf(made.file, first))
    await expectDamage(kind, made, swapped, 'a', 'b')
  })

  it('a piece that was repeated in the place of another is damage', async () => {
    const made = await make(kind)
    const [first, second] = twins(made.b)
    await expectDamage(kind, made, replaced(made.file, second, bytesOf(made.file, first)), 'b')
  })

  it('a piece that was inserted twice, or dropped, is noticed', async () => {
    const made = await make(kind)
    const [first, second] = twins(made.a)
    const twice = replaced(made.file, first, Buffer.concat([bytesOf(made.file, first), bytesOf(made.file, first)]))
    expect(await expectNothingWrong(kind, made, twice)).toBe(true)
    expect(await expectNothingWrong(kind, made, replaced(made.file, second, Buffer.alloc(0)))).toBe(true)
  })

  it('a piece from another coffer with the same keys is damage, in the same place and of the same name', async () => {
    const made = await make(kind)
    const other = await makeOther(kind)
    const [first] = twins(made.a)
    const twin = other.a[made.a.indexOf(first)]
    if (twin?.length !== first.length) throw new Error('the coffers differ in their layout')
    await expectDamage(kind, made, replaced(made.file, first, bytesOf(other.file, twin)), 'a')
  })

  it('all of a member from another coffer with the same keys is damage', async () => {
    const made = await make(kind)
    const other = await makeOther(kind)
    let file = made.file
    for (const [index, own] of made.b.entries()) {
      const piece = other.b[index]
      if (piece?.length === own.length) file = replaced(file, own, bytesOf(other.file, piece))
    }
    expect(file.equals(made.file)).toBe(false)
    await expectDamage(kind, made, file, 'b')
  })

  it('one changed bit is damage or harmless, wherever in a piece it is', async () => {
    const made = await make(kind)
    const [piece] = twins(made.a)
    const places = [0, 1, 3, 4, 17, 31, 32, 40, 56, 60, 80, 1_000, piece.length - 17, piece.length - 1]
    for (const place of places) {
      const noticed = await expectNothingWrong(kind, made, flipped(made.file, piece.offset + place, 0x20))
      // Reserved bytes of a data chunk say nothing, and nothing listens to them.
      const reserved = kind.container !== null && place >= 4 && place < 32
      if (!reserved) expect(noticed, `byte ${place}`).toBe(true)
    }
  })
})

describe.each(kinds)('tampering with the header, $label', (kind) => {
  const sealed = kind.container !== null

  it('that was stripped leaves a file that opens neither as a coffer nor as a legacy one', async () => {
    const made = await make(kind)
    const data = pieces(made.file, sealed).filter((piece) => piece.offset === 0 || piece.record === 'key')[1]
    if (data === undefined) throw new Error('no second header record')
    writeFileSync(made.path, made.file.subarray(data.offset + data.length))
    await expect(openKind(kind, made.path, 'r', made.keys)).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    await expect(openKind(kind, made.path, 'r', made.keys, { legacy: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_CORRUPT',
    })
  })

  it.each(['header', 'key'] as const)(
    'in one clear byte of its first copy (%s) is reported, and the second copy opens it',
    async (record) => {
      const made = await make(kind)
      const [first] = headerMarks(made.file, record)
      if (first === undefined) throw new Error('no header')
      for (let at = 0; at < markLength; at += 1) {
        await using box = await open(kind, made, flipped(made.file, first + at))
        expect(box.notices.length, `byte ${at}`).toBeGreaterThan(0)
        expect((await box.read('small/1')).toString()).toBe('one')
      }
    },
  )

  it.each([
    ['the tag', 'header', 0, 4, /CORRUPT|LEGACY/],
    ['the version', 'header', 4, 5, /VERSION|CORRUPT/],
    ['the kind', 'header', 5, 6, /WRONG_KIND|CORRUPT/],
    ['the cipher', 'header', 6, 7, /WRONG_KIND|CORRUPT|LEGACY/],
    ['the flags', 'header', 7, 8, /VERSION|CORRUPT/],
    ['the key check', 'header', 8, 28, /WRONG_KEY|CORRUPT/],
    ['the tag of the key record', 'key', 0, 4, /CORRUPT|LEGACY/],
    ['the salt', 'key', 4, 20, /WRONG_KEY|CORRUPT/],
    ['the reserved bytes of the key record', 'key', 20, 28, /CORRUPT|VERSION/],
  ] as const)('in %s of every copy is an error', async (_, record, from, to, code) => {
    const made = await make(kind)
    for (let at = from; at < to; at += to - from > 4 ? 3 : 1) {
      let file = made.file
      for (const mark of headerMarks(made.file, record)) file = flipped(file, mark + at)
      const error = await open(kind, made, file).then(
        async (box) => box.close(),
        (reason: unknown) => reason,
      )
      expect(error, `byte ${at}`).toBeInstanceOf(CofferError)
      expect((error as CofferError).code).toMatch(code)
    }
  })

  it('that says version 2 everywhere is ERR_COFFER_VERSION', async () => {
    const made = await make(kind)
    const file = Buffer.from(made.file)
    for (const mark of headerMarks(file, 'header')) file.writeUInt8(2, mark + 4)
    await expect(open(kind, made, file)).rejects.toMatchObject({ code: 'ERR_COFFER_VERSION', path: made.path })
  })

  it('of another coffer with the same keys is an error', async () => {
    const made = await make(kind)
    const other = await makeOther(kind)
    const length = (file: Buffer): number => {
      const record = pieces(file, sealed).find((piece) => piece.record === 'key')
      return record === undefined ? 0 : record.offset + record.length
    }
    expect(length(made.file)).toBeGreaterThan(0)
    const file = Buffer.concat([other.file.subarray(0, length(other.file)), made.file.subarray(length(made.file))])
    expect(await expectNothingWrong(kind, made, file)).toBe(true)
  })
})

describe.each(kinds)('tampering with commits, $label', (kind) => {
  const sealed = kind.container !== null

  /** The records from an offset on, moved to the end of a file, their marks saying that they belong there. */
  function moved(file: Buffer, from: readonly Piece[], source: Buffer): Buffer {
    let out = file
    for (const piece of from) {
      const copy = Buffer.from(bytesOf(source, piece))
      if (piece.mark !== null) copy.writeBigUInt64LE(BigInt(out.length), piece.mark - piece.offset + 4)
      out = Buffer.concat([out, copy])
    }
    return out
  }

  it('an older footer put back at the end changes nothing, its place in clear corrected or not', async () => {
    const made = await make(kind)
    const footers = pieces(made.file, sealed).filter((piece) => piece.record === 'footer')
    expect(footers.length).toBeGreaterThan(2)
    for (const footer of footers.slice(0, -1)) {
      await expectNothingLost(kind, made, Buffer.concat([made.file, bytesOf(made.file, footer)]))
      await expectNothingLost(kind, made, moved(made.file, [footer], made.file))
    }
    const last = footers.at(-1)
    if (last === undefined) throw new Error('no footer')
    for (const footer of footers.slice(0, -1)) {
      await expectNothingLost(kind, made, moved(made.file.subarray(0, last.offset), [footer], made.file))
    }
  })

  it('an older commit with its footer put back at the end changes nothing', async () => {
    const made = await make(kind)
    const records = pieces(made.file, sealed).filter((piece) => piece.record === 'commit' || piece.record === 'footer')
    await expectNothingLost(kind, made, moved(made.file, records.slice(0, 2), made.file))
    await expectNothingLost(kind, made, moved(made.file, records.slice(2, 4), made.file))
  })

  it('commits of another coffer with the same keys change nothing', async () => {
    const made = await make(kind)
    const other = await makeOther(kind)
    const records = pieces(other.file, sealed).filter((piece) => piece.record === 'commit' || piece.record === 'footer')
    await expectNothingLost(kind, made, moved(made.file, records.slice(-2), other.file))
    await expectNothingLost(kind, made, moved(made.file, records, other.file))
  })

  it('the whole tail of another coffer with the same keys is noticed', async () => {
    const made = await make(kind)
    const other = await makeOther(kind)
    const from = pieces(made.file, sealed).find((piece) => piece.record === null)?.offset ?? 0
    const twin = pieces(other.file, sealed).find((piece) => piece.record === null)?.offset ?? 0
    const file = Buffer.concat([made.file.subarray(0, from), other.file.subarray(twin)])
    // But for its first header the file is the other coffer: its own copy of the header may open it.
    const box = await open(kind, made, file).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
      return undefined
    })
    if (box === undefined) return
    expect(box.notices.length).toBeGreaterThan(0)
    expect((await box.read('a')).equals(noise(large, 'other a'))).toBe(true)
    await box.close()
  })
})

/**
 * The strongest thing that contents chosen by somebody else can become: a commit and its footer,
 * right in every byte, sealed with the raw key, as a chunk of contents is. The same records sealed
 * with Coffer's own key are accepted, so it is the separation of the keys that stops them.
 */
describe.skipIf(python === null).each(['store', 'market'] as const)('an attacker’s commit in a %s', (label) => {
  const kind = kindOf(label)

  it.each([
    ['with a footer', ['cofC', 'cofF']],
    ['without a footer', ['cofC']],
  ] as const)('made of chosen contents, %s, is no commit', async (_, tags) => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const pycoffer = new PyCoffer()
    const box = await openKind(kind, path, 'x', keys)
    await box.write('honest', 'honest')
    await box.flush()
    const before = readFileSync(path)
    const { generation } = box.head
    await box.write('evil', 'evil')
    await box.close()
    const genuine = readFileSync(path)
    const tail = pieces(genuine, kind.container !== null).filter(
      (piece) => piece.offset >= before.length && (piece.record !== 'footer' || tags.length === 2),
    )

    const forge = async (own: boolean): Promise<Coffer> => {
      const forged = join(directory, own ? 'control' : 'forged')
      writeFileSync(forged, Buffer.concat([before, ...tail.map((piece) => bytesOf(genuine, piece))]))
      expect(await pycoffer.reseal(label, forged, keys, before.length, tags, own)).toBe(
        tail.filter((piece) => piece.record !== null).length,
      )
      return openKind(kind, forged, 'r', keys, { lock: 'none' })
    }
    await using control = await forge(true)
    expect(control.head.generation).toBe(generation + 1)
    expect(await control.readText('evil')).toBe('evil')
    await using attacked = await forge(false)
    expect(attacked.head.generation).toBe(generation)
    expect(await attacked.has('evil')).toBe(false)
    expect(await attacked.readText('honest')).toBe('honest')
    await pycoffer.end()
  })
})
