import type { NativeCoffer } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import type { Keys } from '../keys/key.ts'
import { custom, type Kind, type Layers } from '../keys/kinds.ts'
import type { KdfOptions, Passphrase } from '../keys/passphrase.ts'
import { checkNewKeys, checkPassphraseFor, generateKeys, type NewKeys, type Secret, wipe } from '../keys/secret.ts'
import type { ModeText } from '../member/options.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { Batch } from './batch.ts'
import { type Opened, open } from './open.ts'
import { type OpenOptions, openOptions } from './options.ts'
import { openPlugin, type PluginName, type Plugins } from './plugins.ts'
import { type Salvaged, type SalvageOptions, salvage, salvageOptions } from './salvage.ts'
import { CofferWriter } from './writer.ts'

/** What {@link Coffer.open} takes: the layers of your own mix, and what every `open` takes. */
export interface CofferOptions extends OpenOptions, Layers {}

/** What {@link Coffer.changePassphrase} takes. */
export interface ChangePassphraseOptions extends WatchOptions {
  /** How hard the passphrase is to guess: what it does not say is as for the old one, if there was one. */
  kdf?: KdfOptions | undefined
}

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
export class Coffer extends CofferWriter {
  readonly #native: NativeCoffer
  readonly #kind: Kind

  /** @internal */
  protected constructor(opened: Opened) {
    super(opened)
    this.#native = opened.native
    this.#kind = opened.kind
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
    return openPlugin(name, {
      coffer: this,
      native: this.#native,
      change: (call, work) => Batch.waiting(this, call, work),
    })
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
    await Batch.waiting(this, 'compact', () => watched(options, (watch) => this.#native.compact(watch)))
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

  async #rekey(call: string, check: () => Secret, options: WatchOptions): Promise<void> {
    await Batch.waiting(this, call, async () => {
      const secret = check()
      const rekeying = watched(options, (watch) => this.#native.rekey(secret, watch))
      // The engine has copies of its own by now, and wipes them when it is done.
      wipe(secret)
      await rekeying
    })
  }
}
