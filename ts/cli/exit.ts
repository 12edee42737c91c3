import { CommanderError } from 'commander'
import { CofferError } from '../errors.ts'

/** The exit codes of the command. */
export const EXIT = {
  done: 0,
  failure: 1,
  usage: 2,
  wrongKey: 3,
  damaged: 4,
  locked: 5,
  interrupted: 130,
  brokenPipe: 141,
  terminated: 143,
} as const

/** A usage error: exit code 2. */
export class UsageError extends Error {}

/** The command was interrupted by Ctrl-C or SIGTERM. */
export class Interrupted extends Error {
  readonly signal: 'SIGINT' | 'SIGTERM'

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super('interrupted')
    this.signal = signal
  }
}

const exitCodes: Readonly<Record<string, number>> = {
  ERR_COFFER_INVALID_ARG: EXIT.usage,
  ERR_COFFER_WRONG_KEY: EXIT.wrongKey,
  ERR_COFFER_KEYLESS: EXIT.wrongKey,
  ERR_COFFER_CORRUPT: EXIT.damaged,
  ERR_COFFER_ROLLED_BACK: EXIT.damaged,
  ERR_COFFER_LOCKED: EXIT.locked,
}

/** The exit code for an error. */
export function exitCode(error: unknown): number {
  if (error instanceof Interrupted) return error.signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated
  if (error instanceof UsageError || error instanceof CommanderError) return EXIT.usage
  if (error instanceof CofferError) return exitCodes[error.code] ?? EXIT.failure
  return isBrokenPipe(error) ? EXIT.brokenPipe : EXIT.failure
}

/** The code of an error for `--json`. */
export function errorCode(error: unknown): string {
  if (error instanceof Interrupted) return error.signal
  if (error instanceof UsageError || error instanceof CommanderError) return 'ERR_COFFER_INVALID_ARG'
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return 'ERR_COFFER_IO'
}

/** Whether the reader of the output has closed the pipe, as `head` does. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}
