import type { Skipped } from '../../coffer/writes.ts'
import { EXIT } from '../exit.ts'
import { warn } from './output.ts'

/**
 * Warns of what was left out, or is incomplete. Where the system refused something, the command goes
 * on, and says so by its exit code.
 */
export function leftOut(skipped: readonly Skipped[]): void {
  for (const { path, reason, errno, member } of skipped) {
    warn(member === undefined ? `left out ${path}: ${reason}` : `${path}: ${reason}`)
    if (errno !== undefined) process.exitCode = EXIT.failure
  }
}
