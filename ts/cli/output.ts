import { once } from 'node:events'
import { styleText } from 'node:util'
import { errorCode } from './exit.ts'

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

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** Text without anything that a terminal would obey: control characters and changes of direction are spelt out. */
export function escaped(text: string): string {
  return text.replace(unsafe, (character) => {
    const code = character.charCodeAt(0)
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

/** A name as standard output gets it: as it is, but escaped for a terminal. */
export function shown(name: string): string {
  return process.stdout.isTTY ? escaped(name) : name
}

/** Writes to standard output, and waits while its reader is slower. */
export async function write(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

/** Writes a line to standard output. */
export async function line(text = ''): Promise<void> {
  await write(`${text}\n`)
}

/** Writes the result of a command as one JSON document. */
export async function json(value: unknown): Promise<void> {
  await line(JSON.stringify(value, null, 2))
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

/** Tells something on standard error. */
export function note(message: string): void {
  process.stderr.write(`coffer: ${process.stderr.isTTY ? escaped(message) : message}\n`)
}

/** Warns on standard error. */
export function warn(message: string): void {
  const text = process.stderr.isTTY ? escaped(message) : message
  process.stderr.write(`${styled('yellow', 'coffer: warning:', process.stderr)} ${text}\n`)
}

/** Tells on standard error what went wrong. */
export function fail(error: unknown, message: string): void {
  if (manner.json) {
    process.stderr.write(`${JSON.stringify({ error: { code: errorCode(error), message } })}\n`)
    return
  }
  const text = process.stderr.isTTY ? message.split('\n').map(escaped).join('\n') : message
  process.stderr.write(`${styled('red', 'coffer:', process.stderr)} ${text}\n`)
  const { COFFER_DEBUG } = process.env
  if (COFFER_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`)
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
