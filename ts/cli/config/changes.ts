import { UsageError } from '../exit.ts'

/** Changes to the entries of a section: text, or base64 text if the name ends in `_key`; null removes an entry. */
export type Changes = Readonly<Record<string, string | null>>

/** The entries that changes set. */
export function added(changes: Changes): [string, string][] {
  return Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== null)
}

/** The error for a section whose layout does not allow changes. */
export function notInLines(name: string): UsageError {
  return new UsageError(`the section ${name} is not written as one entry a line, so it cannot be changed`)
}
