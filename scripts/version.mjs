// @ts-check
/** Where the version of Coffer stands: all of these places say the same. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A version as npm and Cargo both understand it. */
export const semver = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$/

/**
 * The files, and what stands around the version in each.
 *
 * @param {string} root
 * @returns {[file: string, around: RegExp][]}
 */
function places(root) {
  return [
    ['package.json', /^ {2}"version": "([^"]*)"/dm],
    ['package-lock.json', /^ {2}"version": "([^"]*)"/dm],
    ['package-lock.json', /^ {4}"": \{\n {6}"name": "coffer",\n {6}"version": "([^"]*)"/dm],
    ['Cargo.toml', /^\[workspace\.package\]\nversion = "([^"]*)"/dm],
    ['Cargo.lock', /^name = "coffer-core"\nversion = "([^"]*)"/dm],
    ['Cargo.lock', /^name = "coffer-node"\nversion = "([^"]*)"/dm],
    ['fuzz/Cargo.lock', /^name = "coffer-core"\nversion = "([^"]*)"/dm],
    ['ts/binding/binary.ts', /^const VERSION = '([^']*)'/dm],
    ...readdirSync(join(root, 'npm')).map(
      /** @returns {[string, RegExp]} */ (platform) => [`npm/${platform}/package.json`, /^ {2}"version": "([^"]*)"/dm],
    ),
  ]
}

/**
 * The versions that the places name.
 *
 * @param {string} root
 * @returns {{ file: string, version: string }[]}
 */
export function versions(root) {
  return places(root).map(([file, around]) => ({ file, version: find(root, file, around).version }))
}

/**
 * Writes a version to all of the places.
 *
 * @param {string} root
 * @param {string} version
 */
export function setVersion(root, version) {
  for (const [file, around] of places(root)) {
    const { text, from, to } = find(root, file, around)
    writeFileSync(join(root, file), text.slice(0, from) + version + text.slice(to))
  }
}

/**
 * @param {string} root
 * @param {string} file
 * @param {RegExp} around
 */
function find(root, file, around) {
  const text = readFileSync(join(root, file), 'utf8')
  const found = around.exec(text)
  const [from, to] = found?.indices?.[1] ?? []
  if (from === undefined || to === undefined) {
    throw new Error(`${file} has no version where scripts/version.mjs looks for it, by ${around}: mend one of them.`)
  }
  return { text, from, to, version: text.slice(from, to) }
}
