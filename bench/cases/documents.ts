/** The table of PyCoffer's own benchmark: documents added to each class, then all of them extracted. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  alternate,
  type Case,
  type Figures,
  type Goal,
  type Outcome,
  type Series,
  samplesOf,
  seconds,
} from '../case.ts'
import { bank, type Kind, likeBank, market, ocbBank, store } from '../coffers.ts'
import { documentFile, documentNames } from '../corpus/documents.ts'
import { type ClassName, type DocumentTimes, documents as pycoffer, python } from '../peers/pycoffer.ts'
import { ratios } from '../statistics.ts'

/** What the rows of the table are about: one document again and again, or all five. */
const data = ['genindex-all.html', 'searchindex.js', 'library.pdf', 'mixed'] as const

const kinds: readonly Kind[] = [bank, ocbBank, likeBank, store, market]
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
    const runs: Record<string, Run> = {}
    for (const kind of kinds) runs[kind.name] = (job) => ours(kind, coffer, job, target)
    if (hasPycoffer) for (const name of classes) runs[peer(name)] = (job) => pycoffer(name, coffer, job, target)
    const counts = quick ? [5] : [5, 25]
    const all: Series[] = []
    for (const [what, count] of counts.flatMap((count) => data.map((what) => [what, count] as const))) {
      const job = jobOf(what, count)
      const contestants = Object.entries(runs).map(([name, run]) => [
        name,
        async (): Promise<Figures> => {
          const times = await run(job)
          return figures(rowOf(what, count), job, times, statSync(coffer).size, target)
        },
      ])
      all.push(...(await alternate(rounds, Object.fromEntries(contestants), scratch)))
    }
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
          for (const [name, file] of files) await coffer.add(file, { as: name })
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

function figures(row: string, job: Job, times: DocumentTimes, size: number, target: string): Figures {
  check(job, target)
  const original = job.flat().reduce((sum, [, file]) => sum + statSync(file).size, 0)
  const last = [1, 2, 3, 4].map((back) => [`${row}: add −${back}`, [times.adds.at(-back) ?? Number.NaN, 's']])
  return {
    [`${row}: original`]: [original / 1e6, 'MB'],
    [`${row}: size`]: [size / 1e6, 'MB'],
    [`${row}: write`]: [times.write, 's'],
    [`${row}: extract`]: [times.extract, 's'],
    [`${row}: first add`]: [times.adds[0] ?? Number.NaN, 's'],
    ...Object.fromEntries(last),
  }
}

/** All of it has come out. */
function check(job: Job, target: string): void {
  for (const [name, file] of job.flat()) {
    const extracted = join(target, name)
    if (!existsSync(extracted) || statSync(extracted).size !== statSync(file).size) {
      throw new Error(`${name} was not extracted`)
    }
  }
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
      text: `The same, Coffer’s with AES-128-OCB and without waiting for the disk, as PyCoffer’s`,
      bound: 'at least',
      wanted: 50,
      unit: '×',
      samples: ratios(of(peer('CofferBank'), 'mixed', 'write'), of(likeBank.name, 'mixed', 'write')),
    },
    {
      text: `Bank with autoFlush, mixed, ${count} documents: last add to first add`,
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
