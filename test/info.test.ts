import { copyFileSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { CofferNull } from './support/coffer.ts'
import { keysFor, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const newPath = (): string => join(tempDir(), 'box.coffer')

describe.each(kinds)('info of a $label', (kind) => {
  it('counts members and bytes, in the file and out of it, for a writer as for a reader', async () => {
    const [path, keys] = [newPath(), keysFor(kind)]
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    await box.write('large', noise(3_000_000))
    await box.write('small', 'x'.repeat(1_000))
    const tree = join(tempDir(), 'empty')
    mkdirSync(tree)
    await box.add(tree, { as: 'empty' })
    await box.flush()
    const info = await box.info()
    const members = await box.members()
    expect(info).toMatchObject({
      path,
      cipher: kind.container ?? 'none',
      container: { cipher: kind.container ?? 'none', level: expect.any(Number) as number },
      member: { cipher: kind.sealedMembers ? 'secretbox' : 'none' },
      chunkSize: 65_536,
      blockSize: /Store|Market/.test(kind.className) ? 4_194_304 : 1_048_576,
      passphrase: false,
      legacy: false,
      generation: box.head.generation,
      members: 3,
      files: 2,
      directories: 1,
      bytes: 3_001_000,
      storedBytes: members.reduce((sum, member) => sum + member.storedSize, 0),
      fileSize: statSync(path).size,
      deadBytes: expect.any(Number) as number,
      compacting: false,
      ratio: 3_001_000 / statSync(path).size,
    })
    expect(info).not.toHaveProperty('kdf')
    // The footers of the commit that made the coffer.
    expect(info.deadBytes).toBeGreaterThan(0)
    expect(info.deadBytes).toBeLessThan(2_000)
    expect(info.liveBytes).toBeGreaterThan(3_000_000)
    expect(info.liveBytes).toBeLessThan(info.fileSize)
    expect((await box.verify()).blocks).toBe(info.blocks)
    await box.close()
    await using reader = await openKind(kind, path, 'r', keys)
    expect(await reader.info()).toEqual(info)
  })

  it('tells dead space, which compaction gives back', async () => {
    const [path, keys] = [newPath(), keysFor(kind)]
    await using box = await openKind(kind, path, 'x', keys)
    await box.write('kept', noise(100_000))
    await box.write('gone', noise(3_000_000))
    await box.flush()
    const { liveBytes, deadBytes } = await box.info()
    await box.delete('gone')
    await box.flush()
    const dead = await box.info()
    expect(dead.deadBytes - deadBytes).toBeGreaterThanOrEqual(3_000_000)
    expect(liveBytes - dead.liveBytes).toBeGreaterThanOrEqual(3_000_000)
    expect(dead.liveBytes + dead.deadBytes).toBeLessThan(dead.fileSize)
    await box.compact()
    const compacted = await box.info()
    expect(compacted).toMatchObject({ deadBytes: 0, fileSize: statSync(path).size, members: 1, bytes: 100_000 })
    expect(dead.fileSize - compacted.fileSize).toBeGreaterThanOrEqual(3_000_000)
  })

  it('of a coffer of PyCoffer tells that it is one, until it is converted', async () => {
    const path = newPath()
    copyFileSync(fileURLToPath(new URL(`./fixtures/${kind.label}.pycoffer`, import.meta.url)), path)
    const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
    const keys = {
      ...(kind.container === null ? {} : { cofferKey: kind.label === 'bank-aes-ocb' ? key.subarray(0, 16) : key }),
      ...(kind.sealedMembers ? { secureKey: Buffer.from(Array.from({ length: 32 }, (_, index) => 100 + index)) } : {}),
    }
    await using box = await openKind(kind, path, 'a', keys as never, { legacy: true })
    const { size } = statSync(path)
    const known = { members: 4, bytes: expect.any(Number) as number, generation: 0 }
    expect(await box.info()).toMatchObject({ ...known, legacy: true, fileSize: size, liveBytes: size, deadBytes: 0 })
    await box.write('new', 'x')
    await box.flush()
    expect(await box.info()).toMatchObject({ legacy: false, generation: 1, members: 5, fileSize: statSync(path).size })
  })
})

describe('info', () => {
  it('counts what is not flushed yet', async () => {
    await using box = await CofferNull.open(newPath(), 'x')
    expect(await box.info()).toMatchObject({ members: 0, bytes: 0, ratio: 0 })
    await box.write('a', 'four')
    expect(await box.info()).toMatchObject({ members: 1, bytes: 4 })
  })

  it('fails once the coffer is closed', async () => {
    const box = await CofferNull.open(newPath(), 'x')
    await box.close()
    await expect(box.info()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED', path: box.path })
  })
})
