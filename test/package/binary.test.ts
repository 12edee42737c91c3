import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { thisPlatform } from '../../scripts/portable.mjs'
import { User } from './support/user.ts'

/** The package with the binary that is used here. */
const ours = `coffer-${thisPlatform}`

/** Prints the code and the message of the error that the package's import fails with, or `loaded`. */
const program = `
import('coffer').then(
  () => console.log('loaded'),
  ({ name, code, message }) => console.log(JSON.stringify({ name, code, message })),
)`

describe('where no binary fits, the error names the platform, the package and what to do', () => {
  let user: User
  const installed = (...names: readonly string[]): string => join(user.folder, 'node_modules', ...names)

  beforeAll(async () => {
    user = new User(inject('registry'))
    await user.npm('install', 'coffer')
    renameSync(installed(), join(user.folder, 'fresh'))
  })
  beforeEach(() => {
    rmSync(installed(), { recursive: true, force: true })
    cpSync(join(user.folder, 'fresh'), installed(), { recursive: true })
  })
  afterAll(() => user.leave())

  async function failure(before = ''): Promise<string> {
    user.save('program.cjs', before + program)
    const { stdout, stderr, status } = await user.node('program.cjs')
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    const { name, code, message } = JSON.parse(stdout) as Record<string, string>
    expect({ name, code }).toEqual({ name: 'CofferError', code: 'ERR_COFFER_NO_BINARY' })
    return message as string
  }

  it('none of it otherwise', async () => {
    user.save('program.cjs', program)
    expect((await user.node('program.cjs')).stdout).toBe('loaded\n')
  })

  it('without the optional dependency', async () => {
    rmSync(installed(), { recursive: true })
    await user.npm('install', 'coffer', '--omit=optional', '--no-save')
    const message = await failure()
    expect(message).toContain(`no binary for ${thisPlatform} here: the package ${ours} is not installed`)
    expect(message).toContain('--omit=optional')
    expect(message).toContain('https://github.com/npm/cli/issues/4828')
    expect(message).toContain(`npm install ${ours}@`)
  })

  it('and what it says to do helps', async () => {
    rmSync(installed(ours), { recursive: true })
    const advice = /add the package: npm (install \S+)$/.exec(await failure())?.[1]?.split(' ') ?? []
    await user.npm(...advice, '--no-save')
    expect((await user.node('program.cjs')).stdout).toBe('loaded\n')
  })

  it('on a platform that has no package', async () => {
    const pretend = "Object.defineProperty(process, 'platform', { value: 'sunos' });"
    expect(await failure(pretend)).toMatch(
      /^coffer has no binary for sunos-\w+, only for darwin-arm64, .*win32-x64-msvc\./,
    )
  })

  it('on Linux, by the C library', async () => {
    const pretend = (header: object): string => `
      Object.defineProperty(process, 'platform', { value: 'linux' })
      Object.defineProperty(process, 'arch', { value: 'arm64' })
      process.report.getReport = () => (${JSON.stringify({ header })});`
    expect(await failure(pretend({}))).toContain('the package coffer-linux-arm64-musl is not installed')
    const glibc = pretend({ glibcVersionRuntime: '2.36' })
    expect(await failure(glibc)).toContain('the package coffer-linux-arm64-gnu is not installed')
  })

  it('when the binary is damaged', async () => {
    writeFileSync(installed(ours, binaryIn(installed(ours))), 'half a download')
    const message = await failure()
    expect(message).toContain(binaryIn(installed(ours)))
    expect(message).toContain('does not load with Node.js')
    expect(message).toContain('install again')
  })

  it('when the binary is of another version', async () => {
    const loader = installed('coffer', 'dist', 'binding', 'binary.js')
    const code = readFileSync(loader, 'utf8')
    const other = code.replace(/const VERSION = '[^']+'/, "const VERSION = '99.0.0'")
    expect(other).not.toBe(code)
    writeFileSync(loader, other)
    expect(await failure()).toMatch(/is of version \d+\.\d+\.\d+\S*, but coffer of 99\.0\.0/)
  })

  it.runIf(process.platform === 'linux')(
    'but the one that fits is taken where both C libraries have theirs',
    async () => {
      const other = ours.endsWith('-gnu') ? ours.replace(/gnu$/, 'musl') : ours.replace(/musl$/, 'gnu')
      mkdirSync(installed(other))
      writeFileSync(installed(other, 'package.json'), JSON.stringify({ name: other, main: 'x.node' }))
      writeFileSync(installed(other, 'x.node'), 'not for this library')
      user.save('program.cjs', program)
      expect((await user.node('program.cjs')).stdout).toBe('loaded\n')
    },
  )
})

function binaryIn(directory: string): string {
  return basename((JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as { main: string }).main)
}
