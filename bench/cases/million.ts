/** A million small members, each with a name as files have them. */
import { join } from 'node:path'
import { alternate, type Case, type Contestants, type Figures, type Goal, inChild, samplesOf } from '../case.ts'
import { databases } from '../peers/databases.ts'

const MB = 1e6
const coffers = ['CofferBank', 'CofferStore']
const peers = ['better-sqlite3', 'lmdb']

interface Writing {
  readonly took: number
  readonly size: number
}
interface Reading {
  readonly opened: number
  readonly grown: number
  readonly iterated: number
  readonly held: number
  readonly listed: number
}

export const million: Case = {
  name: 'million',
  title: 'A million members of 100 bytes',
  async run({ quick, rounds, scratch }) {
    const count = quick ? 50_000 : 1_000_000
    const { missing } = databases()
    const names = [...coffers, ...peers.filter((name) => !missing.includes(name))]
    const contestants: Contestants = Object.fromEntries(
      names.map((contestant) => [
        contestant,
        (): Figures => {
          const job = { contestant, path: join(scratch, 'box'), count }
          const { took, size } = inChild<Writing>('million.mjs', { ...job, what: 'write' })
          const { opened, grown, iterated, held, listed } = inChild<Reading>('million.mjs', { ...job, what: 'read' })
          return {
            write: [count / (took / 1000), 'members/s'],
            file: [size / MB, 'MB'],
            open: [opened, 'ms'],
            'memory of it': [grown / MB, 'MB'],
            iterate: [iterated / 1000, 's'],
            'longest hold of the event loop': [held, 'ms'],
            'list 1,000 by prefix': [listed, 'ms'],
          }
        },
      ]),
    )
    const series = await alternate(rounds, contestants, scratch)
    const goals = coffers.flatMap((name): Goal[] => {
      const goal = (text: string, wanted: number, unit: Goal['unit'], figure: string): Goal => ({
        text: `${name} of ${count} members: ${text}`,
        bound: 'at most',
        wanted,
        unit,
        samples: samplesOf(series, name, figure),
      })
      return [
        goal('open', 250, 'ms', 'open'),
        goal('memory that it takes to open', 120, 'MB', 'memory of it'),
        goal('iterate over all', 1.5, 's', 'iterate'),
        goal('longest hold of the event loop meanwhile', 20, 'ms', 'longest hold of the event loop'),
      ]
    })
    return {
      series,
      goals,
      missing: missing.filter((name) => peers.includes(name)),
      remarks: [
        'Written in one batch, or one transaction, up to the answer that it is on the disk. Opened, iterated and listed in a new process, with the file in the system’s cache; the memory is the most that the process had until a first member was found, above what it had before. better-sqlite3 and lmdb iterate without a turn of the event loop.',
      ],
    }
  },
}
