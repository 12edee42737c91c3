/** The soak: a coffer under hundreds of thousands of small changes, with readers beside it; and the command that runs longer. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { worse } from '../bench/soak/report.ts'
import { type Look, soak, type Tenth } from '../bench/soak/run.ts'
import { tempDir } from './support/temp.ts'

const MiB = 1 << 20
/** The most that the file may have: so many times the bytes of the members, and so many more. */
const FILE = { toLive: 2.5, more: 32 * MiB }
/** The most bytes that an operation gives the system to write, on average over a tenth. Its member has 1,290 on average. */
const WRITTEN = 8 * 1024
/** Descriptors that a compaction under way may have besides those at the first look. */
const MORE_DESCRIPTORS = 2

const tenth: Tenth = {
  operations: 1,
  perSecond: 1,
  p50: 1,
  p99: 1,
  fileSize: 1,
  fileToLive: 1,
  rss: 100,
  descriptors: 20,
  written: null,
}

describe('a coffer under changes for a long time', () => {
  it('stays small, costs the same, and holds what was written, while it is read', { timeout: 600_000 }, async () => {
    const looks: Look[] = []
    const { tenths, readers } = await soak({
      directory: tempDir(),
      operations: 200_000,
      members: 2_000,
      sizes: [200, 4_096],
      callers: 64,
      look: 2_000,
      // What is written is the same; waiting for the disk 3,000 times would take longer than everything else.
      durability: 'none',
      seed: 1,
      onLook: (look) => {
        looks.push(look)
        const { operations, fileSize, liveSize } = look
        // At once: a file that grows without end would fill the disk.
        expect(fileSize, `after ${operations} operations`).toBeLessThanOrEqual(liveSize * FILE.toLive + FILE.more)
      },
    })
    expect(looks.map(({ operations }) => operations)).toEqual(Array.from({ length: 100 }, (_, at) => (at + 1) * 2_000))
    expect(readers.here.read).toBeGreaterThan(1_000)
    expect(readers.child.read).toBeGreaterThan(100)
    if (process.platform !== 'linux') return
    for (const { written } of tenths) expect(written?.calls).toBeLessThan(WRITTEN)
    const open = looks.map(({ descriptors }) => descriptors ?? Number.NaN)
    expect(open.at(-1)).toBe(open[0])
    expect(Math.max(...open)).toBeLessThanOrEqual((open[0] ?? Number.NaN) + MORE_DESCRIPTORS)
  })

  it('is compared at the end with the beginning', () => {
    expect(worse([tenth, { ...tenth, rss: 119 }], true)).toEqual([])
    expect(worse([tenth, { ...tenth, rss: 121, fileToLive: 1.3, descriptors: 25 }], false)).toEqual([
      'file size to live size: 1.30 times that of the first tenth',
      'RSS: 1.21 times that of the first tenth',
      'descriptors: 1.25 times that of the first tenth',
    ])
    expect(worse([tenth, { ...tenth, p50: 2 }], false)).toEqual([])
    expect(worse([tenth, { ...tenth, p50: 2, p99: 2 }], true)).toEqual([
      'p50: 2.00 times that of the first tenth',
      'p99: 2.00 times that of the first tenth',
    ])
  })
})

describe('npm run soak', () => {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const tsx = fileURLToPath(new URL('../node_modules/tsx/dist/cli.mjs', import.meta.url))
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [tsx, 'bench/soak.ts', ...args], { cwd: root, encoding: 'utf8' })

  it('prints a line for each tenth, and writes everything as JSON', { timeout: 120_000 }, () => {
    const directory = tempDir()
    const json = join(directory, 'soak.json')
    const { stdout, stderr, status } = run(
      ...['--operations', '2000', '--members', '200', '--durability', 'none', '--directory', directory, '--json', json],
    )
    expect(stdout, stderr).toContain(
      'members, all as they must be, before and after the coffer was closed and opened again',
    )
    expect(
      stdout
        .split('\n')
        .slice(1, 11)
        .map((line) => Number(line.trim().split(/\s+/)[0])),
    ).toEqual([200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800, 2000])
    const result = JSON.parse(readFileSync(json, 'utf8')) as { tenths: Tenth[]; worse: string[]; members: number }
    expect(result.tenths.length).toBe(10)
    expect(result.members).toBeGreaterThan(150)
    // So short a run begins with a new coffer, which grows: the command must say so.
    expect(status).toBe(result.worse.length > 0 ? 1 : 0)
    for (const one of result.worse) expect(stderr).toContain(`the last tenth is worse: ${one}`)
  })

  it('refuses numbers that are none', () => {
    const { stderr, status } = run('--operations', 'many', '--members', '10')
    expect(stderr).toContain('--operations must be a whole number from 10')
    expect(stderr).toContain('--members must be a whole number from 128')
    expect(status).toBe(2)
  })
})
