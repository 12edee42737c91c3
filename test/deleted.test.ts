import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { marked, marker, noise } from './support/bytes.ts'
import type { Coffer } from './support/coffer.ts'
import { lastRecord, pieces } from './support/format.ts'
import { type Keys, type Kind, keysFor, kinds, openKind } from './support/kinds.ts'
import { PyCoffer, python } from './support/python.ts'
import { Random } from './support/random.ts'
import { tempDir } from './support/temp.ts'

/** A small member lies in a pack with its neighbours; a large one has blocks of its own. */
const lengths = { small: 2_000, large: 2_500_000 } as const

interface Made {
  readonly path: string
  readonly keys: Keys
  readonly needle: Buffer
  /** Where chunks began while the old contents were there. */
  readonly offsets: readonly number[]
  readonly box: Coffer
}

/** A coffer, open, with a marked member among neighbours enough that nothing compacts by itself. */
async function make(kind: Kind, length: number, options: object = {}): Promise<Made> {
  const path = join(tempDir(), 'box.coffer')
  const keys = keysFor(kind)
  const needle = marker()
  const box = await openKind(kind, path, 'x', keys, options)
  await box.batch(async (batch) => {
    for (let index = 0; index < 5; index += 1) await batch.write(`before ${index}`, noise(3_000, index))
    await batch.write('large neighbour', noise(4_000_000, 'neighbour'))
    await batch.write('victim', marked(needle, length))
    for (let index = 0; index < 5; index += 1) await batch.write(`after ${index}`, noise(3_000, index))
  })
  await box.flush()
  const file = readFileSync(path)
  return { path, keys, needle, box, offsets: pieces(file, kind.container !== null).map((piece) => piece.offset) }
}

describe.skipIf(python === null).each(kinds)('deleted means gone, $label', (kind) => {
  let pycoffer: PyCoffer

  beforeAll(() => {
    pycoffer = new PyCoffer()
  })
  afterAll(async () => {
    await pycoffer.end()
  })

  /** The layers the needle is found in. */
  async function found({ path, keys, needle, offsets }: Made): Promise<string[]> {
    return (await pycoffer.search(kind.label, path, keys, [needle], offsets))[0] ?? []
  }

  async function expectNeighbours(box: Coffer): Promise<void> {
    for (let index = 0; index < 5; index += 1) {
      expect((await box.read(`before ${index}`)).equals(noise(3_000, index))).toBe(true)
      expect((await box.read(`after ${index}`)).equals(noise(3_000, index))).toBe(true)
    }
    expect((await box.read('large neighbour')).equals(noise(4_000_000, 'neighbour'))).toBe(true)
  }

  it.each(['small', 'large'] as const)(
    'after delete and flush, a %s member is in no layer of the file',
    async (size) => {
      const made = await make(kind, lengths[size])
      expect(await found(made)).toContain(kind.label === 'null' ? 'tar' : 'member')
      await made.box.delete('victim')
      await made.box.flush()
      expect(await found(made)).toEqual([])
      await expectNeighbours(made.box)
      await made.box.close()
      expect(await found(made)).toEqual([])
      expect(Object.keys(await pycoffer.list(kind.label, made.path, made.keys))).not.toContain('victim')
    },
  )

  it.each([
    ['small', 'shorter', 10],
    ['small', 'longer', 400_000],
    ['large', 'shorter', 10],
    ['large', 'as long', lengths.large],
  ] as const)('after a %s member was replaced by a %s one, the old bytes are gone', async (size, _, length) => {
    const made = await make(kind, lengths[size])
    expect(await found(made)).not.toEqual([])
    await made.box.write('victim', noise(length, 'new'))
    await made.box.flush()
    expect(await found(made)).toEqual([])
    expect((await made.box.read('victim')).equals(noise(length, 'new'))).toBe(true)
    await expectNeighbours(made.box)
    await made.box.close()
  })

  it('with durability "none" as well', async () => {
    const made = await make(kind, lengths.large, { durability: 'none' })
    expect(await found(made)).not.toEqual([])
    await made.box.delete('victim')
    await made.box.flush()
    expect(await found(made)).toEqual([])
    await made.box.close()
  })

  it('after a batch that wrote it and was rolled back', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const needle = marker()
    const box = await openKind(kind, path, 'x', keys)
    await box.write('stays', noise(100_000))
    await box.flush()
    const failed = box.batch(async (batch) => {
      await batch.write('victim', marked(needle, lengths.large))
      throw new Error('changed my mind')
    })
    await expect(failed).rejects.toThrow('changed my mind')
    await box.write('next', 'after the batch')
    await box.flush()
    expect(await found({ path, keys, needle, box, offsets: [] })).toEqual([])
    await box.close()
    expect(await found({ path, keys, needle, box, offsets: [] })).toEqual([])
  })

  it.each(['small', 'large'] as const)(
    'after a crash between commit and scrub and the next open for writing, a %s member is gone',
    async (size) => {
      const made = await make(kind, lengths[size], { autoFlush: false })
      const before = readFileSync(made.path)
      await made.box.delete('victim')
      await made.box.flush()
      const after = readFileSync(made.path)
      await made.box.close()

      // The commit is durable before the first dead byte is touched, so what was there is there
      // again; and the footer that says the scrub is done has not been written yet.
      const done = lastRecord(after, kind.container !== null, 'footer')
      expect(done.offset + done.length).toBe(after.length)
      const crashed = Buffer.concat([before, after.subarray(before.length, done.offset)])
      expect(crashed.equals(after.subarray(0, done.offset))).toBe(false)
      writeFileSync(made.path, crashed)
      expect(await found(made)).not.toEqual([])
      const reader = await openKind(kind, made.path, 'r', made.keys)
      expect(await reader.has('victim')).toBe(false)
      await expectNeighbours(reader)
      await reader.close()
      expect(await found(made)).not.toEqual([])

      const writer = await openKind(kind, made.path, 'a', made.keys)
      expect(await found(made)).toEqual([])
      expect(await writer.has('victim')).toBe(false)
      await expectNeighbours(writer)
      await expect(writer.verify()).resolves.toBeDefined()
      await writer.close()
      expect(await found(made)).toEqual([])
      expect(Object.keys(await pycoffer.list(kind.label, made.path, made.keys))).not.toContain('victim')
    },
  )

  it.each(['small', 'large'] as const)(
    'with autoFlush, a %s member stays until the next flush, and for the next writer after a kill',
    async (size) => {
      const made = await make(kind, lengths[size], { autoFlush: true, scrubDelay: 3_600_000 })
      await made.box.delete('victim')
      expect(await found(made)).not.toEqual([])
      // What a process leaves that is killed now.
      const left = { ...made, path: join(tempDir(), 'left.coffer') }
      copyFileSync(made.path, left.path)
      await made.box.flush()
      expect(await found(made)).toEqual([])
      await expectNeighbours(made.box)
      await made.box.close()

      const reader = await openKind(kind, left.path, 'r', left.keys)
      expect(await reader.has('victim')).toBe(false)
      await reader.close()
      await (await openKind(kind, left.path, 'r+', left.keys)).close()
      expect(await found(left)).toEqual([])
      for (const { path } of [made, left]) {
        expect(Object.keys(await pycoffer.list(kind.label, path, made.keys))).not.toContain('victim')
      }
    },
  )

  it('in a session of changes at random, nothing that was deleted is found after any flush', async () => {
    const [path, keys, random] = [join(tempDir(), 'box.coffer'), keysFor(kind), new Random('deleted')]
    const box = await openKind(kind, path, 'x', keys, { autoFlush: true, scrubDelay: 30, durability: 'none' })
    const live = new Map<string, Buffer>()
    const dead: Buffer[] = []
    const offsets = new Set<number>()
    for (let step = 1; step <= 240; step += 1) {
      const name = `member ${random.below(30)}`
      const old = live.get(name)
      if (old !== undefined) dead.push(old)
      if (random.below(4) === 0 && old !== undefined) {
        await box.delete(name)
        live.delete(name)
      } else {
        const needle = marker()
        await box.write(name, marked(needle, random.below(12) === 0 ? 300_000 : 500 + random.below(4_000)))
        live.set(name, needle)
      }
      if (step % 30 > 0) continue
      const file = readFileSync(path)
      for (const piece of pieces(file, kind.container !== null)) offsets.add(piece.offset)
      await box.flush()
      const places = await pycoffer.search(kind.label, path, keys, dead, [...offsets])
      expect(places.flat(), `after ${step} changes`).toEqual([])
      expect(Object.keys(await pycoffer.list(kind.label, path, keys)).sort()).toEqual([...live.keys()].sort())
    }
    await box.close()
  })

  it('names are gone too after compaction', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const name = `tell-nobody-${marker().toString('hex')}`
    await box.write('stays', noise(100_000))
    await box.write(name, 'x')
    await box.flush()
    await box.delete(name)
    await box.compact()
    await box.close()
    const [places] = await pycoffer.search(kind.label, path, keys, [Buffer.from(name)])
    expect(places).toEqual([])
  })
})
