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
// Standard error is closed, too.
process.stderr.on('error', () => {})

watchSignals()
try {
  await program().parseAsync()
} catch (error) {
  if (error instanceof CommanderError && error.exitCode === 0) {
    // Help and version have been shown.
  } else if (error instanceof CommanderError && error.code === 'commander.help') {
    // What is missing is a command, and the help that was shown says which there are.
    process.exitCode = EXIT.usage
  } else {
    manner.json ||= process.argv.includes('--json')
    fail(error, ...messageOf(error))
    process.exitCode = exitCode(error)
  }
}
// Whatever is still open, such as standard input, is of no use to anybody.
process.stdout.write('', (error) => {
  // The stream's own event says why, and comes first.
  if (error) setImmediate(() => lost(error))
  else leave()
})

/** Standard output cannot be written. */
function lost(error: NodeJS.ErrnoException): void {
  // `coffer ls | head`: a reader that stops early is no failure.
  if (isBrokenPipe(error)) process.exit(EXIT.brokenPipe)
  fail(error, `standard output cannot be written (${error.code ?? error.message}): the results are not complete`)
  process.exit(EXIT.failure)
}

/** What went wrong, as lines. */
function messageOf(error: unknown): string[] {
  if (error instanceof Interrupted) return [leftBehind()]
  if (error instanceof CommanderError) {
    // Only a suggestion is a line of its own: what was typed may have line feeds in it, too.
    const [, said = '', suggestion] = /^(?:error: )?([\s\S]*?)(?:\n(\(Did you mean .*\)))?$/.exec(error.message) ?? []
    return [said, ...(suggestion === undefined ? [] : [suggestion]), 'See coffer --help']
  }
  const message = error instanceof Error ? error.message : String(error)
  const text = error instanceof CofferError ? forShell(message, process.argv) : message
  return message.includes(tmpdir()) && !existsSync(tmpdir())
    ? [`${text}. The directory for temporary files is missing: TMPDIR names another`]
    : [text]
}
