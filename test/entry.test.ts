import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { tempDir } from './support/temp.ts'

const root = join(import.meta.dirname, '..')

interface Manifest {
  readonly version: string
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest

/** The values of each entry point, as its users see them. */
const values = {
  coffer: [
    ...[
      'Coffer',
      'CofferBank',
      'CofferError',
      'CofferMarket',
      'CofferNull',
      'CofferPlugin',
      'CofferStore',
      'KeyPlugin',
    ],
    ...['RecordPlugin', 'deriveKeys', 'exportTar', 'identify', 'importTar'],
  ],
  'coffer/errors': ['CofferError'],
  'coffer/plugin': ['CofferPlugin', 'KeyPlugin', 'RecordPlugin'],
}

/** A directory whose programs import the package, as it is built. */
function withPackage(): string {
  const directory = tempDir()
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(root, join(directory, 'node_modules/coffer'), 'junction')
  return directory
}

/** A directory whose programs import a package without its binary. */
function withoutBinary(): string {
  const directory = tempDir()
  const copy = join(directory, 'node_modules/coffer')
  cpSync(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(copy, 'package.json'))
  return directory
}

/** What a program prints as JSON. */
async function run(directory: string, name: string, program: string): Promise<unknown> {
  writeFileSync(join(directory, name), program)
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [name], { cwd: directory })
  expect(stderr).toBe('')
  return JSON.parse(stdout)
}

describe('the entry points of the package', () => {
  it('are those that are documented, each with its types first and its code last', () => {
    expect(Object.keys(manifest.exports)).toEqual(['.', './errors', './plugin', './package.json'])
    for (const [name, conditions] of Object.entries(manifest.exports)) {
      if (typeof conditions === 'string') continue
      expect(Object.keys(conditions), name).toEqual(['types', 'default'])
      for (const file of Object.values(conditions)) expect(() => readFileSync(join(root, file))).not.toThrow()
    }
  })

  it.each(Object.entries(values))('%s is imported, and required, with the same values', async (entry, names) => {
    const directory = withPackage()
    const imported = `console.log(JSON.stringify(Object.keys(await import('${entry}'))))`
    const required = `console.log(JSON.stringify(Object.keys(require('${entry}'))))`
    expect(await run(directory, 'imports.mjs', imported)).toEqual([...names].sort())
    expect(await run(directory, 'requires.cjs', required)).toEqual([...names].sort())
  })

  it('have one CofferError and one of each base class, whether they are imported or required', async () => {
    const program = `
      const coffer = require('coffer')
      const parts = { ...require('coffer/errors'), ...require('coffer/plugin') }
      import('coffer').then((imported) => {
        console.log(JSON.stringify(Object.keys(parts).map((name) => coffer[name] === parts[name] && imported[name] === parts[name])))
      })`
    expect(await run(withPackage(), 'same.cjs', program)).toEqual([true, true, true, true])
  })

  it('have the package’s description', async () => {
    const program = "console.log(JSON.stringify(require('coffer/package.json').version))"
    expect(await run(withPackage(), 'version.cjs', program)).toBe(manifest.version)
  })

  it('have no other files', async () => {
    const program = `
      const codes = ['coffer/dist/index.js', 'coffer/index', 'coffer/dist/errors.js'].map((name) => {
        try { require(name) } catch (error) { return error.code }
      })
      console.log(JSON.stringify(codes))`
    const code = 'ERR_PACKAGE_PATH_NOT_EXPORTED'
    expect(await run(withPackage(), 'others.cjs', program)).toEqual([code, code, code])
  })
})

describe('without the binary', () => {
  it('coffer fails, and coffer/errors says with what', async () => {
    const program = `
      import { CofferError } from 'coffer/errors'
      const error = await import('coffer').catch((error) => error)
      console.log(JSON.stringify([error instanceof CofferError, error.code]))`
    expect(await run(withoutBinary(), 'errors.mjs', program)).toEqual([true, 'ERR_COFFER_NO_BINARY'])
  })

  it('coffer/plugin has classes to extend', async () => {
    const program = `
      import { CofferPlugin, KeyPlugin, RecordPlugin } from 'coffer/plugin'
      const made = [CofferPlugin, KeyPlugin, RecordPlugin].map((Base) => new (class extends Base {})({ coffer: {} }))
      console.log(JSON.stringify(made.map(({ closed }) => closed)))`
    expect(await run(withoutBinary(), 'plugin.mjs', program)).toEqual([false, false, false])
  })

  it('both are required, too', async () => {
    const program = `
      const names = ['coffer', 'coffer/errors', 'coffer/plugin'].map((name) => {
        try { return Object.keys(require(name)).length } catch (error) { return error.code }
      })
      console.log(JSON.stringify(names))`
    expect(await run(withoutBinary(), 'requires.cjs', program)).toEqual(['ERR_COFFER_NO_BINARY', 1, 3])
  })
})
