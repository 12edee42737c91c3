/** The engine without Node.js: sealing beside libsodium alone, and all cores beside one. */
import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { root } from '../../scripts/prepare.mjs'
import { type Case, type Goal, type Outcome, type Series, samplesOf, type Unit } from '../case.ts'
import { ratios } from '../statistics.ts'

/** A line of what benches/engine.rs prints. */
interface Line {
  readonly case: string
  readonly unit: Unit
  readonly samples: readonly number[]
}

export const engine: Case = {
  name: 'engine',
  title: 'The engine: sealing, and compression with sealing on all cores',
  async run({ quick }): Promise<Outcome> {
    const command = ['bench', '--quiet', '--locked', '-p', 'coffer-core', '--bench', 'engine']
    const output = execFileSync('cargo', command, {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, ENGINE_SAMPLES: quick ? '3' : '9' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = output.split('\n').filter((line) => line.startsWith('{'))
    const series = lines.map((line): Series => {
      const { case: contestant, unit, samples } = JSON.parse(line) as Line
      return { contestant, figure: 'throughput', unit, samples }
    })
    return { series, goals: goals(series), missing: [], remarks }
  },
}

const remarks = [
  'Sealing: chunks of 64 KiB with their headers, on one core; libsodium’s own functions on the same bytes, in place, in the same process.',
  'Compression and sealing: half of the pieces of 1 MiB are noise, zstd at level 3. A member of a Store is written to memory, by all threads of the engine; “one core” is the same work in a loop.',
]

function goals(series: readonly Series[]): Goal[] {
  const of = (contestant: string): readonly number[] => samplesOf(series, contestant, 'throughput')
  const cores = of('one core: zstd and secretbox').map((rate) => rate * availableParallelism())
  return [
    {
      text: 'Sealing chunks with secretbox, one core: Coffer’s speed to libsodium’s',
      bound: 'at least',
      wanted: 0.9,
      unit: '×',
      samples: ratios(of('secretbox: seal chunks'), of('libsodium: secretbox_detached')),
    },
    {
      text: 'Opening chunks with secretbox, one core: Coffer’s speed to libsodium’s',
      bound: 'at least',
      wanted: 0.9,
      unit: '×',
      samples: ratios(of('secretbox: open chunks'), of('libsodium: secretbox_open_detached')),
    },
    {
      text: 'Compression and sealing together, all cores: to the sum of what the cores do in isolation',
      bound: 'at least',
      wanted: 0.85,
      unit: '×',
      samples: ratios(of('all cores: a member of a Store'), cores),
    },
  ]
}
