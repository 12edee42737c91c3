// @ts-check
/** A Python with PyCoffer in it, and with another reader of CBOR, for the interoperability tests; and others. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './prepare.mjs'

const requirements = [
  'pycoffer==0.1.4',
  'cofferfile==0.0.10',
  'aesfile==0.0.6',
  'fernetfile==0.1.7',
  'naclfile==0.0.6',
  'backports.zstd==1.8.0',
  'cbor2==6.3.0',
  'blake3==1.0.11',
  'cffi==2.1.1',
  'click==8.5.1',
  'cryptography==50.0.2',
  'filelock==4.2.12',
  'pycparser==3.12',
  'pycryptodome==4.4.0',
  'PyNaCl==1.6.2',
  'PyYAML==6.0.3',
  'pyzstd==0.20.0',
  'typing_extensions==4.16.0',
]

const inside = process.platform === 'win32' ? join('Scripts', 'python.exe') : join('bin', 'python')

/**
 * The path of a Python that has PyCoffer; null where there is no Python 3.10 that can make an environment.
 *
 * @param {Readonly<Record<string, string>>} other packages that it has in another version
 * @returns {string | null}
 */
export function pythonEnv(other = {}) {
  return pythonWith(
    requirements.map((requirement) => {
      const [name = ''] = requirement.split('==')
      return other[name] === undefined ? requirement : `${name}==${other[name]}`
    }),
  )
}

/**
 * The path of a Python that has these packages, in an environment of its own that the first call makes;
 * null where there is no Python 3.10 that can make one.
 *
 * @param {readonly string[]} wanted
 * @returns {string | null}
 */
export function pythonWith(wanted) {
  const digest = createHash('sha256').update(wanted.join('\n')).digest('hex').slice(0, 12)
  const directory = join(root, 'target', `python-${digest}`)
  const ready = join(directory, 'ready')
  const python = join(directory, inside)
  if (existsSync(ready)) return python
  const maker = ['python3', 'python'].find(canMakeEnvironments)
  if (maker === undefined) return null
  rmSync(directory, { recursive: true, force: true })
  must(maker, ['-m', 'venv', directory])
  must(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wanted])
  writeFileSync(ready, '')
  return python
}

/** Makes the environment before vitest's workers ask for it all at once: vitest calls this. */
export function setup() {
  pythonEnv()
}

/** @param {string} python */
function canMakeEnvironments(python) {
  const probe = 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))'
  return spawnSync(python, ['-c', probe], { stdio: 'ignore' }).status === 0
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 */
function must(command, args) {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`failed: ${[command, ...args].join(' ')}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (pythonEnv() === null) console.log('There is no Python 3.10 with venv: what needs PyCoffer is skipped.')
}
