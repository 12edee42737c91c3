import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { ClassName } from './kinds.ts'

const counting = fileURLToPath(new URL('./counting.mjs', import.meta.url))

/** What a competitor is to do: see counting.mjs. */
export interface Competition {
  readonly className: ClassName
  readonly path: string
  readonly options: object
  readonly holders: string
  readonly me: string
  readonly rounds: number
  readonly stay: boolean
}

/** What competitors reported, all together. */
export interface Tally {
  /** How often somebody held the lock, and how often it was somebody else's at first. */
  won: number
  waited: number
  /** What the counter was written to, durably. */
  readonly wrote: number[]
  /** How often the lock file was found replaced, and nothing was written. */
  poisoned: number
  killed: number
  readonly wrong: string[]
}

/** Nothing reported yet. */
export function newTally(): Tally {
  return { won: 0, waited: 0, wrote: [], poisoned: 0, killed: 0, wrong: [] }
}

/** Has a process compete until it is through, or is killed while it holds the lock. */
export async function compete(work: Competition, tally: Tally): Promise<void> {
  const child = spawn(process.execPath, [counting, JSON.stringify(work)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let complaint = ''
  let over = false
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [word, value, more] = line.split(' ')
    if (word === 'won') tally.won += 1
    if (word === 'won' && more === 'waited') tally.waited += 1
    if (word === 'wrote') tally.wrote.push(Number(value))
    if (word === 'poisoned') tally.poisoned += 1
    if (word === 'wrong') tally.wrong.push(line)
    if (word === 'over') over = true
    if (word === 'held') {
      void sleep(Math.random() * 20).then(() => {
        // It will not leave by itself, so nobody may come before it is dead.
        rmSync(join(work.holders, work.me))
        child.kill('SIGKILL')
      })
    }
  })
  const signal = await new Promise((resolve) => child.once('close', (_, by) => resolve(by)))
  if (work.stay && signal === 'SIGKILL') tally.killed += 1
  else if (!over) throw new Error(`${work.me} ended early (${String(signal)}): ${complaint}`)
}
