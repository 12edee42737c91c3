import type { Readable } from 'node:stream'
import { inspect } from 'node:util'
import { checkBoolean, checkName, checkOptions, checkSignal } from '../check.ts'
import { type CofferBatch, MAKE_DIRECTORY } from '../coffer/batch.ts'
import type { Coffer } from '../coffer/coffer.ts'
import type { SkippedItem } from '../coffer/writes.ts'
import { CofferError, invalid } from '../errors.ts'
import { type Paced, paced, type WatchOptions, watchOptions } from '../progress.ts'
import type { TarEntry, TarReader } from './entries.ts'

/** What {@link importTar} takes. */
export interface ImportTarOptions extends WatchOptions {
  /** A directory of the coffer for everything in the archive: the top by default. */
  prefix?: string | undefined
  /**
   * Whether existing members are replaced: true by default. If not, an existing one is
   * `ERR_COFFER_MEMBER_EXISTS`, and nothing is stored.
   */
  replace?: boolean | undefined
}

/** The result of {@link importTar}. */
export interface ImportTarResult {
  /** The number of files stored. */
  files: number
  /** The number of empty directories stored. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Symbolic links, devices, sparse files, hard links to files that are not stored, and names that are not UTF-8. */
  skipped: SkippedItem[]
}

/** Files of up to so many bytes are written with one call. */
const WHOLE_BYTES = 128 * 1024

/**
 * Stores the content of a tar archive (POSIX, GNU or v7): files and empty directories, with permissions
 * and times, all of it or nothing. A hard link to an earlier file of the archive is stored as a copy.
 * Symbolic links, sparse files and devices are left out, and reported. Files are stored while they are
 * read.
 *
 * @param coffer the coffer
 * @param source the archive, not compressed
 * @param options the target, replacement, cancellation and progress
 * @returns what was stored and left out
 * @throws {@link CofferError} `ERR_COFFER_UNSAFE_PATH` if a name leads out of the coffer,
 *   `…_CORRUPT` also if it is not an archive or is truncated, `…_LIMIT` also if a header does not fit
 *   into memory, `…_MEMBER_EXISTS` also with `replace: false` and where a directory of the
 *   archive is a file of the coffer, and as {@link Coffer.write}; or the error of `source`, or the signal's
 *   reason
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
export async function importTar(
  coffer: Coffer,
  source: Readable,
  options: ImportTarOptions = {},
): Promise<ImportTarResult> {
  const { prefix, signal } = checkOptions(options, 'importTar', ['prefix', 'replace', ...watchOptions])
  checkSignal(signal)
  if (prefix !== undefined) checkName(prefix, 'the prefix')
  const replace = checkBoolean(options.replace, 'replace') ?? true
  checkSource(source)
  signal?.throwIfAborted()
  const report = paced(options.onProgress)
  // Reading it rejects with its error; before, and after an abort, the event only needs a listener.
  source.on('error', ignore)
  try {
    const imported = await coffer.batch(async (batch) => {
      const { TarReader } = await import('./entries.ts')
      return new Import(coffer, batch, new TarReader(source), report, { ...options, replace }).run()
    })
    source.off('error', ignore)
    return imported
  } catch (error) {
    source.destroy()
    throw error
  }
}

function checkSource(source: Readable): void {
  if (typeof source?.pipe !== 'function' || typeof source[Symbol.asyncIterator] !== 'function') {
    throw invalid('the archive must be a readable stream')
  }
  if (source.errored) throw source.errored
  if (source.destroyed || source.readableEnded) {
    throw invalid('the archive has been read to its end, or destroyed, before: no data is left')
  }
}

/** The attributes of a directory. */
type Directory = Pick<TarEntry, 'mode' | 'mtime'>

/** The import of one archive. */
class Import {
  readonly #coffer: Coffer
  readonly #batch: CofferBatch
  readonly #archive: TarReader
  readonly #prefix: string
  readonly #replace: boolean
  readonly #signal: AbortSignal | undefined
  readonly #report: Paced
  readonly #result: ImportTarResult = { files: 0, directories: 0, bytes: 0, skipped: [] }
  /** The names stored from this archive: a later entry of the same name replaces the earlier. */
  readonly #stored = new Set<string>()
  readonly #directories = new Map<string, Directory>()

  constructor(
    coffer: Coffer,
    batch: CofferBatch,
    archive: TarReader,
    report: Paced,
    { prefix, replace = true, signal }: ImportTarOptions,
  ) {
    this.#coffer = coffer
    this.#batch = batch
    this.#archive = archive
    this.#prefix = prefix === undefined ? '' : `${prefix.replace(/\/+$/, '')}/`
    this.#replace = replace
    this.#signal = signal
    this.#report = report
  }

  async run(): Promise<ImportTarResult> {
    const working = this.#all()
    if (this.#signal === undefined) return working
    const signal = this.#signal
    // A stalled source would never check.
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      working.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
    })
  }

  async #all(): Promise<ImportTarResult> {
    for (let entry = await this.#archive.next(); entry !== undefined; entry = await this.#archive.next()) {
      await this.#take(entry)
    }
    await this.#storeDirectories()
    this.#report.end({ bytes: this.#result.bytes, members: this.#result.files })
    return this.#result
  }

  async #take(entry: TarEntry): Promise<void> {
    this.#signal?.throwIfAborted()
    const reason = left(entry)
    if (entry.name === undefined || reason !== undefined) return this.#skip(entry, reason)
    const name = this.#nameOf(entry.name)
    if (entry.type === '5' || entry.type === 'D') {
      this.#directories.set(name, entry)
      return
    }
    const content = this.#contentOf(entry)
    if (typeof content === 'string') return this.#skip(entry, content)
    if (!this.#replace && !this.#stored.has(name) && (await this.#batch.has(name))) {
      throw new CofferError('ERR_COFFER_MEMBER_EXISTS', `there is a member ${inspect(name)} already`, { member: name })
    }
    const counted = this.#counted(name, content)
    const { mode, mtime, size } = entry
    const attributes = { ...(mode === undefined ? {} : { mode }), ...(mtime === undefined ? {} : { mtime }) }
    if (entry.type === '0' && size <= WHOLE_BYTES) await this.#batch.write(name, await whole(counted), attributes)
    else await this.#batch.write(name, counted, this.#signal ? { ...attributes, signal: this.#signal } : attributes)
    this.#stored.add(name)
    this.#result.files += 1
  }

  #skip({ shownName }: TarEntry, reason = 'its name is not UTF-8'): void {
    this.#result.skipped.push({ path: shownName, reason })
  }

  /** The content of a file or a hard link, or the reason why there is none. */
  #contentOf({ type, size, linkname }: TarEntry): AsyncIterable<Buffer> | string {
    if (type !== '1' || size > 0) return this.#archive.content()
    if (linkname === undefined) return 'it is a link to a name that is not UTF-8'
    const target = this.#nameOf(linkname)
    // A link must not copy a member that is not from the archive.
    if (!this.#stored.has(target)) return `it is a link to ${linkname}, which the archive did not store before it`
    return this.#coffer.createReadStream(target)
  }

  async *#counted(name: string, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of content) {
      this.#signal?.throwIfAborted()
      this.#result.bytes += chunk.length
      this.#report({ bytes: this.#result.bytes, members: this.#result.files, name })
      yield chunk
    }
  }

  /** Stores empty directories. Others exist by the members in them. */
  async #storeDirectories(): Promise<void> {
    const deepestFirst = [...this.#directories].sort(([a], [b]) => b.length - a.length)
    for (const [name, attributes] of deepestFirst) {
      this.#signal?.throwIfAborted()
      if (name === '') continue
      if (await this.#batch[MAKE_DIRECTORY](name, attributes)) this.#result.directories += 1
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

/** The reason why an entry of its type is left out, if it is. */
function left({ type, name, linkname, sparse }: TarEntry): string | undefined {
  if (name === undefined) return 'its name is not UTF-8'
  if (sparse) return 'it is a sparse file'
  switch (type) {
    case '0':
    case '1':
    case '5':
    case 'D':
      return undefined
    case '2':
      return `it is a symbolic link to ${linkname ?? 'a name that is not UTF-8'}`
    case '3':
    case '4':
      return 'it is a device'
    case '6':
      return 'it is a named pipe'
    case 'M':
      return 'it is the rest of a file that begins in another archive'
    default:
      return 'it is neither a file nor a directory'
  }
}

async function whole(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

function ignore(): void {}
