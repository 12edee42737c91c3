import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')

/** Words and phrases that CONTRIBUTING.md bans from comments, messages, help texts and documents. */
const banned = [
  'whoever',
  'somebody',
  'nobody',
  'anybody',
  'everybody',
  'lately',
  'at hand',
  'little by little',
  'bit by bit',
  'by and by',
  'now and then',
  'for want of',
  'as it wants',
  'says itself',
  'no word about',
]

/** What may stand between two words of a phrase: blanks, and the beginning of the next line of a comment. */
const GAP = String.raw`(?:\s+(?:(?:\/\/[\/!]?|\*|#|>)\s+)?)`

const pattern = new RegExp(String.raw`\b(?:${banned.map((words) => words.replaceAll(' ', GAP)).join('|')})\b`, 'gi')

const SOURCE = /\.(?:ts|mts|cts|mjs|js|rs|py|sh|md)$/

/** Each banned word in a text, with the number of the line that it begins in. */
function hitsIn(text: string): { line: number; words: string }[] {
  return Array.from(text.matchAll(pattern), ({ 0: found, index }) => ({
    line: text.slice(0, index).split('\n').length,
    words: found.replace(new RegExp(GAP, 'g'), ' ').toLowerCase(),
  }))
}

/** Each banned word in the sources below a folder, as `file:line: word`. */
function hitsBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => SOURCE.test(name) && !name.includes('node_modules/'))
    .sort()
    .flatMap((name) => inFile(`${folder}/${name}`))
}

function inFile(path: string): string[] {
  return hitsIn(readFileSync(join(root, path), 'utf8')).map(({ line, words }) => `${path}:${line}: ${words}`)
}

const crates = readdirSync(join(root, 'crates')).map((crate) => `crates/${crate}/src`)

describe('the words of comments, messages and documents', () => {
  it.each(['ts', ...crates, 'scripts', 'bench', 'docs'])('are plain in %s', (folder) => {
    expect(hitsBelow(folder)).toEqual([])
  })

  it.each(['README.md', 'SECURITY.md'])('are plain in %s', (file) => {
    expect(inFile(file)).toEqual([])
  })

  it('are found in any case, also across the lines of a comment', () => {
    const text = '// Nobody waits.\n/**\n * It comes little\n * by little, to whoever\n */\n//! kept at\n//! hand'
    expect(hitsIn(text)).toEqual([
      { line: 1, words: 'nobody' },
      { line: 3, words: 'little by little' },
      { line: 4, words: 'whoever' },
      { line: 6, words: 'at hand' },
    ])
  })

  it('are no parts of other words', () => {
    expect(hitsIn('at handles; nobodyElse; a bit by bits')).toEqual([])
  })
})
