import { Interrupted } from '../exit.ts'

const controller = new AbortController()

/** Aborts at the first signal that asks the command to end; the reason is an {@link Interrupted}. */
export const interrupted: AbortSignal = controller.signal

/** Asks the command to end, as Ctrl-C does. */
export function interrupt(signal: 'SIGINT' | 'SIGTERM'): Interrupted {
  if (!interrupted.aborted) controller.abort(new Interrupted(signal))
  return interrupted.reason
}

/** What a promise comes to, or the reason of an interruption that comes before: then it is not waited for any more. */
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
