import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { contents, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

describe('concurrent writes with autoFlush', () => {
  it('share commits, and each is durable when its promise settles', async () => {
    const kind = kindOf('bank')
    const path = join(tempDir(), 'bank.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { lock: 'w' })
    const before = box.head.generation
    const count = 400
    let checked = 0
    const writes = Array.from({ length: count }, async (_, index) => {
      await box.write(`m${index}`, `number ${index}`)
      if (index % 97 === 0) {
        await using reader = await openKind(kind, path, 'r', keys, { lock: 'w' })
        expect(await reader.readText(`m${index}`)).toBe(`number ${index}`)
        checked += 1
      }
    })
    await Promise.all(writes)
    expect(checked).toBe(5)
    const commits = box.head.generation - before
    expect(commits).toBeGreaterThan(0)
    expect(commits).toBeLessThan(count / 4)
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect(await again.members()).toHaveLength(count)
  })

  it('one after the other make a commit each', async () => {
    const kind = kindOf('bank')
    await using box = await openKind(kind, join(tempDir(), 'bank.coffer'), 'x', keysFor(kind), { durability: 'none' })
    const before = box.head.generation
    for (let index = 0; index < 10; index += 1) await box.write(`m${index}`, 'x')
    expect(box.head.generation).toBe(before + 10)
  })

  it('that fail do not fail the ones beside them', async () => {
    const kind = kindOf('bank')
    await using box = await openKind(kind, join(tempDir(), 'bank.coffer'), 'x', keysFor(kind))
    await box.write('file', 'x')
    const results = await Promise.allSettled([
      box.write('a', 'x'),
      box.write('file/below', 'x'),
      box.delete('missing'),
      box.write('b', 'x'),
    ])
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect((await box.members()).map((member) => member.name)).toEqual(['a', 'b', 'file'])
  })
})

describe.each(kinds)('everything at once on one $label', (kind) => {
  it('takes effect in the order of the calls', async () => {
    await using box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind))
    const all: Promise<unknown>[] = []
    for (let index = 0; index < 200; index += 1) {
      all.push(box.write('same', `version ${index}`))
      all.push(box.append('log', `${index}\n`))
      if (index % 50 === 0) all.push(box.flush())
    }
    all.push(
      box.write('gone', 'x'),
      box.delete('gone'),
      box.write('back', 'x'),
      box.delete('back'),
      box.write('back', 'y'),
    )
    await Promise.all(all)
    expect(await box.readText('same')).toBe('version 199')
    expect(await box.readText('log')).toBe(Array.from({ length: 200 }, (_, index) => `${index}\n`).join(''))
    expect(await box.has('gone')).toBe(false)
    expect(await box.readText('back')).toBe('y')
  })

  it('is safe with reads, a timer that flushes, compaction and extraction', { timeout: 30_000 }, async () => {
    const root = tempDir()
    const path = join(root, 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false, durability: 'none' })
    await box.write('steady', noise(2_000_000, 'steady'))
    const flushes: Promise<void>[] = []
    const timer = setInterval(() => flushes.push(box.flush({ force: false })), 2)
    const writer = async (me: number): Promise<void> => {
      for (let round = 0; round < 15; round += 1) {
        await box.write(`w${me}/${round}`, noise(500 + round * 3_000, `${me}/${round}`))
        if (round % 4 === 3) await box.delete(`w${me}/${round - 1}`)
        await box.append(`w${me}/log`, `${round};`)
      }
    }
    const reader = async (): Promise<void> => {
      for (let round = 0; round < 15; round += 1) {
        expect((await box.read('steady')).equals(noise(2_000_000, 'steady'))).toBe(true)
        for (const { name } of (await box.members({ prefix: 'w0/' })).slice(0, 3)) {
          await box
            .read(name)
            .catch((error: unknown) => expect(error).toMatchObject({ code: 'ERR_COFFER_MEMBER_NOT_FOUND' }))
        }
      }
    }
    const other = async (): Promise<void> => {
      for (let round = 0; round < 4; round += 1) {
        await box.compact()
        await box.extract('steady', join(root, `out${round}`))
        await box.verify()
      }
    }
    await Promise.all([...[0, 1, 2, 3].map(writer), reader(), reader(), other()])
    clearInterval(timer)
    await Promise.all(flushes)
    expect(flushes.length).toBeGreaterThan(3)
    await box.close()

    await using again = await openKind(kind, path, 'r', keys)
    const found = await contents(again)
    expect(found.size).toBe(1 + 4 * (15 - 3 + 1))
    for (let me = 0; me < 4; me += 1) {
      expect(found.get(`w${me}/log`)?.toString()).toBe(Array.from({ length: 15 }, (_, round) => `${round};`).join(''))
      for (const round of [0, 1, 3, 14]) {
        expect(
          found.get(`w${me}/${round}`)?.equals(noise(500 + round * 3_000, `${me}/${round}`)),
          `w${me}/${round}`,
        ).toBe(true)
      }
    }
    await expect(again.verify()).resolves.toBeDefined()
  })
})

describe('flush', () => {
  it('without force commits only what has changed', async () => {
    const kind = kindOf('store')
    await using box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind))
    await box.write('a', 'x')
    await box.flush({ force: false })
    const { generation } = box.head
    await box.flush({ force: false })
    expect(box.head.generation).toBe(generation)
    await box.flush({ force: true })
    expect(box.head.generation).toBe(generation + 1)
  })
})

describe('compaction', () => {
  it.each(kinds)('of a $label takes out the dead space and nothing else', async (kind) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    for (let index = 0; index < 30; index += 1) await box.write(`m${index}`, noise(100_000, index))
    await box.write('text', 'a'.repeat(10_000), { mode: 0o640, mtime: 123_456_789n })
    await box.flush()
    for (let index = 0; index < 20; index += 1) await box.delete(`m${index}`)
    await box.flush()
    const before = statSync(path).size
    await box.compact()
    const after = statSync(path).size
    expect(after).toBeLessThan(before * 0.5)
    expect(await box.members()).toHaveLength(11)
    expect(await box.stat('text', { bigint: true })).toMatchObject({ mode: 0o640, mtimeNs: 123_456_789n })
    for (let index = 20; index < 30; index += 1) {
      expect((await box.read(`m${index}`)).equals(noise(100_000, index))).toBe(true)
    }
    await expect(box.verify()).resolves.toMatchObject({ members: 11 })
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect((await again.read('m25')).equals(noise(100_000, 25))).toBe(true)
  })

  it('comes by itself at close when more than half is dead', async () => {
    const kind = kindOf('store')
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('large', noise(5_000_000))
    await box.write('small', 'x')
    await box.flush()
    await box.delete('large')
    await box.close()
    expect(statSync(path).size).toBeLessThan(100_000)
    await using again = await openKind(kind, path, 'r', keys)
    expect(await again.readText('small')).toBe('x')
  })
})
