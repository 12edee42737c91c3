import { exitCode, Interrupted } from '../exit.ts'
import { interrupt, interrupted } from './interrupted.ts'
import { note } from './output.ts'

export { interrupt, interrupted, untilInterrupted } from './interrupted.ts'

const changing = new Set<string>()

/** The time for an orderly end after a signal, in milliseconds. */
const GRACE_MS = 5_000

/**
 * Handles SIGINT and SIGTERM. The first signal ends the command in order, so that it leaves no lock and no
 * incomplete file; the second ends it at once. If the command does not end in time, because a pipe or a
 * disk does not respond, it is ended, too.
 */
export function watchSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupt(signal)
      note('stopping; press Ctrl-C again to end at once')
      setTimeout(endNow, GRACE_MS)
      // Without a listener the next signal has its default effect.
    })
  }
}

/** Ends the process without waiting: a coffer stays at its last flush. */
function endNow(): void {
  note(leftBehind())
  process.exitCode = exitCode(interrupted.reason)
  leave()
}

/**
 * Ends the process. `exit` would wait for system calls that do not return, such as opening a pipe without
 * a writer; the default effect of a signal does not.
 */
export function leave(): void {
  const { reason } = interrupted
  if (reason instanceof Interrupted && process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))) {
    process.removeAllListeners(reason.signal)
    process.kill(process.pid, reason.signal)
  } else process.exit()
}

/** Records the coffer that is being changed, for the message after Ctrl-C. */
export function changes(path: string): void {
  changing.add(path)
}

/** The message after Ctrl-C. */
export function leftBehind(): string {
  const coffers = [...changing]
  if (coffers.length === 0) return 'interrupted'
  return `interrupted: ${coffers.join(', ')} is as it was at its last flush`
}
