import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { tempDir } from './temp.ts'

const root = join(import.meta.dirname, '..', '..')
const main = join(root, 'dist', 'cli', 'main.js')
const script = join(import.meta.dirname, 'terminal.py')

/** The Python that runs a pseudo-terminal; null where there is none: what needs a terminal is skipped. */
export const terminalPython: string | null = ['python3', 'python'].find(canOpenTerminals) ?? null

function canOpenTerminals(python: string): boolean {
  return spawnSync(python, ['-c', 'import pty'], { stdio: 'ignore' }).status === 0
}

/** What a command did. */
export interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** How a command is run. */
export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Uint8Array
  readonly cwd?: string
  /** The width of the terminal, if there is one: 80 by default. */
  readonly columns?: number
}

/** One thing that somebody at a terminal waits for, and what they do then. */
export interface Step {
  /** A text that appears. */
  readonly expect: string
  readonly send: string
}

/** A user with a home directory of their own, in which commands run. */
export class User {
  readonly home: string

  constructor() {
    this.home = tempDir()
  }

  /** A path in the home directory. */
  path(...names: string[]): string {
    return join(this.home, ...names)
  }

  /** Writes a file in the home directory; returns its path. */
  file(name: string, content: string | Uint8Array, mode = 0o600): string {
    const path = this.path(name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, content, { mode })
    return path
  }

  /** The contents of a file in the home directory. */
  read(name: string): string {
    return readFileSync(this.path(name), 'utf8')
  }

  environment(env: Readonly<Record<string, string>> = {}): Record<string, string> {
    const { PATH = '' } = process.env
    return { PATH, HOME: this.home, LANG: 'C.UTF-8', TZ: 'UTC', ...env }
  }

  /** Runs `coffer` to its end. */
  async run(args: readonly string[], { env, input, cwd }: RunOptions = {}): Promise<Result> {
    const child = spawn(process.execPath, [main, ...args], { cwd: cwd ?? this.home, env: this.environment(env) })
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input ?? '')
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    return { code: code as number | null, stdout, stderr }
  }

  /** Runs `coffer`, and fails unless it succeeds; returns what it wrote to standard output. */
  async ok(args: readonly string[], options?: RunOptions): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options)
    if (code !== 0) throw new Error(`coffer ${args.join(' ')}: ${code}\n${stderr}`)
    return stdout
  }

  /**
   * Runs a line of a shell in which `coffer` is the command under test.
   *
   * @returns both outputs as one, as somebody at a terminal sees them
   */
  shell(line: string, env?: Readonly<Record<string, string>>): string {
    const coffer = `coffer() { '${process.execPath}' '${main}' "$@"; }`
    const run = spawnSync('bash', ['-c', `exec 2>&1; ${coffer}; ${line}`], {
      cwd: this.home,
      env: this.environment(env),
      encoding: 'utf8',
    })
    return run.stdout
  }

  /** Runs `coffer` in a pseudo-terminal, at which somebody takes some steps. */
  async terminal(
    args: readonly string[],
    steps: readonly Step[] = [],
    options: RunOptions = {},
  ): Promise<TerminalResult> {
    if (terminalPython === null) throw new Error('there is no Python that opens pseudo-terminals')
    const child = spawn(terminalPython, [script], {
      cwd: this.home,
      env: this.environment({ TERM: 'xterm', ...options.env }),
    })
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    child.stdin.end(JSON.stringify({ argv: [process.execPath, main, ...args], steps, columns: options.columns ?? 80 }))
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    if (stderr !== '') throw new Error(stderr)
    return JSON.parse(stdout) as TerminalResult
  }
}

/** What somebody at a terminal saw. */
export interface TerminalResult {
  readonly code: number
  readonly output: string
}
