import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { sections } from '../scripts/changelog.mjs'
import { problems } from '../scripts/release-check.mjs'
import { prepare } from '../scripts/release-prepare.mjs'
import { versions } from '../scripts/version.mjs'
import { tempDir } from './support/temp.js'

const root = join(import.meta.dirname, '..')
const platforms = readdirSync(join(root, 'npm'))
const files = [
  ...['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock', 'fuzz/Cargo.lock', 'ts/binding/binary.ts'],
  ...platforms.map((platform) => `npm/${platform}/package.json`),
]

/** A copy of the files that a release looks at, ready for the release of 9.8.7. */
let copy: string

beforeEach(() => {
  copy = tempDir()
  for (const file of files) {
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    cpSync(join(root, file), join(copy, file))
  }
  writeFileSync(
    join(copy, 'CHANGELOG.md'),
    '# Changelog\n\n## [Unreleased]\n\n### Added\n\n- More.\n\n## [0.0.1] - 2020-01-01\n',
  )
  prepare(copy, '9.8.7', '2030-01-31')
})

function edit(file: string, from: string | RegExp, to: string): void {
  const text = readFileSync(join(copy, file), 'utf8')
  const edited = text.replace(from, to)
  expect(edited, `${file} has ${from}`).not.toBe(text)
  writeFileSync(join(copy, file), edited)
}

describe('a release', () => {
  it('may go when all is in order', () => {
    expect(problems(copy, undefined)).toEqual([])
    expect(problems(copy, 'v9.8.7')).toEqual([])
  })

  it.each(files.filter((file) => file !== 'package.json'))('may not when %s has another version', (file) => {
    edit(file, /(?<=["'])9\.8\.7(?=["'])/, '9.8.6')
    expect(problems(copy, 'v9.8.7')).toEqual([expect.stringContaining(`${file} says 9.8.6`)])
  })

  it.each([
    ['package-lock.json', /(?<="": \{\n {6}"name": "coffer",\n {6}"version": )"9.8.7"/],
    ['Cargo.lock', /(?<="coffer-node"\nversion = )"9.8.7"/],
  ])('may not when %s has another version in its second place', (file, place) => {
    edit(file, place, '"9.8.6"')
    expect(problems(copy, 'v9.8.7')).toEqual([expect.stringContaining(`${file} says 9.8.6`)])
  })

  it('may not when package.json alone has another version', () => {
    edit('package.json', '"9.8.7"', '"9.8.8"')
    const found = problems(copy, undefined)
    expect(found.filter((problem) => problem.includes('says 9.8.7, package.json 9.8.8'))).toHaveLength(
      versions(copy).length - 1,
    )
    expect(found.at(-1)).toContain('no section [9.8.8]')
  })

  it.each(['9.8', 'v9.8.7', '9.8.7-', '09.8.7', 'latest'])('may not as version %s', (version) => {
    prepare(copy, version, '2030-01-31')
    expect(problems(copy, undefined)).toContainEqual(expect.stringContaining(`${version} is no version`))
  })

  it.each(['9.8.7', 'v9.8.6', 'v9.8.7-rc.1', 'v9.8.71', ''])('may not under the tag "%s"', (tag) => {
    expect(problems(copy, tag)).toEqual([expect.stringContaining('tag this commit v9.8.7')])
  })

  it('may not without a section in the changelog', () => {
    edit('CHANGELOG.md', '[9.8.7]', '[9.8.70]')
    expect(problems(copy, undefined)).toEqual([expect.stringContaining('no section [9.8.7]')])
  })

  it.each(['', ' - ', ' - soon', ' - 2030-02-31', ' - 31.1.2030', ' - 2030-1-31'])(
    'may not with the date "%s"',
    (date) => {
      edit('CHANGELOG.md', ' - 2030-01-31', date)
      expect(problems(copy, undefined)).toEqual([expect.stringContaining('no date for [9.8.7]')])
    },
  )

  it('may not when the changelog says nothing of it', () => {
    edit('CHANGELOG.md', '### Added\n\n- More.\n', '')
    expect(problems(copy, undefined)).toEqual([expect.stringContaining('says nothing of [9.8.7]')])
  })

  it('may not when entries are left under Unreleased', () => {
    edit('CHANGELOG.md', '## [Unreleased]\n', '## [Unreleased]\n\n- And this.\n')
    expect(problems(copy, undefined)).toEqual([expect.stringContaining('still has entries under [Unreleased]')])
  })

  it('may not without a place for what comes next', () => {
    edit('CHANGELOG.md', '## [Unreleased]\n', '')
    expect(problems(copy, undefined)).toEqual([expect.stringContaining('no section [Unreleased]')])
  })
})

describe('preparing a release', () => {
  it('brings what is unreleased below the version, once', () => {
    const expected =
      '# Changelog\n\n## [Unreleased]\n\n## [9.8.7] - 2030-01-31\n\n### Added\n\n- More.\n\n## [0.0.1] - 2020-01-01\n'
    expect(readFileSync(join(copy, 'CHANGELOG.md'), 'utf8')).toBe(expected)
    prepare(copy, '9.8.7', '2030-02-01')
    expect(readFileSync(join(copy, 'CHANGELOG.md'), 'utf8')).toBe(expected)
  })

  it('changes nothing else in the files', () => {
    for (const file of files) {
      const was = readFileSync(join(root, file), 'utf8').split('\n')
      const is = readFileSync(join(copy, file), 'utf8').split('\n')
      const changed = is.filter((line, index) => line !== was[index])
      expect(is, file).toHaveLength(was.length)
      expect(changed, file).toHaveLength(['package-lock.json', 'Cargo.lock'].includes(file) ? 2 : 1)
    }
  })
})

it('all places in this repository name one version', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(new Set(versions(root).map((place) => place.version))).toEqual(new Set([version]))
})

it('the changelog of this repository can be read section by section', () => {
  const all = sections(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))
  expect(all[0]).toMatchObject({ title: 'Unreleased', date: undefined })
  for (const { title } of all) expect(title).toMatch(/^Unreleased$|^\d+\.\d+\.\d+/)
})

it('a section of the changelog is printed for the release of a version', () => {
  const script = join(root, 'scripts/changelog.mjs')
  const unreleased = execFileSync(process.execPath, [script, 'Unreleased'], { encoding: 'utf8' })
  expect(unreleased.trim()).toBe(sections(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))[0]?.text)
  expect(() => execFileSync(process.execPath, [script, '99.0.0'], { stdio: 'pipe' })).toThrow('no section for 99.0.0')
})
