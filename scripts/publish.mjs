// @ts-check
/**
 * `node scripts/publish.mjs <directory>`: publishes the packed packages in a directory, with provenance, as a job of a
 * release may do without any token. The platforms' packages go first, so that the main one never lacks its binary.
 *
 * What is published already is left as it is, so a publication that broke off is finished by running it again.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { root } from './prepare.mjs'

/** The first npm that publishes by a trusted publisher. */
const OLDEST_NPM = '11.5.1'

/** @typedef {{ file: string, name: string, version: string, integrity: string }} Package */

/** The packages of a release, in the order of their publication. */
export const names = [...readdirSync(join(root, 'npm')).map((platform) => `coffer-${platform}`), 'coffer']

/**
 * Publishes the packages in a directory.
 *
 * @param {string} directory
 * @param {readonly string[]} wanted the packages that must be there, in the order of their publication
 * @param {readonly string[]} options what else npm is told
 */
export async function publish(directory, wanted, options) {
  const files = readdirSync(directory).filter((file) => file.endsWith('.tgz'))
  const packages = await Promise.all(files.map((file) => inspect(resolve(directory, file))))
  const found = packages.map(({ name }) => name)
  if (found.toSorted().join() !== wanted.toSorted().join()) {
    throw new Error(
      `${directory} has ${found.join(', ')}, and not each of ${wanted.join(', ')}: nothing was published.`,
    )
  }
  packages.sort((a, b) => wanted.indexOf(a.name) - wanted.indexOf(b.name))
  for (const one of packages) await publishOne(one, options)
}

/**
 * @param {Package} one
 * @param {readonly string[]} options
 */
async function publishOne({ file, name, version, integrity }, options) {
  const published = await publishedIntegrity(`${name}@${version}`, options)
  if (published === integrity) {
    console.log(`${name}@${version} is published already`)
    return
  }
  if (published !== undefined) {
    throw new Error(
      `${name}@${version} is published already, from another build than ${basename(file)}. Run the failed jobs of that build's workflow again, which has its packages. If it is gone, release another version.`,
    )
  }
  const tag = version.includes('-') ? 'next' : 'latest'
  await npm('publish', file, '--tag', tag, ...options)
  console.log(`${name}@${version} is published now, as ${tag}`)
}

/**
 * The digest of what the registry has under a name and version; undefined if it has nothing.
 *
 * @param {string} spec
 * @param {readonly string[]} options
 * @returns {Promise<string | undefined>}
 */
async function publishedIntegrity(spec, options) {
  try {
    const integrity = await npm('view', spec, 'dist.integrity', '--json', ...options)
    return integrity === '' ? undefined : JSON.parse(integrity)
  } catch (error) {
    const { stdout = '' } = /** @type {{ stdout?: string }} */ (error)
    if (/"code": "E404"/.test(stdout)) return undefined
    throw error
  }
}

/**
 * @param {string} file
 * @returns {Promise<Package>}
 */
async function inspect(file) {
  const { stdout } = await promisify(execFile)('tar', ['-xzOf', file, 'package/package.json'])
  const { name, version } = JSON.parse(stdout)
  const integrity = `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`
  return { file, name, version, integrity }
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<string>} what it prints
 */
async function npm(...args) {
  // npm is a script on Windows, which only a shell can start.
  const { stdout } = await promisify(execFile)('npm', args, { cwd: root, shell: process.platform === 'win32' })
  return stdout.trim()
}

async function requireTrustedPublishing() {
  const version = await npm('--version')
  if (version.localeCompare(OLDEST_NPM, 'en', { numeric: true }) < 0) {
    throw new Error(`This is npm ${version}, and trusted publishing needs ${OLDEST_NPM}: take a newer Node.js.`)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [directory] = process.argv.slice(2)
  if (directory === undefined) {
    console.error('usage: node scripts/publish.mjs <directory>')
    process.exit(2)
  }
  await requireTrustedPublishing()
  await publish(directory, names, ['--provenance', '--access', 'public'])
}
