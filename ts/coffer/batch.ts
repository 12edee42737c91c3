import { AsyncLocalStorage } from 'node:async_hooks'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import type { MemberInput } from '../member/input.ts'
import type { Member } from '../member/member.ts'
import type { SourceOptions, WriteOptions } from '../member/options.ts'
import type { CofferReader } from './reader.ts'
import type { Added, AddOptions, DeleteOptions } from './writes.ts'
import { MemberWrites } from './writes.ts'

/** The innermost batch that the running code is inside of. */
const running = new AsyncLocalStorage<Scope>()

/** The key of the method with which {@link importTar} creates empty directories. */
export const MAKE_DIRECTORY = Symbol('makeDirectory')

/** The open batch of each coffer. All other changes of the coffer wait for its end. */
const open = new WeakMap<CofferReader, Scope>()

/** A batch whose function is running. */
interface Scope {
  readonly coffer: CofferReader
  readonly outer: Scope | undefined
  /** The coffers that its function, or a batch inside of it, waits for: one entry for each call. */
  readonly waits: CofferReader[]
}

/** A scope and the scopes around it. */
function* around(scope: Scope | undefined): Generator<Scope, void, undefined> {
  for (let at = scope; at; at = at.outer) yield at
}

/** Whether the open batch of a coffer waits, directly or through others, for the end of one of some batches. */
function waitsFor(coffer: CofferReader, scopes: ReadonlySet<Scope>, seen = new Set<CofferReader>()): boolean {
  const holder = open.get(coffer)
  if (holder === undefined || seen.has(coffer)) return false
  if (scopes.has(holder)) return true
  seen.add(coffer)
  return holder.waits.some((other) => waitsFor(other, scopes, seen))
}

/**
 * Changes to a coffer that become one commit: all of them, or none. {@link Coffer.batch} creates it. Its
 * calls are those of the coffer, with the same errors; after its end each is `ERR_COFFER_INVALID_ARG`.
 * Its reads see its changes.
 *
 * @example
 * ```js
 * import { CofferBank } from 'coffer'
 *
 * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
 * await bank.write('alice', '100')
 * const given = bank.batch(async (batch) => {
 *   await batch.delete('alice')
 *   console.log(await batch.has('alice')) // false
 *   throw new Error('changed my mind')
 * })
 * await given.catch((error) => console.log(error.message))
 * console.log(await bank.readText('alice')) // 100
 * await bank.close()
 * ```
 */
export class Batch {
  readonly #coffer: CofferReader
  readonly #writes: MemberWrites
  #ended = false

  private constructor(coffer: CofferReader, writes: MemberWrites) {
    this.#coffer = coffer
    this.#writes = writes
  }

  /** Runs a function in a new batch, and commits if it succeeds. */
  static async run<T>(coffer: CofferReader, native: NativeCoffer, work: (batch: Batch) => Promise<T>): Promise<T> {
    if (typeof work !== 'function') {
      throw invalid(`a batch takes a function, batch(async (b) => { … }), not ${shown(work)}`)
    }
    const token = await Batch.waiting(coffer, 'batch', () => settled(native.begin()))
    const batch = new Batch(coffer, new MemberWrites(native, token))
    const scope: Scope = { coffer, outer: running.getStore(), waits: [] }
    open.set(coffer, scope)
    const end = async (commit: boolean): Promise<void> => {
      batch.#ended = true
      open.delete(coffer)
      await settled(native.end(token, commit))
    }
    let result: T
    try {
      result = await running.run(scope, () => work(batch))
    } catch (error) {
      // The first error is thrown; a coffer that cannot roll back fails at its next call.
      await end(false).catch(() => {})
      throw error
    }
    await end(true)
    return result
  }

  /**
   * Throws if a change to a coffer would deadlock: if it would wait for the batch that it is made in, or
   * for one that waits for that batch.
   */
  static check(coffer: CofferReader, call: string): void {
    const scopes = new Set(around(running.getStore()))
    const holder = open.get(coffer)
    if (holder && scopes.has(holder)) {
      throw invalid(`${call} would wait for the batch that it is called in: call it on the batch, or after it`)
    }
    if (scopes.size === 0 || !waitsFor(coffer, scopes)) return
    throw new CofferError(
      'ERR_COFFER_DEADLOCK',
      `${call} would wait for ever: the open batch of ${coffer.path} waits for the batch that it is called in. Make batches of several coffers in the same order everywhere`,
      { path: coffer.path },
    )
  }

  /** Runs a call that waits for the open batch of a coffer, if there is one. */
  static async waiting<T>(coffer: CofferReader, call: string, work: () => Promise<T>): Promise<T> {
    const scope = running.getStore()
    if (scope === undefined) return work()
    Batch.check(coffer, call)
    for (const { waits } of around(scope)) waits.push(coffer)
    try {
      return await work()
    } finally {
      for (const { waits } of around(scope)) waits.splice(waits.indexOf(coffer), 1)
    }
  }

  /**
   * Creates or replaces a member: see {@link Coffer.write}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options permissions, time, and a signal for streams
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.write}
   */
  async write(name: string, data: MemberInput, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#open().write(name, data, options)
  }

  /**
   * Appends to a member: see {@link Coffer.append}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options a signal for streams
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.append}
   */
  async append(name: string, data: MemberInput, options: SourceOptions = {}): Promise<void> {
    return this.#open().append(name, data, options)
  }

  /**
   * Writes a member of lines: see {@link Coffer.writeLines}.
   *
   * @param name the name of the member
   * @param lines any iterable of strings
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.writeLines}
   */
  async writeLines(name: string, lines: Iterable<string>): Promise<void> {
    return this.#open().writeLines(name, lines)
  }

  /**
   * Stores a value as CBOR: see {@link Coffer.dump}.
   *
   * @param name the name of the member
   * @param value the value
   * @param options permissions and time
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.dump}
   */
  async dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return this.#open().dump(name, value, options)
  }

  /**
   * Stores a file, or a directory with everything below it: see {@link Coffer.add}.
   *
   * @param source a path or a `file:` URL
   * @param name the name in the coffer: the last component of `source` by default
   * @param options replacement, links, cancellation and progress
   * @returns what was stored and left out
   * @throws {@link CofferError} as {@link Coffer.add}
   */
  async add(source: string | URL, name?: string, options: AddOptions = {}): Promise<Added> {
    return this.#open().add(source, name, options)
  }

  /**
   * Stores an empty directory. A directory with members in it needs no entry of its own.
   *
   * @internal
   * @returns whether it was stored
   */
  async [MAKE_DIRECTORY](name: string, attributes: WriteOptions): Promise<boolean> {
    return this.#open().makeDirectory(name, attributes)
  }

  /**
   * Deletes a member, or a directory: see {@link Coffer.delete}.
   *
   * @param name the name of the member
   * @param options whether a directory is deleted with everything below it
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.delete}
   */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#open().delete(name, options)
  }

  /**
   * Reads a whole member: see {@link Coffer.read}.
   *
   * @param name the name of the member
   * @returns its bytes
   * @throws {@link CofferError} as {@link Coffer.read}
   */
  async read(name: string): Promise<Buffer> {
    return this.#coffer.read(name)
  }

  /**
   * Reads a whole member as text: see {@link Coffer.readText}.
   *
   * @param name the name of the member
   * @param encoding its encoding: `utf8` by default
   * @returns its text
   * @throws {@link CofferError} as {@link Coffer.read}
   */
  async readText(name: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
    return this.#coffer.readText(name, encoding)
  }

  /**
   * The value that `dump` stored: see {@link Coffer.load}.
   *
   * @typeParam T the type of the value, which is not checked
   * @param name the name of the member
   * @returns the value
   * @throws {@link CofferError} as {@link Coffer.load}
   */
  async load<T = unknown>(name: string): Promise<T> {
    return this.#coffer.load<T>(name)
  }

  /**
   * Whether there is a member or a directory of this name: see {@link Coffer.has}.
   *
   * @param name the name
   * @returns whether it exists
   * @throws {@link CofferError} as {@link Coffer.has}
   */
  async has(name: string): Promise<boolean> {
    return this.#coffer.has(name)
  }

  /**
   * The attributes of a member or directory: see {@link Coffer.stat}.
   *
   * @param name the name
   * @returns the member
   * @throws {@link CofferError} as {@link Coffer.stat}
   */
  async stat(name: string): Promise<Member> {
    return this.#coffer.stat(name)
  }

  /**
   * All members, or those whose names begin with a prefix: see {@link Coffer.members}.
   *
   * @param prefix any prefix of names
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} as {@link Coffer.members}
   */
  async members(prefix?: string): Promise<Member[]> {
    return this.#coffer.members(prefix)
  }

  #open(): MemberWrites {
    if (this.#ended) throw invalid('the batch has ended: await every change before its function returns')
    return this.#writes
  }
}
