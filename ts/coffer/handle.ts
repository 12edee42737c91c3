import { type InspectOptions, inspect } from 'node:util'
import { type NativeCoffer, settled } from '../binding/native.ts'
import { checkOptions } from '../check.ts'
import type { NoOptions } from '../member/options.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import { type CommitsOptions, checkCommits, commitsOf, type FollowedCoffer } from './commits.ts'
import type { CofferInfo } from './info.ts'
import { type CofferNotice, checkOpened, type OpenedCoffer } from './open.ts'
import type { CofferCommit, OpenMode } from './options.ts'

/** The key of the method that is called when a coffer was changed or closed. */
export const STIR: unique symbol = Symbol('stir')

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
  /** What wakes each call of {@link commits}. */
  readonly #following = new Set<() => void>()

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
   * The time of the file's last change, as it was when the coffer was opened, refreshed, or last committed by this
   * handle: with the mode `w` that of the file which is replaced, until the first commit. It is known without asking the disk; null
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
   * Brings a coffer that was opened with the mode `r` to the newest commit of its file, also where another process has
   * compacted it since, which puts a new file in its place. Reads under way, streams and handles of members stay on the
   * commit that they began with. With `lock: 'rw'` no other process can have committed, so there is nothing newer, and a
   * coffer in PyCoffer's format stays as it was when it was opened. With the other modes it is the last commit of this
   * handle; nothing is flushed.
   *
   * If it fails, the coffer stays on the commit that it had.
   *
   * @param options none
   * @returns the newest commit, as {@link head} has it then
   * @throws {@link CofferError} `ERR_COFFER_ROLLED_BACK` if the file at the path is no successor of what this handle has
   *   read: an older copy, or a new coffer (mode `w`). `…_WRONG_KEY` if its keys were changed, or its passphrase, also
   *   to the same one. `…_WRONG_KIND`, `…_VERSION`, `…_NOT_FOUND`, `…_CORRUPT`, `…_TOO_LARGE`
   *   (`maxCatalogSize`), `…_INVALID_ARG`, `…_CLOSED`, `…_IO`
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const keys = CofferStore.generateKeys()
   * const writer = await CofferStore.open('store.coffer', 'w', { ...keys, lock: 'w' })
   * await writer.write('a', '1')
   * await writer.flush()
   * const reader = await CofferStore.open('store.coffer', 'r', { ...keys, lock: 'w' })
   * await writer.write('a', '2')
   * await writer.flush()
   * const { generation } = await reader.refresh()
   * console.log(generation === writer.head.generation, await reader.readText('a')) // true 2
   * await reader.close()
   * await writer.close()
   * ```
   */
  async refresh(options: NoOptions = {}): Promise<CofferCommit> {
    checkOptions(options, 'refresh', [])
    return settled(this.#native.refresh())
  }

  /**
   * The commits that come from the call on, each once it is there: a coffer that was opened with the mode `r` is refreshed
   * as {@link refresh} does when its directory changes, and every `interval` where the system reports no changes, as
   * on some network file systems. Of several commits that come at once it gives the last. In the other modes it gives
   * those of this handle. It ends when the coffer is closed. While it waits, its timer keeps the process running, as
   * `fs.watch` does: end it by the signal, or by closing the coffer.
   *
   * @param options a signal, and how often to look
   * @returns the commits, as {@link head} has them
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` at the call; while it is iterated as {@link refresh} except
   *   `…_CLOSED`; or the signal's reason
   *
   * @example
   * ```js
   * import { CofferStore } from 'coffer'
   *
   * const keys = CofferStore.generateKeys()
   * const writer = await CofferStore.open('store.coffer', 'w', { ...keys, lock: 'w' })
   * await writer.flush()
   * const reader = await CofferStore.open('store.coffer', 'r', { ...keys, lock: 'w' })
   * const commits = reader.commits({ signal: AbortSignal.timeout(10_000) })
   * await writer.write('a', '1')
   * await writer.flush()
   * for await (const { generation } of commits) {
   *   console.log(generation, await reader.readText('a')) // 3 1
   *   break
   * }
   * await reader.close()
   * await writer.close()
   * ```
   */
  commits(options: CommitsOptions = {}): AsyncGenerator<CofferCommit, void, undefined> {
    const { signal, interval } = checkCommits(options)
    const coffer = this
    const followed: FollowedCoffer = {
      path: this.path,
      reads: this.mode === 'r',
      get closed() {
        return coffer.closed
      },
      get head() {
        return coffer.head
      },
      refresh: () => settled(coffer.#native.refresh()),
      listeners: this.#following,
    }
    return commitsOf(followed, this.head, signal, interval)
  }

  /**
   * Has the calls of {@link commits} look at once: there may be a commit of this handle, or it is closed.
   *
   * @internal
   */
  [STIR](): void {
    for (const listener of this.#following) listener()
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
