// @ts-check
/**
 * `npm run build:portable [-- --target <triple>]`: the binary of a platform's package, into npm/<platform>/.
 *
 * For Linux, zig links against the oldest C library that the package promises, whatever the machine has: glibc 2.28,
 * or musl. For macOS and Windows the machine's own compiler does it.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureBuilt, ensureFacade, isBuilt, root, stampNative } from './prepare.mjs'
import { hasZig, withLibc, zigPython } from './zig.mjs'

/** The platforms, as the packages in npm/ and the process name them, and as Rust does. */
const triples = {
  'linux-x64-gnu': 'x86_64-unknown-linux-gnu',
  'linux-x64-musl': 'x86_64-unknown-linux-musl',
  'linux-arm64-gnu': 'aarch64-unknown-linux-gnu',
  'linux-arm64-musl': 'aarch64-unknown-linux-musl',
  'darwin-x64': 'x86_64-apple-darwin',
  'darwin-arm64': 'aarch64-apple-darwin',
  'win32-x64-msvc': 'x86_64-pc-windows-msvc',
  'win32-arm64-msvc': 'aarch64-pc-windows-msvc',
}

/** The platforms that have a package. */
export const platforms = Object.keys(triples)

/** The directory of a platform's package. */
export const packageOf = (/** @type {string} */ platform) => join(root, 'npm', platform)

/** The binary in the directory of a platform's package. */
export const binaryOf = (/** @type {string} */ platform) => join(packageOf(platform), `coffer.${platform}.node`)

/** The platform that this process runs on; undefined where there is no package for it. */
export const thisPlatform = platforms.find((platform) => {
  const { header } = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (process.report.getReport())
  const libc = process.platform !== 'linux' ? '' : header.glibcVersionRuntime === undefined ? '-musl' : '-gnu'
  return `${platform}-`.startsWith(`${process.platform}-${process.arch}${libc}-`)
})

/**
 * Builds what is older than its sources, with the binary of this platform's package in native/ as well, so that what is
 * tested is what is packed. Where this machine cannot build that binary, it builds what the machine can run.
 */
export async function ensurePacked() {
  if (thisPlatform === undefined || (process.platform === 'linux' && !hasZig())) return ensureBuilt()
  if (!isBuilt('packed') || !existsSync(binaryOf(thisPlatform))) await buildPacked(thisPlatform)
  ensureFacade()
}

/** @param {string} platform */
async function buildPacked(platform) {
  const started = new Date()
  const native = join(root, 'native')
  const types = join(root, 'target', 'napi-types')
  mkdirSync(types, { recursive: true })
  const binary = buildPortable(tripleOf(platform), {
    NAPI_TYPE_DEF_TMP_FOLDER: types,
    // Cargo would not compile the binding again for the sake of its types alone.
    ...(existsSync(join(types, 'coffer-node')) ? {} : { NAPI_FORCE_BUILD_COFFER_NODE: started.toISOString() }),
  })
  mkdirSync(native, { recursive: true })
  copyFileSync(binary, join(native, basename(binary)))
  await writeTypes(types, join(native, 'binding.d.cts'))
  stampNative('packed', started)
}

/**
 * Writes the types of the binding, as `napi build` does.
 *
 * @param {string} typeDefDir where the build left them
 * @param {string} file
 */
async function writeTypes(typeDefDir, file) {
  const { generateTypeDef } = await import('@napi-rs/cli')
  const { napi } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { dts } = await generateTypeDef({ typeDefDir, cwd: root, configDtsHeader: napi.dtsHeader })
  writeFileSync(file, dts)
}

/**
 * Builds the binary of a platform's package.
 *
 * @param {string} triple
 * @param {NodeJS.ProcessEnv} more environment for the build
 * @returns {string} the binary
 */
export function buildPortable(triple, more = {}) {
  const platform = platforms.find((name) => tripleOf(name) === triple)
  if (platform === undefined)
    throw new Error(`There is no package for ${triple}, only for ${Object.values(triples).join(', ')}.`)
  const [subcommand, target, env] = platform.startsWith('linux-') ? withZig(triple) : ['build', triple, process.env]
  const flags = {
    // An addon is a shared library, and Node.js brings the C library.
    musl: '-C target-feature=-crt-static',
    // Windows has no C runtime of its own that every machine has.
    msvc: '-C target-feature=+crt-static',
  }
  const RUSTFLAGS = Object.entries(flags).find(([end]) => platform.endsWith(end))?.[1] ?? ''
  const { status, error } = spawnSync(
    'cargo',
    [subcommand, '--release', '--locked', '--package', 'coffer-node', '--target', target],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env: { ...env, ...more, RUSTFLAGS } },
  )
  if (status !== 0) throw error ?? new Error(`The build for ${triple} failed.`)
  const [start, end] = { linux: ['lib', '.so'], darwin: ['lib', '.dylib'], win32: ['', '.dll'] }[
    /** @type {'linux' | 'darwin' | 'win32'} */ (platform.split('-')[0])
  ]
  copyFileSync(join(targetDirectory(), triple, 'release', `${start}coffer_node${end}`), binaryOf(platform))
  return binaryOf(platform)
}

/**
 * The command of cargo that links by zig, the target with the version of its C library, and the environment for it.
 *
 * @param {string} triple
 * @returns {[subcommand: string, target: string, env: NodeJS.ProcessEnv]}
 */
function withZig(triple) {
  const env = { ...process.env, PATH: `${dirname(zigPython())}${delimiter}${process.env['PATH']}` }
  return ['zigbuild', withLibc(triple), env]
}

/** @param {string | undefined} platform */
export function tripleOf(platform) {
  return triples[/** @type {keyof typeof triples} */ (platform)] ?? ''
}

function targetDirectory() {
  const { stdout } = spawnSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], {
    cwd: root,
    encoding: 'utf8',
  })
  return JSON.parse(stdout).target_directory
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { target } = parseArgs({ options: { target: { type: 'string' } } }).values
  console.log(buildPortable(target ?? tripleOf(thisPlatform)))
}
