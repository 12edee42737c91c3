import { once } from 'node:events'
import { styleText } from 'node:util'
import { errorCode } from '../exit.ts'
import { interrupted } from './interrupted.ts'

/** A style of `util.styleText`. */
type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'blue' | 'cyan'

/** How the command is to speak. */
export const manner = { quiet: false, json: false }

/** Whether a stream shows colours: a terminal does, unless NO_COLOR or FORCE_COLOR say otherwise. */
export function hasColors(stream: { isTTY?: boolean }): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  if (NO_COLOR !== undefined && NO_COLOR !== '') return false
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  return stream.isTTY === true && TERM !== 'dumb'
}

/** Text in a style, where the stream shows styles. */
export function styled(style: Style, text: string, stream: { isTTY?: boolean } = process.stdout): string {
  return hasColors(stream) ? styleText(style, text, { validateStream: false }) : text
}

/**
 * What a terminal would obey, and what is not seen: control characters, changes of direction, other
 * format characters, ends of lines and paragraphs, halves of surrogate pairs. The joiners are left
 * out: scripts and emoji need them.
 */
const unsafe = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** Text without anything that a terminal would obey: each such character is spelt out. */
export function escaped(text: string): string {
  return text.replace(unsafe, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

/** A value as JSON in which such characters are escaped, too, so that it is the same value to a program. */
function jsonText(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent)
  // Between its tokens there are line feeds; in its strings there are none.
  return text.replace(unsafe, (character) =>
    character === '\n'
      ? character
      : Array.from(
          { length: character.length },
          (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
        ).join(''),
  )
}

/** A name as standard output gets it: as it is, but escaped for a terminal. */
export function shown(name: string): string {
  return process.stdout.isTTY ? escaped(name) : name
}

/** Writes to standard output, and waits while its reader is slower, but not after Ctrl-C. */
export async function write(data: string | Uint8Array): Promise<void> {
  if (process.stdout.write(data)) return
  await once(process.stdout, 'drain', { signal: interrupted }).catch((error: unknown) => {
    throw interrupted.aborted ? interrupted.reason : error
  })
}

/** Writes a line to standard output. */
export async function line(text = ''): Promise<void> {
  await write(`${text}\n`)
}

/** Writes the result of a command as one JSON document. */
export async function json(value: unknown): Promise<void> {
  await line(jsonText(value, 2))
}

/** Writes lines with aligned columns: numbers to the right, the last column as long as it is. */
export async function table(rows: readonly (readonly (string | number)[])[]): Promise<void> {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, String(cell).length)
    })
  }
  for (const row of rows) {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0
      if (typeof cell === 'number') return String(cell).padStart(width)
      return column === row.length - 1 ? cell : cell.padEnd(width)
    })
    await line(cells.join('  '))
  }
}

/** Writes what a thing is, a line for each of its properties. */
export async function properties(entries: readonly (readonly [string, string | number])[]): Promise<void> {
  const width = Math.max(...entries.map(([name]) => name.length))
  for (const [name, value] of entries) {
    await line(`${styled('bold', name.padEnd(width))}  ${shown(String(value))}`)
  }
}

/** Tells on standard error what was done, unless that is not wanted. */
export function say(message: string): void {
  if (!manner.quiet && !manner.json) note(message)
}

/** Something on standard error that a message would be written over, such as a progress bar. */
let clearLine = (): void => {}

/** Has something cleared away before each message. */
export function clearBefore(clear: () => void): void {
  clearLine = clear
}

/** Tells something on standard error. Messages are for people, so they are escaped everywhere: scripts have `--json`. */
export function note(message: string): void {
  clearLine()
  process.stderr.write(`coffer: ${escaped(message)}\n`)
}

/** Warns on standard error. */
export function warn(message: string): void {
  clearLine()
  process.stderr.write(`${styled('yellow', 'coffer: warning:', process.stderr)} ${escaped(message)}\n`)
}

/** Tells on standard error what went wrong. Only `lines` may make lines of their own. */
export function fail(error: unknown, ...lines: readonly string[]): void {
  clearLine()
  if (manner.json) {
    process.stderr.write(`${jsonText({ error: { code: errorCode(error), message: lines.join('\n') } })}\n`)
    return
  }
  process.stderr.write(`${styled('red', 'coffer:', process.stderr)} ${lines.map(escaped).join('\n')}\n`)
  const { COFFER_DEBUG } = process.env
  if (COFFER_DEBUG && error instanceof Error) {
    // The message, which the stack begins with, is there already, and a name in it could look like a frame.
    const frames = (error.stack ?? '').replace(`${error.name}: ${error.message}`, '').split('\n').filter(Boolean)
    process.stderr.write(`${frames.map(escaped).join('\n')}\n`)
  }
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** A number of bytes for people: 1.5 MB is 1,500,000 bytes. */
export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1
  return `${value.toFixed(digits)} ${units[unit]}`
}

/** A number of things for people: 1 file, 2 files. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

/** What was stored, for people: `2 files, 1.5 MB`. */
export function stored({
  files,
  directories,
  bytes: size,
}: {
  files: number
  directories: number
  bytes: number
}): string {
  const empty = directories === 0 ? [] : [count(directories, 'empty directory', 'empty directories')]
  return [count(files, 'file'), ...empty, bytes(size)].join(', ')
}
