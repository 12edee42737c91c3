import { shown } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { Plugin, type PluginHost } from '../coffer/plugins.ts'
import type { Cryptor } from '../crypt/cryptor.ts'
import { CofferError, invalid } from '../errors.ts'
import type { Trees } from '../rsync/trees.ts'

export type { Plugin, PluginClass, PluginHost } from '../coffer/plugins.ts'

declare module '../coffer/plugins.ts' {
  interface PluginHost {
    /** The coffer that the plugin belongs to. */
    readonly coffer: Coffer
    /**
     * Operations on directory trees outside the coffer.
     *
     * @internal
     */
    readonly trees: Trees
    /** Encryption of files outside the coffer with its key. */
    readonly crypt: Cryptor
  }
}

/**
 * A plugin with access to the whole coffer.
 *
 * @example
 * ```js
 * import { CofferNull, CofferPlugin } from 'coffer'
 *
 * class Count extends CofferPlugin {
 *   async files() {
 *     return (await this.coffer.members()).length
 *   }
 * }
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * await box.write('a', '1')
 * const count = await box.plugin(Count)
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
   * @param host the argument from {@link Coffer.plugin}
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

/** The permissions of an extracted record: for its owner only. */
const RECORD_MODE = 0o600

/**
 * A plugin with a record: a value that is stored as by {@link Coffer.dump}.
 *
 * @typeParam T the type of the value
 *
 * @example
 * ```js
 * import { CofferNull, RecordPlugin } from 'coffer'
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
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * const tags = await box.plugin(Tags)
 * await tags.tag('a.txt', 'red')
 * console.log(await tags.of('a.txt')) // red
 * await tags.close()
 * await box.close()
 * ```
 */
export abstract class RecordPlugin<T> extends Plugin {
  /** The name of the record, which must be below `.plugins/`: otherwise every call is `ERR_COFFER_INVALID_ARG`. */
  protected abstract readonly record: string
  readonly #coffer: Coffer

  /**
   * A plugin for one coffer.
   *
   * @param host the argument from {@link Coffer.plugin}
   */
  constructor(host: PluginHost) {
    super(host)
    this.#coffer = host.coffer
  }

  /**
   * The initial value of the record.
   *
   * @returns a new value
   */
  protected abstract empty(): T

  /**
   * Converts the stored value to the record. It may have been written by another program: override this to
   * validate it, and throw if it is invalid.
   *
   * @param stored the value as {@link Coffer.load} returns it
   * @returns the record
   */
  protected restore(stored: unknown): T {
    return stored as T
  }

  /**
   * Converts the record to the stored value: by default the record itself; override it together with
   * {@link restore}. The value is compressed before it is sealed, so its size reveals something of its
   * content: a record with secrets beside text that others choose should be stored in a form that does not
   * compress, and whose size is padded.
   *
   * @param record the record
   * @returns the value for {@link Coffer.dump}
   */
  protected stored(record: T): unknown {
    return record
  }

  /**
   * The current record. Changes to the returned value do not change the coffer.
   *
   * @returns the record
   * @throws {@link CofferError} as {@link Coffer.load} except `…_MEMBER_NOT_FOUND`: a missing record is
   *   {@link empty}, not an error. And errors of {@link restore}
   */
  protected async view(): Promise<T> {
    this.checkOpen()
    return this.#load()
  }

  /**
   * Changes the record: reads it, lets the function change it in place, and stores it, all in a batch.
   * Concurrent changes are made one after another, so none is lost. If the function throws, nothing
   * changes.
   *
   * @typeParam R the return type of the function
   * @param change the function that changes the record
   * @returns the function's result
   * @throws {@link CofferError} as {@link view} except `…_STALE`; `ERR_COFFER_MEMBER_EXISTS` if a file has the
   *   name of a directory above the record, and as {@link Coffer.batch}; or the error of the function
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
    // A template type cannot express this: the type of `record = '.plugins/tags'` in a class is `string`.
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
 * A plugin that uses the coffer's key on files outside the coffer.
 *
 * @example
 * ```js
 * import { writeFile } from 'node:fs/promises'
 * import { CofferStore, KeyPlugin } from 'coffer'
 *
 * class Outbox extends KeyPlugin {
 *   async put(path) {
 *     await this.crypt.encrypt(path, `${path}.out`)
 *   }
 * }
 *
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const outbox = await store.plugin(Outbox)
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
   * @param host the argument from {@link Coffer.plugin}
   */
  constructor(host: PluginHost) {
    super(host)
    this.#crypt = host.crypt
  }

  /**
   * Encryption and decryption with the coffer's key.
   *
   * @throws {@link CofferError} `ERR_COFFER_CLOSED` when the plugin is closed
   */
  protected get crypt(): Cryptor {
    this.checkOpen()
    return this.#crypt
  }
}
