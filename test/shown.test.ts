import { join } from 'node:path'
import { Readable, Stream } from 'node:stream'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import * as api from './support/coffer.ts'
import { kinds } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

/** What no error may have in it. As a number and as text it is told apart from lengths and positions. */
const SECRET = 'hunter2-correct-horse'
const NUMBER = 867_530_986_753

/** Everything that anything could print of an error, its causes and its properties. */
function printed(value: unknown, seen = new Set<unknown>()): string {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return String(value)
  if (seen.has(value)) return ''
  seen.add(value)
  const own = Reflect.ownKeys(value).map((key) => `${String(key)} ${printed(Reflect.get(value, key), seen)}`)
  const deep = { depth: 20, showHidden: true, getters: true, maxArrayLength: null, maxStringLength: null } as const
  return [inspect(value, deep), `${value}`, ...own].join('\n')
}

const forms = [SECRET, Buffer.from(SECRET).toString('base64'), Buffer.from(SECRET).toString('hex'), String(NUMBER)]
forms.push(
  [...Buffer.from(SECRET)].join(', '),
  Buffer.from(SECRET)
    .toString('hex')
    .replace(/..(?=.)/g, '$& '),
)

class Login {
  password = SECRET
}

/** Values with the secret in them, by what they are. */
const secrets: Readonly<Record<string, () => unknown>> = {
  string: () => SECRET,
  'two lines': () => `name,${SECRET}\nshop,${SECRET}\n`,
  object: () => ({ password: SECRET, key: Buffer.from(SECRET) }),
  keys: () => ({ cofferKey: SECRET, secureKey: SECRET }),
  'object with the secret as a key': () => ({ [SECRET]: 1 }),
  array: () => [SECRET, { [SECRET]: SECRET }],
  buffer: () => Buffer.from(SECRET),
  'view of other integers': () => new Uint16Array(Buffer.from(SECRET)),
  map: () => new Map([[SECRET, { hidden: () => {} }]]),
  symbol: () => Symbol(SECRET),
  function: () => Object.defineProperty(() => SECRET, 'name', { value: SECRET }),
  instance: () => new Login(),
  'text of its own': () => ({
    toString: () => SECRET,
    [inspect.custom]: () => SECRET,
    get [Symbol.toStringTag]() {
      return SECRET
    },
  }),
  error: () => new Error(SECRET),
  url: () => new URL(`${SECRET.replaceAll('2', 'x')}:`),
  number: () => NUMBER,
  bigint: () => BigInt(NUMBER),
  iterable: () => [SECRET, { password: SECRET }].values(),
  'iterable of a number': () => [NUMBER].values(),
  'iterable whose result is one': () => ({ [Symbol.iterator]: () => ({ next: () => SECRET }) }),
}
forms.push(SECRET.replaceAll('2', 'x'))

/** What a parameter is: a message may show a name or a path that is a string, and a number that is one. */
type Parameter = 'name' | 'value' | 'number' | { readonly [option: string]: Parameter }

/** A call that is right, but for the one of its arguments that is replaced. */
interface Case {
  readonly call: (...args: never[]) => unknown
  readonly args: readonly unknown[]
  readonly parameters: readonly Parameter[]
}

const watch = { signal: 'value', onProgress: 'value' } as const
const numbers = (names: readonly string[]): Record<string, Parameter> =>
  Object.fromEntries(names.map((name) => [name, 'number']))
const opening = {
  cofferKey: 'value',
  secureKey: 'value',
  passphrase: 'value',
  cipher: 'value',
  kdf: numbers(['memory', 'passes']),
  ...numbers([
    'lockTimeout',
    'level',
    'chunkSize',
    'blockSize',
    'maxMemberSize',
    'maxTotalSize',
    'maxCatalogSize',
    'maxKdfMemory',
  ]),
  autoFlush: 'value',
  backup: 'value',
  lock: 'value',
  tempDir: 'name',
  durability: 'value',
  legacy: 'value',
  replace: 'value',
  expect: { generation: 'number', digest: 'value' },
  signal: 'value',
} as const
const layer = { level: 'number', cipher: 'value' } as const
const layers = { member: layer, container: layer }
const right = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const
const attributes = { mode: 'number', mtime: 'value' } as const
const salvaging = { ...opening, claimedNames: 'value', ...watch } as const
const query = {
  prefix: 'name',
  glob: 'name',
  after: 'name',
  limit: 'number',
  bigint: 'value',
  signal: 'value',
} as const
const extracting = {
  replace: 'value',
  preserve: 'value',
  from: 'name',
  ...numbers(['maxMemberSize', 'maxTotalSize']),
  ...watch,
} as const
const converting = { level: 'number', replace: 'value', legacy: 'value', ...watch } as const

const call = (of: unknown, name: string, args: readonly unknown[], parameters: readonly Parameter[]): Case => ({
  call: (...given: unknown[]) => (of as Record<string, (...args: unknown[]) => unknown>)[name]?.(...given),
  args,
  parameters,
})

/** The statics of a class of coffers. */
const statics = (label: string, type: typeof api.Coffer): Record<string, Case> => {
  const keys = label === 'Coffer' ? right : label === 'CofferNull' ? {} : type.generateKeys({} as never)
  const own = label === 'Coffer' ? layers : {}
  // There is no such directory, so that no key has to be derived, in the mode that takes every option.
  const path = '/nonexistent/nowhere.coffer'
  return {
    [`${label}.open`]: call(type, 'open', [path, 'w', keys], ['name', 'value', { ...opening, ...own }]),
    [`${label}.salvage`]: call(
      type,
      'salvage',
      [path, `${path}.new`, keys],
      ['name', 'name', { ...salvaging, ...own }],
    ),
    [`${label}.generateKeys`]: call(
      type,
      'generateKeys',
      [label === 'Coffer' ? right : {}],
      [{ cipher: 'value', ...own }],
    ),
    [`new ${label}`]: {
      call: (...args: never[]) => Reflect.construct(type, args),
      args: [undefined],
      parameters: ['value'],
    },
  }
}

const coffer = (
  label: string,
  box: api.Coffer,
  file: api.CofferFile,
  reading: api.CofferFile,
): Record<string, Case> => ({
  [`${label}.write`]: call(box, 'write', ['a', 'x', {}], ['name', 'value', { ...attributes, signal: 'value' }]),
  [`${label}.append`]: call(box, 'append', ['a', 'x', {}], ['name', 'value', { signal: 'value' }]),
  [`${label}.writeLines`]: call(box, 'writeLines', ['a', ['x'], {}], ['name', 'value', attributes]),
  [`${label}.dump`]: call(box, 'dump', ['a', 'x', {}], ['name', 'value', attributes]),
  [`${label}.add`]: call(
    box,
    'add',
    ['/nonexistent', {}],
    ['name', { as: 'name', replace: 'value', symlinks: 'value', ...watch }],
  ),
  [`${label}.delete`]: call(box, 'delete', ['missing', {}], ['name', { recursive: 'value' }]),
  [`${label}.batch`]: call(box, 'batch', [async () => {}, {}], ['value', 'value']),
  [`${label}.read`]: call(box, 'read', ['a', {}], ['name', 'value']),
  [`${label}.readText`]: call(box, 'readText', ['a', {}], ['name', { encoding: 'value' }]),
  [`${label}.load`]: call(box, 'load', ['secret', {}], ['name', 'value']),
  [`${label}.plugin`]: call(box, 'plugin', ['crypt'], ['name']),
  [`${label}.readLines`]: call(box, 'readLines', ['a', {}], ['name', { signal: 'value' }]),
  [`${label}.file`]: call(box, 'file', ['a', 'r', {}], ['name', 'value', attributes]),
  [`${label}.createReadStream`]: call(
    box,
    'createReadStream',
    ['a', {}],
    ['name', { ...numbers(['start', 'end', 'highWaterMark']), encoding: 'value', signal: 'value' }],
  ),
  [`${label}.createWriteStream`]: call(
    box,
    'createWriteStream',
    ['a', {}],
    ['name', { flags: 'value', ...attributes, highWaterMark: 'number', signal: 'value' }],
  ),
  [`${label}.has`]: call(box, 'has', ['a', {}], ['name', 'value']),
  [`${label}.stat`]: call(box, 'stat', ['a', {}], ['name', { throwIfNoEntry: 'value', bigint: 'value' }]),
  [`${label}.members`]: call(box, 'members', [{}], [query]),
  [`${label}.iterate`]: call(box, 'iterate', [{}], [query]),
  [`${label}.extract`]: call(box, 'extract', ['a', '/dev/null/x', {}], ['name', 'name', extracting]),
  [`${label}.extractAll`]: call(box, 'extractAll', ['/dev/null/x', {}], ['name', { plugins: 'value', ...extracting }]),
  [`${label}.writeMany`]: {
    call: (name: never, data: never, given: object, options: object) =>
      box.writeMany([Object(given) === given ? { name, data, ...given } : given] as never, options),
    args: ['a', 'x', {}, {}],
    parameters: ['name', 'value', attributes, watch],
  },
  [`${label}.writeMany of pairs`]: {
    call: (name: never, data: never) => box.writeMany([[name, data]]),
    args: ['a', 'x'],
    parameters: ['name', 'value'],
  },
  [`${label}.writeMany of entries`]: {
    // The keys of a map are names.
    call: (entries: never, options: object) =>
      box.writeMany((entries as unknown) instanceof Map ? [] : entries, options),
    args: [[], {}],
    parameters: ['value', watch],
  },
  [`${label}.refresh`]: call(box, 'refresh', [{}], ['value']),
  [`${label}.commits`]: {
    // It would wait for a commit.
    call: (options: object) => void box.commits(options).return(),
    args: [{}],
    parameters: [{ signal: 'value', interval: 'number' }],
  },
  [`${label}.flush`]: call(box, 'flush', [{}], [{ force: 'value' }]),
  [`${label}.verify`]: call(box, 'verify', [{}], [watch]),
  [`${label}.compact`]: call(box, 'compact', [{}], [watch]),
  [`${label}.rekey`]: call(
    box,
    'rekey',
    [{}, {}],
    [{ cofferKey: 'value', secureKey: 'value', cipher: 'value' }, watch],
  ),
  [`${label}.changePassphrase`]: call(
    box,
    'changePassphrase',
    [undefined, { kdf: { memory: 19 << 20, passes: 2 } }],
    ['value', { kdf: numbers(['memory', 'passes']), ...watch }],
  ),
  [`${label}.info`]: call(box, 'info', [{}], ['value']),
  [`${label}.close`]: { call: () => {}, args: [], parameters: [] },
  [`${label} file.read`]: call(
    reading,
    'read',
    [Buffer.alloc(4), 0, 4, 0],
    [{ buffer: 'value', ...numbers(['offset', 'length', 'position']) }, 'number', 'number', 'number'],
  ),
  [`${label} file.readFile`]: call(reading, 'readFile', [{}], [{ encoding: 'value' }]),
  [`${label} file.readLines`]: call(reading, 'readLines', [], []),
  [`${label} file.write`]: call(file, 'write', [Buffer.from('x'), 0, 1, null], ['value', 'number', 'number', 'number']),
  [`${label} file.write with options`]: {
    // A number in their place is the offset.
    call: (data: Buffer, options: object) => file.write(data, Object(options) === options ? options : {}),
    args: [Buffer.from('x'), {}],
    parameters: ['value', numbers(['offset', 'length', 'position'])],
  },
  [`${label} file.writeFile`]: call(file, 'writeFile', ['x', {}], ['value', { signal: 'value' }]),
  [`${label} file.appendFile`]: call(file, 'appendFile', ['x', {}], ['value', { signal: 'value' }]),
  [`${label} file.stat`]: call(file, 'stat', [{}], ['value']),
  [`${label} file.createReadStream`]: call(
    reading,
    'createReadStream',
    [{ autoClose: false }],
    [{ ...numbers(['start', 'end', 'highWaterMark']), encoding: 'value', signal: 'value', autoClose: 'value' }],
  ),
  [`${label} file.createWriteStream`]: call(
    file,
    'createWriteStream',
    [{}],
    [{ highWaterMark: 'number', signal: 'value' }],
  ),
  [`${label} file.readableWebStream`]: call(reading, 'readableWebStream', [], []),
  [`${label} file.writableWebStream`]: { call: () => {}, args: [], parameters: [] },
  [`${label} file.close`]: { call: () => {}, args: [], parameters: [] },
  // Its reason is the caller's own, and is what a write fails with.
  [`${label} file.abort`]: { call: () => {}, args: [], parameters: [] },
})

const inBatch = (batch: api.CofferBatch): Record<string, Case> => ({
  'batch.write': call(batch, 'write', ['a', 'x', {}], ['name', 'value', { ...attributes, signal: 'value' }]),
  'batch.writeMany': {
    // What is wrong with an entry ends the batch; the coffer's own call has these cases.
    call: (options: object) => batch.writeMany([], options),
    args: [{}],
    parameters: [watch],
  },
  'batch.append': call(batch, 'append', ['a', 'x', {}], ['name', 'value', { signal: 'value' }]),
  'batch.writeLines': call(batch, 'writeLines', ['a', ['x'], {}], ['name', 'value', attributes]),
  'batch.dump': call(batch, 'dump', ['a', 'x', {}], ['name', 'value', attributes]),
  'batch.add': call(
    batch,
    'add',
    ['/nonexistent', {}],
    ['name', { as: 'name', replace: 'value', symlinks: 'value', ...watch }],
  ),
  'batch.delete': call(batch, 'delete', ['missing', {}], ['name', { recursive: 'value' }]),
  'batch.read': call(batch, 'read', ['a', {}], ['name', 'value']),
  'batch.readText': call(batch, 'readText', ['a', {}], ['name', { encoding: 'value' }]),
  'batch.load': call(batch, 'load', ['secret', {}], ['name', 'value']),
  'batch.has': call(batch, 'has', ['a', {}], ['name', 'value']),
  'batch.stat': call(batch, 'stat', ['a', {}], ['name', { throwIfNoEntry: 'value', bigint: 'value' }]),
  'batch.members': call(batch, 'members', [{}], [query]),
  'batch.iterate': call(batch, 'iterate', [{}], [query]),
  'batch.readLines': call(batch, 'readLines', ['a', {}], ['name', { signal: 'value' }]),
  'batch.createReadStream': call(
    batch,
    'createReadStream',
    ['a', {}],
    ['name', { ...numbers(['start', 'end', 'highWaterMark']), encoding: 'value', signal: 'value' }],
  ),
})

async function plugins(box: api.Coffer): Promise<{ of: Record<string, object>; cases: Record<string, Case> }> {
  const crypt = await box.plugin('crypt')
  const password = await box.plugin('password')
  const rsync = await box.plugin('rsync')
  const field = 'value'
  const entry = { name: 'name', owner: field, username: field, password: field, url: field, note: field } as const
  const syncing = {
    checksum: 'value',
    delete: 'value',
    dryRun: 'value',
    include: 'value',
    exclude: 'value',
    plugins: 'value',
    ...watch,
  } as const
  const none: Case = { call: () => {}, args: [], parameters: [] }
  return {
    of: { crypt, password, rsync },
    cases: {
      'crypt.encrypt': call(crypt, 'encrypt', ['/nonexistent', '/nonexistent/x', {}], ['name', 'name', converting]),
      'crypt.decrypt': call(crypt, 'decrypt', ['/nonexistent', '/nonexistent/x', {}], ['name', 'name', converting]),
      'crypt.createEncryptStream': call(crypt, 'createEncryptStream', [{}], [converting]),
      'crypt.createDecryptStream': call(crypt, 'createDecryptStream', [{}], [converting]),
      'crypt.createTargetStream': call(
        crypt,
        'createTargetStream',
        ['/nonexistent/x', {}],
        ['name', { replace: 'value' }],
      ),
      'crypt.close': none,
      'password.list': call(password, 'list', [], []),
      'password.search': call(password, 'search', ['a'], ['value']),
      'password.get': call(password, 'get', [{ name: 'missing' }], [{ name: 'name', owner: 'name' }]),
      'password.add': call(password, 'add', [{ name: 'a' }, {}], [entry, { replace: 'value' }]),
      'password.delete': call(password, 'delete', [{ name: 'missing' }], [{ name: 'name', owner: 'name' }]),
      'password.importChrome': {
        // A string is a path, unless it has lines.
        call: (source: never, options: object) =>
          password.importChrome(source === SECRET ? { csv: source } : source, options),
        args: [{ csv: `${SECRET}\n"` }, {}],
        parameters: [{ csv: 'value' }, { replace: 'value', owner: 'name' }],
      },
      'password.importPyCoffer': call(password, 'importPyCoffer', [{}], [{ replace: 'value', delete: 'value' }]),
      'password.close': none,
      'rsync.push': call(rsync, 'push', ['/nonexistent', 'a', {}], ['name', 'name', { ...syncing, symlinks: 'value' }]),
      'rsync.pull': call(
        rsync,
        'pull',
        ['missing', '/dev/null/x', {}],
        ['name', 'name', { ...syncing, preserve: 'value' }],
      ),
      'rsync.close': none,
    },
  }
}

const free = (box: api.Coffer): Record<string, Case> => ({
  deriveKeys: call(
    api,
    'deriveKeys',
    ['phrase', { salt: 'short' }],
    ['value', { salt: 'value', ...numbers(['memory', 'passes']) }],
  ),
  exportTar: call(api, 'exportTar', [box, {}], ['value', { members: 'value', plugins: 'value', ...watch }]),
  importTar: call(
    api,
    'importTar',
    [box, Readable.from([]), {}],
    ['value', 'value', { prefix: 'name', replace: 'value', ...watch }],
  ),
  identify: call(api, 'identify', ['/nonexistent', {}], ['name', 'value']),
})

/** What a caller of the package's errors or plugins makes, whose messages are its own. */
const theirs = ['CofferError', 'CofferPlugin', 'KeyPlugin', 'RecordPlugin']

/** The right value, with one place in it replaced. */
function* replaced(parameter: Parameter, given: unknown, secret: unknown): Generator<[string, unknown]> {
  const shows = (of: Parameter): boolean =>
    (of === 'name' && typeof secret === 'string') || (of === 'number' && /number|bigint/.test(typeof secret))
  if (!shows(parameter)) yield ['', secret]
  if (typeof parameter === 'string') return
  for (const [name, inner] of Object.entries(parameter)) {
    const old = (given as Record<string, unknown> | undefined)?.[name]
    for (const [where, value] of replaced(inner, old, secret))
      yield [`.${name}${where}`, { ...(given as object), [name]: value }]
  }
}

async function failureOf(work: () => unknown): Promise<unknown> {
  try {
    const result = await work()
    if (result instanceof Stream || result instanceof ReadableStream) return await drained(result)
    if (result !== null && typeof result === 'object' && Symbol.asyncIterator in result && 'next' in result) {
      for await (const _ of result as AsyncIterable<unknown>);
    }
    if (result instanceof Object && 'abort' in result) (result as api.CofferFile).abort()
    return undefined
  } catch (error) {
    return error
  }
}

async function drained(stream: Stream | ReadableStream): Promise<unknown> {
  if (stream instanceof ReadableStream) return stream.cancel()
  const failed = new Promise((resolve) => stream.once('error', resolve).once('close', () => resolve(undefined)))
  if (stream instanceof Readable) stream.resume()
  stream.once('end', () => (stream as Readable).destroy())
  setImmediate(() => (stream as Readable).destroy())
  return failed
}

async function holdsNothing(cases: Readonly<Record<string, Case>>): Promise<number> {
  let failures = 0
  for (const [label, { call, args, parameters }] of Object.entries(cases)) {
    for (const [at, parameter] of parameters.entries()) {
      for (const [what, make] of Object.entries(secrets)) {
        for (const [where, value] of replaced(parameter, args[at], make())) {
          const given = args.map((arg, index) => (index === at ? value : arg))
          const error = await failureOf(() => call(...(given as never[])))
          if (error === undefined) continue
          failures += 1
          // An error that the caller made, as a reason, is the caller's; there is none here that is shown.
          const text = printed(error)
          for (const form of forms) expect(text.includes(form), `${label} ${at}${where} ${what}: ${text}`).toBe(false)
        }
      }
    }
  }
  return failures
}

const namesOf = (of: object, until: object | null): string[] => {
  const names: string[] = []
  for (let at: object | null = of; at !== until && at !== null; at = Object.getPrototypeOf(at)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof value === 'function' && name !== 'constructor') names.push(name)
    }
  }
  return names
}

// Thousands of calls: on a busy machine they take longer than a test may by default.
describe('no error shows a value that a caller gave', { timeout: 300_000 }, () => {
  it('of the functions and the statics of the package', async () => {
    const box = await api.CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const cases: Record<string, Case> = { ...free(box) }
    for (const [label, value] of Object.entries(api)) {
      if (theirs.includes(label)) continue
      if (typeof value === 'function' && value.prototype instanceof api.Coffer) {
        Object.assign(cases, statics(label, value as unknown as typeof api.Coffer))
      } else if (value === api.Coffer) Object.assign(cases, statics(label, api.Coffer))
      // What is new needs a case above.
      else expect(cases, label).toHaveProperty(label)
    }
    for (const label of ['Coffer', 'CofferBank', 'CofferStore', 'CofferMarket', 'CofferNull'] as const) {
      for (const name of namesOf(api[label], Function.prototype)) expect(cases).toHaveProperty([`${label}.${name}`])
    }
    expect(await holdsNothing(cases)).toBeGreaterThan(1_000)
    await box.close()
  })

  it.each(kinds)('of the methods of a $label, its handles, batches and plugins', async ({ className }) => {
    const type = api[className] as typeof api.CofferNull
    const keys = type.generateKeys()
    const box = await type.open(join(tempDir(), 'box.coffer'), 'x', keys as never)
    await box.write('a', 'contents')
    // What is no CBOR, and no pickle: their readers meet the secret.
    await box.write('secret', SECRET)
    await box.write('.plugins/passwd', `c${SECRET}\n${SECRET}\n.`)
    const [file, reading] = [await box.file('b', 'w'), await box.file('a')]
    const cases = coffer(className, box, file, reading)
    for (const name of namesOf(Object.getPrototypeOf(box), Object.prototype)) {
      if (name.startsWith('[')) continue
      expect(cases).toHaveProperty([`${className}.${name}`])
    }
    for (const name of namesOf(Object.getPrototypeOf(file), Object.prototype)) {
      expect(cases).toHaveProperty([`${className} file.${name}`])
    }
    expect(await holdsNothing(cases)).toBeGreaterThan(500)
    file.abort()
    const { of, cases: more } = await plugins(box)
    for (const [plugin, value] of Object.entries(of)) {
      for (const name of namesOf(Object.getPrototypeOf(value), Object.prototype)) {
        if (!['checkOpen', 'empty', 'restore', 'stored', 'view', 'update'].includes(name)) {
          expect(more).toHaveProperty([`${plugin}.${name}`])
        }
      }
    }
    expect(await holdsNothing(more)).toBeGreaterThan(100)
    await box.batch(async (batch) => {
      const inside = inBatch(batch)
      for (const name of namesOf(Object.getPrototypeOf(batch), Object.prototype)) {
        expect(inside).toHaveProperty([`batch.${name}`])
      }
      expect(await holdsNothing(inside)).toBeGreaterThan(50)
    })
    await box.close()
  })

  it('but says of which type it was', async () => {
    const keys = api.CofferBank.generateKeys()
    const open = (...args: unknown[]): Promise<unknown> => Reflect.apply(api.CofferBank.open, api.CofferBank, args)
    await expect(open('x.coffer', keys)).rejects.toThrow(/^the mode must be .* not an object$/)
    await expect(open('x.coffer', { passphrase: SECRET })).rejects.toThrow(/^the mode must be .* not an object$/)
    await expect(open(keys, 'w', keys)).rejects.toThrow(
      'the path of a coffer must be a path or a file: URL, not an object',
    )
    const box = await api.CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const call of ['write', 'append'] as const) {
      const given = box[call]('login', { password: SECRET } as never)
      await expect(given).rejects.toThrow(/^the data must be .* not an object$/)
    }
    await box.close()
  })
})
