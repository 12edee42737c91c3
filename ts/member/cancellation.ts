/** A source of cancellation: a signal of the caller, or the end of the handle that a call belongs to. */
export interface Canceller {
  /** The reason, once it is cancelled. */
  readonly cancelled: { reason: unknown } | undefined
  /** Calls a listener on cancellation, at once if it has happened. Returns a function that removes the listener. */
  onCancel(listener: (reason: unknown) => void): () => void
}

/**
 * A cancellation with its reason. Unlike an `AbortController` it does not depend on the classes of jsdom
 * or Electron, and it keeps no reference to a call that has ended.
 */
export class Cancellation implements Canceller {
  #cancelled: { reason: unknown } | undefined
  readonly #listeners = new Set<(reason: unknown) => void>()

  get cancelled(): { reason: unknown } | undefined {
    return this.#cancelled
  }

  onCancel(listener: (reason: unknown) => void): () => void {
    if (this.#cancelled) listener(this.#cancelled.reason)
    else this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Cancels, unless it is cancelled already: the first reason stays. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return
    this.#cancelled = { reason }
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    for (const listener of listeners) listener(reason)
  }
}

/** A signal as a canceller. */
export function cancelledBy(signal: AbortSignal | undefined): Canceller | undefined {
  if (signal === undefined) return undefined
  return {
    get cancelled() {
      return signal.aborted ? { reason: signal.reason as unknown } : undefined
    },
    onCancel(listener) {
      if (signal.aborted) {
        listener(signal.reason)
        return () => {}
      }
      const abort = (): void => listener(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      return () => signal.removeEventListener('abort', abort)
    },
  }
}
