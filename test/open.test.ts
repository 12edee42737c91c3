import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import * as coffer from './support/coffer.ts'
import { Coffer, CofferNull, CofferStore } from './support/coffer.ts'
import { gathered } from './support/gathered.ts'
import { type AnyOptions, classOf, contents, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
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

  it('"a" tells that it made a coffer, and says nothing of one that was there', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const made = await openKind(kind, path, 'a', keys)
    expect(made.notices).toEqual([{ code: 'created', message: expect.stringContaining(path) as string }])
    await made.close()
    const there = await openKind(kind, path, 'a', keys)
    expect(there.notices).toEqual([])
    await there.close()
  })

  it('"r+" changes a coffer that is there, and makes none', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await expect(openKind(kind, path, 'r+', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_NOT_FOUND', path })
    expect(existsSync(path)).toBe(false)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('a', 'one')
    const { head } = box
    await box.close()

    const changing = await openKind(kind, path, 'r+', keys, { expect: head })
    expect(changing).toMatchObject({ mode: 'r+', readable: true, writable: true, notices: [] })
    await changing.append('a', ' two')
    await changing.delete('a')
    await changing.write('b', 'three')
    await changing.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect([...(await contents(again)).keys()]).toEqual(['b'])
  })
})

describe('the options of each mode', () => {
  const kind = kindOf('store')
  const keys = keysFor(kind)
  const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
  const writing = {
    autoFlush: true,
    scrubDelay: 500,
    autoCompact: false,
    backup: '.old',
    level: 5,
    durability: 'none',
  } as const
  const making = { chunkSize: 4_096, blockSize: 65_536 } as const
  const values: AnyOptions = { ...writing, ...making, kdf, replace: true }
  const modes = { r: [], 'r+': ['w'], a: ['w', 'n'], w: ['w', 'n', 'r'], x: ['w', 'n'] } as const
  const needs = {
    autoFlush: ['w', /autoFlush is for a handle that writes, and the mode is 'r'/],
    scrubDelay: ['w', /scrubDelay is for a handle that writes/],
    autoCompact: ['w', /autoCompact is for a handle that writes/],
    backup: ['w', /backup is for a handle that writes/],
    level: ['w', /level is for a handle that writes/],
    durability: ['w', /durability is for a handle that writes/],
    kdf: ['n', /kdf is for a coffer that is made: with 'a', 'w' or 'x'/],
    chunkSize: ['n', /chunkSize is for a coffer that is made/],
    blockSize: ['n', /blockSize is for a coffer that is made/],
    replace: ['r', /replace is for the mode 'w'/],
  } as const
  const cases = (['r', 'r+', 'a', 'w', 'x'] as const).flatMap((mode) =>
    (Object.keys(needs) as (keyof typeof needs)[]).map((option) => ({ mode, option })),
  )

  it.each(cases)('$mode with $option', async ({ mode, option }) => {
    const path = join(tempDir(), 'box.coffer')
    const secret: AnyOptions = option === 'kdf' ? { passphrase: 'anvil mosaic turnip lantern' } : keys
    const made = {
      ...secret,
      ...(option === 'chunkSize' || option === 'blockSize' || option === 'kdf' ? { [option]: values[option] } : {}),
    }
    if (mode !== 'x') await (await openKind(kind, path, 'x', {}, made)).close()
    const [need, message] = needs[option]
    const opening = openKind(kind, path, mode, {}, { ...secret, [option]: values[option] })
    if ((modes[mode] as readonly string[]).includes(need)) {
      await (await opening).close()
    } else {
      await expect(opening).rejects.toMatchObject({ ...invalid, message: expect.stringMatching(message) })
      if (mode === 'x') expect(existsSync(path)).toBe(false)
    }
    // What is undefined is not given, in every mode.
    if (mode === 'x' && existsSync(path)) return
    await (await openKind(kind, path, mode, {}, { ...secret, [option]: undefined })).close()
  })

  it('of a new coffer that differ from those of the one that "a" finds are refused, and equal ones are taken', async () => {
    const path = join(tempDir(), 'box.coffer')
    const passphrase = 'anvil mosaic turnip lantern'
    const options = { passphrase, kdf, chunkSize: 4_096, blockSize: 65_536 }
    const box = await CofferStore.open(path, 'a', options)
    await box.write('a', 'x')
    await box.close()
    const before = readFileSync(path)
    await (await CofferStore.open(path, 'a', options)).close()
    await (await CofferStore.open(path, 'a', { passphrase })).close()
    for (const [differing, said] of [
      [{ chunkSize: 8_192 }, /4096.*8192|8192.*4096/],
      [{ blockSize: 131_072 }, /65536.*131072|131072.*65536/],
      [{ kdf: { ...kdf, passes: 3 } }, /passes/],
      [{ kdf: { ...kdf, memory: 20 * 1024 * 1024 } }, /MiB|memory|KiB/],
    ] as const) {
      await expect(CofferStore.open(path, 'a', { passphrase, ...differing })).rejects.toMatchObject({
        ...invalid,
        path,
        message: expect.stringMatching(said),
      })
    }
    expect(readFileSync(path).equals(before)).toBe(true)
  })
})

describe('opening', () => {
  const path = (): string => join(tempDir(), 'box.coffer')

  it.each(['rb', 'r+b', 'rb+', 'wb', 'ab', 'xb'] as const)(
    'takes "%s" as PyCoffer does, and calls it by its name without the b',
    async (mode) => {
      const file = path()
      if (mode !== 'xb') await (await CofferNull.open(file, 'x')).close()
      await using box = await CofferNull.open(file, mode)
      expect(box.mode).toBe(mode.replace('b', ''))
    },
  )

  it.each(['', 'b', 'rw', 'r++', 'a+', 'w+', 'rt', 'br', 'R', 'rbb', ' r', undefined, null, 1])(
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
    const { mtime } = box
    // It is what the handle knows, not what the disk says now, and it is known after the end, too.
    utimesSync(path, 1, 1)
    expect(box.mtime).toEqual(mtime)
    await box.close()
    const last = statSync(path).mtime
    rmSync(path)
    expect(box.mtime).toEqual(last)
  })

  it('head is the same for everybody who sees the same commit, and grows by one with each', async () => {
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
