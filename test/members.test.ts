import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Coffer, CofferNull, type MemberQuery } from './support/coffer.ts'
import { gathered } from './support/gathered.ts'
import { keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { awkwardNames, sizes } from './support/sample.ts'
import { tempDir } from './support/temp.ts'

const open = async (): Promise<Coffer> => CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
const invalid = { name: 'CofferError', code: 'ERR_COFFER_INVALID_ARG' }
const taken = { name: 'CofferError', code: 'ERR_COFFER_MEMBER_EXISTS' }
const missing = (member: string): object => ({ name: 'CofferError', code: 'ERR_COFFER_MEMBER_NOT_FOUND', member })

describe.each(kinds)('members of a $label', (kind) => {
  it('are what was written, unflushed, flushed and reopened', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    const check = async (from: Coffer): Promise<void> => {
      for (const size of sizes) {
        expect((await from.read(`noise ${size}`)).equals(noise(size, size))).toBe(true)
        expect(await from.stat(`noise ${size}`)).toMatchObject({ type: 'file', size })
      }
    }
    for (const size of sizes) await box.write(`noise ${size}`, noise(size, size))
    await check(box)
    await box.flush()
    await check(box)
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    await check(again)
  })

  it('keep their time in nanoseconds and their mode', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const times = [0n, 1n, 1_234_567_890_123_456_789n, -1n, -86_400_000_000_001n, 4_102_444_800_999_999_999n]
    for (const mtime of times) await box.write(`at ${mtime}`, 'x', { mtime })
    await box.write('dated', noise(2_000_000), { mtime: new Date('1999-12-31T23:59:59.999Z'), mode: 0o600 })
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    for (const mtime of times) expect((await again.stat(`at ${mtime}`, { bigint: true })).mtimeNs).toBe(mtime)
    expect(await again.stat('dated')).toMatchObject({ mtime: new Date('1999-12-31T23:59:59.999Z'), mode: 0o600 })
  })

  it('have any name that is a name', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    const names = [...awkwardNames, `${'long/'.repeat(709)}${'x'.repeat(255)}`]
    expect(Buffer.byteLength(names.at(-1) ?? '')).toBe(3_800)
    for (const name of names) await box.write(name, `contents of ${name}`)
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect((await again.members()).map((member) => member.name).sort()).toEqual([...names].sort())
    for (const name of names) expect(await again.readText(name)).toBe(`contents of ${name}`)
  })
})

describe('write', () => {
  it('takes text as UTF-8, and any array of bytes', async () => {
    await using box = await open()
    await box.write('text', 'grüße 🗝️')
    await box.write('array', new Uint8Array([1, 2, 3]))
    await box.write('view', new Uint8Array(new Uint8Array([0, 1, 2, 3, 4]).buffer, 1, 3))
    await box.write('buffer', Buffer.from('hex'))
    await box.write('shared', new Uint8Array(new SharedArrayBuffer(3)).fill(7))
    expect(await box.read('text')).toEqual(Buffer.from('grüße 🗝️'))
    expect([...(await box.read('array'))]).toEqual([1, 2, 3])
    expect([...(await box.read('view'))]).toEqual([1, 2, 3])
    expect(await box.readText('buffer')).toBe('hex')
    expect([...(await box.read('shared'))]).toEqual([7, 7, 7])
  })

  it('keeps what a small array held when it was called', async () => {
    await using box = await open()
    const data = Buffer.from('before')
    const writing = box.write('a', data)
    data.fill(0)
    await writing
    expect(await box.readText('a')).toBe('before')
  })

  it('replaces what was there, its time as well', async () => {
    await using box = await open()
    await box.write('a', 'first', { mode: 0o600, mtime: 1n })
    await box.write('a', 'second')
    expect(await box.readText('a')).toBe('second')
    const { mtime } = await box.stat('a')
    expect(Math.abs(Date.now() - mtime.valueOf())).toBeLessThan(60_000)
  })

  it('gives new members the mode 0644 and the present time', async () => {
    await using box = await open()
    await box.write('a', 'x')
    const { mode, mtime } = await box.stat('a')
    expect(mode).toBe(0o644)
    expect(Math.abs(Date.now() - mtime.valueOf())).toBeLessThan(60_000)
  })

  it('drops a leading slash, as PyCoffer does', async () => {
    await using box = await open()
    await box.write('/etc/hosts', 'x')
    expect(await box.readText('etc/hosts')).toBe('x')
    expect(await box.readText('/etc/hosts')).toBe('x')
  })

  it.each([
    '',
    '/',
    '.',
    '..',
    'a/..',
    'a/./b',
    'a//b',
    'a/',
    'nul\0',
    `${'x'.repeat(256)}`,
    `${'é'.repeat(128)}`,
    `${'a/'.repeat(1_900)}b`,
    '\ud800',
  ])('refuses the name %j', async (name) => {
    await using box = await open()
    await expect(box.write(name, 'x')).rejects.toMatchObject(invalid)
    expect(await box.members()).toEqual([])
  })

  it('refuses a name that would need a file to be a directory, or a directory to be a file', async () => {
    await using box = await open()
    await box.write('a', 'x')
    await box.write('d/e', 'x')
    await expect(box.write('a/b', 'x')).rejects.toMatchObject({ ...taken, member: 'a/b' })
    await expect(box.write('a/b/c', 'x')).rejects.toMatchObject(taken)
    const directory = { ...taken, code: 'ERR_COFFER_IS_DIRECTORY', member: 'd' }
    await expect(box.write('d', 'x')).rejects.toMatchObject(directory)
    await expect(box.append('d', 'x')).rejects.toMatchObject(directory)
    await box.delete('a')
    await box.write('a/b', 'x')
    expect((await box.members()).map((member) => member.name)).toEqual(['a/b', 'd/e'])
  })

  it.each([undefined, null, 7, {}, [1], new ArrayBuffer(3), new Float64Array(2)])(
    'refuses %j as contents',
    async (data) => {
      await using box = await open()
      await expect(box.write('a', data as string)).rejects.toMatchObject(invalid)
    },
  )

  it.each([
    ['a negative mode', { mode: -1 }],
    ['more than permissions', { mode: 0o100_000 }],
    ['half a mode', { mode: 1.5 }],
    ['a time as a number', { mtime: 12 }],
    ['no date', { mtime: new Date('nonsense') }],
    ['a misspelt name', { mtim: 1n }],
  ])('refuses options with %s', async (_, options) => {
    await using box = await open()
    await expect(box.write('a', 'x', options as object)).rejects.toMatchObject(invalid)
  })
})

describe('append', () => {
  it.each(kinds)('adds to the end of small, large, empty and new members of a $label', async (kind) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const expected = new Map<string, Buffer>()
    const append = async (name: string, data: Buffer): Promise<void> => {
      expected.set(name, Buffer.concat([expected.get(name) ?? Buffer.alloc(0), data]))
      await box.append(name, data)
      expect((await box.read(name)).equals(expected.get(name) ?? Buffer.alloc(0))).toBe(true)
    }
    await append('new', Buffer.from('first'))
    await append('new', Buffer.from(' second'))
    await append('empty', Buffer.alloc(0))
    await append('empty', Buffer.from('x'))
    await append('growing', noise(200_000, 1))
    await append('growing', noise(200_000, 2))
    await append('growing', noise(1_500_000, 3))
    await append('growing', noise(10, 4))
    await append('growing', noise(1_048_576, 5))
    await append('growing', Buffer.alloc(0))
    for (let index = 0; index < 20; index += 1) await append('growing', noise(7, index))
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    for (const [name, data] of expected) expect((await again.read(name)).equals(data), name).toBe(true)
    await expect(again.verify()).resolves.toBeDefined()
  })

  it('keeps the mode', async () => {
    await using box = await open()
    await box.write('a', 'x', { mode: 0o600 })
    await box.append('a', 'y')
    expect((await box.stat('a')).mode).toBe(0o600)
  })
})

describe('read', () => {
  it('gives a Buffer of its own each time', async () => {
    await using box = await open()
    await box.write('a', 'text')
    const first = await box.read('a')
    expect(Buffer.isBuffer(first)).toBe(true)
    first.fill(0)
    expect(await box.readText('a')).toBe('text')
  })

  it('names the member that is missing', async () => {
    await using box = await open()
    await box.write('dir/a', 'x')
    await expect(box.read('b')).rejects.toMatchObject({ ...missing('b'), path: box.path })
    await expect(box.readText('dir')).rejects.toMatchObject({ name: 'CofferError' })
    await expect(gathered(box.readLines('b'))).rejects.toMatchObject(missing('b'))
    await expect(box.readLines('b').next()).rejects.toMatchObject(missing('b'))
  })

  it('decodes text', async () => {
    await using box = await open()
    await box.write('a', new Uint8Array([0xe9, 0x21]))
    expect(await box.readText('a', { encoding: 'latin1' })).toBe('é!')
    expect(await box.readText('a', { encoding: 'hex' })).toBe('e921')
    await expect(box.readText('a', { encoding: 'klingon' as 'hex' })).rejects.toMatchObject(invalid)
  })
})

describe('lines', () => {
  const texts: readonly (readonly [string, string[]])[] = [
    ['', []],
    ['\n', ['']],
    ['one', ['one']],
    ['one\n', ['one']],
    ['one\ntwo', ['one', 'two']],
    ['one\r\ntwo\r\n', ['one', 'two']],
    ['\n\nthree\n\n', ['', '', 'three', '']],
    ['  kept as they are \t\n', ['  kept as they are \t']],
    ['a\rb\n', ['a\rb']],
    ['ünï\nçødé', ['ünï', 'çødé']],
  ]

  it.each(texts)('of %j are %j', async (text, expected) => {
    await using box = await open()
    await box.write('text', text)
    expect(await gathered(box.readLines('text'))).toEqual(expected)
    const found: string[] = []
    for await (const line of box.readLines('text')) found.push(line)
    expect(found).toEqual(expected)
  })

  it('are written with a newline after each, from any iterable', async () => {
    await using box = await open()
    await box.writeLines('array', ['a', '', 'b'])
    await box.writeLines('set', new Set(['x', 'y']))
    await box.writeLines('none', [])
    expect(await box.readText('array')).toBe('a\n\nb\n')
    expect(await gathered(box.readLines('set'))).toEqual(['x', 'y'])
    expect(await gathered(box.readLines('none'))).toEqual([])
    await expect(box.writeLines('text', 'text' as unknown as string[])).rejects.toMatchObject(invalid)
  })

  it.each(kinds)('of a large member of a $label are the same read at once and piece by piece', async (kind) => {
    await using box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind))
    // Characters of several bytes fall across the edges of pieces.
    const expected = lines(60_000, 'zeile mit ümläuten 語')
    await box.writeLines('text', expected)
    const found: string[] = []
    for await (const line of box.readLines('text')) found.push(line)
    expect(found).toEqual(expected)
    expect(await gathered(box.readLines('text'))).toEqual(expected)
  })

  it('can be left early', async () => {
    await using box = await open()
    await box.writeLines('text', lines(100_000))
    for await (const line of box.readLines('text')) {
      expect(line).toContain('line 0')
      break
    }
  })
})

describe('delete', () => {
  it.each(kinds)('removes a member of a $label, and it stays removed', async (kind) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    for (let index = 0; index < 10; index += 1) await box.write(`m${index}`, noise(1_000, index))
    await box.write('large', noise(2_500_000))
    await box.delete('m3')
    await box.delete('large')
    await expect(box.read('m3')).rejects.toMatchObject(missing('m3'))
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect(await again.has('large')).toBe(false)
    expect(await again.members()).toHaveLength(9)
    for (const index of [2, 4]) expect((await again.read(`m${index}`)).equals(noise(1_000, index))).toBe(true)
  })

  it('takes a directory only with recursive, and then all that is below it and nothing beside it', async () => {
    await using box = await open()
    for (const name of ['dir/a', 'dir/b/c', 'dir', 'dirt', 'dir.txt']) {
      await box.write(name === 'dir' ? 'other/dir' : name, 'x')
    }
    await expect(box.delete('dir')).rejects.toMatchObject({ name: 'CofferError', member: 'dir' })
    expect(await box.members({ prefix: 'dir/' })).toHaveLength(2)
    await box.delete('dir', { recursive: true })
    expect((await box.members()).map((member) => member.name)).toEqual(['dir.txt', 'dirt', 'other/dir'])
    expect(await box.has('dir')).toBe(false)
    await box.delete('dirt', { recursive: true })
    expect(await box.has('dirt')).toBe(false)
  })

  it('names what is missing', async () => {
    await using box = await open()
    await expect(box.delete('a')).rejects.toMatchObject({ ...missing('a'), path: box.path })
    await expect(box.delete('a', { recursive: true })).rejects.toMatchObject(missing('a'))
  })
})

describe('stat', () => {
  it('of a name that does not exist is an error, or undefined on request', async () => {
    await using box = await open()
    await box.write('dir/a', 'x')
    await expect(box.stat('b')).rejects.toMatchObject({ ...missing('b'), path: box.path })
    await expect(box.stat('b', { throwIfNoEntry: true })).rejects.toMatchObject(missing('b'))
    expect(await box.stat('b', { throwIfNoEntry: false })).toBeUndefined()
    expect(await box.stat('b', { throwIfNoEntry: false, bigint: true })).toBeUndefined()
    expect(await box.stat('dir', { throwIfNoEntry: false })).toMatchObject({ name: 'dir', type: 'directory' })
    expect(await box.stat('dir/a', { throwIfNoEntry: false })).toMatchObject({ size: 1 })
    await box.batch(async (batch) => {
      expect(await batch.stat('b', { throwIfNoEntry: false })).toBeUndefined()
      await expect(batch.stat('b')).rejects.toMatchObject(missing('b'))
    })
    await expect(box.stat('../b', { throwIfNoEntry: false })).rejects.toMatchObject(invalid)
  })
})

describe('members', () => {
  it('are sorted by name, all or those with a prefix, and iterate', async () => {
    await using box = await open()
    for (const name of ['b', 'a/2', 'a/1', 'c', 'a-b']) await box.write(name, 'x')
    const names = (await box.members()).map((member) => member.name)
    expect(names).toEqual([...names].sort())
    expect(names).toHaveLength(5)
    expect((await box.members({ prefix: 'a/' })).map((member) => member.name)).toEqual(['a/1', 'a/2'])
    expect((await box.members({ prefix: 'a' })).map((member) => member.name)).toEqual(['a-b', 'a/1', 'a/2'])
    expect(await box.members({ prefix: 'nothing' })).toEqual([])
    const iterated: string[] = []
    for await (const member of box) iterated.push(member.name)
    expect(iterated).toEqual(names)
  })

  it('are selected by a prefix, a glob, a name to begin after, and a number', async () => {
    await using box = await open()
    const all = [
      'a',
      'a-b',
      'a.txt',
      'b/1.txt',
      'b/2.txt',
      'b/3.md',
      'b/c/4.txt',
      'b/c/d/5.txt',
      'x*y',
      '\u{1f600}',
      '\uff5e',
    ]
    for (const name of all) await box.write(name, name)
    const sorted = all.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    const names = async (query: MemberQuery): Promise<string[]> => {
      const listed = (await box.members(query)).map(({ name }) => name)
      // In every form the same.
      expect((await gathered(box.iterate(query))).map(({ name }) => name)).toEqual(listed)
      await box.batch(async (batch) => {
        expect((await batch.members(query)).map(({ name }) => name)).toEqual(listed)
        expect((await gathered(batch.iterate(query))).map(({ name }) => name)).toEqual(listed)
      })
      return listed
    }
    expect(await names({})).toEqual(sorted)
    expect(await names({ prefix: undefined, glob: undefined, after: undefined, limit: undefined })).toEqual(sorted)
    expect(await names({ prefix: '' })).toEqual(sorted)
    expect(await names({ prefix: 'b/' })).toEqual(['b/1.txt', 'b/2.txt', 'b/3.md', 'b/c/4.txt', 'b/c/d/5.txt'])
    expect(await names({ prefix: 'b/c' })).toEqual(['b/c/4.txt', 'b/c/d/5.txt'])
    expect(await names({ glob: 'b/*' })).toEqual(['b/1.txt', 'b/2.txt', 'b/3.md'])
    expect(await names({ glob: '**/*.txt' })).toEqual(['a.txt', 'b/1.txt', 'b/2.txt', 'b/c/4.txt', 'b/c/d/5.txt'])
    expect(await names({ glob: 'b/**' })).toEqual(['b/1.txt', 'b/2.txt', 'b/3.md', 'b/c/4.txt', 'b/c/d/5.txt'])
    expect(await names({ glob: 'b/[12].txt' })).toEqual(['b/1.txt', 'b/2.txt'])
    expect(await names({ glob: 'b/?.md' })).toEqual(['b/3.md'])
    expect(await names({ glob: 'x\\*y' })).toEqual(['x*y'])
    expect(await names({ glob: 'a' })).toEqual(['a'])
    expect(await names({ glob: '?' })).toEqual(['a', '\uff5e', '\u{1f600}'])
    expect(await names({ prefix: 'b/c/', glob: '**/*.txt' })).toEqual(['b/c/4.txt', 'b/c/d/5.txt'])
    expect(await names({ prefix: 'a', glob: 'b/*' })).toEqual([])
    expect(await names({ after: 'b/2.txt' })).toEqual(sorted.slice(sorted.indexOf('b/2.txt') + 1))
    expect(await names({ after: 'b/2.zzz' })).toEqual(sorted.slice(sorted.indexOf('b/2.txt') + 1))
    expect(await names({ after: '\u{1f600}' })).toEqual([])
    expect(await names({ after: '\uff5e' })).toEqual(['\u{1f600}'])
    expect(await names({ limit: 2 })).toEqual(sorted.slice(0, 2))
    expect(await names({ limit: 0 })).toEqual([])
    expect(await names({ limit: 1_000 })).toEqual(sorted)
    expect(await names({ glob: '**/*.txt', after: 'a.txt', limit: 2 })).toEqual(['b/1.txt', 'b/2.txt'])
    // Page by page.
    const paged: string[] = []
    for (;;) {
      const page = await box.members({ limit: 3, ...(paged.length > 0 ? { after: paged.at(-1) } : {}) })
      if (page.length === 0) break
      paged.push(...page.map(({ name }) => name))
    }
    expect(paged).toEqual(sorted)
    for (const query of [{ limit: -1 }, { limit: 1.5 }, { glob: '' }, { after: 5 }, { bigint: 1 }, { sort: 'name' }]) {
      await expect(box.members(query as MemberQuery)).rejects.toMatchObject(invalid)
      expect(() => box.iterate(query as MemberQuery)).toThrow(expect.objectContaining(invalid))
    }
  })

  it('come one after another from a coffer of thousands, each once, whatever happens to others meanwhile', async () => {
    await using box = await open()
    const names = Array.from({ length: 5_000 }, (_, index) => `dir${index % 7}/${String(index).padStart(5, '0')}`)
    await box.batch(async (batch) => {
      for (const name of names) void batch.write(name, name)
    })
    names.sort()
    expect((await gathered(box)).map(({ name }) => name)).toEqual(names)
    expect((await gathered(box.iterate({ bigint: true }))).every(({ mtimeNs }) => typeof mtimeNs === 'bigint')).toBe(
      true,
    )
    // The same all at once, in which there are several pages.
    const listed = await box.members({ bigint: true })
    expect(listed).toEqual(await gathered(box.iterate({ bigint: true })))
    for (const at of [0, 63, 64, 2_047, 2_048, 4_999]) {
      expect(listed[at]).toEqual(await box.stat(names[at] ?? '', { bigint: true }))
    }
    expect((await gathered(box.iterate({ glob: '**/*99' }))).map(({ name }) => name)).toEqual(
      names.filter((name) => name.endsWith('99')),
    )
    expect((await gathered(box.iterate({ after: names[4_000] }))).map(({ name }) => name)).toEqual(names.slice(4_001))
    expect((await gathered(box.iterate({ limit: 3_333 }))).map(({ name }) => name)).toEqual(names.slice(0, 3_333))

    // It is read as it is asked for: what is changed ahead is seen, and leaving early ends it.
    const found: string[] = []
    for await (const { name } of box.iterate()) {
      if (found.length === 0) {
        await box.delete(names[4_000] ?? '')
        await box.write(`${names[4_500]}.new`, 'x')
        await box.delete(names[0] ?? '')
      }
      found.push(name)
    }
    const expected = [...names.filter((_, index) => index !== 4_000), `${names[4_500]}.new`].sort()
    expect(found).toEqual(expected)
    const first: string[] = []
    for await (const { name } of box) {
      first.push(name)
      if (first.length === 3) break
    }
    expect(first).toEqual(names.slice(1, 4))
    const left = box.iterate()
    await left.next()
    await left.return()
    expect(await left.next()).toEqual({ done: true, value: undefined })
  })

  it('stop at a signal, and at the end of the coffer', async () => {
    const box = await open()
    await box.batch(async (batch) => {
      for (let index = 0; index < 500; index += 1) void batch.write(`m${index}`, 'x')
    })
    const reason = new Error('enough')
    await expect(box.members({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await expect(box.iterate({ signal: AbortSignal.abort(reason) }).next()).rejects.toBe(reason)
    const controller = new AbortController()
    const found: string[] = []
    const reading = async (): Promise<void> => {
      for await (const { name } of box.iterate({ signal: controller.signal })) {
        found.push(name)
        controller.abort(reason)
      }
    }
    await expect(reading()).rejects.toBe(reason)
    expect(found).toHaveLength(1)
    const iterating = box.iterate()
    await iterating.next()
    await box.close()
    await expect(gathered(iterating)).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await expect(box.iterate().next()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })

  it('have a size as they are and a size as they are stored', async () => {
    const kind = kindOf('bank')
    await using box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind))
    await box.write('text', 'a'.repeat(1_000_000))
    await box.write('noise', noise(1_000_000))
    const [compressible, incompressible] = [await box.stat('text'), await box.stat('noise')]
    expect(compressible.size).toBe(1_000_000)
    expect(compressible.storedSize).toBeLessThan(10_000)
    expect(incompressible.storedSize).toBeGreaterThanOrEqual(1_000_000)
  })
})

describe('has and stat', () => {
  it('know members, and directories that members imply', async () => {
    await using box = await open()
    await box.write('a/b/c', 'x')
    for (const name of ['a', 'a/b', 'a/b/c']) expect(await box.has(name), name).toBe(true)
    for (const name of ['b', 'a/b/c/d', 'a/bb', 'a/b/'])
      expect(await box.has(name).catch(() => false), name).toBe(false)
    expect((await box.stat('a/b')).type).toBe('directory')
    expect((await box.stat('a/b/c')).type).toBe('file')
    await expect(box.stat('missing')).rejects.toMatchObject({ ...missing('missing'), path: box.path })
    await box.delete('a/b/c')
    expect(await box.has('a')).toBe(false)
  })
})

describe('a coffer opened for reading', () => {
  it('refuses every change', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const made = await CofferNull.open(path, 'x')
    await made.write('a', 'x')
    await made.close()
    await using box = await CofferNull.open(path, 'r')
    const refused = { code: 'ERR_COFFER_READ_ONLY', path }
    await expect(box.write('a', 'y')).rejects.toMatchObject(refused)
    await expect(box.append('a', 'y')).rejects.toMatchObject(refused)
    await expect(box.writeLines('a', ['y'])).rejects.toMatchObject(refused)
    await expect(box.add(directory)).rejects.toMatchObject(refused)
    await expect(box.delete('a')).rejects.toMatchObject(refused)
    await expect(box.compact()).rejects.toMatchObject(refused)
    await expect(box.batch(async () => {})).rejects.toMatchObject(refused)
    expect(await box.readText('a')).toBe('x')
    expect(box.modified).toBe(false)
  })
})

describe('a member as JSON', () => {
  it('as JSON has its time as text, and nanoseconds only where they were asked for', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', 'x', { mtime: 1_700_000_000_123_456_789n })
    const json = JSON.parse(JSON.stringify(await box.members()))
    expect(json).toEqual([
      {
        ...(await box.stat('a')),
        mtime: '2023-11-14T22:13:20.123Z',
      },
    ])
    // It stays a plain object for whatever copies, compares or stores it.
    const [member] = await box.members()
    expect(Object.keys(member ?? {})).toEqual(['name', 'type', 'size', 'storedSize', 'mtime', 'mtimeMs', 'mode'])
    expect(member?.mtimeMs).toBeCloseTo(1_700_000_000_123.456_8, 3)
    const precise = await box.stat('a', { bigint: true })
    expect(precise).toEqual({ ...member, mtimeNs: 1_700_000_000_123_456_789n })
    expect(await box.members({ bigint: true })).toEqual([precise])
    await box.dump('members', await box.members({ bigint: true }))
    expect(await box.load('members')).toMatchObject([{ name: 'a', mtimeNs: 1_700_000_000_123_456_789n }])
    expect(structuredClone(member)).toEqual(member)
    const file = await box.file('b', 'w')
    expect(JSON.parse(JSON.stringify(await file.stat()))).toMatchObject({ name: 'b' })
    file.abort()
    await box.close()
  })

  it.each([
    ['before any Date', -(2n ** 60n) * 1_000_000_000n + 1n],
    ['behind every Date', 2n ** 62n * 1_000_000_000n + 7n],
    ['at the end of what there is', (2n ** 63n - 1n) * 1_000_000_000n + 999_999_999n],
    ['beyond exact numbers', (2n ** 53n + 1n) * 1_000_000_000n],
  ])('keeps a time %s exactly, and breaks no listing', async (_, mtime) => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'x', { mtime })
    await box.write('b', ['x'], { mtime })
    await box.close()
    const again = await CofferNull.open(path, 'r')
    for (const member of await again.members({ bigint: true })) {
      expect(member.mtimeNs).toBe(mtime)
      expect(member.mtime.toISOString()).toMatch(/^[+-]27[15]/)
      expect(JSON.parse(JSON.stringify(await again.stat(member.name)))).toMatchObject({ name: member.name, size: 1 })
    }
    await again.close()
  })

  it('refuses a time that the format has no room for', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const mtime of [2n ** 63n * 1_000_000_000n, -(2n ** 64n) * 1_000_000_000n]) {
      await expect(box.write('a', 'x', { mtime })).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
    await box.close()
  })
})
