/** The charts that BENCHMARK.md and the README show. */
import type { Series } from '../case.ts'
import { median } from '../statistics.ts'
import { type Bar, chart } from './charts.ts'
import type { Picture } from './markdown.ts'
import type { CaseResult } from './results.ts'

interface Sketch {
  readonly file: string
  readonly case: string
  readonly title: string
  readonly figure: string
}

const sketches: readonly Sketch[] = [
  {
    file: 'documents-write',
    case: 'documents',
    title: '25 × five documents, one after the other: write',
    figure: 'mixed × 25: write',
  },
  {
    file: 'documents-extract',
    case: 'documents',
    title: '25 × five documents: extract all',
    figure: 'mixed × 25: extract',
  },
  {
    file: 'documents-size',
    case: 'documents',
    title: '25 × five documents: size of the coffer',
    figure: 'mixed × 25: size',
  },
  { file: 'large-in', case: 'large-file', title: 'A file of 4 GiB, half compressible: in', figure: 'in' },
  { file: 'large-out', case: 'large-file', title: 'A file of 4 GiB, half compressible: out', figure: 'out' },
  { file: 'small-in', case: 'small-files', title: '50,000 small files: in', figure: 'in' },
  { file: 'small-out', case: 'small-files', title: '50,000 small files: out', figure: 'out' },
  { file: 'one-member', case: 'one-member', title: 'Open 1 GiB, read one member of 4 KB, close', figure: 'one member' },
  { file: 'commits', case: 'commits', title: 'A new member of 1 KB, durable: one caller', figure: 'one caller' },
  {
    file: 'updates',
    case: 'updates',
    title: 'A member of 1 KB replaced, durable: one caller',
    figure: 'replace, one caller',
  },
]

/** The charts for the cases that there are, by file name. */
export function pictures(cases: readonly CaseResult[]): { picture: Picture; svg: string }[] {
  return sketches.flatMap(({ file, case: name, title, figure }) => {
    const series = cases.find((result) => result.name === name)?.series.filter((one) => one.figure === figure) ?? []
    const unit = series[0]?.unit
    if (unit === undefined) return []
    const picture = { case: name, path: `bench/charts/${file}.svg`, title }
    return [{ picture, svg: chart(title, unit, bars(series)) }]
  })
}

function bars(series: readonly Series[]): Bar[] {
  return series
    .map(({ contestant, samples }) => ({
      label: contestant,
      value: median(samples),
      ours: contestant.startsWith('Coffer'),
    }))
    .sort((a, b) => a.value - b.value)
}
