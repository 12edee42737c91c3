import { type NativeCoffer, type NativeEntry, settled } from '../binding/native.ts'
import type { SkippedItem } from '../coffer/writes.ts'
import type { SymlinkPolicy } from '../member/options.ts'
import { type WatchOptions, watched } from '../progress.ts'

/**
 * An entry of a directory outside the coffer. The kind `other` is never stored: the coffer itself,
 * devices, sockets and the like, names that are not UTF-8, and, with an `errno`, entries that the system
 * could not stat.
 */
export type Entry = NativeEntry

/** Operations of the engine on directory trees outside the coffer. */
export class Trees {
  readonly #native: NativeCoffer
  readonly #change: <T>(call: string, work: () => Promise<T>) => Promise<T>

  /** @param change runs a change, and fails if it would wait for the batch that it is made in */
  constructor(native: NativeCoffer, change: <T>(call: string, work: () => Promise<T>) => Promise<T>) {
    this.#native = native
    this.#change = change
  }

  /** The entry at a path, if there is one; `follow`: whether a link is followed. */
  async look(path: string, follow: boolean): Promise<Entry | undefined> {
    return (await settled(this.#native.look(path, follow))) ?? undefined
  }

  /**
   * The entries of a directory, sorted by name. Links to directories are never followed, not even one that
   * has replaced the directory meanwhile.
   */
  async list(directory: Entry, symlinks: SymlinkPolicy): Promise<Entry[]> {
    return settled(this.#native.list(directory, symlinks))
  }

  /** The names of the members whose bytes differ from those of the paired file. */
  async differing(pairs: ReadonlyMap<string, Entry>, watch: WatchOptions): Promise<string[]> {
    return watched(watch, (native) => this.#native.differing([...pairs.keys()], [...pairs.values()], native))
  }

  /**
   * Deletes members and adds files, all or nothing.
   *
   * @throws {CofferError} `ERR_COFFER_STALE` if a file has changed since its entry was read
   */
  async update(call: string, remove: string[], add: ReadonlyMap<string, Entry>, watch: WatchOptions): Promise<void> {
    const items = [...add].map(([name, entry]) => ({ name, entry }))
    await this.#change(call, () => watched(watch, (native) => this.#native.update(remove, items, native)))
  }

  /**
   * Extracts exactly these members, with their names relative to a directory, and replaces existing files.
   * Returns the modes and times that the system refused to set.
   */
  async extract(
    names: string[],
    from: string | undefined,
    target: string,
    { preserve, ...watch }: WatchOptions & { preserve: boolean },
  ): Promise<SkippedItem[]> {
    const extraction = { names, recursive: false, from, plugins: true, replace: true, preserve }
    return (await watched(watch, (native) => this.#native.extract(extraction, target, native))).skipped
  }

  /** Removes files, links and empty directories below a directory, in the given order. */
  async remove(directory: string, paths: string[], { signal }: WatchOptions): Promise<void> {
    await watched({ signal }, (native) => this.#native.remove(directory, paths, native))
  }
}
