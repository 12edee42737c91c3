import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Coffer, CofferNull, type RsyncPlugin, type RsyncResult } from './support/coffer.ts'
import { errnos } from './support/errnos.ts'
import { type AnyOptions, type Kind, keysFor, kindOf, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'
import { inventory } from './support/tree.ts'

const kinds = ['store', 'bank', 'null'].map((label) => kindOf(label as Kind['label']))

interface Setting {
  readonly root: string
  readonly tree: string
  readonly out: string
  readonly box: Coffer
  readonly rsync: RsyncPlugin
}

/** A coffer, and a tree with these files, where a name that ends in `/` is an empty directory. */
async function setting(
  files: Readonly<Record<string, string | Buffer>> = {},
  { kind = kindOf('null'), ...options }: AnyOptions & { kind?: Kind } = {},
): Promise<Setting> {
  const root = tempDir()
  const tree = join(root, 'tree')
  mkdirSync(tree)
  fill(tree, files)
  const box = await openKind(kind, join(root, 'box.coffer'), 'x', keysFor(kind), options)
  return { root, tree, out: join(root, 'out'), box, rsync: await box.plugin('rsync') }
}

function fill(tree: string, files: Readonly<Record<string, string | Buffer>>): void {
  for (const [name, data] of Object.entries(files)) {
    const path = join(tree, name)
    mkdirSync(name.endsWith('/') ? path : dirname(path), { recursive: true })
    if (!name.endsWith('/')) writeFileSync(path, data)
  }
}

/** What was done, one line for each action. */
function lines({ actions }: RsyncResult): string[] {
  return actions.map(({ action, name }) => `${action} ${name}`)
}

async function names(box: Coffer): Promise<string[]> {
  return (await box.members()).map(({ name }) => name)
}

/** Gives a file other contents of the same size, and leaves its time and mode. */
function alter(path: string, at = 0): void {
  const { atime, mtime } = statSync(path)
  const data = readFileSync(path)
  data.writeUInt8(data.readUInt8(at) ^ 1, at)
  writeFileSync(path, data)
  utimesSync(path, atime, mtime)
}

const wholeSecond = 1_500_000_000

describe.each(kinds)('rsync of a $label', (kind) => {
  const files = {
    a: 'one',
    'b/c': 'two',
    'b/large': noise(3_000_001),
    'd/e/f': '',
    'empty/': '',
    'g/empty/': '',
  }

  it('stores a tree, then nothing, then what changed, each time in one commit', async () => {
    const { tree, box, rsync } = await setting(files, { kind, autoFlush: true })
    chmodSync(join(tree, 'a'), 0o640)
    const before = box.head.generation
    const first = await rsync.push(tree)
    expect(first).toEqual({
      actions: [
        { action: 'add', name: 'tree/a', path: join(tree, 'a'), size: 3 },
        { action: 'add', name: 'tree/b/c', path: join(tree, 'b/c'), size: 3 },
        { action: 'add', name: 'tree/b/large', path: join(tree, 'b/large'), size: 3_000_001 },
        { action: 'add', name: 'tree/d/e/f', path: join(tree, 'd/e/f'), size: 0 },
        { action: 'add', name: 'tree/empty', path: join(tree, 'empty') },
        { action: 'add', name: 'tree/g/empty', path: join(tree, 'g/empty') },
      ],
      files: 4,
      bytes: 3_000_007,
      deleted: 0,
      unchanged: 0,
      skipped: [],
    })
    expect(box.head.generation).toBe(before + 1)

    const second = await rsync.push(tree)
    expect(second).toEqual({ actions: [], files: 0, bytes: 0, deleted: 0, unchanged: 6, skipped: [] })
    expect(box.head.generation).toBe(before + 1)

    writeFileSync(join(tree, 'a'), 'longer')
    writeFileSync(join(tree, 'new'), 'n')
    rmSync(join(tree, 'd'), { recursive: true })
    const third = await rsync.push(tree, 'tree', { delete: true })
    expect(lines(third)).toEqual(['update tree/a', 'delete tree/d/e/f', 'add tree/new'])
    expect(third).toMatchObject({ files: 2, bytes: 7, deleted: 1, unchanged: 4 })
    expect(box.head.generation).toBe(before + 2)
    expect(await box.readText('tree/a')).toBe('longer')
    await expect(box.verify()).resolves.toMatchObject({ members: 6 })
    await box.close()
  })

  it('gives a tree back as it was, and then has nothing to do in either direction', async () => {
    const { tree, out, box, rsync } = await setting(files, { kind })
    chmodSync(join(tree, 'a'), 0o640)
    utimesSync(join(tree, 'a'), 1_000_000_000, 1_000_000_000.123_456)
    utimesSync(join(tree, 'empty'), 1_100_000_000, 1_100_000_000)
    await rsync.push(tree)
    const pulled = await rsync.pull('tree', out)
    expect(pulled).toMatchObject({ files: 4, bytes: 3_000_007, deleted: 0, unchanged: 0, skipped: [] })
    expect(pulled.actions[0]).toEqual({ action: 'add', name: 'tree/a', path: join(out, 'a'), size: 3 })
    expect(inventory(out)).toEqual(inventory(tree))
    for (const checksum of [false, true]) {
      expect(lines(await rsync.pull('tree', out, { checksum, delete: true }))).toEqual([])
      expect(lines(await rsync.push(out, 'tree', { checksum, delete: true }))).toEqual([])
    }
    await box.close()
  })

  it('finds by contents what size and time do not tell, in small and in large files', async () => {
    const { tree, out, box, rsync } = await setting({ ...files, 'b/large': noise(18_000_000) }, { kind })
    utimesSync(join(tree, 'b/c'), wholeSecond, wholeSecond)
    utimesSync(join(tree, 'b/large'), wholeSecond, wholeSecond)
    await rsync.push(tree)
    await box.flush()
    await rsync.pull('tree', out)
    alter(join(tree, 'b/c'), 2)
    alter(join(tree, 'b/large'), 17_999_999)
    expect(lines(await rsync.push(tree))).toEqual([])
    expect(lines(await rsync.push(tree, 'tree', { checksum: true }))).toEqual([
      'update tree/b/c',
      'update tree/b/large',
    ])
    expect((await box.read('tree/b/large')).equals(readFileSync(join(tree, 'b/large')))).toBe(true)
    expect(lines(await rsync.pull('tree', out))).toEqual([])
    expect(lines(await rsync.pull('tree', out, { checksum: true }))).toEqual(['update tree/b/c', 'update tree/b/large'])
    expect(inventory(out)).toEqual(inventory(tree))
    await box.close()
  })

  it('keeps two trees and the coffer equal, whatever happens to them', { timeout: 120_000 }, async () => {
    const { tree, out, box, rsync } = await setting({}, { kind, durability: 'none' })
    const { COFFER_SEED: seed = '1' } = process.env
    const random = generator(Number(seed))
    mkdirSync(out)
    for (let round = 0; round < 12; round += 1) {
      mutate(tree, random)
      mutate(out, random)
      const options = { delete: true, checksum: round % 3 === 2 }
      const planned = await rsync.push(tree, 'kept', { ...options, dryRun: true })
      expect(await rsync.push(tree, 'kept', options), `round ${round}`).toEqual(planned)
      expect(lines(await rsync.push(tree, 'kept', options)), `round ${round}`).toEqual([])

      const exact = { delete: true, preserve: true }
      const dry = await rsync.pull('kept', out, { ...exact, dryRun: true })
      expect(await rsync.pull('kept', out, exact), `round ${round}`).toEqual(dry)
      expect(lines(await rsync.pull('kept', out, exact)), `round ${round}`).toEqual([])
      // Comparing by contents leaves times alone, so then only these are equal.
      const compared = options.checksum ? contents : inventory
      expect(compared(out), `round ${round}`).toEqual(compared(tree))
    }
    await expect(box.verify()).resolves.toBeDefined()
    await box.close()
  })
})

function contents(root: string): string[] {
  return Object.entries(inventory(root))
    .map(([name, node]) => `${name} ${'sha256' in node ? node.sha256 : '/'}`)
    .sort()
}

/** Mulberry32: numbers from 0 to below 1, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Makes, changes, moves and removes files and directories, turning some into the other. */
function mutate(root: string, random: () => number): void {
  const pick = (count: number): number => Math.floor(random() * count)
  const path = (): string => {
    const depth = 1 + pick(3)
    return join(root, ...Array.from({ length: depth }, () => 'abcd'.charAt(pick(4))))
  }
  for (let step = 0; step < 25; step += 1) {
    const target = path()
    try {
      const kind = pick(8)
      if (kind < 3) {
        mkdirSync(dirname(target), { recursive: true })
        writeFileSync(target, noise(pick(8) === 0 ? 200_000 : pick(300), `${random()}`))
      } else if (kind === 3) mkdirSync(target, { recursive: true })
      else if (kind === 4) rmSync(target, { recursive: true })
      else if (kind === 5) renameSync(target, path())
      else if (kind === 6) chmodSync(target, 0o600 + pick(0o100) + (statSync(target).isDirectory() ? 0o100 : 0))
      else utimesSync(target, wholeSecond + pick(5), wholeSecond + pick(5) + random())
    } catch (error) {
      // What cannot be done to what is there is not done.
      expect((error as NodeJS.ErrnoException).syscall).toBeDefined()
    }
  }
}

describe('push', () => {
  it('gives a tree its own name unless it is given another, or none', async () => {
    const { tree, box, rsync } = await setting({ a: '1' })
    await rsync.push(pathToFileURL(tree))
    await rsync.push(tree, '/x/y/')
    await rsync.push(tree, '')
    await rsync.push(tree, '.')
    expect(await names(box)).toEqual(['a', 'tree/a', 'x/y/a'])
    await box.close()
  })

  it('stores an empty tree as an empty directory, but at the top as nothing', async () => {
    const { tree, box, rsync } = await setting()
    expect(lines(await rsync.push(tree))).toEqual(['add tree'])
    expect(lines(await rsync.push(tree, '', { delete: true }))).toEqual(['delete tree'])
    expect(await names(box)).toEqual([])
    await box.close()
  })

  it('stores a single file, under its own name or another, and only when it has changed', async () => {
    const { tree, box, rsync } = await setting({ a: '1', b: '2' })
    expect(lines(await rsync.push(join(tree, 'a')))).toEqual(['add a'])
    expect(lines(await rsync.push(join(tree, 'a'), 'x/y', { delete: true, include: ['b'], exclude: ['**'] }))).toEqual([
      'add x/y',
    ])
    expect(lines(await rsync.push(join(tree, 'a'), 'x/y', { delete: true }))).toEqual([])
    writeFileSync(join(tree, 'a'), 'changed')
    expect(lines(await rsync.push(join(tree, 'a'), 'x/y'))).toEqual(['update x/y'])
    expect(await names(box)).toEqual(['a', 'x/y'])
    expect(await box.readText('x/y')).toBe('changed')
    await box.close()
  })

  it('updates what has another size, another time, older or newer by a nanosecond, or another mode', async () => {
    const { tree, box, rsync } = await setting({ older: '1', newer: '2', size: '3', mode: '4', same: '5', 'dir/': '' })
    for (const name of ['older', 'newer', 'size', 'mode', 'same'])
      utimesSync(join(tree, name), wholeSecond, wholeSecond)
    await rsync.push(tree, '')
    await box.write('newer', '2', { mtime: BigInt(wholeSecond) * 1_000_000_000n - 1n })
    await box.write('older', '1', { mtime: BigInt(wholeSecond) * 1_000_000_000n + 1n })
    writeFileSync(join(tree, 'size'), '33')
    utimesSync(join(tree, 'size'), wholeSecond, wholeSecond)
    chmodSync(join(tree, 'mode'), 0o600)
    utimesSync(join(tree, 'dir'), wholeSecond, wholeSecond)
    const result = await rsync.push(tree, '')
    expect(lines(result)).toEqual(['update dir', 'update mode', 'update newer', 'update older', 'update size'])
    expect((await box.stat('mode')).mode).toBe(0o600)
    expect((await box.stat('dir')).mtime.valueOf()).toBe(wholeSecond * 1_000)
    await box.close()
  })

  it('with checksum leaves what has the same contents as it is, times and modes included', async () => {
    const { tree, box, rsync } = await setting({ a: '1', 'empty/': '' }, { autoFlush: true })
    await rsync.push(tree, '')
    const { generation } = box.head
    const { mtimeNs } = await box.stat('a', { bigint: true })
    utimesSync(join(tree, 'a'), wholeSecond, wholeSecond)
    utimesSync(join(tree, 'empty'), wholeSecond, wholeSecond)
    chmodSync(join(tree, 'a'), 0o600)
    expect(await rsync.push(tree, '', { checksum: true })).toMatchObject({ actions: [], unchanged: 2 })
    expect(box.head.generation).toBe(generation)
    expect(await box.stat('a', { bigint: true })).toMatchObject({ mtimeNs, mode: 0o644 })
    await box.close()
  })

  it('deletes with delete, below its own name alone', async () => {
    const { tree, box, rsync } = await setting({ 'a/b': '1', c: '2' })
    await rsync.push(tree)
    for (const name of ['tree/a/x', 'tree/y/z', 'tree2/a', 'tre', 'other']) await box.write(name, name)
    expect(lines(await rsync.push(tree))).toEqual([])
    expect(lines(await rsync.push(tree, 'tree', { delete: true }))).toEqual(['delete tree/a/x', 'delete tree/y/z'])
    expect(await names(box)).toEqual(['other', 'tre', 'tree/a/b', 'tree/c', 'tree2/a'])
    await box.close()
  })

  it('never touches what the plugins keep, unless it is told or what it pulls is named', async () => {
    const { tree, out, box, rsync } = await setting({ a: '1', '.plugins/mine': 'x', 'b/.plugins/other': 'y' })
    await box.write('.plugins/password', 'secret')
    await box.write('gone', 'x')
    const result = await rsync.push(tree, '', { delete: true })
    expect(lines(result)).toEqual(['add a', 'add b/.plugins/other', 'delete gone'])
    expect(await box.readText('.plugins/password')).toBe('secret')
    fill(out, { '.plugins/theirs': 'z', old: 'o' })
    expect(lines(await rsync.pull('', out, { delete: true }))).toEqual(['add a', 'add b/.plugins/other', 'delete old'])
    expect(readdirSync(join(out, '.plugins'))).toEqual(['theirs'])
    await expect(rsync.push(tree, '.plugins')).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await expect(rsync.push(tree, '.plugins/x')).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect(lines(await rsync.pull('/.plugins/password', out))).toEqual(['add .plugins/password'])
    expect(lines(await rsync.pull('', out, { plugins: true }))).toEqual(['add .plugins/password'])
    for (const path of [join(out, 'password'), join(out, '.plugins', 'password')])
      if (posix) expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(lines(await rsync.pull('', out, { plugins: true }))).toEqual([])
    expect(lines(await rsync.push(join(out, '.plugins'), '.plugins', { plugins: true }))).toEqual([
      'add .plugins/theirs',
    ])
    await box.close()
  })

  it('turns a file into a directory', async () => {
    const { tree, box, rsync } = await setting({ 'a/b/c': '1', 'd/': '' })
    await box.write('tree/a', 'a file')
    await box.write('tree/d', 'a file')
    expect(lines(await rsync.push(tree))).toEqual(['delete tree/a', 'add tree/a/b/c', 'delete tree/d', 'add tree/d'])
    expect(await names(box)).toEqual(['tree/a/b/c', 'tree/d'])
    expect((await box.stat('tree/d')).type).toBe('directory')
    await box.close()
  })

  it('turns a directory into a file with delete, and refuses it otherwise', async () => {
    const { tree, box, rsync } = await setting({ a: 'now a file', b: 'too' }, { autoFlush: true })
    await box.write('tree/a/b/c', '1')
    await box.add(join(tree, '..', 'tree'), { as: 'tree/a/d' })
    mkdirSync(join(tree, '../empty'))
    await box.add(join(tree, '../empty'), { as: 'tree/b' })
    const { generation } = box.head
    for (const dryRun of [true, false]) {
      await expect(rsync.push(tree, 'tree', { dryRun })).rejects.toMatchObject({
        code: 'ERR_COFFER_MEMBER_EXISTS',
        member: 'tree/a',
        path: join(tree, 'a'),
      })
    }
    expect(box.head.generation).toBe(generation)
    const result = await rsync.push(tree, 'tree', { delete: true })
    expect(lines(result)).toEqual([
      ...['add tree/a', 'delete tree/a/b/c', 'delete tree/a/d/a', 'delete tree/a/d/b'],
      ...['delete tree/b', 'add tree/b'],
    ])
    expect(await names(box)).toEqual(['tree/a', 'tree/b'])
    expect(await box.readText('tree/a')).toBe('now a file')
    await box.close()
  })

  it('refuses a file where a directory holds something that is excluded, also with delete', async () => {
    const { tree, box, rsync } = await setting({ a: 'a file' })
    await box.write('tree/a/keep.me', '1')
    await expect(rsync.push(tree, 'tree', { delete: true, exclude: ['**/*.me'] })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
      member: 'tree/a',
    })
    expect(await names(box)).toEqual(['tree/a/keep.me'])
    await box.close()
  })

  it.each([{ exclude: ['keep'] }, { include: ['x'] }])(
    'puts a single file nowhere where a directory holds what %o leaves out, on neither side',
    async (options) => {
      const { tree, out, box, rsync } = await setting({ f: '1' })
      await box.write('dir/keep', 'precious')
      await box.write('dir/x', '1')
      await expect(rsync.push(join(tree, 'f'), 'dir', { delete: true, ...options })).rejects.toMatchObject({
        code: 'ERR_COFFER_MEMBER_EXISTS',
        member: 'dir',
      })
      expect(await names(box)).toEqual(['dir/keep', 'dir/x'])
      await box.write('f', '1')
      fill(out, { 'f/keep': 'precious', 'f/x': '1' })
      await expect(rsync.pull('f', out, { delete: true, ...options })).rejects.toMatchObject({
        code: 'ERR_COFFER_UNSAFE_PATH',
        path: join(out, 'f'),
      })
      expect(readdirSync(join(out, 'f'))).toEqual(['keep', 'x'])
      await box.close()
    },
  )

  it('refuses a name below a file, also with dryRun', async () => {
    const { tree, box, rsync } = await setting({ a: '1' })
    await box.write('f', 'precious')
    for (const dryRun of [true, false]) {
      await expect(rsync.push(tree, 'f/x/y', { dryRun, delete: true })).rejects.toMatchObject({
        code: 'ERR_COFFER_MEMBER_EXISTS',
        member: 'f/x/y',
      })
    }
    expect(await names(box)).toEqual(['f'])
    await box.close()
  })

  it('keeps a directory that has become empty, and one that was', async () => {
    const { tree, box, rsync } = await setting({ 'a/b': '1', 'c/': '' })
    await rsync.push(tree)
    rmSync(join(tree, 'a/b'))
    writeFileSync(join(tree, 'c/d'), '2')
    expect(lines(await rsync.push(tree, 'tree', { delete: true }))).toEqual([
      'add tree/a',
      'delete tree/a/b',
      'add tree/c/d',
    ])
    expect(lines(await rsync.push(tree, 'tree', { delete: true }))).toEqual([])
    rmSync(tree, { recursive: true })
    mkdirSync(tree)
    expect(lines(await rsync.push(tree, 'tree', { delete: true }))).toEqual([
      ...['add tree', 'delete tree/a', 'delete tree/c', 'delete tree/c/d'],
    ])
    expect(await names(box)).toEqual(['tree'])
    await box.close()
  })

  it('treats links as add does', async () => {
    const { root, tree, box, rsync } = await setting({ a: '1', 'd/e': '2' })
    writeFileSync(join(root, 'outside'), 'outside')
    symlinkSync('../outside', join(tree, 'file-link'))
    symlinkSync('d', join(tree, 'dir-link'))
    symlinkSync('nowhere', join(tree, 'dead-link'))
    const followed = await rsync.push(tree)
    expect(lines(followed)).toEqual(['add tree/a', 'add tree/d/e', 'add tree/file-link'])
    expect(followed.skipped).toEqual([
      { path: join(tree, 'dead-link'), reason: expect.stringContaining('nothing') as string },
      { path: join(tree, 'dir-link'), reason: expect.stringContaining('directory') as string },
    ])
    expect(followed.skipped).toEqual((await box.add(tree, { as: 'added' })).skipped)
    expect(await box.readText('tree/file-link')).toBe('outside')
    expect(lines(await rsync.push(tree))).toEqual([])
    const skipped = await rsync.push(tree, 'other', { symlinks: 'skip' })
    expect(lines(skipped)).toEqual(['add other/a', 'add other/d/e'])
    expect(skipped.skipped.map(({ path }) => path)).toEqual(
      ['dead-link', 'dir-link', 'file-link'].map((name) => join(tree, name)),
    )
    await expect(rsync.push(tree, 'third', { symlinks: 'error' })).rejects.toMatchObject({
      code: 'ERR_COFFER_UNSAFE_PATH',
      path: expect.stringContaining('-link') as string,
    })
    const without = { symlinks: 'error', exclude: ['*-link'] } as const
    expect(await rsync.push(tree, 'third', without)).toMatchObject({ files: 2, skipped: [] })
    await box.close()
  })

  it('leaves out the coffer itself, its lock and its temporary files', async () => {
    const { root, tree, box, rsync } = await setting({ a: '1' })
    writeFileSync(join(root, '.box.coffer.ab3xy9.coffer-new'), 'unfinished')
    const result = await rsync.push(root, 'all', { symlinks: 'error' })
    expect(lines(result)).toEqual(['add all/tree/a'])
    expect(result.skipped.map(({ path }) => path)).toEqual(
      ['.box.coffer.ab3xy9.coffer-new', 'box.coffer', 'box.coffer.lock'].map((name) => join(root, name)),
    )
    expect(existsSync(tree)).toBe(true)
    await box.close()
  })

  const files = {
    'a.txt': '',
    'b.md': '',
    'docs/a.txt': '',
    'docs/.hidden.txt': '',
    'docs/deep/c.txt': '',
    'x/y.md': '',
  }

  it.each([
    ['everything', {}, Object.keys(files)],
    ['one star', { include: ['/*.txt'] }, ['a.txt']],
    ['one star, at any depth', { include: ['*.txt'] }, Object.keys(files).filter((n) => /txt$/.test(n))],
    [
      'two stars, and names with a dot in front',
      { include: ['**/*.txt'] },
      Object.keys(files).filter((n) => /txt$/.test(n)),
    ],
    ['a directory', { include: ['docs'] }, Object.keys(files).filter((n) => n.startsWith('docs/'))],
    ['several', { include: ['x/**', '/a.*'] }, ['a.txt', 'x/y.md']],
    ['directories alone', { exclude: ['docs/', 'a.txt/'] }, ['a.txt', 'b.md', 'x/y.md']],
    ['nothing', { include: [] }, []],
    ['all but some', { exclude: ['**/*.txt'] }, ['b.md', 'x/y.md']],
    ['all but a directory', { exclude: ['docs'] }, ['a.txt', 'b.md', 'x/y.md']],
    [
      'exclude before include',
      { include: ['docs', 'x'], exclude: ['docs/deep', '**/a.txt'] },
      ['docs/.hidden.txt', 'x/y.md'],
    ],
  ])('takes by patterns: %s', async (_, options, expected) => {
    const { tree, out, box, rsync } = await setting(files)
    const sorted = [...expected].sort()
    expect((await rsync.push(tree, 'tree', options)).actions.map(({ name }) => name.slice(5))).toEqual(sorted)
    await rsync.push(tree)
    expect((await rsync.pull('tree', out, options)).actions.map(({ name }) => name.slice(5))).toEqual(sorted)
    // What the patterns leave out is not deleted, on neither side.
    for (const name of Object.keys(files)) rmSync(join(tree, name))
    const gone = await rsync.push(tree, 'tree', { ...options, delete: true })
    expect(gone.actions.filter(({ action }) => action === 'delete').map(({ name }) => name.slice(5))).toEqual(sorted)
    expect((await names(box)).filter((name) => Object.hasOwn(files, name.slice(5))).length).toBe(6 - sorted.length)
    await box.close()
  })

  it('does not enter a directory that is excluded', async () => {
    const { tree, box, rsync } = await setting({ 'a/b': '1' })
    mkdirSync(join(tree, 'out/in'), { recursive: true })
    symlinkSync('nowhere', join(tree, 'out/in/link'))
    expect(lines(await rsync.push(tree, 'tree', { symlinks: 'error', exclude: ['out'] }))).toEqual(['add tree/a/b'])
    await box.close()
  })

  it('lists with dryRun what a real run then does, and does nothing', async () => {
    const { tree, out, box, rsync } = await setting({ a: '1', 'b/c': '2', 'e/': '' }, { autoFlush: true })
    await rsync.push(tree)
    fill(tree, { a: 'changed', 'b/d': 'new', 'e/f': 'g' })
    rmSync(join(tree, 'b/c'))
    const { generation } = box.head
    const options = { delete: true, checksum: true }
    const dry = await rsync.push(tree, 'tree', { ...options, dryRun: true })
    expect(lines(dry)).toEqual(['update tree/a', 'delete tree/b/c', 'add tree/b/d', 'add tree/e/f'])
    expect(box.head.generation).toBe(generation)
    expect(await box.readText('tree/a')).toBe('1')
    expect(await rsync.push(tree, 'tree', options)).toEqual(dry)

    const planned = await rsync.pull('tree', out, { ...options, dryRun: true })
    expect(planned.actions.length).toBe(4)
    expect(existsSync(out)).toBe(false)
    expect(await rsync.pull('tree', out, options)).toEqual(planned)
    await box.close()
  })

  it('is committed with the next flush where changes are not flushed by themselves', async () => {
    const { tree, box, rsync } = await setting({ a: '1', b: '2' }, { autoFlush: false })
    await rsync.push(tree)
    expect(box.modified).toBe(true)
    await box.flush()
    const { generation } = box.head
    await rsync.push(tree)
    expect(box.modified).toBe(false)
    await box.flush()
    expect(box.head.generation).toBe(generation)
    await box.close()
  })

  it.each([
    ['changes', (path: string) => appendFileSync(path, 'more'), 'ERR_COFFER_STALE'],
    ['vanishes', (path: string) => rmSync(path), 'ERR_COFFER_IO'],
    ['is written anew, as long as before', (path: string) => writeFileSync(path, 'B'), 'ERR_COFFER_STALE'],
  ])('changes nothing if a file %s before it is stored, and names it', async (_, change, code) => {
    const { tree, box, rsync } = await setting({ a: noise(40_000_000), z: 'b' }, { kind: kindOf('bank') })
    await box.write('tree/old', 'x')
    const { generation } = box.head
    let changed = false
    const onProgress = (): void => {
      if (!changed) change(join(tree, 'z'))
      changed = true
    }
    await expect(rsync.push(tree, 'tree', { delete: true, onProgress })).rejects.toMatchObject({
      code,
      path: join(tree, 'z'),
    })
    expect(await names(box)).toEqual(['tree/old'])
    expect(box.head.generation).toBe(generation)
    expect((await rsync.push(tree, 'tree', { delete: true })).deleted).toBe(1)
    await box.close()
  })

  it('changes nothing if a large file changes while it is stored', async () => {
    const { tree, box, rsync } = await setting({ a: noise(40_000_000) }, { kind: kindOf('bank'), autoFlush: false })
    let changed = false
    const onProgress = (): void => {
      if (!changed) alterLate(join(tree, 'a'))
      changed = true
    }
    await expect(rsync.push(tree, 'tree', { onProgress })).rejects.toMatchObject({
      code: 'ERR_COFFER_STALE',
      path: join(tree, 'a'),
    })
    expect(await names(box)).toEqual([])
    await box.close()
  })

  it('refuses a source that is not there, and a file without a name', async () => {
    const { root, tree, box, rsync } = await setting({ a: '1' })
    await expect(rsync.push(join(root, 'missing'), 'x', { delete: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_IO',
      errno: errnos.ENOENT,
      systemCode: 'ENOENT',
      path: join(root, 'missing'),
    })
    await expect(rsync.push(join(tree, 'a'), '')).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await box.close()
  })

  it('needs a coffer that can be changed, unless there is nothing to change', async () => {
    const { tree, box, rsync } = await setting({ a: '1' })
    await rsync.push(tree)
    await box.close()
    await using reader = await CofferNull.open(box.path, 'r')
    const reading = await reader.plugin('rsync')
    expect(lines(await reading.push(tree))).toEqual([])
    writeFileSync(join(tree, 'b'), '2')
    expect(lines(await reading.push(tree, 'tree', { dryRun: true }))).toEqual(['add tree/b'])
    await expect(reading.push(tree)).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
    await expect(rsync.push(tree)).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })

  it('is refused inside a batch of its coffer, which would wait for it for ever', async () => {
    const { tree, box, rsync } = await setting({ a: '1' })
    await expect(box.batch(async () => rsync.push(tree))).rejects.toMatchObject({ code: 'ERR_COFFER_IN_BATCH' })
    expect(await names(box)).toEqual([])
    await box.close()
  })
})

/** Writes a byte over the last one of a file, which changes the file's time. */
function alterLate(path: string): void {
  const file = openSync(path, 'r+')
  writeSync(file, 'x', statSync(path).size - 1)
  closeSync(file)
}

describe('pull', () => {
  it('writes only what differs, older or newer, and leaves what the coffer does not have', async () => {
    const { tree, out, box, rsync } = await setting({ a: '1', 'b/c': '2', 'b/d': '3', e: '4' })
    await rsync.push(tree)
    await rsync.pull('tree', out)
    fill(out, { a: 'changed', 'b/mine': 'm' })
    rmSync(join(out, 'b/c'))
    const untouched = statSync(join(out, 'b/d'), { bigint: true })
    const soon = Date.now() / 1_000 + 1_000
    utimesSync(join(out, 'e'), soon, soon)
    expect(lines(await rsync.pull('tree', out))).toEqual(['update tree/a', 'add tree/b/c', 'update tree/e'])
    expect(statSync(join(out, 'b/d'), { bigint: true })).toMatchObject({
      ino: untouched.ino,
      ctimeNs: untouched.ctimeNs,
    })
    rmSync(join(out, 'b/mine'))
    expect(inventory(out)).toEqual(inventory(tree))
    await box.close()
  })

  it('takes a time that the file system keeps only in seconds for the same', async () => {
    const { out, box, rsync } = await setting()
    await box.write('a', '1', { mtime: BigInt(wholeSecond) * 1_000_000_000n + 123_456_789n })
    await rsync.pull('', out)
    utimesSync(join(out, 'a'), wholeSecond, wholeSecond)
    expect(lines(await rsync.pull('', out))).toEqual([])
    for (const time of [wholeSecond + 1, wholeSecond - 2, wholeSecond + 0.5]) {
      utimesSync(join(out, 'a'), time, time)
      expect(lines(await rsync.pull('', out)), `${time}`).toEqual(['update a'])
    }
    await box.close()
  })

  it('restores modes, but asks for no rights, and then is content', async () => {
    const { tree, out, box, rsync } = await setting({ a: '1' })
    chmodSync(join(tree, 'a'), 0o4755)
    await rsync.push(tree)
    await rsync.pull('tree', out)
    expect(statSync(join(out, 'a')).mode & 0o7777).toBe(0o755)
    expect(lines(await rsync.pull('tree', out))).toEqual([])
    expect(lines(await rsync.push(out, 'tree'))).toEqual([])
    chmodSync(join(out, 'a'), 0o700)
    expect(lines(await rsync.pull('tree', out))).toEqual([])
    expect(lines(await rsync.pull('tree', out, { preserve: true }))).toEqual(['update tree/a'])
    await box.close()
  })

  it('puts a single member into a directory, and leaves all else there alone', async () => {
    const { out, box, rsync } = await setting()
    await box.write('docs/a', '1')
    await box.write('b', '2')
    fill(out, { mine: 'm', 'dir/mine': 'm' })
    const options = { delete: true, include: ['b'], exclude: ['**'] }
    expect((await rsync.pull('docs/a', out, options)).actions).toEqual([
      { action: 'add', name: 'docs/a', path: join(out, 'a'), size: 1 },
    ])
    expect(lines(await rsync.pull('b', out, options))).toEqual(['add b'])
    expect(lines(await rsync.pull('b', out, options))).toEqual([])
    expect(readdirSync(out).sort()).toEqual(['a', 'b', 'dir', 'mine'])
    rmSync(join(out, 'b'))
    fill(out, { 'b/c/d': 'in the way' })
    await expect(rsync.pull('b', out)).rejects.toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH', path: join(out, 'b') })
    expect(lines(await rsync.pull('b', out, { delete: true }))).toEqual([
      ...['delete b', 'add b', 'delete b/c', 'delete b/c/d'],
    ])
    expect(readFileSync(join(out, 'b'), 'utf8')).toBe('2')
    await box.close()
  })

  it('deletes files and directories with delete, but not what is excluded nor the directories it is in', async () => {
    const { tree, out, box, rsync } = await setting({ 'a/b': '1' })
    await rsync.push(tree)
    fill(out, { 'a/x': '', 'c/d/e': '', 'f/': '', 'g/keep.me': '', 'g/h/': '', 'a/.git/config': '' })
    expect(lines(await rsync.pull('tree', out))).toEqual(['add tree/a/b'])
    const options = { delete: true, exclude: ['**/*.me', '**/.git'] }
    const result = await rsync.pull('tree', out, options)
    expect(result.actions).toContainEqual({ action: 'delete', name: 'tree/c', path: join(out, 'c') })
    expect(lines(result)).toEqual(['a/x', 'c', 'c/d', 'c/d/e', 'f', 'g/h'].map((name) => `delete tree/${name}`))
    expect(result.deleted).toBe(6)
    expect(readdirSync(out, { recursive: true }).sort()).toEqual(
      ['a', 'a/.git', 'a/.git/config', 'a/b', 'g', 'g/keep.me'].sort(),
    )
    expect(lines(await rsync.pull('tree', out, options))).toEqual([])
    await box.close()
  })

  it('removes a link with delete, never what it leads to, and refuses one in the way otherwise', async () => {
    const { root, tree, out, box, rsync } = await setting({ 'a/b': '1', c: '2' })
    await rsync.push(tree)
    fill(root, { 'outside/b': 'precious', 'outside/other': 'precious', file: 'precious' })
    mkdirSync(out)
    symlinkSync('../outside', join(out, 'a'))
    symlinkSync('../file', join(out, 'c'))
    symlinkSync('../outside', join(out, 'extra'))
    const before = inventory(join(root, 'outside'))
    await expect(rsync.pull('tree', out)).rejects.toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH' })
    expect(readdirSync(out).sort()).toEqual(['a', 'c', 'extra'])
    expect(lines(await rsync.pull('tree', out, { delete: true }))).toEqual([
      ...['delete tree/a', 'add tree/a/b', 'delete tree/c', 'add tree/c', 'delete tree/extra'],
    ])
    expect(inventory(out)).toEqual(inventory(tree))
    expect(inventory(join(root, 'outside'))).toEqual(before)
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('precious')
    await box.close()
  })

  it('deletes nothing outside the directory while one in it is swapped for a link', { timeout: 30_000 }, async () => {
    const { root, out, box, rsync } = await setting()
    const outside = join(root, 'outside')
    const files = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`dir/${index}`, 'x']))
    fill(outside, Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`${index}`, 'precious'])))
    await box.write('keep', '1')
    let swaps = 0
    for (let round = 0; round < 10; round += 1) {
      fill(out, files)
      let pulling = true
      const pull = rsync.pull('', out, { delete: true }).catch((error: unknown) => {
        expect(error).toMatchObject({ name: 'CofferError' })
      })
      void pull.finally(() => {
        pulling = false
      })
      while (pulling) {
        try {
          renameSync(join(out, 'dir'), join(root, 'aside'))
          symlinkSync(outside, join(out, 'dir'))
          swaps += 1
          await new Promise((resolve) => setImmediate(resolve))
          rmSync(join(out, 'dir'))
          renameSync(join(root, 'aside'), join(out, 'dir'))
        } catch {
          // It has been deleted meanwhile.
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      await pull
      rmSync(join(root, 'aside'), { recursive: true, force: true })
      rmSync(out, { recursive: true, force: true })
      expect(readdirSync(outside).length).toBe(300)
    }
    expect(swaps).toBeGreaterThan(5)
    await box.close()
  })

  it('turns a file into a directory, and a directory into a file only with delete', async () => {
    const { tree, out, box, rsync } = await setting({ 'a/b': '1', c: '2' })
    await rsync.push(tree)
    fill(out, { a: 'a file', 'c/d/e': 'deep' })
    await expect(rsync.pull('tree', out)).rejects.toMatchObject({
      code: 'ERR_COFFER_UNSAFE_PATH',
      member: 'tree/c',
      path: join(out, 'c'),
    })
    expect(readFileSync(join(out, 'a'), 'utf8')).toBe('a file')
    rmSync(join(out, 'c'), { recursive: true })
    expect(lines(await rsync.pull('tree', out))).toEqual(['delete tree/a', 'add tree/a/b', 'add tree/c'])
    rmSync(join(out, 'c'))
    fill(out, { 'c/d/e': 'deep' })
    expect(lines(await rsync.pull('tree', out, { delete: true }))).toEqual([
      ...['delete tree/c', 'add tree/c', 'delete tree/c/d', 'delete tree/c/d/e'],
    ])
    expect(inventory(out)).toEqual(inventory(tree))
    await box.close()
  })

  it('restores the time of an empty directory that was not empty', async () => {
    const { tree, out, box, rsync } = await setting({ 'empty/': '' })
    utimesSync(join(tree, 'empty'), wholeSecond, wholeSecond)
    await rsync.push(tree)
    await rsync.pull('tree', out)
    fill(out, { 'empty/junk': '' })
    utimesSync(join(out, 'empty'), wholeSecond, wholeSecond)
    expect(lines(await rsync.pull('tree', out, { delete: true }))).toEqual([
      'update tree/empty',
      'delete tree/empty/junk',
    ])
    expect(inventory(out)).toEqual(inventory(tree))
    expect(lines(await rsync.pull('tree', out, { delete: true }))).toEqual([])
    await box.close()
  })

  it('extracts nothing that is excluded, not even below a directory that is a member', async () => {
    const { root, out, box, rsync } = await setting()
    mkdirSync(join(root, 'dir'))
    await box.add(join(root, 'dir'), { as: 'dir' })
    await box.write('dir/secret', 's')
    await box.write('dir/open', 'o')
    expect(lines(await rsync.pull('', out, { exclude: ['**/secret'] }))).toEqual(['add dir', 'add dir/open'])
    expect(readdirSync(join(out, 'dir'))).toEqual(['open'])
    await box.close()
  })

  it('leaves the time of a directory as it is stored where another is made in it', async () => {
    const { tree, out, box, rsync } = await setting({ 'a/': '' })
    await rsync.push(tree)
    await rsync.pull('tree', out)
    fill(tree, { 'a/b/c/d': '1' })
    await rsync.push(tree)
    expect(lines(await rsync.pull('tree', out, { checksum: true }))).toEqual(['update tree/a', 'add tree/a/b/c/d'])
    expect(statSync(join(out, 'a'), { bigint: true }).mtimeNs).toBe(
      (await box.stat('tree/a', { bigint: true })).mtimeNs,
    )
    expect(lines(await rsync.pull('tree', out))).toEqual([])
    await box.close()
  })

  it('never removes the coffer that it pulls from', async () => {
    const { root, box, rsync } = await setting({ a: '1' })
    await box.write('a', '2')
    await box.flush()
    expect(lines(await rsync.pull('', root, { delete: true }))).toEqual(['add a', 'delete tree', 'delete tree/a'])
    expect(readdirSync(root).sort()).toEqual(['a', 'box.coffer', 'box.coffer.lock'])
    await box.write('box.coffer', 'evil')
    await expect(rsync.pull('', root, { delete: true })).rejects.toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH' })
    await box.close()
  })

  it('deletes nothing for a name that does not exist', async () => {
    const { out, box, rsync } = await setting()
    await box.write('tree/a', '1')
    fill(out, { mine: 'm' })
    await expect(rsync.pull('tre', out, { delete: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_NOT_FOUND',
      member: 'tre',
    })
    expect(readdirSync(out)).toEqual(['mine'])
    await box.close()
  })

  it('refuses a target that is a file, and takes one that is a link to a directory', async () => {
    const { root, out, box, rsync } = await setting({ file: 'precious' })
    await box.write('a', '1')
    await expect(rsync.pull('', join(root, 'tree/file'))).rejects.toMatchObject({ code: 'ERR_COFFER_IO' })
    mkdirSync(out)
    symlinkSync('out', join(root, 'link'))
    await rsync.pull('', pathToFileURL(join(root, 'link')))
    expect(readdirSync(out)).toEqual(['a'])
    await box.close()
  })
})

describe('both ways', () => {
  it('stop when the signal says so, with its reason, and leave the coffer as it was', async () => {
    const { tree, out, box, rsync } = await setting({ a: noise(160_000_000) }, { kind: kindOf('bank') })
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    await expect(rsync.push(tree, 'tree', { signal })).rejects.toBe(reason)
    const abortAtOnce = (): { signal: AbortSignal; onProgress: () => void } => {
      const controller = new AbortController()
      return { signal: controller.signal, onProgress: () => controller.abort(reason) }
    }
    await expect(rsync.push(tree, 'tree', abortAtOnce())).rejects.toBe(reason)
    expect(await names(box)).toEqual([])
    await rsync.push(tree)
    await expect(rsync.push(tree, 'tree', { ...abortAtOnce(), checksum: true, dryRun: true })).rejects.toBe(reason)
    await expect(rsync.pull('tree', out, { signal })).rejects.toBe(reason)
    expect(existsSync(out)).toBe(false)
    await expect(rsync.pull('tree', out, abortAtOnce())).rejects.toBe(reason)
    await expect(rsync.pull('tree', join(out, 'a'), { ...abortAtOnce() })).rejects.toBe(reason)
    await box.close()
  })

  it('tell how far they have come, and stop if that throws', async () => {
    const { tree, out, box, rsync } = await setting({ a: '1', b: noise(2_000_000) })
    const seen: number[] = []
    const onProgress = ({ bytes }: { bytes: number }): void => {
      seen.push(bytes)
    }
    await rsync.push(tree, 'tree', { onProgress })
    expect(seen.at(-1)).toBe(2_000_001)
    await rsync.push(tree, 'tree', { onProgress, checksum: true })
    expect(seen.at(-1)).toBe(2_000_001)
    await rsync.pull('tree', out, { onProgress })
    expect(seen.at(-1)).toBe(2_000_001)
    const oops = new Error('oops')
    const throws = (): void => {
      throw oops
    }
    await expect(rsync.push(tree, 'again', { onProgress: throws })).rejects.toBe(oops)
    await box.close()
  })

  it.each([
    ['source', (rsync: RsyncPlugin) => rsync.push(1 as never)],
    ['target', (rsync: RsyncPlugin) => rsync.pull('', undefined as never)],
    ['name', (rsync: RsyncPlugin) => rsync.push('.', '//', { dryRun: true })],
    ['name', (rsync: RsyncPlugin) => rsync.pull('//', 'out', { dryRun: true })],
    ['name', (rsync: RsyncPlugin) => rsync.push('.', 'a/../b', { dryRun: true })],
    ['name', (rsync: RsyncPlugin) => rsync.pull('a/../b', 'out')],
    ['name', (rsync: RsyncPlugin) => rsync.pull(undefined as never, 'out')],
    ['checksum', (rsync: RsyncPlugin) => rsync.push('.', 'x', { checksum: 1 as never })],
    ['delete', (rsync: RsyncPlugin) => rsync.push('.', 'x', { delete: 'yes' as never })],
    ['dryRun', (rsync: RsyncPlugin) => rsync.push('.', 'x', { dryRun: null as never })],
    ['include', (rsync: RsyncPlugin) => rsync.push('.', 'x', { include: '*' as never })],
    ['exclude', (rsync: RsyncPlugin) => rsync.pull('', 'out', { exclude: [''] })],
    ['exclude', (rsync: RsyncPlugin) => rsync.pull('', 'out', { exclude: ['x'.repeat(70_000)] })],
    ['symlinks', (rsync: RsyncPlugin) => rsync.push('.', 'x', { symlinks: 'maybe' as never })],
    ['signal', (rsync: RsyncPlugin) => rsync.push('.', 'x', { signal: {} as never, dryRun: true })],
    ['onProgress', (rsync: RsyncPlugin) => rsync.push('.', 'x', { onProgress: 1 as never, dryRun: true })],
    ['dryrun', (rsync: RsyncPlugin) => rsync.pull('', 'out', { dryrun: true } as never)],
  ])('refuse a %s that makes no sense', async (what, call) => {
    const { box, rsync } = await setting()
    const error = await call(rsync).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect((error as Error).message).toContain(what)
    await box.close()
  })

  it('leave the JavaScript thread free', async () => {
    const { tree, out, box, rsync } = await setting({ a: noise(24_000_000) }, { kind: kindOf('bank') })
    for (const call of [
      () => rsync.push(tree),
      () => rsync.push(tree, 'tree', { checksum: true }),
      () => rsync.pull('tree', out),
    ]) {
      let turns = 0
      let running = true
      const turn = (): void => {
        turns += 1
        if (running) setImmediate(turn)
      }
      setImmediate(turn)
      await call().finally(() => {
        running = false
      })
      expect(turns).toBeGreaterThan(25)
    }
    await box.close()
  })

  it('are a plugin: known by name, typed, and closed without closing the coffer', async () => {
    const { box, rsync } = await setting()
    await rsync.close()
    expect(box.closed).toBe(false)
    await expect(box.plugin('rsynch' as never)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await box.close()
  })
})
