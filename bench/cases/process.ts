/** What Coffer costs the process it is in: memory, the event loop, the time to start. Each in a process of its own. */
import { join } from 'node:path'
import { alternate, type Case, type Figures, type Goal, inChild, samplesOf } from '../case.ts'
import { large } from '../corpus/large.ts'
import { percentile, ratios } from '../statistics.ts'

const MiB = 1 << 20
const ways = ['in', 'out', 'stream in', 'stream out'] as const

export const memory: Case = {
  name: 'memory',
  title: 'Memory while a large file goes in, comes out, or is streamed',
  async run({ quick, scratch }) {
    const sizes = quick ? [128, 512] : [1024, 4096]
    const contestant = (mebibytes: number) => (): Figures => {
      const [source, coffer, target] = [large(mebibytes), join(scratch, 'box'), join(scratch, 'out')]
      const grown = (what: string): readonly [number, 'MiB'] => [
        inChild<{ grown: number }>('memory.mjs', { what, source, coffer, target }).grown / MiB,
        'MiB',
      ]
      return Object.fromEntries(ways.map((what) => [what, grown(what)]))
    }
    const names = sizes.map((size) => `a file of ${size} MiB`)
    const contestants = Object.fromEntries(sizes.map((size, at) => [names[at] ?? '', contestant(size)]))
    const series = await alternate(1, contestants, scratch)
    const of = (at: number, what: string): readonly number[] => samplesOf(series, names[at] ?? '', what)
    const goals = ways.flatMap((what): Goal[] => [
      {
        text: `Peak above idle, ${names[1]}, ${what}`,
        bound: 'at most',
        wanted: 96,
        unit: 'MiB',
        samples: of(1, what),
      },
      {
        text: `The same: to that of ${names[0]}`,
        bound: 'at most',
        wanted: 1.25,
        unit: '×',
        samples: ratios(of(1, what), of(0, what)),
      },
    ])
    return {
      series,
      goals,
      missing: [],
      remarks: ['A Bank at level 3. The peak is the system’s count of resident memory.'],
    }
  },
}

interface Watched {
  readonly delay: number
  readonly stats: readonly number[]
}

export const eventLoop: Case = {
  name: 'event-loop',
  title: 'The event loop and libuv’s pool while a large file goes in',
  async run({ quick, rounds, scratch }) {
    const mebibytes = quick ? 512 : 2048
    const contestants = {
      CofferBank: (): Figures => {
        const job = { source: large(mebibytes), coffer: join(scratch, 'box') }
        const { idle, busy } = inChild<{ idle: Watched; busy: Watched }>('event-loop.mjs', job)
        return {
          'event-loop delay p99, idle': [idle.delay, 'ms'],
          'event-loop delay p99, busy': [busy.delay, 'ms'],
          'fs.stat p99, idle': [percentile(idle.stats, 0.99), 'ms'],
          'fs.stat p99, busy': [percentile(busy.stats, 0.99), 'ms'],
        }
      },
    }
    const series = await alternate(rounds, contestants, scratch)
    const of = (figure: string): readonly number[] => samplesOf(series, 'CofferBank', figure)
    return {
      series,
      goals: [
        {
          text: `Event-loop delay, 99th percentile, while ${mebibytes} MiB go into a Bank`,
          bound: 'at most',
          wanted: 10,
          unit: 'ms',
          samples: of('event-loop delay p99, busy'),
        },
        {
          text: 'fs.stat then, 99th percentile, to idle',
          bound: 'at most',
          wanted: 3,
          unit: '×',
          samples: ratios(of('fs.stat p99, busy'), of('fs.stat p99, idle')),
        },
      ],
      missing: [],
      remarks: [],
    }
  },
}

export const start: Case = {
  name: 'start',
  title: 'From import to the first sealed byte',
  async run({ rounds, scratch }) {
    const contestants = {
      CofferBank: (): Figures => {
        const { imported, sealed, written } = inChild<{ imported: number; sealed: number; written: number }>(
          'start.mjs',
          join(scratch, 'box'),
        )
        return {
          'import alone': [imported, 'ms'],
          'first sealed byte': [sealed, 'ms'],
          'first member durable': [written, 'ms'],
        }
      },
    }
    const series = await alternate(Math.max(rounds * 3, 9), contestants, scratch)
    return {
      series,
      goals: [
        {
          text: 'Import of the package to the first sealed byte of a new Bank',
          bound: 'at most',
          wanted: 30,
          unit: 'ms',
          samples: samplesOf(series, 'CofferBank', 'first sealed byte'),
        },
      ],
      missing: [],
      remarks: ['In a new process each time, which has loaded nothing before.'],
    }
  },
}
