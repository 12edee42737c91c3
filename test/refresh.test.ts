import { copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { Coffer, CofferBank, type CofferCommit, CofferNull, CofferStore, exportTar } from './support/coffer.ts'
import { type Keys, type Kind, keysFor, kindOf, kinds, openKind, optionsFor } from './support/kinds.ts'
import { fixture } from './support/pycoffer.ts'
import { tempDir } from './support/temp.ts'

const bank = kindOf('bank')

/** A coffer that is open for writing, and one that reads it without a lock. */
async function both(kind: Kind, keys: Keys = keysFor(kind)) {
  const path = join(tempDir(), 'box.coffer')
  const writer = await openKind(kind, path, 'x', keys, { autoFlush: false, lock: 'w' })
  await writer.write('kept', 'kept')
  await writer.write('a', 'one')
  await writer.write('large', noise(2_500_000, 'old'))
  await writer.flush()
  const reader = await openKind(kind, path, 'r', keys, { lock: 'w' })
  return { path, keys, writer, reader }
}

describe.each(kinds)('refresh, $label', (kind) => {
  it('brings what a writer has committed, flushed and compacted since', async () => {
    const { writer, reader } = await both(kind)
    expect(await reader.refresh()).toEqual(reader.head)
    expect(reader.head).toEqual(writer.head)

    await writer.write('a', 'two')
    await writer.write('b', 'new')
    await writer.delete('kept')
    expect(await reader.refresh()).toEqual(reader.head)
    expect(await reader.readText('a')).toBe('one')
    await writer.flush()
    expect(await reader.readText('kept').catch((error) => error.code)).not.toBe('ERR_COFFER_MEMBER_NOT_FOUND')
    expect(await reader.refresh()).toEqual(writer.head)
    expect(reader.head).toEqual(writer.head)
    expect(await reader.readText('a')).toBe('two')
    expect((await reader.members()).map(({ name }) => name)).toEqual(['a', 'b', 'large'])
    expect(await reader.has('kept')).toBe(false)

    await writer.compact()
    expect(await reader.refresh()).toEqual(writer.head)
    expect(reader.mtime).toEqual(writer.mtime)
    expect(await reader.readText('b')).toBe('new')
    await writer.write('c', 'in the new file')
    await writer.flush()
    await reader.refresh()
    expect(await reader.readText('c')).toBe('in the new file')
    expect((await reader.read('large')).equals(noise(2_500_000, 'old'))).toBe(true)
    expect((await reader.verify()).members).toBe(4)
    expect((await reader.info()).generation).toBe(writer.head.generation)
    expect(reader.notices).toEqual([])
    await reader.close()
    await writer.close()
  })
})

describe('refresh', () => {
  it('leaves streams, handles, lines and archives on the commit that they began with', async () => {
    const { writer, reader } = await both(kindOf('store'))
    const lines = Array.from({ length: 200_000 }, (_, n) => `old line ${n}`)
    await writer.writeLines('lines', lines)
    await writer.flush()
    await reader.refresh()

    const stream = reader.createReadStream('large', { highWaterMark: 65_536 })
    const chunks = stream[Symbol.asyncIterator]()
    const begun = [Buffer.from((await chunks.next()).value as Uint8Array)]
    const handle = await reader.file('large')
    const read = reader.readLines('lines')
    const first = await read.next()
    const archive = exportTar(reader, { members: ['a'] })
    const old = archive[Symbol.asyncIterator]()
    const archived = [Buffer.from((await old.next()).value as Uint8Array)]

    // A compaction leaves the old file whole for those that have it open.
    await writer.compact()
    await writer.write('large', 'new')
    await writer.write('a', 'new')
    await writer.writeLines('lines', ['new'])
    await writer.flush()
    expect(await reader.refresh()).toEqual(writer.head)
    expect(await reader.readText('large')).toBe('new')
    expect(await reader.readText('lines')).toBe('new\n')

    for (let next = await chunks.next(); !next.done; next = await chunks.next()) begun.push(Buffer.from(next.value))
    expect(Buffer.concat(begun).equals(noise(2_500_000, 'old'))).toBe(true)
    expect((await handle.readFile()).equals(noise(2_500_000, 'old'))).toBe(true)
    expect((await handle.stat()).size).toBe(2_500_000)
    await handle.close()
    const seen = [first.value]
    for await (const line of read) seen.push(line)
    expect(seen).toEqual(lines)
    for (let next = await old.next(); !next.done; next = await old.next()) archived.push(Buffer.from(next.value))
    expect(Buffer.concat(archived).toString('latin1')).toContain('one')
    await reader.close()
    await writer.close()
  })

  it('is taken by reads that are under way as it comes: each gets the old or the new contents', async () => {
    const { writer, reader } = await both(bank)
    const read = async (): Promise<number> => {
      for (let count = 0; ; count += 1) {
        const large = await reader.read('large')
        if (large.length === 3) return count
        expect(large.equals(noise(2_500_000, 'old'))).toBe(true)
      }
    }
    const reading = Promise.all([read(), read(), read(), read()])
    await writer.compact()
    await writer.write('large', 'new')
    await writer.flush()
    await Promise.all([reader.refresh(), reader.refresh(), reader.refresh()])
    await reading
    await reader.close()
    await writer.close()
  })

  it('refuses a coffer that w has put in the place of the old one, and stays where it was', async () => {
    const { path, keys, writer, reader } = await both(bank)
    const { head } = reader
    await writer.close()
    const other = await openKind(bank, path, 'w', keys, { lock: 'w' })
    for (let n = 0; n < 10; n += 1) {
      await other.write('a', `other ${n}`)
      await other.flush()
    }
    await expect(reader.refresh()).rejects.toMatchObject({
      code: 'ERR_COFFER_ROLLED_BACK',
      path,
      message: expect.stringMatching(/another coffer was put in the place/),
    })
    expect(reader.head).toEqual(head)
    expect(await reader.readText('a')).toBe('one')
    expect(reader.closed).toBe(false)
    await reader.close()
    await other.close()
  })

  it('refuses an older copy of the file, renamed or written over it', async () => {
    for (const put of [
      (from: string, to: string) => renameSync(from, to),
      (from: string, to: string) => copyFileSync(from, to),
    ]) {
      const { path, writer, reader } = await both(kindOf('store'))
      copyFileSync(path, `${path}.old`)
      await writer.write('a', 'two')
      await writer.flush()
      await reader.refresh()
      await writer.close()
      put(`${path}.old`, path)
      await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_ROLLED_BACK' })
      expect(reader.head.generation).toBeGreaterThan(1)
      await reader.close()
    }
  })

  it('follows a copy of the same file, and says where there is none, or no coffer', async () => {
    const { path, writer, reader } = await both(kindOf('store'))
    await writer.write('a', 'two')
    await writer.close()
    copyFileSync(path, `${path}.new`)
    renameSync(`${path}.new`, path)
    await reader.refresh()
    expect(await reader.readText('a')).toBe('two')
    renameSync(path, `${path}.gone`)
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_NOT_FOUND', path })
    writeFileSync(path, noise(5_000))
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', path })
    expect(await reader.readText('a')).toBe('two')
    rmSync(path)
    renameSync(`${path}.gone`, path)
    expect(await reader.refresh()).toEqual(reader.head)
    await reader.close()
  })

  it('is the error of a wrong key once the keys were changed', async () => {
    const { writer, reader } = await both(bank)
    await writer.rekey(CofferBank.generateKeys())
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
    expect(await reader.readText('a')).toBe('one')
    await reader.close()
    await writer.close()
  })

  it('follows a compaction with a passphrase, without deriving again, and not a change of it', async () => {
    const path = join(tempDir(), 'box.coffer')
    const passphrase = 'anvil mosaic turnip lantern'
    const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
    const writer = await CofferStore.open(path, 'x', { passphrase, kdf, lock: 'w' })
    await writer.write('a', '1')
    await writer.flush()
    const reader = await Coffer.open(path, 'r', { passphrase, lock: 'w' })
    await writer.write('a', '2')
    await writer.compact()
    expect(await reader.refresh()).toEqual(writer.head)
    expect(await reader.readText('a')).toBe('2')
    await writer.changePassphrase(passphrase)
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
    expect(await reader.readText('a')).toBe('2')
    await reader.close()
    await writer.close()
  })

  it('is at once where a lock is held, with the last commit where it writes, and nothing in a legacy coffer', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = CofferStore.generateKeys()
    const writer = await CofferStore.open(path, 'x', keys)
    await writer.write('a', '1')
    const { head } = writer
    expect(await writer.refresh()).toEqual(head)
    expect(writer.modified).toBe(true)
    await writer.flush()
    expect(await writer.refresh()).toEqual(writer.head)
    await writer.close()
    await expect(writer.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    const reader = await CofferStore.open(path, 'r', keys)
    expect(await reader.refresh()).toEqual(reader.head)
    await reader.close()
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })

    const legacy = join(tempDir(), 'legacy.coffer')
    writeFileSync(legacy, fixture('null'))
    const old = await CofferNull.open(legacy, 'r', { legacy: true, lock: 'none' })
    expect(await old.refresh()).toEqual({ generation: 0, digest: '0'.repeat(64) })
    await old.close()
  })
})

/** Commits, compacts and replaces members in another process until it is told to stop. */
const busy: Body<{ className: 'CofferBank'; path: string; options: object }, CofferCommit> = async (
  { coffer, say, hear },
  { className, path, options },
) => {
  let stop = false
  void hear().then(() => {
    stop = true
  })
  const box = await coffer[className].open(path, 'r+', { ...options, lock: 'w', autoFlush: false, durability: 'none' })
  await say('writing')
  for (let round = 1; !stop; round += 1) {
    for (let n = 0; n < 20; n += 1) await box.write(`n/${n}`, `${round}`)
    await box.write('large', new Uint8Array(300_000).fill(round % 256))
    await box.flush()
    if (round % 4 === 0) await box.compact()
  }
  await box.close()
  return box.head
}

describe('beside a writer in another process', () => {
  it('each refresh is one whole commit, no older than the last', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(bank)
    const made = await openKind(bank, path, 'x', keys)
    await made.writeMany(Array.from({ length: 20 }, (_, n): [string, string] => [`n/${n}`, '0']))
    await made.close()
    const reader = await openKind(bank, path, 'r', keys, { lock: 'w' })
    const child = startChild(busy, { className: 'CofferBank', path, options: optionsFor(bank, keys) })
    await child.heard()
    let last = 0
    let rounds = 0
    const until = Date.now() + 4_000
    while (Date.now() < until) {
      const { generation } = await reader.refresh()
      expect(generation).toBeGreaterThanOrEqual(last)
      if (generation > last) rounds += 1
      last = generation
      // Blocks of a commit may be overwritten as soon as there is another one.
      const found = new Set<string>()
      const stale = (error: { code: string }): void => expect(error.code).toBe('ERR_COFFER_STALE')
      for (let n = 0; n < 20; n += 1) await reader.readText(`n/${n}`).then((text) => found.add(text), stale)
      expect(found.size, [...found].join()).toBeLessThanOrEqual(1)
    }
    expect(rounds).toBeGreaterThan(3)
    child.say('stop')
    const head = await child.result
    expect(await reader.refresh()).toEqual(head)
    await reader.verify()
    await reader.close()
  }, 30_000)
})

describe('commits', () => {
  it('gives each commit as it comes, and ends when the coffer is closed', async () => {
    const { writer, reader } = await both(kindOf('store'))
    const of = async (box: Coffer): Promise<CofferCommit[]> => {
      const seen: CofferCommit[] = []
      for await (const commit of box.commits()) {
        expect(commit).toEqual(box.head)
        seen.push(commit)
      }
      return seen
    }
    const [read, written] = [of(reader), of(writer)]
    const heads: CofferCommit[] = []
    for (let n = 0; n < 3; n += 1) {
      await writer.write('n', `${n}`)
      if (n === 1) await writer.compact()
      else await writer.flush()
      heads.push(writer.head)
      // What comes at once would be given as one.
      for (let waits = 0; reader.head.digest !== writer.head.digest && waits < 100; waits += 1) await sleep(50)
      expect(reader.head).toEqual(writer.head)
      expect(await reader.readText('n')).toBe(`${n}`)
      await sleep(100)
    }
    await reader.close()
    // A compaction commits before it, too, which may be seen or not.
    const isHead = ({ digest }: CofferCommit): boolean => heads.some((head) => head.digest === digest)
    expect((await read).filter(isHead)).toEqual(heads)
    expect((await read).length).toBeLessThanOrEqual(heads.length + 1)
    await writer.close()
    expect((await written).filter(isHead)).toEqual(heads)
  })

  it('begins at the call, and is woken by a change of the directory before its interval is over', async () => {
    const { writer, reader } = await both(kindOf('store'))
    const commits = reader.commits({ interval: 1_000_000 })
    await writer.write('a', 'two')
    await writer.flush()
    expect((await commits.next()).value).toEqual(writer.head)
    const next = commits.next()
    await sleep(200)
    await writer.write('a', 'three')
    await writer.flush()
    expect((await next).value).toEqual(writer.head)
    await commits.return()
    const ended = reader.commits()
    await reader.close()
    expect(await ended.next()).toEqual({ done: true, value: undefined })
    await writer.close()
  })

  it('gives what a refresh of the caller has brought', async () => {
    const { writer, reader } = await both(kindOf('store'))
    const commits = reader.commits()
    await writer.write('a', 'two')
    await writer.flush()
    const head = await reader.refresh()
    expect((await commits.next()).value).toEqual(head)
    await commits.return()
    await reader.close()
    await writer.close()
  })

  it('is ended by a signal with its reason, and fails as a refresh does', async () => {
    const { path, keys, writer, reader } = await both(bank)
    const controller = new AbortController()
    const next = reader.commits({ signal: controller.signal, interval: 1_000_000 }).next()
    await sleep(50)
    const mine = new Error('mine')
    controller.abort(mine)
    await expect(next).rejects.toBe(mine)
    await expect(reader.commits({ signal: controller.signal }).next()).rejects.toBe(mine)
    await writer.close()
    const failing = reader
      .commits()
      .next()
      .catch((error: { code: string }) => error.code)
    const other = await openKind(bank, path, 'w', keys, { lock: 'w' })
    await other.write('a', 'x')
    await other.flush()
    expect(await failing).toBe('ERR_COFFER_ROLLED_BACK')
    await other.close()
    await reader.close()
  })

  it('looks every interval, also where nothing changes in the directory that it watches', async () => {
    const root = tempDir()
    const keys = keysFor(kindOf('store'))
    for (const name of ['one', 'two']) mkdirSync(join(root, name))
    const link = join(root, 'link')
    symlinkSync(join(root, 'one'), link, 'junction')
    const first = await openKind(kindOf('store'), join(root, 'one', 'box.coffer'), 'x', keys)
    await first.write('a', 'one')
    await first.close()
    const reader = await openKind(kindOf('store'), join(link, 'box.coffer'), 'r', keys, { lock: 'none' })
    const next = reader.commits({ interval: 20 }).next()
    copyFileSync(join(root, 'one', 'box.coffer'), join(root, 'two', 'box.coffer'))
    const second = await openKind(kindOf('store'), join(root, 'two', 'box.coffer'), 'r+', keys)
    await second.write('a', 'two')
    await second.close()
    symlinkSync(join(root, 'two'), `${link}-new`, 'junction')
    renameSync(`${link}-new`, link)
    expect((await next).value).toEqual(second.head)
    expect(await reader.readText('a')).toBe('two')
    await reader.close()
  })

  it.each([0, -1, 1.5, Number.NaN, '5', 2 ** 31])('refuses the interval %s at the call', async (interval) => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    expect(() => box.commits({ interval: interval as never })).toThrow(
      /interval must be an integer from 1 to 2147483647/,
    )
    expect(() => box.commits({ signal: 5 as never })).toThrow(/signal must be an AbortSignal/)
  })
})

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
