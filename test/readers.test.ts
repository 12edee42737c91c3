import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { type Coffer, CofferError } from './support/coffer.ts'
import { type Keys, type Kind, keysFor, kindOf, openKind, optionsFor } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const names = Array.from({ length: 40 }, (_, index) => `small/${index}`)
const lineCount = 60_000

/** The contents of a version of a member: they say which they are, so that any mixture shows. */
function version(name: string, number: number): Buffer {
  return Buffer.concat([Buffer.from(`${name}:${number}\n`), noise(500 + ((number * 37) % 3_000), `${name}:${number}`)])
}

/** Which version some contents are; fails unless they are one, whole. */
function versionOf(name: string, data: Buffer): number {
  const number = Number(/^(.*):(\d+)\n/.exec(data.subarray(0, 100).toString('latin1'))?.[2])
  expect(data.equals(version(name, number)), `${name} is version ${number}, whole`).toBe(true)
  return number
}

const bigLines = Array.from(
  { length: lineCount },
  (_, index) => `line ${index} is read in pieces while its neighbours change ${noise(30, index).toString('hex')}`,
)

async function make(kind: Kind, path: string, keys: Keys): Promise<void> {
  const box = await openKind(kind, path, 'x', keys)
  await box.batch(async (batch) => {
    for (const name of names) await batch.write(name, version(name, 0))
    await batch.writeLines('big.txt', bigLines)
    await batch.write('filler', noise(2_000_000, 'filler'))
  })
  await box.close()
}

/** Replaces every other member, appends and compacts until told to stop; returns how many commits it made. */
const write: Body<{ className: 'CofferBank'; path: string; options: object }, number> = async (
  { coffer, say, hear },
  { className, path, options },
) => {
  let stop = false
  void hear().then(() => {
    stop = true
  })
  const crypto = process.getBuiltinModule('node:crypto')
  // As `noise` in support/bytes.ts, which this process cannot import.
  const noise = (length: number, seed: string): Buffer => {
    const key = crypto.createHash('sha256').update(seed).digest()
    return crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
  }
  const box = await coffer[className].open(path, 'a', { ...options, lock: 'w', autoFlush: false, durability: 'none' })
  await say('writing')
  for (let round = 1; !stop; round += 1) {
    for (let index = (round % 3) * 2; index < 40; index += 6) {
      const name = `small/${index}`
      const head = Buffer.from(`${name}:${round}\n`)
      await box.write(name, Buffer.concat([head, noise(500 + ((round * 37) % 3_000), `${name}:${round}`)]))
    }
    await box.append('growing', noise(20_000, `grow ${round}`))
    if (round % 5 === 0) await box.write('growing', '')
    if (round % 7 === 0) await box.write('filler', noise(1_500_000, `filler ${round}`))
    await box.flush()
    if (round % 6 === 0) await box.compact()
  }
  const { generation } = box.head
  await box.close()
  return generation
}

describe.each([kindOf('bank'), kindOf('store'), kindOf('market'), kindOf('null')])(
  'with lock "w", readers beside a writer, $label',
  (kind) => {
    it('get the right bytes of their commit or ERR_COFFER_STALE, never damage', { timeout: 60_000 }, async () => {
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      await make(kind, path, keys)
      const className = kind.className as 'CofferBank'
      const writer = startChild(write, { className, path, options: optionsFor(kind, keys) })
      await writer.heard()

      let [right, stale, linesRead] = [0, 0, 0]
      const count = (error: unknown): void => {
        expect(error).toBeInstanceOf(CofferError)
        expect(error).toMatchObject({ code: 'ERR_COFFER_STALE' })
        stale += 1
      }
      const readSmall = async (box: Coffer): Promise<void> => {
        const pinned = new Map<string, number>()
        for (let round = 0; round < 3; round += 1) {
          for (const name of names) {
            await box.read(name).then((data) => {
              const number = versionOf(name, data)
              // One handle stays on one commit: it never sees a member change.
              expect(pinned.get(name) ?? number).toBe(number)
              pinned.set(name, number)
              right += 1
            }, count)
          }
        }
      }
      const readBig = async (box: Coffer): Promise<void> => {
        let index = 0
        for await (const line of box.readLines('big.txt')) {
          if (line !== bigLines[index]) expect(line).toBe(bigLines[index])
          index += 1
        }
        expect(index).toBe(lineCount)
        linesRead += 1
      }
      const reader = async (): Promise<void> => {
        for (let round = 0; round < 6; round += 1) {
          const box = await openKind(kind, path, 'r', keys, { lock: 'w' })
          await Promise.all([readSmall(box), readBig(box).catch(count)])
          await box.close()
        }
      }
      await Promise.all([reader(), reader()])
      writer.say('stop')
      expect(await writer.result).toBeGreaterThan(10)
      // Half of the members, and the big one, are never replaced: they move, and are found again. Only
      // a reader that is overtaken again and again gives up.
      expect(right).toBeGreaterThan(2 * 6 * 3 * (names.length / 2) * 0.9)
      expect(linesRead).toBeGreaterThan(6)
      expect(right + stale).toBeGreaterThanOrEqual(2 * 6 * 3 * names.length)

      await using last = await openKind(kind, path, 'r', keys)
      for (const [index, name] of names.entries()) {
        expect(versionOf(name, await last.read(name)) > 0).toBe(index % 2 === 0)
      }
      await expect(last.verify()).resolves.toBeDefined()
    })
  },
)

describe('a reader beside a writer in the same process', () => {
  const kind = kindOf('bank')

  it('stays on its commit, and a new one sees the newest', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await using writer = await openKind(kind, path, 'x', keys, { lock: 'w', autoFlush: false })
    await writer.write('steady', noise(3_000_000, 'steady'))
    await writer.write('changing', 'old')
    await writer.flush()
    await using reader = await openKind(kind, path, 'r', keys, { lock: 'w' })
    const commit = reader.head
    await writer.write('changing', 'new')
    await writer.write('added', 'added')
    await writer.flush()
    expect(reader.head).toEqual(commit)
    expect(await reader.has('added')).toBe(false)
    await expect(reader.read('changing')).rejects.toMatchObject({ code: 'ERR_COFFER_STALE', member: 'changing' })
    expect((await reader.read('steady')).equals(noise(3_000_000, 'steady'))).toBe(true)
    await writer.compact()
    expect((await reader.read('steady')).equals(noise(3_000_000, 'steady'))).toBe(true)
    await writer.delete('steady')
    await writer.flush()
    await using next = await openKind(kind, path, 'r', keys, { lock: 'w' })
    expect(await next.readText('changing')).toBe('new')
    expect(await next.has('steady')).toBe(false)
  })

  it('reads a neighbour of what was replaced where it has been moved to', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await using writer = await openKind(kind, path, 'x', keys, { lock: 'w', autoFlush: false })
    for (let index = 0; index < 20; index += 1) await writer.write(`pack/${index}`, noise(1_000, index))
    await writer.flush()
    await using reader = await openKind(kind, path, 'r', keys, { lock: 'w' })
    await writer.write('pack/7', 'replaced')
    await writer.flush()
    for (let index = 0; index < 20; index += 1) {
      if (index === 7) await expect(reader.read('pack/7')).rejects.toMatchObject({ code: 'ERR_COFFER_STALE' })
      else expect((await reader.read(`pack/${index}`)).equals(noise(1_000, index))).toBe(true)
    }
  })

  it('finds lines stale when their member is replaced between two pieces', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await using writer = await openKind(kind, path, 'x', keys, { lock: 'w', autoFlush: false })
    await writer.writeLines('text', bigLines)
    await writer.flush()
    await using reader = await openKind(kind, path, 'r', keys, { lock: 'w' })
    const reading = async (): Promise<void> => {
      let index = 0
      for await (const line of reader.readLines('text')) {
        if (line !== bigLines[index]) expect(line).toBe(bigLines[index])
        if (index === 10) {
          await writer.write('text', 'replaced\n')
          await writer.flush()
        }
        index += 1
      }
    }
    await expect(reading()).rejects.toMatchObject({ code: 'ERR_COFFER_STALE', member: 'text' })
  })

  it('tells damage from staleness: an unchanged commit with a bad block is damage', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const writer = await openKind(kind, path, 'x', keys)
    await writer.write('victim', noise(300_000))
    await writer.close()
    await using reader = await openKind(kind, path, 'r', keys)
    const file = readFileSync(path)
    const at = Math.floor(file.length / 2)
    file.writeUInt8(file.readUInt8(at) ^ 1, at)
    writeFileSync(path, file)
    await expect(reader.read('victim')).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', member: 'victim', path })
  })
})
