import { once } from 'node:events'
import { styleText } from 'node:util'
import { errorCode } from '../exit.ts'
import { interrupted } from './interrupted.ts'

/** A style of `util.styleText`. */
type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'blue' | 'cyan'

/** The form of output, from `--quiet` and `--json`. */
export const manner = { quiet: false, json: false }

/** Whether a stream gets colours: a terminal does, unless NO_COLOR or FORCE_COLOR override it. */
export function hasColors(stream: { isTTY?: boolean }): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  if (NO_COLOR !== undefined && NO_COLOR !== '') return false
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  return stream.isTTY === true && TERM !== 'dumb'
}

/** Text in a style, if the stream gets colours. */
export function styled(style: Style, text: string, stream: { isTTY?: boolean } = process.stdout): string {
  return hasColors(stream) ? styleText(style, text, { validateStream: false }) : text
}

/**
 * Characters that control a terminal or are invisible: control characters, changes of direction, other
 * format characters, line and paragraph separators, halves of surrogate pairs. Joiners are not among them:
 * scripts and emoji need them.
 */
const unsafe = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** Escapes all characters of a text that control a terminal or are invisible. */
export function escaped(text: string): string {
  return text.replace(unsafe, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

/** JSON in which such characters are escaped, too. A parser reads the same value. */
function jsonText(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent)
  // Line feeds occur only between tokens, not in strings.
  return text.replace(unsafe, (character) =>
    character === '\n'
      ? character
      : Array.from(
          { length: character.length },
          (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
        ).join(''),
  )
}

/** A name for standard output: unchanged, but escaped for a terminal. */
export function shown(name: string): string {
  return process.stdout.isTTY ? escaped(name) : name
}

/** Writes to standard output, and waits until it drains, or for Ctrl-C. */
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

/** Writes rows with aligned columns: numbers to the right, the last column without padding. */
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

/** Writes properties, one line each. */
export async function properties(entries: readonly (readonly [string, string | number])[]): Promise<void> {
  const width = Math.max(...entries.map(([name]) => name.length))
  for (const [name, value] of entries) {
    await line(`${styled('bold', name.padEnd(width))}  ${shown(String(value))}`)
  }
}

/** Writes a summary to standard error, unless `--quiet` or `--json` is given. */
export function say(message: string): void {
  if (!manner.quiet && !manner.json) note(message)
}

/** Clears the progress bar on standard error, if there is one. */
let clearLine = (): void => {}

/** Sets what is cleared before each message. */
export function clearBefore(clear: () => void): void {
  clearLine = clear
}

/** Writes a message to standard error, always escaped: scripts use `--json`. */
export function note(message: string): void {
  clearLine()
  process.stderr.write(`coffer: ${escaped(message)}\n`)
}

/** Writes a warning to standard error. */
export function warn(message: string): void {
  clearLine()
  process.stderr.write(`${styled('yellow', 'coffer: warning:', process.stderr)} ${escaped(message)}\n`)
}

/** Writes an error to standard error. Line feeds within one of `lines` are escaped. */
export function fail(error: unknown, ...lines: readonly string[]): void {
  clearLine()
  if (manner.json) {
    process.stderr.write(`${jsonText({ error: { code: errorCode(error), message: lines.join('\n') } })}\n`)
    return
  }
  process.stderr.write(`${styled('red', 'coffer:', process.stderr)} ${lines.map(escaped).join('\n')}\n`)
  const { COFFER_DEBUG } = process.env
  if (COFFER_DEBUG && error instanceof Error) {
    // The stack begins with the message, which is printed already, and a name in it could look like a frame.
    const frames = (error.stack ?? '').replace(`${error.name}: ${error.message}`, '').split('\n').filter(Boolean)
    process.stderr.write(`${frames.map(escaped).join('\n')}\n`)
  }
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Formats a number of bytes: 1.5 MB is 1,500,000 bytes. */
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

/** Formats a count: 1 file, 2 files. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

/** Formats what was stored: `2 files, 1.5 MB`. */
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
