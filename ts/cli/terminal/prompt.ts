import { UsageError } from '../exit.ts'
import { interrupt, interrupted } from './interrupt.ts'
import { escaped } from './output.ts'

/** Whether standard input is a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true
}

/** Asks for a secret, without echo. */
export async function askSecret(message: string): Promise<string> {
  return asked(message, async () => {
    const { default: password } = await import('@inquirer/password')
    return password({ message: escaped(message) }, context())
  })
}

/** Asks for a new secret twice, until both inputs are equal. */
export async function askNewSecret(what: string): Promise<string> {
  for (;;) {
    const secret = await askSecret(`New ${what}`)
    if (secret === '') throw new UsageError(`the ${what} must not be empty`)
    if ((await askSecret('Repeat it')) === secret) return secret
    process.stderr.write('The inputs differ.\n')
  }
}

/** Asks for confirmation; no by default. */
export async function askWhether(message: string): Promise<boolean> {
  return asked(message, async () => {
    const { default: confirm } = await import('@inquirer/confirm')
    return confirm({ message: escaped(message), default: false }, context())
  })
}

// Prompts go to standard error: standard output is for results.
function context() {
  return { input: process.stdin, output: process.stderr, signal: interrupted }
}

async function asked<T>(message: string, ask: () => Promise<T>): Promise<T> {
  if (!canAsk()) throw new UsageError(`cannot ask ("${message}"): standard input is not a terminal`)
  try {
    return await ask()
  } catch (error) {
    // In a prompt Ctrl-C is a key, not a signal.
    if (error instanceof Error && error.name === 'ExitPromptError') throw interrupt('SIGINT')
    throw interrupted.aborted ? interrupted.reason : error
  }
}
