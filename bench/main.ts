/**
 * `npm run bench`: measures every case, or those that are named, and writes BENCHMARK.md,
 * bench/results.json and bench/charts. `--quick` has smaller inputs, takes minutes, and only prints.
 * `--install` gets the peers that come from npm, crates.io and PyPI; `--list` names the cases.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from '../scripts/prepare.mjs'
import { cases } from './cases/index.ts'
import { machine as thisMachine } from './machine.ts'
import { install } from './peers/install.ts'
import { page, summary } from './report/markdown.ts'
import { pictures } from './report/pictures.ts'
import { type CaseResult, load, type Results, save, withCase } from './report/results.ts'

const ROUNDS = 5
const QUICK_ROUNDS = 2
const files = {
  results: join(root, 'bench', 'results.json'),
  charts: join(root, 'bench', 'charts'),
  page: join(root, 'BENCHMARK.md'),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    install: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
})
const names = cases.map(({ name }) => name)
const unknown = positionals.find((name) => !names.includes(name))

if (unknown !== undefined) {
  console.error(`There is no case ${JSON.stringify(unknown)}. There are: ${names.join(', ')}`)
  process.exitCode = 2
} else if (values.list) {
  for (const { name, title } of cases) console.log(`${name.padEnd(14)}${title}`)
} else if (values.install) {
  install()
} else {
  await measure(positionals.length === 0 ? names : positionals)
}

async function measure(chosen: readonly string[]): Promise<void> {
  const quick = values.quick
  const rounds = Math.max(1, Number(values.rounds ?? (quick ? QUICK_ROUNDS : ROUNDS)) || 1)
  const machine = thisMachine()
  let results = quick ? { machine, cases: [] } : load(files.results, machine)
  for (const { name, title, run } of cases.filter((one) => chosen.includes(one.name))) {
    const scratch = join(root, 'target', 'bench', 'scratch', name)
    rmSync(scratch, { recursive: true, force: true })
    mkdirSync(scratch, { recursive: true })
    const start = performance.now()
    const outcome = await run({ quick, rounds, scratch })
    rmSync(scratch, { recursive: true, force: true })
    const result: CaseResult = { name, title, date: new Date().toISOString().slice(0, 10), rounds, ...outcome }
    results = withCase(results, result, names)
    console.log(summary(result))
    for (const goal of page({ machine, cases: [result] }, []).split('\n')) {
      if (goal.startsWith('| ') && / (yes|\*\*no\*\*|not measured) \|$/.test(goal)) console.log(goal)
    }
    console.log(`${name} took ${((performance.now() - start) / 1000).toFixed(0)} s\n`)
    if (!quick) write(results)
  }
}

function write(results: Results): void {
  const drawn = pictures(results.cases)
  save(files.results, results)
  rmSync(files.charts, { recursive: true, force: true })
  mkdirSync(files.charts)
  for (const { picture, svg } of drawn) writeFileSync(join(root, picture.path), svg)
  writeFileSync(
    files.page,
    page(
      results,
      drawn.map(({ picture }) => picture),
    ),
  )
}
