import { performance } from 'node:perf_hooks'
import { clearInterval, setInterval } from 'node:timers'
import { Aborted, binding, type NativeWatch, type Settled, settled } from './binding/native.ts'
import { checkSignal, shown } from './check.ts'
import { invalid } from './errors.ts'

/** How far a long call has come. */
export interface Progress {
  /** The bytes of members done. */
  bytes: number
  /** The bytes of members in all, where that is known. */
  totalBytes?: number
  /** The number of members done. */
  members: number
  /** The name of the member at hand, if there is one. */
  name?: string
}

/** What the long calls take: who stops and watches them. */
export interface WatchOptions {
  /** Stops the call at its next safe point; it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Hears how far the call has come: at most 20 times a second, and once more at the end. If it
   * throws, the call stops and rejects with what was thrown.
   *
   * @param progress how far that is
   */
  onProgress?: ((progress: Progress) => void) | undefined
}

/** The names of {@link WatchOptions}. */
export const watchOptions = ['signal', 'onProgress'] as const

const INTERVAL_MS = 50

/** Refuses what cannot stop or watch a call, and a call that has been stopped already. */
export function checkWatch({ signal, onProgress }: WatchOptions): void {
  checkSignal(signal)
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid(`onProgress must be a function, not ${shown(onProgress)}`)
  }
  signal?.throwIfAborted()
}

/** Runs a call of the engine that can be stopped and watched. */
export async function watched<T>(options: WatchOptions, run: (watch: NativeWatch) => Promise<Settled<T>>): Promise<T> {
  checkWatch(options)
  const { signal, onProgress } = options
  const watch = new binding.NativeWatch()
  const cancel = (): void => watch.cancel()
  signal?.addEventListener('abort', cancel, { once: true })

  let thrown: { reason: unknown } | undefined
  const report = (): void => {
    const progress = thrown === undefined && watch.takeProgress()
    if (!progress) return
    try {
      onProgress?.(progress)
    } catch (reason) {
      thrown = { reason }
      cancel()
    }
  }
  // The engine never waits for JavaScript: progress is asked for, not delivered.
  const timer = onProgress && setInterval(report, INTERVAL_MS).unref()
  try {
    const value = await settled(run(watch))
    if (onProgress) report()
    if (thrown) throw thrown.reason
    return value
  } catch (error) {
    if (!(error instanceof Aborted)) throw error
    throw thrown ? thrown.reason : signal?.reason
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', cancel)
  }
}

/** Reports progress, but not more often than {@link WatchOptions} says. */
export interface Paced {
  (progress: Progress): void
  /** Reports the end. */
  end(progress: Progress): void
}

/** A report of progress for calls that are made of many others. */
export function paced(onProgress: ((progress: Progress) => void) | undefined): Paced {
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalid(`onProgress must be a function, not ${shown(onProgress)}`)
  let last = Number.NEGATIVE_INFINITY
  const report = (progress: Progress): void => {
    if (performance.now() - last < INTERVAL_MS) return
    last = performance.now()
    onProgress?.({ ...progress })
  }
  return Object.assign(report, { end: (progress: Progress) => onProgress?.({ ...progress }) })
}
