import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { clearTimeout, setTimeout } from 'node:timers'
import { checkInteger, checkOptions, checkSignal } from '../check.ts'
import type { CofferCommit } from './options.ts'

/** What {@link Coffer.commits} takes. */
export interface CommitsOptions {
  /** Ends the iteration: it throws the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * How often the file is looked at, in milliseconds, where the system does not report that it changes: 1,000 by
   * default.
   */
  interval?: number | undefined
}

const DEFAULT_INTERVAL_MS = 1_000
/** The longest time that a timer of Node.js has. */
const MOST_INTERVAL_MS = 2 ** 31 - 1

/** Checks the options of {@link Coffer.commits}. */
export function checkCommits(options: CommitsOptions): { signal: AbortSignal | undefined; interval: number } {
  const { signal, interval } = checkOptions(options, 'commits', ['signal', 'interval'])
  return {
    signal: checkSignal(signal),
    interval: checkInteger(interval, 'interval', 1, MOST_INTERVAL_MS) ?? DEFAULT_INTERVAL_MS,
  }
}

/** The coffer whose commits are followed. */
export interface FollowedCoffer {
  readonly path: string
  /** Whether it only reads: then other processes make its commits. */
  readonly reads: boolean
  readonly closed: boolean
  /** The newest commit that the handle has. */
  readonly head: CofferCommit
  /** Brings the handle to the newest commit of the file. */
  refresh(): Promise<unknown>
  /** Called when the handle may have a commit, and when it is closed. */
  readonly listeners: Set<() => void>
}

/** The commits of a coffer that are newer than one, as they come, until it is closed: the last may be that of its closing. */
export async function* commitsOf(
  coffer: FollowedCoffer,
  from: CofferCommit,
  signal: AbortSignal | undefined,
  interval: number,
): AsyncGenerator<CofferCommit, void, undefined> {
  let last = from
  // What happens while the file is looked at is not missed: then it is looked at again.
  let stirred = true
  let wake = (): void => {}
  const stir = (): void => {
    stirred = true
    wake()
  }
  const watcher = coffer.reads ? watched(coffer.path, stir) : undefined
  coffer.listeners.add(stir)
  signal?.addEventListener('abort', stir)
  try {
    for (;;) {
      signal?.throwIfAborted()
      stirred = false
      await coffer.refresh().catch((error: unknown) => {
        if (!coffer.closed) throw error
      })
      signal?.throwIfAborted()
      const { head, closed } = coffer
      if (head.generation !== last.generation || head.digest !== last.digest) {
        last = head
        yield head
        continue
      }
      if (closed) return
      if (stirred) continue
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, interval)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      wake = () => {}
    }
  } finally {
    watcher?.close()
    coffer.listeners.delete(stir)
    signal?.removeEventListener('abort', stir)
  }
}

/** Watches the directory of a file, where the system can. */
function watched(path: string, stir: () => void): FSWatcher | undefined {
  try {
    // Its directory, because the file may be replaced by another one.
    const watcher = watch(dirname(path), { persistent: false }, stir)
    // A directory that goes away is no error of the coffer: the file is looked at all the same.
    return watcher.on('error', () => {})
  } catch {
    return undefined
  }
}
