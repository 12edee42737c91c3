// @ts-check
/** `npm run release:prepare -- 1.2.3`: sets the version everywhere, and dates what CHANGELOG.md has under [Unreleased]. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sections } from './changelog.mjs'
import { root } from './prepare.mjs'
import { problems } from './release-check.mjs'
import { semver, setVersion } from './version.mjs'

/**
 * @param {string} root
 * @param {string} version
 * @param {string} date as 2026-01-31
 */
export function prepare(root, version, date) {
  setVersion(root, version)
  const file = join(root, 'CHANGELOG.md')
  const changelog = readFileSync(file, 'utf8')
  if (sections(changelog).some(({ title }) => title === version)) return
  writeFileSync(file, changelog.replace(/^## \[Unreleased\]$/m, `## [Unreleased]\n\n## [${version}] - ${date}`))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [version = ''] = process.argv.slice(2)
  if (!semver.test(version)) {
    console.error(`usage: npm run release:prepare -- 1.2.3, or 1.2.3-rc.1`)
    process.exit(2)
  }
  prepare(root, version, new Date().toISOString().slice(0, 10))
  const found = problems(root, `v${version}`)
  for (const problem of found) console.error(problem)
  process.exit(found.length > 0 ? 1 : 0)
}
