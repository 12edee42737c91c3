import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { noise, sha256 } from './support/bytes.ts'
import {
  Coffer,
  CofferBank,
  CofferError,
  CofferStore,
  deriveKeys,
  identify,
  type KdfOptions,
  type KdfParameters,
} from './support/coffer.ts'
import { headerMarks, markLength } from './support/format.ts'
import { classOf, contents, type Keys, type Kind, keyedKinds, keysFor, kindOf, openKind } from './support/kinds.ts'
import { listingOf, PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

/** The floor, so that these tests do not take long. */
const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
const passphrase = 'correct horse battery staple'

const members = new Map([
  ['large', noise(2_500_000, 'large')],
  ['small', Buffer.from('small')],
])

const newPath = (): string => join(tempDir(), 'box.coffer')

async function make(kind: Kind, path = newPath()): Promise<string> {
  const box = await openKind(kind, path, 'x', {}, { passphrase, kdf })
  for (const [name, data] of members) await box.write(name, data)
  await box.close()
  return path
}

/** The keys that a kind takes, out of both. */
function keysOf(kind: Kind, { cofferKey, secureKey }: Required<Keys>): Keys {
  return { ...(kind.container === null ? {} : { cofferKey }), ...(kind.sealedMembers ? { secureKey } : {}) }
}

async function expectMembers(box: Coffer): Promise<void> {
  expect(listingOf(await contents(box), sha256)).toEqual(listingOf(members, sha256))
}

async function kdfOf(path: string): Promise<KdfParameters> {
  const found = (await identify(path)).kdf
  if (found === undefined) throw new Error('the coffer has no passphrase')
  return found
}

describe.each(keyedKinds)('a $label from a passphrase', (kind) => {
  it('opens with it in every mode, and keeps it through compaction', async () => {
    const path = await make(kind)
    const box = await openKind(kind, path, 'a', {}, { passphrase })
    await expectMembers(box)
    await box.delete('large')
    await box.compact()
    await box.close()
    await using again = await openKind(kind, path, 'r', {}, { passphrase })
    expect(again.notices).toEqual([])
    expect([...(await contents(again)).keys()]).toEqual(['small'])
    expect((await again.info()).kdf).toEqual({ salt: expect.any(String) as string, ...kdf })
  })

  it('does not open with another passphrase, nor with keys of its own, and says which it is', async () => {
    const path = await make(kind)
    for (const wrong of ['correct horse battery stapl', `${passphrase} `, passphrase.toUpperCase()]) {
      await expect(openKind(kind, path, 'r', {}, { passphrase: wrong })).rejects.toMatchObject({
        code: 'ERR_COFFER_WRONG_KEY',
        message: expect.stringMatching(/the passphrase is not the one/) as string,
        path,
      })
    }
    await expect(openKind(kind, path, 'a', keysFor(kind))).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
      message: expect.stringMatching(/made from a passphrase/) as string,
    })
  })

  it('opens with the keys that deriveKeys makes of the salt in its header', async () => {
    const path = await make(kind)
    const keys = await deriveKeys(passphrase, await kdfOf(path))
    await using box = await openKind(kind, path, 'a', keysOf(kind, keys))
    await expectMembers(box)
  })

  it.skipIf(python === null)('opens in PyCoffer with those keys', async () => {
    const path = await make(kind)
    const keys = await deriveKeys(passphrase, await kdfOf(path))
    const pycoffer = new PyCoffer()
    expect(await pycoffer.list(kind.label, path, keysOf(kind, keys))).toEqual(listingOf(members, sha256))
    await pycoffer.end()
  })

  it('has another salt, and so other keys, than the next one', async () => {
    const [one, two] = [await kdfOf(await make(kind)), await kdfOf(await make(kind))]
    expect(one.salt).not.toBe(two.salt)
    expect(await deriveKeys(passphrase, one)).not.toEqual(await deriveKeys(passphrase, two))
  })

  it('is told from one that was made with keys', async () => {
    const path = newPath()
    await (await openKind(kind, path, 'x', keysFor(kind))).close()
    await expect(openKind(kind, path, 'r', {}, { passphrase })).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
      message: expect.stringMatching(/made with keys, not from a passphrase/) as string,
      path,
    })
  })
})

describe('a passphrase', () => {
  it('is the same however its accents are typed, and bytes are taken as they are', async () => {
    const path = newPath()
    await (await CofferStore.open(path, 'x', { passphrase: 'Gru\u0308\u00dfe', kdf })).close()
    await (await CofferStore.open(path, 'r', { passphrase: 'Gr\u00fc\u00dfe' })).close()
    await (await CofferStore.open(path, 'r', { passphrase: Buffer.from('Gr\u00fc\u00dfe') })).close()
    await expect(CofferStore.open(path, 'r', { passphrase: Buffer.from('Gru\u0308\u00dfe') })).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
    })
  })

  it('given as bytes is left as it was, and may be overwritten at once', async () => {
    const path = await make(kindOf('store'))
    const bytes = Buffer.from(passphrase)
    const opening = CofferStore.open(path, 'r', { passphrase: bytes })
    expect(bytes.toString()).toBe(passphrase)
    bytes.fill(0)
    await (await opening).close()
  })

  it('appears neither in what is shown of a coffer nor in an error', async () => {
    const path = await make(kindOf('bank'))
    await using box = await CofferBank.open(path, 'r', { passphrase })
    expect(inspect(box, { depth: 9, showHidden: true })).not.toContain(passphrase)
    const outcomes = await Promise.allSettled([
      CofferBank.open(path, 'r', { passphrase: `${passphrase}!` }),
      classOf('CofferBank').open(path, 'r', { passphrase, cofferKey: 'x' }),
      classOf('CofferNull').open(newPath(), 'x', { passphrase }),
      CofferBank.open(newPath(), 'x', { passphrase, kdf: { passes: 1 } }),
      deriveKeys(passphrase, { salt: 'short' }),
    ])
    for (const outcome of outcomes) {
      const error: unknown = outcome.status === 'rejected' ? outcome.reason : undefined
      expect(error).toBeInstanceOf(CofferError)
      expect(inspect(error)).not.toContain(passphrase)
    }
  })

  it('makes a coffer hard to guess by default', async () => {
    await using box = await CofferStore.open(newPath(), 'x', { passphrase })
    expect((await box.info()).kdf).toMatchObject({ memory: 256 * 1024 * 1024, passes: 3 })
  })

  it('leaves the thread of JavaScript free while keys are derived', async () => {
    let ticks = 0
    const timer = setInterval(() => {
      ticks += 1
    }, 1)
    await deriveKeys(passphrase, { salt: Buffer.alloc(16), memory: 128 * 1024 * 1024, passes: 4 })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })

  it('may be called off: then there is no coffer, and no lock is left', async () => {
    const path = newPath()
    const reason = new Error('enough')
    const controller = new AbortController()
    const opening = CofferStore.open(path, 'x', { passphrase, signal: controller.signal })
    setTimeout(() => controller.abort(reason), 20)
    await expect(opening).rejects.toBe(reason)
    expect(existsSync(path)).toBe(false)
    await (await CofferStore.open(path, 'x', { passphrase, kdf, lockTimeout: 0 })).close()
  })

  it.each([
    [{ passphrase: '' }, /the passphrase is empty/],
    [{ passphrase: new Uint8Array() }, /the passphrase is empty/],
    [{ passphrase: 5 }, /must be a string or a Uint8Array, not a number/],
    [{ passphrase: 'half \ud800' }, /half of a surrogate pair/],
    [{ passphrase, cofferKey: Buffer.alloc(32) }, /either keys or a passphrase/],
    [{ passphrase, secureKey: Buffer.alloc(32) }, /either keys or a passphrase/],
    [{ kdf, cofferKey: Buffer.alloc(32) }, /kdf is for deriving keys from a passphrase, and no passphrase is given/],
    [{ passphrase, kdf: { memory: 19 * 1024 * 1024 - 1024 } }, /kdf\.memory must be an integer from 19922944/],
    [{ passphrase, kdf: { memory: 1024 ** 3 + 1024 } }, /kdf\.memory must be an integer from .* to 1073741824/],
    [{ passphrase, kdf: { memory: 19 * 1024 * 1024 + 1 } }, /kdf\.memory must be a multiple of 1024/],
    [{ passphrase, kdf: { passes: 1 } }, /kdf\.passes must be an integer from 2 to 16/],
    [{ passphrase, kdf: { passes: 17 } }, /kdf\.passes must be an integer from 2 to 16/],
    [{ passphrase, kdf: { Memory: 5 } }, /did you mean memory\?/],
    [{}, /needs a cofferKey.*A passphrase will do in place of keys/],
  ])('or its strength that makes no sense is refused: %j', async (options, message) => {
    const path = newPath()
    await expect(classOf('CofferStore').open(path, 'x', options as object)).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringMatching(message) as string,
    })
    expect(existsSync(path)).toBe(false)
  })

  it('is refused where nothing would be sealed', async () => {
    const refused = { code: 'ERR_COFFER_KEYLESS', message: expect.stringMatching(/protect nothing/) as string }
    await expect(classOf('CofferNull').open(newPath(), 'x', { passphrase })).rejects.toMatchObject(refused)
    const layers = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const
    await expect(Coffer.open(newPath(), 'x', { ...layers, passphrase })).rejects.toMatchObject(refused)
  })

  it('opens layers of your own, sealed in any way', async () => {
    for (const layers of [
      { member: { cipher: 'aes-ocb' }, container: { cipher: 'none' } },
      { member: { cipher: 'none' }, container: { cipher: 'fernet' } },
      { member: { cipher: 'fernet' }, container: { cipher: 'aes-ocb' } },
    ] as const) {
      const path = newPath()
      const box = await Coffer.open(path, 'x', { ...layers, passphrase, kdf })
      await box.write('a', 'text')
      await box.close()
      await using again = await Coffer.open(path, 'r', { ...layers, passphrase })
      expect(await again.readText('a')).toBe('text')
    }
  })

  it('is no way into a coffer of PyCoffer, which knows none', async () => {
    const legacy = new URL('./fixtures/store.pycoffer', import.meta.url)
    await expect(CofferStore.open(legacy, 'r', { passphrase, legacy: true, lock: 'none' })).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
    })
    await expect(CofferStore.open(legacy, 'r', { passphrase, lock: 'none' })).rejects.toMatchObject({
      code: 'ERR_COFFER_LEGACY',
    })
  })
})

describe('deriveKeys', () => {
  const base64url = (hex: string): string => `${Buffer.from(hex, 'hex').toString('base64url')}=`

  // Made with PyNaCl, nacl.pwhash.argon2id.kdf(32, passphrase, salt, passes, memory), and Python's
  // blake3, blake3(secret, derive_key_context=...).
  it.each([
    [
      'correct horse battery staple',
      { salt: Buffer.from('0123456789abcdef'), memory: 19 * 1024 * 1024, passes: 2 },
      'e36abc9d46273a5d29aa56f64f6b930a253771c12932ef3be2773a99981fae21',
      '3a33bd7e15abfdca20de42482a8ad5235178eeee4dd86831f837e883924b62e0',
    ],
    [
      'Grüße',
      { salt: Buffer.alloc(16), memory: 64 * 1024 * 1024 },
      '72a7079f865048d8d67c11ecddd579a904d472391280eac837f765b2600665ca',
      '39f84f5dd71d88ce027ff21b4f116ca28dab60b425dc241164bbee5ac8110568',
    ],
  ])('makes the keys that Argon2id and BLAKE3 of others make: %s', async (text, options, cofferKey, secureKey) => {
    const keys = { cofferKey: base64url(cofferKey), secureKey: base64url(secureKey) }
    expect(await deriveKeys(text, options)).toEqual(keys)
    for (const encoding of ['base64', 'base64url'] as const) {
      expect(await deriveKeys(text, { ...options, salt: options.salt.toString(encoding) })).toEqual(keys)
    }
  })

  it.each([
    [undefined, /options of deriveKeys must be an object/],
    [{}, /needs a salt/],
    [{ salt: Buffer.alloc(15) }, /salt must be a Uint8Array of 16 bytes/],
    [{ salt: 'AAAA' }, /salt must be a Uint8Array of 16 bytes/],
    [{ salt: 'not base64!' }, /salt must be/],
    [{ salt: 5 }, /salt must be/],
    [{ salt: Buffer.alloc(16), memory: 1024 }, /memory must be an integer from/],
    [{ salt: Buffer.alloc(16), passes: 1 }, /passes must be an integer from 2/],
    [{ salt: Buffer.alloc(16), Salt: 5 }, /did you mean salt/],
  ])('refuses %j', async (options, message) => {
    await expect(deriveKeys(passphrase, options as never)).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringMatching(message) as string,
    })
  })
})

describe('the header of a coffer from a passphrase', () => {
  /** Where the strength stands in the mark that begins at an offset. */
  const strengthAt = 20

  function withStrength(file: Buffer, { memory, passes }: Required<KdfOptions>): Buffer {
    const copy = Buffer.from(file)
    for (const mark of headerMarks(copy, 'key')) {
      copy.writeUInt16LE(passes, mark + strengthAt + 2)
      copy.writeUInt32LE(memory, mark + strengthAt + 4)
    }
    return copy
  }

  it.each([
    [{ memory: 2 ** 32 - 1, passes: 2 }, /4294967295 KiB of memory/],
    [{ memory: 2 ** 20 + 1, passes: 2 }, /1048577 KiB of memory/],
    [{ memory: 19 * 1024 - 1, passes: 2 }, /19455 KiB of memory/],
    [{ memory: 8, passes: 2 }, /8 KiB of memory/],
    [{ memory: 19 * 1024, passes: 1 }, /1 passes/],
    [{ memory: 19 * 1024, passes: 65_535 }, /65535 passes/],
  ])('may not ask for too little nor for too much: %j', async (strength, message) => {
    const path = await make(kindOf('bank'))
    writeFileSync(path, withStrength(readFileSync(path), strength))
    for (const mode of ['r', 'a'] as const) {
      await expect(CofferBank.open(path, mode, { passphrase })).rejects.toMatchObject({
        code: 'ERR_COFFER_LIMIT',
        message: expect.stringMatching(message) as string,
        path,
      })
    }
  })

  it('whose strength was changed in every copy does not open, for the passphrase makes other keys', async () => {
    const path = await make(kindOf('bank'))
    writeFileSync(path, withStrength(readFileSync(path), { memory: 19 * 1024, passes: 3 }))
    await expect(CofferBank.open(path, 'r', { passphrase })).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
  })

  it.each([
    ['store', 1],
    // In an unsealed container the marks lie elsewhere, and mean the same.
    ['market', 9],
  ] as const)(
    'of a %s with any bit of its clear part turned over opens by its copy, and says so',
    { timeout: 300_000 },
    async (label, step) => {
      const kind = kindOf(label)
      const path = await make(kind)
      const file = readFileSync(path)
      const [first = 0] = headerMarks(file, 'header')
      const [second = 0] = headerMarks(file, 'key')
      const clear = [first, second].flatMap((mark) =>
        Array.from({ length: markLength * 8 }, (_, bit) => mark * 8 + bit),
      )
      // The bits of the salt all do the same.
      const isSalt = (bit: number): boolean => bit >= (second + 4) * 8 && bit < (second + strengthAt) * 8
      for (const bit of clear.filter((bit, index) => index % (isSalt(bit) ? 9 : step) === 0)) {
        const copy = Buffer.from(file)
        copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
        writeFileSync(path, copy)
        await using box = await openKind(kind, path, 'r', {}, { passphrase })
        expect(
          box.notices.map((notice) => notice.code),
          `bit ${bit}`,
        ).toEqual(['damaged-header'])
        expect(await box.readText('small')).toBe('small')
      }
    },
  )

  it.each(['store', 'market'] as const)('of a %s with keys does not pass for one from a passphrase', async (label) => {
    const kind = kindOf(label)
    const [path, keys] = [newPath(), keysFor(kind)]
    const made = await openKind(kind, path, 'x', keys)
    await made.write('small', 'small')
    await made.close()
    const file = readFileSync(path)
    for (const mark of headerMarks(file, 'header')) file.writeUInt8(1, mark + 7)
    writeFileSync(path, file)
    await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    await expect(openKind(kind, path, 'r', {}, { passphrase })).rejects.toMatchObject({ code: 'ERR_COFFER_VERSION' })
  })
})
