import { statSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { type InspectOptions, inspect } from 'node:util'
import { Batch } from './batch.ts'
import { type Added, type AddOptions, Changes, type DeleteOptions } from './changes.ts'
import { CofferError, invalid } from './errors.ts'
import type { CofferFile } from './file.ts'
import type { Info } from './info.ts'
import {
  checkNewKeys,
  checkPassphraseFor,
  custom,
  generateKeys,
  type Keys,
  type Kind,
  type Layers,
  type NewKeys,
  type Secret,
  wipe,
} from './kinds.ts'
import { splitLines, streamLines } from './lines.ts'
import { type Member, memberFrom } from './member.ts'
import { type NativeCoffer, settled } from './native.ts'
import { type Opened, open } from './open.ts'
import {
  type Commit,
  checkAttributes,
  checkBoolean,
  checkChoice,
  checkName,
  checkOptions,
  checkPath,
  checkSizeLimits,
  type Mode,
  type ModeText,
  type OpenOptions,
  openOptions,
  type SourceOptions,
  type WriteOptions,
} from './options.ts'
import type { KdfOptions, Passphrase } from './passphrase.ts'
import { openPlugin, type PluginName, type Plugins } from './plugin.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'
import type { Source } from './source.ts'
import {
  checkReadStream,
  checkStreamOptions,
  MemberReadable,
  MemberWritable,
  type ReadStreamOptions,
  readStreamOptions,
  type WriteStreamOptions,
  writeStreamOptions,
} from './streams.ts'
import { Trees } from './trees.ts'
import { Version } from './version.ts'
import { type WatchOptions, watched, watchOptions } from './watch.ts'

/** What `open` takes for a coffer of your own mix. */
export interface CofferOptions extends OpenOptions, Layers {}

/** What `extract` takes. */
export interface ExtractOptions extends WatchOptions {
  /** Whether files that are there are replaced, as they are by default; if not, one is an error, and nothing is written. */
  replace?: boolean
  /** A directory that names are taken relative to: from `a`, the member `a/b` goes to `b` below the target. */
  from?: string
  /** The most bytes that a file may have: one with more is an error, and nothing is written. Any number by default. */
  maxMemberSize?: number
  /** The most bytes that all files together may have. Any number by default. */
  maxTotalSize?: number
}

/** What `extractAll` takes. */
export interface ExtractAllOptions extends ExtractOptions {
  /** The members to extract, directories with all that is below them; everything by default. */
  members?: readonly string[]
}

/** What `changePassphrase` takes. */
export interface ChangePassphraseOptions extends WatchOptions {
  /** How hard the passphrase is to guess: as the old one by default, if there was one. */
  kdf?: KdfOptions
}

/** What `extract` and `extractAll` did. */
export interface Extracted {
  /** Files written. */
  files: number
  /** Directories that are members. */
  directories: number
  /** Bytes of the files. */
  bytes: number
}

/** What `verify` checked. */
export interface Verified {
  /** Members. */
  members: number
  /** Blocks. */
  blocks: number
  /** Bytes of the members. */
  bytes: number
}

/** Something that was found, and dealt with, when the coffer was opened. */
export interface Notice {
  /** A stable name for it. */
  code: string
  /** What it was. */
  message: string
}

const extractOptions = ['replace', 'from', 'maxMemberSize', 'maxTotalSize', ...watchOptions] as const

/**
 * One file that holds many named files: compressed, sealed, indexed, and safe against crashes.
 *
 * This class takes layers of your own mix; {@link CofferBank}, {@link CofferStore},
 * {@link CofferMarket} and {@link CofferNull} are ready-made ones.
 *
 * Every call may be made at any time, also while others are under way; changes take effect in the
 * order of the calls. All work is done by threads of the engine's own.
 */
export class Coffer implements AsyncDisposable, AsyncIterable<Member> {
  /** The absolute path of the coffer. */
  readonly path: string
  /** How it was opened. */
  readonly mode: Mode
  /** What recovery found, and did, when the coffer was opened; empty as a rule. */
  readonly notices: readonly Notice[]
  readonly #native: NativeCoffer
  readonly #changes: Changes
  readonly #kind: Kind

  protected constructor({ native, path, mode, kind }: Opened) {
    this.path = path
    this.mode = mode
    this.notices = native.notices()
    this.#native = native
    this.#kind = kind
    this.#changes = new Changes(native)
  }

  /**
   * Opens a coffer.
   *
   * @param path where it is: a path or a `file:` URL
   * @param mode `r` to read, `w` to write it anew, `a` to read and change it (it is made if there
   *   is none), `x` to make it; a `b` may follow
   * @throws {CofferError} `ERR_COFFER_LOCKED` if somebody else holds the lock, `…_NOT_FOUND`,
   *   `…_EXISTS` (mode `x`), `…_WRONG_KEY`, `…_WRONG_KIND`, `…_CORRUPT` (damage, or `expect` is not
   *   in its history), `…_LEGACY`, `…_VERSION`, `…_INVALID_ARG`, `…_IO`
   */
  static async open(path: string | URL, mode: ModeText, options: CofferOptions): Promise<Coffer> {
    checkOptions(options, 'Coffer.open', [...openOptions, 'member', 'container'])
    return new Coffer(await open(path, mode, custom(options), options))
  }

  /**
   * Brings every member that is not damaged out of a coffer into a new one, of the same kind and
   * with the same keys, also if {@link open} refuses it. The damaged file is not changed. Members
   * are taken from the newest commit that can be read, and from blocks that none of them names: see
   * `unverified` of the result.
   *
   * @param target where the new coffer is to be: there must be nothing
   * @throws {CofferError} `ERR_COFFER_EXISTS` if there is something at the target, `…_NOT_FOUND`,
   *   `…_LOCKED`, `…_WRONG_KEY`, `…_WRONG_KIND`, `…_CORRUPT` if nothing could be read at all,
   *   `…_LEGACY`, `…_VERSION`, `…_INVALID_ARG`, `…_IO`. There is no new coffer then.
   */
  static async salvage(path: string | URL, target: string | URL, options: SalvageOptions & Layers): Promise<Salvaged> {
    checkOptions(options, 'Coffer.salvage', [...salvageOptions, 'member', 'container'])
    return salvage(path, target, custom(options), options)
  }

  /** New random keys for the layers that seal. */
  static generateKeys(layers: Layers & { cipher?: never }): Keys {
    return generateKeys(custom(checkOptions(layers, 'Coffer.generateKeys', ['member', 'container'])))
  }

  /** Whether `close` has been called. */
  get closed(): boolean {
    return this.#native.status().closed
  }

  /** Whether members can be read. */
  get readable(): boolean {
    return !this.closed
  }

  /** Whether the coffer can be changed. */
  get writable(): boolean {
    return this.mode !== 'r' && !this.closed
  }

  /** Whether there are changes that no commit holds yet. */
  get modified(): boolean {
    return this.#native.status().modified
  }

  /** When the file was changed last; null if it is not there. */
  get mtime(): Date | null {
    return statSync(this.path, { throwIfNoEntry: false })?.mtime ?? null
  }

  /** The newest commit of this handle: remember it, and `expect` it at a later `open`. */
  get commit(): Commit {
    return this.#native.status().commit
  }

  /**
   * Creates or replaces a member.
   *
   * @param data text (stored as UTF-8) or bytes. Up to 1 MiB is copied at once; a larger array must
   *   be neither changed nor transferred to another thread until the promise settles. Or a stream,
   *   or another iterable of text and bytes: then the change takes effect when it has ended. If it
   *   fails, nothing changes, and its own error is thrown.
   * @throws {CofferError} `ERR_COFFER_READ_ONLY`, `…_CLOSED`, `…_MEMBER_EXISTS` (the name is a
   *   directory's, or needs a member to be one), `…_INVALID_ARG`, `…_LIMIT`, `…_IO`
   */
  async write(name: string, data: Source, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#outside('write').write(name, data, options)
  }

  /** Adds to the end of a member, which is created if there is none. Costs as much as writing it whole. */
  async append(name: string, data: Source, options: SourceOptions = {}): Promise<void> {
    return this.#outside('append').append(name, data, options)
  }

  /** Writes a member of lines: a newline is put after each. */
  async writeLines(name: string, lines: Iterable<string>): Promise<void> {
    return this.#outside('writeLines').writeLines(name, lines)
  }

  /**
   * Stores a value as CBOR, as {@link load} gives it back: plain objects, arrays, `Map`, `Set`,
   * `Date`, `Buffer`, typed arrays, strings, numbers, bigints, booleans, null and undefined. It is
   * encoded before the call returns, so what happens to it afterwards makes no difference.
   *
   * @throws {CofferError} `ERR_COFFER_INVALID_ARG` for anything else: the message has the path to
   *   it. `…_LIMIT` if it is more than 200 levels deep. And as `write` does
   */
  async dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return this.#outside('dump').dump(name, value, options)
  }

  /**
   * Stores a file, or a directory with all that is below it, with permissions and times.
   *
   * @param name what it is called in the coffer: the last component of `source` by default
   * @throws {CofferError} `ERR_COFFER_MEMBER_EXISTS` with `replace: false`, and as `write` does
   */
  async add(source: string | URL, name?: string, options: AddOptions = {}): Promise<Added> {
    return this.#outside('add').add(source, name, options)
  }

  /**
   * Removes a member, or a directory with `recursive`. Its bytes are gone from the file once the
   * deletion is flushed.
   *
   * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, and as `write` does
   */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#outside('delete').delete(name, options)
  }

  /**
   * Makes several changes one commit: all of them, or none if the function throws or the process
   * ends. Changes to the coffer that are made elsewhere meanwhile wait for its end, so inside the
   * function use the batch, not the coffer.
   *
   * @returns what the function returned
   */
  async batch<T>(work: (batch: Batch) => Promise<T>): Promise<T> {
    this.#outside('batch')
    return Batch.run(this, this.#native, work)
  }

  /**
   * The bytes of a member.
   *
   * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_CORRUPT`, `…_STALE`, `…_CLOSED`, `…_IO`
   */
  async read(name: string): Promise<Buffer> {
    return settled(this.#native.read(checkName(name)))
  }

  /** The text of a member. */
  async readText(name: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
    if (!Buffer.isEncoding(encoding)) throw invalid(`there is no encoding ${inspect(encoding)}`)
    return (await this.read(name)).toString(encoding)
  }

  /**
   * The value that {@link dump} stored, or that somebody else wrote as CBOR. Nothing in it is
   * executed.
   *
   * @throws {CofferError} `ERR_COFFER_CORRUPT` if the member is no CBOR, or has tags without a
   *   counterpart in JavaScript. `…_LIMIT` if it is too deep. And as `read` does
   */
  async load<T = unknown>(name: string): Promise<T> {
    const bytes = await this.read(name)
    const { decode } = await import('./cbor/decode.ts')
    return decode(bytes, { path: this.path, member: name }) as T
  }

  /**
   * A plugin for this coffer, by its name: one of Coffer's own, or one that `registerPlugin` made
   * known. Close it, or let `await using` do so; the coffer stays open.
   *
   * @throws {CofferError} `ERR_COFFER_INVALID_ARG` if there is no such plugin, `…_CLOSED`
   */
  async plugin<N extends PluginName>(name: N): Promise<Plugins[N]> {
    const trees = new Trees(this.#native, (call) => this.#outside(call))
    const { Cryptor } = await import('./cryptor.ts')
    return openPlugin(name, { coffer: this, crypt: new Cryptor(this.#native), trees })
  }

  /** The lines of a UTF-8 member, without their line ends (`\n` or `\r\n`). */
  async readLines(name: string): Promise<string[]> {
    return splitLines(await this.readText(name))
  }

  /**
   * The lines of a UTF-8 member, one by one, without their line ends. The member is read piece by
   * piece, so it may be larger than memory.
   *
   * @throws {CofferError} `ERR_COFFER_STALE` if it is replaced meanwhile, and as `read` does
   */
  lines(name: string): AsyncGenerator<string, void, undefined> {
    checkName(name)
    return streamLines((start, length, version) => settled(this.#native.readRange(name, start, length, version)))
  }

  /**
   * A handle on one member, with the habits of a `FileHandle` of `node:fs/promises`.
   *
   * @param mode `r` to read, `w` to write it anew, `a` to append, `x` to make it; a `b` may follow.
   *   What is written becomes part of the coffer when the handle closes, all of it or nothing.
   * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` (`r`), `…_MEMBER_EXISTS` (`x`, or a
   *   directory), `…_READ_ONLY`, `…_CLOSED`, `…_INVALID_ARG`
   */
  async file(name: string, mode: ModeText = 'r', options: WriteOptions = {}): Promise<CofferFile> {
    const check = (call: string): void => void this.#outside(call)
    const { CofferFile } = await import('./file.ts')
    return CofferFile.open({ path: this.path, native: this.#native, check }, name, mode, options)
  }

  /**
   * A stream of a member, or of a part of it, which reads ahead. It stays with the version that is
   * there when it opens; once that is replaced or deleted, it fails with `ERR_COFFER_STALE`.
   */
  createReadStream(name: string, options: ReadStreamOptions = {}): Readable {
    checkName(name)
    checkReadStream(options, readStreamOptions)
    return new MemberReadable(() => Version.open(this.#native, name), options)
  }

  /**
   * A stream into a member, which is part of the coffer once the stream has finished. Destroyed
   * before that, it changes nothing.
   */
  createWriteStream(name: string, options: WriteStreamOptions = {}): Writable {
    this.#outside('createWriteStream')
    checkName(name)
    checkStreamOptions(checkOptions(options, 'createWriteStream', writeStreamOptions))
    const { flags, mode, mtime } = options
    checkChoice(flags, 'flags', ['w', 'a', 'x'])
    checkAttributes({ mode, mtime })
    return new MemberWritable(() => this.file(name, flags ?? 'w', { mode, mtime }), options)
  }

  /** Whether there is a member or a directory of this name. */
  async has(name: string): Promise<boolean> {
    return (await settled(this.#native.stat(checkName(name)))) !== null
  }

  /**
   * A member, or a directory, also one that is only implied by the members below it.
   *
   * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`
   */
  async stat(name: string): Promise<Member> {
    const member = await settled(this.#native.stat(checkName(name)))
    if (member !== null) return memberFrom(member)
    throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `${this.path} has no member ${inspect(name)}`, {
      path: this.path,
      member: name,
    })
  }

  /** The members, sorted by name: all, or those whose names begin with a prefix. */
  async members(prefix?: string): Promise<Member[]> {
    if (prefix !== undefined) checkName(prefix, 'the prefix')
    return (await settled(this.#native.members(prefix))).map(memberFrom)
  }

  /** The members, one by one, as {@link members} has them at the start. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Member, void, undefined> {
    yield* await this.members()
  }

  /**
   * Extracts a member, or a directory with all that is below it, to its whole name below the
   * target: `extract('a/b', 'out')` writes `out/a/b`. Nothing is ever written outside the target.
   *
   * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_EXISTS` with `replace: false`,
   *   `…_UNSAFE_PATH`, `…_INVALID_ARG` for a name that is not below `from`, and as `read` does
   */
  async extract(name: string, target: string | URL = '.', options: ExtractOptions = {}): Promise<Extracted> {
    checkName(name)
    const directory = checkPath(target, 'the target of extract')
    checkOptions(options, 'extract', extractOptions)
    return this.#extract([name], directory, options)
  }

  /** Extracts everything, or the given members, below the target. See {@link extract}. */
  async extractAll(target: string | URL = '.', options: ExtractAllOptions = {}): Promise<Extracted> {
    const directory = checkPath(target, 'the target of extractAll')
    const { members } = checkOptions(options, 'extractAll', ['members', ...extractOptions])
    if (members !== undefined && !Array.isArray(members)) throw invalid('members must be an array of names')
    const names = members?.map((name: string) => checkName(name))
    return this.#extract(names, directory, options)
  }

  /**
   * Commits what has changed; when it returns, the changes are on the disk and deleted bytes are
   * gone from the file.
   *
   * @param options `force`: commit even if nothing has changed
   */
  async flush(options: { force?: boolean } = {}): Promise<void> {
    this.#outside('flush')
    const { force } = checkOptions(options, 'flush', ['force'])
    await settled(this.#native.flush(checkBoolean(force, 'force') ?? false))
  }

  /**
   * Reads everything and checks that it is what was written.
   *
   * @throws {CofferError} `ERR_COFFER_CORRUPT`: what is damaged, and which members it holds
   */
  async verify(options: WatchOptions = {}): Promise<Verified> {
    checkOptions(options, 'verify', watchOptions)
    return watched(options, (watch) => this.#native.verify(watch))
  }

  /** Rewrites the coffer without dead space. Afterwards not even the names of deleted members are in it. */
  async compact(options: WatchOptions = {}): Promise<void> {
    this.#outside('compact')
    checkOptions(options, 'compact', watchOptions)
    await watched(options, (watch) => this.#native.compact(watch))
  }

  /**
   * Rewrites the coffer under new keys: what it holds is opened with the old ones, sealed with the
   * new ones into a new file, and put in place of the old file in one step. If it is stopped or
   * fails, the coffer is as it was, with its old keys. A coffer that had a passphrase has none
   * afterwards.
   *
   * The old file's bytes, copies and backups of it still open with the old keys. What `onProgress`
   * throws in its last call, when the new file is in place, rejects the call, too: keep the new keys
   * until the coffer has been opened with the old ones.
   *
   * @param keys as `open` takes them: which ones the kind needs is said at its class
   * @throws {CofferError} `ERR_COFFER_INVALID_ARG`, `…_READ_ONLY`, `…_CORRUPT` if something cannot be
   *   read that was to be rewritten, `…_CLOSED`, `…_IO`
   */
  async rekey(keys: NewKeys, options: WatchOptions = {}): Promise<void> {
    this.#outside('rekey')
    checkOptions(options, 'rekey', watchOptions)
    return this.#rekey(checkNewKeys(this.#kind, keys), options)
  }

  /**
   * Rewrites the coffer under keys from a passphrase, with a new salt: see {@link rekey}. A coffer
   * that was made with keys has a passphrase afterwards.
   *
   * @throws {CofferError} `ERR_COFFER_LIMIT` if the system has not the memory, and as `rekey` does
   */
  async changePassphrase(passphrase: Passphrase, options: ChangePassphraseOptions = {}): Promise<void> {
    this.#outside('changePassphrase')
    const { kdf, ...watching } = checkOptions(options, 'changePassphrase', ['kdf', ...watchOptions])
    return this.#rekey(checkPassphraseFor(this.#kind, passphrase, kdf), watching)
  }

  /** What the coffer is, and how it fills its file. */
  async info(): Promise<Info> {
    const info = await settled(this.#native.info())
    const { infoFrom } = await import('./info.ts')
    return infoFrom(this.path, info)
  }

  /** Waits for the calls under way, commits, and releases the lock. May be called more than once. */
  async close(): Promise<void> {
    this.#outside('close').end(new CofferError('ERR_COFFER_CLOSED', `${this.path} is closed`, { path: this.path }))
    await settled(this.#native.close())
  }

  /** The same as {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** What `console.log` shows: no keys, no contents. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { path, mode, closed, modified } = this
    return `${this.constructor.name} ${inspect({ path, mode, closed, modified }, options)}`
  }

  async #extract(names: string[] | undefined, target: string, options: ExtractOptions): Promise<Extracted> {
    const from = options.from === undefined ? undefined : checkName(options.from, 'from')
    const replace = checkBoolean(options.replace, 'replace') ?? true
    const extraction = { names, recursive: true, from, replace, ...checkSizeLimits(options) }
    return watched(options, (watch) => this.#native.extract(extraction, target, watch))
  }

  async #rekey(secret: Secret, options: WatchOptions): Promise<void> {
    const rekeying = watched(options, (watch) => this.#native.rekey(secret, watch))
    // The engine has copies of its own by now, and wipes them when it is done.
    wipe(secret)
    await rekeying
  }

  #outside(call: string): Changes {
    if (Batch.within(this)) {
      throw invalid(`${call} would wait for the batch that it is called in: call it on the batch, or after it`)
    }
    return this.#changes
  }
}
