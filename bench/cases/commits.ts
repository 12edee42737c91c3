/** Small members, each durable when its promise settles. */
import { join } from 'node:path'
import { alternate, type Case, type Figures, samplesOf } from '../case.ts'
import { bank, type Kind, store } from '../coffers.ts'
import { noise } from '../corpus/random.ts'
import { sqlite } from '../peers/modules.ts'
import { ratios } from '../statistics.ts'

const SIZE = 1024
const CALLERS = 64

export const commits: Case = {
  name: 'commits',
  title: 'New members of 1 KB, each flushed to the disk',
  async run({ quick, rounds, scratch }) {
    const count = quick ? 200 : 1000
    const Sqlite = sqlite()
    const contestants: Record<string, () => Promise<Figures> | Figures> = {}
    for (const kind of [bank, store]) {
      contestants[kind.name] = async () => ({
        'one caller': [await write(kind, join(scratch, 'one'), count, 1), 'µs'],
        [`${CALLERS} callers`]: [await write(kind, join(scratch, 'many'), count * 8, CALLERS), 'µs'],
      })
    }
    if (Sqlite !== null) {
      contestants['better-sqlite3'] = () => {
        const database = new Sqlite(join(scratch, 'database'))
        database.pragma('journal_mode = WAL')
        database.pragma('synchronous = FULL')
        database.exec('CREATE TABLE members (name TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID')
        const insert = database.prepare('INSERT INTO members VALUES (?, ?)')
        const random = noise(count)
        const start = performance.now()
        for (let number = 0; number < count; number += 1) insert.run(`member-${number}`, random(SIZE))
        const took = performance.now() - start
        database.close()
        return { 'one caller': [(took / count) * 1000, 'µs'] }
      }
    }
    const series = await alternate(rounds, contestants, scratch)
    const of = (contestant: string, figure: string): readonly number[] => samplesOf(series, contestant, figure)
    return {
      series,
      goals: [
        {
          text: 'Bank, one caller: better-sqlite3’s time to Coffer’s (WAL, synchronous FULL)',
          bound: 'at least',
          wanted: 0.8,
          unit: '×',
          samples: ratios(of('better-sqlite3', 'one caller'), of('CofferBank', 'one caller')),
        },
        {
          text: `Bank, ${CALLERS} concurrent callers: a single caller’s time to theirs, for each member`,
          bound: 'at least',
          wanted: 5,
          unit: '×',
          samples: ratios(of('CofferBank', 'one caller'), of('CofferBank', `${CALLERS} callers`)),
        },
      ],
      missing: Sqlite === null ? ['better-sqlite3'] : [],
      remarks: ['Time for each member. Coffer encrypts what it writes, SQLite does not.'],
    }
  },
}

/** So many writes by so many callers, in microseconds each. */
async function write(kind: Kind, path: string, count: number, callers: number): Promise<number> {
  const coffer = await kind.open(path, 'x', { autoFlush: true })
  const random = noise(count)
  let next = 0
  const start = performance.now()
  const caller = async (): Promise<void> => {
    while (next < count) {
      next += 1
      await coffer.write(`member-${next}`, random(SIZE))
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  const took = performance.now() - start
  await coffer.close()
  return (took / count) * 1000
}
