/** The results as they are kept: each case as it was measured last. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Outcome } from '../case.ts'
import type { Machine } from '../machine.ts'

export interface CaseResult extends Outcome {
  readonly name: string
  readonly title: string
  /** The day it was measured. */
  readonly date: string
  readonly rounds: number
}

export interface Results {
  readonly machine: Machine
  readonly cases: readonly CaseResult[]
}

/** What the file holds, or nothing yet. */
export function load(path: string, machine: Machine): Results {
  if (!existsSync(path)) return { machine, cases: [] }
  const known = JSON.parse(readFileSync(path, 'utf8')) as Results
  // Figures of two machines do not belong into one table.
  return known.machine.processor === machine.processor ? { machine, cases: known.cases } : { machine, cases: [] }
}

/** The results with one case measured anew, in the order of the names. */
export function withCase(results: Results, result: CaseResult, order: readonly string[]): Results {
  const cases = [...results.cases.filter(({ name }) => name !== result.name), result]
  return { ...results, cases: cases.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name)) }
}

export function save(path: string, results: Results): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(
    path,
    `${JSON.stringify(results, (_, value) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value), 1)}\n`,
  )
}
