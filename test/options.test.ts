import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { Coffer, CofferBank, CofferMarket, CofferNull, CofferStore } from './support/coffer.ts'
import { chunks, pieces } from './support/format.ts'
import { type AnyOptions, classOf, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const invalid = { name: 'CofferError', code: 'ERR_COFFER_INVALID_ARG' }
const newPath = (): string => join(tempDir(), 'box.coffer')

describe('autoFlush', () => {
  it.each([
    ['bank', true],
    ['store', false],
    ['market', false],
    ['null', false],
  ] as const)('in a %s is %s by default, and the option turns it round', async (label, byDefault) => {
    const kind = kindOf(label)
    for (const autoFlush of [undefined, !byDefault]) {
      const box = await openKind(kind, newPath(), 'x', keysFor(kind), autoFlush === undefined ? {} : { autoFlush })
      const before = statSync(box.path).size
      await box.write('a', noise(10_000))
      const flushed = autoFlush ?? byDefault
      expect(box.modified).toBe(!flushed)
      expect(statSync(box.path).size > before + 10_000).toBe(flushed)
      await box.close()
    }
  })

  it('of a Coffer with layers of your own is true', async () => {
    const layers = { member: { level: 3, cipher: 'none' }, container: { level: 1, cipher: 'none' } } as const
    await using box = await Coffer.open(newPath(), 'x', layers)
    await box.write('a', 'x')
    expect(box.modified).toBe(false)
  })
})

describe('backup', () => {
  it.each([
    ['.bak', '.bak'],
    ['.old', '.old'],
    [true, '.bak'],
  ] as const)('%s keeps the coffer as it was when opened, made before the first change', async (backup, suffix) => {
    const path = newPath()
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'first')
    await box.close()
    const before = readFileSync(path)
    const changed = await CofferNull.open(path, 'a', { backup })
    expect(existsSync(`${path}${suffix}`)).toBe(false)
    await changed.write('a', 'second')
    await changed.flush()
    expect(readFileSync(`${path}${suffix}`).equals(before)).toBe(true)
    await changed.write('a', 'third')
    await changed.compact()
    await changed.close()
    expect(readFileSync(`${path}${suffix}`).equals(before)).toBe(true)
    await using old = await CofferNull.open(`${path}${suffix}`, 'r')
    expect(await old.readText('a')).toBe('first')
  })

  it('is not made where nothing is changed, and replaces an older one', async () => {
    const path = newPath()
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'first')
    await box.close()
    for (const mode of ['r+', 'a'] as const) {
      const idle = await CofferNull.open(path, mode, { backup: '.bak' })
      await idle.read('a')
      await idle.close()
      expect(existsSync(`${path}.bak`)).toBe(false)
    }
    for (const text of ['second', 'third']) {
      const again = await CofferNull.open(path, 'a', { backup: '.bak' })
      await again.write('a', text)
      await again.close()
    }
    await using old = await CofferNull.open(`${path}.bak`, 'r')
    expect(await old.readText('a')).toBe('second')
  })

  it('is made of the coffer that "w" replaces', async () => {
    const path = newPath()
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'first')
    await box.close()
    const before = readFileSync(path)
    const anew = await CofferNull.open(path, 'w', { backup: true })
    await anew.write('b', 'x')
    await anew.close()
    expect(readFileSync(`${path}.bak`).equals(before)).toBe(true)
  })
})

describe('tempDir', () => {
  const legacy = new URL('./fixtures/store.pycoffer', import.meta.url)
  const keys = { cofferKey: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=' }

  it('is where a legacy coffer is unpacked to, and is left as it was', async () => {
    const temp = join(tempDir(), 'temp')
    mkdirSync(temp)
    const box = await CofferStore.open(legacy, 'r', { ...keys, legacy: true, lock: 'none', tempDir: temp })
    expect(readdirSync(temp)).not.toEqual([])
    await box.close()
    expect(readdirSync(temp)).toEqual([])
  })

  it('is left as it was when the opening fails', async () => {
    const temp = join(tempDir(), 'temp')
    mkdirSync(temp)
    const wrong = CofferStore.generateKeys()
    await expect(
      CofferStore.open(legacy, 'r', { ...wrong, legacy: true, lock: 'none', tempDir: temp }),
    ).rejects.toThrow()
    expect(readdirSync(temp)).toEqual([])
  })

  it('is the system’s by default', async () => {
    const temp = tempDir()
    const body: Body<{ path: string; options: AnyOptions }, [string[], string[]]> = async (
      { coffer, fs },
      { path, options },
    ) => {
      const { TEMP: temp = '' } = process.env
      const box = await coffer.CofferStore.open(path, 'r', options)
      const during = fs.readdirSync(temp)
      await box.close()
      return [during, fs.readdirSync(temp)]
    }
    const copy = join(tempDir(), 'copy')
    copyFileSync(legacy, copy)
    const [during, after] = await inChild(
      body,
      { path: copy, options: { ...keys, legacy: true } },
      { env: { TMPDIR: temp, TEMP: temp, TMP: temp } },
    )
    expect(during).toHaveLength(1)
    expect(after).toEqual([])
    expect(tmpdir()).not.toBe(temp)
  })

  it('is not touched by a coffer of this format', async () => {
    const temp = join(tempDir(), 'does not exist')
    await using box = await CofferNull.open(newPath(), 'x', { tempDir: temp })
    await box.write('large', noise(5_000_000))
    await box.flush()
    await box.compact()
    expect(existsSync(temp)).toBe(false)
  })
})

describe('level', () => {
  it('says how hard members are compressed', async () => {
    const text = lines(40_000).join('\n')
    const sizes: number[] = []
    for (const level of [1, 19]) {
      const keys = CofferBank.generateKeys()
      await using box = await CofferBank.open(newPath(), 'x', { ...keys, level })
      await box.write('text', text)
      expect(await box.readText('text')).toBe(text)
      sizes.push((await box.stat('text')).storedSize)
    }
    expect(sizes[1]).toBeLessThan(sizes[0] ?? 0)
  })
})

describe('chunkSize and blockSize', () => {
  it.each(kinds)('change what a $label is cut into, and a reader need not know', async (kind) => {
    const keys = keysFor(kind)
    const count = async (options: AnyOptions): Promise<number> => {
      const path = newPath()
      const box = await openKind(kind, path, 'x', keys, options)
      await box.write('large', noise(1_000_000))
      await box.append('large', noise(300_000, 'more'))
      await box.close()
      await using again = await openKind(kind, path, 'r', keys)
      expect((await again.read('large')).equals(Buffer.concat([noise(1_000_000), noise(300_000, 'more')]))).toBe(true)
      await expect(again.verify()).resolves.toBeDefined()
      return pieces(readFileSync(path), kind.container !== null).length
    }
    const usual = await count({})
    expect(await count({ blockSize: 65_536 })).toBeGreaterThan(usual + 8)
    if (kind.container !== null) expect(await count({ chunkSize: 8_192 })).toBeGreaterThan(usual + 80)
  })

  it('makes chunks no longer than PyCoffer’s by default', async () => {
    const path = newPath()
    const keys = CofferStore.generateKeys()
    const box = await CofferStore.open(path, 'x', keys)
    await box.write('large', noise(1_000_000))
    await box.close()
    for (const { length } of chunks(readFileSync(path))) expect(length).toBeLessThanOrEqual(65_536 + 40)
  })
})

describe('durability', () => {
  it('"none" leaves the same coffer', async () => {
    const path = newPath()
    const box = await CofferNull.open(path, 'x', { durability: 'none' })
    await box.write('a', 'x')
    await box.close()
    await using again = await CofferNull.open(path, 'r')
    expect(await again.readText('a')).toBe('x')
  })
})

describe('expect', () => {
  it('takes a commit of the history, and refuses a coffer without it', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'first')
    await box.flush()
    const first = box.head
    copyFileSync(path, join(directory, 'older'))
    await box.write('a', 'second')
    await box.flush()
    const second = box.head
    await box.close()

    for (const expected of [first, second]) await (await CofferNull.open(path, 'r', { expect: expected })).close()
    await (await CofferNull.open(join(directory, 'older'), 'r', { expect: first })).close()
    // An older copy that was put back is whole in itself; only who remembers can tell.
    await expect(CofferNull.open(join(directory, 'older'), 'r', { expect: second })).rejects.toMatchObject({
      code: 'ERR_COFFER_ROLLED_BACK',
      path: join(directory, 'older'),
    })
    const never = { generation: first.generation, digest: 'ab'.repeat(32) }
    await expect(CofferNull.open(path, 'r', { expect: never })).rejects.toMatchObject({
      code: 'ERR_COFFER_ROLLED_BACK',
    })

    const compacted = await CofferNull.open(path, 'a', { expect: second })
    await compacted.compact()
    await compacted.close()
    for (const expected of [first, second]) await (await CofferNull.open(path, 'r', { expect: expected })).close()
  })
})

describe('the cipher of a Bank', () => {
  it('is Fernet, or AES-OCB on request or by the length of the key; and an existing coffer keeps its own', async () => {
    const container = (path: string): number => readFileSync(path).readUInt8(4 + 6)
    const fernet = newPath()
    const keys = CofferBank.generateKeys()
    await (await CofferBank.open(fernet, 'x', keys)).close()
    expect(container(fernet)).toBe(2)

    const ocb = newPath()
    const ocbKeys = CofferBank.generateKeys({ cipher: 'aes-ocb' })
    await (await CofferBank.open(ocb, 'x', { ...ocbKeys, cipher: 'aes-ocb' })).close()
    expect(container(ocb)).toBe(3)
    await (await CofferBank.open(ocb, 'a', ocbKeys)).close()
    expect(container(ocb)).toBe(3)

    for (const length of [16, 24]) {
      const path = newPath()
      const short = { cofferKey: noise(length), secureKey: keys.secureKey }
      const box = await CofferBank.open(path, 'x', short)
      await box.write('a', 'x')
      await box.close()
      expect(container(path)).toBe(3)
      await using again = await CofferBank.open(path, 'r', short)
      expect(await again.readText('a')).toBe('x')
    }
  })
})

describe('keys', () => {
  it('are accepted as bytes, as base64 and as base64url, padded or not', async () => {
    const bytes = Buffer.alloc(32, 0xfb)
    const path = newPath()
    await (await CofferStore.open(path, 'x', { cofferKey: bytes })).close()
    const forms = [
      new Uint8Array(bytes),
      bytes.toString('base64'),
      bytes.toString('base64url'),
      bytes.toString('base64').replace('=', ''),
    ]
    for (const cofferKey of forms) await (await CofferStore.open(path, 'r', { cofferKey })).close()
  })

  it('are new each time they are generated, and are those that the kind needs', () => {
    expect(CofferBank.generateKeys()).not.toEqual(CofferBank.generateKeys())
    expect(Object.keys(CofferBank.generateKeys())).toEqual(['cofferKey', 'secureKey'])
    expect(Object.keys(CofferStore.generateKeys())).toEqual(['cofferKey'])
    expect(Object.keys(CofferMarket.generateKeys())).toEqual(['secureKey'])
    expect(CofferNull.generateKeys()).toEqual({})
    const own = Coffer.generateKeys({ member: { cipher: 'none' }, container: { cipher: 'aes-ocb' } })
    expect(Object.keys(own)).toEqual(['cofferKey'])
    for (const text of Object.values(CofferBank.generateKeys())) expect(Buffer.from(text, 'base64url')).toHaveLength(32)
  })

  it('that a caller passes as bytes are left as they are', async () => {
    const cofferKey = noise(32)
    await (await CofferStore.open(newPath(), 'x', { cofferKey })).close()
    expect(cofferKey.equals(noise(32))).toBe(true)
  })

  it.each([
    ['missing', undefined],
    ['too short', noise(31)],
    ['too long', noise(33)],
    ['empty', new Uint8Array()],
    ['no base64', 'not base64!'],
    ['a number', 7],
  ])('that are %s are refused', async (_, cofferKey) => {
    await expect(classOf('CofferStore').open(newPath(), 'x', { cofferKey } as AnyOptions)).rejects.toMatchObject(
      invalid,
    )
  })
})

describe('an option that makes no sense', () => {
  it.each([
    [{ autoFlush: 1 }],
    [{ lock: 'rx' }],
    [{ lockTimeout: -1 }],
    [{ lockTimeout: 1.5 }],
    [{ level: 0 }],
    [{ level: 23 }],
    [{ chunkSize: 0 }],
    [{ blockSize: -4 }],
    [{ durability: 'some' }],
    [{ legacy: 'yes' }],
    [{ backup: '' }],
    [{ backup: '../elsewhere' }],
    [{ backup: false }],
    [{ tempDir: 7 }],
    [{ expect: {} }],
    [{ expect: { generation: 1, digest: 'short' } }],
    [{ signal: {} }],
    [{ autoflush: true }],
    [{ secretKey: 'x' }],
  ])('is refused: %j', async (options) => {
    const path = newPath()
    await expect(classOf('CofferNull').open(path, 'x', options as AnyOptions)).rejects.toMatchObject(invalid)
    expect(existsSync(path)).toBe(false)
  })

  it('is refused: a key where nothing is sealed', async () => {
    const path = newPath()
    const keyless = { name: 'CofferError', code: 'ERR_COFFER_KEYLESS' }
    await expect(classOf('CofferNull').open(path, 'x', { secureKey: noise(32) })).rejects.toMatchObject(keyless)
    expect(existsSync(path)).toBe(false)
  })
})
