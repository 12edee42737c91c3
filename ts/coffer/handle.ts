import { statSync } from 'node:fs'
import { type InspectOptions, inspect } from 'node:util'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import type { Mode } from '../member/options.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import type { Info } from './info.ts'
import { checkOpened, type Notice, type Opened } from './open.ts'
import type { Commit } from './options.ts'

/** What {@link Coffer.verify} checked. */
export interface Verified {
  /** The number of members. */
  members: number
  /** The number of blocks. */
  blocks: number
  /** The bytes of the members. */
  bytes: number
}

/** An open coffer's file: where it is, how it was opened, and its state as a whole. */
export class CofferHandle {
  /** The absolute path of the coffer. */
  readonly path: string
  /** How it was opened, without the `b`. */
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
   * What was found, and dealt with, when the coffer was opened, and what came up since; empty as a rule.
   * The codes are in docs/api.md.
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

  /** Whether there are changes that no commit holds yet. */
  get modified(): boolean {
    return this.#native.status().modified
  }

  /**
   * When the file was changed last; null if it is not there.
   *
   * @throws Error of Node.js if the system does not say
   */
  get mtime(): Date | null {
    return statSync(this.path, { throwIfNoEntry: false })?.mtime ?? null
  }

  /**
   * The newest commit of this handle: remember it elsewhere, and `expect` it at a later {@link open}.
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
   * // Fails with ERR_COFFER_CORRUPT if somebody has put back an older copy.
   * await (await CofferStore.open('store.coffer', 'r', { ...keys, expect })).close()
   * ```
   */
  get commit(): Commit {
    return this.#native.status().commit
  }

  /**
   * What the coffer is, and how it fills its file.
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
   * Reads everything that is committed, and checks that it is what was written.
   *
   * @param options who watches
   * @returns how much was checked
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT`: which members are damaged, and how.
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
   * What `console.log` shows: no keys, no contents.
   *
   * @internal
   */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { path, mode, closed, modified } = this
    return `${this.constructor.name} ${inspect({ path, mode, closed, modified }, options)}`
  }
}
