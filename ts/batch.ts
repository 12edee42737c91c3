import { AsyncLocalStorage } from 'node:async_hooks'
import type { Added, AddOptions, DeleteOptions } from './changes.ts'
import { Changes } from './changes.ts'
import type { Coffer } from './coffer.ts'
import { invalid } from './errors.ts'
import type { Member } from './member.ts'
import { type NativeCoffer, settled } from './native.ts'
import type { SourceOptions, WriteOptions } from './options.ts'
import type { Source } from './source.ts'

/** The batches that the running code is inside of, innermost first. */
const running = new AsyncLocalStorage<Scope>()

/** What {@link importTar} makes empty directories with. */
export const MAKE_DIRECTORY = Symbol('makeDirectory')

interface Scope {
  readonly batch: Batch
  readonly outer: Scope | undefined
}

/**
 * Changes to a coffer that become one commit: all of them, or none. {@link Coffer.batch} makes it.
 * Its calls are those of the coffer, and fail as those do; after its end each
 * is `ERR_COFFER_INVALID_ARG`. What it reads is as its changes have left it.
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
  readonly #coffer: Coffer
  readonly #changes: Changes
  #ended = false

  private constructor(coffer: Coffer, changes: Changes) {
    this.#coffer = coffer
    this.#changes = changes
  }

  /** Runs a function in a batch of its own, and commits if it succeeds. */
  static async run<T>(coffer: Coffer, native: NativeCoffer, work: (batch: Batch) => Promise<T>): Promise<T> {
    if (typeof work !== 'function') throw invalid('a batch takes a function: batch(async (b) => { … })')
    const token = await settled(native.begin())
    const batch = new Batch(coffer, new Changes(native, token))
    let result: T
    try {
      result = await running.run({ batch, outer: running.getStore() }, () => work(batch))
    } catch (error) {
      batch.#ended = true
      // What went wrong first is what counts; a coffer that cannot roll back says so at its next call.
      await settled(native.end(token, false)).catch(() => {})
      throw error
    }
    batch.#ended = true
    await settled(native.end(token, true))
    return result
  }

  /** Whether the running code is inside a batch of a coffer, whose end the coffer's own changes would wait for. */
  static within(coffer: Coffer): boolean {
    for (let scope = running.getStore(); scope; scope = scope.outer) {
      if (scope.batch.#coffer === coffer && !scope.batch.#ended) return true
    }
    return false
  }

  /**
   * Creates or replaces a member: see {@link Coffer.write}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options permissions and time, and what stops a source
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.write}
   */
  async write(name: string, data: Source, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#open().write(name, data, options)
  }

  /**
   * Adds to the end of a member: see {@link Coffer.append}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options what stops a source
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.append}
   */
  async append(name: string, data: Source, options: SourceOptions = {}): Promise<void> {
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
   * Stores a file, or a directory with all that is below it: see {@link Coffer.add}.
   *
   * @param source a path or a `file:` URL
   * @param name what it is called in the coffer: the last component of `source` by default
   * @param options what is replaced, links, and who watches
   * @returns what was stored, and what was left out
   * @throws {@link CofferError} as {@link Coffer.add}
   */
  async add(source: string | URL, name?: string, options: AddOptions = {}): Promise<Added> {
    return this.#open().add(source, name, options)
  }

  /**
   * Makes a directory a member, unless there are members in it, which say that it is there.
   *
   * @internal
   * @returns whether it is one now
   */
  async [MAKE_DIRECTORY](name: string, attributes: WriteOptions): Promise<boolean> {
    return this.#open().makeDirectory(name, attributes)
  }

  /**
   * Removes a member, or a directory: see {@link Coffer.delete}.
   *
   * @param name the name of the member
   * @param options whether a directory goes with all that is below it
   * @returns when the change is part of the batch
   * @throws {@link CofferError} as {@link Coffer.delete}
   */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#open().delete(name, options)
  }

  /**
   * Reads a member whole: see {@link Coffer.read}.
   *
   * @param name the name of the member
   * @returns its bytes
   * @throws {@link CofferError} as {@link Coffer.read}
   */
  async read(name: string): Promise<Buffer> {
    return this.#coffer.read(name)
  }

  /**
   * Reads a member whole, as text: see {@link Coffer.readText}.
   *
   * @param name the name of the member
   * @param encoding how it is encoded: `utf8` by default
   * @returns its text
   * @throws {@link CofferError} as {@link Coffer.read}
   */
  async readText(name: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
    return this.#coffer.readText(name, encoding)
  }

  /**
   * The value that `dump` stored: see {@link Coffer.load}.
   *
   * @typeParam T what the value is taken for: it is not checked
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
   * @returns whether there is
   * @throws {@link CofferError} as {@link Coffer.has}
   */
  async has(name: string): Promise<boolean> {
    return this.#coffer.has(name)
  }

  /**
   * What is known of a member or a directory: see {@link Coffer.stat}.
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
   * @param prefix any beginning of a name
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} as {@link Coffer.members}
   */
  async members(prefix?: string): Promise<Member[]> {
    return this.#coffer.members(prefix)
  }

  #open(): Changes {
    if (this.#ended) throw invalid('the batch has ended: await every change before its function returns')
    return this.#changes
  }
}
