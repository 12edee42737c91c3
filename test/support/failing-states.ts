/** States in which calls fail, and each call made in each of them. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { lines, noise } from './bytes.ts'
import {
  type Coffer,
  type CofferBatch,
  type CofferFile,
  CofferStore,
  type ErrorCode,
  exportTar,
  type FileFlags,
  importTar,
  type OpenMode,
  RecordPlugin,
  type WritableOptions,
} from './coffer.ts'
import { deferred } from './deferred.ts'
import { dataPieces } from './format.ts'
import { tarEnd, tarEntry } from './legacy.ts'

/** A directory for one call, with a coffer that has what the calls are about. */
export interface Place {
  readonly at: (name: string) => string
  readonly path: string
}

/** The keys of the coffer in each place. */
export const keys = CofferStore.generateKeys()

/** CBOR of more levels than a value may have. */
const deep = Buffer.alloc(500, 0x81)

/** A member of each kind that calls are made about, and the record of passwords. */
export async function template(path: string): Promise<Buffer> {
  const box = await CofferStore.open(path, 'x', { ...keys, durability: 'none', lock: 'none', blockSize: 65_536 })
  await box.dump('member', noise(2_000).toString('latin1'))
  await box.write('mate', noise(2_000, 'mate'))
  await box.write('dir/below', noise(500, 'below'))
  await box.write('large', noise(200_000, 'large'))
  await box.write('.plugins/dir/below', 'x')
  await box.dump('.plugins/member', 'a value of more than ten bytes')
  await box.dump('.plugins/large', 'another value of more than ten bytes')
  await box.write('deep', deep)
  await box.write('.plugins/deep', deep)
  await box.write('.plugins/passwd', readFileSync(new URL('../fixtures/passwd-4.pickle', import.meta.url)))
  const passwords = await box.plugin('password')
  await passwords.add({ name: 'mail', password: 'x' })
  await box.flush()
  await box.close()
  return readFileSync(path)
}

/** A state in which calls fail with a code. */
export interface State {
  readonly code: ErrorCode
  readonly mode?: OpenMode
  readonly options?: WritableOptions
  /** The name that the calls are given: `member` by default. */
  readonly name?: string
  /** Whether no other call may run beside it: it replaces descriptors of the process. */
  readonly alone?: boolean
  /** Whether no file may grow beyond the length of the coffer: the caller sees to that. */
  readonly full?: boolean
  /** The calls that it is for: all by default. */
  readonly only?: RegExp
  /** Changes the file before it is opened. */
  readonly before?: (place: Place) => void
  /** Changes the state when the coffer, the handle or the batch of the call is open. */
  readonly after?: (box: Coffer, place: Place) => Promise<void> | void
  /** Makes the call: outside of any batch by default. */
  readonly around?: (box: Coffer, place: Place, act: () => Promise<unknown>) => Promise<unknown>
}

/** Turns a byte of every block of the members over. */
export function damage({ path }: Place): void {
  const file = readFileSync(path)
  for (const { payload, length } of dataPieces(file, true)) {
    if (length > 100) file.writeUInt8(file.readUInt8(payload + 40) ^ 1, payload + 40)
  }
  writeFileSync(path, file)
}

/** Puts a directory in the place of every open descriptor of a file: no call of the system on it succeeds any more. */
export function revoke(path: string, directory: string): void {
  for (const name of readdirSync('/proc/self/fd')) {
    let target: string
    try {
      target = readlinkSync(`/proc/self/fd/${name}`)
    } catch {
      continue
    }
    if (target !== path) continue
    closeSync(Number(name))
    const opened = openSync(directory, 'r')
    if (opened !== Number(name)) throw new Error(`the descriptor ${name} was taken by another file meanwhile`)
  }
}

/** Opens the coffer of a place. */
async function open({ path }: Place, mode: OpenMode, options: WritableOptions = {}): Promise<Coffer> {
  return CofferStore.open(path, mode as 'r+', { ...keys, ...options })
}

const fast = { durability: 'none', lockTimeout: 0, autoFlush: true } as const
/** As a coffer that is flushed by hand. */
const unflushed = { ...fast, autoFlush: false } as const

/** The states, in each of which each call is made. */
export const states: readonly State[] = [
  { code: 'ERR_COFFER_CLOSED', after: (box) => box.close() },
  { code: 'ERR_COFFER_READ_ONLY', mode: 'r', options: { lock: 'rw' } },
  { code: 'ERR_COFFER_MEMBER_NOT_FOUND', name: 'missing' },
  { code: 'ERR_COFFER_IS_DIRECTORY', name: 'dir' },
  { code: 'ERR_COFFER_MEMBER_EXISTS', name: 'member/below' },
  { code: 'ERR_COFFER_INVALID_ARG', name: 'a/../b' },
  { code: 'ERR_COFFER_TOO_LARGE', options: { ...fast, maxMemberSize: 10 } },
  { code: 'ERR_COFFER_CORRUPT', before: damage },
  { code: 'ERR_COFFER_CORRUPT', before: damage, options: unflushed, after: (box) => box.delete('mate') },
  { code: 'ERR_COFFER_CORRUPT', name: 'large', after: (_, place) => damage(place) },
  {
    code: 'ERR_COFFER_STALE',
    mode: 'r',
    options: { lock: 'w' },
    name: 'large',
    after: async (_, place) => {
      const writer = await open(place, 'r+', { ...unflushed, lock: 'w' })
      const names = [
        'member',
        'mate',
        'large',
        '.plugins/member',
        '.plugins/large',
        '.plugins/password',
        '.plugins/passwd',
      ]
      for (const name of names) await writer.write(name, 'new')
      await writer.close()
    },
  },
  { code: 'ERR_COFFER_IO', alone: true, after: (_, { path, at }) => revoke(path, at('.')) },
  { code: 'ERR_COFFER_IO', alone: true, name: 'large', after: (_, { path, at }) => revoke(path, at('.')) },
  { code: 'ERR_COFFER_IO', alone: true, options: { ...fast, tempDir: '/dev/null/none' } },
  { code: 'ERR_COFFER_IO', full: true },
  {
    code: 'ERR_COFFER_IO',
    full: true,
    options: unflushed,
    after: async (box) => void (await box.write('mate', noise(5_000))),
  },
  {
    code: 'ERR_COFFER_POISONED',
    after: async (box, { path }) => {
      rmSync(`${path}.lock`)
      await box.write('mate', 'x').catch(() => {})
    },
  },
  { code: 'ERR_COFFER_LIMIT', name: 'deep', after: (box) => box.write('.plugins/password', deep) },
  {
    code: 'ERR_COFFER_IS_DIRECTORY',
    only: /^PasswordPlugin/,
    after: async (box) => {
      await box.delete('.plugins', { recursive: true })
      await box.write('.plugins/password/below', 'x')
      await box.write('.plugins/passwd/below', 'x')
    },
  },
  {
    code: 'ERR_COFFER_MEMBER_EXISTS',
    only: /^PasswordPlugin/,
    after: async (box) => {
      await box.delete('.plugins', { recursive: true })
      await box.write('.plugins', 'x')
    },
  },
  { code: 'ERR_COFFER_IN_BATCH', around: (box, _, act) => box.batch(act) },
  { code: 'ERR_COFFER_DEADLOCK', around: deadlocked },
]

/** Makes a call in a batch of another coffer, for which a batch of this one waits. */
async function deadlocked(box: Coffer, { at }: Place, act: () => Promise<unknown>): Promise<unknown> {
  const other = await CofferStore.open(at('other.coffer'), 'x', { ...keys, ...fast, lock: 'none' })
  const [began, waits] = [deferred(), deferred()]
  try {
    const inside = other.batch(async () => {
      began.resolve()
      await waits.promise
      return act()
    })
    await began.promise
    const outside = box.batch(async () => {
      const change = other.write('x', 'y')
      waits.resolve()
      await change
    })
    await Promise.allSettled([inside, outside])
    return await inside
  } finally {
    await other.close()
  }
}

/** A call that is made on a coffer, on a name. */
type Act = (box: Coffer, name: string, place: Place) => unknown

async function drained(iterable: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of iterable);
}

/** Makes a call until it fails, ten times at most: a write may fail by what became of one before it. */
async function repeated(call: () => Promise<unknown>): Promise<void> {
  for (let count = 0; count < 10; count += 1) await call()
}

async function filled(stream: Writable): Promise<void> {
  await pipeline(Readable.from([Buffer.from('text')]), stream)
}

function source({ at }: Place, name = ''): string {
  writeFileSync(at('source'), name === 'large' ? noise(200_000, 'large') : 'text')
  return at('source')
}

/** A plugin whose record a test names. */
export class Notes extends RecordPlugin<unknown> {
  protected record = '.plugins/notes'

  of(record: string): this {
    this.record = record
    return this
  }

  protected empty(): unknown {
    return null
  }

  shown(): Promise<unknown> {
    return this.view()
  }

  changed(): Promise<unknown> {
    return this.update(() => 1)
  }
}

/** The calls that a coffer and a batch have. */
const shared: Readonly<Record<string, (box: Coffer | CofferBatch, name: string, place: Place) => unknown>> = {
  read: (box, name) => box.read(name),
  readText: (box, name) => box.readText(name),
  readLines: (box, name) => drained(box.readLines(name)),
  load: (box, name) => box.load(name),
  createReadStream: (box, name) => buffer(box.createReadStream(name)),
  has: (box, name) => box.has(name),
  stat: (box, name) => box.stat(name),
  members: (box) => box.members(),
  iterate: (box) => drained(box.iterate()),
  'Symbol.asyncIterator': (box) => drained(box),
  write: (box, name) => box.write(name, 'text'),
  writeMany: (box, name) => box.writeMany([[name, 'text']]),
  append: (box, name) => box.append(name, 'text'),
  writeLines: (box, name) => box.writeLines(name, ['text']),
  dump: (box, name) => box.dump(name, 'text'),
  add: (box, name, place) => box.add(source(place), { as: name }),
  delete: (box, name) => box.delete(name),
  'writeLines+': (box, name) => box.writeLines(name, lines(30_000)),
  'dump+': (box, name) => box.dump(name, noise(1_000_000)),
  'write+': (box, name) => box.write(name, Readable.from([noise(300_000)])),
  'writeMany+': (box, name) => box.writeMany([[name, noise(1_000_000)]]),
  'append+': (box, name) => box.append(name, Readable.from([noise(300_000)])),
  'add+': (box, name, place) => {
    writeFileSync(place.at('source'), noise(150_000))
    return box.add(place.at('source'), { as: name })
  },
}

const ofCoffer: Readonly<Record<string, Act>> = {
  ...shared,
  file: (box, name) => box.file(name, 'r'),
  'file ': (box, name) => box.file(name, 'w', async () => {}),
  'file  ': (box, name) => box.file(name, 'a', async (file) => void (await file.write('text'))),
  createWriteStream: (box, name) => filled(box.createWriteStream(name)),
  'createWriteStream ': (box, name) => filled(box.createWriteStream(name, { flags: 'a' })),
  batch: (box, name) => box.batch((batch) => batch.write(name, 'text').catch(() => {})),
  extract: (box, name, { at }) => box.extract(name, at('out')),
  extractAll: (box, _, { at }) => box.extractAll(at('out')),
  flush: (box) => box.flush({ force: true }),
  close: (box) => box.close(),
  'Symbol.asyncDispose': (box) => box[Symbol.asyncDispose](),
  compact: (box) => box.compact(),
  rekey: (box) => box.rekey(CofferStore.generateKeys()),
  changePassphrase: (box) => box.changePassphrase('anvil mosaic turnip', { kdf: { memory: 19 << 20, passes: 2 } }),
  verify: (box) => box.verify(),
  info: (box) => box.info(),
  refresh: (box) => box.refresh(),
  commits: async (box) => {
    // It waits as long as nothing fails.
    const signal = AbortSignal.timeout(20)
    await box
      .commits({ signal, interval: 1 })
      .next()
      .catch((error: unknown) => {
        if (error !== signal.reason) throw error
      })
  },
  plugin: (box) => box.plugin('rsync'),
}

const chrome = 'name,url,username,password,note\r\na,b,c,d,\r\n'

const ofPlugins: Readonly<Record<string, Act>> = {
  'PasswordPlugin.list': async (box) => (await box.plugin('password')).list(),
  'PasswordPlugin.search': async (box) => (await box.plugin('password')).search('mail'),
  'PasswordPlugin.get': async (box) => (await box.plugin('password')).get({ name: 'mail' }),
  'PasswordPlugin.get ': async (box) => (await box.plugin('password')).get({ name: 'missing' }),
  'PasswordPlugin.add': async (box) => (await box.plugin('password')).add({ name: 'other', password: 'x' }),
  'PasswordPlugin.add ': async (box) => (await box.plugin('password')).add({ name: 'mail' }, { replace: false }),
  'PasswordPlugin.delete': async (box) => (await box.plugin('password')).delete({ name: 'mail' }),
  'PasswordPlugin.delete ': async (box) => (await box.plugin('password')).delete({ name: 'missing' }),
  'PasswordPlugin.importChrome': async (box) => (await box.plugin('password')).importChrome({ csv: chrome }),
  'PasswordPlugin.importPyCoffer': async (box) => (await box.plugin('password')).importPyCoffer(),
  'RecordPlugin.view': async (box, name) => (await box.plugin(Notes)).of(`.plugins/${name}`).shown(),
  'RecordPlugin.update': async (box, name) => (await box.plugin(Notes)).of(`.plugins/${name}`).changed(),
  'RsyncPlugin.push': async (box, name, place) => (await box.plugin('rsync')).push(source(place), name),
  'RsyncPlugin.push ': async (box, name, place) =>
    (await box.plugin('rsync')).push(source(place, name), name, { checksum: true }),
  'RsyncPlugin.pull': async (box, name, { at }) => (await box.plugin('rsync')).pull(name, at('out')),
  exportTar: (box, name) => buffer(exportTar(box, { members: [name] })),
  importTar: (box, name) => importTar(box, Readable.from([Buffer.concat([tarEntry({ name }, 'text'), tarEnd])])),
}

/** The calls on a handle, each with the mode that the handle is opened with. */
const ofFile: Readonly<Record<string, readonly [FileFlags, (file: CofferFile) => unknown]>> = {
  read: ['r', (file) => file.read({ position: 150_000 })],
  readFile: ['r', (file) => file.readFile()],
  readLines: ['r', (file) => drained(file.readLines())],
  createReadStream: ['r', (file) => buffer(file.createReadStream())],
  readableWebStream: ['r', (file) => drained(file.readableWebStream())],
  stat: ['r', (file) => file.stat()],
  write: ['w', (file) => file.write('text')],
  writeFile: ['w', (file) => file.writeFile('text')],
  appendFile: ['w', (file) => file.appendFile('text')],
  'write+': ['w', (file) => repeated(() => file.write(noise(300_000)))],
  'writeFile+': ['w', (file) => file.writeFile(noise(3_000_000))],
  'appendFile+': ['w', (file) => file.appendFile(noise(3_000_000))],
  createWriteStream: ['w', (file) => filled(file.createWriteStream())],
  writableWebStream: ['w', (file) => filled(Writable.fromWeb(file.writableWebStream()))],
  close: ['w', (file) => file.close()],
  'Symbol.asyncDispose': ['w', (file) => file[Symbol.asyncDispose]()],
}

/** One attempt to make a call fail. */
export interface Attempt {
  readonly call: string
  /** What it is to fail with. */
  readonly code: ErrorCode
  readonly alone: boolean
  readonly full: boolean
  /** Fails, or not. */
  readonly fail: (place: Place) => Promise<unknown>
}

/** A call on an open coffer, in a state. */
function inState(call: string, state: State, act: Act): Attempt {
  const {
    code,
    mode = 'r+',
    options = fast,
    name = 'member',
    before,
    after,
    around,
    alone = false,
    full = false,
  } = state
  const fail = async (place: Place): Promise<unknown> => {
    before?.(place)
    const box = await open(place, mode, options)
    try {
      await after?.(box, place)
      const acting = async (): Promise<unknown> => act(box, name, place)
      return await (around ? around(box, place, acting) : acting())
    } finally {
      await box.close().catch(() => {})
    }
  }
  return { call, code, alone, full, fail }
}

/** A call on a batch, whose own error counts, and not that of the batch. */
function onBatch(
  call: string,
  state: State,
  use: (batch: CofferBatch, name: string, place: Place) => unknown,
): Attempt {
  const { after, around, ...rest } = state
  let failure: { error: unknown } | undefined
  const attempt = inState(call, { ...rest, ...(around ? { around } : {}) }, async (box, name, place) => {
    const [began, changed] = [deferred(), deferred()]
    const batch = box.batch(async (batch) => {
      began.resolve()
      await changed.promise
      try {
        await use(batch, name, place)
      } catch (error) {
        failure = { error }
      }
    })
    await Promise.race([began.promise, batch])
    // A change of the coffer waits for the batch, so it is not waited for here.
    const change = after?.(box, place)
    changed.resolve()
    await Promise.allSettled([change, batch])
  })
  const fail = async (place: Place): Promise<unknown> => {
    failure = undefined
    await attempt.fail(place).catch(() => {})
    if (failure) throw (failure as { error: unknown }).error
    return undefined
  }
  return { ...attempt, fail }
}

/** A call on a handle that was opened before the state came about. */
function onHandle(call: string, state: State, flags: FileFlags, use: (file: CofferFile) => unknown): Attempt {
  const {
    mode = 'r+',
    options = fast,
    name = 'member',
    before,
    after,
    around,
    code,
    alone = false,
    full = false,
  } = state
  const fail = async (place: Place): Promise<unknown> => {
    before?.(place)
    const box = await open(place, mode, options)
    try {
      const file = await box.file(name, flags).catch(() => undefined)
      if (file === undefined) return undefined
      await after?.(box, place)
      const acting = async (): Promise<unknown> => use(file)
      return await (around ? around(box, place, acting) : acting())
    } finally {
      await box.close().catch(() => {})
    }
  }
  return { call, code, alone, full, fail }
}

/**
 * Each call in each state. Calls of a name with a space are another way to make that one; those with a plus have many
 * bytes, and are made only where the system refuses.
 */
export const attempts: readonly Attempt[] = states.flatMap((state) => {
  const { code, only } = state
  const of = <T>(acts: Readonly<Record<string, T>>, make: (call: string, act: T) => Attempt): Attempt[] =>
    Object.entries(acts)
      .filter(([call]) => code === 'ERR_COFFER_IO' || !call.endsWith('+'))
      .map(([call, act]) => make(call.replace(/[ +]+$/, ''), act))
  return [
    ...of(ofCoffer, (call, act) => inState(`Coffer.${call}`, state, act)),
    ...of(ofPlugins, (call, act) => inState(call, state, act)),
    ...of(shared, (call, act) => onBatch(`CofferBatch.${call}`, state, act)),
    ...of(ofFile, (call, [flags, act]) => onHandle(`CofferFile.${call}`, state, flags, act)),
  ].filter(({ call }) => only?.test(call) ?? true)
})
