import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { root } from '../../../scripts/prepare.mjs'
import { type Ended, run } from './run.ts'

const windows = process.platform === 'win32'

/** What npm has downloaded in this run. All users share it, so that each package is downloaded once. */
export const npmCache = join(root, 'target', 'test-package', 'npm-cache')

/** What npm prints, run by the Node.js that runs the tests. */
export async function npm(args: readonly string[], cwd = process.cwd()): Promise<string> {
  // npm is a script on Windows, which only a shell can start.
  const { status, stdout, stderr } = await run('npm', args, { cwd, shell: windows })
  if (status !== 0) throw new Error(`npm ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout
}

/** The programs of npm, which any Node.js runs. */
const npmPrograms = join((await npm(['root', '--global'])).trim(), 'npm', 'bin')

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
      npm_config_cache: npmCache,
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
  node(...args: readonly string[]): Promise<Ended> {
    return this.#run(this.#node, args)
  }

  /** Runs node with the first example, whose coffer must not be there yet. */
  example(...args: readonly string[]): Promise<Ended> {
    rmSync(join(this.folder, 'vault.coffer'), { force: true })
    return this.node(...args)
  }

  /** Runs npm; that it fails is an error. */
  async npm(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.node(join(npmPrograms, 'npm-cli.js'), ...args)
    if (status !== 0) throw new Error(`npm ${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }

  /** Runs npx. */
  npx(...args: readonly string[]): Promise<Ended> {
    return this.node(join(npmPrograms, 'npx-cli.js'), ...args)
  }

  /** Whether there is such a program on their PATH. */
  async has(program: string): Promise<boolean> {
    const [command, ...args] = windows ? ['where.exe', program] : ['sh', '-c', `command -v ${program}`]
    return (await this.#run(command as string, args)).status === 0
  }

  /** Removes all that they had. */
  leave(): void {
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 5 })
  }

  #run(command: string, args: readonly string[]): Promise<Ended> {
    return run(command, args, { cwd: this.folder, env: this.#env })
  }
}
