import { chmod, mkdir, mkdtemp, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { inspect, types } from 'node:util'
import type { Header as TarHeader } from 'tar-stream'
import type { Batch } from './batch.ts'
import type { Skipped } from './changes.ts'
import type { Coffer } from './coffer.ts'
import { CofferError, invalid } from './errors.ts'
import { checkBoolean, checkName, checkOptions } from './options.ts'
import { type Paced, paced, type WatchOptions } from './watch.ts'

/** What {@link importTar} takes. */
export interface ImportTarOptions extends WatchOptions {
  /** A directory of the coffer that everything goes below: the top by default. */
  prefix?: string
  /** Whether members that exist are replaced: true by default. If not, one is `ERR_COFFER_MEMBER_EXISTS`, and nothing is stored. */
  replace?: boolean
}

/** What {@link importTar} did. */
export interface Imported {
  /** The number of files stored. */
  files: number
  /** The number of empty directories stored. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Links, devices, sparse files, and names that are not UTF-8. */
  skipped: Skipped[]
}

const NS_PER_S = 1_000_000_000n
const NS_PER_MS = 1_000_000n
const PERMISSIONS = 0o7777
/** What the owner of a directory needs to read it. */
const READABLE = 0o500

/** What a pax header says in front of an entry. */
interface Pax {
  mtime?: string
  [key: string]: string | undefined
}

/** A header, as tar-stream has it. */
interface Header extends Omit<TarHeader, 'pax'> {
  pax?: Pax | null
}

/**
 * Stores what is in a tar archive (POSIX pax): files and empty directories, with
 * permissions and times, all of it or nothing. Links and devices are left out, and reported. Files
 * are stored as they arrive, piece by piece.
 *
 * @param coffer the coffer
 * @param source the archive, not compressed
 * @param options where it goes, what is replaced, and who watches
 * @returns what was stored, and what was left out
 * @throws {@link CofferError} `ERR_COFFER_UNSAFE_PATH` if a name leads out of the coffer,
 *   `…_CORRUPT` also if it is no archive or is cut short, `…_MEMBER_EXISTS` also with
 *   `replace: false`, and as {@link Coffer.batch}; or whatever `source` or `signal` fail with
 *
 * @example
 * ```js
 * import { CofferNull, exportTar, importTar } from 'coffer'
 *
 * const from = await CofferNull.open('from.coffer', 'w')
 * await from.write('a', '1')
 * const to = await CofferNull.open('to.coffer', 'w')
 * await importTar(to, exportTar(from), { prefix: 'copy' })
 * console.log(await to.readText('copy/a')) // 1
 * await from.close()
 * await to.close()
 * ```
 */
export async function importTar(coffer: Coffer, source: Readable, options: ImportTarOptions = {}): Promise<Imported> {
  const known = ['prefix', 'replace', 'signal', 'onProgress'] as const
  const { prefix } = checkOptions(options, 'importTar', known)
  if (prefix !== undefined) checkName(prefix, 'the prefix')
  const replace = checkBoolean(options.replace, 'replace') ?? true
  if (typeof source?.pipe !== 'function') throw invalid('the archive must be a readable stream')
  return coffer.batch((batch) => new Import(batch, { ...options, replace }).run(source))
}

/** Nanoseconds since 1970 from a header, which may have them only in its pax form. */
function timeOf({ mtime, pax }: Header): bigint | undefined {
  const [, sign, whole = '', part = ''] = /^(-?)(\d{1,17})(?:\.(\d+))?$/.exec(pax?.mtime ?? '') ?? []
  if (sign !== undefined) {
    const ns = BigInt(whole) * NS_PER_S + BigInt(part.slice(0, 9).padEnd(9, '0'))
    return sign === '-' ? -ns : ns
  }
  return types.isDate(mtime) && !Number.isNaN(mtime.valueOf()) ? BigInt(mtime.valueOf()) * NS_PER_MS : undefined
}

/** The contents of an entry: the next one comes when they have been read. */
interface Body extends AsyncIterable<Buffer> {
  resume(): void
}

interface Directory {
  mode: number | undefined
  time: bigint | undefined
}

/** The import of one archive. */
class Import {
  readonly #batch: Batch
  readonly #prefix: string
  readonly #replace: boolean
  readonly #signal: AbortSignal | undefined
  readonly #report: Paced
  readonly #result: Imported = { files: 0, directories: 0, bytes: 0, skipped: [] }
  /** What the archive itself has stored: a second entry of the same name takes its place. */
  readonly #stored = new Set<string>()
  readonly #directories = new Map<string, Directory>()

  constructor(batch: Batch, { prefix, replace = true, signal, onProgress }: ImportTarOptions) {
    this.#batch = batch
    this.#prefix = prefix === undefined ? '' : `${prefix.replace(/\/+$/, '')}/`
    this.#replace = replace
    this.#signal = signal
    this.#report = paced(onProgress)
  }

  async run(source: Readable): Promise<Imported> {
    const { extract } = await import('tar-stream')
    const entries = extract()
    const options = this.#signal === undefined ? {} : { signal: this.#signal }
    let failure: { reason: unknown } | undefined
    const from = Readable.from(notEmpty(source), { objectMode: false }).once('error', (reason) => {
      failure ??= { reason }
    })
    pipeline(from, entries as unknown as NodeJS.WritableStream, options).catch(() => {})
    try {
      for await (const entry of entries) {
        const body: Body = entry as unknown as Body
        await this.#take(entry.header as Header, body).catch((reason: unknown) => {
          failure ??= { reason }
          throw reason
        })
      }
      await this.#storeDirectories()
    } catch (error) {
      if (this.#signal?.aborted) throw this.#signal.reason
      throw failure ? failure.reason : notAnArchive(error)
    }
    this.#report.end({ bytes: this.#result.bytes, members: this.#result.files })
    return this.#result
  }

  async #take(header: Header, body: Body): Promise<void> {
    this.#signal?.throwIfAborted()
    const reason = left(header)
    if (reason !== undefined) {
      this.#result.skipped.push({ path: header.name, reason })
      body.resume()
      return
    }
    const name = this.#nameOf(header.name)
    const mode = header.mode === undefined ? undefined : header.mode & PERMISSIONS
    const time = timeOf(header)
    if (header.type === 'directory') {
      this.#directories.set(name, { mode, time })
      body.resume()
      return
    }
    if (!this.#replace && !this.#stored.has(name) && (await this.#batch.has(name))) {
      throw new CofferError('ERR_COFFER_MEMBER_EXISTS', `there is a member ${inspect(name)} already`, { member: name })
    }
    const content = Readable.from(this.#counted(name, body), { objectMode: false })
    const signal = this.#signal === undefined ? {} : { signal: this.#signal }
    await this.#batch.write(name, content, {
      ...(mode === undefined ? {} : { mode }),
      ...(time === undefined ? {} : { mtime: time }),
      ...signal,
    })
    this.#stored.add(name)
    this.#result.files += 1
  }

  async *#counted(name: string, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    try {
      for await (const chunk of body) {
        this.#result.bytes += chunk.length
        this.#report({ bytes: this.#result.bytes, members: this.#result.files, name })
        yield chunk
      }
    } catch (error) {
      throw notAnArchive(error)
    }
  }

  /** Only directories that nothing is in are members; what is in the others says that they are there. */
  async #storeDirectories(): Promise<void> {
    const deepestFirst = [...this.#directories].sort(([a], [b]) => b.length - a.length)
    for (const [name, { mode, time }] of deepestFirst) {
      if (name === '' || (await this.#batch.has(name))) continue
      await this.#storeDirectory(name, mode, time)
      this.#result.directories += 1
    }
  }

  /** The engine takes directories from the disk alone. */
  async #storeDirectory(name: string, mode: number | undefined, time: bigint | undefined): Promise<void> {
    const parent = await mkdtemp(join(tmpdir(), 'coffer-'))
    try {
      const directory = join(parent, 'directory')
      await mkdir(directory)
      // Its owner must be able to read it.
      if (mode !== undefined) await chmod(directory, mode | READABLE)
      if (time !== undefined) {
        const seconds = Number(time) / Number(NS_PER_S)
        await utimes(directory, seconds, seconds)
      }
      await this.#batch.add(directory, name)
    } finally {
      await rm(parent, { recursive: true, force: true })
    }
  }

  #nameOf(path: string): string {
    const components = path.split('/').filter((component) => component !== '' && component !== '.')
    if (components.includes('..')) {
      throw new CofferError(
        'ERR_COFFER_UNSAFE_PATH',
        `the archive names ${inspect(path)}, which leads out of the coffer`,
        {
          member: path,
        },
      )
    }
    return components.length === 0 ? '' : this.#prefix + components.join('/')
  }
}

/** Why an entry is left out; nothing if it is stored. */
function left({ type, name, linkname, pax }: Header): string | undefined {
  if (name.includes('\ufffd')) return 'its name is not UTF-8'
  if (Object.keys(pax ?? {}).some((key) => key.startsWith('GNU.sparse'))) return 'it is a sparse file'
  switch (type) {
    case 'file':
    case 'contiguous-file':
    case 'directory':
      return undefined
    case 'symlink':
      return `it is a symbolic link to ${linkname}`
    case 'link':
      return `it is a link to ${linkname}`
    case 'block-device':
    case 'character-device':
      return 'it is a device'
    case 'fifo':
      return 'it is a named pipe'
    default:
      return 'it is neither a file nor a directory'
  }
}

/** Nothing at all is no archive, not even an empty one: a download that failed, for example. */
async function* notEmpty(source: Readable): AsyncGenerator<Buffer, void, undefined> {
  let empty = true
  for await (const chunk of source) {
    empty &&= chunk.length === 0
    yield chunk
  }
  if (empty) throw notAnArchive(new Error('it is empty'))
}

function notAnArchive(cause: unknown): unknown {
  if (cause instanceof CofferError || !(cause instanceof Error)) return cause
  // The system refused something: that says nothing about the archive.
  if ('syscall' in cause) {
    const { syscall, errno, path } = cause as NodeJS.ErrnoException
    return new CofferError('ERR_COFFER_IO', cause.message, { syscall, errno: errno && Math.abs(errno), path, cause })
  }
  return new CofferError('ERR_COFFER_CORRUPT', `this is not a tar archive, or it is damaged: ${cause.message}`, {
    cause,
  })
}
