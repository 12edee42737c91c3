// @ts-check
/** Gets a fresh clone ready: installs what package-lock.json names, and builds what has changed. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The top of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * How the addon in native/ was built: for this machine, with or without optimization, or as the one that is packed.
 *
 * @typedef {'debug' | 'release' | 'packed'} Profile
 */

/** The file with the profile of the addon in native/. */
const stamp = join(root, 'native', 'profile')

const common = ['package.json', 'scripts/prepare.mjs']
const nativeSources = ['Cargo.toml', 'Cargo.lock', 'crates']
const facadeSources = ['tsconfig.json', 'tsconfig.build.json', 'ts', 'native']

/**
 * Runs a command at the top of the repository, its output shown.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {boolean} whether it succeeded
 */
export function run(command, args) {
  // npm is a script on Windows, which only a shell can start.
  const shell = process.platform === 'win32' && command === 'npm'
  return spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell }).status === 0
}

/**
 * Runs a command, and ends the process if it fails.
 *
 * @param {string} command
 * @param {readonly string[]} args
 */
export function must(command, args) {
  if (!run(command, args)) {
    console.error(`failed: ${[command, ...args].join(' ')}`)
    process.exit(1)
  }
}

/**
 * The arguments that make Node.js run a program that an installed package brings.
 *
 * @param {string} program its file below node_modules
 */
export function installed(program) {
  return join(root, 'node_modules', program)
}

/**
 * Installs the packages of a directory unless they are as its package-lock.json wants them.
 *
 * @param {string} directory
 */
export function ensureInstalled(directory = '.') {
  if (!isInstalled(directory)) must('npm', ['ci', '--prefix', directory])
}

/**
 * Whether the packages of a directory are as its package-lock.json wants them.
 *
 * @param {string} directory
 */
export function isInstalled(directory) {
  const done = join(root, directory, 'node_modules', '.package-lock.json')
  return newest(done) >= newest(join(root, directory, 'package-lock.json'))
}

/** Builds, in release mode, what is older than its sources. */
export function ensureBuilt() {
  if (!isBuilt('release', 'packed')) buildNative('release')
  ensureFacade()
}

/**
 * Whether native/ has an addon of one of these profiles, built of the sources as they are.
 *
 * @param {Profile[]} profiles
 */
export function isBuilt(...profiles) {
  const built = existsSync(stamp) ? readFileSync(stamp, 'utf8') : 'nothing'
  return profiles.some((profile) => profile === built) && !isOlder(stamp, [...common, ...nativeSources])
}

/** Compiles the facade if it is older than its sources. */
export function ensureFacade() {
  if (isOlder(join(root, 'dist', 'index.js'), [...common, ...facadeSources])) buildFacade()
}

/**
 * Records what native/ has.
 *
 * @param {Profile} profile
 * @param {Date} started when its build began: a source that changes during the build, which takes minutes, is newer
 */
export function stampNative(profile, started) {
  writeFileSync(stamp, profile)
  utimesSync(stamp, started, started)
}

/**
 * Builds the addon and its types into native/.
 *
 * @param {'release' | 'debug'} profile
 */
export function buildNative(profile) {
  const started = new Date()
  must(process.execPath, [
    installed('@napi-rs/cli/dist/cli.js'),
    ...['build', '--platform', ...(profile === 'release' ? ['--release'] : [])],
    ...['--manifest-path', 'crates/coffer-node/Cargo.toml', '--output-dir', 'native'],
    ...['--no-js', '--dts', 'binding.d.cts'],
  ])
  stampNative(profile, started)
}

/** Compiles the facade into dist/: comments are for the declarations, where editors look for them. */
export function buildFacade() {
  const compile = [installed('typescript/bin/tsc'), '-p', 'tsconfig.build.json']
  must(process.execPath, [...compile, '--emitDeclarationOnly'])
  must(process.execPath, [...compile, '--declaration', 'false', '--isolatedDeclarations', 'false', '--removeComments'])
}

/**
 * @param {string} output
 * @param {readonly string[]} sources
 */
function isOlder(output, sources) {
  const built = newest(output)
  return sources.some((source) => newest(join(root, source)) > built)
}

/**
 * When a file, or anything below a directory, was changed last; 0 if it is not there.
 *
 * @param {string} path
 * @returns {number}
 */
function newest(path) {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return 0
  if (!stats.isDirectory()) return stats.mtimeMs
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), 0)
}
