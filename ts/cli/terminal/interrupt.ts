import { exitCode, Interrupted } from '../exit.ts'
import { interrupt, interrupted } from './interrupted.ts'
import { note } from './output.ts'

export { interrupt, interrupted, untilInterrupted } from './interrupted.ts'

const changing = new Set<string>()

/** How long a command may take to end in order after a signal, in milliseconds. */
const GRACE_MS = 5_000

/**
 * From now on the first signal lets the command end in order, so that it leaves no lock and no
 * half-written file behind, and the second ends it at once. So does the first where a command does
 * not end in order, such as one that waits for a pipe or a disk that does not answer.
 */
export function watchSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupt(signal)
      note('stopping; once more to end at once')
      setTimeout(endNow, GRACE_MS)
      // Without a listener the next one has the system's effect.
    })
  }
}

/** Ends the process, whatever it still waits for: a coffer stays at its last flush. */
function endNow(): void {
  note(leftBehind())
  process.exitCode = exitCode(interrupted.reason)
  leave()
}

/**
 * Ends the process. In order that would wait for calls to the system that do not return, such as
 * opening a pipe without a writer: a signal's own effect does not.
 */
export function leave(): void {
  const { reason } = interrupted
  if (reason instanceof Interrupted && process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))) {
    process.removeAllListeners(reason.signal)
    process.kill(process.pid, reason.signal)
  } else process.exit()
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
