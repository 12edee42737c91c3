import { AsyncLocalStorage } from 'node:async_hooks'
import type { Readable } from 'node:stream'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkOptions, shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'
import type { CofferBytes } from '../member/bytes.ts'
import type { MemberData } from '../member/input.ts'
import type { BigIntMember, Member } from '../member/member.ts'
import type {
  LinesOptions,
  NoOptions,
  ReadStreamOptions,
  SourceOptions,
  StatOptions,
  TextOptions,
  WriteOptions,
} from '../member/options.ts'
import type { MemberQuery } from '../member/query.ts'
import type { WatchOptions } from '../progress.ts'
import type { CofferWriter } from './calls.ts'
import { STIR } from './handle.ts'
import type { CofferReads } from './reader.ts'
import { ManyWrites, type MemberEntry, type WriteManyResult } from './write-many.ts'
import type { AddOptions, AddResult, DeleteOptions } from './writes.ts'
import { MemberWrites } from './writes.ts'

/** The innermost batch that the running code is inside of. */
const running = new AsyncLocalStorage<Scope>()

/** The key of the method with which {@link importTar} creates empty directories. */
export const MAKE_DIRECTORY: unique symbol = Symbol('makeDirectory')

/** The open batch of each coffer. All other changes of the coffer wait for its end. */
const open = new WeakMap<CofferReads, Scope>()

/** A batch whose function is running. */
interface Scope {
  readonly coffer: CofferReads
  readonly outer: Scope | undefined
  /** The number of the changes of the coffer that were called before the batch. */
  readonly began: number
  /** The coffers that its function, or a batch inside of it, waits for: one entry for each call. */
  readonly waits: CofferReads[]
}

/** The number of the changes that were called on each coffer so far. */
const called = new WeakMap<CofferReads, number>()

/** Counts a change, and returns the number of those before it. */
function count(coffer: CofferReads): number {
  const before = called.get(coffer) ?? 0
  called.set(coffer, before + 1)
  return before
}

/**
 * The promise of a change. In the function of a batch that the change waits for, waiting for it is an error: neither
 * would end.
 */
class Change<T> extends Promise<T> {
  #coffer: CofferReads | undefined
  #number = 0
  #settled = false

  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  /** @param number the changes called before it; infinity for one that is handed to the engine when its input has ended */
  static of<T>(coffer: CofferReads, number: number, work: Promise<T>): Change<T> {
    const change: Change<T> = new Change((resolve, reject) => {
      work.then(
        (value) => {
          change.#settled = true
          coffer[STIR]()
          resolve(value)
        },
        (error: unknown) => {
          change.#settled = true
          coffer[STIR]()
          reject(error)
        },
      )
    })
    change.#coffer = coffer
    change.#number = number
    return change
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise
  override then<R1 = T, R2 = never>(
    fulfilled?: ((value: T) => R1 | PromiseLike<R1>) | null,
    rejected?: ((reason: unknown) => R2 | PromiseLike<R2>) | null,
  ): Promise<R1 | R2> {
    const holder = this.#coffer && !this.#settled ? open.get(this.#coffer) : undefined
    if (holder === undefined || this.#number < holder.began) return super.then(fulfilled, rejected)
    for (const scope of around(running.getStore())) {
      if (scope !== holder) continue
      // It is waited for all the same, so its own error, later, is not one that has no handler.
      void super.then(undefined, () => {})
      return Promise.reject<T>(wouldWait(holder.coffer)).then(fulfilled, rejected)
    }
    return super.then(fulfilled, rejected)
  }
}

function wouldWait({ path }: CofferReads): CofferError {
  return new CofferError(
    'ERR_COFFER_DEADLOCK',
    `the function of a batch of ${path} waits for a change that was called on the coffer, which waits for the end of the batch: make the change on the batch, or wait for it after the batch`,
    { path },
  )
}

/** A scope and the scopes around it. */
function* around(scope: Scope | undefined): Generator<Scope, void, undefined> {
  for (let at = scope; at; at = at.outer) yield at
}

/** Whether the open batch of a coffer waits, directly or through others, for the end of one of some batches. */
function waitsFor(coffer: CofferReads, scopes: ReadonlySet<Scope>, seen = new Set<CofferReads>()): boolean {
  const holder = open.get(coffer)
  if (holder === undefined || seen.has(coffer)) return false
  if (scopes.has(holder)) return true
  seen.add(coffer)
  return holder.waits.some((other) => waitsFor(other, scopes, seen))
}

/**
 * Changes to a coffer that become one commit: all of them, or none. {@link Coffer.batch} creates it. Its
 * calls are those of the coffer, with the same errors; after its end each is `ERR_COFFER_BATCH_ENDED`.
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
export class CofferBatch implements CofferWriter {
  readonly #coffer: CofferReads
  readonly #writes: MemberWrites
  #ended = false
  /** The calls of {@link writeMany} that have not returned. */
  #many = 0
  /** Why nothing of the batch is kept. */
  #failed: { reason: unknown } | undefined

  private constructor(coffer: CofferReads, writes: MemberWrites) {
    this.#coffer = coffer
    this.#writes = writes
  }

  /**
   * Runs a function in a new batch, and commits if it succeeds.
   *
   * @internal
   */
  static run<T>(
    coffer: CofferReads,
    native: NativeCoffer,
    work: (batch: CofferBatch) => Promise<T>,
    options: NoOptions,
  ): Promise<T> {
    return CofferBatch.#tracked(coffer, 'batch', false, async () => {
      checkOptions(options, 'batch', [])
      return CofferBatch.#run(coffer, native, work)
    })
  }

  /**
   * Writes many members in a batch of their own. The first of them are copied during the call.
   *
   * @internal
   */
  static writeMany(
    coffer: CofferReads,
    native: NativeCoffer,
    entries: Iterable<MemberEntry> | AsyncIterable<MemberEntry>,
    options: WatchOptions,
  ): Promise<WriteManyResult> {
    return CofferBatch.#tracked(coffer, 'writeMany', false, async () => {
      const many = new ManyWrites(entries, options)
      many.prepare()
      return CofferBatch.#run(coffer, native, (batch) => batch.#writeMany(batch.#open(), () => many))
    })
  }

  static async #run<T>(
    coffer: CofferReads,
    native: NativeCoffer,
    work: (batch: CofferBatch) => Promise<T>,
  ): Promise<T> {
    if (typeof work !== 'function') {
      throw invalid(`a batch takes a function, batch(async (b) => { … }), not ${shown(work)}`)
    }
    const began = called.get(coffer) ?? 0
    const token = await CofferBatch.#waiting(coffer, () => settled(native.begin()))
    const batch = new CofferBatch(coffer, new MemberWrites(native, token))
    const scope: Scope = { coffer, outer: running.getStore(), began, waits: [] }
    open.set(coffer, scope)
    const end = async (commit: boolean): Promise<void> => {
      batch.#ended = true
      open.delete(coffer)
      batch.#writes.send()
      await settled(native.end(token, commit))
    }
    let result: T
    try {
      result = await running.run(scope, () => work(batch))
      batch.#checkMany()
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
   *
   * @internal
   */
  static check(coffer: CofferReads, call: string): void {
    const scopes = new Set(around(running.getStore()))
    const holder = open.get(coffer)
    if (holder && scopes.has(holder)) {
      throw new CofferError(
        'ERR_COFFER_IN_BATCH',
        `${call} would wait for the batch that it is called in: call it on the batch, or after it`,
        { path: coffer.path },
      )
    }
    if (scopes.size === 0 || !waitsFor(coffer, scopes)) return
    throw new CofferError(
      'ERR_COFFER_DEADLOCK',
      `${call} would wait for ever: the open batch of ${coffer.path} waits for the batch that it is called in. Make batches of several coffers in the same order everywhere`,
      { path: coffer.path },
    )
  }

  /**
   * Runs a call that waits for the open batch of a coffer, if there is one.
   *
   * @param late whether the change is handed to the engine only when its input has ended
   * @internal
   */
  static waiting<T>(coffer: CofferReads, call: string, work: () => Promise<T>, late = false): Promise<T> {
    return CofferBatch.#tracked(coffer, call, late, () => CofferBatch.#waiting(coffer, work))
  }

  /** Runs a call unless it would deadlock, with a promise that nothing can wait for in a batch that it waits for. */
  static #tracked<T>(coffer: CofferReads, call: string, late: boolean, work: () => Promise<T>): Promise<T> {
    const number = count(coffer)
    try {
      CofferBatch.check(coffer, call)
    } catch (error) {
      return Promise.reject(error)
    }
    return Change.of(coffer, late ? Number.POSITIVE_INFINITY : number, work())
  }

  static async #waiting<T>(coffer: CofferReads, work: () => Promise<T>): Promise<T> {
    const scope = running.getStore()
    if (scope === undefined) return work()
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
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.write} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async write(name: string, data: MemberData, options: WriteOptions & SourceOptions = {}): Promise<void> {
    return this.#open().write(name, data, options)
  }

  /**
   * Creates or replaces many members: see {@link Coffer.writeMany}. If it fails, nothing of the batch is kept: its other
   * calls are `ERR_COFFER_BATCH_ENDED` from then on, and the batch rejects with the error.
   *
   * @param entries the members: `[name, data]`, or `{ name, data, mode, mtime }`
   * @param options cancellation and progress
   * @returns the extent of what was written, when it is part of the batch
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.writeMany} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async writeMany(
    entries: Iterable<MemberEntry> | AsyncIterable<MemberEntry>,
    options: WatchOptions = {},
  ): Promise<WriteManyResult> {
    const writes = this.#open()
    const many = new ManyWrites(entries, options)
    return this.#writeMany(writes, () => {
      many.prepare()
      return many
    })
  }

  /** Writes many members of a coffer in a batch of their own. */
  async #writeMany(writes: MemberWrites, prepared: () => ManyWrites): Promise<WriteManyResult> {
    this.#many += 1
    try {
      return await writes.writeMany(prepared())
    } catch (reason) {
      this.#failed ??= { reason }
      throw reason
    } finally {
      this.#many -= 1
    }
  }

  /** Throws if a call of {@link writeMany} has failed, or has not returned. */
  #checkMany(): void {
    if (this.#failed) throw this.#failed.reason
    if (this.#many > 0) {
      throw new CofferError(
        'ERR_COFFER_BATCH_ENDED',
        'the function of the batch has returned while writeMany was still writing, so nothing of the batch is kept: await writeMany',
        { path: this.#coffer.path },
      )
    }
  }

  /**
   * Appends to a member: see {@link Coffer.append}.
   *
   * @param name the name of the member
   * @param data text, bytes, a stream or another iterable of them
   * @param options a signal for streams
   * @returns when the change is part of the batch
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.append} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async append(name: string, data: MemberData, options: SourceOptions = {}): Promise<void> {
    return this.#open().append(name, data, options)
  }

  /**
   * Writes a member of lines: see {@link Coffer.writeLines}.
   *
   * @param name the name of the member
   * @param lines any iterable of strings
   * @param options permissions and time
   * @returns when the change is part of the batch
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.writeLines} except
   *   `…_READ_ONLY`, `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async writeLines(name: string, lines: Iterable<string>, options: WriteOptions = {}): Promise<void> {
    return this.#open().writeLines(name, lines, options)
  }

  /**
   * Stores a value as CBOR: see {@link Coffer.dump}.
   *
   * @param name the name of the member
   * @param value the value
   * @param options permissions and time
   * @returns when the change is part of the batch
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.dump} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async dump(name: string, value: unknown, options: WriteOptions = {}): Promise<void> {
    return this.#open().dump(name, value, options)
  }

  /**
   * Stores a file, or a directory with everything below it: see {@link Coffer.add}.
   *
   * @param source a path or a `file:` URL
   * @param options the name in the coffer, replacement, links, cancellation and progress
   * @returns what was stored and left out
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.add} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH` and `…_DEADLOCK`
   */
  async add(source: string | URL, options: AddOptions = {}): Promise<AddResult> {
    return this.#open().add(source, options)
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
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.delete} except `…_READ_ONLY`,
   *   `…_CLOSED`, `…_IN_BATCH`, `…_DEADLOCK` and `…_IO`
   */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    return this.#open().delete(name, options)
  }

  /**
   * Reads a whole member: see {@link Coffer.read}.
   *
   * @param name the name of the member
   * @param options none
   * @returns its bytes
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.read} except `…_STALE`
   */
  async read(name: string, options: NoOptions = {}): Promise<CofferBytes> {
    return this.#reader().read(name, options)
  }

  /**
   * Reads a whole member as text: see {@link Coffer.readText}.
   *
   * @param name the name of the member
   * @param options its encoding: `utf8` by default
   * @returns its text
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.readText} except `…_STALE`
   */
  async readText(name: string, options: TextOptions = {}): Promise<string> {
    return this.#reader().readText(name, options)
  }

  /**
   * The lines of a member: see {@link Coffer.readLines}.
   *
   * @param name the name of the member
   * @param options a signal that ends it
   * @returns the lines
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED` at the call, and as {@link Coffer.readLines}
   */
  readLines(name: string, options: LinesOptions = {}): AsyncGenerator<string, void, undefined> {
    return this.#reader().readLines(name, options)
  }

  /**
   * The value that `dump` stored: see {@link Coffer.load}.
   *
   * @typeParam T the type of the value, which is not checked
   * @param name the name of the member
   * @param options none
   * @returns the value
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.load} except `…_STALE`
   */
  async load<T = unknown>(name: string, options: NoOptions = {}): Promise<T> {
    return this.#reader().load<T>(name, options)
  }

  /**
   * A stream of a member: see {@link Coffer.createReadStream}.
   *
   * @param name the name of the member
   * @param options which part, and the size of chunks
   * @returns the stream
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED` at the call, and as {@link Coffer.createReadStream}
   */
  createReadStream(name: string, options: ReadStreamOptions = {}): Readable {
    return this.#reader().createReadStream(name, options)
  }

  /**
   * Whether there is a member or a directory of this name: see {@link Coffer.has}.
   *
   * @param name the name
   * @param options none
   * @returns whether it exists
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.has}
   */
  async has(name: string, options: NoOptions = {}): Promise<boolean> {
    return this.#reader().has(name, options)
  }

  /**
   * The attributes of a member or directory: see {@link Coffer.stat}.
   *
   * @param name the name
   * @param options as for {@link Coffer.stat}
   * @returns the member
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.stat}
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
    return this.#reader().stat(name, options)
  }

  /**
   * The members that a query selects: see {@link Coffer.members}.
   *
   * @param query as for {@link Coffer.members}
   * @returns the members, sorted by the bytes of their names
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED`, and as {@link Coffer.members}
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
    return this.#reader().members(query)
  }

  /**
   * The members that a query selects, one after another: see {@link Coffer.iterate}.
   *
   * @param query as for {@link Coffer.members}
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED` at the call, and as {@link Coffer.iterate}
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
    return this.#reader().iterate(query)
  }

  /**
   * Iterates over all members: see {@link iterate}.
   *
   * @returns the members
   * @throws {@link CofferError} `ERR_COFFER_BATCH_ENDED` and `…_CLOSED`
   */
  [Symbol.asyncIterator](): AsyncGenerator<Member, void, undefined> {
    return this.iterate()
  }

  #reader(): CofferReads {
    this.#open()
    return this.#coffer
  }

  #open(): MemberWrites {
    if (this.#ended) {
      throw new CofferError(
        'ERR_COFFER_BATCH_ENDED',
        'the batch has ended: await every call of it before its function returns',
        { path: this.#coffer.path },
      )
    }
    if (this.#failed) {
      throw new CofferError(
        'ERR_COFFER_BATCH_ENDED',
        'writeMany has failed in the batch, so nothing of it is kept: let the function of the batch end',
        { path: this.#coffer.path, cause: this.#failed.reason },
      )
    }
    return this.#writes
  }
}
