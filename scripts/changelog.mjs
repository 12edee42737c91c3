// @ts-check
/** `node scripts/changelog.mjs 1.2.3`: what CHANGELOG.md says of a version, which a release says too. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './prepare.mjs'

/**
 * The sections of a changelog, newest first.
 *
 * @param {string} changelog
 * @returns {{ title: string, date: string | undefined, text: string }[]}
 */
export function sections(changelog) {
  return changelog
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [, title = '', date, text = ''] = /^\[([^\]]*)\](?: - (.*))?$([\s\S]*)/m.exec(section) ?? []
      return { title, date, text: text.trim() }
    })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [version] = process.argv.slice(2)
  const section = sections(readFileSync(join(root, 'CHANGELOG.md'), 'utf8')).find(({ title }) => title === version)
  if (section === undefined) {
    console.error(`CHANGELOG.md has no section for ${version}: its heading would be ## [${version}] - <date>`)
    process.exit(1)
  }
  console.log(section.text)
}
