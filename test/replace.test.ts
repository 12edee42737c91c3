import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, type Inside, startChild } from './support/child.ts'
import { Coffer, CofferError, CofferNull, CofferStore } from './support/coffer.ts'
import {
  type AnyOptions,
  contents,
  type Kind,
  keyedKinds,
  keysFor,
  kindOf,
  kinds,
  openKind,
  optionsFor,
} from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

/** What lies in the directory of a coffer. */
const beside = (path: string): string[] => readdirSync(dirname(path)).sort()
const alone = ['box.coffer', 'box.coffer.lock']
const legacy = (kind: Kind): string => fileURLToPath(new URL(`./fixtures/${kind.label}.pycoffer`, import.meta.url))

/** A path with these bytes in it. */
function fileOf(bytes: Uint8Array | string): string {
  const path = join(tempDir(), 'box.coffer')
  writeFileSync(path, bytes)
  return path
}

/** The bytes of a coffer with a member. */
async function bytesOf(kind: Kind, keys: AnyOptions, options: AnyOptions = {}): Promise<Buffer> {
  const path = join(tempDir(), 'old.coffer')
  const box = await openKind(kind, path, 'x', {}, { ...keys, ...options })
  await box.write('old', noise(50_000, 'old'))
  await box.close()
  return readFileSync(path)
}

/** Opens with `w` what must be refused, and holds the file to what it was; then replaces it all the same. */
async function refused(kind: Kind, bytes: Uint8Array | string, options: AnyOptions, code: string | RegExp) {
  const path = fileOf(bytes)
  const error: unknown = await openKind(kind, path, 'w', {}, options).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(CofferError)
  expect(error).toMatchObject({
    code: typeof code === 'string' ? `ERR_COFFER_${code}` : expect.stringMatching(code),
    path,
    message: expect.stringMatching(/was left as it is: .*replace: true/),
  })
  expect(readFileSync(path).equals(Buffer.from(bytes))).toBe(true)
  expect(beside(path)).toEqual(alone)

  const box = await openKind(kind, path, 'w', {}, { ...options, replace: true })
  await box.write('new', 'new')
  await box.close()
  const { replace: _, kdf: __, ...reading } = options
  await using again = await openKind(kind, path, 'r', {}, reading)
  expect([...(await contents(again)).keys()]).toEqual(['new'])
  expect(beside(path)).toEqual(alone)
}

describe.each(kinds)('opening a $label with "w" where a file is', (kind) => {
  it('is refused for a file that is no coffer', async () => {
    const options = optionsFor(kind, keysFor(kind))
    for (const bytes of ['notes that are no coffer at all\n'.repeat(100), noise(40_000, 'noise'), 'x']) {
      await refused(kind, bytes, options, /^ERR_COFFER_(CORRUPT|LEGACY|WRONG_KEY)$/)
    }
  })

  it('is refused for a damaged one', async () => {
    const options = optionsFor(kind, keysFor(kind))
    const bytes = await bytesOf(kind, options)
    // Its header is whole, and no commit behind it.
    const damaged = Buffer.concat([bytes.subarray(0, 300), noise(bytes.length - 300, 'damage')])
    await refused(kind, damaged, options, 'CORRUPT')
  })

  it('is refused for one in the format of PyCoffer, unless that is accepted', async () => {
    const options = optionsFor(kind, keysFor(kind))
    await refused(kind, readFileSync(legacy(kind)), options, 'LEGACY')
  })

  it('replaces one of its own, an empty file, and makes what is missing', async () => {
    const options = optionsFor(kind, keysFor(kind))
    for (const bytes of [await bytesOf(kind, options), '']) {
      const path = fileOf(bytes)
      const box = await openKind(kind, path, 'w', {}, options)
      expect(await box.members()).toEqual([])
      expect(box.notices).toEqual([])
      await box.write('new', 'new')
      await box.close()
      await using again = await openKind(kind, path, 'r', {}, options)
      expect([...(await contents(again)).keys()]).toEqual(['new'])
      expect(beside(path)).toEqual(alone)
    }
    const missing = join(tempDir(), 'box.coffer')
    const made = await openKind(kind, missing, 'w', {}, options)
    // Where nothing was, there is nothing to keep: it is there at once.
    expect(statSync(missing).size).toBeGreaterThan(0)
    await made.close()
    await (await openKind(kind, missing, 'r', {}, options)).close()
  })

  it('leaves the old coffer whole until the first commit', async () => {
    const options = optionsFor(kind, keysFor(kind))
    const old = await bytesOf(kind, options)
    const path = fileOf(old)
    const box = await openKind(kind, path, 'w', {}, { ...options, autoFlush: false, lock: 'w' })
    expect(readFileSync(path).equals(old)).toBe(true)
    expect(box.mtime).toEqual(statSync(path).mtime)
    await box.write('new', noise(200_000, 'new'))
    expect([...(await contents(box)).keys()]).toEqual(['new'])
    expect(readFileSync(path).equals(old)).toBe(true)
    {
      await using reader = await openKind(kind, path, 'r', {}, { ...options, lock: 'w' })
      expect((await reader.read('old')).equals(noise(50_000, 'old'))).toBe(true)
    }
    await box.flush()
    expect(readFileSync(path).equals(old)).toBe(false)
    expect(box.mtime).toEqual(statSync(path).mtime)
    {
      await using reader = await openKind(kind, path, 'r', {}, { ...options, lock: 'w' })
      expect((await reader.read('new')).equals(noise(200_000, 'new'))).toBe(true)
      expect(await reader.has('old')).toBe(false)
    }
    await box.write('more', 'x')
    await box.close()
    expect(beside(path)).toEqual(alone)
    await using again = await openKind(kind, path, 'r', {}, options)
    expect([...(await contents(again)).keys()]).toEqual(['more', 'new'])
    await expect(again.verify()).resolves.toMatchObject({ members: 2 })
  })

  it.each(['before', 'after'] as const)('leaves the old coffer when its process is killed %s a write', async (when) => {
    const options = optionsFor(kind, keysFor(kind))
    const old = await bytesOf(kind, options)
    const path = fileOf(old)
    const body: Body<{ className: 'CofferBank'; path: string; options: object; write: boolean }, void> = async (
      { coffer, say, hear }: Inside,
      { className, path, options, write },
    ) => {
      const box = await coffer[className].open(path, 'w', { ...options, autoFlush: false })
      if (write) await box.write('new', new Uint8Array(3_000_000).fill(7))
      await say('ready')
      await hear()
      await box.close()
    }
    const args = { className: kind.className as 'CofferBank', path, options, write: when === 'after' }
    const child = startChild(body, args)
    await child.heard()
    expect(readFileSync(path).equals(old)).toBe(true)
    await child.kill()
    expect(readFileSync(path).equals(old)).toBe(true)
    const next = await openKind(kind, path, 'r+', {}, { ...options, lockTimeout: 0 })
    expect((await next.read('old')).equals(noise(50_000, 'old'))).toBe(true)
    expect(beside(path)).toEqual(alone)
    await next.close()
    await using again = await openKind(kind, path, 'r', {}, options)
    await expect(again.verify()).resolves.toMatchObject({ members: 1 })
  })
})

describe.each(keyedKinds)('opening a $label with "w" and other keys', (kind) => {
  it('is refused', async () => {
    await refused(
      kind,
      await bytesOf(kind, optionsFor(kind, keysFor(kind))),
      optionsFor(kind, keysFor(kind)),
      'WRONG_KEY',
    )
  })
})

describe('opening with "w"', () => {
  const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
  const store = kindOf('store')

  it('is refused for a coffer of another kind', async () => {
    for (const [old, next] of [
      ['null', 'store'],
      ['store', 'null'],
      ['store', 'bank'],
      ['market', 'null'],
    ] as const) {
      const bytes = await bytesOf(kindOf(old), optionsFor(kindOf(old), keysFor(kindOf(old))))
      await refused(
        kindOf(next),
        bytes,
        optionsFor(kindOf(next), keysFor(kindOf(next))),
        /^ERR_COFFER_WRONG_(KIND|KEY)$/,
      )
    }
    const layers = { member: { cipher: 'none', level: 5 }, container: { cipher: 'none' } } as const
    const path = fileOf(await bytesOf(kindOf('null'), {}))
    const before = readFileSync(path)
    await expect(Coffer.open(path, 'w', layers)).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KIND' })
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  it('is refused for a coffer with another passphrase, or with keys in place of one', async () => {
    const bytes = await bytesOf(store, {}, { passphrase: 'anvil mosaic turnip lantern', kdf })
    await refused(store, bytes, { passphrase: 'anvil mosaic turnip', kdf }, 'WRONG_KEY')
    const path = fileOf(bytes)
    await expect(openKind(store, path, 'w', keysFor(store))).rejects.toMatchObject({
      code: expect.stringMatching(/WRONG_KEY|INVALID_ARG/),
    })
    expect(readFileSync(path).equals(bytes)).toBe(true)
  })

  it('replaces a coffer of PyCoffer where that is accepted and the keys are its own', async () => {
    const path = fileOf(readFileSync(legacy(kindOf('null'))))
    const box = await CofferNull.open(path, 'w', { legacy: true })
    await box.write('new', 'x')
    await box.close()
    await using again = await CofferNull.open(path, 'r')
    expect([...(await contents(again)).keys()]).toEqual(['new'])
  })

  it('replaces it at the first write with autoFlush, at a flush, and at the end without any change', async () => {
    const old = await bytesOf(kindOf('null'), {})
    const first = fileOf(old)
    const writing = await CofferNull.open(first, 'w', { autoFlush: true })
    await writing.write('new', 'x')
    expect(readFileSync(first).equals(old)).toBe(false)
    await writing.close()

    const second = fileOf(old)
    const forcing = await CofferNull.open(second, 'w')
    await forcing.flush({ force: true })
    expect(readFileSync(second).equals(old)).toBe(false)
    await forcing.close()

    const third = fileOf(old)
    await (await CofferNull.open(third, 'w')).close()
    for (const path of [second, third]) {
      await using again = await CofferNull.open(path, 'r')
      expect(await again.members()).toEqual([])
      expect(beside(path)).toEqual(alone)
    }
  })

  it('keeps others out from the opening on', async () => {
    const path = fileOf(await bytesOf(kindOf('null'), {}))
    const locked = { code: 'ERR_COFFER_LOCKED' }
    const box = await CofferNull.open(path, 'w')
    for (const mode of ['r', 'r+', 'a', 'w'] as const) {
      await expect(CofferNull.open(path, mode, { lockTimeout: 0 })).rejects.toMatchObject(locked)
    }
    await box.write('new', 'x')
    await box.flush()
    for (const mode of ['r', 'r+', 'a', 'w'] as const) {
      await expect(CofferNull.open(path, mode, { lockTimeout: 0 })).rejects.toMatchObject(locked)
    }
    await box.close()
  })

  it('makes the backup at the first commit, of the coffer that is replaced', async () => {
    const old = await bytesOf(kindOf('null'), {})
    const path = fileOf(old)
    const box = await CofferNull.open(path, 'w', { backup: true })
    expect(beside(path)).not.toContain('box.coffer.bak')
    await box.write('new', 'x')
    await box.flush()
    expect(readFileSync(`${path}.bak`).equals(old)).toBe(true)
    await box.close()
    await using saved = await CofferNull.open(`${path}.bak`, 'r')
    expect([...(await contents(saved)).keys()]).toEqual(['old'])
  })

  it('takes replace for the mode alone', async () => {
    const keys = CofferStore.generateKeys()
    for (const mode of ['r', 'r+', 'a', 'x'] as const) {
      const opening = openKind(store, join(tempDir(), 'box.coffer'), mode, keys, { replace: true })
      await expect(opening).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
        message: expect.stringContaining("replace is for the mode 'w'"),
      })
    }
  })
})
