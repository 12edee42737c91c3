import type { Readable } from 'node:stream'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkBoolean, checkEncoding, checkName, checkOptions, checkPath, checkSignal, shown } from '../check.ts'
import { CofferError } from '../errors.ts'
import { bytesFrom, type CofferBytes } from '../member/bytes.ts'
import { streamLines } from '../member/lines.ts'
import { type BigIntMember, bigIntMemberFrom, type Member, memberFrom } from '../member/member.ts'
import {
  checkReadStream,
  type LinesOptions,
  type NoOptions,
  type ReadStreamOptions,
  readStreamOptions,
  type StatOptions,
  type TextOptions,
} from '../member/options.ts'
import { all, checkQuery, type MemberQuery, pages } from '../member/query.ts'
import { MemberSnapshot, SNAPSHOTS } from '../member/snapshot.ts'
import { MemberReadable } from '../member/streams.ts'
import { MOST_BYTES, mostBytesOf, textOf } from '../member/text.ts'
import { watched } from '../progress.ts'
import type { CofferReader } from './calls.ts'
import {
  checkExtract,
  checkExtractAll,
  type ExtractAllOptions,
  type ExtractOptions,
  type ExtractResult,
} from './extraction.ts'
import { CofferHandle } from './handle.ts'
import type { OpenedCoffer } from './open.ts'

/** An open coffer with the calls that read its members. */
export class CofferReads extends CofferHandle implements CofferReader {
  readonly #native: NativeCoffer

  /** @param opened the coffer that `open` has opened */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
    this.#native = opened.native
  }

  /**
   * Reads a whole member.
   *
   * @param name the name of the member
   * @param options none
   * @returns its bytes
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_IS_DIRECTORY`, `…_CORRUPT`, `…_STALE` (a writer has
   *   replaced or deleted it in the file), `…_LIMIT` (no `Buffer` can hold it), `…_TOO_LARGE` (`maxMemberSize`),
   *   `…_INVALID_ARG`, `…_CLOSED`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('data', new Uint8Array([1, 2, 3]))
   * console.log(await box.read('data'), await box.readText('data', { encoding: 'hex' }))
   * await box.close()
   * ```
   */
  async read(name: string, options: NoOptions = {}): Promise<CofferBytes> {
    checkOptions(options, 'read', [])
    return bytesFrom(await settled(this.#native.read(checkName(name), MOST_BYTES)))
  }

  /**
   * Reads a whole member as text.
   *
   * @param name the name of the member
   * @param options its encoding: `utf8` by default
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
  async readText(name: string, options: TextOptions = {}): Promise<string> {
    const encoding = checkEncoding(checkOptions(options, 'readText', ['encoding']).encoding) ?? 'utf8'
    const bytes = await settled(this.#native.read(checkName(name), mostBytesOf(encoding)))
    return textOf(bytes, encoding, name)
  }

  /**
   * The value that {@link Coffer.dump} stored, or that another program wrote as CBOR (RFC 8949). Nothing in it is
   * executed.
   *
   * @typeParam T the type of the value, which is not checked
   * @param name the name of the member
   * @param options none
   * @returns the value
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` also if the member is not CBOR, or has tags
   *   without a counterpart in JavaScript. `…_LIMIT` also if it has more than 401 levels, or would take
   *   more than half of the free heap of JavaScript. And as {@link read}
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
  async load<T = unknown>(name: string, options: NoOptions = {}): Promise<T> {
    checkOptions(options, 'load', [])
    const bytes = await this.read(name)
    const { decode } = await import('../cbor/decode.ts')
    return decode(bytes, { path: this.path, member: name }) as T
  }

  /**
   * The lines of a UTF-8 member, without their ends (`\n` or `\r\n`). The member is read in parts, so it may be
   * larger than memory; each line is held in memory. A loop gathers them, or `Array.fromAsync` from Node.js 22 on.
   *
   * @param name the name of the member
   * @param options a signal that ends it
   * @returns the lines
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; while it is iterated
   *   `…_STALE` also if the member is replaced meanwhile, and as {@link read}; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.writeLines('hosts', ['alpha', 'beta'])
   * for await (const host of box.readLines('hosts')) console.log(host)
   * await box.close()
   * ```
   */
  readLines(name: string, options: LinesOptions = {}): AsyncGenerator<string, void, undefined> {
    checkName(name)
    const signal = checkSignal(checkOptions(options, 'readLines', ['signal']).signal)
    let own: NativeCoffer | undefined
    return streamLines((start, length, version) => {
      signal?.throwIfAborted()
      own ??= this.#native.pinned() ?? this.#native
      return settled(own.readRange(name, start, length, version))
    })
  }

  /**
   * A stream of a member, or of a part of it, which reads ahead up to 4 MiB. It stays with the version
   * that exists when it opens.
   *
   * @param name the name of the member
   * @param options which part, and the size of chunks
   * @returns the stream. It fails as {@link read}, with `ERR_COFFER_STALE` also once the member is
   *   replaced or deleted, and with the signal's reason
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; the stream fails as {@link read}, and
   *   with `…_STALE` also if the member is replaced meanwhile
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
    return new MemberReadable(() => MemberSnapshot.open(this, this.#native, name), options)
  }

  /**
   * Whether there is a member of this name, or a directory, also one that exists only by the members
   * below it.
   *
   * @param name the name
   * @param options none
   * @returns whether it exists
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
  async has(name: string, options: NoOptions = {}): Promise<boolean> {
    checkOptions(options, 'has', [])
    return settled(this.#native.has(checkName(name)))
  }

  /**
   * The attributes of a member or directory. A directory that exists only by the members below it has the
   * time of the newest of them.
   *
   * @param name the name
   * @param options `throwIfNoEntry: false`, as in `fs`, for undefined in place of an error; `bigint: true` for
   *   `mtimeNs`
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
   * console.log(await box.stat('c', { throwIfNoEntry: false })) // undefined
   * await box.close()
   * ```
   */
  async stat(
    name: string,
    options: StatOptions & { bigint: true; throwIfNoEntry: false },
  ): Promise<BigIntMember | undefined>
  /**
   * The same, with its time in nanoseconds.
   *
   * @param name the name
   * @param options `bigint: true`
   * @returns the member
   * @throws {@link CofferError} as the first form
   */
  async stat(name: string, options: StatOptions & { bigint: true }): Promise<BigIntMember>
  /**
   * The same, or undefined if there is none.
   *
   * @param name the name
   * @param options `throwIfNoEntry: false`
   * @returns the member, or undefined
   * @throws {@link CofferError} as the first form
   */
  async stat(name: string, options: StatOptions & { throwIfNoEntry: false }): Promise<Member | undefined>
  /**
   * The same, and an error if there is none.
   *
   * @param name the name
   * @param options none, or the defaults
   * @returns the member
   * @throws {@link CofferError} as the first form
   */
  async stat(name: string, options?: StatOptions): Promise<Member>
  async stat(name: string, options: StatOptions = {}): Promise<Member | undefined> {
    const { throwIfNoEntry, bigint } = checkOptions(options, 'stat', ['throwIfNoEntry', 'bigint'])
    const throws = checkBoolean(throwIfNoEntry, 'throwIfNoEntry') ?? true
    const convert = checkBoolean(bigint, 'bigint') ? bigIntMemberFrom : memberFrom
    const member = await settled(this.#native.stat(checkName(name)))
    if (member !== null) return convert(member)
    if (!throws) return undefined
    throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `${this.path} has no member ${shown(name, 'name')}`, {
      path: this.path,
      member: name,
    })
  }

  /**
   * The members that a query selects, all of them by default, as an array: one state of the coffer.
   *
   * @param query a prefix, a glob, where to begin, and how many
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, `…_CLOSED`; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * for (const name of ['a/1', 'a/2', 'ab']) await box.write(name, name)
   * console.log((await box.members({ prefix: 'a/' })).length) // 2
   * console.log((await box.members({ glob: 'a/*', after: 'a/1' })).map(({ name }) => name)) // [ 'a/2' ]
   * await box.close()
   * ```
   */
  async members(query: MemberQuery & { bigint: true }): Promise<BigIntMember[]>
  /**
   * The same, without the time in nanoseconds.
   *
   * @param query as for the first form
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} as the first form
   */
  async members(query?: MemberQuery): Promise<Member[]>
  async members(query: MemberQuery = {}): Promise<Member[]> {
    return all(this.#native, checkQuery(query, 'members'))
  }

  /**
   * The members that a query selects, one after another, read page by page: the first comes as soon in a coffer of a
   * million members as in one of ten. Each page is of the state of the coffer when it is read, so members that exist
   * throughout come once, in the order of their names.
   *
   * @param query as for {@link members}
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; while it is iterated `…_CLOSED`, or the signal's
   *   reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * for (const name of ['a/1', 'a/2', 'ab']) await box.write(name, name)
   * for await (const { name, size } of box.iterate({ prefix: 'a/' })) console.log(name, size)
   * await box.close()
   * ```
   */
  iterate(query: MemberQuery & { bigint: true }): AsyncGenerator<BigIntMember, void, undefined>
  /**
   * The same, without the time in nanoseconds.
   *
   * @param query as for the first form
   * @returns the members
   * @throws {@link CofferError} as the first form
   */
  iterate(query?: MemberQuery): AsyncGenerator<Member, void, undefined>
  iterate(query: MemberQuery = {}): AsyncGenerator<Member, void, undefined> {
    const checked = checkQuery(query, 'iterate')
    // The generator refers to the coffer, which is not collected while it is iterated.
    const coffer = this
    return (async function* () {
      for await (const page of pages(coffer.#native, checked)) {
        for (const member of page) {
          checked.signal?.throwIfAborted()
          yield member
        }
      }
    })()
  }

  /**
   * Iterates over all members: `for await (const member of coffer)`, as {@link iterate}.
   *
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`
   */
  [Symbol.asyncIterator](): AsyncGenerator<Member, void, undefined> {
    return this.iterate()
  }

  /**
   * Extracts members, and directories with everything below them, to their full names below the target:
   * `extract('a/b', 'out')` writes `out/a/b`. Nothing is ever written outside the target, and no link in
   * it is followed. A member that is damaged, or that the system refuses to create, does not stop the
   * others: the error at the end names it, and what was written stays.
   *
   * @param names the name of the member or directory, or several
   * @param target a directory, which is created if it is missing
   * @param options replacement, limits, cancellation and progress
   * @returns the extent of what was written
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_EXISTS` (without `replace: true`),
   *   `…_NAME_COLLISION` (two members have one name on the target's file system), `…_UNSAFE_PATH` (a link, or
   *   something of another type, is in the way), `…_TOO_LARGE`, `…_INVALID_ARG` also for a name that is not
   *   below `from` and where the coffer itself is in the way, and as {@link read} except `…_IS_DIRECTORY`; or
   *   the signal's reason
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
   * await box.extract(['reports'], 'out', { from: 'reports' }) // out/may.txt
   * await box.close()
   * ```
   */
  async extract(
    names: string | readonly string[],
    target: string | URL,
    options: ExtractOptions = {},
  ): Promise<ExtractResult> {
    const extraction = checkExtract(names, options)
    const directory = checkPath(target, 'the target of extract')
    return watched(options, (watch) => this.#native.extract(extraction, directory, watch))
  }

  /**
   * Extracts everything below the target: see {@link extract}. The records of plugins are extracted only with
   * `plugins`, and without permissions for others.
   *
   * @param target a directory, which is created if it is missing
   * @param options as for {@link extract}, and whether records of plugins take part
   * @returns the extent of what was written
   * @throws {@link CofferError} as {@link extract} except `…_MEMBER_NOT_FOUND`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * for (const name of ['a', 'b', 'c/d']) await box.write(name, name)
   * const { files } = await box.extractAll('all', { maxTotalSize: 1_000_000 })
   * console.log(files) // 3
   * await box.close()
   * ```
   */
  async extractAll(target: string | URL, options: ExtractAllOptions = {}): Promise<ExtractResult> {
    const extraction = checkExtractAll(options)
    const directory = checkPath(target, 'the target of extractAll')
    return watched(options, (watch) => this.#native.extract(extraction, directory, watch))
  }

  /**
   * Snapshots of the members of one state of the coffer: those of the names, with everything below them,
   * or all.
   *
   * @internal
   */
  async [SNAPSHOTS](names?: readonly string[]): Promise<{ member: BigIntMember; version: MemberSnapshot }[]> {
    const own = this.#native.pinned() ?? this.#native
    const versions = await settled(own.versions(names && [...names]))
    return versions.map(({ member: native, version }) => {
      const member = bigIntMemberFrom(native)
      return { member, version: MemberSnapshot.of(this, own, member, version) }
    })
  }
}
