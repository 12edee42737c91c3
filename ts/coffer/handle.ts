import { statSync } from 'node:fs'
import { type InspectOptions, inspect } from 'node:util'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import type { Mode } from '../member/options.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import type { Info } from './info.ts'
import { checkOpened, type Notice, type Opened } from './open.ts'
import type { Commit } from './options.ts'

/** The extent of what {@link Coffer.verify} checked. */
export interface Verified {
  /** The number of members. */
  members: number
  /** The number of blocks. */
  blocks: number
  /** The bytes of the members. */
  bytes: number
}

/** An open coffer: its file, its mode, and its state as a whole. */
export class CofferHandle {
  /** The absolute path of the coffer. */
  readonly path: string
  /** The mode it was opened with, without the `b`. */
  readonly mode: Mode
  readonly #native: NativeCoffer

  /** @internal */
  protected constructor(opened: Opened) {
    const { native, path, mode } = checkOpened(opened, new.target.name)
    this.path = path
    this.mode = mode
    this.#native = native
  }

  /**
   * Conditions that were found and handled when the coffer was opened, or since; usually empty. The codes
   * are in docs/api.md.
   */
  get notices(): readonly Notice[] {
    return this.#native.notices()
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#native.status().closed
  }

  /** Whether members can be read: until {@link close}. */
  get readable(): boolean {
    return !this.closed
  }

  /** Whether the coffer can be changed: until {@link close}, and not with the mode `r`. */
  get writable(): boolean {
    return this.mode !== 'r' && !this.closed
  }

  /** Whether there are uncommitted changes. */
  get modified(): boolean {
    return this.#native.status().modified
  }

  /**
   * The time of the file's last change; null if there is no file.
   *
   * @throws the error of Node.js if the system refuses
   */
  get mtime(): Date | null {
    return statSync(this.path, { throwIfNoEntry: false })?.mtime ?? null
  }

  /**
   * The newest commit of this handle. Keep it elsewhere, and pass it as `expect` to a later {@link Coffer.open}.
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const keys = CofferStore.generateKeys()
   * const store = await CofferStore.open('store.coffer', 'w', keys)
   * await store.write('a', '1')
   * await store.flush()
   * const expect = store.commit
   * await store.close()
   *
   * // Fails with ERR_COFFER_CORRUPT if the file is an older copy.
   * await (await CofferStore.open('store.coffer', 'r', { ...keys, expect })).close()
   * ```
   */
  get commit(): Commit {
    return this.#native.status().commit
  }

  /**
   * The kind and layers of the coffer, and the use of space in its file.
   *
   * @returns its kind and layers, and sizes in bytes
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a', 'a line that repeats itself'.repeat(10_000))
   * await box.flush()
   * const { members, ratio } = await box.info()
   * console.log(members, ratio)
   * await box.close()
   * ```
   */
  async info(): Promise<Info> {
    const info = await settled(this.#native.info())
    const { infoFrom } = await import('./info.ts')
    return infoFrom(this.path, info)
  }

  /**
   * Reads everything that is committed, and checks it against digests and seals.
   *
   * @param options cancellation and progress
   * @returns the extent of what was checked
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`: the message names the damaged members, and the damage.
   *   `…_LIMIT`, `…_INVALID_ARG`, `…_CLOSED`, `…_IO`; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferNull } from 'coffer'
   *
   * const box = await CofferNull.open('box.coffer', 'w')
   * await box.write('a', new Uint8Array(1_000_000))
   * await box.flush()
   * const { members } = await box.verify({ onProgress: ({ bytes, totalBytes }) => console.log(bytes, totalBytes) })
   * console.log(members) // 1
   * await box.close()
   * ```
   */
  async verify(options: WatchOptions = {}): Promise<Verified> {
    checkOptions(options, 'verify', watchOptions)
    return watched(options, (watch) => this.#native.verify(watch))
  }

  /**
   * The output of `console.log`, without keys and contents.
   *
   * @internal
   */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { path, mode, closed, modified } = this
    return `${this.constructor.name} ${inspect({ path, mode, closed, modified }, options)}`
  }
}
