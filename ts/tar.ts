import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Pack } from 'tar-stream'
import type { Coffer } from './coffer.ts'
import { invalid } from './errors.ts'
import { isOfPlugins, type Member } from './member.ts'
import { checkBoolean, checkName, checkOptions } from './options.ts'
import { type Progress, paced, type WatchOptions } from './watch.ts'

/** What {@link exportTar} takes. */
export interface ExportTarOptions extends WatchOptions {
  /** The names of the members to export, directories with all that is below them; everything by default. */
  members?: readonly string[]
  /** Whether everything includes the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean
}

/** The last second that a header of the original format can hold; pax holds the others. */
const MAX_SECONDS = 2 ** 31 - 1
/** The permissions of a file's owner. */
const OWNER = 0o700
const NS_PER_S = 1_000_000_000n
const MS_PER_S = 1000

/**
 * The members of a coffer as a plain tar archive (POSIX pax): files and empty directories, with
 * permissions and times to the nanosecond. Members are read as the archive is, piece by piece.
 *
 * @param coffer the coffer
 * @param options which members, and who watches
 * @returns a stream of bytes, which fails as {@link Coffer.read}, and with the signal's reason
 * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
 *
 * @example
 * ```js
 * import { createWriteStream } from 'node:fs'
 * import { pipeline } from 'node:stream/promises'
 * import { CofferNull, exportTar } from 'coffer'
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * await box.write('reports/may.txt', 'fine')
 * await pipeline(exportTar(box, { members: ['reports'] }), createWriteStream('reports.tar'))
 * await box.close()
 * ```
 */
export function exportTar(coffer: Coffer, options: ExportTarOptions = {}): Readable {
  const { members, plugins, signal, onProgress } = checkOptions(options, 'exportTar', [
    'members',
    'plugins',
    'signal',
    'onProgress',
  ])
  if (members !== undefined && !Array.isArray(members)) throw invalid('members must be an array of names')
  const names = members?.map((name: string) => checkName(name))
  return Readable.from(archive(coffer, names, checkBoolean(plugins, 'plugins') ?? false, signal, onProgress), {
    objectMode: false,
  })
}

async function* archive(
  coffer: Coffer,
  names: readonly string[] | undefined,
  plugins: boolean,
  signal: AbortSignal | undefined,
  onProgress: ((progress: Progress) => void) | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const members = await chosen(coffer, names, plugins)
  const { pack } = await import('tar-stream')
  const packed = pack()
  const report = paced(onProgress)
  const totalBytes = members.reduce((sum, member) => sum + member.size, 0)
  const progress: Progress = { bytes: 0, totalBytes, members: 0 }
  const fill = async (): Promise<void> => {
    for (const member of members) {
      signal?.throwIfAborted()
      progress.name = member.name
      await put(packed, coffer, member, signal, (length) => {
        progress.bytes += length
        report(progress)
      })
      progress.members += 1
    }
    packed.finalize()
    report.end(progress)
  }
  let failure: { reason: unknown } | undefined
  const filled = fill().catch((reason: unknown) => {
    failure = { reason }
    packed.destroy()
  })
  try {
    for await (const chunk of packed) yield chunk as Buffer
    await filled
  } catch (error) {
    throw failure ? failure.reason : error
  } finally {
    packed.destroy()
    await filled
  }
  if (failure) throw failure.reason
}

async function chosen(coffer: Coffer, names: readonly string[] | undefined, plugins: boolean): Promise<Member[]> {
  const all = await coffer.members()
  if (names === undefined) return plugins ? all : all.filter(({ name }) => !isOfPlugins(name))
  for (const name of names) await coffer.stat(name)
  return all.filter((member) => names.some((name) => member.name === name || member.name.startsWith(`${name}/`)))
}

async function put(
  packed: Pack,
  coffer: Coffer,
  member: Member,
  signal: AbortSignal | undefined,
  done: (length: number) => void,
): Promise<void> {
  const entry = packed.entry(headerOf(member))
  if (member.type === 'directory') return
  const content = coffer.createReadStream(member.name, signal ? { signal } : {})
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      done(chunk.length)
      yield chunk
    }
  }
  await pipeline(content, counted, entry as unknown as NodeJS.WritableStream)
}

function headerOf({ name, type, size, mode, mtimeNs }: Member) {
  const seconds = Number(mtimeNs / NS_PER_S)
  return {
    name: type === 'directory' ? `${name}/` : name,
    type,
    size,
    // What plugins keep is for its owner alone.
    mode: isOfPlugins(name) ? mode & OWNER : mode,
    mtime: new Date(Math.min(Math.max(seconds, 0), MAX_SECONDS) * MS_PER_S),
    pax: { mtime: paxTime(mtimeNs) },
  }
}

/** Seconds with as many decimals as there are (POSIX pax, `mtime`). */
function paxTime(ns: bigint): string {
  const digits = (ns < 0n ? -ns : ns).toString().padStart(10, '0')
  const decimals = digits.slice(-9).replace(/0+$/, '')
  return `${ns < 0n ? '-' : ''}${digits.slice(0, -9)}${decimals === '' ? '' : `.${decimals}`}`
}
