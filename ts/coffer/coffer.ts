import { statSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { type InspectOptions, inspect } from 'node:util'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { CofferError, invalid } from '../errors.ts'
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
} from '../keys/kinds.ts'
import type { KdfOptions, Passphrase } from '../keys/passphrase.ts'
import type { CofferFile, Host } from '../member/file.ts'
import type { Source } from '../member/input.ts'
import { splitLines, streamLines } from '../member/lines.ts'
import { type Member, memberFrom } from '../member/member.ts'
import { VERSIONS, Version } from '../member/snapshot.ts'
import {
  checkReadStream,
  checkStreamOptions,
  MemberReadable,
  MemberWritable,
  type ReadStreamOptions,
  readStreamOptions,
  type WriteStreamOptions,
  writeStreamOptions,
} from '../member/streams.ts'
import { MOST_BYTES, mostBytesOf, textOf } from '../member/text.ts'
import { openPlugin, type PluginName, type Plugins } from '../plugins/base.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { Trees } from '../rsync/trees.ts'
import { Batch } from './batch.ts'
import type { Info } from './info.ts'
import { type Opened, open } from './open.ts'
import {
  type Commit,
  checkAttributes,
  checkBoolean,
  checkChoice,
  checkEncoding,
  checkName,
  checkOptions,
  checkPath,
  checkSizeLimits,
  type Mode,
  type ModeText,
  type OpenOptions,
  openOptions,
  type SourceOptions,
  shown,
  type WriteOptions,
} from './options.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'
import { type Added, type AddOptions, Changes, type DeleteOptions, type Skipped } from './writes.ts'

/** What {@link Coffer.open} takes: the layers of your own mix, and what every `open` takes. */
export interface CofferOptions extends OpenOptions, Layers {}

/** What {@link Coffer.extract} takes. */
export interface ExtractOptions extends WatchOptions {
  /** Whether files that are there are replaced: true by default. If not, one is `ERR_COFFER_EXISTS`, and nothing is written. */
  replace?: boolean | undefined
  /**
   * Whether files and directories get the modes of their members as they are. By default what the
   * process masks (`umask`) is taken from them, and a directory that is there keeps its own mode.
   */
  preserve?: boolean | undefined
  /** A directory that names are taken relative to: from `a`, the member `a/b` goes to `b` below the target. */
  from?: string | undefined
  /** The most bytes that a file may have: one with more is `ERR_COFFER_TOO_LARGE`, and nothing is written. Any number by default. */
  maxMemberSize?: number | undefined
  /** The most bytes that all files together may have, likewise. Any number by default. */
  maxTotalSize?: number | undefined
}

/** What {@link Coffer.extractAll} takes. */
export interface ExtractAllOptions extends ExtractOptions {
  /** The names of the members to extract, directories with all that is below them; everything by default. */
  members?: readonly string[] | undefined
  /** Whether everything includes the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean | undefined
}

/** What {@link Coffer.changePassphrase} takes. */
export interface ChangePassphraseOptions extends WatchOptions {
  /** How hard the passphrase is to guess: what it does not say is as for the old one, if there was one. */
  kdf?: KdfOptions | undefined
}

/** What {@link Coffer.extract} and {@link Coffer.extractAll} did. */
export interface Extracted {
  /** The number of files written. */
  files: number
  /** The number of directories that are members. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Modes and times that the system refused to set. The files and directories are there otherwise. */
  skipped: Skipped[]
}

/** What {@link Coffer.verify} checked. */
export interface Verified {
  /** The number of members. */
  members: number
  /** The number of blocks. */
  blocks: number
  /** The bytes of the members. */
  bytes: number
}

/** Something that was found, and dealt with, when a coffer was opened or salvaged. */
export interface Notice {
  /** A stable name for it, such as `torn-tail`. */
  code: string
  /** What it was; this may change. */
  message: string
}

const extractOptions = ['replace', 'preserve', 'from', 'maxMemberSize', 'maxTotalSize', ...watchOptions] as const

/**
 * One file that holds many named files: compressed, sealed, indexed, and safe against crashes.
 *
 * This class takes layers of your own mix; {@link CofferBank}, {@link CofferStore},
 * {@link CofferMarket} and {@link CofferNull} are ready-made ones. Coffers come from {@link open},
 * not from a constructor.
 *
 * Every call may be made at any time, also while others are under way; changes take effect in the
 * order of the calls. All work is done by threads of the engine's own.
 *
 * The names of members are relative, with `/` between components of at most 255 bytes, and have at
 * most 3,800 bytes. What is no name, an option that is not known, and whatever else makes no sense
 * is `ERR_COFFER_INVALID_ARG`; after {@link close} every call is `ERR_COFFER_CLOSED`.
 *
 * The file is described in docs/format.md: a tar (POSIX pax) in zstd (RFC 8878), sealed in chunks.
 *
 * @example
 * ```js
 * import { Coffer } from 'coffer'
 *
 * const layers = { member: { level: 6, cipher: 'aes-ocb' }, container: { level: 1, cipher: 'secretbox' } }
 * const keys = Coffer.generateKeys(layers)
 * const mix = await Coffer.open('mix.coffer', 'w', { ...layers, ...keys })
 * await mix.write('a', 'sealed twice')
 * await mix.close()
 * ```
 */
export class Coffer implements AsyncDisposable, AsyncIterable<Member> {
  /** The absolute path of the coffer. */
  readonly path: string
  /** How it was opened, without the `b`. */
  readonly mode: Mode
  readonly #native: NativeCoffer
  readonly #changes: Changes
  readonly #kind: Kind

  /** @internal */
  protected constructor(opened: Opened) {
    const { native, path, mode, kind } = checkOpened(opened, new.target.name)
    this.path = path
    this.mode = mode
    this.#native = native
    this.#kind = kind
    this.#changes = new Changes(native)
  }

  /**
   * What was found, and dealt with, when the coffer was opened, and what came up since; empty as a rule.
   * The codes are in docs/api.md.
   */
  get notices(): readonly Notice[] {
    return this.#native.notices()
  }

  /**
   * Opens a coffer. It can be read in every mode.
   *
   * @param path where it is: a path or a `file:` URL
   * @param mode `r` to read, `w` to write it anew, `a` to read and change it (it is made if there
   *   is none), `x` to make it; a `b` may follow
   * @param options the layers, the keys that they need, and what is to be other than by default
   * @returns the open coffer
   * @throws {@link CofferError} `ERR_COFFER_LOCKED` if somebody else holds the lock, `…_NOT_FOUND`,
   *   `…_EXISTS` (mode `x`), `…_WRONG_KEY`, `…_WRONG_KIND`, `…_CORRUPT` (damage, or `expect` is not
   *   in its history), `…_LEGACY`, `…_VERSION`, `…_LIMIT` (the passphrase asks for more
   *   memory than there is, or than is allowed), `…_TOO_LARGE` and `…_UNSAFE_PATH` (a coffer that
   *   PyCoffer wrote), `…_INVALID_ARG`, `…_IO`; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const passphrase = 'anvil mosaic turnip lantern'
   * const bank = await CofferBank.open('bank.coffer', 'x', { passphrase, kdf: { passes: 4 } })
   * await bank.write('a', 'confidential')
   * await bank.close()
   *
   * const again = await CofferBank.open('bank.coffer', 'r', { passphrase, lockTimeout: 5_000 })
   * console.log(await again.readText('a')) // confidential
   * await again.close()
   * ```
   */
  static async open(path: string | URL, mode: ModeText, options: CofferOptions): Promise<Coffer> {
    checkOptions(options, 'Coffer.open', [...openOptions, 'member', 'container'])
    return new Coffer(await open(path, mode, custom(options), options))
  }

  /**
   * Brings every member that is not damaged out of a coffer into a new one, of the same kind and
   * with the same keys, also if {@link open} refuses it. The damaged file is not changed. Members
   * are taken from the newest commit that can be read, and from blocks that none of them names: see
   * `unverified` of the result, and section 26 of docs/format.md.
   *
   * @param path the damaged coffer, which is only read
   * @param target where the new coffer is to be: there must be nothing
   * @param options the layers, and the keys that they need
   * @returns what was brought over, and what is lost
   * @throws {@link CofferError} `ERR_COFFER_EXISTS` if there is something at the target,
   *   `…_NOT_FOUND`, `…_LOCKED`, `…_WRONG_KEY`, `…_WRONG_KIND`, `…_CORRUPT` if nothing could be read
   *   at all, `…_LEGACY`, `…_VERSION`, `…_LIMIT`, `…_INVALID_ARG`, `…_IO`; or the signal's reason.
   *   There is no new coffer then
   *
   * @example
   * ```js
   * import { stat, truncate } from 'node:fs/promises'
   * import { CofferStore } from 'coffer'
   *
   * const keys = CofferStore.generateKeys()
   * const store = await CofferStore.open('store.coffer', 'w', keys)
   * await store.write('a', 'kept')
   * await store.close()
   *
   * await truncate('store.coffer', (await stat('store.coffer')).size - 500)
   * const { members, lost } = await CofferStore.salvage('store.coffer', 'rescued.coffer', keys)
   * console.log(members) // 1
   * console.log(lost)
   * ```
   */
  static async salvage(path: string | URL, target: string | URL, options: SalvageOptions & Layers): Promise<Salvaged> {
    checkOptions(options, 'Coffer.salvage', [...salvageOptions, 'member', 'container'])
    return salvage(path, target, custom(options), options)
  }

  /**
   * New random keys of 32 bytes for the layers that seal.
   *
   * @param layers the layers, as {@link open} takes them
   * @returns the keys that they need, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
   */
  static generateKeys(layers: Layers & { cipher?: never }): Keys {
    return generateKeys(custom(checkOptions(layers, 'Coffer.generateKeys', ['member', 'container'])))
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#native.status().closed
  }

  /** Whether members can be read: until {@link close}. */
  get readable(): boolean {
    return !this.closed
  }

  /** Whether the coffer can be changed: until {@link close}, and not with the mode `r`. */
  get writable(): boolean {
    return this.mode !== 'r' && !this.closed
  }

  /** Whether there are changes that no commit holds yet. */
  get modified(): boolean {
    return this.#native.status().modified
  }

  /**
   * When the file was changed last; null if it is not there.
   *
   * @throws Error of Node.js if the system does not say
   */
  get mtime(): Date | null {
    return statSync(this.path, { throwIfNoEntry: false })?.mtime ?? null
  }

  /**
   * The newest commit of this handle: remember it elsewhere, and `expect` it at a later {@link open}.
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const keys = CofferStore.generateKeys()
   * const store = await CofferStore.open('store.coffer', 'w', keys)
   * await store.write('a', '1')
   * await store.flush()
   * const expect = store.commit
   * await store.close()
   *
   * // Fails with ERR_COFFER_CORRUPT if somebody has put back an older copy.
   * await (await CofferStore.open('store.coffer', 'r', { ...keys, expect })).close()
   * ```
   */
  get commit(): Commit {
    return this.#native.status().commit
  }

  /**
   * Creates or replaces a member. Once it has returned, reading through the same coffer gives the new
   * bytes; a read that does not wait for it gives the old ones or the new ones.
   *
   * @param name the name of the member
   * @param data text (stored as UTF-8) or bytes. Up to 1 MiB is copied at once; a larger array must
   *   not be changed until the promise settles, and if it is transferred to another thread before,
   *   nothing is written. Or a stream, or another iterable of text and bytes: then the change takes
   *   effect when it has ended. If it fails, nothing changes, and its own error is thrown.
   * @param options permissions and time, and what stops a source
   * @returns when the change is accepted, and with `autoFlush` when it is on the disk
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_EXISTS` (the name is a directory's, or needs a
   *   member to be one), `…_READ_ONLY`, `…_CLOSED`, `…_INVALID_ARG`, `…_LIMIT`, `…_CORRUPT` (what
   *   shares a block with the old member has to be moved, and is damaged), `…_POISONED` (an earlier
   *   failure; somebody replaced the file or its lock), `…_IO`; and whatever `data` or `signal` fail
   *   with
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
  async write(name: string, data: Source, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#change('write', (changes) => changes.write(name, data, options))
  }

  /**
   * Adds to the end of a member, which is created if there is none. Costs as much as writing it
   * whole, but that the blocks of a large member are copied as they are.
   *
   * @param name the name of the member
   * @param data as for {@link write}
   * @param options what stops a source
   * @returns as {@link write}
   * @throws {@link CofferError} as {@link write}; `ERR_COFFER_CORRUPT` also if the end of the member
   *   is damaged
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
  async append(name: string, data: Source, options: SourceOptions = {}): Promise<void> {
    return this.#change('append', (changes) => changes.append(name, data, options))
  }

  /**
   * Writes a member of lines: a newline is put after each.
   *
   * @param name the name of the member
   * @param lines any iterable of strings
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
  async writeLines(name: string, lines: Iterable<string>): Promise<void> {
    return this.#change('writeLines', (changes) => changes.writeLines(name, lines))
  }

  /**
   * Stores a value as CBOR (RFC 8949; typed arrays as RFC 8746 has them), as {@link load} gives it
   * back: plain objects, arrays, `Map`, `Set`, `Date`, `Buffer`, typed arrays, strings, numbers,
   * bigints, booleans, null and undefined. It is encoded before the call returns, so what happens to
   * it afterwards makes no difference.
   *
   * @param name the name of the member
   * @param value the value
   * @param options permissions and time
   * @returns as {@link write}
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` for any other value: the message has the
   *   path to it. `…_LIMIT` if it is more than 200 levels deep. And as {@link write}
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
  async dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return this.#change('dump', (changes) => changes.dump(name, value, options))
  }

  /**
   * Stores a file, or a directory with all that is below it, with permissions and times. If it
   * fails, nothing of it is stored.
   *
   * @param source a path or a `file:` URL
   * @param name what it is called in the coffer: the last component of `source` by default; `.` puts
   *   what is in a directory at the top
   * @param options what is replaced, links, and who watches
   * @returns what was stored, and what was left out
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
  async add(source: string | URL, name?: string, options: AddOptions = {}): Promise<Added> {
    return this.#change('add', (changes) => changes.add(source, name, options))
  }

  /**
   * Removes a member, or a directory with `recursive`. Its bytes are gone from the file once the
   * deletion is flushed, and its name once the coffer is compacted.
   *
   * @param name the name of the member
   * @param options whether a directory goes with all that is below it
   * @returns as {@link write}
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_INVALID_ARG` also for a directory
   *   with members in it without `recursive`, and as {@link write}
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
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#change('delete', (changes) => changes.delete(name, options))
  }

  /**
   * Makes several changes one commit: all of them, or none if the function throws or the process
   * ends. Changes to the coffer that are made elsewhere meanwhile wait for its end, so inside the
   * function use the batch, not the coffer.
   *
   * @typeParam T what the function returns
   * @param work makes the changes
   * @returns what the function returned, with `autoFlush` when the changes are on the disk
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` inside another batch of the coffer,
   *   `…_DEADLOCK` inside a batch that the open batch of this coffer waits for, and as {@link write};
   *   and whatever the function throws
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
  async batch<T>(work: (batch: Batch) => Promise<T>): Promise<T> {
    return Batch.run(this, this.#native, work)
  }

  /**
   * Reads a member whole.
   *
   * @param name the name of the member
   * @returns its bytes
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_CORRUPT`, `…_STALE` (it is gone
   *   from the file, because a writer has changed it), `…_LIMIT` (no `Buffer` can hold it),
   *   `…_INVALID_ARG` also for a directory, `…_CLOSED`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('data', new Uint8Array([1, 2, 3]))
   * console.log(await box.read('data'), await box.readText('data', 'hex'))
   * await box.close()
   * ```
   */
  async read(name: string): Promise<Buffer> {
    return settled(this.#native.read(checkName(name), MOST_BYTES))
  }

  /**
   * Reads a member whole, as text.
   *
   * @param name the name of the member
   * @param encoding how it is encoded: `utf8` by default
   * @returns its text
   * @throws {@link CofferError} as {@link read}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('greeting', 'hello')
   * console.log(await box.readText('greeting')) // hello
   * await box.close()
   * ```
   */
  async readText(name: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
    checkEncoding(encoding)
    const bytes = await settled(this.#native.read(checkName(name), mostBytesOf(encoding)))
    return textOf(bytes, encoding, name)
  }

  /**
   * The value that {@link dump} stored, or that somebody else wrote as CBOR (RFC 8949). Nothing in
   * it is executed.
   *
   * @typeParam T what the value is taken for: it is not checked
   * @param name the name of the member
   * @returns the value
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` also if the member is no CBOR, or has tags
   *   without a counterpart in JavaScript. `…_LIMIT` also if it has more than 401 levels, or would
   *   take more than half of what is left of JavaScript's heap. And as {@link read}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('written-by-others', Buffer.from('a2636f6e65016374776f02', 'hex'))
   * const { one, two } = await box.load('written-by-others')
   * console.log(one + two) // 3
   * await box.close()
   * ```
   */
  async load<T = unknown>(name: string): Promise<T> {
    const bytes = await this.read(name)
    const { decode } = await import('../cbor/decode.ts')
    return decode(bytes, { path: this.path, member: name }) as T
  }

  /**
   * A plugin for this coffer, by its name: one of Coffer's own, or one that {@link registerPlugin}
   * made known. Close it, or let `await using` do so; the coffer stays open.
   *
   * @typeParam N the name
   * @param name `crypt`, `password`, `rsync`, or a registered name
   * @returns the plugin
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` if there is no such plugin, `…_CLOSED`
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
   * const passwords = await bank.plugin('password')
   * await passwords.add({ name: 'mail', username: 'alice', password: 'hunter2' })
   * await passwords.close()
   * await bank.close()
   * ```
   */
  async plugin<N extends PluginName>(name: N): Promise<Plugins[N]> {
    const trees = new Trees(this.#native, (call, work) => Batch.waiting(this, call, work))
    const { Cryptor } = await import('../crypt/cryptor.ts')
    return openPlugin(name, { coffer: this, crypt: new Cryptor(this.#native), trees })
  }

  /**
   * Reads a member of UTF-8 whole, as lines.
   *
   * @param name the name of the member
   * @returns its lines, without their ends (`\n` or `\r\n`)
   * @throws {@link CofferError} as {@link read}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.writeLines('hosts', ['alpha', 'beta'])
   * console.log((await box.readLines('hosts')).length) // 2
   * for await (const host of box.lines('hosts')) console.log(host)
   * await box.close()
   * ```
   */
  async readLines(name: string): Promise<string[]> {
    return splitLines(await this.readText(name))
  }

  /**
   * The lines of a UTF-8 member, one by one, without their line ends. The member is read piece by
   * piece, so it may be larger than memory. See {@link readLines} for an example.
   *
   * @param name the name of the member
   * @returns the lines
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; while it is iterated
   *   `…_STALE` also if the member is replaced meanwhile, and as {@link read}
   */
  lines(name: string): AsyncGenerator<string, void, undefined> {
    checkName(name)
    return streamLines((start, length, version) => settled(this.#native.readRange(name, start, length, version)))
  }

  /**
   * A handle on one member: see {@link CofferFile}.
   *
   * @param name the name of the member
   * @param mode `r` to read, `w` to write it anew, `a` to append, `x` to make it; a `b` may follow.
   *   What is written becomes part of the coffer when the handle closes, all of it or nothing.
   * @param options permissions and time of a member that is written
   * @returns the open handle
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` (`r`), `…_MEMBER_EXISTS` (`x`, or a
   *   directory), `…_READ_ONLY`, `…_CLOSED`, `…_INVALID_ARG`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
   * const log = await store.file('log', 'a')
   * await log.write('first line')
   * await log.close()
   * console.log((await store.stat('log')).size) // 10
   * await store.close()
   * ```
   */
  async file(name: string, mode: ModeText = 'r', options: WriteOptions = {}): Promise<CofferFile> {
    const change: Host['change'] = (call, work) => Batch.waiting(this, call, work)
    const { CofferFile } = await import('../member/file.ts')
    return CofferFile.open({ path: this.path, native: this.#native, change }, name, mode, options)
  }

  /**
   * A stream of a member, or of a part of it, which reads ahead, up to 4 MiB. It stays with the
   * version that is there when it opens.
   *
   * @param name the name of the member
   * @param options which part, and in which chunks
   * @returns the stream. It fails as {@link read}, with `ERR_COFFER_STALE` also once the member is
   *   replaced or deleted, and with the signal's reason
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
   *
   * @example
   * ```js
   * import { createWriteStream } from 'node:fs'
   * import { pipeline } from 'node:stream/promises'
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('large', new Uint8Array(1_000_000))
   * await pipeline(box.createReadStream('large', { start: 500_000 }), createWriteStream('half'))
   * await box.close()
   * ```
   */
  createReadStream(name: string, options: ReadStreamOptions = {}): Readable {
    checkName(name)
    checkReadStream(options, readStreamOptions)
    return new MemberReadable(() => Version.open(this.#native, name), options)
  }

  /**
   * A stream into a member, which is part of the coffer once the stream has finished. Destroyed
   * before that, it changes nothing.
   *
   * @param name the name of the member
   * @param options what becomes of a member that is there, permissions and time
   * @returns the stream. It fails as {@link write}, with `ERR_COFFER_MEMBER_EXISTS` also for
   *   `flags: 'x'`, and with the signal's reason
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
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
    Batch.check(this, 'createWriteStream')
    checkName(name)
    checkStreamOptions(checkOptions(options, 'createWriteStream', writeStreamOptions))
    const { flags, mode, mtime } = options
    checkChoice(flags, 'flags', ['w', 'a', 'x'])
    checkAttributes({ mode, mtime })
    return new MemberWritable(() => this.file(name, flags ?? 'w', { mode, mtime }), options)
  }

  /**
   * Whether there is a member of this name, or a directory, also one that is only implied by the
   * members below it.
   *
   * @param name the name
   * @returns whether there is
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_CLOSED`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a/b', '1')
   * console.log(await box.has('a/b'), await box.has('a'), await box.has('c'))
   * await box.close()
   * ```
   */
  async has(name: string): Promise<boolean> {
    return settled(this.#native.has(checkName(name)))
  }

  /**
   * What is known of a member, or of a directory, also of one that is only implied by the members
   * below it: that is as new as the newest of them.
   *
   * @param name the name
   * @returns the member
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_INVALID_ARG`, `…_CLOSED`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a/b', '12345')
   * console.log((await box.stat('a/b')).size) // 5
   * await box.close()
   * ```
   */
  async stat(name: string): Promise<Member> {
    const member = await settled(this.#native.stat(checkName(name)))
    if (member !== null) return memberFrom(member)
    throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `${this.path} has no member ${shown(name, 'name')}`, {
      path: this.path,
      member: name,
    })
  }

  /**
   * All members, or those whose names begin with a prefix.
   *
   * @param prefix any beginning of a name; for what is in a directory, end it with `/`
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_CLOSED`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * for (const name of ['a/1', 'a/2', 'ab']) await box.write(name, name)
   * console.log((await box.members('a/')).length) // 2
   * for await (const { name, size } of box) console.log(name, size)
   * await box.close()
   * ```
   */
  async members(prefix?: string): Promise<Member[]> {
    if (prefix !== undefined) checkName(prefix, 'the prefix')
    return (await settled(this.#native.members(prefix))).map(memberFrom)
  }

  /**
   * What `for await (const member of coffer)` goes through: the members one by one, as
   * {@link members} has them at the start.
   *
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Member, void, undefined> {
    yield* await this.members()
  }

  /**
   * Extracts a member, or a directory with all that is below it, to its whole name below the
   * target: `extract('a/b', 'out')` writes `out/a/b`. Nothing is ever written outside the target,
   * and no link in it is followed. A member that is damaged, or that the system refuses to make, does
   * not stop the others: the error at the end names it, and what was written stays.
   *
   * @param name the name of the member or directory
   * @param target a directory, which is made if there is none: the current one by default
   * @param options what is replaced, how much is too much, and who watches
   * @returns how much was written
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_EXISTS` (with `replace: false`; two
   *   members have one name on the target's file system), `…_UNSAFE_PATH` (a link, or something of
   *   another type, is in the way), `…_TOO_LARGE`, `…_INVALID_ARG` also for a name that is not below
   *   `from` and where the coffer itself is in the way, and as {@link read}; or the signal's reason
   *
   * @example
   * ```js
   * import { readFile } from 'node:fs/promises'
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('reports/may.txt', 'fine')
   * await box.extract('reports', 'out')
   * console.log(await readFile('out/reports/may.txt', 'utf8')) // fine
   * await box.extract('reports', 'out', { from: 'reports' }) // out/may.txt
   * await box.close()
   * ```
   */
  async extract(name: string, target: string | URL = '.', options: ExtractOptions = {}): Promise<Extracted> {
    checkName(name)
    const directory = checkPath(target, 'the target of extract')
    checkOptions(options, 'extract', extractOptions)
    return this.#extract([name], directory, options)
  }

  /**
   * Extracts everything, or the given members, below the target: see {@link extract}. What plugins
   * keep comes out only if it is named or `plugins` says so, with no permissions for others.
   *
   * @param target a directory, which is made if there is none: the current one by default
   * @param options which members, and as for {@link extract}
   * @returns how much was written
   * @throws {@link CofferError} as {@link extract}
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * for (const name of ['a', 'b', 'c/d']) await box.write(name, name)
   * const { files } = await box.extractAll('some', { members: ['a', 'c'], maxTotalSize: 1_000_000 })
   * console.log(files) // 2
   * await box.close()
   * ```
   */
  async extractAll(target: string | URL = '.', options: ExtractAllOptions = {}): Promise<Extracted> {
    const directory = checkPath(target, 'the target of extractAll')
    const { members, plugins } = checkOptions(options, 'extractAll', ['members', 'plugins', ...extractOptions])
    if (members !== undefined && !Array.isArray(members)) {
      throw invalid(`members must be an array of names, not ${shown(members)}`)
    }
    const names = members?.map((name: string) => checkName(name))
    return this.#extract(names, directory, options, checkBoolean(plugins, 'plugins'))
  }

  /**
   * Commits what has changed; when it returns, the changes are on the disk (unless `durability` is
   * `none`) and deleted bytes are gone from the file.
   *
   * @param options `force`: commit even if nothing has changed
   * @throws {@link CofferError} `ERR_COFFER_READ_ONLY`, `…_CLOSED`, `…_CORRUPT` (as {@link write}),
   *   `…_POISONED`, `…_LIMIT`, `…_INVALID_ARG` also inside a batch, `…_IO`
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
  async flush(options: { force?: boolean | undefined } = {}): Promise<void> {
    const { force } = checkOptions(options, 'flush', ['force'])
    const always = checkBoolean(force, 'force') ?? false
    await this.#change('flush', () => settled(this.#native.flush(always)))
  }

  /**
   * Reads everything that is committed, and checks that it is what was written.
   *
   * @param options who watches
   * @returns how much was checked
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`: which members are damaged, and how.
   *   `…_LIMIT`, `…_INVALID_ARG`, `…_CLOSED`, `…_IO`; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a', new Uint8Array(1_000_000))
   * await box.flush()
   * const { members } = await box.verify({ onProgress: ({ bytes, totalBytes }) => console.log(bytes, totalBytes) })
   * console.log(members) // 1
   * await box.close()
   * ```
   */
  async verify(options: WatchOptions = {}): Promise<Verified> {
    checkOptions(options, 'verify', watchOptions)
    return watched(options, (watch) => this.#native.verify(watch))
  }

  /**
   * Flushes, and rewrites the coffer without dead space into a new file that takes the old one's
   * place. It costs as much as the live part of the coffer, and needs that much space beside it.
   * Afterwards not even the names of deleted members are in the file.
   *
   * @param options who watches; an abort leaves the coffer flushed and otherwise as it was
   * @throws {@link CofferError} as {@link flush}; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('secret-name', 'x')
   * await box.flush()
   * await box.delete('secret-name')
   * await box.compact()
   * await box.close()
   * ```
   */
  async compact(options: WatchOptions = {}): Promise<void> {
    checkOptions(options, 'compact', watchOptions)
    await this.#change('compact', () => watched(options, (watch) => this.#native.compact(watch)))
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
   * @param keys as {@link open} takes them, all that the kind needs
   * @param options who watches
   * @returns when the new file is in place
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` if something cannot be read that was to be
   *   rewritten, and as {@link flush}; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
   * await bank.write('a', 'confidential')
   * const keys = CofferBank.generateKeys()
   * await bank.rekey({ ...keys, cipher: 'aes-ocb' })
   * await bank.close()
   * ```
   */
  async rekey(keys: NewKeys, options: WatchOptions = {}): Promise<void> {
    checkOptions(options, 'rekey', watchOptions)
    return this.#rekey('rekey', () => checkNewKeys(this.#kind, keys), options)
  }

  /**
   * Rewrites the coffer under keys from a passphrase, with a new salt: see {@link rekey}. A coffer
   * that was made with keys has a passphrase afterwards.
   *
   * @param passphrase the new passphrase, or the same again to change its strength alone
   * @param options how hard it is to guess, and who watches
   * @returns when the new file is in place
   * @throws {@link CofferError} `ERR_COFFER_LIMIT` also if the system has not the memory, and as
   *   {@link rekey}
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
   * await store.changePassphrase('anvil mosaic turnip lantern', { kdf: { memory: 64 * 1024 * 1024 } })
   * await store.close()
   * ```
   */
  async changePassphrase(passphrase: Passphrase, options: ChangePassphraseOptions = {}): Promise<void> {
    const { kdf, ...watching } = checkOptions(options, 'changePassphrase', ['kdf', ...watchOptions])
    return this.#rekey('changePassphrase', () => checkPassphraseFor(this.#kind, passphrase, kdf), watching)
  }

  /**
   * What the coffer is, and how it fills its file.
   *
   * @returns its kind and layers, and sizes in bytes
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a', 'a line that repeats itself'.repeat(10_000))
   * await box.flush()
   * const { members, ratio } = await box.info()
   * console.log(members, ratio)
   * await box.close()
   * ```
   */
  async info(): Promise<Info> {
    const info = await settled(this.#native.info())
    const { infoFrom } = await import('./info.ts')
    return infoFrom(this.path, info)
  }

  /**
   * Waits for the calls under way, commits, and releases the file and its locks. May be called more
   * than once. If the commit fails, the coffer is closed all the same.
   *
   * @throws {@link CofferError} what kept the last changes from being committed: as {@link flush}
   */
  async close(): Promise<void> {
    await this.#change('close', (changes) => {
      changes.end(new CofferError('ERR_COFFER_CLOSED', `${this.path} is closed`, { path: this.path }))
      return settled(this.#native.close())
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

  /**
   * The members of one state of the coffer, each with its version: those of the names, with all that
   * is below them, or all.
   *
   * @internal
   */
  async [VERSIONS](names?: readonly string[]): Promise<{ member: Member; version: Version }[]> {
    const versions = await settled(this.#native.versions(names && [...names]))
    return versions.map(({ member: native, version }) => {
      const member = memberFrom(native)
      return { member, version: Version.of(this.#native, member, version) }
    })
  }

  /**
   * What `console.log` shows: no keys, no contents.
   *
   * @internal
   */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { path, mode, closed, modified } = this
    return `${this.constructor.name} ${inspect({ path, mode, closed, modified }, options)}`
  }

  async #extract(
    names: string[] | undefined,
    target: string,
    options: ExtractOptions,
    plugins = false,
  ): Promise<Extracted> {
    const from = options.from === undefined ? undefined : checkName(options.from, 'from')
    const replace = checkBoolean(options.replace, 'replace') ?? true
    const preserve = checkBoolean(options.preserve, 'preserve') ?? false
    const extraction = { names, recursive: true, from, plugins, replace, preserve, ...checkSizeLimits(options) }
    return watched(options, (watch) => this.#native.extract(extraction, target, watch))
  }

  async #rekey(call: string, check: () => Secret, options: WatchOptions): Promise<void> {
    await this.#change(call, async () => {
      const secret = check()
      const rekeying = watched(options, (watch) => this.#native.rekey(secret, watch))
      // The engine has copies of its own by now, and wipes them when it is done.
      wipe(secret)
      await rekeying
    })
  }

  /** Makes a change, which waits while a batch of the coffer is open. */
  #change<T>(call: string, change: (changes: Changes) => Promise<T>): Promise<T> {
    return Batch.waiting(this, call, () => change(this.#changes))
  }
}

/** What the constructor is given by `open`, and by nothing else. */
function checkOpened(opened: Opened, label: string): Opened {
  if (typeof opened?.native?.status === 'function') return opened
  throw invalid(`a ${label} comes from ${label}.open(path, mode, options), not from a constructor`)
}
