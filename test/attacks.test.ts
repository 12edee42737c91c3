import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { User } from './support/cli.ts'
import { CofferMarket, CofferNull } from './support/coffer.ts'
import { paxHeader, tarEnd, tarEntry, zstdFrame } from './support/legacy.ts'
import { tempDir } from './support/temp.ts'

const corrupt = { code: 'ERR_COFFER_CORRUPT' }
const tooLarge = { code: 'ERR_COFFER_TOO_LARGE' }

/** A Null as PyCoffer writes it, with a tar of the test's own. */
function legacyNull(...tar: Buffer[]): string {
  const path = join(tempDir(), 'legacy.coffer')
  writeFileSync(path, zstdFrame(Buffer.concat(tar)))
  return path
}

async function textsOf(path: string): Promise<Record<string, string>> {
  await using box = await CofferNull.open(path, 'r', { legacy: true })
  const names = (await box.members()).filter((member) => member.type === 'file').map((member) => member.name)
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await box.readText(name)])))
}

describe('what is extracted may be limited', () => {
  const sizes = { 'a/large': 300_000, 'a/small': 1_000, b: 10 }

  async function boxWith(directory: string): Promise<CofferNull> {
    const box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
    for (const [name, size] of Object.entries(sizes)) await box.write(name, noise(size))
    return box
  }

  it.each([
    [{ maxMemberSize: 299_999 }, 'a/large'],
    [{ maxTotalSize: 301_009 }, 'b'],
    [{ maxTotalSize: 0 }, 'a/large'],
    [{ maxMemberSize: 300_000, maxTotalSize: 300_999 }, 'a/small'],
  ])('by %j: then nothing is written at all', async (limits, member) => {
    const directory = tempDir()
    const target = join(directory, 'out')
    await using box = await boxWith(directory)
    await expect(box.extractAll(target, limits)).rejects.toMatchObject({ ...tooLarge, member, path: box.path })
    expect(existsSync(target)).toBe(false)
  })

  it('to exactly what there is, and to what is selected', async () => {
    const directory = tempDir()
    await using box = await boxWith(directory)
    const limits = { maxMemberSize: 300_000, maxTotalSize: 301_010 }
    expect(await box.extractAll(join(directory, 'all'), limits)).toMatchObject({ files: 3, bytes: 301_010 })
    const one = await box.extract('b', join(directory, 'one'), { maxMemberSize: 10, maxTotalSize: 10 })
    expect(one).toMatchObject({ files: 1, bytes: 10 })
  })

  it.each([-1, 1.5, Number.NaN, '5' as unknown as number, 2 ** 53])('but not by %s', async (size) => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const limits of [{ maxMemberSize: size }, { maxTotalSize: size }]) {
      await expect(box.extractAll(tempDir(), limits)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
      await expect(CofferNull.open(box.path, 'r', limits)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })

  it('where a legacy coffer is unpacked, before the temp directory is full', async () => {
    const [directory, temp] = [tempDir(), tempDir()]
    const path = join(directory, 'bomb.coffer')
    const [header, half] = [tarEntry({ name: 'bomb', size: 2_000_000_000 }), { byte: 7, times: 1_000_000_000 }]
    writeFileSync(path, Buffer.concat([zstdFrame(header), zstdFrame(half), zstdFrame(half)]))
    expect(readFileSync(path).length).toBeLessThan(100_000)
    for (const limits of [{ maxMemberSize: 1_000_000 }, { maxTotalSize: 1_000_000 }]) {
      const opening = CofferNull.open(path, 'r', { legacy: true, tempDir: temp, lock: 'none', ...limits })
      await expect(opening).rejects.toMatchObject({ ...tooLarge, member: 'bomb', path })
      expect(readdirSync(temp)).toEqual([])
    }
    const small = legacyNull(tarEntry({ name: 'a' }, 'one'), tarEntry({ name: 'b' }, 'two'))
    await (await CofferNull.open(small, 'r', { legacy: true, maxMemberSize: 3, maxTotalSize: 6 })).close()
    const opening = CofferNull.open(small, 'r', { legacy: true, maxTotalSize: 5 })
    await expect(opening).rejects.toMatchObject({ ...tooLarge, member: 'b' })
  })

  it('by the command, in bytes and in units', async () => {
    const user = new User()
    await user.ok(['generate', 'vault', '--type', 'null', '--write'])
    user.file('a', 'x'.repeat(3_000))
    await user.ok(['add', 'a'])
    for (const size of ['2999', '2kB', '2.9 KB', '0.002MiB', '1b']) {
      for (const option of ['--max-member-size', '--max-total-size']) {
        const { code, stderr } = await user.run(['extract', '--to', 'out', option, size])
        expect([code, stderr]).toEqual([1, expect.stringMatching(/allowed/)])
        expect(existsSync(user.path('out'))).toBe(false)
      }
    }
    for (const size of ['1 parsec', '-1', '', 'k']) {
      expect((await user.run(['extract', '--to', 'out', '--max-total-size', size])).code).toBe(2)
    }
    await user.ok(['extract', '--to', 'out', '--max-member-size', '3kB', '--max-total-size', '1GiB'])
    expect(user.read('out/a')).toHaveLength(3_000)
  })
})

describe('a legacy coffer whose tar can be read in two ways is damage', () => {
  const file = tarEntry({ name: 'good' }, 'good')

  it.each([
    ['a path twice in one PAX header', [paxHeader(['path', 'good'], ['path', 'evil']), file]],
    ['the same path twice', [paxHeader(['path', 'good'], ['path', 'good']), file]],
    ['two PAX headers', [paxHeader(['path', 'good']), paxHeader(['path', 'good']), file]],
    ['a PAX path that is not the one of ustar', [paxHeader(['path', 'evil']), file]],
    ['a PAX size that is not the one of ustar', [paxHeader(['size', '2']), file]],
    ['a size twice', [paxHeader(['size', '4'], ['size', '2']), file]],
    [
      'a name of GNU beside one of PAX',
      [tarEntry({ name: 'L', type: 'L' }, 'good\0'), paxHeader(['path', 'good']), file],
    ],
    ['a name of GNU that is not the one of ustar', [tarEntry({ name: 'L', type: 'L' }, 'evil\0'), file]],
    ['a sparse file of GNU with another name', [paxHeader(['GNU.sparse.name', 'evil']), file]],
    ['a malformed PAX record', [tarEntry({ name: 'x', type: 'x' }, '99 path=evil\n'), file]],
    ['a directory with contents', [tarEntry({ name: 'dir/', type: '5' }, 'evil'), file]],
    ['a file whose name is that of a directory', [tarEntry({ name: 'dir/' }, 'evil'), file]],
    ['a name that is a file and a directory', [file, tarEntry({ name: 'good/inner' }, 'evil')]],
    ['a directory that is a file as well', [file, tarEntry({ name: 'good/', type: '5' })]],
    ['an entry behind its end', [file, tarEnd, tarEntry({ name: 'evil' }, 'evil')]],
    ['an end in the middle of an entry', [file.subarray(0, 515)]],
  ])('%s', async (_, tar) => {
    await expect(textsOf(legacyNull(...tar))).rejects.toMatchObject(corrupt)
  })

  it('and one that says things twice in the ways that tarfile does is not', async () => {
    const long = `${'d'.repeat(120)}/é`
    const path = legacyNull(
      paxHeader(['path', 'ü'], ['mtime', '1700000000.5']),
      tarEntry({ name: '?' }, 'pax'),
      paxHeader(['path', long]),
      tarEntry({ name: long.slice(0, 100) }, 'long'),
      tarEntry({ name: '././@LongLink', type: 'L' }, `gnu/${long}\0`),
      tarEntry({ name: `gnu/${long}`.slice(0, 100) }, 'gnu'),
      tarEnd,
      Buffer.alloc(9_000),
    )
    expect(await textsOf(path)).toEqual({ ü: 'pax', [long]: 'long', [`gnu/${long}`]: 'gnu' })
  })

  it.each([1, 3, 31, 32, 600])('%i stray bytes behind it', async (count) => {
    const nothing = legacyNull(file, tarEnd)
    writeFileSync(nothing, Buffer.concat([readFileSync(nothing), noise(count, 'stray')]))
    await expect(textsOf(nothing)).rejects.toMatchObject(corrupt)
    const sealed = join(tempDir(), 'market.coffer')
    const fixture = new URL('./fixtures/market.pycoffer', import.meta.url)
    writeFileSync(sealed, Buffer.concat([readFileSync(fixture), noise(count, 'stray')]))
    const secureKey = Buffer.from(Array.from({ length: 32 }, (_, index) => 100 + index))
    const opening = CofferMarket.open(sealed, 'r', { secureKey, legacy: true })
    await expect(opening).rejects.toMatchObject(corrupt)
  })

  it('a window that would take more memory than a level of zstd asks for', async () => {
    const path = legacyNull()
    writeFileSync(path, zstdFrame(file, 27))
    expect(await textsOf(path)).toEqual({ good: 'good' })
    writeFileSync(path, zstdFrame(file, 28))
    await expect(textsOf(path)).rejects.toMatchObject(corrupt)
  })
})
