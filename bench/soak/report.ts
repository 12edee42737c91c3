/** What the terminal shows of a soak, and whether it ended as it began. */
import type { SoakResult, Tenth } from './run.ts'

/** By how much a figure of the last tenth may exceed that of the first. */
const ALLOWED = 1.2

const MB = 1e6
const columns: readonly (readonly [head: string, width: number, cell: (tenth: Tenth) => string])[] = [
  ['operations', 11, ({ operations }) => `${operations}`],
  ['per second', 11, ({ perSecond }) => perSecond.toFixed(0)],
  ['p50, ms', 9, ({ p50 }) => p50.toFixed(2)],
  ['p99, ms', 9, ({ p99 }) => p99.toFixed(2)],
  ['file, MB', 9, ({ fileSize }) => (fileSize / MB).toFixed(1)],
  ['to live', 8, ({ fileToLive }) => fileToLive.toFixed(2)],
  ['RSS, MB', 8, ({ rss }) => (rss / MB).toFixed(0)],
  ['descriptors', 12, ({ descriptors }) => `${descriptors ?? '–'}`],
  ['KB in calls', 12, ({ written }) => (written === null ? '–' : (written.calls / 1000).toFixed(1))],
  ['KB to disk', 11, ({ written }) => (written === null ? '–' : (written.device / 1000).toFixed(1))],
]

export const heading = columns.map(([head, width]) => head.padStart(width)).join(' ')

export function line(tenth: Tenth): string {
  return columns.map(([, width, cell]) => cell(tenth).padStart(width)).join(' ')
}

export function ending({ members, fileSize, open, readers }: SoakResult): string {
  const megabytes = (bytes: number): string => `${(bytes / MB).toFixed(1)} MB`
  return [
    `${members} members, all as they must be, before and after the coffer was closed and opened again`,
    `file: ${megabytes(fileSize.flushed)}, closed ${megabytes(fileSize.closed)}, a fresh one ${megabytes(fileSize.fresh)}`,
    `open: ${open.aged.toFixed(1)} ms, a fresh one ${open.fresh.toFixed(1)} ms`,
    `readers: ${readers.here.read} members in this process, ${readers.child.read} in another; ${readers.here.gone + readers.child.gone} changed meanwhile`,
  ].join('\n')
}

/** In what the last tenth is worse than the first; times count where they are to. */
export function worse(tenths: readonly Tenth[], times: boolean): string[] {
  const [first, last] = [tenths[0], tenths.at(-1)]
  if (first === undefined || last === undefined) return []
  const figures: [name: string, of: (tenth: Tenth) => number][] = [
    ['file size to live size', ({ fileToLive }) => fileToLive],
    ['RSS', ({ rss }) => rss],
    ['descriptors', ({ descriptors }) => descriptors ?? 0],
  ]
  if (times) figures.push(['p50', ({ p50 }) => p50], ['p99', ({ p99 }) => p99])
  return figures
    .filter(([, of]) => of(last) > of(first) * ALLOWED)
    .map(([name, of]) => `${name}: ${(of(last) / of(first)).toFixed(2)} times that of the first tenth`)
}
