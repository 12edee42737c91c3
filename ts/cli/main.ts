#!/usr/bin/env node
import { CommanderError } from 'commander'
import { EXIT, exitCode, Interrupted, isBrokenPipe } from './exit.ts'
import { leftBehind, watchSignals } from './interrupt.ts'
import { fail, manner } from './output.ts'
import { program } from './program.ts'

// `coffer ls | head`: that nobody reads on is no failure to tell of.
process.stdout.on('error', (error) => {
  process.exit(isBrokenPipe(error) ? EXIT.brokenPipe : EXIT.failure)
})

watchSignals()
try {
  await program().parseAsync()
} catch (error) {
  if (error instanceof CommanderError && error.exitCode === 0) {
    // Help and version have been shown.
  } else {
    manner.json ||= process.argv.includes('--json')
    fail(error, messageOf(error))
    process.exitCode = exitCode(error)
  }
}
// Whatever is still open, such as standard input, is of no use to anybody.
process.stdout.write('', () => process.exit())

function messageOf(error: unknown): string {
  if (error instanceof Interrupted) return leftBehind()
  if (error instanceof CommanderError) return `${error.message.replace(/^error: /, '')}\nSee coffer --help`
  return error instanceof Error ? error.message : String(error)
}
