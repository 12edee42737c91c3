import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Filter, parentOf } from '../../ts/rsync/filter.ts'
import { Random } from '../support/random.ts'
import { tempDir } from '../support/temp.ts'

/** What a filter excludes of paths, where those that end in `/` are directories. */
function excluded(patterns: readonly string[], paths: readonly string[]): string[] {
  const filter = new Filter(undefined, patterns, false)
  return paths.filter((path) => !filter.takes(path.replace(/\/$/, ''), path.endsWith('/')))
}

describe('a pattern', () => {
  it.each([
    ['*.tmp', ['a.tmp', 'd/', 'd/b.tmp'], ['a.tmp', 'd/b.tmp']],
    ['/*.tmp', ['a.tmp', 'd/', 'd/b.tmp'], ['a.tmp']],
    ['node_modules', ['node_modules/', 'node_modules/x', 'd/', 'd/node_modules/', 'd/node_modules/y'], [0, 1, 3, 4]],
    ['node_modules/', ['node_modules/', 'node_modules/x', 'd/', 'd/node_modules'], [0, 1]],
    ['/node_modules', ['node_modules/', 'node_modules/x', 'd/', 'd/node_modules/'], [0, 1]],
    ['/node_modules/', ['node_modules', 'd/', 'd/node_modules/'], []],
    ['docs/*.md', ['docs/', 'docs/a.md', 'docs/x/', 'docs/x/b.md', 'e/', 'e/docs/', 'e/docs/c.md'], ['docs/a.md']],
    ['docs/**', ['docs/', 'docs/a', 'docs/x/', 'docs/x/b'], [1, 2, 3]],
    ['**/x', ['x', 'a/', 'a/x', 'a/b/', 'a/b/x', 'a/xx'], [0, 2, 4]],
    ['a/**/x', ['a/', 'a/x', 'a/b/', 'a/b/x', 'a/b/c/', 'a/b/c/x', 'b/', 'b/a/', 'b/a/x'], [1, 3, 5]],
    ['**', ['a', 'b/', 'b/c'], [0, 1, 2]],
    ['[a-c]?[!x]', ['abc', 'bbx', 'dbc', 'c/', 'c/aaa'], ['abc', 'c/aaa']],
    ['a[]x]b', ['a]b', 'axb', 'a[b', 'ab'], ['a]b', 'axb']],
    ['[[:digit:]]*', ['1', '22', 'a1'], ['1', '22']],
    ['a\\*b', ['a*b', 'axb'], ['a*b']],
    ['\\!x', ['!x', 'x'], ['!x']],
    ['#x', ['#x', 'x'], ['#x']],
    ['a (1).txt', ['a (1).txt', 'a 1.txt'], ['a (1).txt']],
    ['.git', ['.git/', 'a/', 'a/.git/', 'a/.gitx'], [0, 2]],
    ['*', ['.hidden', 'a/', 'a/b'], [0, 1, 2]],
    ['ä?', ['äö', 'ä😀', 'ä'], ['äö', 'ä😀']],
    ['a\\', [], 'INVALID'],
    ['/', [], 'INVALID'],
    ['//', [], 'INVALID'],
    ['a//b', [], 'INVALID'],
    ['./a', [], 'INVALID'],
    ['a/../b', [], 'INVALID'],
    ['[a', [], 'INVALID'],
    ['[z-a]', [], 'INVALID'],
    ['[[:nothing:]]', [], 'INVALID'],
    ['!a', [], 'INVALID'],
    ['*.{js,ts}', [], 'INVALID'],
    ['{1..3}', [], 'INVALID'],
    ['@(a|b)', [], 'INVALID'],
    ['*(a|b)', [], 'INVALID'],
  ] as [string, string[], (string | number)[] | 'INVALID'][])('%s', (pattern, paths, expected) => {
    if (expected === 'INVALID') {
      expect(() => excluded([pattern], paths)).toThrow(expect.objectContaining({ code: 'ERR_COFFER_INVALID_ARG' }))
    } else expect(excluded([pattern], paths)).toEqual(expected.map((e) => (typeof e === 'number' ? paths[e] : e)))
  })
})

describe('patterns', () => {
  it('exclude what git ignores by them, in trees and patterns by chance', { timeout: 120_000 }, () => {
    const { COFFER_SEED: seed = '1' } = process.env
    const random = new Random(seed)
    const pick = (count: number): number => random.below(count)
    const name = (): string => Array.from({ length: 1 + pick(3) }, () => 'ab.-]!x1'.charAt(pick(8))).join('')
    const root = tempDir()
    execFileSync('git', ['init', '-q', root])
    const paths = new Set<string>()
    while (paths.size < 120) {
      const parts = Array.from({ length: 1 + pick(4) }, name)
      const path = parts.join('/')
      if (parts.some((part) => part === '.' || part === '..')) continue
      if (paths.has(`${path}/`)) continue
      let above = parentOf(path)
      for (; above !== '' && !paths.has(above); above = parentOf(above));
      if (above !== '') continue
      for (above = parentOf(path); above !== ''; above = parentOf(above)) paths.add(`${above}/`)
      paths.add(path)
    }
    for (const path of paths) {
      mkdirSync(join(root, path.endsWith('/') ? path : dirname(path)), { recursive: true })
      if (!path.endsWith('/')) writeFileSync(join(root, path), '')
    }
    const piece = (): string => {
      const pieces = [
        '*',
        '?',
        '**',
        '[ab]',
        '[!ab]',
        '[a-x]',
        '[]]',
        '[^]-]',
        '\\*',
        '\\a',
        'a',
        'b',
        '.',
        '-',
        'x',
        '1',
      ]
      return pieces[pick(pieces.length)] ?? 'a'
    }
    const component = (): string =>
      pick(4) === 0 ? '**' : Array.from({ length: 1 + pick(3) }, () => (pick(2) === 0 ? name() : piece())).join('')
    const pattern = (): string => {
      const body = Array.from({ length: 1 + pick(3) }, component).join('/')
      return `${pick(4) === 0 ? '/' : ''}${body}${pick(4) === 0 ? '/' : ''}`
    }
    let [compared, matched] = [0, 0]
    for (let round = 0; round < 250; round += 1) {
      const patterns = Array.from({ length: 1 + pick(2) }, pattern)
      let ours: string[]
      try {
        ours = excluded(patterns, [...paths])
      } catch (error) {
        expect(error, patterns.join(' ')).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
        continue
      }
      writeFileSync(join(root, '.git/info/exclude'), `${patterns.map((p) => p.replace(/^#/, '\\#')).join('\n')}\n`)
      const asked = [...paths].map((path) => path.replace(/\/$/, ''))
      const found = new Set(ignored(root, asked))
      const theirs = [...paths].filter((path) => found.has(path.replace(/\/$/, '')))
      expect(ours, `seed ${seed}, round ${round}: ${JSON.stringify(patterns)}`).toEqual(theirs)
      compared += 1
      matched += theirs.length > 0 ? 1 : 0
    }
    expect(compared).toBeGreaterThan(100)
    expect(matched).toBeGreaterThan(50)
  })
})

/** Those of the paths that git ignores. */
function ignored(root: string, paths: readonly string[]): string[] {
  try {
    const input = paths.map((path) => `${path}\0`).join('')
    const args = ['-C', root, 'check-ignore', '--no-index', '-z', '--stdin']
    return execFileSync('git', args, { input, encoding: 'utf8' }).split('\0').filter(Boolean)
  } catch (error) {
    // It ends with 1 where it ignores nothing.
    if ((error as { status?: number }).status === 1) return []
    throw error
  }
}
