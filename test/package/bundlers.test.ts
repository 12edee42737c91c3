import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import asar from '@electron/asar'
import { build as esbuild } from 'esbuild'
import { build as vite } from 'vite'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { example, exampleInCommonJs, printed } from './support/example.ts'
import { User } from './support/user.ts'

/** How a bundle that has not got the facade in it begins. */
const imported = /^import[^;]*from\s*["']coffer["']/m
const ran = { stdout: printed, stderr: '', status: 0 }
let user: User

beforeAll(async () => {
  user = new User(inject('registry'))
  await user.npm('install', 'coffer')
  user.save('src/main.mjs', example)
  user.save('src/main.cjs', exampleInCommonJs)
})
afterAll(() => user.leave())

const at = (...names: readonly string[]): string => join(user.folder, ...names)

describe('esbuild', () => {
  const options = { bundle: true, platform: 'node', logLevel: 'silent', target: 'node20' } as const

  it.each(['esm', 'cjs'] as const)('with coffer external, as %s', async (format) => {
    const outfile = at(format === 'esm' ? 'esbuild.mjs' : 'esbuild.cjs')
    const entryPoints = [at(format === 'esm' ? 'src/main.mjs' : 'src/main.cjs')]
    await esbuild({ ...options, entryPoints, outfile, format, external: ['coffer'] })
    expect(await user.example(outfile)).toMatchObject(ran)
  })

  it('with the addon external, and the facade in the bundle', async () => {
    const outfile = at('esbuild-all.mjs')
    const { warnings } = await esbuild({ ...options, entryPoints: [at('src/main.mjs')], outfile, format: 'esm' })
    expect(warnings).toEqual([])
    expect(readFileSync(outfile, 'utf8')).not.toMatch(imported)
    expect(await user.example(outfile)).toMatchObject(ran)
  })
})

describe('the entry points without the binary, in a bundle', () => {
  it.each(['esm', 'cjs'] as const)('are a few KiB that run anywhere, as %s', async (format) => {
    user.save(
      'src/parts.mjs',
      `import { CofferError } from 'coffer/errors'
       import { CofferPlugin } from 'coffer/plugin'
       console.log(typeof CofferError, typeof CofferPlugin)`,
    )
    const outfile = at('elsewhere', format === 'esm' ? 'parts.mjs' : 'parts.cjs')
    const entryPoints = [at('src/parts.mjs')]
    const { warnings } = await esbuild({
      ...{ bundle: true, platform: 'node', logLevel: 'silent', target: 'node20' },
      ...{ entryPoints, outfile, format },
    })
    expect(warnings).toEqual([])
    expect(readFileSync(outfile, 'utf8')).not.toContain('ERR_COFFER_NO_BINARY')
    expect(statSync(outfile).size).toBeLessThan(32 * 1024)
    expect(await user.node(outfile)).toMatchObject({ stdout: 'function function\n', stderr: '', status: 0 })
  })
})

describe('Vite, for a server', () => {
  it.each([
    ['with coffer external, as it does by itself', undefined],
    ['with the addon external, and the facade in the bundle', ['coffer']],
  ])('%s', async (_, noExternal) => {
    const outDir = at(noExternal ? 'vite-all' : 'vite')
    await vite({
      root: user.folder,
      configFile: false,
      logLevel: 'silent',
      build: {
        ssr: 'src/main.mjs',
        outDir,
        target: 'node20',
        rollupOptions: { output: { entryFileNames: 'main.mjs' } },
      },
      ...(noExternal ? { ssr: { noExternal } } : {}),
    })
    const bundle = join(outDir, 'main.mjs')
    expect(imported.test(readFileSync(bundle, 'utf8'))).toBe(noExternal === undefined)
    expect(await user.example(bundle)).toMatchObject(ran)
  })
})

it.each(['src/main.mjs', 'esbuild-all.mjs'])('a worker thread loads it, and so does the next one: %s', async (file) => {
  user.save(
    'workers.mjs',
    `import { once } from 'node:events'
     import { rmSync } from 'node:fs'
     import { Worker } from 'node:worker_threads'
     for (let round = 0; round < 2; round++) {
       const [code] = await once(new Worker(new URL('./${file}', import.meta.url)), 'exit')
       console.log(code)
       rmSync('vault.coffer')
     }`,
  )
  expect(await user.example('workers.mjs')).toMatchObject({ ...ran, stdout: `${printed}0\n${printed}0\n` })
})

describe('an ASAR archive', () => {
  it('has all but the binary in it, and the app runs', async () => {
    user.save('app/package.json', JSON.stringify({ name: 'app', main: 'main.mjs', type: 'module' }))
    user.save('app/main.mjs', example)
    await user.npm('install', 'coffer', '--prefix', at('app'))
    await asar.createPackageWithOptions(at('app'), at('app.asar'), { unpack: '**/*.node' })
    rmSync(at('app'), { recursive: true })

    const unpacked = (readdirSync(at('app.asar.unpacked'), { recursive: true }) as string[]).filter((name) =>
      statSync(at('app.asar.unpacked', name)).isFile(),
    )
    expect(unpacked.map((name) => basename(name))).toEqual([expect.stringMatching(/^coffer\..*\.node$/)])

    mount()
    // Electron's own part: to a program, the archive is a directory, and what is loaded from it is loaded from beside it.
    user.save(
      'electron.cjs',
      `const { dlopen } = process
       process.dlopen = (module, file, ...rest) => dlopen(module, file.replace('app.asar', 'app.asar.unpacked'), ...rest)`,
    )
    expect(await user.example('--require', './electron.cjs', at('app.asar', 'main.mjs'))).toMatchObject(ran)
    // Without that part the file in the archive is what is loaded, and it is not the binary.
    expect((await user.node(at('app.asar', 'main.mjs'))).stderr).toContain('ERR_COFFER_NO_BINARY')
  })

  /** Puts a directory in the place of the archive, with what a program would see in it. */
  function mount(): void {
    const files = asar.listPackage(at('app.asar'), { isPack: false }).map((name) => name.replace(/^[/\\]/, ''))
    const contents = files.flatMap((name): [string, Buffer][] => {
      const entry = asar.statFile(at('app.asar'), name)
      if ('files' in entry) return []
      // What is outside can be seen in the archive, but not be read as a library.
      return [[name, 'unpacked' in entry && entry.unpacked ? Buffer.alloc(0) : asar.extractFile(at('app.asar'), name)]]
    })
    rmSync(at('app.asar'))
    for (const [name, bytes] of contents) {
      user.save(join('app.asar', dirname(name), '.keep'), '')
      writeFileSync(at('app.asar', name), bytes)
    }
  }
})
