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

interface Scope {
  readonly batch: Batch
  readonly outer: Scope | undefined
}

/** Changes to a coffer that become one commit: all of them, or none. See {@link Coffer.batch}. */
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

  /** As {@link Coffer.write}. */
  async write(name: string, data: Source, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#open().write(name, data, options)
  }

  /** As {@link Coffer.append}. */
  async append(name: string, data: Source, options: SourceOptions = {}): Promise<void> {
    return this.#open().append(name, data, options)
  }

  /** As {@link Coffer.writeLines}. */
  async writeLines(name: string, lines: Iterable<string>): Promise<void> {
    return this.#open().writeLines(name, lines)
  }

  /** As {@link Coffer.dump}. */
  async dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return this.#open().dump(name, value, options)
  }

  /** As {@link Coffer.add}. */
  async add(source: string | URL, name?: string, options: AddOptions = {}): Promise<Added> {
    return this.#open().add(source, name, options)
  }

  /** As {@link Coffer.delete}. */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#open().delete(name, options)
  }

  /** As {@link Coffer.read}; sees the changes of the batch. */
  async read(name: string): Promise<Buffer> {
    return this.#coffer.read(name)
  }

  /** As {@link Coffer.readText}; sees the changes of the batch. */
  async readText(name: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
    return this.#coffer.readText(name, encoding)
  }

  /** As {@link Coffer.load}; sees the changes of the batch. */
  async load<T = unknown>(name: string): Promise<T> {
    return this.#coffer.load<T>(name)
  }

  /** As {@link Coffer.has}; sees the changes of the batch. */
  async has(name: string): Promise<boolean> {
    return this.#coffer.has(name)
  }

  /** As {@link Coffer.stat}; sees the changes of the batch. */
  async stat(name: string): Promise<Member> {
    return this.#coffer.stat(name)
  }

  /** As {@link Coffer.members}; sees the changes of the batch. */
  async members(prefix?: string): Promise<Member[]> {
    return this.#coffer.members(prefix)
  }

  #open(): Changes {
    if (this.#ended) throw invalid('the batch has ended: await every change before its function returns')
    return this.#changes
  }
}
