import type { Readable } from 'node:stream'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkEncoding, checkName, checkPath, shown } from '../check.ts'
import { CofferError } from '../errors.ts'
import { splitLines, streamLines } from '../member/lines.ts'
import { type Member, memberFrom } from '../member/member.ts'
import { checkReadStream, type ReadStreamOptions, readStreamOptions } from '../member/options.ts'
import { MemberSnapshot, SNAPSHOTS } from '../member/snapshot.ts'
import { MemberReadable } from '../member/streams.ts'
import { MOST_BYTES, mostBytesOf, textOf } from '../member/text.ts'
import { watched } from '../progress.ts'
import {
  checkExtract,
  checkExtractAll,
  type ExtractAllOptions,
  type Extracted,
  type ExtractOptions,
} from './extraction.ts'
import { CofferHandle } from './handle.ts'
import type { Opened } from './open.ts'

/** The calls that read the members of an open coffer. */
export class CofferReader extends CofferHandle implements AsyncIterable<Member> {
  readonly #native: NativeCoffer

  /** @internal */
  protected constructor(opened: Opened) {
    super(opened)
    this.#native = opened.native
  }

  /**
   * Reads a whole member.
   *
   * @param name the name of the member
   * @returns its bytes
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_CORRUPT`, `…_STALE` (a writer has
   *   replaced or deleted it in the file), `…_LIMIT` (no `Buffer` can hold it),
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
   * Reads a whole member as text.
   *
   * @param name the name of the member
   * @param encoding its encoding: `utf8` by default
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
   * The value that {@link Coffer.dump} stored, or that another program wrote as CBOR (RFC 8949). Nothing in it is
   * executed.
   *
   * @typeParam T the type of the value, which is not checked
   * @param name the name of the member
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
  async load<T = unknown>(name: string): Promise<T> {
    const bytes = await this.read(name)
    const { decode } = await import('../cbor/decode.ts')
    return decode(bytes, { path: this.path, member: name }) as T
  }

  /**
   * Reads a whole UTF-8 member as lines.
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
   * The lines of a UTF-8 member, without their ends. The member is read in parts, so it may be larger than
   * memory. See {@link readLines} for an example.
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
   * A stream of a member, or of a part of it, which reads ahead up to 4 MiB. It stays with the version
   * that exists when it opens.
   *
   * @param name the name of the member
   * @param options which part, and the size of chunks
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
    return new MemberReadable(() => MemberSnapshot.open(this.#native, name), options)
  }

  /**
   * Whether there is a member of this name, or a directory, also one that exists only by the members
   * below it.
   *
   * @param name the name
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
  async has(name: string): Promise<boolean> {
    return settled(this.#native.has(checkName(name)))
  }

  /**
   * The attributes of a member or directory. A directory that exists only by the members below it has the
   * time of the newest of them.
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
   * @param prefix any prefix of names; for the content of a directory, end it with `/`
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
   * Iterates over the members, as {@link members} returns them at the start: `for await (const member of coffer)`.
   *
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Member, void, undefined> {
    yield* await this.members()
  }

  /**
   * Extracts a member, or a directory with everything below it, to its full name below the target:
   * `extract('a/b', 'out')` writes `out/a/b`. Nothing is ever written outside the target, and no link in
   * it is followed. A member that is damaged, or that the system refuses to create, does not stop the
   * others: the error at the end names it, and what was written stays.
   *
   * @param name the name of the member or directory
   * @param target a directory, which is created if it is missing: the current one by default
   * @param options replacement, limits, cancellation and progress
   * @returns the extent of what was written
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
    const extraction = checkExtract(name, options)
    const directory = checkPath(target, 'the target of extract')
    return watched(options, (watch) => this.#native.extract(extraction, directory, watch))
  }

  /**
   * Extracts everything, or the given members, below the target: see {@link extract}. The records of plugins
   * are extracted only if they are named or with `plugins`, and without permissions for others.
   *
   * @param target a directory, which is created if it is missing: the current one by default
   * @param options the members, and as for {@link extract}
   * @returns the extent of what was written
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
  async [SNAPSHOTS](names?: readonly string[]): Promise<{ member: Member; version: MemberSnapshot }[]> {
    const versions = await settled(this.#native.versions(names && [...names]))
    return versions.map(({ member: native, version }) => {
      const member = memberFrom(native)
      return { member, version: MemberSnapshot.of(this.#native, member, version) }
    })
  }
}
