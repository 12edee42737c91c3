/** The results as a page. */
import { isReached, type Series } from '../case.ts'
import { median } from '../statistics.ts'
import { rounded, shown } from './format.ts'
import type { CaseResult, Results } from './results.ts'

export interface Picture {
  readonly case: string
  readonly path: string
  readonly title: string
}

/** The whole page. */
export function page(results: Results, pictures: readonly Picture[]): string {
  const { machine, cases } = results
  const versions = Object.entries(machine.versions)
    .map(([name, version]) => `${name} ${version ?? '(missing)'}`)
    .join('; ')
  return `# Benchmark

What \`npm run bench\` measured: each contestant in turn, round after round, in one run for each table. Figures are medians,
with the least and the greatest in parentheses; ratios are taken round by round. Every figure is in
[bench/results.json](bench/results.json).

${machine.processor}, ${machine.cores} cores, ${machine.memory}, ${machine.system}. ${versions}.

## Goals

${goals(cases)}
${cases
  .map((result) =>
    section(
      result,
      pictures.filter((picture) => picture.case === result.name),
    ),
  )
  .join('\n')}`
}

/** What the terminal shows of one case. */
export function summary(result: CaseResult): string {
  return section(result, [])
}

function goals(cases: readonly CaseResult[]): string {
  const rows = cases.flatMap((result) =>
    result.goals.map((goal) => {
      const reached = isReached(goal)
      const said = reached === null ? 'not measured' : reached ? 'yes' : '**no**'
      return [goal.text, `${goal.bound} ${goal.wanted} ${goal.unit}`, shown(goal.samples, goal.unit), said]
    }),
  )
  return table(['goal', 'wanted', 'measured', 'reached'], rows)
}

function section(result: CaseResult, pictures: readonly Picture[]): string {
  const parts = [`## ${result.title}\n`]
  for (const { path, title } of pictures) parts.push(`![${title}](${path})\n`)
  parts.push(result.name === 'documents' ? documents(result.series) : figures(result.series))
  for (const remark of result.remarks) parts.push(`${remark}\n`)
  if (result.missing.length > 0) parts.push(`Missing on this machine: ${result.missing.join(', ')}.\n`)
  parts.push(`\`npm run bench -- ${result.name}\`, ${result.rounds} rounds, ${result.date}.\n`)
  return parts.join('\n')
}

/** A row for each contestant, a column for each figure. */
function figures(series: readonly Series[]): string {
  const columns = [...new Set(series.map(({ figure }) => figure))]
  const contestants = [...new Set(series.map(({ contestant }) => contestant))]
  const rows = contestants.map((contestant) => [
    contestant,
    ...columns.map((column) => {
      const one = series.find((each) => each.contestant === contestant && each.figure === column)
      return one === undefined ? '' : shown(one.samples, one.unit)
    }),
  ])
  return table(['', ...columns], rows)
}

/** PyCoffer's own table: a row for each class, data and number of documents. */
function documents(series: readonly Series[]): string {
  const rowNames = [...new Set(series.map(({ figure }) => figure.split(': ')[0] ?? ''))]
  const contestants = [...new Set(series.map(({ contestant }) => contestant))]
  const value = (contestant: string, row: string, figure: string): number =>
    median(series.find((each) => each.contestant === contestant && each.figure === `${row}: ${figure}`)?.samples ?? [])
  const rows = rowNames.flatMap((row) =>
    contestants.map((contestant) => {
      const of = (figure: string): number => value(contestant, row, figure)
      const [data, count] = row.split(' × ')
      const last = [1, 2, 3, 4].map((back) => rounded(of(`add −${back}`)))
      const ratio = `${rounded((of('size') / of('original')) * 100)} %`
      return [
        ...[contestant, data ?? '', count ?? '', rounded(of('original')), rounded(of('size')), ratio],
        ...[rounded(of('write')), rounded(of('extract')), rounded(of('first add')), ...last],
      ]
    }),
  )
  const head = ['class', 'data', 'documents', 'MB', 'coffer, MB', 'ratio', 'write, s', 'extract, s', 'first add, s']
  return table([...head, 'last', 'last but 1', 'last but 2', 'last but 3'], rows)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}
