import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { noise, sha256 } from '../support/bytes.ts'
import { type Coffer, CofferBank } from '../support/coffer.ts'
import { chunks } from '../support/format.ts'
import { gathered } from '../support/gathered.ts'
import { contents, keysFor, kindOf, kinds, openKind } from '../support/kinds.ts'
import { type Listing, listingOf, PyCoffer, python } from '../support/python.ts'
import { sampleMembers } from '../support/sample.ts'
import { tempDir } from '../support/temp.ts'

function listing(members: ReadonlyMap<string, Uint8Array>): Listing {
  return listingOf(members, sha256)
}

async function writeAll(box: Coffer, members: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await Promise.all([...members].map(async ([name, data]) => box.write(name, data)))
}

describe.skipIf(python === null)('with real PyCoffer, an AES-OCB bank', () => {
  it.each([16, 24, 32])('has a key of %i bytes, in both directions', async (length) => {
    const kind = kindOf('bank-aes-ocb')
    const path = join(tempDir(), 'box.coffer')
    const keys = {
      cofferKey: noise(length).toString('base64url'),
      secureKey: noise(32, 'secure').toString('base64url'),
    }
    const pycoffer = new PyCoffer()
    const members = new Map([['ours', noise(100_000, 'ours')]])
    const box = await CofferBank.open(path, 'x', { ...keys, cipher: 'aes-ocb' })
    await writeAll(box, members)
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(members))
    await pycoffer.open('theirs', kind.label, path, 'a', keys)
    await pycoffer.write('theirs', 'theirs', noise(100_000, 'theirs'))
    await pycoffer.close('theirs')
    members.set('theirs', noise(100_000, 'theirs'))
    await using again = await openKind(kind, path, 'r', keys, { legacy: true })
    expect(listing(await contents(again))).toEqual(listing(members))
    await pycoffer.end()
  })
})

describe.skipIf(python === null).each(kinds)('with real PyCoffer, $label', (kind) => {
  let pycoffer: PyCoffer

  beforeAll(() => {
    pycoffer = new PyCoffer()
  })
  afterAll(async () => {
    await pycoffer.end()
  })

  it('lists nothing in an empty coffer, before its first member and after its last', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'x', keys)).close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual({})

    const members = new Map([['only', Buffer.from('one')]])
    let box = await openKind(kind, path, 'a', keys)
    await writeAll(box, members)
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(members))

    box = await openKind(kind, path, 'a', keys)
    await box.delete('only')
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual({})
  })

  it('reads every size and name that was written here', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const members = sampleMembers()
    const box = await openKind(kind, path, 'w', keys, { autoFlush: false })
    await writeAll(box, members)
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(members))
  })

  it('extracts a tree that was added here', async () => {
    const directory = tempDir()
    const source = join(directory, 'source')
    const members = new Map<string, Buffer>()
    for (const [name, data] of sampleMembers()) {
      const file = join(source, name)
      mkdirSync(join(file, '..'), { recursive: true })
      writeFileSync(file, data)
      members.set(`tree/${name}`, data)
    }
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'w', keys)
    await box.add(source, { as: 'tree' })
    await box.close()

    await pycoffer.open('tree', kind.label, path, 'r', keys)
    const target = join(directory, 'target')
    await pycoffer.extractAll('tree', target)
    await pycoffer.close('tree')
    for (const [name, data] of members) {
      expect(readFileSync(join(target, name)).equals(data), name).toBe(true)
    }
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(members))
  })

  it('lists exactly the live members after each write, replacement, append, deletion and compaction', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const live = new Map<string, Buffer>()
    const box = await openKind(kind, path, 'w', keys, { lock: 'none', autoFlush: false })
    const step = async (what: string, change: () => Promise<void>): Promise<void> => {
      await change()
      await box.flush()
      expect(await pycoffer.list(kind.label, path, keys), what).toEqual(listing(live))
    }
    const write = async (name: string, data: Buffer): Promise<void> => {
      live.set(name, data)
      await box.write(name, data)
    }
    const append = async (name: string, data: Buffer): Promise<void> => {
      live.set(name, Buffer.concat([live.get(name) ?? Buffer.alloc(0), data]))
      await box.append(name, data)
    }
    const remove = async (name: string): Promise<void> => {
      live.delete(name)
      await box.delete(name)
    }

    await step('first write', async () => write('small', Buffer.from('small')))
    await step('neighbours in one commit', async () => {
      for (let index = 0; index < 30; index += 1) await write(`dir/n${index}`, noise(100 + index, index))
    })
    await step('a large one', async () => write('large', noise(1_300_001, 'large')))
    await step('another large one', async () => write('dir/large too', noise(1_100_000, 'large too')))
    await step('replaced by the same size', async () => write('small', Buffer.from('SMALL')))
    await step('replaced by a larger one', async () => write('dir/n3', noise(70_000, 'larger')))
    await step('replaced by an empty one', async () => write('dir/n4', Buffer.alloc(0)))
    await step('large replaced by small', async () => write('dir/large too', Buffer.from('no longer')))
    await step('small replaced by large', async () => write('small', noise(1_500_000, 'grown')))
    await step('append to a small one', async () => append('dir/n5', Buffer.from('more')))
    await step('append to an empty one', async () => append('dir/n4', Buffer.from('first')))
    await step('append to a large one', async () => append('large', noise(100_000, 'tail')))
    await step('append nothing', async () => append('large', Buffer.alloc(0)))
    await step('append to a new one', async () => append('new by append', Buffer.from('born')))
    await step('delete one of a pack', async () => remove('dir/n7'))
    await step('delete a large one', async () => remove('small'))
    await step('write where one was deleted', async () => write('dir/n7', Buffer.from('again')))
    await step('compaction', async () => box.compact())
    await step('after compaction', async () => write('late', noise(300, 'late')))
    await step('delete a tree', async () => {
      for (const name of [...live.keys()]) if (name.startsWith('dir/')) live.delete(name)
      await box.delete('dir', { recursive: true })
    })
    await step('delete the rest', async () => {
      for (const name of [...live.keys()]) await remove(name)
    })
    await step('compaction of nothing', async () => box.compact())
    await step('the first after the last', async () => write('phoenix', Buffer.from('ash')))
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(live))
  })

  it('writes coffers that open here, with every size and name', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const members = sampleMembers()
    await pycoffer.open('maker', kind.label, path, 'w', keys, { auto_flush: false })
    for (const [name, data] of members) await pycoffer.write('maker', name, data)
    await pycoffer.close('maker')

    await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY', path })
    await using box = await openKind(kind, path, 'r', keys, { legacy: true })
    expect(listing(await contents(box))).toEqual(listing(members))
    await expect(box.verify()).resolves.toBeDefined()
  })

  it.skipIf(kind.container === null)(
    'writes coffers that are damage when they are cut at the edge of a chunk',
    async () => {
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      await pycoffer.open('maker', kind.label, path, 'w', keys, { auto_flush: false })
      await pycoffer.write('maker', 'large', noise(400_000))
      await pycoffer.close('maker')
      const file = readFileSync(path)
      const all = chunks(file)
      expect(all.length).toBeGreaterThan(5)
      for (const { offset } of all.slice(1)) {
        writeFileSync(path, file.subarray(0, offset))
        await expect(openKind(kind, path, 'r', keys, { legacy: true })).rejects.toMatchObject({
          code: 'ERR_COFFER_CORRUPT',
        })
      }
    },
  )

  it('writes empty coffers that open here', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await pycoffer.open('maker', kind.label, path, 'w', keys)
    await pycoffer.close('maker')
    const box = await openKind(kind, path, 'a', keys, { legacy: true })
    expect(await box.members()).toEqual([])
    await box.write('first', 'one')
    await box.close()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(new Map([['first', Buffer.from('one')]])))
  })

  it('changes a coffer that was made here, which then opens as a legacy one', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const members = sampleMembers()
    const box = await openKind(kind, path, 'w', keys, { autoFlush: false })
    await writeAll(box, members)
    await box.close()

    await pycoffer.open('changer', kind.label, path, 'a', keys, { auto_flush: false })
    const replaced = noise(66_000, 'replaced')
    const appended = noise(66_000, 'appended')
    await pycoffer.write('changer', 'new/by PyCoffer', Buffer.from('hello'))
    await pycoffer.write('changer', 'small/007.txt', replaced)
    await pycoffer.append('changer', 'small/008.txt', appended)
    await pycoffer.append('changer', 'sizes/noise-1200001.bin', appended)
    await pycoffer.delete('changer', 'small/009.txt')
    await pycoffer.close('changer')
    members.set('new/by PyCoffer', Buffer.from('hello'))
    members.set('small/007.txt', replaced)
    for (const name of ['small/008.txt', 'sizes/noise-1200001.bin']) {
      members.set(name, Buffer.concat([members.get(name) ?? Buffer.alloc(0), appended]))
    }
    members.delete('small/009.txt')

    await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY' })
    await using again = await openKind(kind, path, 'r', keys, { legacy: true })
    expect(listing(await contents(again))).toEqual(listing(members))
  })

  it('takes turns with this package on one coffer', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const members = new Map<string, Buffer>()
    for (let turn = 0; turn < 4; turn += 1) {
      const theirs = noise(1_000 * turn, `theirs ${turn}`)
      await pycoffer.open('turn', kind.label, path, 'a', keys)
      await pycoffer.write('turn', `theirs/${turn}`, theirs)
      await pycoffer.close('turn')
      members.set(`theirs/${turn}`, theirs)

      const ours = noise(40_000 * turn, `ours ${turn}`)
      const box = await openKind(kind, path, 'a', keys, { legacy: true })
      expect(listing(await contents(box))).toEqual(listing(members))
      await box.write(`ours/${turn}`, ours)
      members.set(`ours/${turn}`, ours)
      if (turn === 2) {
        await box.delete('theirs/1')
        members.delete('theirs/1')
      }
      await box.close()
      copyFileSync(path, join(directory, `after-${turn}`))
      expect(await pycoffer.list(kind.label, path, keys)).toEqual(listing(members))
    }
    // What this package wrote last needs no `legacy`.
    await using box = await openKind(kind, path, 'r', keys)
    expect(listing(await contents(box))).toEqual(listing(members))
  })

  it('agrees about lines of text', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const text = ['first', '', 'third with ümlaut', 'last']
    const box = await openKind(kind, path, 'w', keys)
    await box.writeLines('ours.txt', text)
    await box.close()
    await pycoffer.open('lines', kind.label, path, 'r', keys)
    expect(await pycoffer.readLines('lines', 'ours.txt')).toEqual(text)
    await pycoffer.close('lines')

    await pycoffer.open('lines', kind.label, path, 'a', keys)
    await pycoffer.writeLines('lines', 'theirs.txt', text)
    await pycoffer.close('lines')
    await using again = await openKind(kind, path, 'r', keys, { legacy: true })
    expect(await gathered(again.readLines('theirs.txt'))).toEqual(text)
  })
})
