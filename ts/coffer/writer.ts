import type { Writable } from 'node:stream'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkBoolean, checkChoice, checkName, checkOptions, shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import type { CofferFile } from '../member/file.ts'
import { isWhole, type MemberData } from '../member/input.ts'
import {
  checkAttributes,
  checkStreamOptions,
  type FileFlags,
  type NoOptions,
  type SourceOptions,
  type WriteOptions,
  type WriteStreamOptions,
  writeStreamOptions,
} from '../member/options.ts'
import { MemberWritable } from '../member/streams.ts'
import type { WatchOptions } from '../progress.ts'
import { CofferBatch } from './batch.ts'
import type { CofferWriter } from './calls.ts'
import { watchForgotten } from './forgotten.ts'
import type { OpenedCoffer } from './open.ts'
import { CofferReads } from './reader.ts'
import type { MemberEntry, WriteManyResult } from './write-many.ts'
import { type AddOptions, type AddResult, type DeleteOptions, MemberWrites } from './writes.ts'

/** An open coffer with the calls that change its members. */
export class CofferWrites extends CofferReads implements CofferWriter {
  readonly #native: NativeCoffer
  readonly #writes: MemberWrites
  /** Ends the watch for a forgotten handle. */
  readonly #closed: () => void

  /** @param opened the coffer that `open` has opened */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
    this.#native = opened.native
    this.#closed = opened.mode === 'r' ? () => {} : watchForgotten(this, opened.native, opened.path)
    this.#writes = new MemberWrites(opened.native)
  }

  /**
   * Creates or replaces a member. Once it has returned, reads through the same coffer return the new bytes;
   * a concurrent read returns the old or the new ones.
   *
   * @param name the name of the member
   * @param data text (stored as UTF-8) or bytes. Up to 1 MiB is copied at once; a larger array must
   *   not be changed until the promise settles, and if it is transferred to another thread before,
   *   nothing is written. Or a stream, or another iterable of text and bytes: then the change takes
   *   effect at its end. If it fails, nothing changes, and its error is thrown.
   * @param options permissions, time, and a signal for streams
   * @returns when the change is accepted, and with `autoFlush` when it is on the disk
   * @throws {@link CofferError} `ERR_COFFER_IS_DIRECTORY` (the name is that of a directory), `…_MEMBER_EXISTS`
   *   (a file is above it), `…_READ_ONLY`, `…_CLOSED`, `…_INVALID_ARG`, `…_LIMIT` (the coffer has as many
   *   members as the format allows), `…_POISONED` (an earlier failure, or the file or its lock was replaced),
   *   `…_IN_BATCH` and `…_DEADLOCK` (see {@link batch}), `…_IO`; or the error of `data`, or the signal's reason
   *
   * @example
   * ```js
   * import { createReadStream } from 'node:fs'
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('notes/todo.txt', 'buy milk', { mode: 0o600, mtime: new Date('2024-01-01') })
   * await box.write('example', createReadStream('example.mjs'))
   * await box.close()
   * ```
   */
  write(name: string, data: MemberData, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'write', () => this.#writes.write(name, data, options), !isWhole(data))
  }

  /**
   * Creates or replaces many members in one commit: all of them, or none if an entry is refused, the iterable throws, or
   * the process ends. Small members cross into the engine by the hundred, so that this takes a fraction of the time of
   * as many calls of {@link write}. Of several entries with one name the last counts. Other changes to the coffer wait for
   * its end, as for that of a {@link batch}: what gives the entries must not wait for one.
   *
   * @param entries an iterable of members, at once or asynchronous: `[name, data]`, so that a `Map` is one, or
   *   `{ name, data, mode, mtime }`. `data` and the attributes are as for {@link write}. Entries of an array or another
   *   iterable that gives them at once are taken during the call until about 500 members or 1 MiB are copied; each other
   *   entry is copied before the next is taken, except for data of more than 1 MiB, which is written before
   * @param options cancellation, and progress without a total
   * @returns the extent of what was written, when it is accepted, and with `autoFlush` when it is on the disk
   * @throws {@link CofferError} as {@link write}, with `member` where an entry is the reason; or the error of the iterable,
   *   or the signal's reason. Then nothing is written
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
   * async function* records() {
   *   for (let n = 0; n < 20_000; n += 1) yield [`records/${n}`, `record ${n}`]
   * }
   * const { files } = await bank.writeMany(records())
   * console.log(files) // 20000
   * await bank.writeMany([{ name: 'notes/todo.txt', data: 'buy milk', mode: 0o600 }])
   * await bank.close()
   * ```
   */
  writeMany(
    entries: Iterable<MemberEntry> | AsyncIterable<MemberEntry>,
    options: WatchOptions = {},
  ): Promise<WriteManyResult> {
    return CofferBatch.writeMany(this, this.#native, entries, options)
  }

  /**
   * Appends to a member, which is created if it is missing. The cost is that of writing the whole member,
   * except that blocks of a large member are copied unchanged.
   *
   * @param name the name of the member
   * @param data as for {@link write}
   * @param options a signal for streams
   * @returns as {@link write}
   * @throws {@link CofferError} as {@link write}; `ERR_COFFER_CORRUPT` if the end of the member is damaged
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.append('log', 'one')
   * await box.append('log', 'two')
   * console.log(await box.readText('log')) // onetwo
   * await box.close()
   * ```
   */
  append(name: string, data: MemberData, options: SourceOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'append', () => this.#writes.append(name, data, options), !isWhole(data))
  }

  /**
   * Writes a member of lines: a newline is put after each.
   *
   * @param name the name of the member
   * @param lines any iterable of strings
   * @param options permissions and time
   * @returns as {@link write}
   * @throws {@link CofferError} as {@link write}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.writeLines('hosts', ['alpha', 'beta'])
   * await box.close()
   * ```
   */
  writeLines(name: string, lines: Iterable<string>, options: WriteOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'writeLines', () => this.#writes.writeLines(name, lines, options))
  }

  /**
   * Stores a value as CBOR (RFC 8949, and RFC 8746 for typed arrays), which {@link load} returns: plain
   * objects, arrays, `Map`, `Set`, `Date`, `Buffer`, typed arrays, strings, numbers,
   * bigints, booleans, null and undefined. It is encoded during the call, so later changes
   * of it have no effect.
   *
   * @param name the name of the member
   * @param value the value
   * @param options permissions and time
   * @returns as {@link write}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any other value; the message has its
   *   path. `…_LIMIT` if it is more than 200 levels deep. And as {@link write}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.dump('state', { users: new Map([['alice', { score: 12n }]]), open: new Set([1, 2]) })
   * const state = await box.load('state')
   * console.log(state.users.get('alice').score) // 12n
   * await box.close()
   * ```
   */
  dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'dump', () => this.#writes.dump(name, value, options))
  }

  /**
   * Stores a file, or a directory with everything below it, with permissions and times. If it fails,
   * nothing is stored.
   *
   * @param source a path or a `file:` URL
   * @param options the name in the coffer, replacement, links, cancellation and progress
   * @returns what was stored and left out
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_EXISTS` also with `replace: false`,
   *   `…_UNSAFE_PATH` for a link with `symlinks: 'error'`, `…_IO` also if there is no such file, and
   *   as {@link write}
   *
   * @example
   * ```js
   * import { mkdir, writeFile } from 'node:fs/promises'
   * import { CofferNull } from 'coffer'
   *
   * await mkdir('reports/2024', { recursive: true })
   * await writeFile('reports/2024/may.txt', 'fine')
   * const box = await CofferNull.open('box.coffer', 'w')
   * const { files, bytes } = await box.add('reports') // reports/2024/may.txt
   * console.log(files, bytes)
   * await box.close()
   * ```
   */
  add(source: string | URL, options: AddOptions = {}): Promise<AddResult> {
    return CofferBatch.waiting(this, 'add', () => this.#writes.add(source, options))
  }

  /**
   * Deletes a member, or a directory with `recursive`. Its bytes are overwritten in the file when the
   * deletion is flushed; its name is gone when the coffer is compacted.
   *
   * @param name the name of the member
   * @param options whether a directory is deleted with everything below it
   * @returns as {@link write}
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_NOT_EMPTY` (a directory with members in it,
   *   without `recursive`), and as {@link write} except `…_IS_DIRECTORY` and `…_MEMBER_EXISTS`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a/1', 'x')
   * await box.delete('a', { recursive: true })
   * console.log(await box.has('a/1')) // false
   * await box.close()
   * ```
   */
  delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'delete', () => this.#writes.delete(name, options))
  }

  /**
   * Makes several changes in one commit: all of them, or none if the function throws or the process ends.
   * Changes to the coffer outside the batch wait for its end, so inside the function use the batch, not
   * the coffer.
   *
   * @typeParam T the return type of the function
   * @param work the function that makes the changes
   * @param options none
   * @returns the function's result, with `autoFlush` when the changes are on the disk
   * @throws {@link CofferError} `ERR_COFFER_IN_BATCH` inside another batch of the coffer, `…_DEADLOCK` inside a
   *   batch that the open batch of this coffer waits for, or if the function waits for a change outside of the
   *   batch, which waits for the batch, and as {@link flush}; or the error of the function
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
   * await bank.write('alice', '100')
   * await bank.batch(async (batch) => {
   *   const balance = Number(await batch.readText('alice'))
   *   await batch.write('alice', String(balance - 30))
   *   await batch.write('bob', '30')
   * })
   * console.log(await bank.readText('alice')) // 70
   * await bank.close()
   * ```
   */
  batch<T>(work: (batch: CofferBatch) => Promise<T>, options: NoOptions = {}): Promise<T> {
    return CofferBatch.run(this, this.#native, work, options)
  }

  /**
   * Calls a function with a handle on one member, and stores what it wrote when the function returns; if the function
   * throws, what it wrote is discarded. See {@link CofferFile}.
   *
   * @typeParam T the return type of the function
   * @param name the name of the member
   * @param mode `r` to read, `w` to write it anew, `a` to append, `x` to create it; a `b` may follow
   * @param work the function
   * @returns the function's result
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` (`r`), `…_MEMBER_EXISTS` (`x`, or a file is above
   *   it), `…_IS_DIRECTORY`, `…_TOO_LARGE` (`r`, `maxMemberSize`), `…_STALE` (`r`), `…_CORRUPT` (`r`, `a`),
   *   `…_READ_ONLY`, `…_CLOSED`, `…_INVALID_ARG`, `…_IN_BATCH` and `…_DEADLOCK` (see {@link batch}), `…_IO`,
   *   and as {@link CofferFile.close}; or the error of the function
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
   * await store.file('log', 'a', async (log) => {
   *   await log.write('first line\n')
   *   await log.write('second line\n')
   * })
   * console.log((await store.stat('log')).size) // 23
   * await store.close()
   * ```
   */
  file<T>(name: string, mode: FileFlags, work: (file: CofferFile) => Promise<T>): Promise<T>
  /**
   * The same, with permissions and time of the member.
   *
   * @typeParam T the return type of the function
   * @param name the name of the member
   * @param mode as for the first form
   * @param options permissions and time
   * @param work the function
   * @returns the function's result
   * @throws {@link CofferError} as the first form
   */
  file<T>(
    name: string,
    mode: FileFlags,
    options: WriteOptions | undefined,
    work: (file: CofferFile) => Promise<T>,
  ): Promise<T>
  /**
   * Without a function, the handle itself: {@link CofferFile.close} stores what was written, all of it or nothing, and
   * {@link CofferFile.abort} discards it. `await using` closes it at the end of its scope, also where the scope ends
   * by an error: half of what was to be written would then be stored. The form with a function discards it.
   *
   * @param name the name of the member
   * @param mode as for the first form: `r` by default
   * @param options permissions and time
   * @returns the handle
   * @throws {@link CofferError} as the first form
   */
  file(name: string, mode?: FileFlags, options?: WriteOptions): Promise<CofferFile>
  async file<T>(
    name: string,
    mode: FileFlags = 'r',
    given: WriteOptions | ((file: CofferFile) => Promise<T>) = {},
    last?: (file: CofferFile) => Promise<T>,
  ): Promise<CofferFile | T> {
    const [options, work] = typeof given === 'function' ? [{}, given] : [given, last]
    if (work !== undefined && typeof work !== 'function') {
      throw invalid(`file takes a function, file(name, mode, async (file) => { … }), not ${shown(work)}`)
    }
    const { CofferFile } = await import('../member/file.ts')
    const file = await CofferFile.open(
      { path: this.path, native: this.#native, change: (call, work) => CofferBatch.waiting(this, call, work) },
      name,
      mode,
      options,
    )
    if (work === undefined) return file
    let result: T
    try {
      result = await work(file)
    } catch (error) {
      file.abort(error)
      throw error
    }
    await file.close()
    return result
  }

  /**
   * A stream that writes a member, which becomes part of the coffer when the stream finishes. A stream that
   * is destroyed before changes nothing.
   *
   * @param name the name of the member
   * @param options the treatment of an existing member, permissions and time
   * @returns the stream. It fails as {@link write}, with `ERR_COFFER_MEMBER_EXISTS` also for
   *   `flags: 'x'`, and with the signal's reason
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_IN_BATCH` and `…_DEADLOCK` (see {@link batch}) at
   *   the call; the stream fails as {@link append}, and with `…_MEMBER_EXISTS` also with `x`
   *
   * @example
   * ```js
   * import { createReadStream } from 'node:fs'
   * import { pipeline } from 'node:stream/promises'
   * import { createGzip } from 'node:zlib'
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await pipeline(createReadStream('example.mjs'), createGzip(), box.createWriteStream('example.gz'))
   * await box.close()
   * ```
   */
  createWriteStream(name: string, options: WriteStreamOptions = {}): Writable {
    CofferBatch.check(this, 'createWriteStream')
    checkName(name)
    checkStreamOptions(checkOptions(options, 'createWriteStream', writeStreamOptions))
    const { flags, mode, mtime } = options
    checkChoice(flags, 'flags', ['w', 'a', 'x'])
    checkAttributes({ mode, mtime })
    return new MemberWritable(async () => this.file(name, flags ?? 'w', { mode, mtime }), options)
  }

  /**
   * Commits the changes. When it returns, they are on the disk (unless `durability` is `none`), and deleted
   * bytes are overwritten in the file.
   *
   * @param options `force`: commit even if nothing has changed
   * @throws {@link CofferError} `ERR_COFFER_READ_ONLY`, `…_CLOSED`, `…_POISONED`, `…_LIMIT`, `…_IN_BATCH` and
   *   `…_DEADLOCK` (see {@link batch}), `…_INVALID_ARG`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
   * await store.write('a', '1')
   * console.log(store.modified) // true
   * await store.flush()
   * console.log(store.modified) // false
   * await store.close()
   * ```
   */
  flush(options: { force?: boolean | undefined } = {}): Promise<void> {
    return CofferBatch.waiting(this, 'flush', async () => {
      const { force } = checkOptions(options, 'flush', ['force'])
      await settled(this.#native.flush(checkBoolean(force, 'force') ?? false))
    })
  }

  /**
   * Waits for the calls under way, commits, and releases the file and its locks. May be called more than
   * once. If the commit fails, the coffer is closed anyway.
   *
   * @throws {@link CofferError} `ERR_COFFER_IN_BATCH` and `…_DEADLOCK` (see {@link batch}): the coffer stays
   *   open; and if the last changes could not be committed as {@link flush} except `…_READ_ONLY`, `…_CLOSED`
   *   and `…_INVALID_ARG`
   */
  close(): Promise<void> {
    return CofferBatch.waiting(this, 'close', async () => {
      this.#writes.cancel(new CofferError('ERR_COFFER_CLOSED', `${this.path} is closed`, { path: this.path }))
      this.#closed()
      await settled(this.#native.close())
    })
  }

  /**
   * The same as {@link close}, for `await using`.
   *
   * @throws {@link CofferError} as {@link close}
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
