import type { Readable } from 'node:stream'
import { UsageError } from '../exit.ts'

let taken: string | undefined

/** Standard input, which may be used only once. */
export function takeInput(what: string): Readable {
  if (taken !== undefined) throw new UsageError(`standard input cannot be both ${taken} and ${what}`)
  taken = what
  return process.stdin
}
