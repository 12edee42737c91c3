import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Coffer, CofferError, type CryptPlugin, identify } from './support/coffer.ts'
import { chunks, pieces } from './support/format.ts'
import { type Change, change, type Original } from './support/hostile.ts'
import { type Kind, keyedKinds, keysFor, kinds, openKind } from './support/kinds.ts'
import { fixture, legacyKeys, legacyMembers } from './support/pycoffer.ts'
import { Random } from './support/random.ts'
import { tempDir } from './support/temp.ts'

/** Another seed makes other cases, and the same seed the same ones. */
const { COFFER_SEED: seed = '1', COFFER_CASES: factor = '1' } = process.env
const cases = { coffers: 300 * Number(factor), legacy: 200 * Number(factor), files: 200 * Number(factor) }

/** The codes that a file may cause, whatever is in it. */
const clear: ReadonlySet<string> = new Set([
  'ERR_COFFER_CORRUPT',
  'ERR_COFFER_LEGACY',
  'ERR_COFFER_LIMIT',
  'ERR_COFFER_UNSAFE_PATH',
  'ERR_COFFER_VERSION',
  'ERR_COFFER_WRONG_KEY',
  'ERR_COFFER_WRONG_KIND',
])

/** What a call gives, or nothing if it fails as a call on a hostile file may. */
async function attempt<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call()
  } catch (error) {
    expect(error).toBeInstanceOf(CofferError)
    expect(clear).toContain((error as CofferError).code)
    return undefined
  }
}

const rejections: unknown[] = []
const onRejection = (reason: unknown): void => {
  rejections.push(reason)
}
beforeAll(() => {
  process.on('unhandledRejection', onRejection)
})
afterAll(() => {
  process.off('unhandledRejection', onRejection)
})

/** How many files this process has open; zero where the system does not tell. */
function openFiles(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0
}

/** Runs many cases, some at a time, each in a directory of its own; nothing is left of them. */
async function run(
  name: string,
  original: Original,
  count: number,
  check: (change: Change, directory: string, random: Random) => Promise<void>,
): Promise<void> {
  const root = tempDir()
  const seen = new Map<string, number>()
  let before = 0
  for (let number = 0; number < count; number += 10) {
    await Promise.all(
      Array.from({ length: Math.min(10, count - number) }, async (_, index) => {
        const which = `seed ${seed}, ${name}, case ${number + index}`
        const random = new Random(which)
        const made = change(original, random)
        const directory = join(root, `${number + index}`)
        mkdirSync(directory)
        try {
          await check(made, directory, random)
        } catch (error) {
          throw new Error(`${which}, ${made.what}: ${String(error)}`, { cause: error })
        }
        seen.set(made.what, (seen.get(made.what) ?? 0) + 1)
      }),
    )
    // Node.js itself opens some in the first round.
    if (number === 0) before = openFiles()
  }
  expect(openFiles()).toBeLessThanOrEqual(before)
  expect(rejections).toEqual([])
  expect(seen.size).toBeGreaterThan(12)
}

type Members = ReadonlyMap<string, Buffer>

/** The bytes that a stream gives, to its end or to its failure. */
async function released(stream: Readable): Promise<{ bytes: Buffer; error: unknown }> {
  const parts: Buffer[] = []
  let error: unknown
  try {
    for await (const part of stream) parts.push(part as Buffer)
  } catch (reason) {
    error = reason
  }
  return { bytes: Buffer.concat(parts), error }
}

/** Everything that can be read of a coffer, in every way, each of which agrees with the others. */
async function everything(box: Coffer, directory: string): Promise<Map<string, Buffer | undefined>> {
  const found = new Map<string, Buffer | undefined>()
  for (const { name, type } of await box.members()) {
    if (type === 'directory') continue
    const data = await attempt(async () => box.read(name))
    found.set(name, data)
    const stream = await released(box.createReadStream(name, { highWaterMark: 1_000 }))
    if (stream.error !== undefined) await attempt(async () => Promise.reject(stream.error))
    expect(stream.error === undefined).toBe(data !== undefined)
    const read: string[] = []
    const whole = await attempt(async () => {
      for await (const line of box.readLines(name)) read.push(line)
      return true
    })
    expect(whole).toBe(data === undefined ? undefined : true)
    if (data === undefined) continue
    expect(stream.bytes.equals(data)).toBe(true)
    const text = await box.readText(name).catch((error: unknown) => error)
    // What is no text is no failure of the file's.
    if (typeof text === 'string') expect(text).toBe(data.toString('utf8'))
    if (typeof text === 'string') expect(read.join('\n')).toBe(text.replace(/\n$/, ''))
  }
  const damaged = [...found.values()].includes(undefined)
  const target = join(directory, 'target')
  const extracted = await attempt(async () => box.extractAll(target))
  expect(extracted === undefined).toBe(damaged)
  for (const [name, data] of found) {
    const path = join(target, name)
    if (existsSync(path)) expect(readFileSync(path).equals(data ?? Buffer.from('nothing is right'))).toBe(true)
  }
  const verified = await attempt(async () => box.verify())
  if (damaged) expect(verified).toBeUndefined()
  expect((await box.info()).members).toBe((await box.members()).length)
  return found
}

/** Whether what was found is right: every member there, and each that could be read as it was. */
function agrees(found: ReadonlyMap<string, Buffer | undefined>, members: Members): boolean {
  return (
    found.size === members.size &&
    [...found].every(([name, data]) => {
      const right = members.get(name)
      return right !== undefined && (data === undefined || data.equals(right))
    })
  )
}

/** A coffer, and what was in it after each commit, the newest last. */
async function makeCoffer(kind: Kind, keys: object, which: string): Promise<{ file: Buffer; states: Members[] }> {
  const path = join(tempDir(), 'made.coffer')
  const options = { ...keys, autoFlush: true, chunkSize: 512, blockSize: 49_152, durability: 'none' } as const
  const box = await openKind(kind, path, 'x', keys, options)
  const members = new Map<string, Buffer>()
  const states: Members[] = [new Map()]
  const write = async (name: string, data: Buffer): Promise<void> => {
    await box.write(name, data)
    members.set(name, data)
    states.push(new Map(members))
  }
  await write('noise', noise(700, `${which} 1`))
  await write('text/lines', Buffer.from(lines(30, which).join('\n')))
  await write('noise', noise(500, `${which} 2`))
  await write('empty', Buffer.alloc(0))
  await write('large', Buffer.from(lines(3_500, which).join('\n')))
  await box.delete('empty')
  members.delete('empty')
  states.push(new Map(members))
  await box.close()
  return { file: readFileSync(path), states }
}

const ranges = (all: readonly { offset: number; length: number }[]): [number, number][] =>
  all.map(({ offset, length }) => [offset, offset + length])

describe('hostile bytes', () => {
  it.each(kinds)('in the place of a $label coffer', { timeout: 300_000 }, async (kind) => {
    const keys = keysFor(kind)
    const one = await makeCoffer(kind, keys, 'one')
    const other = await makeCoffer(kind, keys, 'other')
    const sealed = kind.container !== null
    const others = await Promise.all(
      kinds.filter(({ label }) => label !== kind.label).map(async (kind) => makeCoffer(kind, keysFor(kind), 'alien')),
    )
    const original: Original = {
      file: one.file,
      pieces: ranges(pieces(one.file, sealed)),
      lengthAt: sealed ? 0 : 4,
      twin: other.file,
      twinPieces: ranges(pieces(other.file, sealed)),
      others: others.map(({ file }) => file),
    }
    await run(kind.label, original, cases.coffers, async ({ file, spliced }, directory, random) => {
      const path = join(directory, 'box')
      writeFileSync(path, file)
      const identity = await identify(path)
      expect(['coffer', 'legacy', 'unknown']).toContain(identity.format)
      const legacy = random.below(2) === 0
      const box = await attempt(async () => openKind(kind, path, 'r', keys, { legacy }))
      if (box === undefined) {
        expect(readdirSync(directory).every((name) => name === 'box' || name === 'box.lock')).toBe(true)
        return
      }
      const codes = box.notices.map(({ code }) => code)
      const found = await everything(box, directory)
      await box.close()
      expect(codes).not.toContain('legacy')
      const [newest, ...earlier] = one.states.toReversed()
      const told = codes.length > 0 || one.file.subarray(0, file.length).equals(file)
      const allowed = [newest ?? new Map(), ...(told ? earlier : []), ...(spliced ? other.states : [])]
      expect(allowed.some((members) => agrees(found, members))).toBe(true)
      expect(readdirSync(directory).sort()).toEqual(['box', 'box.lock', 'target'])
    })
  })

  it.each(kinds)('in the place of a $label coffer of PyCoffer’s', { timeout: 300_000 }, async (kind) => {
    const keys = legacyKeys[kind.label] ?? {}
    const file = fixture(kind.label)
    const own = ranges(pieces(file, kind.container !== null))
    const alien = kinds.filter(({ label }) => label !== kind.label).map(({ label }) => fixture(label))
    const original = { file, pieces: own, lengthAt: 0, twin: file, twinPieces: own, others: alien }
    await run(`legacy ${kind.label}`, original, cases.legacy, async ({ file, moved, what }, directory) => {
      const path = join(directory, 'box')
      writeFileSync(path, file)
      await identify(path)
      const box = await attempt(async () => openKind(kind, path, 'r', keys, { legacy: true }))
      if (box === undefined) return
      const found = await everything(box, directory)
      await box.close()
      // Where nothing is sealed nothing is certain, and nowhere is the order of chunks.
      const sealed = kind.container !== null
      if (sealed && !moved && what !== 'another kind') {
        for (const [name, data] of found) expect(data?.equals(legacyMembers.get(name) ?? noise(9))).toBe(true)
      } else if (kind.sealedMembers && !moved) {
        for (const data of found.values()) {
          expect([...legacyMembers.values()].some((right) => data?.equals(right))).toBe(true)
        }
      }
      expect(readdirSync(directory).every((name) => ['box', 'box.lock', 'target'].includes(name))).toBe(true)
    })
  })

  it.each(keyedKinds)('in the place of a file encrypted with a key of a $label', { timeout: 300_000 }, async (kind) => {
    const home = tempDir()
    const keys = keysFor(kind)
    const box = await openKind(kind, join(home, 'box'), 'x', keys, { chunkSize: 512, blockSize: 4_096 })
    const crypt: CryptPlugin = await box.plugin('crypt')
    const made = await Promise.all(
      ['one', 'other'].map(async (which) => {
        const plain = Buffer.concat([noise(900, which), Buffer.from(lines(200, which).join('\n'))])
        writeFileSync(join(home, which), plain)
        await crypt.encrypt(join(home, which), join(home, `${which}.encrypted`))
        return { plain, file: readFileSync(join(home, `${which}.encrypted`)) }
      }),
    )
    const [one, other] = made as [{ plain: Buffer; file: Buffer }, { plain: Buffer; file: Buffer }]
    const original: Original = {
      file: one.file,
      pieces: ranges(chunks(one.file)),
      lengthAt: 0,
      twin: other.file,
      twinPieces: ranges(chunks(other.file)),
      others: [fixture('store'), readFileSync(join(home, 'box'))],
    }
    await run(
      `crypt ${kind.label}`,
      original,
      cases.files,
      async ({ file, spliced, moved, what }, directory, random) => {
        const legacy = random.below(2) === 0
        const [source, target] = [join(directory, 'source'), join(directory, 'target')]
        writeFileSync(source, file)
        const right = [one.plain, ...(spliced ? [other.plain] : [])]
        const done = await attempt(async () => crypt.decrypt(source, target, { legacy }).then(() => true))
        expect(readdirSync(directory)).toEqual(done ? ['source', 'target'] : ['source'])
        if (done) {
          const data = readFileSync(target)
          expect(right.some((plain) => plain.equals(data))).toBe(true)
        }
        const stream = crypt.createDecryptStream({ legacy })
        const { bytes, error } = await released(Readable.from([file]).compose(stream))
        if (error !== undefined) await attempt(async () => Promise.reject(error))
        expect(error === undefined).toBe(done === true)
        if (!moved && what !== 'another kind') expect(one.plain.subarray(0, bytes.length).equals(bytes)).toBe(true)
      },
    )
    await box.close()
  })
})
