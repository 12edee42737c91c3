import { UsageError } from '../exit.ts'
import { added, type Changes, notInLines } from './changes.ts'

/** The sections of an INI file, by name; `DEFAULT` is one of them. */
export type Sections = Map<string, Map<string, string>>

/** Whether a text is INI rather than YAML: its first line that is not blank or a comment is a section header. */
export function isIni(text: string): boolean {
  const first = text.split(/\r?\n/).find((line) => !/^\s*([#;].*)?$/.test(line))
  return first !== undefined && /^\[[^\]]+\]\s*$/.test(first)
}

/**
 * Parses the syntax of Python's configparser: sections, `=` or `:` between option and value, comments on
 * separate lines, values continued by indented lines. Options are converted to lower case.
 */
export function parseIni(text: string): Sections {
  const sections: Sections = new Map()
  let section: Map<string, string> | undefined
  let option: string | undefined
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*([#;].*)?$/.test(line)) continue
    const at = `line ${index + 1}`
    const title = /^\[([^\]]+)\]\s*$/.exec(line)?.[1]
    if (title !== undefined) {
      if (sections.has(title)) throw new UsageError(`${at}: there is a section ${title} already`)
      section = new Map()
      sections.set(title, section)
      option = undefined
    } else if (/^\s/.test(line) && section && option !== undefined) {
      section.set(option, `${section.get(option)}\n${value(line.trim(), at)}`)
    } else {
      const parts = /^([^=:]+?)\s*[=:]\s*(.*?)\s*$/.exec(line)
      // The line itself is not shown: it may hold a key.
      if (!parts || !section) throw new UsageError(`${at} is neither a section nor an option with a value`)
      option = (parts[1] ?? '').toLowerCase()
      section.set(option, value(parts[2] ?? '', at))
    }
  }
  return sections
}

/** Unescapes `%%`: configparser interpolates `%(name)s`. */
function value(text: string, at: string): string {
  if (/(^|[^%])(%%)*%([^%]|$)/.test(text)) throw new UsageError(`${at}: %(…)s is not replaced here; write %% for %`)
  return text.replaceAll('%%', '%')
}

/** Formats an INI section for configparser. */
export function iniSection(name: string, entries: Readonly<Record<string, string>>): string {
  const lines = Object.entries(entries).map(([option, text]) => `${option} = ${text.replaceAll('%', '%%')}`)
  return `[${name}]\n${lines.join('\n')}\n`
}

/**
 * Changes entries of a section in the text of an INI configuration; other lines are unchanged, byte for byte.
 *
 * @throws {UsageError} if there is no such section
 */
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
