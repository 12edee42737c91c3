import type { NativeCoffer } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import { invalid } from '../errors.ts'
import type { CofferKeys } from '../keys/key.ts'
import { type CofferLayers, custom, type Kind } from '../keys/kinds.ts'
import type { KdfOptions, Passphrase } from '../keys/passphrase.ts'
import {
  type AnySecret,
  checkNewKeys,
  checkPassphraseFor,
  generateKeys,
  lend,
  type NewCofferKeys,
  type Secret,
  secretNames,
} from '../keys/secret.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { CofferBatch } from './batch.ts'
import { kindClass, kindOf } from './kind-of.ts'
import { type CofferClass, type OpenedCoffer, open } from './open.ts'
import { checkOpenMode, checkOpenNames, type OpenFlags, type OptionsOf } from './options.ts'
import { openPlugin, type Plugin, type PluginClass, type PluginName, type Plugins } from './plugins.ts'
import { type SalvageOptions, type SalvageResult, salvage, salvageOptions } from './salvage.ts'
import { CofferWrites } from './writer.ts'

/** The modes with which {@link Coffer.open} opens what exists. */
type ExistingFlags = 'r' | 'rb' | 'r+' | 'r+b' | 'rb+'

/** The layers of {@link Coffer.open}, without which it finds the kind of an existing coffer by itself. */
export interface NoLayers {
  /** No layer of members. */
  member?: undefined
  /** No layer of the container. */
  container?: undefined
}

/** What {@link Coffer.changePassphrase} takes. */
export interface ChangePassphraseOptions extends WatchOptions {
  /** The cost of deriving keys from the passphrase. Absent values are those of the old passphrase, if there was one. */
  kdf?: KdfOptions | undefined
}

/**
 * One file that holds many named files: compressed, sealed, indexed, and safe against crashes.
 *
 * This class takes any layers; {@link CofferBank}, {@link CofferStore}, {@link CofferMarket} and
 * {@link CofferNull} have fixed ones. Coffers come from {@link open}, not from a constructor.
 *
 * Calls may overlap; changes take effect in the order of the calls. The work is done by threads of the
 * engine.
 *
 * The names of members are relative, with `/` between components of at most 255 bytes, and have at
 * most 3,800 bytes. An invalid name, an unknown option or another invalid argument is
 * `ERR_COFFER_INVALID_ARG`; after {@link close} every call is `ERR_COFFER_CLOSED`.
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
export class Coffer extends CofferWrites {
  readonly #native: NativeCoffer
  readonly #kind: Kind

  /**
   * A class of the caller's that extends this one passes the argument on.
   *
   * @param opened the coffer that {@link open} has opened
   */
  protected constructor(opened: OpenedCoffer) {
    super(opened)
    this.#native = opened.native
    this.#kind = opened.kind
  }

  /**
   * Opens a coffer. It can be read in every mode.
   *
   * Without layers it opens a coffer that exists, with the mode `r` or `r+`, finds its kind by itself, and returns an
   * instance of the class of that kind. Keys or a passphrase never open a coffer that needs none. A coffer in PyCoffer's
   * format does not state its kind, so it is `ERR_COFFER_LEGACY` also with `legacy: true`.
   *
   * @typeParam Made the class that it is called on
   * @typeParam Flags the mode
   * @param this the class: a class of the caller's gets instances of its own
   * @param path a path or a `file:` URL
   * @param flags `r` to read; `r+` to read and change what exists; `a` the same, and to make what does not exist, which
   *   a notice tells; `w` to write anew; `x` to create. A `b` may follow
   * @param options the layers, the keys that they need, and other options. With the mode `w` a file that is no coffer,
   *   is damaged, is of another kind or is opened by other keys is left as it is, and an error, unless `replace` is
   *   true. The file that `w` replaces stays whole until the first commit
   * @returns the open coffer
   * @throws {@link CofferError} `ERR_COFFER_LOCKED` if another handle holds the lock, `…_NOT_FOUND`,
   *   `…_EXISTS` (mode `x`), `…_WRONG_KEY`, `…_WRONG_KIND`, `…_KEYLESS` (keys for a coffer that needs none),
   *   `…_CORRUPT`, `…_ROLLED_BACK` (`expect` is not in its history), `…_LEGACY`, `…_VERSION`, `…_LIMIT` (deriving keys
   *   takes more memory than there is, or than is allowed), `…_TOO_LARGE` (`maxCatalogSize`, and for a coffer that
   *   PyCoffer wrote the other limits), `…_UNSAFE_PATH` (a coffer that PyCoffer wrote), `…_INVALID_ARG` also for an
   *   option of another mode, `…_IO`; or the signal's reason
   *
   * @example
   * ```js
   * import { Coffer, CofferBank } from 'coffer'
   *
   * const passphrase = 'anvil mosaic turnip lantern'
   * const bank = await CofferBank.open('bank.coffer', 'x', { passphrase, kdf: { passes: 4 } })
   * await bank.write('a', 'confidential')
   * await bank.close()
   *
   * const again = await Coffer.open('bank.coffer', 'r', { passphrase, lockTimeout: 5_000 })
   * console.log(again instanceof CofferBank, await again.readText('a')) // true confidential
   * await again.close()
   * ```
   */
  static async open<Made extends Coffer = Coffer, Flags extends OpenFlags = OpenFlags>(
    this: CofferClass<Made>,
    path: string | URL,
    flags: Flags,
    options: OptionsOf<Flags> & AnySecret & (CofferLayers | (Flags extends ExistingFlags ? NoLayers : never)),
  ): Promise<Made> {
    const mode = checkOpenMode(flags)
    checkOpenNames(options, 'Coffer.open', mode, [...secretNames, 'member', 'container'])
    const { member, container, ...rest } = options
    if (member !== undefined || container !== undefined) {
      return open(this, path, mode, custom({ member, container } as CofferLayers), rest)
    }
    if (mode !== 'r' && mode !== 'r+') {
      throw invalid("Coffer.open needs the layers of a coffer that it may make: without them the mode is 'r' or 'r+'")
    }
    const kind = await kindOf(path)
    const made = this === (Coffer as CofferClass<unknown>) ? kindClass(kind, this) : this
    return open(made as CofferClass<Made>, path, mode, kind, rest)
  }

  /**
   * Copies every undamaged member of a coffer into a new one, of the same kind and with the same keys, also
   * if {@link open} refuses it. The damaged file is not changed. Members are taken from the newest readable
   * commit, and from blocks that no commit names: see `unverified` of the result, and section 26 of
   * docs/format.md.
   *
   * @param path the damaged coffer, which is only read
   * @param target the path of the new coffer, which must not exist
   * @param options the layers, and the keys that they need
   * @returns what was recovered, and what is lost
   * @throws {@link CofferError} `ERR_COFFER_EXISTS` if the target exists,
   *   `…_NOT_FOUND`, `…_LOCKED`, `…_WRONG_KEY`, `…_WRONG_KIND`, `…_KEYLESS`, `…_CORRUPT` if nothing could be
   *   read, `…_LEGACY`, `…_VERSION`, `…_LIMIT`, `…_INVALID_ARG`, `…_IO`; or the signal's reason.
   *   Then there is no new coffer
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
  static async salvage(
    path: string | URL,
    target: string | URL,
    options: SalvageOptions & AnySecret & CofferLayers,
  ): Promise<SalvageResult> {
    checkOptions(options, 'Coffer.salvage', [...salvageOptions, 'member', 'container'])
    return salvage(path, target, custom(options), options)
  }

  /**
   * New random keys of 32 bytes for the sealed layers.
   *
   * @param layers the layers, as {@link open} takes them
   * @returns the keys that they need, as url-safe base64
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`
   */
  static generateKeys(layers: CofferLayers & { cipher?: never }): CofferKeys {
    return generateKeys(custom(checkOptions(layers, 'Coffer.generateKeys', ['member', 'container'])))
  }

  /**
   * A plugin that comes with Coffer, for this coffer. Close it, or use `await using`; the coffer stays open.
   *
   * @typeParam N the name
   * @param name `crypt`, `password` or `rsync`
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
  async plugin<N extends PluginName>(name: N): Promise<Plugins[N]>
  /**
   * A plugin of another class, for this coffer: {@link CofferPlugin}, {@link RecordPlugin} and
   * {@link KeyPlugin} have examples. The class may extend one of a second copy of this package.
   *
   * @typeParam P the plugin
   * @param plugin the class, which extends one of the three
   * @returns the plugin, an object of the class
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` if it is no such class, or one of a version of this
   *   package that does not fit; `…_CLOSED`
   */
  async plugin<P extends Plugin>(plugin: PluginClass<P>): Promise<P>
  async plugin(plugin: PluginName | PluginClass): Promise<Plugin> {
    return openPlugin(plugin, {
      coffer: this,
      native: this.#native,
      change: (call, work) => CofferBatch.waiting(this, call, work),
    })
  }

  /**
   * Flushes, and rewrites the coffer without dead space into a new file, which replaces the old one. The
   * cost, and the space needed beside the file, is the size of the live blocks. Afterwards the file has
   * not even the names of deleted members.
   *
   * @param options cancellation and progress; a cancelled call leaves the coffer flushed and otherwise unchanged
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
  compact(options: WatchOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'compact', async () => {
      checkOptions(options, 'compact', watchOptions)
      await watched(options, (watch) => this.#native.compact(watch))
    })
  }

  /**
   * Rewrites the coffer under new keys: everything is opened with the old keys and sealed with the new ones
   * into a new file, which replaces the old one atomically. If the call is cancelled or fails, the coffer
   * is unchanged, with its old keys. A coffer that had a passphrase has none afterwards.
   *
   * Copies and backups of the old file still open with the old keys. Once the new file is in place the call does not
   * reject, whatever `onProgress` throws.
   *
   * @param keys all keys that the kind needs, as {@link open} takes them
   * @param options cancellation and progress
   * @returns when the new file is in place
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` if a block that was to be rewritten cannot
   *   be read, `…_INVALID_ARG` also for a coffer without keys, and as {@link flush}; or the signal's reason
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
  rekey(keys: NewCofferKeys, options: WatchOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'rekey', async () => {
      checkOptions(options, 'rekey', watchOptions)
      await this.#rekey(checkNewKeys(this.#kind, keys), options)
    })
  }

  /**
   * Rewrites the coffer under keys that are derived from a passphrase with a new salt: see {@link rekey}. A
   * coffer that had keys has a passphrase afterwards.
   *
   * @param passphrase the new passphrase, or the current one to change only its cost
   * @param options the cost of deriving keys, cancellation and progress
   * @returns when the new file is in place
   * @throws {@link CofferError} `ERR_COFFER_LIMIT` also if the system lacks the memory, and as
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
  changePassphrase(passphrase: Passphrase, options: ChangePassphraseOptions = {}): Promise<void> {
    return CofferBatch.waiting(this, 'changePassphrase', async () => {
      const { kdf, ...watching } = checkOptions(options, 'changePassphrase', ['kdf', ...watchOptions])
      await this.#rekey(checkPassphraseFor(this.#kind, passphrase, kdf), watching)
    })
  }

  /** Rewrites the coffer under a secret, which is wiped when the engine has it. */
  async #rekey(secret: Secret, options: WatchOptions): Promise<void> {
    await lend(secret, (lent) => watched(options, (watch) => this.#native.rekey(lent, watch), 'warn'))
  }
}

/**
 * {@link Coffer} without its static calls, for the classes of the kinds: each has an `open` of its own, whose options
 * those of `Coffer.open` do not include.
 */
export const CofferBase: abstract new (opened: OpenedCoffer) => Coffer = Coffer as never
