// @ts-check
/**
 * `npm run pack [-- --all]`: target/pack/*.tgz, as they are published: the main package, and the package of each
 * platform whose binary is in npm/. With `--all` it is an error if one is missing; with `--here` the binary of this
 * platform is built first, unless it is as new as its sources.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { binaryOf, ensurePacked, packageOf, platforms } from './portable.mjs'
import { ensureBuilt, ensureInstalled, root } from './prepare.mjs'

/** Where the packages are put. */
export const packed = join(root, 'target', 'pack')

/** What package.json says to those who work on Coffer, and not to those who use it. */
const ours = ['scripts', 'napi', 'devDependencies', 'overrides']

/**
 * Packs the main package and those of the platforms.
 *
 * @param {{ all?: boolean }} options
 * @returns {string[]} the packages, the platforms' first
 */
export function pack({ all = false } = {}) {
  const missing = platforms.filter((platform) => !existsSync(binaryOf(platform)))
  if (all && missing.length > 0) {
    throw new Error(
      `There is no binary for ${missing.join(', ')}: npm run build:portable makes one, on such a machine.`,
    )
  }
  rmSync(packed, { recursive: true, force: true })
  const there = platforms.filter((platform) => !missing.includes(platform))
  return [...there.map(packPlatform), packMain()]
}

/** @param {string} platform */
function packPlatform(platform) {
  const staged = stage(packageOf(platform), ['README.md', basename(binaryOf(platform))])
  for (const name of ['LICENSE', 'THIRD-PARTY-LICENSES.txt']) copyFileSync(join(root, name), join(staged, name))
  return tarball(staged)
}

function packMain() {
  const { files, version } = manifestOf(root)
  const staged = stage(root, [...files, 'README.md', 'LICENSE'])
  const manifest = manifestOf(staged)
  for (const name of ours) delete manifest[name]
  manifest.optionalDependencies = Object.fromEntries(platforms.map((platform) => [`coffer-${platform}`, version]))
  writeManifest(staged, manifest)
  return tarball(staged)
}

/**
 * Copies a package to where it is packed from.
 *
 * @param {string} from
 * @param {readonly string[]} files
 * @returns {string} the copy
 */
function stage(from, files) {
  const manifest = manifestOf(from)
  const staged = join(packed, manifest.name)
  mkdirSync(staged, { recursive: true })
  for (const file of files) cpSync(join(from, file), join(staged, file), { recursive: true })
  // Provenance is believed only for the repository that the package names: the one whose workflow packs it.
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env
  if (server && repository) manifest.repository = { type: 'git', url: `git+${server}/${repository}.git` }
  writeManifest(staged, manifest)
  return staged
}

/**
 * @param {string} directory
 * @returns {string} the tarball
 */
function tarball(directory) {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--pack-destination', packed], {
    cwd: directory,
    encoding: 'utf8',
    // npm is a script on Windows, which only a shell can start.
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error(`npm pack failed in ${directory}:\n${stderr}`)
  const report = JSON.parse(stdout)
  const [{ filename }] = Array.isArray(report) ? report : Object.values(report)
  return join(packed, filename)
}

/** @param {string} directory */
function manifestOf(directory) {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
}

/**
 * @param {string} directory
 * @param {object} manifest
 */
function writeManifest(directory, manifest) {
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureInstalled()
  if (process.argv.includes('--here')) await ensurePacked()
  else ensureBuilt()
  for (const file of pack({ all: process.argv.includes('--all') })) console.log(file)
}
