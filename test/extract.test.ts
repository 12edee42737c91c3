import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { type Coffer, CofferError, CofferNull } from './support/coffer.ts'
import { keysFor, kinds, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'
import { below } from './support/tree.ts'

async function boxWith(
  members: Readonly<Record<string, string>>,
  path = join(tempDir(), 'box.coffer'),
): Promise<Coffer> {
  const box = await CofferNull.open(path, 'w')
  for (const [name, text] of Object.entries(members)) await box.write(name, text)
  return box
}

describe.each(kinds)('extraction, $label', (kind) => {
  it('gives back files, times, modes and empty directories as they were', async () => {
    const root = tempDir()
    const box = await openKind(kind, join(root, 'box.coffer'), 'w', keysFor(kind), { autoFlush: false })
    const mtime = new Date('2011-12-13T14:15:16.789Z')
    await box.write('plain', 'text')
    await box.write('dir/large', noise(2_100_000), { mode: 0o640, mtime })
    await box.write('dir/run', '#!/bin/sh\n', { mode: 0o755 })
    mkdirSync(join(root, 'tree/empty/inner'), { recursive: true })
    await box.add(join(root, 'tree'))
    const target = join(root, 'out')
    const result = await box.extractAll(target)
    expect(result.files).toBe(3)
    expect(result.bytes).toBe(4 + 2_100_000 + 10)
    expect(readFileSync(join(target, 'plain'), 'utf8')).toBe('text')
    expect(readFileSync(join(target, 'dir/large')).equals(noise(2_100_000))).toBe(true)
    if (posix) expect(statSync(join(target, 'dir/large')).mode & 0o777).toBe(0o640)
    expect(statSync(join(target, 'dir/large')).mtime).toEqual(mtime)
    if (posix) expect(statSync(join(target, 'dir/run')).mode & 0o777).toBe(0o755)
    expect(statSync(join(target, 'tree/empty/inner')).isDirectory()).toBe(true)
    await box.close()
  })
})

describe('what is extracted', () => {
  it('is one member, under its whole name', async () => {
    const target = tempDir()
    await using box = await boxWith({ 'a/b': 'one', 'a/bc': 'two', c: 'three' })
    expect(await box.extract('a/b', target)).toEqual({
      files: 1,
      directories: expect.any(Number) as number,
      bytes: 3,
      skipped: [],
    })
    expect(below(target)).toEqual(['a', 'a/b'])
  })

  it('is everything below a directory, and nothing that merely begins like it', async () => {
    const target = tempDir()
    await using box = await boxWith({ 'a/b/c': '1', 'a/b/d/e': '2', 'a/bb': '3', 'a/b.txt': '4' })
    expect((await box.extract('a/b', target)).files).toBe(2)
    expect(below(target)).toEqual(['a', 'a/b', 'a/b/c', 'a/b/d', 'a/b/d/e'])
  })

  it('is only the members that were named', async () => {
    const target = tempDir()
    await using box = await boxWith({ a: '1', b: '2', 'c/d': '3' })
    expect((await box.extract(['a', 'c/d'], target)).files).toBe(2)
    expect(below(target)).toEqual(['a', 'c', 'c/d'])
  })

  it('is nothing when a name does not exist, and the error names it', async () => {
    const target = tempDir()
    await using box = await boxWith({ a: '1' })
    const missing = { code: 'ERR_COFFER_MEMBER_NOT_FOUND', member: 'missing' }
    await expect(box.extract('missing', target)).rejects.toMatchObject(missing)
    await expect(box.extract(['a', 'missing'], target)).rejects.toMatchObject(missing)
    expect(readdirSync(target)).toEqual([])
  })

  it('replaces files that are there only on request, and leaves others alone', async () => {
    const target = tempDir()
    writeFileSync(join(target, 'a'), 'something older and longer')
    writeFileSync(join(target, 'b'), 'not mine')
    await using box = await boxWith({ a: '1', c: '2' })
    for (const options of [{}, { replace: undefined }, { replace: false }]) {
      const exists = { code: 'ERR_COFFER_EXISTS', path: join(target, 'a'), member: 'a' }
      await expect(box.extractAll(target, options)).rejects.toMatchObject(exists)
      await expect(box.extract('a', target, options)).rejects.toMatchObject(exists)
      await expect(box.extract(['c', 'a'], target, options)).rejects.toMatchObject(exists)
    }
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('something older and longer')
    expect(below(target)).toEqual(['a', 'b'])
    await box.extractAll(target, { replace: true })
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('1')
    expect(readFileSync(join(target, 'b'), 'utf8')).toBe('not mine')
  })

  it('goes to a target directory that does not exist yet, to one that is a link, and to the working one', async () => {
    const root = tempDir()
    await using box = await boxWith({ 'a/b': '1' })
    await box.extractAll(join(root, 'new/target'))
    expect(readFileSync(join(root, 'new/target/a/b'), 'utf8')).toBe('1')
    mkdirSync(join(root, 'real'))
    symlinkSync('real', join(root, 'link'))
    await box.extractAll(join(root, 'link'))
    expect(readFileSync(join(root, 'real/a/b'), 'utf8')).toBe('1')
    await box.close()

    mkdirSync(join(root, 'cwd'))
    const body: Body<{ path: string; cwd: string }, void> = async ({ coffer }, { path, cwd }) => {
      process.chdir(cwd)
      const box = await coffer.CofferNull.open(path, 'r')
      await box.extractAll('.')
      await box.close()
    }
    await inChild(body, { path: box.path, cwd: join(root, 'cwd') })
    expect(readFileSync(join(root, 'cwd/a/b'), 'utf8')).toBe('1')
  })

  it('includes what has not been flushed', async () => {
    const target = tempDir()
    await using box = await boxWith({})
    await Promise.all([box.write('a', '1'), box.write('big', noise(3_000_000))])
    await box.extractAll(target)
    expect(readFileSync(join(target, 'a'), 'utf8')).toBe('1')
    expect(readFileSync(join(target, 'big')).equals(noise(3_000_000))).toBe(true)
  })
})

describe('extraction with replace: false', () => {
  it.each(['r', 'a'] as const)('writes nothing at all where one file exists, and names it, mode %s', async (mode) => {
    const target = tempDir()
    const box = await boxWith({ a: '1', 'b/c': '2', d: '3' })
    await box.close()
    mkdirSync(join(target, 'b'))
    writeFileSync(join(target, 'd'), 'mine')
    await using again = await CofferNull.open(box.path, mode)
    await expect(again.extractAll(target, { replace: false })).rejects.toMatchObject({
      name: 'CofferError',
      code: 'ERR_COFFER_EXISTS',
      path: join(target, 'd'),
      member: 'd',
    })
    expect(below(target)).toEqual(['b', 'd'])
    expect(readFileSync(join(target, 'd'), 'utf8')).toBe('mine')
    await expect(again.extract('d', target, { replace: false })).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS' })
  })

  it('extracts beside files that are not in the way, into directories that exist, and into a new target', async () => {
    const target = tempDir()
    await using box = await boxWith({ a: '1', 'b/c': '2' })
    mkdirSync(join(target, 'b'))
    writeFileSync(join(target, 'b/other'), 'mine')
    expect((await box.extractAll(target, { replace: false })).files).toBe(2)
    expect(readFileSync(join(target, 'b/c'), 'utf8')).toBe('2')
    expect((await box.extract('b', join(target, 'new'), { replace: false })).files).toBe(1)
  })

  it('neither follows nor replaces a link', async () => {
    const root = tempDir()
    mkdirSync(join(root, 'target'))
    symlinkSync('nowhere', join(root, 'target/a'))
    await using box = await boxWith({ a: '1' })
    await expect(box.extractAll(join(root, 'target'), { replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_UNSAFE_PATH',
    })
    expect(readdirSync(root)).toEqual(['target'])
    expect(readdirSync(join(root, 'target'))).toEqual(['a'])
  })

  it('keeps a file that appears while it works', { timeout: 30_000 }, async () => {
    const members = Object.fromEntries(Array.from({ length: 600 }, (_, index) => [`${index}`, 'theirs']))
    await using box = await boxWith(members)
    await box.write('zz', noise(4_000_000))
    for (let kept = 0; kept < 3; ) {
      const target = tempDir()
      const extraction = box.extractAll(target, { replace: false }).catch((error: unknown) => error)
      // The large one comes last: as soon as another is there, the look ahead is over.
      while (!existsSync(join(target, '0'))) await new Promise((resolve) => setImmediate(resolve))
      try {
        writeFileSync(join(target, 'zz'), 'mine', { flag: 'wx' })
      } catch {
        // Too late: another time.
        await extraction
        continue
      }
      expect(await extraction).toMatchObject({ code: 'ERR_COFFER_EXISTS', member: 'zz' })
      expect(readFileSync(join(target, 'zz'), 'utf8')).toBe('mine')
      kept += 1
    }
  })
})

describe('extraction with from', () => {
  it('takes names relative to that directory, of a member, of a directory and of a list', async () => {
    const target = tempDir()
    await using box = await boxWith({ 'docs/a/b': '1', 'docs/c': '2', docs2: '3', 'other/d': '4' })
    await box.extract('docs/a/b', join(target, 'one'), { from: 'docs' })
    expect(below(join(target, 'one'))).toEqual(['a', 'a/b'])
    await box.extract('docs/a', join(target, 'two'), { from: 'docs/a' })
    expect(readdirSync(join(target, 'two'), { recursive: true })).toEqual(['b'])
    await box.extract(['docs/c', '/docs/a/b'], join(target, 'three'), { from: '/docs' })
    expect(below(join(target, 'three'))).toEqual(['a', 'a/b', 'c'])
  })

  it('selects nothing outside that directory', async () => {
    const target = tempDir()
    await using box = await boxWith({ 'docs/a/b': '1', 'docs/c': '2', docs2: '3', 'other/d': '4' })
    expect(await box.extractAll(target, { from: 'docs' })).toEqual({ files: 2, directories: 0, bytes: 2, skipped: [] })
    expect(below(target)).toEqual(['a', 'a/b', 'c'])
  })

  it('restores large members, and directories with their times, relative to it as well', async () => {
    const root = tempDir()
    const mtime = new Date('2011-12-13T14:15:16.789Z')
    mkdirSync(join(root, 'tree/empty/inner'), { recursive: true, mode: 0o700 })
    utimesSync(join(root, 'tree/empty/inner'), mtime, mtime)
    await using box = await boxWith({})
    await box.write('up/tree/large', noise(2_100_000), { mtime })
    await box.add(join(root, 'tree'), { as: 'up/tree' })
    await box.extractAll(join(root, 'out'), { from: 'up/tree' })
    expect(readFileSync(join(root, 'out/large')).equals(noise(2_100_000))).toBe(true)
    expect(statSync(join(root, 'out/large')).mtime).toEqual(mtime)
    expect(statSync(join(root, 'out/empty/inner')).mtime).toEqual(mtime)
  })

  it.each([
    ['a name beside it', { names: ['docs/c', 'other/d'], from: 'docs' }, 'ERR_COFFER_INVALID_ARG', 'other/d'],
    ['a name that begins like it', { names: ['docs2'], from: 'docs' }, 'ERR_COFFER_INVALID_ARG', 'docs2'],
    ['a directory that is not there', { from: 'missing' }, 'ERR_COFFER_MEMBER_NOT_FOUND', 'missing'],
    ['a file', { from: 'docs2' }, 'ERR_COFFER_INVALID_ARG', 'docs2'],
    ['what is no name', { from: '../x' }, 'ERR_COFFER_INVALID_ARG', '../x'],
  ])(
    'refuses %s, and extracts nothing',
    async (_, { names, ...options }: { names?: string[]; from: string }, code, member) => {
      const target = tempDir()
      await using box = await boxWith({ 'docs/c': '2', docs2: '3', 'other/d': '4' })
      const extracting = names === undefined ? box.extractAll(target, options) : box.extract(names, target, options)
      await expect(extracting).rejects.toMatchObject({ code, member })
      expect(readdirSync(target)).toEqual([])
    },
  )

  it('goes with replace: false', async () => {
    const target = tempDir()
    await using box = await boxWith({ 'docs/c': '2' })
    writeFileSync(join(target, 'c'), 'mine')
    await expect(box.extract('docs', target, { from: 'docs', replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_EXISTS',
      path: join(target, 'c'),
      member: 'docs/c',
    })
    expect(readFileSync(join(target, 'c'), 'utf8')).toBe('mine')
  })
})

describe('extraction stays inside its target', () => {
  it('and never writes over the coffer itself, by its name or by another', async () => {
    const root = tempDir()
    const box = await boxWith({ 'box.coffer': 'no coffer', a: '1' }, join(root, 'box.coffer'))
    await box.flush()
    await expect(box.extractAll(root)).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS', member: 'box.coffer' })
    await expect(box.extractAll(root, { replace: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      member: 'box.coffer',
    })
    expect(await box.readText('a')).toBe('1')
    await box.close()
    await using again = await CofferNull.open(join(root, 'box.coffer'), 'r')
    expect(await again.readText('box.coffer')).toBe('no coffer')
  })

  const outsideTheTarget = ['ERR_COFFER_UNSAFE_PATH']

  it('because names that would leave it cannot be written', async () => {
    await using box = await boxWith({})
    for (const name of ['..', '../a', 'a/../../b', 'a/..', './a', 'a/./b', '//etc/passwd', 'a//b']) {
      await expect(box.write(name, 'x'), name).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
    await box.write('/absolute/name', 'x')
    expect((await box.members()).map((member) => member.name)).toEqual(['absolute/name'])
  })

  it('where a directory of the target is a link to elsewhere', async () => {
    const root = tempDir()
    const [target, outside] = [join(root, 'target'), join(root, 'outside')]
    mkdirSync(target)
    mkdirSync(outside)
    symlinkSync(outside, join(target, 'dir'))
    await using box = await boxWith({ 'dir/file': 'evil' })
    const error = await box.extractAll(target).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CofferError)
    expect(outsideTheTarget).toContain((error as CofferError).code)
    expect(error).toMatchObject({ member: expect.stringMatching(/^dir(\/file)?$/) as string })
    expect(readdirSync(outside)).toEqual([])
  })

  it('where a directory of the target is a link upwards, written relative', async () => {
    const root = tempDir()
    const target = join(root, 'target')
    mkdirSync(target)
    symlinkSync('..', join(target, 'up'))
    await using box = await boxWith({ 'up/file': 'evil' })
    await expect(box.extractAll(target)).rejects.toBeInstanceOf(CofferError)
    expect(readdirSync(root)).toEqual(['target'])
  })

  it.each(['existing', 'dangling'])('where a file of the target is an %s link to elsewhere', async (what) => {
    const root = tempDir()
    const [target, outside] = [join(root, 'target'), join(root, 'outside')]
    mkdirSync(target)
    if (what === 'existing') writeFileSync(outside, 'precious')
    symlinkSync(outside, join(target, 'file'))
    await using box = await boxWith({ file: 'evil' })
    await box.extractAll(target).catch((error: unknown) => expect(error).toBeInstanceOf(CofferError))
    if (what === 'existing') expect(readFileSync(outside, 'utf8')).toBe('precious')
    else expect(existsSync(outside)).toBe(false)
  })

  it('where a file is in the way of a directory', async () => {
    const target = tempDir()
    writeFileSync(join(target, 'dir'), 'a file')
    await using box = await boxWith({ 'dir/file': 'x' })
    const error = await box.extractAll(target).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CofferError)
    expect(error).toMatchObject({ member: expect.stringMatching(/^dir(\/file)?$/) as string })
    expect(readFileSync(join(target, 'dir'), 'utf8')).toBe('a file')
  })

  it('where a directory is in the way of a file', async () => {
    const target = tempDir()
    mkdirSync(join(target, 'file/inner'), { recursive: true })
    await using box = await boxWith({ file: 'x' })
    await expect(box.extractAll(target)).rejects.toBeInstanceOf(CofferError)
    expect(statSync(join(target, 'file/inner')).isDirectory()).toBe(true)
  })

  it('where the target itself is a file', async () => {
    const target = join(tempDir(), 'file')
    writeFileSync(target, 'precious')
    await using box = await boxWith({ a: 'x' })
    await expect(box.extractAll(target)).rejects.toMatchObject({
      code: 'ERR_COFFER_IO',
      errno: expect.any(Number) as number,
    })
    expect(readFileSync(target, 'utf8')).toBe('precious')
  })

  it('while a directory is swapped for a link again and again', { timeout: 30_000 }, async () => {
    const root = tempDir()
    const [target, outside] = [join(root, 'target'), join(root, 'outside')]
    mkdirSync(outside)
    mkdirSync(join(target, 'dir'), { recursive: true })
    let swaps = 0
    const members = Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`dir/${index}`, `${index}`]))
    await using box = await boxWith(members)
    for (let round = 0; round < 15; round += 1) {
      let extracting = true
      const extraction = box.extractAll(target).then(
        () => {},
        (error: unknown) => expect(error).toBeInstanceOf(CofferError),
      )
      void extraction.finally(() => {
        extracting = false
      })
      // The extraction makes directories of its own in between, so a swap may fail: then it is put right.
      const swap = (): void => {
        if (!existsSync(join(root, 'aside'))) renameSync(join(target, 'dir'), join(root, 'aside'))
        symlinkSync(outside, join(target, 'dir'))
      }
      const back = (): void => {
        rmSync(join(target, 'dir'), { recursive: true, force: true })
        renameSync(join(root, 'aside'), join(target, 'dir'))
      }
      while (extracting) {
        for (const step of [swap, back]) {
          try {
            step()
            swaps += 1
          } catch (error) {
            expect((error as NodeJS.ErrnoException).syscall).toBeDefined()
          }
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      await extraction
      expect(readdirSync(outside)).toEqual([])
    }
    expect(swaps).toBeGreaterThan(30)
  })
})
