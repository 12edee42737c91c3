/** Configurations in YAML. This module loads the parser, so it is imported where a text is YAML. */
import { isMap, isScalar, parseDocument, stringify, type YAMLMap } from 'yaml'
import { UsageError } from '../exit.ts'
import { added, type Changes, notInLines } from './changes.ts'

/** Parses a mapping of names to entries; null for an empty text. */
export function parseYaml(text: string): Record<string, unknown> | null {
  const document = yamlDocument(text)
  // Messages of the library quote the text, which may be a key.
  const problem = document.errors[0] ?? document.warnings[0]
  if (problem) {
    const line = text.slice(0, problem.pos[0]).split('\n').length
    throw new UsageError(`line ${line} is not YAML as it is understood here (${problem.code})`)
  }
  if (document.contents === null) return null
  if (!isMap(document.contents)) throw new UsageError('it must have a section for each coffer')
  return document.toJS() as Record<string, unknown>
}

/**
 * Changes entries of a section in the text of a YAML configuration; the rest is unchanged, byte for byte.
 * New entries are first in the section.
 *
 * @throws {UsageError} if the section does not have one entry per line
 */
export function editYaml(text: string, name: string, changes: Changes): string {
  const document = yamlDocument(text)
  const section = isMap(document.contents) ? document.contents.get(name) : undefined
  if (!isMap(section) || section.flow) throw notInLines(name)
  const cuts = pairs(section).map(({ option, from, to }) => {
    const indent = indentAt(text, from)
    if (indent === undefined) throw notInLines(name)
    return { option, indent, from: from - indent.length, to: endOfLine(text, to) }
  })
  const [first] = cuts
  if (first === undefined) throw notInLines(name)
  let edited = text
  for (const { option, from, to } of [...cuts].reverse()) {
    if (Object.hasOwn(changes, option)) edited = edited.slice(0, from) + edited.slice(to)
    // Everything removed is after the start of the first entry, so that offset stays valid.
  }
  const lines = added(changes).map(([option, value]) => first.indent + yamlEntry(option, value))
  return edited.slice(0, first.from) + lines.join('') + edited.slice(first.from)
}

/** A section as text. */
export function yamlSection(name: string, entries: Readonly<Record<string, string | boolean>>): string {
  const lines = Object.entries(entries).map(([option, value]) => `  ${yamlEntry(option, value)}`)
  return `${stringify(name, { lineWidth: 0 }).trim()}:\n${lines.join('')}`
}

/** An entry of a YAML section, as a line. Keys are binary, as in PyCoffer. */
function yamlEntry(option: string, value: string | boolean): string {
  const binary = option.endsWith('_key')
  const scalar = stringify(value, { lineWidth: 0, defaultStringType: binary ? 'QUOTE_DOUBLE' : 'PLAIN' })
  return `${option}: ${binary ? '!!binary ' : ''}${scalar}`
}

function yamlDocument(text: string) {
  return parseDocument(text, { customTags: ['binary'], merge: true, stringKeys: true, prettyErrors: false })
}

/** The entries of a section with their offsets. */
function pairs(section: YAMLMap): { option: string; from: number; to: number }[] {
  return section.items.map(({ key, value }) => {
    if (!isScalar(key) || !key.range) return { option: '', from: 0, to: 0 }
    const range = (value as { range?: [number, number, number] | null } | null)?.range
    return { option: String(key.value), from: key.range[0], to: Math.max(key.range[1], range?.[1] ?? 0) }
  })
}

/** The indentation before an offset; undefined if there is other text on the line. */
function indentAt(text: string, at: number): string | undefined {
  const before = text.slice(text.lastIndexOf('\n', at - 1) + 1, at)
  return /^ +$/.test(before) ? before : undefined
}

/** The end of the line of a value; a block value includes it already. */
function endOfLine(text: string, at: number): number {
  if (text[at - 1] === '\n') return at
  const end = text.indexOf('\n', at)
  return end < 0 ? text.length : end + 1
}
