import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const read = (name: string): string => readFileSync(join(root, name), 'utf8')

interface Locked {
  readonly resolved?: string
  readonly integrity?: string
  readonly hasInstallScript?: boolean
  readonly link?: boolean
}

describe('package-lock.json', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> }
  const locked = Object.entries(packages).filter(([path]) => path !== '')

  it('has no addresses, so that every package comes from the registry that npm is set to, and digests for all', () => {
    expect(locked.length).toBeGreaterThan(100)
    const wrong = locked.filter(
      ([, { resolved, integrity, link }]) =>
        resolved !== undefined || link !== undefined || !integrity?.startsWith('sha512-'),
    )
    expect(wrong).toEqual([])
  })

  it('has neither addresses nor missing digests where the benchmark has one of its own', () => {
    for (const part of ['corpus', 'peers']) {
      const lock = JSON.parse(read(`bench/${part}/npm/package-lock.json`)) as { packages: Record<string, Locked> }
      const wrong = Object.entries(lock.packages).filter(
        ([path, { resolved, integrity }]) =>
          path !== '' && (resolved !== undefined || !integrity?.startsWith('sha512-')),
      )
      expect(wrong, part).toEqual([])
      expect(read(`bench/${part}/npm/.npmrc`)).toBe(read('.npmrc'))
    }
  })

  it('has one package with an install script, for development, which is not run', () => {
    const scripts = locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path)
    expect(scripts).toEqual(['node_modules/esbuild'])
    expect(packages['node_modules/esbuild']).toMatchObject({ dev: true })
    expect(read('.npmrc').split('\n')).toContain('ignore-scripts=true')
  })

  it('is what package.json asks for', () => {
    const asked = JSON.parse(read('package.json')) as Record<string, unknown>
    for (const name of ['version', 'dependencies', 'devDependencies', 'peerDependencies', 'optionalDependencies']) {
      expect((packages[''] as Record<string, unknown>)[name], name).toEqual(asked[name])
    }
    const listed = spawnSync('npm', ['ls', '--all', '--package-lock-only'], {
      cwd: root,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
    expect(listed.status, listed.stderr).toBe(0)
  })
})

describe('Cargo.lock', () => {
  it('has crates of crates.io alone, each with its digest, besides our own', () => {
    const crates = read('Cargo.lock').split('[[package]]').slice(1)
    const field = (crate: string, name: string): string | undefined =>
      new RegExp(`^${name} = "(.*)"$`, 'm').exec(crate)?.[1]
    const own = crates.filter((crate) => field(crate, 'source') === undefined)
    expect(own.map((crate) => field(crate, 'name'))).toEqual(['coffer-core', 'coffer-node'])
    const others = crates.filter((crate) => !own.includes(crate))
    expect(others.length).toBeGreaterThan(100)
    for (const crate of others) {
      expect(field(crate, 'source')).toBe('registry+https://github.com/rust-lang/crates.io-index')
      expect(field(crate, 'checksum'), field(crate, 'name')).toMatch(/^[0-9a-f]{64}$/)
    }
  })
})

describe('THIRD-PARTY-LICENSES.txt', () => {
  const { targets } = (JSON.parse(read('package.json')) as { napi: { targets: string[] } }).napi
  const named = new Set(
    [...read('THIRD-PARTY-LICENSES.txt').matchAll(/^ {2}(\S+) (\S+?)(?:,|$)/gm)].map(
      ([, name, at]) => `${name} v${at}`,
    ),
  )

  it.each(targets)('names every crate that is linked for %s: `npm run licences` writes it', (target) => {
    const args = ['--package', 'coffer-node', '--edges', 'normal', '--target', target, '--prefix', 'none', '--locked']
    const { status, stdout, stderr } = spawnSync('cargo', ['tree', ...args], { cwd: root, encoding: 'utf8' })
    expect(status, stderr).toBe(0)
    // Our own crates have a path behind their versions, and what runs at compile time is marked.
    const linked = stdout.split('\n').filter((line) => /^\S+ v\S+( \(\*\))?$/.test(line))
    const wanted = [...new Set(linked.map((line) => line.replace(' (*)', '')))]
    expect(wanted.length).toBeGreaterThan(50)
    expect(wanted.filter((crate) => !named.has(crate))).toEqual([])
  })

  it('has the licences of the libraries in C', () => {
    expect(read('THIRD-PARTY-LICENSES.txt')).toContain('Frank Denis')
    expect(read('THIRD-PARTY-LICENSES.txt')).toContain('Meta Platforms, Inc. and affiliates')
  })
})
