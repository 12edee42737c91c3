/** PyCoffer, in an environment of its own. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { pythonEnv } from '../../scripts/python-env.mjs'

const script = join(import.meta.dirname, 'worker.py')
export const VERSION = '0.1.4'
/** The last that has zstd in C itself: with newer ones PyCoffer reads many times slower. */
export const PYZSTD = '0.16.2'

/** The names of PyCoffer's classes that are compared. */
export type ClassName = 'CofferBank' | 'CofferStore' | 'CofferMarket'

/** A Python with PyCoffer; null where there is none. */
export function python(): string | null {
  return pythonEnv({ pyzstd: PYZSTD })
}

/** How long the adds took, one by one, and the extraction of everything, in seconds. */
export interface DocumentTimes {
  /** From before opening until after closing. */
  readonly write: number
  readonly adds: readonly number[]
  readonly extract: number
}

/** Adds the documents, a list of names and files for each round, and extracts everything. */
export function documents(className: ClassName, coffer: string, rounds: unknown, target: string): DocumentTimes {
  return JSON.parse(run('documents', { className, coffer, rounds, target })) as DocumentTimes
}

/** How long it takes to open a bank with the script's keys, to read one member and to close it. */
export function readOne(coffer: string, member: string): number {
  return Number(run('read', { coffer, member }))
}

function run(what: string, job: unknown): string {
  return execFileSync(python() ?? 'python3', [script, what], {
    input: JSON.stringify(job),
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}
