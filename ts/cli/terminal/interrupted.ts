import { Interrupted } from '../exit.ts'

const controller = new AbortController()

/** Aborts at the first SIGINT or SIGTERM; the reason is an {@link Interrupted}. */
export const interrupted: AbortSignal = controller.signal

/** Interrupts the command, as Ctrl-C does. */
export function interrupt(signal: 'SIGINT' | 'SIGTERM'): Interrupted {
  if (!interrupted.aborted) controller.abort(new Interrupted(signal))
  return interrupted.reason
}

/** Awaits a promise, or rejects with the reason of an interruption that comes first. */
export async function untilInterrupted<T>(work: Promise<T>): Promise<T> {
  let stop = (): void => {}
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(interrupted.reason)
  })
  if (interrupted.aborted) stop()
  interrupted.addEventListener('abort', stop)
  try {
    return await Promise.race([work, stopped])
  } finally {
    interrupted.removeEventListener('abort', stop)
    stopped.catch(() => {})
  }
}
