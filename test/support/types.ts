import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { tempDir } from './temp.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A program as users write it, where whatever is not wanted is given as undefined. */
const program = `
import {
  Coffer, CofferBank, CofferError, CofferMarket, CofferNull, CofferPlugin, type CofferReader, CofferStore,
  type CofferWriter, type ErrorCode, type PluginHost, RecordPlugin, deriveKeys, exportTar, identify, importTar, type Member, type NoticeCode,
  type NewCofferOptions, type OpenOptions, type ReplaceOptions,
} from 'coffer'

class MyError extends CofferError {}
class MyBank extends CofferBank {
  vip = new Set<string>()
}

type Tags = Map<string, string>

class TagPlugin extends RecordPlugin<Tags> {
  protected readonly record = '.plugins/tags'
  protected empty(): Tags {
    return new Map()
  }
  async tag(member: string, tag: string): Promise<void> {
    await this.update((tags) => tags.set(member, tag))
  }
}

class Documented extends RecordPlugin<Tags> {
  record = '.plugins/tags'
  empty() {
    return new Map<string, string>()
  }
}

class Count extends CofferPlugin {
  constructor(host: PluginHost) {
    super(host)
  }
}

const no = undefined
const reading: OpenOptions = {
  lock: no, lockTimeout: no, tempDir: no, legacy: no, maxMemberSize: no, maxTotalSize: no, maxCatalogSize: no,
  maxKdfMemory: no, expect: no, signal: no,
}
const making: NewCofferOptions = {
  ...reading, kdf: no, autoFlush: no, backup: no, level: no, chunkSize: no, blockSize: no, durability: no,
}
const replacing: ReplaceOptions = { ...making, replace: no }

/** A wrapper of one's own. */
async function copy(from: CofferReader, to: CofferWriter): Promise<void> {
  for await (const { name } of from) await to.write(name, await from.read(name))
}

export async function everything(): Promise<string> {
  const box = await CofferNull.open('box.coffer', 'w', replacing)
  const bank = await CofferBank.open('bank.coffer', 'w', { ...replacing, ...CofferBank.generateKeys({ cipher: no }) })
  const mine: MyBank = await MyBank.open('mine.coffer', 'a', { ...making, passphrase: 'anvil mosaic' })
  mine.vip.add('alice')
  const store: CofferStore = await CofferStore.open('store.coffer', 'x', CofferStore.generateKeys())
  await CofferMarket.open('market.coffer', 'r+', CofferMarket.generateKeys())
  await CofferMarket.open('market.coffer', 'rb', { passphrase: 'anvil mosaic', ...reading })
  const found: Coffer = await Coffer.open('any.coffer', 'r', { passphrase: 'anvil mosaic' })
  await Coffer.open('any.coffer', 'r+', CofferBank.generateKeys())
  const layers = { member: { level: no, cipher: 'none' }, container: { level: no, cipher: 'none' } } as const
  await (await Coffer.open('mix.coffer', 'w', { ...layers, ...making })).close()
  const watch = { signal: no, onProgress: no }
  await box.write('a', 'x', { mode: no, mtime: no, signal: no })
  await box.append('a', ['x'], { signal: no })
  await box.writeLines('l', ['x'], { mode: no, mtime: no })
  await box.dump('d', {}, { mode: no, mtime: no })
  await box.add('file', { as: no, replace: no, symlinks: no, ...watch })
  await box.delete('a', { recursive: no })
  await box.extract(['a', 'b'], '.', { replace: no, from: no, maxMemberSize: no, maxTotalSize: no, ...watch })
  await box.extractAll('.', { plugins: no, replace: no, from: no, maxMemberSize: no, maxTotalSize: no, ...watch })
  await box.flush({ force: no })
  await box.verify(watch)
  await box.compact(watch)
  await bank.rekey({ ...CofferBank.generateKeys(), cipher: no }, watch)
  await bank.changePassphrase('anvil mosaic', { kdf: { memory: no, passes: no }, ...watch })
  await CofferBank.salvage('a', 'b', { ...CofferBank.generateKeys(), cipher: no, lock: no,
    lockTimeout: no, durability: no, legacy: no, ...watch })
  box.createReadStream('a', { start: no, end: no, highWaterMark: no, encoding: no, signal: no })
  box.createWriteStream('a', { flags: no, mode: no, mtime: no, highWaterMark: no, signal: no })
  const file = await box.file('a', 'r', { mode: no, mtime: no })
  await file.read({ buffer: no, offset: no, length: no, position: no })
  await file.read(Buffer.alloc(1), { offset: no, length: no, position: no })
  await file.readFile({ encoding: no })
  await file.write(Buffer.alloc(1), { offset: no, length: no, position: no })
  await file.writeFile('x', { signal: no })
  file.createReadStream({ start: no, end: no, highWaterMark: no, encoding: no, signal: no, autoClose: no })
  file.createWriteStream({ highWaterMark: no, signal: no })
  const lengthOf: number = await box.file('a', 'w', async (open) => {
    await open.write('x')
    return 1
  })
  await box.file('a', 'w', { mode: 0o600 }, async (open) => open.write('x'))
  await bank.batch((batch) => copy(box, batch))
  await copy(box, bank)
  await deriveKeys('anvil', { salt: 'x', memory: no, passes: no })
  await importTar(box, exportTar(box, { members: no, ...watch }), { prefix: no, replace: no, ...watch })
  const crypt = await box.plugin('crypt')
  await crypt.encrypt('a', 'b', { level: no, replace: no, ...watch })
  await crypt.decrypt('a', 'b', { legacy: no, replace: no, ...watch })
  const rsync = await box.plugin('rsync')
  await rsync.push('a', 'b', { checksum: no, delete: no, dryRun: no, include: no, exclude: no, symlinks: no, ...watch })
  const passwords = await box.plugin('password')
  await passwords.add({ name: 'a', owner: no, username: no, password: no, url: no, note: no }, { replace: no })
  await (await box.plugin(TagPlugin)).tag('a', 'red')
  await Promise.all([box.plugin(Documented), box.plugin(Count)])
  const member: Member = await store.stat('a')
  const perhaps: Member | undefined = await store.stat('a', { throwIfNoEntry: false })
  const nanoseconds: bigint = (await store.stat('a', { bigint: true })).mtimeNs
  const times: bigint[] = (await store.members({ prefix: no, glob: no, after: no, limit: no, bigint: true, signal: no }))
    .map(({ mtimeNs }) => mtimeNs)
  for await (const line of found.readLines('a', { signal: no })) console.log(line.length, lengthOf, perhaps, times)
  const text: string = await box.readText('a', { encoding: no })
  const identity = await identify('a')
  if (identity.format === 'coffer') console.log(identity.version.toFixed(), identity.passphrase)
  const error = new MyError('ERR_COFFER_CORRUPT', text, {
    path: no, member: no, errno: no, syscall: no, systemCode: no, cause: no,
  })
  const code: ErrorCode = error.code
  const notices: NoticeCode[] = box.notices.map((notice) => notice.code)
  return \`\${member.name}\${code}\${notices}\${nanoseconds}\${found.head.digest}\`
}
`

/** What must not compile: each line that does is an error of its directive. */
const misuses = `
import { Coffer, CofferBank, CofferMarket, CofferNull, CofferStore, type ErrorCode, identify } from 'coffer'

const bankKeys = { cofferKey: 'x', secureKey: 'x' }
const storeKeys = { cofferKey: 'x' }

export async function misuses(): Promise<void> {
  // @ts-expect-error a bank needs keys
  await CofferBank.open('x', 'w')
  // @ts-expect-error both of them
  await CofferBank.open('x', 'w', storeKeys)
  // @ts-expect-error keys and a passphrase
  await CofferBank.open('x', 'w', { ...bankKeys, passphrase: 'anvil mosaic' })
  // @ts-expect-error a store has no cipher to choose
  await CofferStore.open('x', 'w', { ...storeKeys, cipher: 'fernet' })
  // @ts-expect-error a store has one key
  await CofferStore.open('x', 'w', bankKeys)
  // @ts-expect-error a market has one key
  await CofferMarket.open('x', 'w', bankKeys)
  // @ts-expect-error nothing is sealed
  await CofferNull.open('x', 'w', storeKeys)
  // @ts-expect-error a reader writes no members
  await CofferStore.open('x', 'r', { ...storeKeys, level: 3 })
  // @ts-expect-error a reader flushes nothing
  await CofferStore.open('x', 'r', { ...storeKeys, autoFlush: true })
  // @ts-expect-error what exists has its chunks
  await CofferStore.open('x', 'r+', { ...storeKeys, chunkSize: 4096 })
  // @ts-expect-error what exists has its blocks
  await CofferStore.open('x', 'r', { ...storeKeys, blockSize: 65_536 })
  // @ts-expect-error the cost is that of the coffer
  await CofferStore.open('x', 'r', { passphrase: 'anvil mosaic', kdf: { passes: 4 } })
  // @ts-expect-error only w replaces
  await CofferStore.open('x', 'a', { ...storeKeys, replace: true })
  // @ts-expect-error there is no such mode
  await CofferStore.open('x', 'rw', storeKeys)
  // @ts-expect-error a misspelling
  await CofferStore.open('x', 'r', { ...storeKeys, lockTimeOut: 5 })
  // @ts-expect-error without layers nothing can be made
  await Coffer.open('x', 'w', storeKeys)
  const bank = await CofferBank.open('x', 'w', bankKeys)
  // @ts-expect-error the target is required
  await bank.extractAll()
  // @ts-expect-error the target is required
  await bank.extract('a')
  // @ts-expect-error has takes no options
  await bank.has('a', { recursive: true })
  // @ts-expect-error there is no such option
  await bank.write('a', 'x', { replace: true })
  // @ts-expect-error the name is an option
  await bank.add('a', 'b')
  // @ts-expect-error the encoding is an option
  await bank.readText('a', 'hex')
  // @ts-expect-error the property has another name
  await bank.commit
  // @ts-expect-error nanoseconds are there on request
  ;(await bank.stat('a')).mtimeNs
  // @ts-expect-error there is no such code
  const code: ErrorCode = 'ERR_COFFER_NONE'
  // @ts-expect-error only a coffer has a version
  ;(await identify('x')).version.toFixed()
  // @ts-expect-error coffers come from open
  new CofferBank({})
  console.log(code)
}
`

/** What the web takes. */
const web = `
import { CofferNull } from 'coffer'

export async function web(): Promise<void> {
  const box = await CofferNull.open('box.coffer', 'r')
  const bytes = await box.read('a')
  console.log(new Blob([bytes]), new Response(bytes), await crypto.subtle.digest('SHA-256', bytes))
}
`

/** A compiler and the settings of a user's project. */
export interface Settings {
  /** The directory of the compiler. */
  readonly compiler: string
  readonly module: string
  readonly resolution: string
  /** Whether the types of browsers are there, too. Only from 5.9 on the types tell which memory bytes have. */
  readonly dom: boolean
}

/** Compiles the programs against the package in the root of the repository; returns what the compiler says. */
export async function compile({ compiler, module, resolution, dom }: Settings): Promise<string> {
  const directory = tempDir()
  const link = (target: string, name: string): void => {
    const path = join(directory, 'node_modules', name)
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(target, path, 'junction')
  }
  link(root, 'coffer')
  for (const name of ['@types/node', 'undici-types']) link(join(root, 'node_modules', name), name)
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  const programs = { 'program.ts': program, 'misuses.ts': misuses, ...(dom ? { 'web.ts': web } : {}) }
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(directory, name), text)
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    target: 'ES2022',
    lib: ['ES2023', 'ESNext.Disposable', ...(dom ? ['DOM', 'DOM.Iterable', 'DOM.AsyncIterable'] : [])],
    module,
    moduleResolution: resolution,
    types: ['node'],
    noEmit: true,
  }
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(programs) }))
  const compiling = promisify(execFile)(process.execPath, [join(compiler, 'bin/tsc'), '-p', directory])
  return compiling.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  )
}
