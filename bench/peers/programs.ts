/** Programs that Coffer is compared with, where the machine has them. */
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../../scripts/prepare.mjs'

/** Where `npm run bench -- --install` puts what it builds. */
export const installed = join(root, 'target', 'bench', 'peers')

const { PATH = '' } = process.env
const path = `${join(installed, 'bin')}:${PATH}`
const versionFlags: Readonly<Record<string, string>> = { restic: 'version', '7z': 'i' }
const known = new Map<string, string | null>()

/** The version that a program says it has; null if it is not there. */
export function versionOf(program: string): string | null {
  const before = known.get(program)
  if (before !== undefined) return before
  const { status, stdout } = spawnSync(program, [versionFlags[program] ?? '--version'], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
  })
  const lines = status === 0 ? stdout.split('\n') : []
  const version = status === 0 ? (lines.find((line) => line.trim() !== '') ?? '').trim() : null
  known.set(program, version)
  return version
}

/** Those that are missing. */
export function missing(programs: readonly string[]): string[] {
  return programs.filter((program) => versionOf(program) === null)
}

/** Runs a shell's script with `$1`, `$2` …; an error of any part of a pipe is an error. */
export function shell(
  script: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): string {
  return execFileSync('bash', ['-c', `set -euo pipefail; ${script}`, 'bash', ...args], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path, ...env },
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}
