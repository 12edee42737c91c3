/** What the figures were measured on, and with which versions. */

import { readFileSync } from 'node:fs'
import { cpus, release, type as system, totalmem } from 'node:os'
import { join } from 'node:path'
import { root } from '../scripts/prepare.mjs'
import { versionOfModule } from './peers/modules.ts'
import { versionOf } from './peers/programs.ts'
import { PYZSTD, VERSION as pycoffer, python } from './peers/pycoffer.ts'

export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  /** By name; null for what is not there. */
  readonly versions: Readonly<Record<string, string | null>>
}

export function machine(): Machine {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memory: `${Math.round(totalmem() / (1 << 30))} GiB`,
    system: `${system()} ${release()}`,
    versions: {
      Coffer: version,
      'Node.js': process.version,
      PyCoffer: python() === null ? null : `${pycoffer} (pyzstd ${PYZSTD})`,
      tar: versionOf('tar'),
      zstd: versionOf('zstd'),
      age: versionOf('age'),
      '7-Zip': versionOf('7z'),
      restic: versionOf('restic'),
      mlar: versionOf('mlar'),
      'better-sqlite3': versionOfModule('better-sqlite3'),
      'classic-level': versionOfModule('classic-level'),
      lmdb: versionOfModule('lmdb'),
      'node-tar': versionOfModule('tar'),
    },
  }
}
