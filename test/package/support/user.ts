import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

const windows = process.platform === 'win32'

/** What npm prints, run by the Node.js that runs the tests. */
export function npm(args: readonly string[], cwd = process.cwd()): string {
  // npm is a script on Windows, which only a shell can start.
  const { status, stdout, stderr, error } = spawnSync('npm', args, { cwd, encoding: 'utf8', shell: windows })
  if (status !== 0) throw error ?? new Error(`npm ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout
}

/** The programs of npm, which any Node.js runs. */
const npmPrograms = join(npm(['root', '--global']).trim(), 'npm', 'bin')

/** What a command printed and how it ended. */
export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Somebody who has Node.js and npm, an empty folder, and nothing else: on their PATH are node, and
 * what npm and a shebang need, a shell and env. On Windows it is the folder with node.
 */
export class User {
  /** The folder they work in. */
  readonly folder: string
  readonly #node: string
  readonly #home = realpathSync(mkdtempSync(join(tmpdir(), 'coffer-user-')))
  readonly #env: NodeJS.ProcessEnv

  constructor(registry: string, node = process.execPath) {
    this.folder = join(this.#home, 'project')
    const path = windows ? dirname(node) : join(this.#home, 'bin')
    mkdirSync(this.folder)
    if (!windows) {
      mkdirSync(path)
      for (const [name, target] of [
        ['node', node],
        ['sh', '/bin/sh'],
        ['env', '/usr/bin/env'],
      ] as const) {
        symlinkSync(target, join(path, name))
      }
    }
    this.#node = node
    this.#env = {
      ...(windows ? { SystemRoot: process.env['SystemRoot'], ComSpec: process.env['ComSpec'] } : {}),
      PATH: windows ? [path, join(process.env['SystemRoot'] ?? '', 'System32')].join(delimiter) : path,
      HOME: this.#home,
      USERPROFILE: this.#home,
      TEMP: tmpdir(),
      npm_config_registry: registry,
      npm_config_cache: join(this.#home, 'cache'),
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    }
  }

  /** Puts a file into their folder. */
  save(name: string, text: string): void {
    mkdirSync(dirname(join(this.folder, name)), { recursive: true })
    writeFileSync(join(this.folder, name), text)
  }

  /** Runs node. */
  node(...args: readonly string[]): Ended {
    return this.#run(this.#node, args)
  }

  /** Runs npm; that it fails is an error. */
  npm(...args: readonly string[]): string {
    const { status, stdout, stderr } = this.node(join(npmPrograms, 'npm-cli.js'), ...args)
    if (status !== 0) throw new Error(`npm ${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }

  /** Runs npx. */
  npx(...args: readonly string[]): Ended {
    return this.node(join(npmPrograms, 'npx-cli.js'), ...args)
  }

  /** Whether there is such a program on their PATH. */
  has(program: string): boolean {
    return this.#run(windows ? 'where.exe' : 'sh', windows ? [program] : ['-c', `command -v ${program}`]).status === 0
  }

  /** Removes all that they had. */
  leave(): void {
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 5 })
  }

  #run(command: string, args: readonly string[]): Ended {
    return spawnSync(command, args, { cwd: this.folder, env: this.#env, encoding: 'utf8' })
  }
}
