// @ts-check
/**
 * `node scripts/libsodium.mjs --target <triple>`: builds the libsodium that a release links, from its source, and
 * prints the directory that SODIUM_LIB_DIR must name then.
 *
 * Without it, libsodium-sys builds the 1.0.18 that it brings, links a prebuilt library for Windows, and
 * has none at all for Windows on ARM.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './prepare.mjs'
import { withLibc, zigPython } from './zig.mjs'

const VERSION = '1.0.22'
const SHA256 = 'adbdd8f16149e81ac6078a03aca6fc03b592b89ef7b5ed83841c086191be3349'
const SOURCE = `https://github.com/jedisct1/libsodium/releases/download/${VERSION}-RELEASE/libsodium-${VERSION}.tar.gz`

const { target } = parseArgs({ options: { target: { type: 'string' } } }).values
if (target === undefined) {
  console.error('usage: node scripts/libsodium.mjs --target <triple>')
  process.exit(2)
}
const directory = join(root, 'target', 'libsodium', target)
await unpack(directory)
console.log(target.includes('-windows-') ? buildWindows(directory, target) : buildUnix(directory, target))

/**
 * Downloads the source and unpacks it, if it is what it should be.
 *
 * @param {string} directory
 */
async function unpack(directory) {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  const archive = join(dirname(directory), `libsodium-${VERSION}.tar.gz`)
  if (!existsSync(archive)) {
    const response = await fetch(SOURCE)
    if (!response.ok) throw new Error(`${SOURCE} cannot be had: ${response.status} ${response.statusText}`)
    writeFileSync(archive, new Uint8Array(await response.arrayBuffer()))
  }
  const digest = createHash('sha256').update(readFileSync(archive)).digest('hex')
  if (digest !== SHA256) throw new Error(`${archive} is not libsodium ${VERSION}: its SHA-256 is ${digest}`)
  // Relative, because a tar on Windows takes the colon of a drive for that of a host.
  must(directory, 'tar', ['-xzf', `../libsodium-${VERSION}.tar.gz`, '--strip-components=1'])
}

/**
 * @param {string} source
 * @param {string} target
 */
function buildUnix(source, target) {
  const prefix = join(source, 'installed')
  const options = ['--disable-shared', '--with-pic', '--disable-dependency-tracking', `--prefix=${prefix}`]
  must(source, './configure', [`--host=${target}`, ...options, ...compiler(target)])
  const jobs = `-j${availableParallelism()}`
  const runsHere = target.startsWith(process.arch === 'arm64' ? 'aarch64-' : 'x86_64-')
  must(source, 'make', [jobs, runsHere ? 'check' : 'all'])
  must(source, 'make', ['install'])
  return join(prefix, 'lib')
}

/**
 * What configure is told of the compiler: nothing on macOS.
 *
 * @param {string} target
 */
function compiler(target) {
  if (!target.includes('-linux-')) return []
  const zig = `${zigPython()} -m ziglang`
  const [arch, , ...system] = withLibc(target).split('-')
  return [
    `CC=${zig} cc -target ${[arch, ...system].join('-')}`,
    `AR=${zig} ar`,
    `RANLIB=${zig} ranlib`,
    // zig traps what is undefined in C, unless it is told not to.
    'CFLAGS=-O3 -fno-sanitize=undefined',
  ]
}

/**
 * The static library, which brings the static C runtime, as the addon does.
 *
 * @param {string} source
 * @param {string} target
 */
function buildWindows(source, target) {
  const [version, msbuild] = ['-property installationVersion', '-find MSBuild\\**\\Bin\\MSBuild.exe'].map(visualStudio)
  const year = version?.startsWith('17.') ? 'vs2022' : 'vs2026'
  must(source, msbuild ?? '', [
    `builds\\msvc\\${year}\\libsodium.sln`,
    '-p:Configuration=StaticRelease',
    `-p:Platform=${target.startsWith('aarch64-') ? 'ARM64' : 'x64'}`,
    '-p:PreferredToolArchitecture=x64',
    '-maxCpuCount',
    '-verbosity:minimal',
  ])
  const library = readdirSync(join(source, 'bin'), { recursive: true, encoding: 'utf8' }).find((file) =>
    file.endsWith('libsodium.lib'),
  )
  if (library === undefined) throw new Error(`MSBuild has left no libsodium.lib in ${join(source, 'bin')}.`)
  return dirname(join(source, 'bin', library))
}

/**
 * What the installer of Visual Studio says of the newest one here.
 *
 * @param {string} question
 */
function visualStudio(question) {
  const where = join(process.env['ProgramFiles(x86)'] ?? '', 'Microsoft Visual Studio', 'Installer', 'vswhere.exe')
  const { stdout } = spawnSync(where, ['-latest', '-products', '*', ...question.split(' ')], { encoding: 'utf8' })
  const [answer] = (stdout ?? '').trim().split(/\r?\n/)
  if (!answer) throw new Error('There is no Visual Studio, or none with its build tools: install them for C++.')
  return answer
}

/**
 * Runs a command, its output shown where errors go: only the result is printed.
 *
 * @param {string} cwd
 * @param {string} command
 * @param {readonly string[]} args
 */
function must(cwd, command, args) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', process.stderr, 'inherit'] })
  if (status !== 0) throw error ?? new Error(`failed: ${[command, ...args].join(' ')}`)
}
