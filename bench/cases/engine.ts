/** The engine without Node.js: sealing against libsodium, and all cores against one. */
import { execFileSync } from 'node:child_process'
import { root } from '../../scripts/prepare.mjs'
import type { Case, Series, Unit } from '../case.ts'
import { samplesOf } from '../case.ts'
import { median, ratios } from '../statistics.ts'

interface Line {
  readonly name: string
  readonly unit: Unit
  readonly samples: readonly number[]
}

export const engine: Case = {
  name: 'engine',
  title: 'Sealing, and compression with sealing, on one core and on all',
  async run({ quick }) {
    const output = execFileSync('cargo', ['bench', '--quiet', '-p', 'coffer-core', '--bench', 'engine'], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, COFFER_QUICK: quick ? '1' : '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = output.split('\n').filter((line) => line.startsWith('{'))
    const series = lines.map((line): Series => {
      const { name, unit, samples } = JSON.parse(line) as Line
      return { contestant: name, figure: 'throughput', unit, samples }
    })
    void median
    void ratios
    void samplesOf
    return { series, goals: [], missing: [], remarks: [] }
  },
}
