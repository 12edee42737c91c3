import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { CofferNull, CofferStore, type MemberEntry } from './support/coffer.ts'
import { deferred } from './support/deferred.ts'
import { contents, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const bank = kindOf('bank')
const wrong = (value: unknown): never => value as never

/** Entries that come one after another, each some time after the last. */
async function* later<T>(entries: Iterable<T>): AsyncGenerator<T> {
  for (const entry of entries) {
    await Promise.resolve()
    yield entry
  }
}

async function names(box: { members(): Promise<{ name: string }[]> }): Promise<string[]> {
  return (await box.members()).map(({ name }) => name)
}

describe.each(kinds)('writeMany, $label', (kind) => {
  it('writes 20,000 members of every form in one commit', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: true })
    const { generation } = box.head
    const mtime = new Date('2024-01-02T03:04:05.678Z')
    function* entries(): Generator<MemberEntry> {
      for (let n = 0; n < 20_000; n += 1) {
        const name = `members/${n % 100}/ä ${n}`
        if (n % 3 === 0) yield [name, `text ä ${n}`]
        else if (n % 3 === 1) yield { name, data: noise(n % 300, n), mode: 0o600 }
        else yield { name, data: Buffer.from(`bytes ${n}`), mtime }
      }
      yield ['large', noise(2_500_000, 'large')]
      yield ['middle', noise(200_000, 'middle')]
      yield ['stream', Readable.from([noise(300_000, 'a'), 'end'])]
      yield ['empty', '']
    }
    const { files, bytes } = await box.writeMany(entries())
    expect(files).toBe(20_004)
    expect(box.head.generation).toBe(generation + 1)
    expect(box.modified).toBe(false)
    await box.close()
    await using again = await openKind(kind, path, 'r', keys)
    const members = await contents(again)
    expect(members.size).toBe(20_004)
    expect([...members.values()].reduce((sum, data) => sum + data.length, 0)).toBe(bytes)
    expect(members.get('members/0/ä 0')?.toString()).toBe('text ä 0')
    for (const n of [1, 301, 19_999]) expect(members.get(`members/${n % 100}/ä ${n}`)).toEqual(noise(n % 300, n))
    expect(members.get('large')?.equals(noise(2_500_000, 'large'))).toBe(true)
    expect(members.get('middle')?.equals(noise(200_000, 'middle'))).toBe(true)
    expect(members.get('stream')?.equals(Buffer.concat([noise(300_000, 'a'), Buffer.from('end')]))).toBe(true)
    expect((await again.stat('members/1/ä 1')).mode).toBe(0o600)
    const stat = await again.stat('members/2/ä 2')
    expect([stat.mode, stat.mtime]).toEqual([0o644, mtime])
    await again.verify()
  })
})

describe('writeMany', () => {
  const open = () => openKind(bank, join(tempDir(), 'box.coffer'), 'x', keysFor(bank), { autoFlush: true })

  it.each([100, 5_000])('undoes everything if the iterable throws after %i entries', async (count) => {
    for (const form of ['at once', 'later']) {
      await using box = await open()
      await box.write('0', 'before')
      const { head } = box
      const mine = new Error('mine')
      let stopped = false
      function* entries(): Generator<MemberEntry> {
        try {
          for (let n = 0; n < count; n += 1) yield [`${n}`, `new ${n}`]
          throw mine
        } finally {
          stopped = true
        }
      }
      await expect(box.writeMany(form === 'later' ? later(entries()) : entries()), form).rejects.toBe(mine)
      expect(stopped).toBe(true)
      expect(await names(box)).toEqual(['0'])
      expect(await box.readText('0')).toBe('before')
      expect(box.head).toEqual(head)
      await box.write('after', 'x')
    }
  })

  it('names the member that is the reason, stops the iterable, and writes none', async () => {
    await using box = await open()
    await box.write('file', 'x')
    const { head } = box
    const cases: [unknown, string | undefined, string, RegExp][] = [
      [['file/below', 'x'], 'file/below', 'ERR_COFFER_MEMBER_EXISTS', /"file" is a file/],
      [['a/../b', 'x'], 'a/../b', 'ERR_COFFER_INVALID_ARG', /not a member name/],
      [['dir', 'x'], 'dir', 'ERR_COFFER_IS_DIRECTORY', /is a directory/],
      [['dir', noise(200_000)], 'dir', 'ERR_COFFER_IS_DIRECTORY', /is a directory/],
      [['a', 5], 'a', 'ERR_COFFER_INVALID_ARG', /the data must be .* not a number/],
      [{ name: 'a', data: 'x', mode: -1 }, 'a', 'ERR_COFFER_INVALID_ARG', /mode must be an integer/],
      [{ name: 'a', data: 'x', mtime: 'now' }, 'a', 'ERR_COFFER_INVALID_ARG', /mtime must be/],
      [
        { name: 'a', data: 'x', secret: 'y' },
        undefined,
        'ERR_COFFER_INVALID_ARG',
        /entry 703 of writeMany has no option/,
      ],
      [{ name: 'a' }, 'a', 'ERR_COFFER_INVALID_ARG', /the data must be .* not undefined/],
      [['a', 'x', {}], undefined, 'ERR_COFFER_INVALID_ARG', /entry 703 of writeMany must be \[name, data\]/],
      [[5, 'x'], undefined, 'ERR_COFFER_INVALID_ARG', /in entry 703 of writeMany, must be a string, not a number/],
      ['text', undefined, 'ERR_COFFER_INVALID_ARG', /entry 703 of writeMany must be .* not a string/],
      [null, undefined, 'ERR_COFFER_INVALID_ARG', /entry 703 of writeMany must be .* not null/],
      [['x'.repeat(5_000), 'x'], 'x'.repeat(100), 'ERR_COFFER_INVALID_ARG', /longer than 3,800 bytes/],
    ]
    for (const [entry, member, code, message] of cases) {
      let taken = 0
      let stopped = false
      function* entries(): Generator<MemberEntry> {
        try {
          yield ['dir/below', 'x']
          for (let n = 0; n < 701; n += 1) yield [`other ${n}`, 'x']
          yield wrong(entry)
          for (; taken < 1e6; taken += 1) yield [`more ${taken}`, 'x']
        } finally {
          stopped = true
        }
      }
      for (const form of [entries, () => later(entries())]) {
        const error = await box.writeMany(form()).catch((reason: unknown) => reason)
        expect(error, String(message)).toMatchObject({ code, message: expect.stringMatching(message) })
        expect((error as { member?: string }).member, String(message)).toBe(member)
        expect(stopped).toBe(true)
        expect(taken).toBeLessThan(20_000)
        expect(await names(box)).toEqual(['file'])
        expect(box.head).toEqual(head)
      }
    }
  })

  it('refuses what is no iterable of entries, and options that it does not have', async () => {
    await using box = await open()
    for (const entries of ['text', 5, null, undefined, {}, () => {}]) {
      await expect(box.writeMany(wrong(entries))).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
        message: expect.stringMatching(/writeMany takes an iterable of entries/),
      })
    }
    await expect(box.writeMany([], wrong({ autoFlush: true }))).rejects.toThrow(/writeMany has no option autoFlush/)
    await expect(box.writeMany([], wrong({ onProgress: 5 }))).rejects.toThrow(/onProgress must be a function/)
    expect(await box.writeMany([])).toEqual({ files: 0, bytes: 0 })
  })

  it('lets the last of several entries of one name win, in one pack and across packs', async () => {
    await using box = await open()
    const many = Array.from({ length: 3_000 }, (_, n): MemberEntry => [`${n % 7}`, `number ${n}`])
    const large: MemberEntry = ['0', noise(200_000)]
    expect((await box.writeMany([...many, large, ['1', 'x'], ['1', 'last'], ['0', 'last']])).files).toBe(3_004)
    expect(await names(box)).toEqual(['0', '1', '2', '3', '4', '5', '6'])
    expect(await box.readText('0')).toBe('last')
    expect(await box.readText('1')).toBe('last')
    expect(await box.readText('2')).toBe('number 2998')
    await box.verify()
  })

  it('takes a Map, and copies each entry before the next is taken', async () => {
    await using box = await open()
    const map = new Map([
      ['a', 'one'],
      ['b', 'two'],
    ])
    await box.writeMany(map)
    expect(await box.readText('b')).toBe('two')
    const shared = Buffer.alloc(8)
    function* reused(): Generator<MemberEntry> {
      for (let n = 0; n < 2_000; n += 1) {
        shared.writeDoubleLE(n)
        yield [`n/${n}`, shared]
      }
    }
    await box.writeMany(reused())
    for (const n of [0, 511, 512, 1_999]) expect((await box.read(`n/${n}`)).readDoubleLE()).toBe(n)
  })

  it('copies the first entries during the call', async () => {
    await using box = await open()
    const data = Buffer.from('before')
    const entries: MemberEntry[] = [['a', data]]
    const writing = box.writeMany(entries)
    data.fill('x')
    entries[0] = ['b', data]
    await writing
    expect(await contents(box)).toEqual(new Map([['a', Buffer.from('before')]]))
  })

  it('reports progress, and is cancelled by what it throws and by a signal, also while the iterable stalls', async () => {
    await using box = await open()
    const seen: { members: number; bytes: number }[] = []
    const entries = Array.from({ length: 5_000 }, (_, n): MemberEntry => [`${n}`, '12345'])
    await box.writeMany(entries, { onProgress: ({ members, bytes }) => seen.push({ members, bytes }) })
    expect(seen.at(-1)).toEqual({ members: 5_000, bytes: 25_000 })
    await box.delete('0')
    const mine = new Error('mine')
    const fails = box.writeMany(entries, {
      onProgress: () => {
        throw mine
      },
    })
    await expect(fails).rejects.toBe(mine)
    expect(await box.has('0')).toBe(false)

    const controller = new AbortController()
    const taken = deferred()
    async function* stalls(): AsyncGenerator<MemberEntry> {
      for (let n = 0; n < 2_000; n += 1) yield [`stalled/${n}`, 'x']
      taken.resolve()
      await new Promise(() => {})
    }
    const stalled = box.writeMany(stalls(), { signal: controller.signal })
    await taken.promise
    controller.abort(mine)
    await expect(stalled).rejects.toBe(mine)
    await expect(box.writeMany([['late', 'x']], { signal: controller.signal })).rejects.toBe(mine)
    expect(await names(box)).not.toContain('stalled/0')
    expect(await box.has('late')).toBe(false)
  })

  it('waits for the engine every few packs, so that the event loop turns', async () => {
    await using box = await open()
    let since = 0
    let most = 0
    const turning = setInterval(() => {
      since = 0
    })
    function* entries(): Generator<MemberEntry> {
      for (let n = 0; n < 20_000; n += 1) {
        since += 1
        most = Math.max(most, since)
        yield [`${n}`, noise(1_000, n)]
      }
    }
    await box.writeMany(entries())
    clearInterval(turning)
    expect(most).toBeLessThan(10_000)
  })

  it('keeps other changes in their order: those before it are made before, those after it wait', async () => {
    await using box = await open()
    const before = box.write('a', 'before')
    const many = box.writeMany(
      Array.from({ length: 2_000 }, (_, n): MemberEntry => [n === 1_999 ? 'a' : `${n}`, 'many']),
    )
    const after = box.append('a', ' after')
    await Promise.all([before, many, after])
    expect(await box.readText('a')).toBe('many after')
  })

  it('is an error in a batch of its coffer, and so is a change that its iterable waits for', async () => {
    await using box = await open()
    await box.batch(async () => {
      await expect(box.writeMany([['a', 'x']])).rejects.toMatchObject({ code: 'ERR_COFFER_IN_BATCH' })
    })
    async function* waits(): AsyncGenerator<MemberEntry> {
      yield ['a', 'x']
      await box.write('b', 'x')
    }
    await expect(box.writeMany(waits())).rejects.toMatchObject({ code: 'ERR_COFFER_IN_BATCH' })
    expect(await names(box)).toEqual([])
  })

  it('is refused where nothing can be written', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = CofferStore.generateKeys()
    const box = await CofferStore.open(path, 'x', keys)
    await box.close()
    await expect(box.writeMany([['a', 'x']])).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await using reader = await CofferStore.open(path, 'r', keys)
    await expect(reader.writeMany([['a', 'x']])).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
  })
})

describe('writeMany of a batch', () => {
  const open = () => CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { autoFlush: true })

  it('is part of the batch, behind what was called before and before what is called after', async () => {
    await using box = await open()
    const { generation } = box.head
    await box.batch(async (batch) => {
      const calls = [
        batch.write('a', 'one'),
        batch.writeMany([
          ['a', 'two'],
          ['b', 'many'],
        ]),
        batch.append('a', ' three'),
        batch.delete('b'),
      ]
      await Promise.all(calls)
      expect(await batch.readText('a')).toBe('two three')
    })
    expect(box.head.generation).toBe(generation + 1)
    expect(await names(box)).toEqual(['a'])
  })

  it('ends the batch if it fails, also where its function goes on', async () => {
    await using box = await open()
    const mine = new Error('mine')
    function* fails(): Generator<MemberEntry> {
      yield ['a', 'x']
      throw mine
    }
    const batch = box.batch(async (batch) => {
      await batch.write('b', 'x')
      await expect(batch.writeMany(fails())).rejects.toBe(mine)
      await expect(batch.write('c', 'x')).rejects.toMatchObject({ code: 'ERR_COFFER_BATCH_ENDED', cause: mine })
      return 42
    })
    await expect(batch).rejects.toBe(mine)
    expect(await names(box)).toEqual([])
    // Its arguments are refused before anything is taken, so the batch goes on.
    await box.batch(async (batch) => {
      await expect(batch.writeMany(wrong(5))).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
      await batch.write('d', 'x')
    })
    expect(await names(box)).toEqual(['d'])
  })

  it('keeps nothing of a batch whose function does not wait for it', async () => {
    await using box = await open()
    let many: Promise<unknown> | undefined
    const batch = box.batch(async (batch) => {
      many = batch.writeMany(later(Array.from({ length: 3_000 }, (_, n): MemberEntry => [`${n}`, 'x'])))
      many.catch(() => {})
    })
    await expect(batch).rejects.toMatchObject({
      code: 'ERR_COFFER_BATCH_ENDED',
      message: expect.stringMatching(/await writeMany/),
    })
    await expect(many).rejects.toMatchObject({ code: 'ERR_COFFER_BATCH_ENDED' })
    expect(await names(box)).toEqual([])
  })
})

describe('writes of a batch that are called together', () => {
  const open = () => CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { autoFlush: true })

  it('settle one by one, each with its own error', async () => {
    await using box = await open()
    await box.write('file', 'x')
    await box.batch(async (batch) => {
      const results = await Promise.allSettled([
        batch.write('a', '1'),
        batch.write('file/below', '2'),
        batch.write('b', Buffer.from('3'), { mode: 0o600 }),
        batch.write('a/../b', '4'),
        batch.write('a', '5'),
        batch.write('c', wrong(6)),
      ])
      expect(results.map((result) => (result.status === 'rejected' ? result.reason.code : 'written'))).toEqual([
        'written',
        'ERR_COFFER_MEMBER_EXISTS',
        'written',
        'ERR_COFFER_INVALID_ARG',
        'written',
        'ERR_COFFER_INVALID_ARG',
      ])
      expect(results[1]).toMatchObject({ reason: { member: 'file/below', path: box.path } })
    })
    expect(await names(box)).toEqual(['a', 'b', 'file'])
    expect(await box.readText('a')).toBe('5')
    expect((await box.stat('b')).mode).toBe(0o600)
  })

  it('keep their order with other changes, and are part of it without being waited for', async () => {
    await using box = await open()
    const data = Buffer.from('copied')
    await box.batch(async (batch) => {
      const calls = [
        batch.write('a', 'one'),
        batch.append('a', ' two'),
        batch.write('b', 'x'),
        batch.delete('b'),
        batch.write('c', data),
        batch.write('large', noise(200_000)),
        batch.write('large', 'small'),
        batch.write('old', 'x', { mtime: -(2n ** 60n) * 1_000_000_000n }),
      ]
      data.fill('x')
      await Promise.all(calls)
      void batch.write('last', 'x')
    })
    expect(await names(box)).toEqual(['a', 'c', 'large', 'last', 'old'])
    expect(await box.readText('a')).toBe('one two')
    expect(await box.readText('c')).toBe('copied')
    expect(await box.readText('large')).toBe('small')
    expect((await box.stat('old', { bigint: true })).mtimeNs).toBe(-(2n ** 60n) * 1_000_000_000n)
  })

  it('are as many as one likes', async () => {
    await using box = await open()
    await box.batch(async (batch) => {
      await Promise.all(Array.from({ length: 5_000 }, (_, n) => batch.write(`${n}`, noise(n % 3_000, n))))
    })
    for (const n of [0, 511, 512, 4_999]) expect(await box.read(`${n}`)).toEqual(noise(n % 3_000, n))
    expect(await names(box)).toHaveLength(5_000)
    await box.verify()
  })
})
