import { type InspectOptions, inspect } from 'node:util'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import type { NoOptions } from '../member/options.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import type { CofferInfo } from './info.ts'
import { type CofferNotice, checkOpened, type OpenedCoffer } from './open.ts'
import type { CofferCommit, OpenMode } from './options.ts'

/** The extent of what {@link Coffer.verify} checked. */
export interface VerifyResult {
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
  readonly mode: OpenMode
  readonly #native: NativeCoffer

  /** @param opened the coffer that `open` has opened */
  protected constructor(opened: OpenedCoffer) {
    const { native, path, mode } = checkOpened(opened, new.target.name)
    this.path = path
    this.mode = mode
    this.#native = native
  }

  /**
   * Conditions that were found and handled when the coffer was opened, or since; usually empty. The codes
   * are in docs/api.md.
   */
  get notices(): readonly CofferNotice[] {
    return this.#native.notices() as CofferNotice[]
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
   * The time of the file's last change, as it was when the coffer was opened or last committed by this handle: with
   * the mode `w` that of the file which is replaced, until the first commit. It is known without asking the disk; null
   * where the system does not say.
   */
  get mtime(): Date | null {
    const { mtime } = this.#native.status()
    // Rounded, as `fs` does it, so that the two are equal.
    return mtime === undefined ? null : new Date(Math.round(mtime.seconds * 1_000 + mtime.nanoseconds / 1_000_000))
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
   * const expect = store.head
   * await store.close()
   *
   * // Fails with ERR_COFFER_ROLLED_BACK if the file is an older copy.
   * await (await CofferStore.open('store.coffer', 'r', { ...keys, expect })).close()
   * ```
   */
  get head(): CofferCommit {
    return this.#native.status().commit
  }

  /**
   * The kind and layers of the coffer, and the use of space in its file.
   *
   * @param options none
   * @returns its kind and layers, and sizes in bytes
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`, `…_IO`, `…_INVALID_ARG`
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
  async info(options: NoOptions = {}): Promise<CofferInfo> {
    checkOptions(options, 'info', [])
    const info = await settled(this.#native.info())
    const { infoFrom } = await import('./info.ts')
    return infoFrom(this.path, info)
  }

  /**
   * Reads everything that is committed, and checks it against digests and seals.
   *
   * @param options cancellation and progress
   * @returns the extent of what was checked
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`: the message names the members that cannot be read, and
   *   why. `…_INVALID_ARG`, `…_CLOSED`; or the signal's reason
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
  async verify(options: WatchOptions = {}): Promise<VerifyResult> {
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
