import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import * as coffer from 'coffer'
import {
  Coffer,
  CofferBank,
  type CofferBatch,
  CofferError,
  type CofferFile,
  CofferMarket,
  CofferNull,
  type CofferReader,
  CofferStore,
  type CofferWriter,
  type CryptPlugin,
  type PasswordPlugin,
  type RsyncPlugin,
} from 'coffer'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'coffer-unit-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let count = 0
const fresh = (): string => join(directory, `${count++}.coffer`)

/** What a call rejects with that is about its arguments. */
const refused = (message: RegExp) => ({ code: 'ERR_COFFER_INVALID_ARG', message: expect.stringMatching(message) })

/** The same for a call that would wait for the batch that it is made in. */
const inBatch = (message: RegExp) => ({ ...refused(message), code: 'ERR_COFFER_IN_BATCH' })

/** A value that TypeScript would not let through. */
const wrong = (value: unknown): never => value as never

const bankKeys = CofferBank.generateKeys()

describe('open refuses, before anything is touched,', () => {
  it.each(['', 'rw', 'r++', 'rbb', 'br', 'a+', 'w+', 'b', 'A', 5, null, undefined])('the mode %j', async (mode) => {
    await expect(CofferNull.open(fresh(), wrong(mode))).rejects.toMatchObject(
      refused(/mode must be 'r', 'r\+', 'a', 'w' or 'x'/),
    )
  })

  it.each([
    ['', /path of a coffer/],
    [5, /path of a coffer/],
    ['a\0b', /NUL/],
    [new URL('https://x/'), /not https:/],
  ] as const)('the path %s', async (path, message) => {
    await expect(CofferNull.open(wrong(path), 'a')).rejects.toMatchObject(refused(message))
  })

  it('a misspelt option, and says which one was meant', async () => {
    await expect(CofferNull.open(fresh(), 'a', wrong({ locktimeout: 5 }))).rejects.toMatchObject(
      refused(/no option locktimeout: did you mean lockTimeout\?/),
    )
  })

  it('an option that another kind has', async () => {
    await expect(CofferNull.open(fresh(), 'a', wrong({ cipher: 'fernet' }))).rejects.toMatchObject(
      refused(/no option cipher/),
    )
  })

  it.each([
    [{ lock: 'x' }, /lock must be one of 'rw', 'w', 'none', not another string/],
    [{ lockTimeout: -1 }, /lockTimeout must be an integer from 0/],
    [{ lockTimeout: 1.5 }, /lockTimeout must be an integer/],
    [{ level: 23 }, /level must be an integer from 1 to 22, not 23/],
    [{ level: '3' }, /level must be an integer from 1 to 22, not a string/],
    [{ chunkSize: 0 }, /chunkSize/],
    [{ blockSize: Number.NaN }, /blockSize/],
    [{ durability: 'some' }, /durability must be one of 'full', 'none'/],
    [{ legacy: 1 }, /legacy must be true or false, not a number/],
    [{ autoFlush: 'yes' }, /autoFlush must be true or false/],
    [{ backup: '/x' }, /backup must be a suffix/],
    [{ backup: false }, /backup must be a suffix/],
    [{ tempDir: 5 }, /tempDir must be a path/],
    [{ expect: { generation: 1, digest: 'ab' } }, /expect must be what the head property/],
    [{ expect: { generation: -1, digest: '0'.repeat(64) } }, /expect.generation/],
    [{ signal: {} }, /signal must be an AbortSignal/],
  ])('%j', async (options, message) => {
    await expect(CofferNull.open(fresh(), 'a', wrong(options))).rejects.toMatchObject(refused(message))
  })

  it('options that are no object', async () => {
    await expect(CofferNull.open(fresh(), 'a', wrong([]))).rejects.toMatchObject(refused(/must be an object/))
    await expect(CofferNull.open(fresh(), 'a', wrong(null))).rejects.toMatchObject(refused(/must be an object/))
  })
})

describe('keys', () => {
  it('are made as each kind needs them', () => {
    const lengths = (keys: object) =>
      Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, Buffer.from(key, 'base64url').length]))
    expect(lengths(bankKeys)).toEqual({ cofferKey: 32, secureKey: 32 })
    expect(lengths(CofferBank.generateKeys({ cipher: 'aes-ocb' }))).toEqual({ cofferKey: 32, secureKey: 32 })
    expect(lengths(CofferStore.generateKeys())).toEqual({ cofferKey: 32 })
    expect(lengths(CofferMarket.generateKeys())).toEqual({ secureKey: 32 })
    expect(lengths(CofferNull.generateKeys())).toEqual({})
    const layers = { member: { cipher: 'none' }, container: { cipher: 'aes-ocb' } } as const
    expect(lengths(Coffer.generateKeys(layers))).toEqual({ cofferKey: 32 })
  })

  it('are made for the ciphers that there are', () => {
    for (const cipher of ['rot13', 'secretbox', 'none', 5, null]) {
      const make = (): unknown => CofferBank.generateKeys({ cipher: wrong(cipher) })
      expect(make).toThrow(expect.objectContaining(refused(/cipher must be one of 'fernet', 'aes-ocb'/)))
    }
  })

  it('differ each time', () => {
    expect(CofferStore.generateKeys()).not.toEqual(CofferStore.generateKeys())
  })

  it.each([
    [{}, /CofferBank needs a cofferKey, which seals the container/],
    [{ cofferKey: bankKeys.cofferKey }, /CofferBank needs a secureKey, which seals the members/],
    [{ ...bankKeys, cofferKey: new Uint8Array(31) }, /cofferKey has 31 bytes, but fernet takes a key of 32 bytes/],
    [{ ...bankKeys, secureKey: new Uint8Array(16) }, /secureKey has 16 bytes, but secretbox/],
    [{ ...bankKeys, cofferKey: new Uint8Array(16), cipher: 'fernet' }, /cofferKey has 16 bytes, but fernet/],
    [{ ...bankKeys, cofferKey: new Uint8Array(17), cipher: 'aes-ocb' }, /aes-ocb takes a key of 32, 24, 16 bytes/],
    [{ ...bankKeys, cofferKey: 'not base64!' }, /cofferKey is not base64/],
    [{ ...bankKeys, cofferKey: 5 }, /cofferKey must be a Uint8Array or base64 text, not a number/],
    [{ ...bankKeys, cipher: 'secretbox' }, /cipher must be one of 'fernet', 'aes-ocb'/],
  ])('are refused where they do not fit: %#', async (options, message) => {
    await expect(CofferBank.open(fresh(), 'x', wrong(options))).rejects.toMatchObject(refused(message))
  })

  it('that would seal nothing are refused', async () => {
    await expect(CofferStore.open(fresh(), 'x', wrong(bankKeys))).rejects.toMatchObject(refused(/takes no secureKey/))
    await expect(CofferNull.open(fresh(), 'x', wrong(bankKeys))).rejects.toMatchObject({
      ...refused(/no layer of a CofferNull is sealed/),
      code: 'ERR_COFFER_KEYLESS',
    })
  })

  it('are never shown', async () => {
    const secret = 'c2VjcmV0c2VjcmV0c2VjcmV0'
    const error: Error = await CofferBank.open(fresh(), 'x', { ...bankKeys, cofferKey: `${secret}!` }).catch((e) => e)
    expect(inspect(error)).not.toContain(secret)
    await using bank = await CofferBank.open(fresh(), 'x', bankKeys)
    const shown = inspect(bank, { depth: 9, showHidden: true })
    expect(shown).toMatch(/^CofferBank \{\s+path: /)
    expect(shown).not.toContain(bankKeys.cofferKey)
    expect(shown).not.toContain(bankKeys.secureKey)
    expect(JSON.stringify(bank)).not.toContain(bankKeys.cofferKey)
  })

  it('are taken as bytes and as text of either alphabet, padded or not, and are left as they were', async () => {
    const bytes = Buffer.from(bankKeys.cofferKey, 'base64url')
    const secureKey = Buffer.from(bankKeys.secureKey, 'base64url')
    const path = fresh()
    await (await CofferBank.open(path, 'x', bankKeys)).close()
    for (const cofferKey of [
      bytes,
      bytes.toString('base64'),
      bytes.toString('base64url'),
      ` ${bankKeys.cofferKey}\n`,
    ]) {
      await using bank = await CofferBank.open(path, 'r', { cofferKey, secureKey })
      expect(bank.readable).toBe(true)
    }
    expect(bytes.toString('base64url')).toBe(bankKeys.cofferKey.replace(/=+$/, ''))
    expect(secureKey.some((byte) => byte !== 0)).toBe(true)
  })
})

describe('layers', () => {
  const sealed = { cipher: 'secretbox' } as const
  it.each([
    [{}, /member must be a layer/],
    [{ member: sealed }, /container must be a layer/],
    [{ member: {}, container: sealed }, /member\.cipher must be given/],
    [{ member: { cipher: 'rot13' }, container: sealed }, /member\.cipher must be one of/],
    [{ member: { ...sealed, level: 0 }, container: sealed }, /member\.level must be an integer from 1 to 22/],
    [{ member: sealed, container: { ...sealed, level: null } }, /a container is always compressed/],
    [{ member: { ...sealed, Level: 3 }, container: sealed }, /did you mean level\?/],
  ])('are refused where they make no sense: %#', async (layers, message) => {
    expect(() => Coffer.generateKeys(wrong(layers))).toThrow(expect.objectContaining(refused(message)))
    // Without any layer it is the mode that is said to be wrong: that is how a coffer is opened that exists.
    const said = Object.keys(layers).length === 0 ? /needs the layers of a coffer/ : message
    await expect(Coffer.open(fresh(), 'x', wrong(layers))).rejects.toMatchObject(refused(said))
  })
})

describe('an open coffer', () => {
  let box: CofferNull
  beforeEach(async () => {
    box = await CofferNull.open(fresh(), 'x')
  })
  afterEach(() => box.close())

  it.each([5, null, undefined, {}, Buffer.from('x')])('refuses the name %j', async (name) => {
    const message = refused(/name of a member must be a string/)
    await expect(box.write(wrong(name), '')).rejects.toMatchObject(message)
    await expect(box.append(wrong(name), '')).rejects.toMatchObject(message)
    await expect(box.writeLines(wrong(name), [])).rejects.toMatchObject(message)
    await expect(box.delete(wrong(name))).rejects.toMatchObject(message)
    await expect(box.read(wrong(name))).rejects.toMatchObject(message)
    await expect(box.stat(wrong(name))).rejects.toMatchObject(message)
    await expect(box.has(wrong(name))).rejects.toMatchObject(message)
    await expect(box.extract([wrong(name)], '.')).rejects.toMatchObject(message)
    expect(() => box.readLines(wrong(name))).toThrow(expect.objectContaining(message))
  })

  it('refuses a name that UTF-8 cannot hold', async () => {
    await expect(box.write('half \ud800', '')).rejects.toMatchObject(refused(/surrogate/))
  })

  it.each([5, null, undefined, {}, [1, 2], new ArrayBuffer(3), new Uint16Array(3)])(
    'refuses the data %j',
    async (data) => {
      await expect(box.write('a', wrong(data))).rejects.toMatchObject(refused(/must be a string or a Uint8Array/))
      await expect(box.append('a', wrong(data))).rejects.toMatchObject(refused(/must be a string or a Uint8Array/))
      expect(await box.members()).toEqual([])
    },
  )

  it.each([
    [{ mode: 0o10000 }, /mode must be an integer from 0 to 4095/],
    [{ mode: '0644' }, /mode must be an integer/],
    [{ mtime: 5 }, /mtime must be a valid Date or nanoseconds/],
    [{ mtime: new Date(Number.NaN) }, /mtime must be a valid Date/],
    [{ mTime: new Date() }, /did you mean mtime\?/],
  ])('refuses to write with %o', async (options, message) => {
    await expect(box.write('a', '', wrong(options))).rejects.toMatchObject(refused(message))
  })

  it('keeps the mode and time it is given, before 1970 too', async () => {
    await box.write('a', '', { mode: 0o640, mtime: new Date('2001-02-03T04:05:06.789Z') })
    await box.write('b', '', { mtime: -1n })
    const [a, b] = await box.members({ bigint: true })
    expect(a).toMatchObject({ mode: 0o640, mtime: new Date('2001-02-03T04:05:06.789Z'), mtimeNs: 981173106789000000n })
    expect(b).toMatchObject({ mtimeNs: -1n, mtime: new Date(-1) })
  })

  it('refuses lines that are text, and arguments of the other calls', async () => {
    await expect(box.writeLines('a', 'text')).rejects.toMatchObject(refused(/an array or another iterable/))
    await expect(box.writeLines('a', wrong(undefined))).rejects.toMatchObject(refused(/an array or another iterable/))
    await expect(box.readText('a', { encoding: wrong('rot13') })).rejects.toMatchObject(
      refused(/encoding must be one that Node.js has, such as 'utf8' or 'latin1', not another string/),
    )
    await expect(box.add(wrong(5))).rejects.toMatchObject(refused(/source of add/))
    await expect(box.add('/')).rejects.toMatchObject(refused(/has no last component/))
    await expect(box.add('.', { as: 'a', symlinks: wrong('maybe') })).rejects.toMatchObject(
      refused(/symlinks must be one of/),
    )
    await expect(box.delete('a', wrong({ recursive: 'yes' }))).rejects.toMatchObject(refused(/recursive must be true/))
    await expect(box.members(wrong(5))).rejects.toMatchObject(refused(/options of members must be an object/))
    await expect(box.members({ prefix: wrong(5) })).rejects.toMatchObject(refused(/prefix must be a string/))
    await expect(box.extract('a', '')).rejects.toMatchObject(refused(/target of extract/))
    await expect(box.extract(wrong(5), '.')).rejects.toMatchObject(refused(/names must be an array/))
    await expect(box.extract([wrong(5)], '.')).rejects.toMatchObject(refused(/name of a member/))
    await expect(box.extract('a', wrong(undefined))).rejects.toMatchObject(refused(/target of extract/))
    await expect(box.extractAll(wrong(undefined))).rejects.toMatchObject(refused(/target of extractAll/))
    await expect(box.extractAll('.', wrong({ members: ['a'] }))).rejects.toMatchObject(refused(/no option members/))
    await expect(box.extract('a', '.', wrong({ replace: 1 }))).rejects.toMatchObject(refused(/replace must be true/))
    await expect(box.extractAll('.', wrong({ from: 5 }))).rejects.toMatchObject(refused(/from must be a string/))
    await expect(box.extract('a', '.', wrong({ members: ['a'] }))).rejects.toMatchObject(refused(/no option members/))
    await expect(box.flush(wrong({ force: 1 }))).rejects.toMatchObject(refused(/force must be true or false/))
    await expect(box.verify(wrong({ onProgress: 5 }))).rejects.toMatchObject(refused(/onProgress must be a function/))
    await expect(box.compact(wrong({ signal: 5 }))).rejects.toMatchObject(refused(/signal must be an AbortSignal/))
    await expect(box.batch(wrong(5))).rejects.toMatchObject(refused(/a batch takes a function/))
  })

  it('refuses changes of its own inside its batch, which would wait for each other, and takes them after it', async () => {
    await box.batch(async (batch) => {
      await expect(box.write('a', '')).rejects.toMatchObject(inBatch(/write would wait for the batch/))
      await expect(box.flush()).rejects.toMatchObject(inBatch(/flush would wait/))
      await expect(box.close()).rejects.toMatchObject(inBatch(/close would wait/))
      await expect(box.batch(async () => {})).rejects.toMatchObject(inBatch(/batch would wait/))
      await batch.write('b', 'text')
      expect(await box.readText('b')).toBe('text')
    })
    await box.write('a', '')
  })

  it('takes changes to another coffer inside a batch', async () => {
    await using other = await CofferNull.open(fresh(), 'x')
    await box.batch(async () => {
      await other.batch(async (batch) => batch.write('a', 'text'))
    })
    expect(await other.has('a')).toBe(true)
  })

  it('refuses changes of a batch that has ended', async () => {
    const late = await box.batch(async (batch) => batch)
    await expect(late.write('a', '')).rejects.toMatchObject({
      code: 'ERR_COFFER_BATCH_ENDED',
      message: expect.stringMatching(/batch has ended/),
    })
  })

  it('copies what may change size while it is read', async () => {
    const buffer = new ArrayBuffer(3 << 20, { maxByteLength: 4 << 20 })
    const data = new Uint8Array(buffer).fill(7)
    const written = box.write('a', data)
    buffer.resize(0)
    await written
    expect((await box.read('a')).equals(Buffer.alloc(3 << 20, 7))).toBe(true)
  })

  it('lets small data be reused at once', async () => {
    const data = Buffer.alloc(1 << 20, 1)
    const written = box.write('a', data)
    data.fill(2)
    await written
    expect((await box.read('a')).equals(Buffer.alloc(1 << 20, 1))).toBe(true)
  })
})

describe('a coffer', () => {
  it('is opened by a file: URL too, and says where it is', async () => {
    const path = fresh()
    await using box = await CofferNull.open(pathToFileURL(path), 'xb')
    expect(box).toMatchObject({ path, mode: 'x', closed: false, readable: true, writable: true, notices: [] })
    expect(box.mtime).toBeInstanceOf(Date)
    expect(box.head).toMatchObject({ generation: 1, digest: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  it('is of the class that opened it, and its failures are errors of Coffer', async () => {
    await using box = await CofferNull.open(fresh(), 'x')
    expect(box).toBeInstanceOf(CofferNull)
    expect(box).toBeInstanceOf(Coffer)
    await expect(box.read('nothing')).rejects.toBeInstanceOf(CofferError)
    await expect(box.stat('nothing')).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_NOT_FOUND', member: 'nothing' })
  })
})

describe('an option that a call does not have', () => {
  /** A call whose options have a name that no call has. */
  type Call<T> = (on: T, options: never) => unknown
  const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
  const unknown = wrong({ noSuchOption: 1 })
  const misplaced = wrong({ lockTimeout: 1 })

  /** Everything that a class has to call. */
  function methodsOf(type: { prototype: object }): string[] {
    const names: string[] = []
    for (let at = type.prototype; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
      for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
        if (typeof value === 'function' && name !== 'constructor') names.push(name)
      }
    }
    return [...new Set(names)].sort()
  }

  /** Each call of a list refuses what it does not know. */
  async function refusedBy<T extends object>(on: T, calls: Readonly<Record<string, Call<T>>>): Promise<void> {
    for (const [name, call] of Object.entries(calls)) {
      for (const [options, message] of [
        [unknown, /has no option with a given name: its options are/],
        [misplaced, /has no option lockTimeout: its options are/],
      ] as const) {
        const given = (async () => {
          const result = await call(on, options)
          // Its error may come with its first item.
          if (typeof result === 'object' && result !== null && 'next' in result) await (result as AsyncGenerator).next()
        })()
        await expect(given, name).rejects.toMatchObject(refused(message))
      }
    }
  }

  /** Every method of an object is in a list, or has no options. What is new needs a case. */
  function allOf(on: object, calls: object, none: readonly string[]): void {
    const type = on.constructor as unknown as { prototype: object }
    expect([...Object.keys(calls), ...none].sort()).toEqual(methodsOf(type))
    for (const name of none) {
      const method = (on as Readonly<Record<string, unknown>>)[name] as () => unknown
      expect(method.toString().split(')')[0], name).not.toContain('options')
    }
  }

  const reading = {
    read: (on, options) => on.read('a', options),
    readText: (on, options) => on.readText('a', options),
    readLines: (on, options) => on.readLines('a', options),
    load: (on, options) => on.load('a', options),
    createReadStream: (on, options) => on.createReadStream('a', options),
    has: (on, options) => on.has('a', options),
    stat: (on, options) => on.stat('a', options),
    members: (on, options) => on.members(options),
    iterate: (on, options) => on.iterate(options),
  } satisfies Record<string, Call<CofferReader>>
  const writing = {
    write: (on, options) => on.write('a', 'x', options),
    writeMany: (on, options) => on.writeMany([], options),
    append: (on, options) => on.append('a', 'x', options),
    writeLines: (on, options) => on.writeLines('a', ['x'], options),
    dump: (on, options) => on.dump('a', 'x', options),
    add: (on, options) => on.add('.', options),
    delete: (on, options) => on.delete('a', options),
  } satisfies Record<string, Call<CofferWriter>>
  const whole = {
    ...reading,
    ...writing,
    extract: (on, options) => on.extract('a', directory, options),
    extractAll: (on, options) => on.extractAll(directory, options),
    createWriteStream: (on, options) => on.createWriteStream('a', options),
    file: (on, options) => on.file('a', 'w', options),
    batch: (on, options) => on.batch(async () => {}, options),
    flush: (on, options) => on.flush(options),
    info: (on, options) => on.info(options),
    refresh: (on, options) => on.refresh(options),
    commits: (on, options) => on.commits(options),
    verify: (on, options) => on.verify(options),
    compact: (on, options) => on.compact(options),
    rekey: (on, options) => on.rekey(CofferStore.generateKeys(), options),
    changePassphrase: (on, options) => on.changePassphrase('anvil mosaic turnip', options),
  } satisfies Record<string, Call<Coffer>>

  it('is refused by every call of a coffer, and nothing happens', async () => {
    await using store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    await store.write('a', 'x')
    await store.flush()
    const { head } = store
    allOf(store, whole, ['plugin', 'close'])
    await refusedBy<Coffer>(store, whole)
    await expect(store.rekey(unknown)).rejects.toMatchObject(refused(/no option/))
    await expect(store.file('a', 'w', unknown, async () => {})).rejects.toMatchObject(refused(/no option/))
    await expect(store.changePassphrase('anvil mosaic', { kdf: unknown })).rejects.toMatchObject(refused(/no option/))
    expect(store.modified).toBe(false)
    expect(store.head).toEqual(head)
    expect((await store.members()).map(({ name }) => name)).toEqual(['a'])
  })

  it('is refused by every call of a batch', async () => {
    await using store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    await store.write('a', 'x')
    await store.batch(async (batch) => {
      allOf(batch, { ...reading, ...writing }, [])
      await refusedBy<CofferBatch>(batch, { ...reading, ...writing })
      expect((await batch.members()).map(({ name }) => name)).toEqual(['a'])
    })
  })

  it('is refused by every call of a handle', async () => {
    await using store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    await store.write('a', 'x')
    const both: Record<string, Call<CofferFile>> = { stat: (on, options) => on.stat(options) }
    const reads: Record<string, Call<CofferFile>> = {
      read: (on, options) => on.read(options),
      readFile: (on, options) => on.readFile(options),
      createReadStream: (on, options) => on.createReadStream(options),
    }
    const writes: Record<string, Call<CofferFile>> = {
      write: (on, options) => on.write(Buffer.from('x'), options as object),
      writeFile: (on, options) => on.writeFile('x', options),
      appendFile: (on, options) => on.appendFile('x', options),
      createWriteStream: (on, options) => on.createWriteStream(options),
    }
    const none = ['readLines', 'readableWebStream', 'writableWebStream', 'close', 'abort']
    for (const [mode, calls] of [
      ['r', reads],
      ['w', writes],
    ] as const) {
      const file = await store.file('a', mode)
      allOf(file, { ...both, ...reads, ...writes }, none)
      await refusedBy<CofferFile>(file, { ...both, ...calls })
      file.abort()
    }
  })

  it('is refused by the statics of every class', async () => {
    const layers = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const
    for (const [type, keys] of [
      [Coffer, layers],
      [CofferBank, CofferBank.generateKeys()],
      [CofferStore, CofferStore.generateKeys()],
      [CofferMarket, CofferMarket.generateKeys()],
      [CofferNull, {}],
    ] as const) {
      const { open, salvage, generateKeys } = type as unknown as Record<string, (...args: unknown[]) => unknown>
      const calls: Record<string, (options: object) => unknown> = {
        open: (options) => open?.call(type, fresh(), 'x', { ...keys, ...options }),
        salvage: (options) => salvage?.call(type, fresh(), fresh(), { ...keys, ...options }),
        generateKeys: (options) => generateKeys?.call(type, { ...(type === Coffer ? keys : {}), ...options }),
      }
      expect(Object.keys(calls).sort()).toEqual(
        Object.entries({ ...Object.getOwnPropertyDescriptors(Coffer), ...Object.getOwnPropertyDescriptors(type) })
          .filter(([, { value }]) => typeof value === 'function')
          .map(([name]) => name)
          .sort(),
      )
      for (const [name, call] of Object.entries(calls)) {
        const given = (async () => call({ noSuchOption: 1 }))()
        await expect(given, `${type.name}.${name}`).rejects.toMatchObject(refused(/no option/))
      }
    }
  })

  it('is refused by the functions of the package', async () => {
    await using store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    const calls: Record<string, (options: never) => unknown> = {
      identify: (options) => coffer.identify(store.path, options),
      deriveKeys: (options) =>
        coffer.deriveKeys('anvil mosaic', { salt: new Uint8Array(16), ...kdf, ...(options as object) }),
      exportTar: (options) => coffer.exportTar(store, options),
      importTar: (options) => coffer.importTar(store, Readable.from([]), options),
    }
    const functions = Object.entries(coffer).filter(
      ([, value]) => typeof value === 'function' && !/^class /.test(String(value)),
    )
    // A plugin's name and class are no options.
    expect(
      functions
        .map(([name]) => name)
        .filter((name) => name !== 'registerPlugin')
        .sort(),
    ).toEqual(Object.keys(calls).sort())
    for (const [name, call] of Object.entries(calls)) {
      const given = (async () => call(unknown))()
      await expect(given, name).rejects.toMatchObject(refused(/no option/))
    }
  })

  it('is refused by the plugins', async () => {
    await using store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    await using crypt = await store.plugin('crypt')
    const ofCrypt: Record<string, Call<CryptPlugin>> = {
      encrypt: (on, options) => on.encrypt('/a', '/b', options),
      decrypt: (on, options) => on.decrypt('/a', '/b', options),
      createEncryptStream: (on, options) => on.createEncryptStream(options),
      createDecryptStream: (on, options) => on.createDecryptStream(options),
      createTargetStream: (on, options) => on.createTargetStream('/b', options),
    }
    allOf(crypt, ofCrypt, ['close', 'checkOpen'])
    await refusedBy(crypt, ofCrypt)
    await using password = await store.plugin('password')
    const ofPassword: Record<string, Call<PasswordPlugin>> = {
      add: (on, options) => on.add({ name: 'a' }, options),
      importChrome: (on, options) => on.importChrome({ csv: 'name\n' }, options),
      importPyCoffer: (on, options) => on.importPyCoffer(options),
      get: (on, options) => on.get({ name: 'a', ...(options as object) }),
      delete: (on, options) => on.delete({ name: 'a', ...(options as object) }),
    }
    const ofRecords = ['checkOpen', 'empty', 'restore', 'stored', 'view', 'update']
    allOf(password, ofPassword, ['list', 'search', 'close', ...ofRecords])
    await refusedBy(password, ofPassword)
    await using rsync = await store.plugin('rsync')
    const ofRsync: Record<string, Call<RsyncPlugin>> = {
      push: (on, options) => on.push('/a', 'a', options),
      pull: (on, options) => on.pull('a', '/a', options),
    }
    allOf(rsync, ofRsync, ['close', 'checkOpen'])
    await refusedBy(rsync, ofRsync)
  })
})
