import type { SkippedItem } from '../../coffer/writes.ts'
import { EXIT } from '../exit.ts'
import { warn } from './output.ts'

/**
 * Warns of what was left out, or is incomplete. If the operating system refused something, the exit code
 * of the command is that of a failure.
 */
export function leftOut(skipped: readonly SkippedItem[]): void {
  for (const { path, reason, errno, member } of skipped) {
    warn(member === undefined ? `left out ${path}: ${reason}` : `${path}: ${reason}`)
    if (errno !== undefined) process.exitCode = EXIT.failure
  }
}
