/** The table of PyCoffer's own benchmark: documents added to each class, then all of them extracted. */
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, Goal, Outcome, Series, Unit } from '../case.ts'
import { clear, samplesOf, seconds } from '../case.ts'
import { bank, type Kind, market, ocbBank, store } from '../coffers.ts'
import { documentFile, documentNames } from '../corpus/documents.ts'
import { type ClassName, type DocumentTimes, documents as pycoffer, python } from '../peers/pycoffer.ts'
import { ratios } from '../statistics.ts'

/** What the rows of the table are about: one document again and again, or all five. */
const data = ['genindex-all.html', 'searchindex.js', 'library.pdf', 'mixed'] as const
/** Above this, in seconds, PyCoffer runs once. */
const LONG = 20

const kinds: readonly Kind[] = [bank, ocbBank, store, market]
const classes: readonly ClassName[] = ['CofferBank', 'CofferStore', 'CofferMarket']

type Job = readonly (readonly (readonly [name: string, file: string])[])[]
type Run = (job: Job) => Promise<DocumentTimes> | DocumentTimes

export const documents: Case = {
  name: 'documents',
  title: 'Documents one after the other: PyCoffer’s own table',
  async run({ quick, rounds, scratch }): Promise<Outcome> {
    const hasPycoffer = python() !== null
    const coffer = join(scratch, 'box.coffer')
    const target = join(scratch, 'extracted')
    const contestants: Record<string, Run> = {}
    for (const kind of kinds) contestants[kind.name] = (job) => ours(kind, coffer, job, target)
    if (hasPycoffer) {
      for (const name of classes) contestants[peer(name)] = (job) => pycoffer(name, coffer, job, target)
    }
    const series = new Map<string, { contestant: string; figure: string; unit: Unit; samples: number[] }>()
    const take = (contestant: string, figure: string, value: number, unit: Unit): void => {
      const key = `${contestant}\n${figure}`
      const known = series.get(key) ?? { contestant, figure, unit, samples: [] }
      known.samples.push(value)
      series.set(key, known)
    }
    const done = new Set<string>()
    for (const count of quick ? [5] : [5, 25]) {
      for (const what of data) {
        const job = jobOf(what, count)
        for (let round = 0; round < rounds; round += 1) {
          for (const [name, run] of Object.entries(contestants)) {
            const row = rowOf(what, count)
            if (done.has(name + row)) continue
            clear(scratch)
            const times = await run(job)
            check(job, target)
            if (name.startsWith('PyCoffer') && times.write + times.extract > LONG) done.add(name + row)
            take(name, `${row}: write`, times.write, 's')
            take(name, `${row}: extract`, times.extract, 's')
            const original = job.flat().reduce((sum, [, file]) => sum + statSync(file).size, 0)
            take(name, `${row}: original`, original / 1e6, 'MB')
            take(name, `${row}: size`, statSync(coffer).size / 1e6, 'MB')
            take(name, `${row}: first add`, times.adds[0] ?? Number.NaN, 's')
            for (const back of [1, 2, 3, 4]) {
              take(name, `${row}: add −${back}`, times.adds.at(-back) ?? Number.NaN, 's')
            }
          }
        }
      }
    }
    clear(scratch)
    const all = [...series.values()]
    const remarks = [
      `A round of “mixed” adds ${documentNames.join(', ')}.`,
      'PyCoffer’s Bank is sealed with AES-128-OCB, as in its own benchmark; Coffer’s with Fernet, its default, and with AES-256-OCB. Coffer waits for the disk at each flush, PyCoffer does not.',
      'Each document is added under a new name with the same bytes. PyCoffer’s Store compresses the whole tar once more, and so finds compressed copies of up to some megabytes; Coffer compresses blocks apart from each other, which is why one can be read without the others.',
    ]
    return { series: all, goals: goals(all, quick ? 5 : 25), missing: hasPycoffer ? [] : ['PyCoffer'], remarks }
  },
}

const rowOf = (what: string, count: number): string => `${what} × ${count}`
const peer = (name: string): string => `PyCoffer’s ${name}`

function jobOf(what: (typeof data)[number], count: number): Job {
  const names = what === 'mixed' ? documentNames : [what]
  return Array.from({ length: count }, (_, round) =>
    names.map((name) => [`${name}${round}`, documentFile(name)] as const),
  )
}

async function ours(kind: Kind, path: string, job: Job, target: string): Promise<DocumentTimes> {
  const adds: number[] = []
  const write = await seconds(async () => {
    const coffer = await kind.open(path, 'w')
    for (const files of job) {
      adds.push(
        await seconds(async () => {
          for (const [name, file] of files) await coffer.add(file, name)
        }),
      )
    }
    await coffer.close()
  })
  const extract = await seconds(async () => {
    const coffer = await kind.open(path, 'r')
    await coffer.extractAll(target)
    await coffer.close()
  })
  return { write, adds, extract }
}

/** All of it has come out. */
function check(job: Job, target: string): void {
  for (const [name, file] of job.flat()) {
    const extracted = join(target, name)
    if (!existsSync(extracted) || statSync(extracted).size !== statSync(file).size) {
      throw new Error(`${name} was not extracted`)
    }
  }
  rmSync(target, { recursive: true })
}

function goals(series: readonly Series[], count: number): Goal[] {
  const of = (contestant: string, what: string, figure: string): readonly number[] =>
    samplesOf(series, contestant, `${rowOf(what, count)}: ${figure}`)
  const list: Goal[] = [
    {
      text: `Bank with autoFlush, mixed, ${count} documents: total write time, PyCoffer’s Bank to Coffer’s`,
      bound: 'at least',
      wanted: 50,
      unit: '×',
      samples: ratios(of(peer('CofferBank'), 'mixed', 'write'), of('CofferBank', 'mixed', 'write')),
    },
    {
      text: `The same: last add to first add`,
      bound: 'at most',
      wanted: 1.5,
      unit: '×',
      samples: ratios(of('CofferBank', 'mixed', 'add −1'), of('CofferBank', 'mixed', 'first add')),
    },
  ]
  for (const name of ['CofferStore', 'CofferMarket'] as const) {
    for (const what of data) {
      for (const [figure, bound, wanted] of [
        ['write', 'at least', 4],
        ['extract', 'at least', 4],
        ['size', 'at most', 1.03],
      ] as const) {
        const [mine, theirs] = [of(name, what, figure), of(peer(name), what, figure)]
        const samples = bound === 'at least' ? ratios(theirs, mine) : ratios(mine, theirs)
        const said = figure === 'size' ? 'size, Coffer’s to PyCoffer’s' : `${figure} time, PyCoffer’s to Coffer’s`
        list.push({ text: `${name}, ${rowOf(what, count)}: ${said}`, bound, wanted, unit: '×', samples })
      }
    }
  }
  return list
}
