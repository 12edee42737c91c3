/** What can stop a call that waits: a signal of the caller's, or the end of what the call belongs to. */
export interface Stop {
  /** The reason, once it has stopped. */
  readonly stopped: { reason: unknown } | undefined
  /** Calls a function when it stops, at once if it has. Gives what undoes that. */
  onStop(stop: (reason: unknown) => void): () => void
}

/**
 * The end of something that calls wait in, with its reason. Unlike an `AbortController`, it is the
 * same under jsdom and in Electron, which have classes of their own, and it holds nothing of a call
 * that is over.
 */
export class Cancellation implements Stop {
  #stopped: { reason: unknown } | undefined
  readonly #waiting = new Set<(reason: unknown) => void>()

  get stopped(): { reason: unknown } | undefined {
    return this.#stopped
  }

  onStop(stop: (reason: unknown) => void): () => void {
    if (this.#stopped) stop(this.#stopped.reason)
    else this.#waiting.add(stop)
    return () => this.#waiting.delete(stop)
  }

  /** Ends it. The first reason stays. */
  end(reason: unknown): void {
    if (this.#stopped) return
    this.#stopped = { reason }
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const stop of waiting) stop(reason)
  }

  /** How many calls wait in it. */
  get waiting(): number {
    return this.#waiting.size
  }
}

/** A signal, or nothing, as what stops a call. */
export function cancelledBy(signal: AbortSignal | undefined): Stop | undefined {
  if (signal === undefined) return undefined
  return {
    get stopped() {
      return signal.aborted ? { reason: signal.reason as unknown } : undefined
    },
    onStop(stop) {
      if (signal.aborted) {
        stop(signal.reason)
        return () => {}
      }
      const heard = (): void => stop(signal.reason)
      signal.addEventListener('abort', heard, { once: true })
      return () => signal.removeEventListener('abort', heard)
    },
  }
}
