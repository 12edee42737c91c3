import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import * as coffer from './support/coffer.ts'
import { Coffer, CofferNull } from './support/coffer.ts'
import { gathered } from './support/gathered.ts'
import { classOf, contents, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'

const invalid = { name: 'CofferError', code: 'ERR_COFFER_INVALID_ARG' }

describe.each(kinds)('opening a $label coffer', (kind) => {
  it('in each mode does what the mode says', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_NOT_FOUND', path })
    expect(existsSync(path)).toBe(false)

    const made = await openKind(kind, path, 'x', keys)
    await made.write('a', 'made by x')
    await made.close()
    await expect(openKind(kind, path, 'x', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS', path })

    const appended = await openKind(kind, path, 'a', keys)
    expect(await appended.readText('a')).toBe('made by x')
    await appended.write('b', 'added by a')
    await appended.close()

    const read = await openKind(kind, path, 'r', keys)
    expect((await read.members()).map((member) => member.name)).toEqual(['a', 'b'])
    await read.close()

    const anew = await openKind(kind, path, 'w', keys)
    expect(await anew.members()).toEqual([])
    await anew.write('c', 'anew')
    await anew.close()
    await using last = await openKind(kind, path, 'r', keys)
    expect((await contents(last)).size).toBe(1)
    await expect(last.verify()).resolves.toEqual({ members: 1, blocks: expect.any(Number) as number, bytes: 4 })
  })

  it('"a" makes a coffer that is not there, and closing it without a change leaves an empty one', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'a', keys)).close()
    await using box = await openKind(kind, path, 'r', keys)
    expect(await box.members()).toEqual([])
  })
})

describe('opening', () => {
  const path = (): string => join(tempDir(), 'box.coffer')

  it.each(['rb', 'wb', 'ab', 'xb'] as const)(
    'takes "%s" as PyCoffer does, and calls it by its letter',
    async (mode) => {
      const file = path()
      if (mode !== 'xb') await (await CofferNull.open(file, 'x')).close()
      await using box = await CofferNull.open(file, mode)
      expect(box.mode).toBe(mode[0])
    },
  )

  it.each(['', 'b', 'rw', 'r+', 'rt', 'br', 'R', 'rbb', ' r', undefined, null, 1])(
    'refuses the mode %j',
    async (mode) => {
      await expect(CofferNull.open(path(), mode as 'r')).rejects.toMatchObject(invalid)
    },
  )

  it('takes a path, absolute or relative, or a file URL', async () => {
    const file = path()
    await (await CofferNull.open(pathToFileURL(file), 'x')).close()
    await using box = await CofferNull.open(relative(process.cwd(), file), 'r')
    expect(box.path).toBe(file)
  })

  it.each([undefined, null, '', 7, {}, new URL('http://example.com/a')])('refuses the path %s', async (file) => {
    await expect(CofferNull.open(file as string, 'r')).rejects.toMatchObject(invalid)
  })

  it('leaves what it found when it fails', async () => {
    const directory = tempDir()
    const file = join(directory, 'not a coffer')
    writeFileSync(file, 'some text that is no coffer at all')
    await expect(CofferNull.open(file, 'a')).rejects.toMatchObject({ code: /LEGACY|CORRUPT/ })
    await expect(CofferNull.open(file, 'r')).rejects.toMatchObject({ code: /LEGACY|CORRUPT/ })
    expect(readFileSync(file, 'utf8')).toBe('some text that is no coffer at all')
  })

  it('"w" keeps the old coffer until the new one is flushed', async () => {
    const file = path()
    const box = await CofferNull.open(file, 'x')
    await box.write('old', 'old')
    await box.close()
    const anew = await CofferNull.open(file, 'w', { lock: 'w' })
    await anew.write('new', noise(10_000))
    const seen = await CofferNull.open(file, 'r', { lock: 'w' })
    const names = (await seen.members()).map((member) => member.name)
    expect(names.length === 0 || names[0] === 'old' || names[0] === 'new').toBe(true)
    await seen.close()
    await anew.close()
    await using last = await CofferNull.open(file, 'r')
    expect((await last.members()).map((member) => member.name)).toEqual(['new'])
  })

  it('leaves no temporary file beside the coffer', async () => {
    const directory = tempDir()
    const box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
    await box.write('a', noise(3_000_000))
    await box.compact()
    await box.close()
    expect(readdirSync(directory).sort()).toEqual(['box.coffer', 'box.coffer.lock'])
  })

  it('follows a link to the coffer, also when it is rewritten', async () => {
    const directory = tempDir()
    const file = join(directory, 'real/box.coffer')
    mkdirSync(join(directory, 'real'))
    await (await CofferNull.open(file, 'x')).close()
    const link = join(directory, 'link.coffer')
    symlinkSync('real/box.coffer', link)
    const box = await CofferNull.open(link, 'a')
    await box.write('a', 'through the link')
    await box.compact()
    await box.close()
    await using again = await CofferNull.open(file, 'r')
    expect(await again.readText('a')).toBe('through the link')
  })

  it('gives an instance of its own class and of Coffer', async () => {
    for (const kind of kinds) {
      await using box = await openKind(kind, path(), 'x', keysFor(kind))
      expect(box).toBeInstanceOf(coffer[kind.className])
      expect(box).toBeInstanceOf(Coffer)
    }
  })

  it.skipIf(!posix)('makes a file that nobody else may read where the mask allows it', async () => {
    const file = path()
    await (await CofferNull.open(file, 'x')).close()
    expect(statSync(file).mode & 0o022).toBe(0)
  })

  it('can be stopped while it waits for a lock', async () => {
    const file = path()
    await using holder = await CofferNull.open(file, 'x')
    const controller = new AbortController()
    const reason = new Error('no patience')
    const waiting = CofferNull.open(file, 'a', { lockTimeout: 60_000, signal: controller.signal })
    setTimeout(() => controller.abort(reason), 30)
    await expect(waiting).rejects.toBe(reason)
    await expect(CofferNull.open(file, 'a', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(holder.closed).toBe(false)
  })
})

describe('the properties of a coffer', () => {
  it('say where it is, how it was opened, and what can be done with it', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    expect(box).toMatchObject({
      path,
      mode: 'x',
      closed: false,
      readable: true,
      writable: true,
      modified: false,
      notices: [],
    })
    await box.write('a', 'x')
    expect(box.modified).toBe(true)
    await box.flush()
    expect(box.modified).toBe(false)
    await box.append('a', 'x')
    expect(box.modified).toBe(true)
    await box.close()
    expect(box).toMatchObject({ path, mode: 'x', closed: true, readable: false, writable: false })
    await using reader = await CofferNull.open(path, 'r')
    expect(reader).toMatchObject({ mode: 'r', readable: true, writable: false, modified: false })
  })

  it('mtime is when the file was changed last', async () => {
    const path = join(tempDir(), 'box.coffer')
    await using box = await CofferNull.open(path, 'x')
    await box.write('a', 'x')
    await box.flush()
    expect(box.mtime).toEqual(statSync(path).mtime)
  })

  it('commit is the same for everybody who sees the same commit, and grows by one with each', async () => {
    const path = join(tempDir(), 'box.coffer')
    await using box = await CofferNull.open(path, 'x', { lock: 'w' })
    await box.write('a', 'x')
    await box.flush()
    const first = box.head
    expect(first.digest).toMatch(/^[0-9a-f]{64}$/)
    await using reader = await CofferNull.open(path, 'r', { lock: 'w' })
    expect(reader.head).toEqual(first)
    await box.write('b', 'x')
    await box.flush()
    expect(box.head.generation).toBe(first.generation + 1)
    expect(box.head.digest).not.toBe(first.digest)
    await box.compact()
    expect(box.head.generation).toBeGreaterThan(first.generation + 1)
  })

  it('are what inspect shows, and nothing else is', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kindOf('bank'))
    await using box = await classOf('CofferBank').open(path, 'x', keys)
    expect(inspect(box)).toContain(inspect(path))
    expect(inspect(box)).toContain('CofferBank')
  })
})

describe('closing', () => {
  it('flushes, may be done twice, and at once', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'x')
    await Promise.all([box.close(), box.close()])
    await box.close()
    await using again = await CofferNull.open(path, 'r')
    expect(await again.readText('a')).toBe('x')
  })

  it('waits for the calls under way', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    const writes = Array.from({ length: 20 }, async (_, index) => box.write(`m${index}`, noise(200_000, index)))
    const read = box.write('last', 'x').then(async () => 'written')
    await box.close()
    await Promise.all(writes)
    expect(await read).toBe('written')
    await using again = await CofferNull.open(path, 'r')
    expect(await again.members()).toHaveLength(21)
  })

  it('is done by "await using", also when the block throws', async () => {
    const path = join(tempDir(), 'box.coffer')
    let kept: Coffer | undefined
    const block = async (): Promise<void> => {
      await using box = await CofferNull.open(path, 'x')
      kept = box
      await box.write('a', 'x')
      throw new Error('out')
    }
    await expect(block()).rejects.toThrow('out')
    expect(kept?.closed).toBe(true)
    await using again = await CofferNull.open(path, 'r')
    expect(await again.has('a')).toBe(true)
  })

  it('makes every later call an error', async () => {
    const directory = tempDir()
    const box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
    await box.write('a', 'x')
    await box.close()
    const closed = { code: 'ERR_COFFER_CLOSED', path: box.path }
    await expect(box.write('a', 'x')).rejects.toMatchObject(closed)
    await expect(box.append('a', 'x')).rejects.toMatchObject(closed)
    await expect(box.writeLines('a', ['x'])).rejects.toMatchObject(closed)
    await expect(box.add(directory)).rejects.toMatchObject(closed)
    await expect(box.delete('a')).rejects.toMatchObject(closed)
    await expect(box.read('a')).rejects.toMatchObject(closed)
    await expect(box.readText('a')).rejects.toMatchObject(closed)
    await expect(gathered(box.readLines('a'))).rejects.toMatchObject(closed)
    await expect(box.readLines('a').next()).rejects.toMatchObject(closed)
    await expect(box.members()).rejects.toMatchObject(closed)
    await expect(box.has('a')).rejects.toMatchObject(closed)
    await expect(box.stat('a')).rejects.toMatchObject(closed)
    await expect(box.extract('a', directory)).rejects.toMatchObject(closed)
    await expect(box.extractAll(directory)).rejects.toMatchObject(closed)
    await expect(box.batch(async () => {})).rejects.toMatchObject(closed)
    await expect(box.flush()).rejects.toMatchObject(closed)
    await expect(box.verify()).rejects.toMatchObject(closed)
    await expect(box.compact()).rejects.toMatchObject(closed)
  })
})
