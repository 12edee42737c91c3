import { Interrupted } from './exit.ts'
import { note } from './output.ts'

const controller = new AbortController()
const changing = new Set<string>()

/** Aborts when somebody asks the command to end; the reason is an {@link Interrupted}. */
export const interrupted: AbortSignal = controller.signal

/** Asks the command to end, as Ctrl-C does. */
export function interrupt(signal: 'SIGINT' | 'SIGTERM'): Interrupted {
  if (!interrupted.aborted) controller.abort(new Interrupted(signal))
  return interrupted.reason
}

/**
 * From now on the first signal lets the command end in order, so that it leaves no lock and no
 * half-written file behind, and the second ends it at once.
 */
export function watchSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupt(signal)
      note('stopping; once more to end at once')
      // Without a listener the next one has the system's effect.
    })
  }
}

/** Remembers which coffer is being changed, for the message that Ctrl-C leaves. */
export function changes(path: string): void {
  changing.add(path)
}

/** What Ctrl-C has left behind. */
export function leftBehind(): string {
  const coffers = [...changing]
  if (coffers.length === 0) return 'interrupted'
  return `interrupted: ${coffers.join(', ')} is as it was at its last flush`
}
