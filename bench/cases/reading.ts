/** Reading little from large coffers: one member, members in random order, the catalog alone. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { alternate, type Case, type Contestants, type Figures, samplesOf, seconds } from '../case.ts'
import { bank, commonBank, type Kind, store } from '../coffers.ts'
import { text } from '../corpus/packages.ts'
import { noise, numbers } from '../corpus/random.ts'
import { python, readOne } from '../peers/pycoffer.ts'
import { ratios } from '../statistics.ts'

const SMALL = 4096
/** How many small members there are to a large one. */
const TO_ONE = 9
/** How many members are read in random order. */
const READS = 1000
/** The tar of a block that small members share, in bytes; each has a header and its content there. */
const PACK = 256 << 10
const HEADER = 512

/** The members of a coffer of so many bytes: small ones of 4 KiB, and large ones, half compressible. */
function* members(count: number, bytes: number): Generator<[name: string, content: Buffer]> {
  const random = noise(count)
  const words = text(32 << 20)
  const large = Math.floor((bytes - count * 0.9 * SMALL) / (count / (TO_ONE + 1)))
  for (let number = 0; number < count; number += 1) {
    const length = number % (TO_ONE + 1) === TO_ONE ? large : SMALL
    const from = (number * 7919) % (words.length - length)
    const content = Buffer.concat([random(length / 2), words.subarray(from, from + length / 2)])
    yield [`d${Math.floor(number / 100)}/m${number}`, content]
  }
}

async function fill(kind: Kind, path: string, count: number, bytes: number): Promise<string[]> {
  const coffer = await kind.open(path, 'x', { autoFlush: false, level: 3 })
  const small: string[] = []
  for (const [name, content] of members(count, bytes)) {
    if (content.length <= SMALL) small.push(name)
    await coffer.write(name, content)
  }
  await coffer.close()
  return small
}

export const oneMember: Case = {
  name: 'one-member',
  title: 'A little out of a large coffer',
  async run({ quick, rounds, scratch }) {
    const [count, bytes] = quick ? [2_000, 128 << 20] : [10_000, 1 << 30]
    const hasPycoffer = python() !== null
    const keep = join(scratch, 'kept')
    mkdirSync(keep, { recursive: true })
    const contestants: Record<string, () => Promise<Figures> | Figures> = {}
    for (const kind of [bank, commonBank, store]) {
      const path = join(keep, `${kind.name}.coffer`)
      const small = await fill(kind, path, count, bytes)
      contestants[kind.name] = () => read(kind, path, small)
    }
    if (hasPycoffer) {
      const common = join(keep, `${commonBank.name}.coffer`)
      contestants['PyCoffer’s CofferBank'] = () => ({ 'one member': [readOne(common, 'd1/m100') * 1000, 'ms'] })
    }
    const series = await alternate(rounds, contestants, join(scratch, 'unused'))
    const one = (contestant: string): readonly number[] => samplesOf(series, contestant, 'one member')
    return {
      series,
      goals: [
        {
          text: `Open, read one member of 4 KB, close, in a Bank of ${bytes >> 20} MiB and ${count} members`,
          bound: 'at most',
          wanted: 5,
          unit: 'ms',
          samples: one('CofferBank'),
        },
        {
          text: 'The same, sealed with AES-128-OCB: time of PyCoffer, with the very same file, to Coffer’s',
          bound: 'at least',
          wanted: 500,
          unit: '×',
          samples: ratios(one('PyCoffer’s CofferBank'), one(commonBank.name)),
        },
        ...[bank, store].map(({ name }) => ({
          text: `${READS} random members of a ${name}, each, beyond the decoding of their blocks`,
          bound: 'at most' as const,
          wanted: 20,
          unit: 'µs' as const,
          samples: samplesOf(series, name, 'random member, beyond decoding'),
        })),
      ],
      missing: hasPycoffer ? [] : ['PyCoffer'],
      remarks: [
        `Warm: the coffer is in the system’s cache. ${READS} members of 4 KiB are read one after the other. What decoding takes is found by reading one member of each block from a new handle; what is left is divided by the reads that needed no decoding.`,
      ],
    }
  },
}

async function read(kind: Kind, path: string, small: readonly string[]): Promise<Figures> {
  const one = async (): Promise<number> =>
    seconds(async () => {
      const coffer = await kind.open(path, 'r')
      const content = await coffer.read(small[small.length >> 1] ?? '')
      await coffer.close()
      if (content.length !== SMALL) throw new Error(`${content.length} bytes came out`)
    })
  await one()
  const opened = await one()

  const perBlock = Math.floor(PACK / (SMALL + HEADER))
  const ofEachBlock = small.filter((_, index) => index % perBlock === 0)
  const random = numbers(READS)
  const chosen = Array.from({ length: READS }, () => small[random(small.length)] ?? '')
  const blocks = await reading(kind, path, ofEachBlock)
  const serial = await reading(kind, path, chosen)
  const parallel = await kind.open(path, 'r')
  const together = await seconds(() => Promise.all(chosen.map((name) => parallel.read(name))))
  await parallel.close()
  const beyond = (serial - blocks) / Math.max(1, READS - ofEachBlock.length)
  return {
    'one member': [opened * 1000, 'ms'],
    'random member, one after the other': [(serial / READS) * 1e6, 'µs'],
    'random member, all at once': [(together / READS) * 1e6, 'µs'],
    'random member, beyond decoding': [beyond * 1e6, 'µs'],
  }
}

async function reading(kind: Kind, path: string, names: readonly string[]): Promise<number> {
  const coffer = await kind.open(path, 'r')
  const took = await seconds(async () => {
    for (const name of names) await coffer.read(name)
  })
  await coffer.close()
  return took
}

export const opening: Case = {
  name: 'opening',
  title: 'Opening coffers with many members, or many commits',
  async run({ quick, rounds, scratch }) {
    const [many, commits] = quick ? [20_000, 2_000] : [100_000, 10_000]
    const keep = join(scratch, 'kept')
    mkdirSync(keep, { recursive: true })
    const contestants: Record<string, Contestants[string]> = {}
    const bytes: string[] = []
    for (const kind of [bank, store]) {
      const wide = join(keep, `${kind.name}-members`)
      const writer = await kind.open(wide, 'x', { autoFlush: false })
      for (let number = 0; number < many; number += 1) {
        await writer.write(`directory-${number % 100}/member-${number}.txt`, `member ${number}\n`)
      }
      await writer.close()
      const long = join(keep, `${kind.name}-commits`)
      const flusher = await kind.open(long, 'x', { autoFlush: true, durability: 'none' })
      for (let number = 0; number < commits; number += 1) await flusher.write(`member-${number}`, `${number}\n`)
      await flusher.close()
      contestants[kind.name] = async () => ({
        members: [(await open(kind, wide)) * 1000, 'ms'],
        commits: [(await open(kind, long)) * 1000, 'ms'],
      })
    }
    const series = await alternate(rounds, contestants, join(scratch, 'unused'))
    const goals = [bank, store].flatMap(({ name }) =>
      (['members', 'commits'] as const).map((figure) => ({
        text: `Open of a ${name} with ${figure === 'members' ? `${many} members` : `${commits} commits of autoFlush`}`,
        bound: 'at most' as const,
        wanted: 100,
        unit: 'ms' as const,
        samples: samplesOf(series, name, figure),
      })),
    )
    return { series, goals, missing: [], remarks: bytes }
  },
}

async function open(kind: Kind, path: string): Promise<number> {
  const start = performance.now()
  const coffer = await kind.open(path, 'r')
  const took = (performance.now() - start) / 1000
  await coffer.close()
  return took
}
