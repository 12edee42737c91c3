/** The benchmark: what it makes of its samples, and that a case of it runs. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type Goal, isReached } from '../bench/case.ts'
import { page } from '../bench/report/markdown.ts'
import { pictures } from '../bench/report/pictures.ts'
import { type CaseResult, withCase } from '../bench/report/results.ts'
import { median, percentile, ratios } from '../bench/statistics.ts'

const machine = { processor: 'a', cores: 2, memory: '1 GiB', system: 'b', versions: { tar: '1', age: null } }
const goal = (bound: Goal['bound'], samples: readonly number[]): Goal => ({
  text: `goal ${bound}`,
  bound,
  wanted: 2,
  unit: '×',
  samples,
})
const commits: CaseResult = {
  name: 'commits',
  title: 'Commits',
  date: '2026-01-02',
  rounds: 3,
  series: [
    { contestant: 'CofferBank', figure: 'one caller', unit: 'µs', samples: [3, 1, 2] },
    { contestant: 'a | b', figure: 'one caller', unit: 'µs', samples: [8] },
  ],
  goals: [goal('at least', [1, 2, 3]), goal('at most', [3]), goal('at most', [])],
  missing: ['better-sqlite3'],
  remarks: [],
}

describe('the benchmark', () => {
  it('takes medians, percentiles, and ratios round by round', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(median([])).toBeNaN()
    expect(percentile([5, 1, 2, 4, 3], 0.8)).toBe(4)
    expect(percentile([1, 2, 3], 0.99)).toBe(3)
    expect(ratios([2, 9], [1, 3, 7])).toEqual([2, 3])
  })

  it('says whether a goal is reached by the median, and nothing where nothing was measured', () => {
    expect(commits.goals.map(isReached)).toEqual([true, false, null])
  })

  it('shows goals, figures, charts and what is missing', () => {
    const drawn = pictures([commits])
    const text = page(
      { machine, cases: [commits] },
      drawn.map(({ picture }) => picture),
    )
    expect(text).toContain('tar 1; age (missing)')
    expect(text).toContain('| goal at least | at least 2 × | 2.00 × (1.00–3.00) | yes |')
    expect(text).toContain('| goal at most | at most 2 × | 3.00 × | **no** |')
    expect(text).toContain('| goal at most | at most 2 × | – | not measured |')
    expect(text).toContain('| CofferBank | 2.00 µs (1.00–3.00) |')
    expect(text).toContain('| a \\| b | 8.00 µs |')
    expect(text).toContain('Missing on this machine: better-sqlite3.')
    expect(drawn.map(({ picture }) => picture.path)).toEqual(['bench/charts/commits.svg'])
    expect(text).toContain('(bench/charts/commits.svg)')
    expect(drawn[0]?.svg).toMatch(/^<svg .*a \| b.*<\/svg>\n$/s)
  })

  it('keeps the other cases when one is measured anew', () => {
    const other = { ...commits, name: 'start' }
    const anew = { ...commits, date: '2026-02-03' }
    const order = ['commits', 'start']
    const results = withCase(withCase({ machine, cases: [other, commits] }, anew, order), other, order)
    expect(results.cases).toEqual([anew, other])
  })

  it('measures a case', { timeout: 120_000 }, () => {
    const root = fileURLToPath(new URL('..', import.meta.url))
    const tsx = fileURLToPath(new URL('../node_modules/tsx/dist/cli.mjs', import.meta.url))
    const run = (...args: string[]): string =>
      execFileSync(process.execPath, [tsx, 'bench/main.ts', ...args], { cwd: root, encoding: 'utf8' })
    expect(run('--list')).toContain('documents')
    const output = run('--quick', '--rounds', '1', 'start')
    expect(output).toMatch(/\| CofferBank \| [\d.]+ ms .*\| [\d.]+ ms .*\| [\d.]+ ms .*\|/)
    expect(output).toMatch(/at most 30 ms \| [\d.]+ ms .*\| (yes|\*\*no\*\*) \|/)
  })
})
