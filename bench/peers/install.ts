/** Installs those peers that come from npm and crates.io. The others are Debian's: age, p7zip-full, restic, zstd. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { installed, shell } from './programs.ts'
import { python } from './pycoffer.ts'

const MLAR = '2.1.0'

/** Does what can be done, and says what could not. */
export function install(): void {
  const here = join(import.meta.dirname, 'npm')
  attempt('npm packages', () => shell('cd "$1"; npm ci --no-audit --no-fund', [here]))
  // Its own installation would download a binary or Node's headers: Node's own are used instead.
  const node = dirname(dirname(process.execPath))
  const gyp = join(node, 'lib', 'node_modules', 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')
  attempt('better-sqlite3', () => {
    if (!existsSync(join(node, 'include', 'node'))) throw new Error(`there are no headers below ${node}`)
    shell('cd "$1"; "$2" "$3" rebuild --release "--nodedir=$4"', [
      join(here, 'node_modules', 'better-sqlite3'),
      process.execPath,
      gyp,
      node,
    ])
  })
  attempt('mlar', () => shell('cargo install mlar --version "$1" --locked --quiet --root "$2"', [MLAR, installed]))
  attempt('PyCoffer', () => {
    if (python() === null) throw new Error('there is no Python 3.10 with venv')
  })
}

function attempt(what: string, work: () => unknown): void {
  try {
    work()
    console.log(`installed: ${what}`)
  } catch (error) {
    console.log(`not installed: ${what}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`)
  }
}
