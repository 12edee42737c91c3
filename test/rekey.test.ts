import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { marked, marker, noise, sha256 } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { Coffer, CofferBank, CofferMarket, CofferNull, type CofferProgress, CofferStore } from './support/coffer.ts'
import { dataPieces } from './support/format.ts'
import { contents, type Keys, type Kind, keyedKinds, keysFor, kindOf, openKind, sealedKinds } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { type Listing, listingOf, PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

const invalid = { name: 'CofferError', code: 'ERR_COFFER_INVALID_ARG' }
const wrongKey = { name: 'CofferError', code: 'ERR_COFFER_WRONG_KEY' }
/** The floor, so that these tests do not take long. */
const kdf = { memory: 19 * 1024 * 1024, passes: 2 }

const newPath = (): string => join(tempDir(), 'box.coffer')

/** A thousand small members, large ones of several pieces, one appended to, an empty one, an empty directory. */
const members = new Map<string, Buffer>([
  ['empty', Buffer.alloc(0)],
  ['large/noise', noise(3_500_000, 'large')],
  ['large/exact', noise(2 << 20, 'exact')],
  ['large/appended', noise(1_300_000, 'appended')],
  ...Array.from({ length: 1_000 }, (_, index): [string, Buffer] => [
    `small/${index}`,
    noise(index * 7, `small ${index}`),
  ]),
])

async function make(kind: Kind, path: string, keys: Keys): Promise<Coffer> {
  const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
  const mtime = 1_700_000_000_123_456_789n
  for (const [name, data] of members) {
    const half = data.subarray(0, 1_100_000)
    await box.write(name, name === 'large/appended' ? half : data, { mode: 0o640, mtime })
  }
  await box.append('large/appended', noise(1_300_000, 'appended').subarray(1_100_000))
  const tree = join(tempDir(), 'tree')
  mkdirSync(join(tree, 'nothing in it'), { recursive: true })
  await box.add(tree, { as: 'tree' })
  await box.write('gone', 'gone')
  await box.flush()
  await box.delete('gone')
  await box.flush()
  return box
}

const listing = listingOf(members, sha256)
const listingIn = async (box: Coffer): Promise<Listing> => listingOf(await contents(box), sha256)

/** What lies beside a coffer, but for its lock. */
const beside = (path: string): string[] =>
  readdirSync(join(path, '..')).filter((name) => name !== 'box.coffer' && name !== 'box.coffer.lock')

describe.each(keyedKinds)('rekeying a $label', (kind) => {
  it('keeps every member with its bytes, its times and its place in the history', async () => {
    const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
    const box = await make(kind, path, old)
    const remembered = box.head
    const before = await box.members()
    await box.write('pending', 'not flushed yet')
    const reports: CofferProgress[] = []
    await box.rekey(next, { onProgress: (progress) => reports.push(progress) })
    expect(reports.at(-1)).toMatchObject({ members: before.length + 1, totalBytes: reports.at(-1)?.bytes })
    expect(box.modified).toBe(false)
    expect(await box.readText('pending')).toBe('not flushed yet')
    await box.delete('pending')
    await box.flush()
    expect(await box.members()).toEqual(before)
    expect(await listingIn(box)).toEqual(listing)
    await box.close()
    expect(beside(path)).toEqual([])

    await expect(openKind(kind, path, 'r', old)).rejects.toMatchObject(wrongKey)
    await using again = await openKind(kind, path, 'r', next, { expect: remembered })
    expect(again.notices).toEqual([])
    expect(await again.members()).toEqual(before)
    expect(await listingIn(again)).toEqual(listing)
    await expect(again.verify()).resolves.toMatchObject({ members: before.length })
  })

  it.skipIf(python === null)(
    'leaves nothing that the old keys open, and what PyCoffer opens with the new',
    async () => {
      const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
      const needle = marker()
      const box = await openKind(kind, path, 'x', old)
      await box.write('large', marked(needle, 2_500_000))
      await box.write('small', marked(needle, 5_000))
      await box.rekey(next)
      await box.close()
      const data = new Map([
        ['large', await readWith(kind, path, next, 'large')],
        ['small', await readWith(kind, path, next, 'small')],
      ])
      const pycoffer = new PyCoffer()
      expect(await pycoffer.search(kind.label, path, old, [needle])).toEqual([[]])
      expect(await pycoffer.search(kind.label, path, next, [needle])).not.toEqual([[]])
      expect(await pycoffer.list(kind.label, path, next)).toEqual(listingOf(data, sha256))
      await pycoffer.end()
    },
  )

  it('takes along what is written before, while and after it works', async () => {
    const [path, old, next, last] = [newPath(), keysFor(kind), keysFor(kind), keysFor(kind)]
    const box = await openKind(kind, path, 'x', old, { durability: 'none' })
    await box.write('large', noise(2_000_000, 'large'))
    const written = new Map<string, Buffer>([['large', noise(2_000_000, 'large')]])
    const calls: Promise<void>[] = []
    for (let index = 0; index < 600; index += 1) {
      const data = noise(index % 50 === 0 ? 300_000 : index * 3, `flood ${index}`)
      written.set(`flood/${index}`, data)
      calls.push(box.write(`flood/${index}`, data))
      if (index % 7 === 0) calls.push(box.append(`flood/${index}`, 'more'))
      if (index % 7 === 0) written.set(`flood/${index}`, Buffer.concat([data, Buffer.from('more')]))
      if (index === 200) calls.push(box.rekey(next))
      if (index === 400) calls.push(box.rekey(last))
      // Lets the engine come along, so that writes meet it at every stage.
      if (index % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(calls)
    expect(await listingIn(box)).toEqual(listingOf(written, sha256))
    await box.close()
    await using again = await openKind(kind, path, 'r', last)
    expect(await listingIn(again)).toEqual(listingOf(written, sha256))
    await expect(again.verify()).resolves.toMatchObject({ members: written.size })
  })

  it('lets everybody in this process read on', async () => {
    const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
    const box = await make(kind, path, old)
    await box.write('lines', Array.from({ length: 200_000 }, (_, index) => `line ${index}\n`).join(''))
    await box.flush()
    await using other = await openKind(kind, path, 'r', old, { lock: 'none' })
    const lines = box.readLines('lines')
    expect((await lines.next()).value).toBe('line 0')
    let done = false
    const rekeying = box.rekey(next).finally(() => {
      done = true
    })
    const reading = (async () => {
      do {
        expect(sha256(await box.read('large/noise'))).toBe(listing['large/noise']?.sha256)
        expect(sha256(await box.read('small/999'))).toBe(listing['small/999']?.sha256)
      } while (!done)
    })()
    await Promise.all([rekeying, reading, box.verify()])
    let count = 1
    for await (const line of lines) expect(line).toBe(`line ${count++}`)
    expect(count).toBe(200_000)
    // A handle that has the old file open stays with it.
    expect(sha256(await other.read('large/noise'))).toBe(listing['large/noise']?.sha256)
    await box.close()
  })

  it('that is stopped leaves the coffer as it was, with its old keys', async () => {
    const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
    const box = await make(kind, path, old)
    const before = readFileSync(path)
    const reason = new Error('enough')
    const stopped = box.rekey(next, {
      onProgress: () => {
        throw reason
      },
    })
    // Where it was quicker than the first report, it is done: the error comes all the same.
    await expect(stopped).rejects.toBe(reason)
    await expect(box.rekey(next, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(beside(path)).toEqual([])
    await box.close()
    const opens = async (keys: Keys): Promise<boolean> =>
      openKind(kind, path, 'r', keys).then(
        async (again) => {
          await again.close()
          return true
        },
        () => false,
      )
    expect(await opens(old)).toBe(readFileSync(path).equals(before))
    expect([await opens(old), await opens(next)].sort()).toEqual([false, true])
  })

  it('gives it a passphrase, another one, and keys again', async () => {
    const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
    const box = await openKind(kind, path, 'x', old)
    await box.write('a', 'text')
    await box.changePassphrase('first', { kdf: { memory: 20 * 1024 * 1024, passes: 3 } })
    expect((await box.info()).kdf).toMatchObject({ memory: 20 * 1024 * 1024, passes: 3 })
    await box.close()
    await expect(openKind(kind, path, 'r', old)).rejects.toMatchObject(wrongKey)

    const second = await openKind(kind, path, 'a', {}, { passphrase: 'first' })
    const { salt } = (await second.info()).kdf ?? {}
    await second.changePassphrase('second', { kdf: { passes: 2 } })
    // What is not said stays as it was, except the salt.
    expect((await second.info()).kdf).toMatchObject({ memory: 20 * 1024 * 1024, passes: 2 })
    expect((await second.info()).kdf?.salt).not.toBe(salt)
    expect(await second.readText('a')).toBe('text')
    await second.close()
    await expect(openKind(kind, path, 'r', {}, { passphrase: 'first' })).rejects.toMatchObject(wrongKey)

    const third = await openKind(kind, path, 'a', {}, { passphrase: 'second' })
    await third.rekey(next)
    expect((await third.info()).passphrase).toBe(false)
    await third.close()
    await expect(openKind(kind, path, 'r', {}, { passphrase: 'second' })).rejects.toMatchObject(wrongKey)
    await using last = await openKind(kind, path, 'r', next)
    expect(await last.readText('a')).toBe('text')
  })

  it('converts a coffer of PyCoffer', async () => {
    const path = newPath()
    const old = {
      cofferKey: Buffer.from(Array.from({ length: kind.label === 'bank-aes-ocb' ? 16 : 32 }, (_, index) => index)),
      secureKey: Buffer.from(Array.from({ length: 32 }, (_, index) => 100 + index)),
    }
    copyFileSync(fileURLToPath(new URL(`./fixtures/${kind.label}.pycoffer`, import.meta.url)), path)
    const keys = {
      ...(kind.container === null ? {} : { cofferKey: old.cofferKey }),
      ...(kind.sealedMembers ? { secureKey: old.secureKey } : {}),
    }
    const box = await openKind(kind, path, 'a', keys as never, { legacy: true })
    const before = await listingIn(box)
    const next = keysFor(kind)
    await box.rekey(next)
    expect(await listingIn(box)).toEqual(before)
    await box.close()
    await using again = await openKind(kind, path, 'r', next)
    expect(await listingIn(again)).toEqual(before)
  })
})

async function readWith(kind: Kind, path: string, keys: Keys, name: string): Promise<Buffer> {
  await using box = await openKind(kind, path, 'r', keys)
  return box.read(name)
}

describe('onProgress of a rekeying that has happened', () => {
  const store = kindOf('store')
  const reason = new Error('the bar is broken')
  const passphrase = 'anvil mosaic turnip lantern'

  /** Calls that give new keys, and whose `onProgress` hears of it only when they are in force. */
  async function late(call: (box: Coffer, onProgress: () => void) => Promise<void>, thrown: unknown) {
    const [path, old] = [newPath(), keysFor(store)]
    const box = await openKind(store, path, 'x', old)
    await box.write('a', noise(100_000))
    await box.flush()
    const before = statSync(path, { bigint: true }).ino
    const warned = once(process, 'warning')
    let reports = 0
    const done = call(box, () => {
      reports += 1
      throw thrown
    })
    // No timer runs meanwhile: the first report comes when the new file is there.
    const deadline = Date.now() + 30_000
    while (statSync(path, { bigint: true }).ino === before && Date.now() < deadline);
    expect(statSync(path, { bigint: true }).ino).not.toBe(before)
    await expect(done).resolves.toBeUndefined()
    const [warning] = (await warned) as [Error]
    expect(reports).toBe(1)
    expect((await box.read('a')).equals(noise(100_000))).toBe(true)
    await box.close()
    await expect(openKind(store, path, 'r', old)).rejects.toMatchObject({ code: /WRONG_KEY|INVALID_ARG/ })
    return { path, warning }
  }

  it.skipIf(!posix)('does not make it fail: what it throws is a warning of the process', async () => {
    const next = keysFor(store)
    const { path, warning } = await late((box, onProgress) => box.rekey(next, { onProgress }), reason)
    expect(warning).toBe(reason)
    await (await openKind(store, path, 'r', next)).close()
  })

  it.skipIf(!posix)('does not make a new passphrase fail, and no secret is shown', async () => {
    const { path, warning } = await late(
      (box, onProgress) => box.changePassphrase(passphrase, { kdf, onProgress }),
      passphrase,
    )
    expect(inspect(warning)).toContain('onProgress has thrown a string')
    expect(inspect(warning)).not.toContain('anvil')
    await (await openKind(store, path, 'r', {}, { passphrase })).close()
  })
})

describe('rekeying', () => {
  it('that is stopped leaves a coffer of PyCoffer as it was, too', async () => {
    const path = newPath()
    copyFileSync(fileURLToPath(new URL('./fixtures/store.pycoffer', import.meta.url)), path)
    const before = readFileSync(path)
    const cofferKey = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
    await using box = await CofferStore.open(path, 'a', { cofferKey, legacy: true })
    const reason = new Error('enough')
    const controller = new AbortController()
    const hard = { memory: 128 * 1024 * 1024, passes: 16 }
    const stopped = box.changePassphrase('buy milk', { kdf: hard, signal: controller.signal })
    setTimeout(() => controller.abort(reason), 200)
    await expect(stopped).rejects.toBe(reason)
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(beside(path)).toEqual([])
    await box.changePassphrase('buy milk', { kdf })
    expect(box.head.generation).toBe(1)
    expect(await box.info()).toMatchObject({ legacy: false, passphrase: true })
  })

  it('is refused for reading, in a batch, after closing, where nothing is sealed, and with keys that make no sense', async () => {
    const [path, keys] = [newPath(), CofferStore.generateKeys()]
    const box = await CofferStore.open(path, 'x', keys)
    await box.batch(async () => {
      await expect(box.rekey(keys)).rejects.toMatchObject({ ...invalid, code: 'ERR_COFFER_IN_BATCH' })
      await expect(box.changePassphrase('x')).rejects.toMatchObject({ ...invalid, code: 'ERR_COFFER_IN_BATCH' })
    })
    await expect(box.rekey({})).rejects.toMatchObject(invalid)
    await expect(box.rekey({ ...CofferBank.generateKeys() })).rejects.toMatchObject(invalid)
    await expect(box.rekey({ ...keys, cipher: 'aes-ocb' })).rejects.toMatchObject(invalid)
    await expect(box.rekey({ cofferKey: Buffer.alloc(31) })).rejects.toMatchObject(invalid)
    await expect(box.changePassphrase('')).rejects.toMatchObject(invalid)
    await expect(box.changePassphrase('x', { kdf: { passes: 1 } })).rejects.toMatchObject(invalid)
    await box.close()
    await expect(box.rekey(keys)).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await using reader = await CofferStore.open(path, 'r', keys)
    await expect(reader.rekey(keys)).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
    await using nothing = await CofferNull.open(newPath(), 'x')
    await expect(nothing.rekey({})).rejects.toMatchObject(invalid)
    await expect(nothing.changePassphrase('x')).rejects.toMatchObject(invalid)
  })

  it('waits for a batch to end', async () => {
    const [path, keys, next] = [newPath(), CofferMarket.generateKeys(), CofferMarket.generateKeys()]
    const box = await CofferMarket.open(path, 'x', keys)
    let begun = (): void => {}
    const beginning = new Promise<void>((resolve) => {
      begun = resolve
    })
    const batch = box.batch(async (b) => {
      await b.write('a', 'first')
      begun()
      await new Promise((resolve) => setTimeout(resolve, 50))
      await b.write('b', 'second')
    })
    await beginning
    const rekeying = box.rekey(next)
    await Promise.all([batch, rekeying])
    await box.close()
    await using again = await CofferMarket.open(path, 'r', next)
    expect(await again.readText('a')).toBe('first')
    expect(await again.readText('b')).toBe('second')
  })

  it('changes the cipher of a bank, if it is told to or if the key says so', async () => {
    const path = newPath()
    const box = await CofferBank.open(path, 'x', CofferBank.generateKeys())
    await box.write('a', 'text')
    const cipher = async (): Promise<string> => (await box.info()).cipher
    await box.rekey(CofferBank.generateKeys())
    expect(await cipher()).toBe('fernet')
    await box.rekey({ ...CofferBank.generateKeys(), cipher: 'aes-ocb' })
    expect(await cipher()).toBe('aes-ocb')
    await box.rekey(CofferBank.generateKeys())
    expect(await cipher()).toBe('aes-ocb')
    await box.changePassphrase('words', { kdf })
    expect(await cipher()).toBe('aes-ocb')
    await box.rekey({ ...CofferBank.generateKeys(), cipher: 'fernet' })
    expect(await cipher()).toBe('fernet')
    const short = { cofferKey: noise(16), secureKey: noise(32) }
    await box.rekey(short)
    expect(await cipher()).toBe('aes-ocb')
    expect(await box.readText('a')).toBe('text')
    await box.close()
    await using again = await CofferBank.open(path, 'r', short)
    expect(await again.readText('a')).toBe('text')
  })

  it('keeps layers, levels and sizes of your own', async () => {
    const layers = { member: { level: null, cipher: 'aes-ocb' }, container: { level: 7, cipher: 'fernet' } } as const
    const [path, next] = [newPath(), Coffer.generateKeys(layers)]
    const options = { chunkSize: 4_096, blockSize: 8_192 }
    const box = await Coffer.open(path, 'x', { ...layers, ...Coffer.generateKeys(layers), ...options })
    await box.write('large', noise(300_000))
    await box.rekey(next)
    await box.close()
    await using again = await Coffer.open(path, 'r', { ...layers, ...next })
    expect(await again.info()).toMatchObject({ ...layers, ...options })
    expect((await again.read('large')).equals(noise(300_000))).toBe(true)
  })

  it('keeps a backup that opens with the old keys, and the permissions of the file', async () => {
    const [path, old, next] = [newPath(), CofferStore.generateKeys(), CofferStore.generateKeys()]
    const made = await CofferStore.open(path, 'x', old)
    await made.write('a', 'text')
    await made.close()
    chmodSync(path, 0o640)
    const box = await CofferStore.open(path, 'a', { ...old, backup: true })
    await box.rekey(next)
    await box.close()
    expect(statSync(path).mode & 0o777).toBe(0o640)
    await using backup = await CofferStore.open(`${path}.bak`, 'r', old)
    expect(await backup.readText('a')).toBe('text')
  })

  it.each(sealedKinds)(
    'stops at a $label member that is damaged, which it names, and changes nothing',
    async (kind) => {
      const [path, keys] = [newPath(), keysFor(kind)]
      const made = await openKind(kind, path, 'x', keys)
      await made.write('sound', noise(3_000_000))
      const from = statSync(path).size
      await made.write('broken', noise(3_000_000, 'broken'))
      await made.close()
      const file = readFileSync(path)
      const at = dataPieces(file, true, from).at(-20)?.payload ?? 0
      file.writeUInt8(file.readUInt8(at + 30) ^ 1, at + 30)
      writeFileSync(path, file)
      const box = await openKind(kind, path, 'a', keys)
      await expect(box.rekey(keysFor(kind))).rejects.toMatchObject({
        code: 'ERR_COFFER_CORRUPT',
        member: 'broken',
        path,
      })
      await box.write('after', 'still works')
      await box.close()
      expect(beside(path)).toEqual([])
      await using again = await openKind(kind, path, 'r', keys)
      expect((await again.read('sound')).equals(noise(3_000_000))).toBe(true)
      expect(await again.readText('after')).toBe('still works')
    },
  )

  it('that is killed leaves the old coffer whole, or the new one', { timeout: 120_000 }, async () => {
    const kind = kindOf('bank')
    const [path, old, next] = [newPath(), keysFor(kind), keysFor(kind)]
    const box = await openKind(kind, path, 'x', old, { autoFlush: false, durability: 'none' })
    const data = new Map(Array.from({ length: 12 }, (_, index) => [`large ${index}`, noise(2_000_000, index)]))
    for (const [name, bytes] of data) await box.write(name, bytes)
    await box.close()
    const rekey: Body<{ path: string; old: Keys; next: Keys }, void> = async ({ coffer, say }, args) => {
      const box = await coffer.CofferBank.open(args.path, 'a', args.old)
      await say('begins')
      await box.rekey(args.next)
      await say('done')
    }
    /** How far the new file has come; nothing before it is there and after it has its name. */
    const written = (): number =>
      beside(path).reduce(
        (sum, name) => sum + (statSync(join(path, '..', name), { throwIfNoEntry: false })?.size ?? 0),
        0,
      )
    let keys = old
    let unfinished = 0
    for (let attempt = 0; attempt < 4; attempt += 1) {
      const other = keys === old ? next : old
      const child = startChild(rekey, { path, old: keys, next: other })
      await child.heard()
      let done = false
      const ending = child.heard().then(
        () => {
          done = true
        },
        () => {},
      )
      while (!done && written() <= attempt * 5_000_000) await new Promise((resolve) => setImmediate(resolve))
      await child.kill()
      await ending
      unfinished += beside(path).length
      const survivor = await openKind(kind, path, 'a', keys, { lockTimeout: 5_000 }).catch((error: unknown) => {
        // It was done before the signal came.
        expect(error).toMatchObject(wrongKey)
        keys = other
        return openKind(kind, path, 'a', keys, { lockTimeout: 5_000 })
      })
      expect(beside(path)).toEqual([])
      expect(await listingIn(survivor)).toEqual(listingOf(data, sha256))
      await expect(survivor.verify()).resolves.toBeDefined()
      await survivor.close()
    }
    expect(unfinished).toBeGreaterThan(0)
  })
})
