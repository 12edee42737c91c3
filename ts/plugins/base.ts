import { shown } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import type { Cryptor } from '../crypt/cryptor.ts'
import { CofferError, invalid } from '../errors.ts'
import type { Trees } from '../rsync/trees.ts'

/** What a plugin is made from: {@link Coffer.plugin} hands it to the constructor. */
export interface PluginHost {
  /** The coffer that the plugin belongs to. */
  readonly coffer: Coffer
  /**
   * What the engine does with directory trees outside the coffer.
   *
   * @internal
   */
  readonly trees: Trees
  /** What encrypts with the coffer's key outside of it. */
  readonly crypt: Cryptor
}

/**
 * A class of plugins, as {@link registerPlugin} takes it.
 *
 * @typeParam P the plugin
 * @param host what {@link Coffer.plugin} hands over
 */
export type PluginClass<P extends Plugin = Plugin> = new (host: PluginHost) => P

/**
 * What all plugins have: an end. Plugins extend {@link CofferPlugin}, {@link RecordPlugin} or
 * {@link KeyPlugin}, which have examples.
 */
export abstract class Plugin implements AsyncDisposable {
  readonly #coffer: Coffer
  #closed = false

  constructor({ coffer }: PluginHost) {
    this.#coffer = coffer
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Ends the work with the plugin. The coffer stays open, and calls that have begun come to their
   * end. May be called more than once.
   */
  async close(): Promise<void> {
    this.#closed = true
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Throws if the plugin has been closed: for the beginning of a plugin's calls.
   *
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`
   */
  protected checkOpen(): void {
    if (!this.#closed) return
    const { path } = this.#coffer
    throw new CofferError('ERR_COFFER_CLOSED', 'the plugin is closed: ask the coffer for another', { path })
  }
}

/**
 * A plugin that has the whole coffer.
 *
 * @example
 * ```js
 * import { CofferNull, CofferPlugin, registerPlugin } from 'coffer'
 *
 * class Count extends CofferPlugin {
 *   async files() {
 *     return (await this.coffer.members()).length
 *   }
 * }
 * registerPlugin('count', Count)
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * await box.write('a', '1')
 * const count = await box.plugin('count')
 * console.log(await count.files()) // 1
 * await count.close()
 * await box.close()
 * ```
 */
export abstract class CofferPlugin extends Plugin {
  readonly #coffer: Coffer

  /**
   * A plugin for one coffer.
   *
   * @param host what {@link Coffer.plugin} hands over
   */
  constructor(host: PluginHost) {
    super(host)
    this.#coffer = host.coffer
  }

  /**
   * The coffer that the plugin belongs to.
   *
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` when the plugin is closed
   */
  protected get coffer(): Coffer {
    this.checkOpen()
    return this.#coffer
  }
}

/** Records are for their owner alone, should they be extracted. */
const RECORD_MODE = 0o600

/**
 * A plugin that has a record of its own: a value, stored as {@link Coffer.dump} does.
 *
 * @typeParam T the type of the value
 *
 * @example
 * ```js
 * import { CofferNull, RecordPlugin, registerPlugin } from 'coffer'
 *
 * class Tags extends RecordPlugin {
 *   record = '.plugins/tags'
 *   empty() {
 *     return new Map()
 *   }
 *   async tag(member, tag) {
 *     await this.update((tags) => tags.set(member, tag))
 *   }
 *   async of(member) {
 *     return (await this.view()).get(member)
 *   }
 * }
 * registerPlugin('tags', Tags)
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * const tags = await box.plugin('tags')
 * await tags.tag('a.txt', 'red')
 * console.log(await tags.of('a.txt')) // red
 * await tags.close()
 * await box.close()
 * ```
 */
export abstract class RecordPlugin<T> extends Plugin {
  /** The name of the record: a member below `.plugins/`, or else every call is `ERR_COFFER_INVALID_ARG`. */
  protected abstract readonly record: string
  readonly #coffer: Coffer

  /**
   * A plugin for one coffer.
   *
   * @param host what {@link Coffer.plugin} hands over
   */
  constructor(host: PluginHost) {
    super(host)
    this.#coffer = host.coffer
  }

  /**
   * What the record holds before anything was stored in it.
   *
   * @returns a new value
   */
  protected abstract empty(): T

  /**
   * The record, from what is stored. It may have been written by somebody else: override this to
   * look at it, and throw if it is not what it should be.
   *
   * @param stored the value as {@link Coffer.load} gives it
   * @returns the record
   */
  protected restore(stored: unknown): T {
    return stored as T
  }

  /**
   * What is stored for a record: the record itself, unless this is overridden, and {@link restore}
   * with it. The record is compressed before it is sealed, so its size tells something of what is in
   * it: of a record in which secrets are beside what others choose, store something that does not
   * compress, and whose size comes in steps.
   *
   * @param record the record
   * @returns the value that {@link Coffer.dump} gets
   */
  protected stored(record: T): unknown {
    return record
  }

  /**
   * The record as it is now. Changing what is returned changes nothing in the coffer.
   *
   * @returns the record
   * @throws {@link CofferError} as {@link Coffer.load}, and what {@link restore} throws; but a record
   *   that is not there is {@link empty}
   */
  protected async view(): Promise<T> {
    this.checkOpen()
    return this.#load()
  }

  /**
   * Changes the record: reads it, lets the function change it in place, and stores it, all in a
   * batch. So changes that are made at the same time wait for one another and none is lost, and if
   * the function throws, nothing is changed.
   *
   * @typeParam R what the function returns
   * @param change changes the record
   * @returns what the function returned
   * @throws {@link CofferError} as {@link view} and {@link Coffer.batch}
   */
  protected async update<R>(change: (record: T) => R | Promise<R>): Promise<R> {
    this.checkOpen()
    return this.#coffer.batch(async (batch) => {
      const record = await this.#load()
      const result = await change(record)
      await batch.dump(this.record, this.stored(record), { mode: RECORD_MODE })
      return result
    })
  }

  async #load(): Promise<T> {
    // Its type cannot say so: `record = '.plugins/tags'` in a class is a string of any value to the compiler.
    if (typeof this.record !== 'string' || !this.record.startsWith('.plugins/')) {
      throw invalid(`the record of a plugin must be a member below .plugins/, not ${shown(this.record, 'name')}`)
    }
    try {
      return this.restore(await this.#coffer.load(this.record))
    } catch (error) {
      if (error instanceof CofferError && error.code === 'ERR_COFFER_MEMBER_NOT_FOUND') return this.empty()
      throw error
    }
  }
}

/**
 * A plugin that works with the coffer's key on what is outside the coffer.
 *
 * @example
 * ```js
 * import { writeFile } from 'node:fs/promises'
 * import { CofferStore, KeyPlugin, registerPlugin } from 'coffer'
 *
 * class Outbox extends KeyPlugin {
 *   async put(path) {
 *     await this.crypt.encrypt(path, `${path}.out`)
 *   }
 * }
 * registerPlugin('outbox', Outbox)
 *
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const outbox = await store.plugin('outbox')
 * await writeFile('letter.txt', 'Dear Bob')
 * await outbox.put('letter.txt')
 * await store.close()
 * ```
 */
export abstract class KeyPlugin extends Plugin {
  readonly #crypt: Cryptor

  /**
   * A plugin for one coffer.
   *
   * @param host what {@link Coffer.plugin} hands over
   */
  constructor(host: PluginHost) {
    super(host)
    this.#crypt = host.crypt
  }

  /**
   * What encrypts and decrypts.
   *
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` when the plugin is closed
   */
  protected get crypt(): Cryptor {
    this.checkOpen()
    return this.#crypt
  }
}
