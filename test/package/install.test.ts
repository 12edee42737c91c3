import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { thisPlatform } from '../../scripts/portable.mjs'
import { entryPoints, example, exampleInCommonJs, printed } from './support/example.ts'
import { User } from './support/user.ts'

const require = createRequire(import.meta.url)

/** The versions of Node.js that are tried: those in package.json where they run, and the one that runs this. */
const others =
  thisPlatform === 'linux-x64-gnu' ? Object.keys(require('./package.json').optionalDependencies as object) : []
const versions: [version: string, node: string][] = [
  ...others.map((name): [string, string] => [name, join(import.meta.dirname, 'node_modules', name, 'bin/node')]),
  [`node ${process.versions.node}, which runs this`, process.execPath],
]

it('is tried with every version of Node.js where there are binaries of it', () => {
  expect(versions).toHaveLength(thisPlatform === 'linux-x64-gnu' ? 5 : 1)
  for (const [version, node] of versions) expect(existsSync(node), version).toBe(true)
})

describe.each(versions)('with %s', (_, node) => {
  let user: User

  beforeAll(async () => {
    user = new User(inject('registry'), node)
    await user.npm('install', 'coffer')
  })
  afterAll(() => user.leave())

  it('there is neither a compiler nor Rust nor Python', async () => {
    expect(await user.has('node')).toBe(true)
    for (const program of ['cargo', 'rustc', 'cc', 'gcc', 'clang', 'cl', 'make', 'python3', 'node-gyp']) {
      expect(await user.has(program), program).toBe(false)
    }
  })

  it('npm installs the binary of this platform alone', () => {
    const ours = readdirSync(join(user.folder, 'node_modules')).filter((name) => name.startsWith('coffer'))
    expect(ours).toHaveLength(2)
    expect(ours[1]).toContain(`coffer-${process.platform}-${process.arch}`)
  })

  it('the README’s first example runs as an ES module', async () => {
    user.save('first.mjs', example)
    expect(await user.example('first.mjs')).toMatchObject({ stdout: printed, stderr: '', status: 0 })
  })

  it('and as CommonJS', async () => {
    user.save('first.cjs', exampleInCommonJs)
    expect(await user.example('first.cjs')).toMatchObject({ stdout: printed, stderr: '', status: 0 })
  })

  it.each(['import', 'require'])('every entry point loads by %s', async (how) => {
    const load = how === 'import' ? 'await import' : 'require'
    const file = how === 'import' ? 'entries.mjs' : 'entries.cjs'
    user.save(
      file,
      `const [coffer, ...parts] = [${entryPoints.map((entry) => `${load}('${entry}')`).join(', ')}]
       console.log(parts.map((part) => Object.entries(part).every(([name, value]) => coffer[name] === value)).join())`,
    )
    const stdout = `${entryPoints.slice(1).map(() => 'true')}\n`
    expect(await user.node(file)).toMatchObject({ stdout, stderr: '', status: 0 })
  })

  it('npx runs the command', async () => {
    const { status, stdout } = await user.npx('coffer', '--help')
    expect(stdout).toContain('Usage: coffer')
    expect(status).toBe(0)
    expect((await user.npx('coffer', '--version')).stdout).toBe(`${require('../../package.json').version}\n`)
  })
})

describe('in TypeScript', () => {
  let user: User
  const settings = {
    node16: { module: 'node16', moduleResolution: 'node16' },
    nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
    bundler: { module: 'esnext', moduleResolution: 'bundler' },
  }

  beforeAll(async () => {
    user = new User(inject('registry'))
    const { typescript, '@types/node': types } = require('../../package.json').devDependencies as Record<string, string>
    await user.npm('install', 'coffer', `typescript@${typescript}`, `@types/node@${types}`)
    user.save('first.mts', example)
  })
  afterAll(() => user.leave())

  async function compile(options: object, files: readonly string[]): Promise<string> {
    const compilerOptions = { strict: true, target: 'es2022', lib: ['es2022', 'esnext.disposable'], types: ['node'] }
    user.save('tsconfig.json', JSON.stringify({ compilerOptions: { ...compilerOptions, ...options }, files }))
    const { status, stdout } = await user.node('node_modules/typescript/bin/tsc')
    return status === 0 ? stdout : stdout || `it ended with ${status}`
  }

  it.each(Object.entries(settings))('its types are found and strict under %s, and it runs', async (_, options) => {
    expect(await compile({ ...options, outDir: 'out' }, ['first.mts'])).toBe('')
    expect(await user.example('out/first.mjs')).toMatchObject({ stdout: printed, status: 0 })
  })

  it.each(Object.entries(settings))('what is wrong is an error under %s', async (_, options) => {
    user.save('wrong.mts', "import { CofferBank } from 'coffer'\nCofferBank.open('x', 'w', 1)\n")
    expect(await compile({ ...options, noEmit: true }, ['wrong.mts'])).toMatch(/^wrong\.mts\(2,\d+\): error TS/)
  })

  it.each(Object.entries(settings))(
    'the types of its other entry points are found under %s, and they run',
    async (_, options) => {
      user.save(
        'parts.mts',
        `import { CofferNull } from 'coffer'
       import { CofferError, type ErrorCode } from 'coffer/errors'
       import { CofferPlugin } from 'coffer/plugin'
       class Count extends CofferPlugin {
         async count(): Promise<number> { return (await this.coffer.members()).length }
       }
       const code: ErrorCode = new CofferError('ERR_COFFER_CLOSED', 'x').code
       await using box = await CofferNull.open('parts.coffer', 'w')
       console.log(code, await (await box.plugin(Count)).count())`,
      )
      expect(await compile({ ...options, outDir: 'out' }, ['parts.mts'])).toBe('')
      expect(await user.node('out/parts.mjs')).toMatchObject({ stdout: 'ERR_COFFER_CLOSED 0\n', status: 0 })
    },
  )

  it('CommonJS imports it under nodenext', async () => {
    user.save('common.cts', "import { CofferNull } from 'coffer'\nconsole.log(typeof CofferNull.open)\n")
    expect(await compile({ ...settings.nodenext, outDir: 'out' }, ['common.cts'])).toBe('')
    expect(await user.node('out/common.cjs')).toMatchObject({ stdout: 'function\n', status: 0 })
  })
})
