import { isMap, isScalar, parseDocument, stringify, type YAMLMap } from 'yaml'
import { UsageError } from '../exit.ts'

/** Changes to the entries of a section: text, or base64 text if the name ends in `_key`; null removes an entry. */
export type Changes = Readonly<Record<string, string | null>>

/**
 * Changes entries of a section in the text of a YAML configuration; the rest is unchanged, byte for byte.
 * New entries are first in the section.
 *
 * @throws {UsageError} if the section does not have one entry per line
 */
export function editYaml(text: string, name: string, changes: Changes): string {
  const document = parseDocument(text, { customTags: ['binary'], merge: true, stringKeys: true, prettyErrors: false })
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

/** An entry of a YAML section, as a line. Keys are binary, as in PyCoffer. */
export function yamlEntry(option: string, value: string | boolean): string {
  const binary = option.endsWith('_key')
  const scalar = stringify(value, { lineWidth: 0, defaultStringType: binary ? 'QUOTE_DOUBLE' : 'PLAIN' })
  return `${option}: ${binary ? '!!binary ' : ''}${scalar}`
}

/** The same for an INI configuration. */
export function editIni(text: string, name: string, changes: Changes): string {
  const lines = text.split(/(?<=\n)/)
  const title = lines.findIndex((line) => /^\[([^\]]+)\]\s*$/.exec(line)?.[1] === name)
  if (title < 0) throw notInLines(name)
  const kept: string[] = []
  let [inside, dropping] = [false, false]
  for (const [at, line] of lines.entries()) {
    if (/^\[/.test(line)) inside = at === title
    const option = /^([^\s=:#;][^=:]*?)\s*[=:]/.exec(line)?.[1]?.toLowerCase()
    // Indented lines continue a value.
    dropping = inside && (option === undefined ? dropping && /^\s+\S/.test(line) : Object.hasOwn(changes, option))
    if (!dropping) kept.push(line)
    if (at !== title) continue
    if (!line.endsWith('\n')) kept.push('\n')
    for (const [option, value] of added(changes)) kept.push(`${option} = ${value.replaceAll('%', '%%')}\n`)
  }
  return kept.join('')
}

function added(changes: Changes): [string, string][] {
  return Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== null)
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

function notInLines(name: string): UsageError {
  return new UsageError(`the section ${name} is not written as one entry a line, so it cannot be changed`)
}
