import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { tempDir } from './support/temp.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = join(root, 'node_modules/typescript/bin/tsc')

/** A program as users write it, where whatever is not wanted is given as undefined. */
const program = `
import { Coffer, CofferBank, CofferError, CofferNull, CofferPlugin, type CofferOptions, deriveKeys, exportTar,
  identify, importTar, type Member, type OpenOptions, type PluginHost, RecordPlugin } from 'coffer'

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

class MyError extends CofferError {}

export async function everything(): Promise<string> {
  const no = undefined
  const opening: OpenOptions = {
    cofferKey: no, secureKey: no, passphrase: no, kdf: no, cipher: no, autoFlush: no, backup: no, lock: no,
    lockTimeout: no, tempDir: no, level: no, chunkSize: no, blockSize: no, durability: no, legacy: no,
    maxMemberSize: no, maxTotalSize: no, expect: no, signal: no,
  }
  const box = await CofferNull.open('box.coffer', 'w', opening)
  const bank = await CofferBank.open('bank.coffer', 'w', { ...opening, ...CofferBank.generateKeys({ cipher: no }) })
  const mixed: CofferOptions = { ...opening, member: { level: no, cipher: 'none' }, container: { level: no, cipher: 'none' } }
  await (await Coffer.open('mix.coffer', 'w', mixed)).close()
  const watch = { signal: no, onProgress: no }
  await box.write('a', 'x', { mode: no, mtime: no, signal: no })
  await box.append('a', ['x'], { signal: no })
  await box.dump('d', {}, { mode: no, mtime: no })
  await box.add('file', 'f', { replace: no, symlinks: no, ...watch })
  await box.delete('a', { recursive: no })
  await box.extract('a', '.', { replace: no, from: no, maxMemberSize: no, maxTotalSize: no, ...watch })
  await box.extractAll('.', { members: no, replace: no, from: no, maxMemberSize: no, maxTotalSize: no, ...watch })
  await box.flush({ force: no })
  await box.verify(watch)
  await box.compact(watch)
  await bank.rekey({ ...CofferBank.generateKeys(), cipher: no }, watch)
  await bank.changePassphrase('anvil mosaic', { kdf: { memory: no, passes: no }, ...watch })
  await CofferBank.salvage('a', 'b', { cofferKey: no, secureKey: no, passphrase: no, cipher: no, lock: no,
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
  await deriveKeys('anvil', { salt: 'x', memory: no, passes: no })
  await importTar(box, exportTar(box, { members: no, ...watch }), { prefix: no, replace: no, ...watch })
  const crypt = await box.plugin('crypt')
  await crypt.encrypt('a', 'b', { level: no, replace: no, ...watch })
  await crypt.decrypt('a', 'b', { legacy: no, replace: no, ...watch })
  crypt.createEncryptStream({ level: no })
  crypt.createDecryptStream({ legacy: no })
  const rsync = await box.plugin('rsync')
  await rsync.push('a', 'b', { checksum: no, delete: no, dryRun: no, include: no, exclude: no, symlinks: no, ...watch })
  await rsync.pull('a', 'b', { checksum: no, delete: no, dryRun: no, include: no, exclude: no, ...watch })
  const passwords = await box.plugin('password')
  await passwords.add({ name: 'a', owner: no, username: no, password: no, url: no, note: no }, { replace: no })
  await passwords.importChrome({ csv: '' }, { owner: no, replace: no })
  await passwords.importPyCoffer({ delete: no, replace: no })
  await (await box.plugin(TagPlugin)).tag('a', 'red')
  await Promise.all([box.plugin(Documented), box.plugin(Count)])
  const member: Member = await box.stat('a')
  const error = new MyError('ERR_COFFER_CORRUPT', 'x', { path: no, member: no, errno: no, syscall: no, cause: no })
  return \`\${member.name}\${error.code}\${(await identify('a')).format}\`
}
`

it('the types take undefined for every option, and plugins as they are documented, under the strictest settings', async () => {
  const directory = tempDir()
  mkdirSync(join(directory, 'node_modules/@types'), { recursive: true })
  symlinkSync(root, join(directory, 'node_modules/coffer'), 'junction')
  symlinkSync(join(root, 'node_modules/@types/node'), join(directory, 'node_modules/@types/node'), 'junction')
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(directory, 'program.ts'), program)
  const strictest = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
  }
  const compilerOptions = {
    ...strictest,
    target: 'ES2022',
    lib: ['ES2024', 'ESNext.Disposable'],
    module: 'NodeNext',
    types: ['node'],
    noEmit: true,
  }
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }))
  const compiling = promisify(execFile)(process.execPath, [compiler, '-p', directory])
  const said = await compiling.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  )
  expect(said).toBe('')
})
