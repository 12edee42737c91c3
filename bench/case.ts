/** What a case of the benchmark is, and what comes of it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { median } from './statistics.ts'

export type Unit = 's' | 'ms' | 'µs' | 'MB/s' | 'MB' | 'MiB' | 'KiB' | 'bytes' | 'members/s' | '×'

/** One figure of one contestant, measured several times. */
export interface Series {
  readonly contestant: string
  readonly figure: string
  readonly unit: Unit
  readonly samples: readonly number[]
}

/** Something Coffer is to reach. */
export interface Goal {
  readonly text: string
  readonly bound: 'at least' | 'at most'
  readonly wanted: number
  readonly unit: Unit
  /** What was measured, a sample for each round. */
  readonly samples: readonly number[]
}

export interface Outcome {
  readonly series: readonly Series[]
  readonly goals: readonly Goal[]
  /** Peers that are not on this machine. */
  readonly missing: readonly string[]
  /** What a reader has to know to understand the figures. */
  readonly remarks: readonly string[]
}

export interface Setting {
  /** Smaller inputs and fewer rounds, to be done in minutes. */
  readonly quick: boolean
  readonly rounds: number
  /** An empty directory for this case. */
  readonly scratch: string
}

export interface Case {
  readonly name: string
  readonly title: string
  run(setting: Setting): Promise<Outcome>
}

/** The figures of one run of a contestant. */
export type Figures = Readonly<Record<string, readonly [value: number, unit: Unit]>>
export type Contestants = Readonly<Record<string, () => Promise<Figures> | Figures>>

/** A contestant that takes longer than this, in seconds, runs once. */
export const LONG = 60

/**
 * Lets the contestants run one after the other, round after round, each from a quiet disk. One that
 * takes long runs in the first round alone.
 */
export async function alternate(rounds: number, contestants: Contestants, scratch: string): Promise<Series[]> {
  const series = new Map<string, { contestant: string; figure: string; unit: Unit; samples: number[] }>()
  const long = new Set<string>()
  for (let round = 0; round < rounds; round += 1) {
    for (const [contestant, run] of Object.entries(contestants)) {
      if (long.has(contestant)) continue
      clear(scratch)
      const start = performance.now()
      const figures = await run()
      if (performance.now() - start > LONG * 1000) long.add(contestant)
      for (const [figure, [value, unit]] of Object.entries(figures)) {
        const key = `${contestant}\n${figure}`
        const known = series.get(key) ?? { contestant, figure, unit, samples: [] }
        known.samples.push(value)
        series.set(key, known)
      }
    }
  }
  clear(scratch)
  return [...series.values()]
}

/** Empties a directory, and waits until the disk has nothing left to do. */
export function clear(directory: string): void {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  execFileSync('sync')
}

/** The samples of a figure; none if its contestant did not run. */
export function samplesOf(series: readonly Series[], contestant: string, figure: string): readonly number[] {
  return series.find((one) => one.contestant === contestant && one.figure === figure)?.samples ?? []
}

/** How long some work takes, in seconds. */
export async function seconds(work: () => unknown): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

/** Whether a goal is reached by the median, or null where nothing was measured. */
export function isReached(goal: Goal): boolean | null {
  const value = median(goal.samples)
  if (Number.isNaN(value)) return null
  return goal.bound === 'at least' ? value >= goal.wanted : value <= goal.wanted
}

/** The figures that a program of bench/children prints, run in a process of its own. */
export function inChild<T>(program: string, job: unknown): T {
  const argument = typeof job === 'string' ? job : JSON.stringify(job)
  const path = join(import.meta.dirname, 'children', program)
  return JSON.parse(execFileSync(process.execPath, [path, argument], { encoding: 'utf8' })) as T
}
