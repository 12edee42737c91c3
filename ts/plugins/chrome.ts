import { readFile } from 'node:fs/promises'
import { CsvError, parse } from 'csv-parse/sync'
import { checkOptions, checkPath, isURL, shown } from '../check.ts'
import { CofferError, invalid } from '../errors.ts'

/** An export of Chrome: a path or a `file:` URL, or its text as `csv`. */
export type ChromeSource =
  | string
  | URL
  | {
      /** The text of the export. */
      csv: string
    }

/** A row of the export. */
export interface ChromeRow {
  name: string
  url: string
  username: string
  password: string
  note: string
}

/** The header row, as in Chromium's password_csv_writer.cc. */
const COLUMNS = ['name', 'url', 'username', 'password', 'note'] as const

/** A row of csv-parse with the option `info`. */
interface Parsed {
  readonly record: readonly string[]
  /** `lines` is the last line of the row. */
  readonly info: { readonly lines: number }
}

/**
 * Reads the rows of Chrome's CSV export of passwords.
 *
 * Accounts of one site have the same name in such a file, but names must be unique here. So the username
 * is appended to the name of each but the first, and the URL, too, if that is not unique.
 *
 * @throws {CofferError} `ERR_COFFER_INVALID_ARG` if it is not such a file: the message has the column or the line,
 *   and never a password. `…_IO` if it cannot be read
 */
export async function chromeRows(source: ChromeSource): Promise<ChromeRow[]> {
  const [header, ...rows] = parseCsv(await textOf(source))
  checkHeader(header?.record ?? [])
  const named = new Map<string, ChromeRow>()
  for (const { record, info } of rows) {
    if (record.length !== COLUMNS.length) {
      throw invalid(
        `the row that ends on line ${info.lines} of the CSV has ${record.length} columns, not ${COLUMNS.length}`,
      )
    }
    const [name = '', url = '', username = '', password = '', note = ''] = record
    const names = [name, `${name} (${username})`, `${name} (${username}, ${url})`]
    const free = names.find((candidate) => !named.has(candidate)) ?? names.at(-1) ?? name
    named.set(free, { name: free, url, username, password, note })
  }
  return [...named.values()]
}

async function textOf(source: ChromeSource): Promise<string> {
  if (typeof source === 'object' && source !== null && !isURL(source)) {
    const { csv } = checkOptions(source, 'the source of importChrome', ['csv'])
    if (typeof csv !== 'string') throw invalid(`the csv of importChrome must be a string, not ${shown(csv)}`)
    return csv
  }
  // The text of an export in place of its path would appear in the error.
  if (typeof source === 'string' && /[\r\n]/.test(source)) {
    throw invalid('the source of importChrome must be a path: the text of an export is given as { csv }')
  }
  const path = checkPath(source, 'the source of importChrome')
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    const { code, errno, syscall } = cause
    throw new CofferError('ERR_COFFER_IO', `${path} cannot be read: ${code}`, {
      path,
      errno,
      systemCode: code,
      syscall,
      cause,
    })
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw invalid(`${path} is not UTF-8, as Chrome's exports are`)
  }
}

function parseCsv(csv: string): Parsed[] {
  try {
    return parse(csv, {
      bom: true,
      info: true,
      record_delimiter: ['\r\n', '\n'],
      relax_column_count: true,
      skip_empty_lines: true,
    }) as unknown as Parsed[]
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    // The error and its message contain parts of the file.
    const { code, lines } = error
    throw invalid(`the CSV is broken at line ${lines}: ${code}`)
  }
}

function checkHeader(header: readonly string[]): void {
  const columns = Math.max(header.length, COLUMNS.length)
  for (let at = 0; at < columns; at += 1) {
    const wanted = COLUMNS[at]
    const found = header[at]
    if (found?.toLowerCase() === wanted) continue
    // The value is not shown: in a file without a header it may be a password.
    const is = found === undefined ? 'is missing' : wanted === undefined ? 'is one too many' : `is not '${wanted}'`
    throw invalid(`column ${at + 1} of the header ${is}: that of an export of Chrome's is ${COLUMNS.join(',')}`)
  }
}
