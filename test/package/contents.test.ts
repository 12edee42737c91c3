import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { publint } from 'publint'
import { beforeAll, describe, expect, inject, it } from 'vitest'
import { platforms } from '../../scripts/portable.mjs'
import { root } from '../../scripts/prepare.mjs'
import { entryPoints } from './support/example.ts'
import { run } from './support/run.ts'

const KIB = 1024
const MIB = 1024 * KIB

interface Manifest {
  readonly name: string
  readonly version: string
  readonly main?: string
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly scripts?: object
  readonly engines: { readonly node: string }
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: object
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

/** A package, taken out of its tarball by tar. */
class Unpacked {
  readonly tarball: string
  readonly directory: string
  readonly manifest: Manifest
  /** Its files, with their sizes in bytes. */
  readonly files: ReadonlyMap<string, number>

  private constructor(tarball: string, directory: string) {
    this.tarball = tarball
    this.directory = directory
    this.manifest = JSON.parse(this.read('package.json')) as Manifest
    this.files = new Map(
      (readdirSync(this.directory, { recursive: true }) as string[])
        .map((name): [string, number] => [name.replaceAll('\\', '/'), statSync(join(this.directory, name)).size])
        .filter(([name]) => statSync(join(this.directory, name)).isFile()),
    )
  }

  static async of(tarball: string): Promise<Unpacked> {
    const directory = join(root, 'target', 'test-package', 'unpacked', basename(tarball, '.tgz'))
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    const { status } = await run('tar', ['-xzf', tarball, '-C', directory, '--strip-components=1'])
    expect(status).toBe(0)
    return new Unpacked(tarball, directory)
  }

  read(file: string): string {
    return readFileSync(join(this.directory, file), 'utf8')
  }
}

const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest).version
let main: Unpacked
let others: Unpacked[]

beforeAll(async () => {
  const packages = await Promise.all(inject('packages').map((tarball) => Unpacked.of(tarball)))
  main = packages.find(({ manifest }) => manifest.name === 'coffer') as Unpacked
  others = packages.filter((one) => one !== main)
})

describe('the main package', () => {
  it('has the facade, its types, the manual page and the documents that npm shows, and nothing else', () => {
    const kinds = [/^dist\/.*\.js$/, /^dist\/.*\.d\.ts$/, /^man\/coffer\.1$/, /^native\/binding\.d\.cts$/]
    const single = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md']
    const names = [...main.files.keys()]
    expect(names.filter((name) => !single.includes(name) && !kinds.some((kind) => kind.test(name)))).toEqual([])
    expect(single.filter((name) => !names.includes(name))).toEqual([])
    for (const kind of kinds)
      expect(
        names.some((name) => kind.test(name)),
        String(kind),
      ).toBe(true)
    // What is built is built of what is there: nothing is left from a source that is gone.
    const built = names.filter((name) => name.startsWith('dist/') && name.endsWith('.js'))
    const gone = built.filter((name) => !existsSync(join(root, name.replace('dist/', 'ts/').replace(/\.js$/, '.ts'))))
    expect(gone).toEqual([])
  })

  it('takes less than 200 KiB to download, and less than 680 KiB on disk', () => {
    expect(statSync(main.tarball).size).toBeLessThan(200 * KIB)
    expect([...main.files.values()].reduce((sum, size) => sum + size, 0)).toBeLessThan(680 * KIB)
  })

  it('names the package of every platform, in its own version', () => {
    const wanted = platforms.map((platform) => [`coffer-${platform}`, version])
    expect(main.manifest.optionalDependencies).toEqual(Object.fromEntries(wanted))
    expect(readdirSync(join(root, 'npm')).sort()).toEqual([...platforms].sort())
    const listed = [...main.read('dist/binding/binary.js').matchAll(/^ {4}'([a-z0-9-]+)',$/gm)].map(([, name]) => name)
    expect(listed.sort()).toEqual([...platforms].sort())
  })

  it('says nothing of how it is developed', () => {
    expect(main.manifest.devDependencies).toBeUndefined()
    expect(main.manifest.scripts).toBeUndefined()
  })

  it('has the files that its entry points name', () => {
    const named = Object.values(main.manifest.exports ?? {}).flatMap((to) =>
      typeof to === 'string' ? [to] : Object.values(to),
    )
    expect(named.length).toBeGreaterThan(0)
    expect(named.filter((file) => !main.files.has(file.replace(/^\.\//, '')))).toEqual([])
  })

  it('has types that TypeScript resolves however it is set', async () => {
    const program = join(import.meta.dirname, 'node_modules/@arethetypeswrong/cli/dist/index.js')
    // That require() gets an ES module is how it is meant: every Node.js that Coffer runs on can do it.
    // The resolution of Node.js 10 knows no `exports`: it finds the package, and not its other entry points.
    const settings = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm']
    const args = [main.tarball, '--format', 'table-flipped', '--no-color', ...settings]
    const { status, stdout, stderr } = await run(process.execPath, [program, ...args])
    expect(status, stdout + stderr).toBe(0)
    // Types are found from CommonJS, from an ES module, and by a bundler.
    for (const entry of entryPoints) {
      const row = stdout.split('\n').find((line) => line.includes(`"${entry}"`))
      expect(row?.split('│').slice(2, 5), entry).toEqual(Array(3).fill(expect.stringContaining('🟢')))
    }
  })

  it('has no dependency with a script that runs at installation', () => {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean; dev?: boolean }>
    }
    const scripts = Object.entries(lock.packages).filter(([, { hasInstallScript, dev }]) => hasInstallScript && !dev)
    expect(scripts).toEqual([])
  })
})

describe('the packages of the platforms', () => {
  it('are there', () => {
    expect(others.length).toBeGreaterThan(0)
  })

  it('have the binary, its licence, and those of what is linked into it', () => {
    for (const { manifest, files } of others) {
      const wanted = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt', manifest.main, 'package.json']
      expect([...files.keys()].sort(), manifest.name).toEqual(wanted.sort())
      expect(manifest.version, manifest.name).toBe(version)
      expect(manifest.scripts, manifest.name).toBeUndefined()
    }
  })

  it('have a binary below 4.5 MiB', () => {
    for (const { manifest, files } of others) {
      expect(files.get(manifest.main as string), manifest.name).toBeLessThan(4.5 * MIB)
    }
  })
})

it('publint finds nothing in any of them', async () => {
  for (const { directory, manifest } of [main, ...others]) {
    const { messages } = await publint({ pkgDir: directory, pack: false, strict: true })
    expect(messages, manifest.name).toEqual([])
  }
})

it('no file points to a source map', () => {
  for (const { directory, files } of [main, ...others]) {
    for (const file of files.keys()) {
      expect(file).not.toMatch(/\.map$/)
      if (/\.(js|ts|cts)$/.test(file)) {
        expect(readFileSync(join(directory, file), 'utf8'), file).not.toContain('sourceMappingURL')
      }
    }
  }
})

describe.runIf(process.platform === 'linux')('the binary for Linux', () => {
  /** What a program of binutils says about each binary that is for Linux. */
  function each(program: string, ...args: readonly string[]): Promise<[name: string, text: string][]> {
    const binaries = others.filter(({ manifest }) => manifest.name.startsWith('coffer-linux-'))
    return Promise.all(
      binaries.map(async ({ directory, manifest }) => {
        const file = join(directory, manifest.main as string)
        const { status, stdout, stderr } = await run(program, [...args, file])
        expect(status, stderr).toBe(0)
        return [manifest.name, stdout]
      }),
    )
  }

  it('is stripped', async () => {
    for (const [name, sections] of await each('readelf', '--sections', '--wide')) {
      expect(sections, name).toContain('.dynsym')
      expect(sections, name).not.toMatch(/\.symtab|\.debug_/)
    }
  })

  it('needs no symbol of a glibc newer than 2.28, and none at all for musl', async () => {
    for (const [name, symbols] of await each('objdump', '--dynamic-syms')) {
      const versions = [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
      if (name.endsWith('-musl')) expect(versions, name).toEqual([])
      else expect(Math.max(...versions), name).toBeLessThanOrEqual(28)
    }
  })

  it('needs the C library and nothing else', async () => {
    for (const [name, text] of await each('readelf', '--dynamic', '--wide')) {
      const needed = [...text.matchAll(/NEEDED.*\[(.*)\]/g)].map(([, library]) => library)
      const libc = /^(lib(c|m|dl|pthread|rt|gcc_s)\.so(\.\d)?|ld-linux-.*|libc\.musl-.*)$/
      expect(needed.length, name).toBeGreaterThan(0)
      expect(
        needed.filter((library) => !libc.test(library as string)),
        name,
      ).toEqual([])
    }
  })
})
