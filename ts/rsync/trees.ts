import { type NativeCoffer, type NativeEntry, settled } from '../binding/native.ts'
import type { Skipped } from '../coffer/writes.ts'
import type { Symlinks } from '../member/options.ts'
import { type WatchOptions, watched } from '../progress.ts'

/**
 * An entry of a directory outside the coffer. An `other` is left alone: the coffer itself, devices
 * and their like, names that are not UTF-8, and, with an `errno`, what the system says nothing of.
 */
export type Entry = NativeEntry

/** What the engine does with directory trees outside the coffer. */
export class Trees {
  readonly #native: NativeCoffer
  readonly #change: <T>(call: string, work: () => Promise<T>) => Promise<T>

  /** @param change makes a change, and fails where it would wait for the batch that it is made in */
  constructor(native: NativeCoffer, change: <T>(call: string, work: () => Promise<T>) => Promise<T>) {
    this.#native = native
    this.#change = change
  }

  /** What is at a path, if anything is; `follow` says whether a link there is followed. */
  async look(path: string, follow: boolean): Promise<Entry | undefined> {
    return (await settled(this.#native.look(path, follow))) ?? undefined
  }

  /**
   * What is in a directory, in the order of the names. Links to directories are never followed, nor
   * is one that has taken the place of the directory.
   */
  async list(directory: Entry, symlinks: Symlinks): Promise<Entry[]> {
    return settled(this.#native.list(directory, symlinks))
  }

  /** The names of those members whose bytes are not those of the file that is given for each. */
  async differing(pairs: ReadonlyMap<string, Entry>, watch: WatchOptions): Promise<string[]> {
    return watched(watch, (native) => this.#native.differing([...pairs.keys()], [...pairs.values()], native))
  }

  /**
   * Deletes members and adds files, all of it or nothing.
   *
   * @throws {CofferError} `ERR_COFFER_STALE` if a file is not as its entry says any more
   */
  async update(call: string, remove: string[], add: ReadonlyMap<string, Entry>, watch: WatchOptions): Promise<void> {
    const items = [...add].map(([name, entry]) => ({ name, entry }))
    await this.#change(call, () => watched(watch, (native) => this.#native.update(remove, items, native)))
  }

  /**
   * Extracts these members and nothing else, their names taken relative to a directory, in place of
   * what is there. Returns what the system refused to do to what is there now.
   */
  async extract(
    names: string[],
    from: string | undefined,
    target: string,
    { preserve, ...watch }: WatchOptions & { preserve: boolean },
  ): Promise<Skipped[]> {
    const extraction = { names, recursive: false, from, plugins: true, replace: true, preserve }
    return (await watched(watch, (native) => this.#native.extract(extraction, target, native))).skipped
  }

  /** Removes files, links and empty directories below a directory, in the given order. */
  async remove(directory: string, paths: string[], { signal }: WatchOptions): Promise<void> {
    await watched({ signal }, (native) => this.#native.remove(directory, paths, native))
  }
}
