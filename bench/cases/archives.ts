/** Archives: one large file, and a tree of small ones, against archivers that encrypt. */
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, Contestants, Figures, Goal, Outcome, Series } from '../case.ts'
import { alternate, samplesOf, seconds } from '../case.ts'
import { bank, type Kind, market, nothing, ocbBank, store } from '../coffers.ts'
import { large } from '../corpus/large.ts'
import { TREE_FILES, tree } from '../corpus/packages.ts'
import { type Archiver, archivers, pipe } from '../peers/archivers.ts'
import { nodeTar } from '../peers/modules.ts'
import { ratios } from '../statistics.ts'

const LEVEL = 3

export const largeFile: Case = {
  name: 'large-file',
  title: 'One large file, half of it compressible',
  async run({ quick, rounds, scratch }) {
    const mebibytes = quick ? 512 : 4096
    const source = large(mebibytes)
    const { found, missing } = archivers()
    const contestants = {
      ...coffers([bank, ocbBank, store, market], source, scratch),
      ...peers(found, source, scratch),
    }
    const series = await alternate(quick ? rounds : Math.min(rounds, 3), contestants, scratch)
    const goals: Goal[] = [
      faster(series, 'CofferBank', pipe, 'in', 1, `${mebibytes} MiB into a Bank at level ${LEVEL}`),
    ]
    return outcome(series, goals, missing)
  },
}

export const smallFiles: Case = {
  name: 'small-files',
  title: 'A tree of small files',
  async run({ quick, rounds, scratch }) {
    const files = quick ? TREE_FILES / 10 : TREE_FILES
    const source = tree(files)
    const { found, missing } = archivers()
    const contestants = {
      ...coffers([bank, ocbBank, store, market, nothing], source, scratch),
      ...peers(found, source, scratch),
      ...plain(source, scratch),
    }
    const series = await alternate(rounds, contestants, scratch)
    const into = `${files} files into a Store at level ${LEVEL}`
    const goals = [
      faster(series, 'CofferStore', pipe, 'in', 1, into),
      faster(series, 'CofferStore', pipe, 'out', 1, `${files} files out of it`),
      faster(series, 'CofferStore', 'restic', 'in', 2, into),
    ]
    return outcome(series, goals, nodeTar() === null ? [...missing, 'node-tar'] : missing)
  },
}

function outcome(series: readonly Series[], goals: readonly Goal[], missing: readonly string[]): Outcome {
  const remarks = [
    `The coffers’ zstd level is ${LEVEL}, one of 7-Zip’s and mlar’s fastest otherwise. What is packed is on the disk at the end of each measurement; what comes out is left to the system, by all of them.`,
    'Bank and Market compress and seal each member, Bank seals the whole once more; mlar’s encryption and age’s are with public keys; node-tar neither compresses nor encrypts.',
  ]
  return { series, goals, missing, remarks }
}

function coffers(kinds: readonly Kind[], source: string, scratch: string): Contestants {
  const contestant = (kind: Kind) => async (): Promise<Figures> => {
    const [path, target] = [join(scratch, 'box.coffer'), join(scratch, 'out')]
    const into = await seconds(async () => {
      const coffer = await kind.open(path, 'x', kind === nothing ? {} : { level: LEVEL })
      await coffer.add(source, { as: 'content' })
      await coffer.close()
    })
    const out = await seconds(async () => {
      const coffer = await kind.open(path, 'r')
      await coffer.extract('content', target)
      await coffer.close()
    })
    return { in: [into, 's'], out: [out, 's'], size: [statSync(path).size / 1e6, 'MB'] }
  }
  return Object.fromEntries(kinds.map((kind) => [kind.name, contestant(kind)]))
}

function peers(found: readonly Archiver[], source: string, scratch: string): Contestants {
  const contestant = (archiver: Archiver) => async (): Promise<Figures> => {
    const [archive, target] = [join(scratch, 'peer'), join(scratch, 'out')]
    mkdirSync(archive)
    archiver.prepare?.(archive)
    const into = await seconds(() => archiver.pack(source, archive))
    const size = archiver.size(archive) / 1e6
    const out = await seconds(() => archiver.unpack(archive, target))
    return { in: [into, 's'], out: [out, 's'], size: [size, 'MB'] }
  }
  return Object.fromEntries(found.map((archiver) => [archiver.name, contestant(archiver)]))
}

/** node-tar, which only packs. */
function plain(source: string, scratch: string): Contestants {
  const tar = nodeTar()
  if (tar === null) return {}
  return {
    'node-tar': async () => {
      const [file, target] = [join(scratch, 'plain.tar'), join(scratch, 'out')]
      const into = await seconds(() => tar.create({ file, cwd: source, portable: true }, ['.']))
      mkdirSync(target)
      const out = await seconds(() => tar.extract({ file, cwd: target }))
      return { in: [into, 's'], out: [out, 's'], size: [statSync(file).size / 1e6, 'MB'] }
    },
  }
}

/** The goal that one needs at most as long as the other, or less by a factor. */
function faster(
  series: readonly Series[],
  contestant: string,
  than: string,
  figure: string,
  factor: number,
  what: string,
): Goal {
  const samples = ratios(samplesOf(series, than, figure), samplesOf(series, contestant, figure))
  return { text: `${what}: time of ${than} to ${contestant}’s`, bound: 'at least', wanted: factor, unit: '×', samples }
}
