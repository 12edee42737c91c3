import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Pack } from 'tar-stream'
import { checkBoolean, checkNames, checkOptions, checkSignal } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { type BigIntMember, isOfPlugins } from '../member/member.ts'
import { type MemberSnapshot, SNAPSHOTS } from '../member/snapshot.ts'
import { MemberReadable } from '../member/streams.ts'
import { type CofferProgress, paced, type WatchOptions, watchOptions } from '../progress.ts'

/** What {@link exportTar} takes. */
export interface ExportTarOptions extends WatchOptions {
  /** The names of the members to export, directories with everything below them; all members by default. */
  members?: readonly string[] | undefined
  /** Whether all members include the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean | undefined
}

/** The last second in the numeric field; later and earlier times are in PAX records. */
const MAX_SECONDS = 2 ** 31 - 1
/** Files of up to so many bytes are read with one call. */
const WHOLE_BYTES = 128 * 1024
/** tar-stream takes mode 0 as absent. This bit, which it does not write, makes it present. */
const GIVEN = 0o10000
/** The permissions of a file's owner. */
const OWNER = 0o700
const NS_PER_S = 1_000_000_000n
const MS_PER_S = 1000

/**
 * The members of a coffer as a plain tar archive (POSIX pax): files and empty directories, with
 * permissions and times to the nanosecond. Members are read while the archive is read.
 * The archive is a snapshot of the coffer at the first read: if a member is replaced or deleted before it
 * has been read, the stream fails.
 *
 * @param coffer the coffer
 * @param options the members, cancellation and progress
 * @returns a stream of bytes, which fails as {@link Coffer.read}, with `ERR_COFFER_STALE` if a member
 *   was replaced or deleted meanwhile, and with the signal's reason
 * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; the stream fails as {@link Coffer.read} except
 *   `…_IS_DIRECTORY`; or with the signal's reason
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
    ...watchOptions,
  ])
  checkSignal(signal)
  const names = members === undefined ? undefined : checkNames(members, 'members')
  return Readable.from(archive(coffer, names, checkBoolean(plugins, 'plugins') ?? false, signal, onProgress), {
    objectMode: false,
  })
}

async function* archive(
  coffer: Coffer,
  names: readonly string[] | undefined,
  plugins: boolean,
  signal: AbortSignal | undefined,
  onProgress: ((progress: CofferProgress) => void) | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const report = paced(onProgress)
  const versions = await chosen(coffer, names, plugins)
  const { pack } = await import('tar-stream')
  const packed = pack()
  const totalBytes = versions.reduce((sum, { member }) => sum + member.size, 0)
  const progress: CofferProgress = { bytes: 0, totalBytes, members: 0 }
  const fill = async (): Promise<void> => {
    for (const { member, version } of versions) {
      signal?.throwIfAborted()
      progress.name = member.name
      await put(packed, member, version, signal, (length) => {
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

/** Snapshots of the named members; of all but the records of plugins if none are named. */
async function chosen(
  coffer: Coffer,
  names: readonly string[] | undefined,
  plugins: boolean,
): Promise<{ member: BigIntMember; version: MemberSnapshot }[]> {
  const versions = await coffer[SNAPSHOTS](names)
  if (names !== undefined || plugins) return versions
  return versions.filter(({ member, version }) => {
    const taken = !isOfPlugins(member.name)
    if (!taken) version.forget()
    return taken
  })
}

async function put(
  packed: Pack,
  member: BigIntMember,
  version: MemberSnapshot,
  signal: AbortSignal | undefined,
  done: (length: number) => void,
): Promise<void> {
  if (member.size <= WHOLE_BYTES) {
    const bytes = member.type === 'directory' ? Buffer.alloc(0) : await version.read(0, member.size)
    version.forget()
    done(bytes.length)
    // tar-stream buffers entries without limit, so each is awaited.
    await new Promise<void>((resolve, reject) => {
      const entry = packed.entry(headerOf(member), bytes, (error) => (error ? reject(error) : resolve()))
      // The callback gets the error.
      entry.on('error', () => {})
    })
    return
  }
  const content = new MemberReadable(async () => version, signal ? { signal } : {})
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      done(chunk.length)
      yield chunk
    }
  }
  await pipeline(content, counted, packed.entry(headerOf(member)) as unknown as NodeJS.WritableStream)
}

function headerOf({ name, type, size, mode, mtimeNs }: BigIntMember) {
  const seconds = Number(mtimeNs / NS_PER_S)
  return {
    name: type === 'directory' ? `${name}/` : name,
    type,
    size,
    // Records of plugins are for their owner only.
    mode: (isOfPlugins(name) ? mode & OWNER : mode) | GIVEN,
    mtime: new Date(Math.min(Math.max(seconds, 0), MAX_SECONDS) * MS_PER_S),
    pax: { mtime: paxTime(mtimeNs) },
  }
}

/** Formats a time as PAX does: seconds with the necessary decimals. */
function paxTime(ns: bigint): string {
  const digits = (ns < 0n ? -ns : ns).toString().padStart(10, '0')
  const decimals = digits.slice(-9).replace(/0+$/, '')
  return `${ns < 0n ? '-' : ''}${digits.slice(0, -9)}${decimals === '' ? '' : `.${decimals}`}`
}
