#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { CommanderError } from 'commander'
import { CofferError } from '../errors.ts'
import { EXIT, exitCode, Interrupted, isBrokenPipe } from './exit.ts'
import { program } from './program.ts'
import { leave, leftBehind, watchSignals } from './terminal/interrupt.ts'
import { fail, manner } from './terminal/output.ts'
import { forShell } from './terminal/words.ts'

process.stdout.on('error', lost)
// Standard error may be closed, too.
process.stderr.on('error', () => {})

watchSignals()
try {
  await program().parseAsync()
} catch (error) {
  if (error instanceof CommanderError && error.exitCode === 0) {
    // Help or version was shown.
  } else if (error instanceof CommanderError && error.code === 'commander.help') {
    // The subcommand is missing, and the help was shown.
    process.exitCode = EXIT.usage
  } else {
    manner.json ||= process.argv.includes('--json')
    fail(error, ...messageOf(error))
    process.exitCode = exitCode(error)
  }
}
// Ends the process even if standard input or another handle is still open.
process.stdout.write('', (error) => {
  // The event of the stream has the reason, and comes first.
  if (error) setImmediate(() => lost(error))
  else leave()
})

/** Handles an error of writing to standard output. */
function lost(error: NodeJS.ErrnoException): void {
  // `coffer ls | head`: a reader that stops early is not a failure.
  if (isBrokenPipe(error)) process.exit(EXIT.brokenPipe)
  fail(error, `standard output cannot be written (${error.code ?? error.message}): the results are not complete`)
  process.exit(EXIT.failure)
}

/** The lines of the message for an error. */
function messageOf(error: unknown): string[] {
  if (error instanceof Interrupted) return [leftBehind()]
  if (error instanceof CommanderError) {
    // Only the suggestion is a separate line: arguments in the message may contain line feeds, too.
    const [, said = '', suggestion] = /^(?:error: )?([\s\S]*?)(?:\n(\(Did you mean .*\)))?$/.exec(error.message) ?? []
    return [said, ...(suggestion === undefined ? [] : [suggestion]), 'See coffer --help']
  }
  const message = error instanceof Error ? error.message : String(error)
  const text = error instanceof CofferError ? forShell(message, process.argv) : message
  return message.includes(tmpdir()) && !existsSync(tmpdir())
    ? [`${text}. The directory for temporary files is missing: TMPDIR names another`]
    : [text]
}
