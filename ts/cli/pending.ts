/** What the package is about to have, until it has it. */
import { Readable } from 'node:stream'
import { Batch } from '../batch.ts'
import { Coffer } from '../coffer.ts'
import type { Key, WriteOptions } from '../options.ts'
import type { WatchOptions } from '../watch.ts'

export interface Identity {
  format: 'coffer' | 'legacy' | 'unknown'
  version?: number
  kind?: string
  cipher?: string
  passphrase?: boolean
  kdf?: { memory?: number; passes?: number }
}

export interface Info {
  path: string
  kind: string
  cipher?: string
  generation: number
  members: number
  bytes: number
  storedBytes: number
  fileSize: number
  liveBytes: number
  deadBytes: number
  ratio: number
  passphrase: boolean
}

export interface ExtractOptions extends WatchOptions {
  members?: readonly string[]
  replace?: boolean
  from?: string
}

export interface CryptOptions extends WatchOptions {
  level?: number
  legacy?: boolean
  replace?: boolean
}

export interface CryptPlugin extends AsyncDisposable {
  encrypt(source: string, target: string, options: CryptOptions): Promise<unknown>
  decrypt(source: string, target: string, options: CryptOptions): Promise<unknown>
  createEncryptStream(options: { level?: number }): NodeJS.ReadWriteStream
  createDecryptStream(options: { legacy?: boolean }): NodeJS.ReadWriteStream
}

export interface PasswordInfo {
  name: string
  owner: string | null
  username: string | null
  url: string | null
  note: string | null
}

export interface PasswordEntry extends PasswordInfo {
  password: string | null
}

export interface PasswordPlugin extends AsyncDisposable {
  list(): Promise<PasswordInfo[]>
  search(text: string): Promise<PasswordInfo[]>
  get(key: { name: string; owner: string | null }): Promise<PasswordEntry>
  add(entry: { name: string } & Partial<PasswordEntry>, options: { replace?: boolean }): Promise<void>
  delete(key: { name: string; owner: string | null }): Promise<void>
  importChrome(file: string, options: { replace?: boolean }): Promise<{ added: number; replaced: number }>
}

export interface RsyncOptions extends WatchOptions {
  checksum?: boolean
  delete?: boolean
  dryRun?: boolean
  include?: readonly string[]
  exclude?: readonly string[]
  symlinks?: 'follow' | 'skip' | 'error'
}

export interface RsyncResult {
  actions: { action: 'add' | 'update' | 'delete'; name: string; path: string }[]
}

export interface RsyncPlugin extends AsyncDisposable {
  push(directory: string, prefix: string, options: RsyncOptions): Promise<RsyncResult>
  pull(prefix: string, directory: string, options: RsyncOptions): Promise<RsyncResult>
}

export interface Coming {
  createReadStream(name: string, options?: { signal?: AbortSignal }): Readable
  rekey(keys: { cofferKey?: Key; secureKey?: Key; cipher?: string }, options: WatchOptions): Promise<void>
  changePassphrase(passphrase: string, options: WatchOptions): Promise<void>
  info(): Promise<Info>
  extractAll(target: string, options: ExtractOptions): Promise<{ files: number; directories: number; bytes: number }>
  plugin(name: 'crypt'): Promise<CryptPlugin>
  plugin(name: 'password'): Promise<PasswordPlugin>
  plugin(name: 'rsync'): Promise<RsyncPlugin>
}

export interface ComingBatch {
  write(name: string, data: Readable, options: WriteOptions & { signal?: AbortSignal }): Promise<void>
}

export const pending = (coffer: Coffer): Coming => coffer as unknown as Coming
export const pendingBatch = (batch: Batch): ComingBatch => batch as unknown as ComingBatch

export async function identify(path: string): Promise<Identity> {
  const api = (await import('../index.ts')) as unknown as { identify: (path: string) => Promise<Identity> }
  return api.identify(path)
}

/** Whole members, until there are streams. */
if (!('createReadStream' in Coffer.prototype)) {
  Object.assign(Coffer.prototype, {
    createReadStream(this: Coffer, name: string) {
      const read = () => this.read(name)
      return Readable.from(
        (async function* () {
          yield await read()
        })(),
      )
    },
  })
  const { write } = Batch.prototype
  Batch.prototype.write = async function (name, data, options = {}) {
    const { signal: _, ...rest } = options as WriteOptions & { signal?: AbortSignal }
    const parts: Buffer[] = []
    if (!(data instanceof Readable)) return write.call(this, name, data, rest)
    for await (const part of data) parts.push(Buffer.from(part))
    return write.call(this, name, Buffer.concat(parts), rest)
  }
}
