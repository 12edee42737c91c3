import { performance } from 'node:perf_hooks'
import { clearInterval, setInterval } from 'node:timers'
import { Aborted, binding, type NativeWatch, type Settled, settled } from './binding/native.ts'
import { checkSignal, shown } from './check.ts'
import { invalid } from './errors.ts'

/** The progress of a long call. */
export interface CofferProgress {
  /** The bytes of members processed so far. */
  bytes: number
  /** The bytes of members in total, if known. */
  totalBytes?: number | undefined
  /** The number of members processed so far. */
  members: number
  /** The name of the current member, if there is one. */
  name?: string | undefined
}

/** Options of long calls: cancellation and progress. */
export interface WatchOptions {
  /** Cancels the call at its next safe point; it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Is called with the progress at most 20 times a second, and once more at the end. If it throws, the
   * call is cancelled and rejects with the thrown value; {@link Coffer.rekey} and {@link Coffer.changePassphrase} do not
   * reject any more when the new keys are in force, and the thrown value is a warning of the process.
   *
   * @param progress the progress so far
   */
  onProgress?: ((progress: CofferProgress) => void) | undefined
}

/** The names of {@link WatchOptions}. */
export const watchOptions = ['signal', 'onProgress'] as const

const INTERVAL_MS = 50

/** Checks the options, and throws the signal's reason if it is aborted already. */
export function checkWatch({ signal, onProgress }: WatchOptions): void {
  checkSignal(signal)
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid(`onProgress must be a function, not ${shown(onProgress)}`)
  }
  signal?.throwIfAborted()
}

/**
 * Runs a call of the engine with cancellation and progress.
 *
 * @param late what becomes of an error of `onProgress` when the call has succeeded: the call rejects with it, or, where
 *   that would hide that the call has taken effect, it becomes a warning of the process
 */
export async function watched<T>(
  options: WatchOptions,
  run: (watch: NativeWatch) => Promise<Settled<T>>,
  late: 'reject' | 'warn' = 'reject',
): Promise<T> {
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
  // Progress is polled, so that the engine never waits for JavaScript.
  const timer = onProgress && setInterval(report, INTERVAL_MS).unref()
  try {
    const value = await settled(run(watch))
    if (onProgress) report()
    if (thrown && late === 'reject') throw thrown.reason
    if (thrown) process.emitWarning(warningOf(thrown.reason))
    return value
  } catch (error) {
    if (!(error instanceof Aborted)) throw error
    throw thrown ? thrown.reason : signal?.reason
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', cancel)
  }
}

function warningOf(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(`onProgress has thrown ${shown(reason)}`)
}

/** Reports progress at most 20 times a second, as {@link WatchOptions} says. */
export interface Paced {
  (progress: CofferProgress): void
  /** Reports the end, whenever the last report was. */
  end(progress: CofferProgress): void
}

/** A rate-limited report for calls that consist of many calls of the engine. */
export function paced(onProgress: ((progress: CofferProgress) => void) | undefined): Paced {
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalid(`onProgress must be a function, not ${shown(onProgress)}`)
  let last = Number.NEGATIVE_INFINITY
  const report = (progress: CofferProgress): void => {
    if (performance.now() - last < INTERVAL_MS) return
    last = performance.now()
    onProgress?.({ ...progress })
  }
  return Object.assign(report, { end: (progress: CofferProgress) => onProgress?.({ ...progress }) })
}
