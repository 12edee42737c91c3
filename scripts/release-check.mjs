// @ts-check
/**
 * `npm run release:check [-- v1.2.3]`: whether what is here can be released, under that tag if one is given.
 * The first step of a release.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sections } from './changelog.mjs'
import { root } from './prepare.mjs'
import { semver, versions } from './version.mjs'

/**
 * What stands against a release, each with what to do.
 *
 * @param {string} root
 * @param {string | undefined} tag
 * @returns {string[]}
 */
export function problems(root, tag) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return [...ofVersion(root, version), ...ofChangelog(root, version), ...ofTag(version, tag)]
}

/**
 * @param {string} root
 * @param {string} version
 */
function ofVersion(root, version) {
  const found = versions(root)
    .filter((place) => place.version !== version)
    .map((place) => `${place.file} says ${place.version}, package.json ${version}: npm run release:prepare sets all.`)
  if (!semver.test(version)) found.push(`${version} is no version: npm run release:prepare -- 1.2.3 sets one.`)
  return found
}

/**
 * @param {string} root
 * @param {string} version
 */
function ofChangelog(root, version) {
  const found = []
  const all = sections(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))
  const unreleased = all.find(({ title }) => title === 'Unreleased')
  if (unreleased === undefined) {
    found.push('CHANGELOG.md has no section [Unreleased]: put an empty one above the others, for what comes next.')
  } else if (unreleased.text !== '') {
    found.push(`CHANGELOG.md still has entries under [Unreleased]: bring them below [${version}], which is released.`)
  }
  const section = all.find(({ title }) => title === version)
  if (section === undefined) {
    found.push(
      `CHANGELOG.md has no section [${version}]: npm run release:prepare -- ${version} makes it of [Unreleased].`,
    )
  } else {
    if (!isDate(section.date))
      found.push(`CHANGELOG.md has no date for [${version}]: write ## [${version}] - 2026-01-31.`)
    if (section.text === '') found.push(`CHANGELOG.md says nothing of [${version}]: write what its users will notice.`)
  }
  return found
}

/** @param {string | undefined} date */
function isDate(date) {
  const time = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(`${date}T`)
}

/**
 * @param {string} version
 * @param {string | undefined} tag
 */
function ofTag(version, tag) {
  if (tag === undefined || tag === `v${version}`) return []
  return [`The tag is ${tag}, the version ${version}: tag this commit v${version}, or npm run release:prepare first.`]
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const found = problems(root, process.argv[2])
  for (const problem of found) console.error(problem)
  if (found.length === 0) console.log('ready for a release')
  process.exit(found.length > 0 ? 1 : 0)
}
