/** A service's small updates: replacing, deleting and appending, each durable when its promise settles. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { alternate, type Case, type Contestants, type Figures, type Goal, samplesOf } from '../case.ts'
import { bank, type Kind, store } from '../coffers.ts'
import { noise, numbers } from '../corpus/random.ts'
import { databases, type MakeTable, sizeOf, type Table } from '../peers/databases.ts'
import { percentile, ratios } from '../statistics.ts'
import { difference, inPages, type Written, written } from '../usage.ts'

const SIZE = 1024
const LINE = 100
const CALLERS = 64
/** Callers of the mix of reads and updates. */
const CLIENTS = 8
/** One in so many operations of the mix is an update. */
const UPDATE_EVERY = 20
const KiB = 1024

const figure = {
  replace: 'replace, one caller',
  tail: 'the same, p99',
  together: `replace, ${CALLERS} callers`,
  delete: 'delete',
  append: `append ${LINE} bytes`,
  mix: `mix, ${CLIENTS} callers`,
  size: 'file to content',
} as const
const onDevice = (what: string): string => `to the disk: ${what}`
const inCalls = (what: string): string => `in calls: ${what}`

/** How much is done. */
interface Extent {
  readonly members: number
  readonly lines: number
  readonly replaced: number
  readonly replacedTogether: number
  readonly deleted: number
  readonly appended: number
  readonly mixed: number
}

const full: Extent = {
  members: 10_000,
  lines: Math.ceil(2e6 / LINE),
  replaced: 1_000,
  replacedTogether: 8_000,
  deleted: 500,
  appended: 500,
  mixed: 10_000,
}
const small: Extent = {
  members: 2_000,
  lines: Math.ceil(2e6 / LINE),
  replaced: 200,
  replacedTogether: 1_600,
  deleted: 100,
  appended: 200,
  mixed: 2_000,
}

export const updates: Case = {
  name: 'updates',
  title: 'Members of 1 KB that are replaced, deleted and appended to, each change flushed to the disk',
  async run({ quick, rounds, scratch }) {
    const extent = quick ? small : full
    const { present, missing } = databases()
    const tables: Record<string, MakeTable> = {
      [bank.name]: coffer(bank),
      [store.name]: coffer(store),
      ...present,
    }
    const contestants: Contestants = Object.fromEntries(
      Object.entries(tables).map(([name, make]) => [
        name,
        () => {
          const directory = join(scratch, 'table')
          mkdirSync(directory)
          return measure(make, directory, extent)
        },
      ]),
    )
    const series = await alternate(rounds, contestants, scratch)
    const of = (contestant: string, name: string): readonly number[] => samplesOf(series, contestant, name)
    const hasDevice = series.some(({ figure: name }) => name.startsWith(onDevice('')))
    return {
      series,
      goals: [bank, store].flatMap(({ name }) => goals(name, of)),
      missing,
      remarks: [
        `${extent.members} members of 1 KB of noise, written in one batch, and a log of 2 MB: a member that grows by ${LINE} bytes, or an entry of a table for each line. Times are means for one operation; in the mix one of ${UPDATE_EVERY} is an update, the others are reads.`,
        'Coffer encrypts what it writes; Coffer and better-sqlite3 (WAL, synchronous FULL, secure_delete ON) overwrite what was replaced or deleted; classic-level and lmdb do neither. The calls of better-sqlite3 return when they are done, so its callers take turns. lmdb waits for the disk before it answers (overlappingSync off).',
        'Bytes written are those of the process for one operation. They include what is put off until a flush or a checkpoint, which comes after each figure; its time is not counted. What LevelDB merges later is not counted.',
        ...(hasDevice
          ? [
              '“To the disk” are the pages of 4 KiB that became dirty in the system’s cache (write_bytes of /proc/self/io; of lmdb’s mapped file larger pieces, more than goes to the device), “in calls” the bytes that the system was given (wchar).',
            ]
          : ['The directory has no device, as on a tmpfs, or the system does not count: nothing is said of the disk.']),
      ],
    }
  },
}

function goals(name: string, of: (contestant: string, figure: string) => readonly number[]): Goal[] {
  const times = (ours: string, theirs: string): number[] => ratios(of(name, ours), of('better-sqlite3', theirs))
  const goal = (text: string, wanted: number, unit: Goal['unit'], samples: readonly number[]): Goal => ({
    text: `${name}, ${text}`,
    bound: 'at most',
    wanted,
    unit,
    samples,
  })
  return [
    goal('replacing 1 KB, one caller: to better-sqlite3’s time', 1.5, '×', times(figure.replace, figure.replace)),
    goal('the same: written to the disk', 24, 'KiB', of(name, onDevice(figure.replace))),
    goal(`replacing 1 KB, ${CALLERS} callers: each`, 60, 'µs', of(name, figure.together)),
    goal('the same: written to the disk, each', 6, 'KiB', of(name, onDevice(figure.together))),
    goal('deleting: to the time of replacing', 1.5, '×', ratios(of(name, figure.delete), of(name, figure.replace))),
    goal(
      `appending ${LINE} bytes to 2 MB: to the time of a row of as many in better-sqlite3`,
      1.5,
      '×',
      times(figure.append, figure.append),
    ),
    goal('the same: written to the disk', 8, 'KiB', of(name, onDevice(figure.append))),
    goal(
      `${UPDATE_EVERY - 1} reads for each update, ${CLIENTS} callers: to better-sqlite3’s time`,
      1.2,
      '×',
      times(figure.mix, figure.mix),
    ),
  ]
}

/** A coffer as a table, with its defaults. */
function coffer(kind: Kind): MakeTable {
  return async (directory) => {
    const box = await kind.open(join(directory, 'box.coffer'), 'x', { autoFlush: true })
    return {
      fill: (members, lines) =>
        box.batch(async (batch) => {
          for (const [name, content] of members) await batch.write(name, content)
          await batch.write('log', Buffer.concat(lines))
        }),
      read: (name) => box.read(name),
      replace: (name, content) => box.write(name, content),
      delete: (name) => box.delete(name),
      append: (line) => box.append('log', line),
      settle: () => box.flush(),
      close: () => box.close(),
    }
  }
}

/** The figures of a table in an empty directory. */
async function measure(make: MakeTable, directory: string, extent: Extent): Promise<Figures> {
  const random = noise(1)
  const below = numbers(2)
  const names = Array.from({ length: extent.members }, (_, number) => `member-${number}`)
  const lines = Array.from({ length: extent.lines }, () => random(LINE))
  const one = (): string => names[below(names.length)] ?? ''
  const table = await make(directory)
  await table.fill(new Map(names.map((name) => [name, random(SIZE)])), lines)

  const replace = (): unknown => table.replace(one(), random(SIZE))
  const replaced = await costs(table, directory, extent.replaced, 1, replace)
  const together = await costs(table, directory, extent.replacedTogether, CALLERS, replace)
  const appended = await costs(table, directory, extent.appended, 1, () => table.append(random(LINE)))
  const mixed = await costs(table, directory, extent.mixed, CLIENTS, (number) => {
    if (number % UPDATE_EVERY === 0) return replace()
    return read(table, one())
  })
  const deleted = await costs(table, directory, extent.deleted, 1, () => {
    const [name] = names.splice(below(names.length), 1)
    return table.delete(name ?? '')
  })
  const size = sizeOf(directory)
  for (const name of names) await read(table, name)
  await table.close()
  const content = names.length * SIZE + (extent.lines + extent.appended) * LINE
  return {
    [figure.replace]: [replaced.mean, 'µs'],
    [figure.tail]: [replaced.p99, 'µs'],
    [figure.together]: [together.mean, 'µs'],
    [figure.delete]: [deleted.mean, 'µs'],
    [figure.append]: [appended.mean, 'µs'],
    [figure.mix]: [mixed.mean, 'µs'],
    ...bytes(figure.replace, replaced.written),
    ...bytes(figure.together, together.written),
    ...bytes(figure.append, appended.written),
    [figure.size]: [size / content, '×'],
  }
}

async function read(table: Table, name: string): Promise<void> {
  const content = await table.read(name)
  if (content?.length !== SIZE) throw new Error(`${content?.length} bytes of ${name} came out`)
}

interface Costs {
  /** In microseconds, for one operation. */
  readonly mean: number
  readonly p99: number
  /** For one operation, with what was put off. */
  readonly written: Written | null
}

/** So many operations by so many callers: what each takes. */
async function costs(
  table: Table,
  directory: string,
  count: number,
  callers: number,
  operation: (number: number) => unknown,
): Promise<Costs> {
  await table.settle()
  inPages(directory)
  const latencies: number[] = []
  let next = 0
  const caller = async (): Promise<void> => {
    while (next < count) {
      const start = performance.now()
      await operation(next++)
      latencies.push((performance.now() - start) * 1000)
    }
  }
  const before = written()
  const start = performance.now()
  await Promise.all(Array.from({ length: callers }, caller))
  const took = performance.now() - start
  await table.settle()
  const sum = difference(before, written())
  return {
    mean: (took / count) * 1000,
    p99: percentile(latencies, 0.99),
    written: sum === null ? null : { device: sum.device / count, calls: sum.calls / count },
  }
}

/** The figures of what an operation writes; none of a device where there is none. */
function bytes(what: string, sum: Written | null): Figures {
  if (sum === null) return {}
  return {
    ...(sum.device > 0 ? { [onDevice(what)]: [sum.device / KiB, 'KiB'] } : {}),
    [inCalls(what)]: [sum.calls / KiB, 'KiB'],
  }
}
