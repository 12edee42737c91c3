/** Calls that fail with a code in ways of their own, besides the states of `failing-states.ts`. */
import { createHash } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable, type Transform, type Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { mostBytesOf } from '../../ts/member/text.ts'
import { lines, noise } from './bytes.ts'
import * as coffer from './coffer.ts'
import {
  Coffer,
  type CofferBatch,
  type CofferFile,
  CofferNull,
  CofferPlugin,
  CofferStore,
  type Cryptor,
  type ErrorCode,
  importTar,
  KeyPlugin,
} from './coffer.ts'
import { type Attempt, damage, keys, Notes, type Place, revoke } from './failing-states.ts'
import { flipped, headerMarks } from './format.ts'
import { type AnyClass, type AnyOptions, classOf, type Kind, keysFor, kindOf, kinds, optionsFor } from './kinds.ts'
import { tarEnd, tarEntry, zstdFrame } from './legacy.ts'
import { legacyKeys } from './pycoffer.ts'

type Fail = (place: Place) => Promise<unknown>

function attempt(call: string, code: string, fail: Fail): Attempt {
  return { call, code: `ERR_COFFER_${code}` as ErrorCode, alone: false, full: false, fail }
}

const open = (place: Place): Promise<CofferStore> => CofferStore.open(place.path, 'r+', { ...keys, durability: 'none' })

/** A call on the open coffer of a place. */
function on(call: string, code: string, use: (box: CofferStore, place: Place) => unknown): Attempt {
  return attempt(call, code, async (place) => {
    const box = await open(place)
    try {
      return await use(box, place)
    } finally {
      await box.close().catch(() => {})
    }
  })
}

/** What is wrong as any argument. */
const wrong = { nonsense: 1 }

/** Calls a method with what is wrong, in each place. */
function misused(of: object, method: string): unknown {
  return Reflect.apply(Reflect.get(of, method) as () => unknown, of, [wrong, wrong, wrong, wrong])
}

class Reads extends CofferPlugin {
  has(): Promise<boolean> {
    return this.coffer.has('member')
  }

  check(): void {
    this.checkOpen()
  }
}

class Crypts extends KeyPlugin {
  cryptor(): Cryptor {
    return this.crypt
  }
}

/** What the methods of each class are called on. */
const receivers: Readonly<Record<string, (box: Coffer) => object | Promise<object>>> = {
  Coffer: (box) => box,
  PasswordPlugin: (box) => box.plugin('password'),
  RsyncPlugin: (box) => box.plugin('rsync'),
  CryptPlugin: (box) => box.plugin('crypt'),
  Cryptor: async (box) => (await box.plugin(Crypts)).cryptor(),
}

/** A call with arguments that make no sense, for each call whose documentation has the code for that. */
export function misuses(documented: ReadonlyMap<string, ReadonlySet<string>>): Attempt[] {
  const calls = [...documented].filter(([, codes]) => codes.has('ERR_COFFER_INVALID_ARG')).map(([call]) => call)
  return calls.flatMap((call) => {
    // What they are given comes from no caller.
    if (call.includes('Symbol.')) return []
    const [owner = '', method = ''] = call.includes('.') ? call.split('.') : ['', call]
    if (owner === '') return [attempt(call, 'INVALID_ARG', async () => misused(coffer, method))]
    const receiver = receivers[owner]
    if (['open', 'salvage', 'generateKeys'].includes(method))
      return [attempt(call, 'INVALID_ARG', async () => misused(Reflect.get(coffer, owner) as object, method))]
    if (receiver) return [on(call, 'INVALID_ARG', async (box) => misused(await receiver(box), method))]
    if (owner === 'CofferBatch') return [on(call, 'INVALID_ARG', (box) => box.batch(async (b) => misused(b, method)))]
    if (owner === 'CofferFile') {
      const both = ['read', 'readFile', 'createReadStream', 'stat'].includes(method)
      return (both ? (['r', 'w'] as const) : (['w'] as const)).map((flags) =>
        on(call, 'INVALID_ARG', (box) => box.file('member', flags, async (file) => misused(file, method))),
      )
    }
    return []
  })
}

const drained = async (iterable: AsyncIterable<unknown>): Promise<void> => {
  for await (const _ of iterable);
}

/** The calls of a batch, made when it has ended, or cannot go on. */
const late: Readonly<Record<string, (batch: CofferBatch, place: Place) => unknown>> = {
  write: (batch) => batch.write('a', 'x'),
  writeMany: (batch) => batch.writeMany([['a', 'x']]),
  append: (batch) => batch.append('a', 'x'),
  writeLines: (batch) => batch.writeLines('a', ['x']),
  dump: (batch) => batch.dump('a', 'x'),
  add: (batch, place) => batch.add(plain(place)),
  delete: (batch) => batch.delete('member'),
  read: (batch) => batch.read('member'),
  readText: (batch) => batch.readText('member'),
  readLines: (batch) => batch.readLines('member'),
  load: (batch) => batch.load('member'),
  createReadStream: (batch) => batch.createReadStream('member'),
  has: (batch) => batch.has('member'),
  stat: (batch) => batch.stat('member'),
  members: (batch) => batch.members(),
  iterate: (batch) => batch.iterate(),
  'Symbol.asyncIterator': (batch) => batch[Symbol.asyncIterator](),
}

/** The calls of a handle that write or read, made on one that is closed, or for the other. */
const writes: Readonly<Record<string, (file: CofferFile) => unknown>> = {
  write: (file) => file.write('x'),
  writeFile: (file) => file.writeFile('x'),
  appendFile: (file) => file.appendFile('x'),
  createWriteStream: (file) => file.createWriteStream(),
  writableWebStream: (file) => file.writableWebStream(),
}
const reads: Readonly<Record<string, (file: CofferFile) => unknown>> = {
  read: (file) => file.read(),
  readFile: (file) => file.readFile(),
  readLines: (file) => drained(file.readLines()),
  createReadStream: (file) => file.createReadStream(),
  readableWebStream: (file) => file.readableWebStream(),
  stat: (file) => file.stat(),
}

/** What makes the member of a handle part of the coffer. */
const ends: Readonly<Record<string, (file: CofferFile) => Promise<unknown>>> = {
  close: (file) => file.close(),
  'Symbol.asyncDispose': (file) => file[Symbol.asyncDispose](),
  createWriteStream: (file) => pipeline(Readable.from(['x']), file.createWriteStream()),
  writableWebStream: async (file) => new Response('x').body?.pipeTo(file.writableWebStream() as WritableStream),
}

const handles: readonly Attempt[] = [
  ...Object.entries(writes).flatMap(([call, use]) => [
    on(`CofferFile.${call}`, 'READ_ONLY', async (box) => use(await box.file('member', 'r'))),
    on(`CofferFile.${call}`, 'CLOSED', async (box) => {
      const file = await box.file('new', 'w')
      await file.close()
      return use(file)
    }),
  ]),
  ...Object.entries(reads).map(([call, use]) =>
    on(`CofferFile.${call}`, 'CLOSED', async (box) => {
      const file = await box.file('member', 'r')
      await file.close()
      return use(file)
    }),
  ),
  ...Object.entries(ends).flatMap(([call, use]) => [
    on(`CofferFile.${call}`, 'IS_DIRECTORY', async (box) => {
      const file = await box.file('new', 'w')
      await box.write('new/below', 'x')
      return use(file)
    }),
    on(`CofferFile.${call}`, 'CORRUPT', async (box, place) => {
      const file = await box.file('member', 'a')
      damage(place)
      return use(file)
    }),
  ]),
]

let vastFile: Promise<Buffer> | undefined

/** A coffer with a member of zeros that no string can hold in hexadecimal. */
async function vast({ at }: Place): Promise<CofferNull> {
  const path = at('vast.coffer')
  vastFile ??= (async () => {
    const zeros = openSync(at('zeros'), 'w')
    ftruncateSync(zeros, mostBytesOf('hex') + 1)
    closeSync(zeros)
    const box = await CofferNull.open(path, 'x', { durability: 'none' })
    await box.add(at('zeros'))
    await box.close()
    return readFileSync(path)
  })()
  writeFileSync(path, await vastFile)
  return CofferNull.open(path, 'r+', { lock: 'none' })
}

const nested = (): unknown => {
  let value: unknown = 1
  for (let level = 0; level < 201; level += 1) value = [value]
  return value
}

const tree = ({ at }: Place, link = true): string => {
  mkdirSync(at('tree'))
  writeFileSync(at('tree/file'), 'x')
  if (link) symlinkSync(at('tree/file'), at('tree/link'))
  return at('tree')
}

/** A target with a link where a directory of the coffer goes. */
const linked = ({ at }: Place): string => {
  mkdirSync(at('out'))
  symlinkSync(at('.'), at('out/dir'))
  return at('out')
}

const taken = ({ at }: Place): string => {
  mkdirSync(at('out'))
  writeFileSync(at('out/member'), 'x')
  return at('out')
}

const replacedMeanwhile = async (
  iterable: AsyncIterable<unknown>,
  write: (name: string, data: string) => Promise<void>,
): Promise<void> => {
  let first = true
  for await (const _ of iterable) {
    if (first) await write('lines', 'new')
    first = false
  }
}

const calls: readonly Attempt[] = [
  ...Object.entries(late).map(([call, use]) =>
    on(`CofferBatch.${call}`, 'BATCH_ENDED', async (box, place) => {
      const ended = await box.batch(async (batch) => ({ batch }))
      return use(ended.batch, place)
    }),
  ),
  ...Object.entries(late)
    .filter(([call]) => ['write', 'writeMany', 'append', 'writeLines', 'dump', 'add', 'delete'].includes(call))
    .map(([call, use]) => ({
      ...on(`CofferBatch.${call}`, 'POISONED', (box, place) =>
        box.batch(async (batch) => {
          revoke(place.path, place.at('.'))
          await batch.write('large', Readable.from([noise(300_000)])).catch(() => {})
          await use(batch, place)
        }),
      ),
      alone: true,
    })),
  attempt('Coffer.readText', 'LIMIT', async (place) => {
    await using box = await vast(place)
    return await box.readText('zeros', { encoding: 'hex' })
  }),
  attempt('CofferBatch.readText', 'LIMIT', async (place) => {
    await using box = await vast(place)
    return await box.batch((batch) => batch.readText('zeros', { encoding: 'hex' }))
  }),
  attempt('CofferFile.readFile', 'LIMIT', async (place) => {
    await using box = await vast(place)
    return await (await box.file('zeros')).readFile('hex')
  }),
  on('Coffer.dump', 'LIMIT', (box) => box.dump('a', nested())),
  on('CofferBatch.dump', 'LIMIT', (box) => box.batch((batch) => batch.dump('a', nested()))),
  on('Coffer.file', 'MEMBER_EXISTS', (box) => box.file('member', 'x')),
  on('Coffer.add', 'UNSAFE_PATH', (box, place) => box.add(tree(place), { symlinks: 'error' })),
  on('Coffer.add', 'IO', (box, { at }) => box.add(at('missing'))),
  on('CofferBatch.add', 'UNSAFE_PATH', (box, place) => box.batch((b) => b.add(tree(place), { symlinks: 'error' }))),
  on('CofferBatch.add', 'IO', (box, { at }) => box.batch((batch) => batch.add(at('missing')))),
  on('RsyncPlugin.push', 'UNSAFE_PATH', async (box, place) =>
    (await box.plugin('rsync')).push(tree(place), 'tree', { symlinks: 'error' }),
  ),
  on('RsyncPlugin.push', 'IO', async (box, { at }) => (await box.plugin('rsync')).push(at('missing'), 'tree')),
  on('Coffer.extract', 'UNSAFE_PATH', (box, place) => box.extract('dir', linked(place))),
  on('Coffer.extractAll', 'UNSAFE_PATH', (box, place) => box.extractAll(linked(place))),
  on('RsyncPlugin.pull', 'UNSAFE_PATH', async (box, place) => (await box.plugin('rsync')).pull('', linked(place))),
  on('Coffer.extract', 'EXISTS', (box, place) => box.extract('member', taken(place))),
  on('Coffer.extractAll', 'EXISTS', (box, place) => box.extractAll(taken(place))),
  ...(['Coffer', 'CofferBatch'] as const).flatMap((owner) => [
    on(`${owner}.readLines`, 'STALE', async (box) => {
      await box.writeLines('lines', lines(60_000))
      if (owner === 'Coffer') return replacedMeanwhile(box.readLines('lines'), (...args) => box.write(...args))
      return box.batch((batch) => replacedMeanwhile(batch.readLines('lines'), (...args) => batch.write(...args)))
    }),
    on(`${owner}.createReadStream`, 'STALE', async (box) => {
      await box.writeLines('lines', lines(60_000))
      const small = { highWaterMark: 1_000 }
      if (owner === 'Coffer')
        return replacedMeanwhile(box.createReadStream('lines', small), (...args) => box.write(...args))
      return box.batch((batch) =>
        replacedMeanwhile(batch.createReadStream('lines', small), (...args) => batch.write(...args)),
      )
    }),
  ]),
  on('importTar', 'CORRUPT', (box) => importTar(box, Readable.from([Buffer.alloc(1_024, 1)]))),
  on('importTar', 'INVALID_ARG', (box) => importTar(box, Readable.from(['']), { prefix: '..' })),
  on('importTar', 'LIMIT', (box) => {
    const header = tarEntry({ name: 'x', type: 'x', size: 0o77777777777 })
    const endless = async function* () {
      yield header.subarray(0, 512)
      for (let count = 0; count < 1_000; count += 1) yield Buffer.alloc(65_536)
    }
    return importTar(box, Readable.from(endless(), { objectMode: false }))
  }),
  on('PasswordPlugin.importPyCoffer', 'MEMBER_NOT_FOUND', async (box) => {
    await box.delete('.plugins/passwd')
    return (await box.plugin('password')).importPyCoffer()
  }),
  on('PasswordPlugin.importPyCoffer', 'MEMBER_EXISTS', async (box) => {
    const passwords = await box.plugin('password')
    await passwords.importPyCoffer()
    return passwords.importPyCoffer({ replace: false })
  }),
  on('PasswordPlugin.importChrome', 'MEMBER_EXISTS', async (box) => {
    const passwords = await box.plugin('password')
    const csv = 'name,url,username,password,note\r\na,b,c,d,\r\n'
    await passwords.importChrome({ csv })
    return passwords.importChrome({ csv }, { replace: false })
  }),
  on('PasswordPlugin.importChrome', 'IO', async (box, { at }) =>
    (await box.plugin('password')).importChrome(at('missing')),
  ),
  ...Object.entries({
    'CofferPlugin.coffer': [Reads, (plugin: Reads) => plugin.has()],
    'Plugin.checkOpen': [Reads, (plugin: Reads) => plugin.check()],
    'KeyPlugin.crypt': [Crypts, (plugin: Crypts) => plugin.cryptor()],
    'RecordPlugin.view': [Notes, (plugin: Notes) => plugin.shown()],
    'RecordPlugin.update': [Notes, (plugin: Notes) => plugin.changed()],
  } as const).map(([call, [type, use]]) =>
    on(call, 'CLOSED', async (box) => {
      const plugin = await box.plugin<Reads & Crypts & Notes>(type as never)
      await plugin.close()
      return (use as (plugin: object) => unknown)(plugin)
    }),
  ),
]

/** The bytes that come out of a stream of a crypt. */
async function through(stream: Transform, data: Uint8Array): Promise<Buffer> {
  const [out] = await Promise.all([buffer(stream), pipeline(Readable.from([data]), stream)])
  return out
}

const plain = ({ at }: Place): string => {
  writeFileSync(at('plain'), noise(1_000))
  return at('plain')
}

/** An encrypted file, as it is or changed. */
async function encrypted(
  by: Cryptor | coffer.CryptPlugin,
  place: Place,
  change = (file: Buffer) => file,
): Promise<string> {
  await by.encrypt(plain(place), place.at('file'))
  writeFileSync(place.at('file'), change(readFileSync(place.at('file'))))
  return place.at('file')
}

type Crypt = Cryptor | coffer.CryptPlugin

/** A file that the crypt of another coffer has made. */
async function foreign(place: Place, other: Promise<Coffer>): Promise<string> {
  await using box = await other
  return await encrypted(await box.plugin('crypt'), place)
}

const others = {
  key: ({ at }: Place) => CofferStore.open(at('other'), 'x', CofferStore.generateKeys()),
  kind: ({ at }: Place) =>
    Coffer.open(at('other'), 'x', {
      member: { cipher: 'fernet', level: null },
      container: { cipher: 'none', level: 3 },
      secureKey: Coffer.generateKeys({ member: { cipher: 'fernet' }, container: { cipher: 'none' } }).secureKey ?? '',
    }),
} as const

const damaged = (file: Buffer): Buffer => flipped(file, file.length - 40)
const newer = (file: Buffer): Buffer => {
  const at = file.indexOf('cofE', 0, 'latin1')
  return at < 0 ? file : flipped(file, at + 4, 0x40)
}
const headless = (file: Buffer): Buffer => file.subarray(32 + file.readUInt32LE(0))

/** The calls of a crypt, by the class that has them. */
const crypts = (['Cryptor', 'CryptPlugin'] as const).flatMap((owner) => {
  const get = async (box: Coffer): Promise<Crypt> =>
    owner === 'Cryptor' ? (await box.plugin(Crypts)).cryptor() : box.plugin('crypt')
  const by = (call: string, code: string, use: (crypt: Crypt, place: Place) => unknown): Attempt =>
    on(`${owner}.${call}`, code, async (box, place) => use(await get(box), place))
  const changed = (code: string, make: (crypt: Crypt, place: Place) => Promise<string>): Attempt[] => [
    by('decrypt', code, async (crypt, place) => crypt.decrypt(await make(crypt, place), place.at('back'))),
    by('createDecryptStream', code, async (crypt, place) =>
      through(crypt.createDecryptStream(), readFileSync(await make(crypt, place))),
    ),
  ]
  const closed = (call: string, use: (crypt: Crypt, place: Place) => unknown): Attempt[] => [
    on(`${owner}.${call}`, 'CLOSED', async (box, place) => {
      const crypt = await get(box)
      await box.close()
      return use(crypt, place)
    }),
    ...(owner === 'Cryptor'
      ? []
      : [
          on(`${owner}.${call}`, 'CLOSED', async (box, place) => {
            const plugin = await box.plugin('crypt')
            await plugin.close()
            return use(plugin, place)
          }),
        ]),
  ]
  return [
    ...changed('CORRUPT', (crypt, place) => encrypted(crypt, place, damaged)),
    ...changed('LEGACY', (crypt, place) => encrypted(crypt, place, headless)),
    ...changed('VERSION', (crypt, place) => encrypted(crypt, place, newer)),
    ...changed('WRONG_KEY', (_, place) => foreign(place, others.key(place))),
    ...changed('WRONG_KIND', (_, place) => foreign(place, others.kind(place))),
    by('encrypt', 'EXISTS', (crypt, place) => crypt.encrypt(plain(place), plain(place))),
    by('encrypt', 'IO', (crypt, { at }) => crypt.encrypt(at('missing'), at('file'))),
    by('decrypt', 'EXISTS', async (crypt, place) => crypt.decrypt(await encrypted(crypt, place), place.at('plain'))),
    by('decrypt', 'IO', (crypt, { at }) => crypt.decrypt(at('missing'), at('file'))),
    by('createTargetStream', 'EXISTS', (crypt, place) =>
      pipeline(Readable.from(['x']), crypt.createTargetStream(plain(place)) as Writable),
    ),
    by('createTargetStream', 'IO', (crypt, place) =>
      pipeline(Readable.from(['x']), crypt.createTargetStream(join(plain(place), 'below')) as Writable),
    ),
    ...closed('encrypt', (crypt, place) => crypt.encrypt(plain(place), place.at('file'))),
    ...closed('decrypt', (crypt, place) => crypt.decrypt(plain(place), place.at('file'))),
    ...closed('createEncryptStream', (crypt) => through(crypt.createEncryptStream(), noise(10))),
    ...closed('createDecryptStream', (crypt) => through(crypt.createDecryptStream(), noise(10))),
    ...closed('createTargetStream', (crypt, place) =>
      pipeline(Readable.from(['x']), crypt.createTargetStream(place.at('file')) as Writable),
    ),
  ]
})

const passphrase = 'anvil mosaic turnip lantern'
const kdf = { memory: 32 << 20, passes: 2 }
/** A digest of no commit. */
const digest = createHash('sha256').update('none').digest('hex')

/** A coffer of a kind that is made, and what opens it. */
async function made(
  kind: Kind,
  { at }: Place,
  options: AnyOptions = {},
): Promise<{ path: string; secret: AnyOptions }> {
  const path = at('made.coffer')
  const secret = options.passphrase === undefined ? optionsFor(kind, keysFor(kind)) : {}
  const box = await classOf(kind.className).open(path, 'x', { ...secret, ...options, durability: 'none' })
  await box.write('member', noise(1_000))
  await box.close()
  return { path, secret }
}

/** The layers of a coffer that takes no keys. */
const unsealed: AnyOptions = { member: { cipher: 'none' }, container: { level: 3, cipher: 'none' } } as AnyOptions

const layers = { member: { cipher: 'none' }, container: { level: 9, cipher: 'secretbox' } } as const

/** `open` and `salvage` of each class. */
const classes: readonly Attempt[] = [...kinds.filter(({ label }) => label !== 'bank-aes-ocb'), undefined].flatMap(
  (own) => {
    const kind = own ?? kindOf('store')
    const name = own?.className ?? 'Coffer'
    const type: AnyClass = own ? classOf(own.className) : (Coffer as unknown as AnyClass)
    const isKeyed = kind.container !== null || kind.sealedMembers
    /** `salvage` of the class Coffer needs layers, and so do its modes that make coffers. */
    const more: AnyOptions = own ? {} : (layers as AnyOptions)
    const opens = (code: string, use: (place: Place) => Promise<unknown>): Attempt => attempt(`${name}.open`, code, use)
    const both = (
      code: string,
      arrange: (place: Place) => Promise<{ path: string; options: AnyOptions }>,
      salvage: AnyOptions = more,
    ): Attempt[] => [
      opens(code, async (place) => {
        const { path, options } = await arrange(place)
        return type.open(path, 'r', { lockTimeout: 0, ...options })
      }),
      attempt(`${name}.salvage`, code, async (place) => {
        const { path, options } = await arrange(place)
        return type.salvage(path, place.at('target'), { lockTimeout: 0, ...salvage, ...options })
      }),
    ]
    const changed = (code: string, change: (file: Buffer) => void): Attempt[] =>
      both(code, async (place) => {
        const { path, secret } = await made(kind, place)
        const file = readFileSync(path)
        change(file)
        writeFileSync(path, file)
        return { path, options: secret }
      })
    const held = new Map<Place, Coffer>()
    return [
      ...both('LOCKED', async (place) => {
        const { path, secret } = await made(kind, place)
        held.set(place, await classOf(kind.className).open(path, 'r+', secret))
        return { path, options: secret }
      }),
      ...both('NOT_FOUND', async ({ at }) => ({ path: at('missing'), options: optionsFor(kind, keysFor(kind)) })),
      ...both('IO', async ({ path }) => ({ path: join(path, 'below'), options: optionsFor(kind, keysFor(kind)) })),
      ...(isKeyed
        ? [
            ...both('WRONG_KEY', async (place) => ({
              path: (await made(kind, place)).path,
              options: optionsFor(kind, keysFor(kind)),
            })),
            ...both('LIMIT', async (place) => ({
              path: (await made(kind, place, { passphrase, kdf })).path,
              options: { passphrase, maxKdfMemory: 19 << 20 },
            })),
          ]
        : []),
      ...both('WRONG_KIND', async (place) => {
        const other = kindOf(kind.label === 'market' ? 'store' : 'market')
        const { path } = await made(other, place)
        return { path, options: own ? optionsFor(kind, keysFor(kind)) : { ...layers, ...keysFor(kind) } }
      }),
      ...(own === undefined || own.label === 'null'
        ? both(
            'KEYLESS',
            async (place) => ({ path: (await made(kindOf('null'), place)).path, options: keysFor(kindOf('store')) }),
            own ? {} : unsealed,
          )
        : []),
      ...changed('CORRUPT', (file) => file.fill(1)),
      ...changed('VERSION', (file) => {
        for (const mark of headerMarks(file, 'header')) file.writeUInt8(9, mark + 4)
      }),
      ...both('LEGACY', async ({ at }) => {
        const fixture = fileURLToPath(new URL(`../fixtures/${kind.label}.pycoffer`, import.meta.url))
        copyFileSync(fixture, at('legacy'))
        return { path: at('legacy'), options: legacyKeys[kind.label] ?? {} }
      }),
      opens('EXISTS', async (place) => {
        const { path, secret } = await made(kind, place)
        return type.open(path, 'x', { ...more, ...secret })
      }),
      attempt(`${name}.salvage`, 'EXISTS', async (place) => {
        const { path, secret } = await made(kind, place)
        return type.salvage(path, path, { ...more, ...secret })
      }),
      attempt(`${name}.salvage`, 'EXISTS', async (place) => {
        const { path, secret } = await made(kind, place)
        writeFileSync(place.at('target'), 'x')
        return type.salvage(path, place.at('target'), { ...more, ...secret })
      }),
      opens('ROLLED_BACK', async (place) => {
        const { path, secret } = await made(kind, place)
        return type.open(path, 'r', { ...secret, expect: { generation: 99, digest } })
      }),
      opens('TOO_LARGE', async (place) => {
        const { path, secret } = await made(kind, place)
        return type.open(path, 'r', { ...secret, maxCatalogSize: 1 })
      }),
      ...(kind.container === null || own === undefined
        ? [
            opens('UNSAFE_PATH', async ({ at }) => {
              writeFileSync(at('hostile'), zstdFrame(Buffer.concat([tarEntry({ name: '../evil' }, 'x'), tarEnd])))
              const secret = own ? keysFor(kind) : unsealed
              return type.open(at('hostile'), 'r', { ...secret, legacy: true })
            }),
          ]
        : []),
    ].map((made) => ({
      ...made,
      fail: async (place: Place) => {
        try {
          const opened = await made.fail(place)
          if (opened instanceof Coffer) await opened.close()
        } finally {
          await held.get(place)?.close()
          held.delete(place)
        }
      },
    }))
  },
)

const functions: readonly Attempt[] = [
  attempt('identify', 'NOT_FOUND', ({ at }) => coffer.identify(at('missing'))),
  attempt('identify', 'IO', ({ path }) => coffer.identify(join(path, 'below'))),
]

/** What becomes of the file that a reader has open, for the calls that look for a newer commit. */
const superseded: Readonly<Record<string, (place: Place) => Promise<void> | void>> = {
  NOT_FOUND: ({ at }) => rmSync(at('sub/box.coffer')),
  IO: ({ at }) => {
    renameSync(at('sub'), at('moved'))
    writeFileSync(at('sub'), '')
  },
  CORRUPT: (place) => replaceBy(place, Buffer.alloc(10_000, 1)),
  VERSION: (place) => {
    const file = readFileSync(place.path)
    for (const mark of headerMarks(file, 'header')) file.writeUInt8(9, mark + 4)
    replaceBy(place, file)
  },
  ROLLED_BACK: async ({ at }) => {
    const box = await CofferStore.open(at('sub/box.coffer'), 'w', { ...keys, durability: 'none' })
    await box.close()
  },
  WRONG_KEY: async (place) => {
    const { path } = await made(kindOf('store'), place)
    replaceBy(place, readFileSync(path))
  },
  WRONG_KIND: async (place) => {
    const { path } = await made(kindOf('market'), place)
    replaceBy(place, readFileSync(path))
  },
  TOO_LARGE: async ({ at }) => {
    const box = await CofferStore.open(at('sub/box.coffer'), 'r+', { ...keys, durability: 'none' })
    await box.writeMany(Array.from({ length: 500 }, (_, n): [string, string] => [`${'long'.repeat(50)}${n}`, '']))
    await box.close()
  },
}

function replaceBy({ at }: Place, file: Buffer): void {
  writeFileSync(at('new'), file)
  renameSync(at('new'), at('sub/box.coffer'))
}

const refreshes: readonly Attempt[] = Object.entries(superseded).flatMap(([code, change]) =>
  [
    ['refresh', (box: Coffer) => box.refresh()] as const,
    ['commits', (box: Coffer) => box.commits({ interval: 10 }).next()] as const,
  ].map(([call, use]) =>
    attempt(`Coffer.${call}`, code, async (place) => {
      mkdirSync(place.at('sub'))
      copyFileSync(place.path, place.at('sub/box.coffer'))
      const options = { ...keys, lock: 'none', maxCatalogSize: 20_000 } as const
      await using box = await CofferStore.open(place.at('sub/box.coffer'), 'r', options)
      await change(place)
      return await use(box)
    }),
  ),
)

/** All of them. */
export const special: readonly Attempt[] = [...calls, ...handles, ...crypts, ...classes, ...refreshes, ...functions]
