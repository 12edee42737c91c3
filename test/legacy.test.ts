import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Coffer, CofferError, CofferNull } from './support/coffer.ts'
import { contents, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { fixture, legacyKeys, legacyMembers } from './support/pycoffer.ts'
import { tempDir } from './support/temp.ts'

function copied(name: string): string {
  const path = join(tempDir(), name)
  writeFileSync(path, fixture(name))
  return path
}

async function expectMembers(box: Coffer, members: ReadonlyMap<string, Buffer> = legacyMembers): Promise<void> {
  const found = await contents(box)
  expect([...found.keys()].sort()).toEqual([...members.keys()].sort())
  for (const [name, data] of members) expect(found.get(name)?.equals(data), name).toBe(true)
}

describe.each(kinds)('a $label that PyCoffer wrote', (kind) => {
  const keys = legacyKeys[kind.label] ?? {}

  it('opens only with legacy: true', async () => {
    const path = copied(kind.label)
    for (const mode of ['r', 'a'] as const) {
      await expect(openKind(kind, path, mode, keys)).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY', path })
    }
    await using box = await openKind(kind, path, 'r', keys, { legacy: true })
    await expectMembers(box)
    expect((await box.stat('deep')).type).toBe('directory')
    await expect(box.verify()).resolves.toMatchObject({ members: legacyMembers.size })
  })

  it('is not touched by a reader, nor by a writer that changes nothing', async () => {
    const path = copied(kind.label)
    const before = readFileSync(path)
    await (await openKind(kind, path, 'r', keys, { legacy: true })).close()
    await (await openKind(kind, path, 'a', keys, { legacy: true })).close()
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  it('is converted by the first flush, and needs no legacy: true afterwards', async () => {
    const path = copied(kind.label)
    const before = readFileSync(path)
    const box = await openKind(kind, path, 'a', keys, { legacy: true, backup: '.bak', autoFlush: false })
    await box.write('new', 'new')
    await box.append('hello.txt', 'from here\n')
    await box.delete('empty')
    expect(readFileSync(path).equals(before)).toBe(true)
    await box.flush()
    const changed = new Map(legacyMembers)
    changed.delete('empty')
    changed.set('new', Buffer.from('new'))
    changed.set('hello.txt', Buffer.from('hello from PyCoffer\nappended\nfrom here\n'))
    await expectMembers(box, changed)
    await box.write('later', 'later')
    changed.set('later', Buffer.from('later'))
    await box.close()
    expect(readFileSync(`${path}.bak`).equals(before)).toBe(true)
    await using again = await openKind(kind, path, 'r', keys)
    await expectMembers(again, changed)
    await expect(again.verify()).resolves.toBeDefined()
  })

  it('is converted by compaction too, and by a flush that is forced', async () => {
    for (const convert of [async (box: Coffer) => box.compact(), async (box: Coffer) => box.flush({ force: true })]) {
      const path = copied(kind.label)
      const box = await openKind(kind, path, 'a', keys, { legacy: true })
      await convert(box)
      await box.close()
      await using again = await openKind(kind, path, 'r', keys)
      await expectMembers(again)
    }
  })

  it('extracts', async () => {
    const target = tempDir()
    await using box = await openKind(kind, copied(kind.label), 'r', keys, { legacy: true })
    expect(await box.extractAll(target)).toMatchObject({ files: legacyMembers.size })
    for (const [name, data] of legacyMembers) expect(readFileSync(join(target, name)).equals(data), name).toBe(true)
  })

  it.skipIf(kind.label === 'null')('with a wrong key does not open', async () => {
    const error = await openKind(kind, copied(kind.label), 'r', keysFor(kind), { legacy: true })
      .then(
        // Without a key check only a member can tell that its key is wrong.
        async (box) => box.read('hello.txt').finally(async () => box.close()),
      )
      .catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CofferError)
    expect((error as CofferError).code).toMatch(/WRONG_KEY|CORRUPT/)
  })

  it.skipIf(kind.container === null)('that was cut or changed does not open', async () => {
    const path = copied(kind.label)
    const file = readFileSync(path)
    for (const bad of [file.subarray(0, -1), file.subarray(0, 40)]) {
      writeFileSync(path, bad)
      await expect(openKind(kind, path, 'r', keys, { legacy: true })).rejects.toMatchObject({
        code: /CORRUPT|WRONG_KEY/,
      })
    }
    file.writeUInt8(file.readUInt8(100) ^ 1, 100)
    writeFileSync(path, file)
    await expect(openKind(kind, path, 'r', keys, { legacy: true })).rejects.toMatchObject({ code: /CORRUPT|WRONG_KEY/ })
  })
})

describe('a legacy coffer', () => {
  it('whose Fernet tokens are of the year 2100 opens all the same', async () => {
    const kind = kindOf('bank')
    const { bank = {} } = legacyKeys
    await using box = await openKind(kind, copied('bank-from-2100'), 'r', bank, { legacy: true })
    expect(await box.members()).toEqual([])
  })

  it('with a name that is not UTF-8 has it escaped, and the member is there', async () => {
    await using box = await CofferNull.open(copied('not-utf8'), 'r', { legacy: true })
    const names = (await box.members()).map((member) => member.name)
    expect(names).toHaveLength(2)
    const escaped = names.find((name) => name !== 'good') ?? ''
    expect(escaped).toMatch(/^latin1-.+\.txt$/)
    expect(await box.readText(escaped)).toBe('e acute')
  })

  it('with one name twice has the later member', async () => {
    await using box = await CofferNull.open(copied('hostile-twice'), 'r', { legacy: true })
    expect(await box.readText('good')).toBe('good')
    expect(await box.members()).toHaveLength(1)
  })

  it.each(['parent', 'absolute', 'symlink', 'hardlink', 'device', 'file-as-directory'])(
    'that is hostile (%s) writes nothing outside the target, and nothing that is no file',
    async (name) => {
      const root = tempDir()
      const target = join(root, 'target')
      const box = await CofferNull.open(copied(`hostile-${name}`), 'r', { legacy: true }).catch((error: unknown) => {
        expect(error).toBeInstanceOf(CofferError)
        return undefined
      })
      if (box !== undefined) {
        await box.extractAll(target).catch((error: unknown) => expect(error).toBeInstanceOf(CofferError))
        await box.close()
      }
      expect(readdirSync(root).filter((entry) => entry !== 'target')).toEqual([])
      for (const place of ['/tmp/coffer-evil', '/tmp/evil', '/evil']) expect(existsSync(place)).toBe(false)
      if (existsSync(target)) {
        for (const entry of readdirSync(target, { recursive: true, withFileTypes: true })) {
          expect(entry.isFile() || entry.isDirectory(), entry.name).toBe(true)
        }
      }
    },
  )

  it.each(['cut-tar', 'bad-checksum'])('that is broken (%s) is damage', async (name) => {
    await expect(CofferNull.open(copied(name), 'r', { legacy: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_CORRUPT',
    })
  })
})
