import { mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import type { Coffer } from './support/coffer.ts'
import { gathered } from './support/gathered.ts'
import { contents, keyedKinds, keysFor, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

// What PyCoffer's own tests show of PyCoffer, shown of Coffer: one test here for each of theirs,
// under its name. Behaviour that differs on purpose is said where it differs.

const code = (name: string): object => ({ name: 'CofferError', code: `ERR_COFFER_${name}` })
const one = noise(2_487, 1)
const two = noise(1_536, 2)
const more = noise(7_415, 3)
const three = noise(6_589, 4)
const four = noise(54_128, 5)

describe.each(kinds)('as PyCoffer tests it, $label', (kind) => {
  const keys = keysFor(kind)
  const setUp = () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    return {
      directory,
      path,
      open: (mode: 'r' | 'w' | 'a' | 'x', options = {}) => openKind(kind, path, mode, keys, options),
    }
  }
  const fill = async (open: ReturnType<typeof setUp>['open']): Promise<Date | null> => {
    await using box = await open('w')
    await box.write('file1.data', one)
    await box.write('file2.data', two)
    await box.flush()
    expect(box).toMatchObject({ writable: true, readable: true })
    return box.mtime
  }

  it('test_store_open, test_store_basic: what one handle writes another reads, changes and deletes', async () => {
    const { path, open } = setUp()
    const mtime = await fill(open)
    let kept: Coffer
    {
      await using box = await open('r')
      kept = box
      expect(await box.read('file1.data')).toEqual(one)
      expect(await box.read('file2.data')).toEqual(two)
      expect(box).toMatchObject({ writable: false, readable: true, modified: false })
    }
    expect(kept.closed).toBe(true)
    {
      await using box = await open('a')
      await box.write('file3.data', three)
      await box.flush()
      expect(box.mtime?.getTime()).toBeGreaterThanOrEqual(mtime?.getTime() ?? Number.POSITIVE_INFINITY)
    }
    {
      await using box = await open('a')
      await box.delete('file3.data')
      await box.append('file2.data', more)
    }
    {
      await using box = await open('r')
      await expect(box.delete('file1.data')).rejects.toMatchObject(code('READ_ONLY'))
      await expect(box.read('file3.data')).rejects.toMatchObject(code('MEMBER_NOT_FOUND'))
      expect(await box.read('file2.data')).toEqual(Buffer.concat([two, more]))
    }
    {
      await using box = await open('a')
      await box.write('4/file.data', four)
      expect(await box.read('4/file.data')).toEqual(four)
    }
    await expect(open('x')).rejects.toMatchObject(code('EXISTS'))
    expect(statSync(path).size).toBeGreaterThan(0)
  })

  it('test_store_basic, test_store_basic_recurse: files and trees go in by add and come out by extract', async () => {
    const { directory, open } = setUp()
    await fill(open)
    const out = join(directory, 'out')
    {
      await using box = await open('r')
      await box.extractAll(out)
    }
    expect(readFileSync(join(out, 'file1.data'))).toEqual(one)
    mkdirSync(join(out, 'test'))
    writeFileSync(join(out, 'test', 'file222.data'), three)
    {
      await using box = await open('a')
      await box.add(out, { as: 'test2', replace: false })
      await box.add(out)
      await box.add(join(out, 'file1.data'), { as: '5/file.data' })
    }
    await using box = await open('r')
    const again = join(directory, 'again')
    await box.extract('test2/test/file222.data', again)
    expect(readFileSync(join(again, 'test2/test/file222.data'))).toEqual(three)
    await expect(box.read('test2/file222.data')).rejects.toMatchObject(code('MEMBER_NOT_FOUND'))
    // Theirs writes over what is there; ours only where it is told to.
    await expect(box.extractAll(again)).rejects.toMatchObject(code('EXISTS'))
    await box.extractAll(again, { replace: true })
    expect(readFileSync(join(again, 'out/file2.data'))).toEqual(two)
    expect(readFileSync(join(again, '5/file.data'))).toEqual(one)
  })

  it('test_store_no_flush: without auto flush, what is modified waits for flush or close', async () => {
    const { path, open } = setUp()
    await fill(open)
    const quiet = { autoFlush: false }
    const mtime = statSync(path, { bigint: true }).mtimeNs
    {
      await using box = await open('a', { ...quiet, backup: '.bak' })
      expect(box.modified).toBe(false)
      await box.write('file3.data', three)
      expect(box.modified).toBe(true)
      await box.flush()
      expect(box.modified).toBe(false)
      const flushed = box.head.generation
      expect(statSync(path, { bigint: true }).mtimeNs).toBeGreaterThan(mtime)
      // Theirs forces by default; ours only where it is asked to.
      await box.flush()
      expect(box.head.generation).toBe(flushed)
      await box.flush({ force: true })
      expect(box.head.generation).toBe(flushed + 1)
    }
    await using saved = await openKind(kind, `${path}.bak`, 'r', keys)
    expect([...(await contents(saved)).keys()]).toEqual(['file1.data', 'file2.data'])
    {
      await using box = await open('a', quiet)
      await box.delete('file3.data')
      expect(box.modified).toBe(true)
    }
    await using box = await open('r')
    expect(box.modified).toBe(false)
    await expect(box.read('file3.data')).rejects.toMatchObject(code('MEMBER_NOT_FOUND'))
    await box.close()
    expect(box).toMatchObject({ closed: true, readable: false, writable: false })
    await expect(box.read('file1.data')).rejects.toMatchObject(code('CLOSED'))
  })

  it('test_store_exception: what cannot be is an error, and nothing else changes', async () => {
    const { directory, path, open } = setUp()
    await fill(open)
    {
      await using box = await open('a')
      await expect(box.add(join(directory, 'badfile'), { as: 'file2.data' })).rejects.toMatchObject(code('IO'))
      writeFileSync(join(directory, 'good'), three)
      await expect(box.add(join(directory, 'good'), { as: 'file1.data', replace: false })).rejects.toMatchObject(
        code('MEMBER_EXISTS'),
      )
      expect(await box.read('file1.data')).toEqual(one)
    }
    const elsewhere = join(directory, 'notafile.bad')
    await expect(openKind(kind, elsewhere, 'r', keys)).rejects.toMatchObject(code('NOT_FOUND'))
    for (const mode of ['rt', 'zz', null, undefined]) {
      await expect(openKind(kind, path, mode as 'r', keys)).rejects.toMatchObject(code('INVALID_ARG'))
    }
    await expect(openKind(kind, null as unknown as string, 'r', keys)).rejects.toMatchObject(code('INVALID_ARG'))
  })

  it.runIf(keyedKinds.includes(kind))('test_store_exception: a key that is missing is said to be', async () => {
    const { path, open } = setUp()
    await fill(open)
    await expect(openKind(kind, path, 'r', {})).rejects.toMatchObject(code('INVALID_ARG'))
  })

  it('test_store_strings: lines come back as lines', async () => {
    const { open } = setUp()
    const lines = Array.from({ length: 4 }, (_, i) => noise(684, i).toString('base64url'))
    {
      await using box = await open('w')
      await box.writeLines('file1.data', lines)
    }
    await using box = await open('r')
    expect(await gathered(box.readLines('file1.data'))).toEqual(lines)
  })

  it('test_coffer_pickle: a value comes back as the value it was', async () => {
    const { open } = setUp()
    const value = { rand1: two, rand2: more }
    {
      await using box = await open('w')
      await box.dump('data.cbor', value)
    }
    await using box = await open('r')
    expect(await box.load('data.cbor')).toEqual(value)
    // Theirs answers None where there is nothing.
    await expect(box.load('nodata.cbor')).rejects.toMatchObject(code('MEMBER_NOT_FOUND'))
  })

  it('test_coffer_lock: a writer excludes, and with lock w readers do not ask', async () => {
    const { open } = setUp()
    await fill(open)
    const hasty = { lockTimeout: 50 }
    {
      await using _box = await open('a', hasty)
      for (const mode of ['w', 'a', 'r'] as const) {
        await expect(open(mode, hasty)).rejects.toMatchObject(code('LOCKED'))
      }
    }
    {
      // Theirs lets one reader in; ours share.
      await using _box = await open('r', hasty)
      await using other = await open('r', hasty)
      expect(await other.read('file1.data')).toEqual(one)
      await expect(open('a', hasty)).rejects.toMatchObject(code('LOCKED'))
    }
    const writers = { ...hasty, lock: 'w' }
    {
      await using _box = await open('a', writers)
      await expect(open('a', writers)).rejects.toMatchObject(code('LOCKED'))
      await using reader = await open('r', writers)
      expect(await reader.read('file1.data')).toEqual(one)
    }
    await using _reader = await open('r', writers)
    await using box = await open('a', writers)
    expect(await box.read('file2.data')).toEqual(two)
  })

  it('test_store_mtime: members keep their time', async () => {
    const { directory, open } = setUp()
    await fill(open)
    const times = async (): Promise<Record<string, bigint>> => {
      await using box = await open('r')
      return Object.fromEntries((await box.members({ bigint: true })).map(({ name, mtimeNs }) => [name, mtimeNs]))
    }
    const before = await times()
    const file = join(directory, 'file3.data')
    writeFileSync(file, three)
    utimesSync(file, new Date(Date.now() - 60_000), new Date(Date.now() - 120_000))
    {
      await using box = await open('a')
      await box.add(file)
    }
    expect(await times()).toEqual({ ...before, 'file3.data': statSync(file, { bigint: true }).mtimeNs })
  })

  it('file(): a handle is a context manager, and what it wrote is there at its end', async () => {
    const { open } = setUp()
    await using box = await open('w')
    {
      await using file = await box.file('file1.data', 'w')
      await file.write(one)
      await file.write(two)
    }
    await using file = await box.file('file1.data')
    expect(await file.readFile()).toEqual(Buffer.concat([one, two]))
  })

  it('test_plugin_password: entries are kept, listed without passwords, replaced only where asked', async () => {
    const { directory, open } = setUp()
    const csv = join(directory, 'chrome.csv')
    writeFileSync(
      csv,
      'name,url,username,password,note\nexample.com,https://www.example.com/,user1,azerty,\ntata.com,https://www.tata.example/,user2,123456,Une note\n',
    )
    {
      await using box = await open('w')
      await using passwords = await box.plugin('password')
      const entry = { name: 'test', username: 'username', url: 'testurl', password: 'azerty', note: 'testnote' }
      await passwords.add(entry)
      await expect(passwords.add(entry, { replace: false })).rejects.toMatchObject(code('MEMBER_EXISTS'))
      await expect(passwords.add('test' as never)).rejects.toMatchObject(code('INVALID_ARG'))
      await passwords.importChrome(csv)
    }
    await using box = await open('r')
    await using passwords = await box.plugin('password')
    expect(await passwords.get({ name: 'test' })).toMatchObject({ username: 'username', password: 'azerty' })
    expect(await passwords.get({ name: 'tata.com', owner: 'chrome' })).toMatchObject({ note: 'Une note' })
    const listed = await passwords.list()
    expect(listed.map((entry) => entry.name).sort()).toEqual(['example.com', 'tata.com', 'test'])
    expect(JSON.stringify(listed)).not.toMatch(/azerty|123456/)
    await expect(box.plugin('toto' as never)).rejects.toMatchObject(code('INVALID_ARG'))
  })

  it('test_plugin_rsync_lib: the second time only what has changed goes in', async () => {
    const { directory, open } = setUp()
    const tree = join(directory, 'tree')
    for (const at of ['', 'test1', 'test1/test11', 'test2']) {
      mkdirSync(join(tree, at), { recursive: true })
      writeFileSync(join(tree, at, 'file1.data'), four)
    }
    await using box = await open('a')
    await using rsync = await box.plugin('rsync')
    await rsync.push(tree, 'target')
    expect((await box.members({ prefix: 'target/' })).length).toBe(4)
    writeFileSync(join(tree, 'test1/test11/file1.data'), three)
    const changed = [expect.objectContaining({ action: 'update', name: 'target/test1/test11/file1.data' })]
    expect((await rsync.push(tree, 'target', { dryRun: true })).actions).toEqual(changed)
    expect((await rsync.push(tree, 'target')).actions).toEqual(changed)
    await box.extractAll(join(directory, 'out'))
    expect(readFileSync(join(directory, 'out/target/test1/test11/file1.data'))).toEqual(three)
    expect(readFileSync(join(directory, 'out/target/test2/file1.data'))).toEqual(four)
    await rsync.push(tree)
    expect((await box.members({ prefix: 'tree/' })).length).toBe(4)
    await rsync.push(join(tree, 'file1.data'))
    expect(await box.read('file1.data')).toEqual(four)
  })

  it.runIf(keyedKinds.includes(kind))(
    'test_bank_crypt_open, test_plugin_crypt: outside files, with the keys',
    async () => {
      const { directory, open } = setUp()
      const [clear, sealed, back] = ['copy.out', 'copy.crypt', 'copy.uncrypt'].map((name) => join(directory, name))
      if (!clear || !sealed || !back) throw new Error('three names')
      writeFileSync(clear, three)
      {
        await using box = await open('a')
        await using crypt = await box.plugin('crypt')
        await crypt.encrypt(clear, sealed)
      }
      expect(readFileSync(sealed).includes(three.subarray(0, 64))).toBe(false)
      await using box = await open('r')
      await using crypt = await box.plugin('crypt')
      await crypt.decrypt(sealed, back)
      expect(readFileSync(back)).toEqual(three)
    },
  )
})
