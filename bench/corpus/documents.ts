/**
 * Documents like those of PyCoffer's own benchmark, which takes them from Python's documentation: an
 * index as a page of HTML, a search index as JavaScript, and PDF files. Made of the packages' text.
 */
import { writeFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { made, text } from './packages.ts'
import { numbers } from './random.ts'

const KiB = 1 << 10

/** What each has in PyCoffer's table, in bytes. */
const sizes = {
  'download.html': 16 * KiB,
  'genindex-all.html': 1755 * KiB,
  'searchindex.js': 3860 * KiB,
  'library.pdf': 11338 * KiB,
  'using.pdf': 2212 * KiB,
} as const

export type DocumentName = keyof typeof sizes
export const documentNames = Object.keys(sizes) as DocumentName[]

/** The file of a document. */
export function documentFile(name: DocumentName): string {
  return made(`documents/${name}`, (path) => writeFileSync(path, contents(name)))
}

function contents(name: DocumentName): Buffer {
  if (name === 'searchindex.js') return searchIndex(sizes[name])
  return name.endsWith('.html') ? generalIndex(sizes[name]) : pdf(sizes[name])
}

function words(): string[] {
  const all =
    text(24 << 20)
      .toString('latin1')
      .match(/[A-Za-z_][A-Za-z_]{2,24}/g) ?? []
  return [...new Set(all)].sort()
}

/** An alphabetical index: each entry with the modules it is in. */
function generalIndex(size: number): Buffer {
  const [entries, random] = [words(), numbers(1)]
  const modules = entries.filter((_, index) => index % 97 === 0)
  const module = (): string => modules[random(modules.length)] ?? ''
  let page =
    '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8" /><title>Index</title></head>\n<body>\n<ul>\n'
  for (let at = 0; page.length < size; at = (at + 1 + random(3)) % entries.length) {
    const [entry, home] = [entries[at] ?? '', module()]
    const link = `library/${home}.html#${home}.${entry}`
    page += `<li>${entry}() (in module ${home})\n      <ul>\n        <li><a href="${link}">[1]</a></li>\n`
    if (random(3) === 0)
      page += `        <li><a href="whatsnew/3.${random(14)}.html#index-${random(90)}">[2]</a></li>\n`
    page += '      </ul></li>\n'
  }
  return Buffer.from(page, 'latin1').subarray(0, size)
}

/** A table from each word to the numbers of the documents it is in. */
function searchIndex(size: number): Buffer {
  const [entries, random] = [words(), numbers(2)]
  const parts = ['Search.setIndex({"terms":{']
  let length = 0
  for (let at = 0; length < size; at = (at + 1) % entries.length) {
    const found = new Set(Array.from({ length: 1 + random(random(12) + 1) }, () => random(500)))
    const part = `"${entries[at]?.toLowerCase()}":[${[...found].sort((a, b) => a - b).join(',')}],`
    parts.push(part)
    length += part.length
  }
  return Buffer.from(parts.join(''), 'latin1').subarray(0, size)
}

/** Objects with compressed streams, a page each: hardly anything is left to compress. */
function pdf(size: number): Buffer {
  const [source, random] = [text(64 << 20), numbers(size)]
  const parts = [Buffer.from('%PDF-1.7\n')]
  let length = 0
  for (let object = 1; length < size; object += 1) {
    const from = random(source.length - 48 * KiB)
    const stream = deflateRawSync(source.subarray(from, from + 8 * KiB + random(40 * KiB)), { level: 9 })
    const head = `${object} 0 obj\n<< /Length ${stream.length} /Filter /FlateDecode >>\nstream\n`
    parts.push(Buffer.from(head), stream, Buffer.from('\nendstream\nendobj\n'))
    length += head.length + stream.length + 18
  }
  return Buffer.concat(parts).subarray(0, size)
}
