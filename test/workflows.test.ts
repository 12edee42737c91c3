import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'

interface Job {
  readonly uses?: string
  readonly permissions?: Record<string, string>
  readonly environment?: string
  readonly 'timeout-minutes'?: number
  readonly strategy?: { readonly matrix: { readonly include: readonly Record<string, string>[] } }
  readonly steps?: readonly { readonly uses?: string; readonly with?: Record<string, unknown> }[]
}

const root = join(import.meta.dirname, '..')
const directory = join(root, '.github/workflows')
const workflows = readdirSync(directory).map((file): [file: string, text: string] => [
  file,
  readFileSync(join(directory, file), 'utf8'),
])
const jobs = (text: string): [name: string, job: Job][] => Object.entries((parse(text) as { jobs: object }).jobs)

describe.each(workflows)('the workflow %s', (_, text) => {
  it('takes its actions from a commit, and says which version that is', () => {
    const used = [...text.matchAll(/\buses: (.*)/g)].map(([, action]) => action as string)
    expect(used.length).toBeGreaterThan(0)
    for (const action of used) expect(action).toMatch(/^(\.\/\S+|[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/)
  })

  it('may read, and no more, unless a job says so', () => {
    expect(parse(text)).toMatchObject({ permissions: { contents: 'read' } })
    for (const [name, { steps = [] }] of jobs(text)) {
      for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'))) {
        expect(step.with, name).toMatchObject({ 'persist-credentials': false })
      }
    }
  })

  it('ends each job in time', () => {
    for (const [name, job] of jobs(text))
      expect(job['timeout-minutes'] !== undefined, name).toBe(job.uses === undefined)
  })
})

describe('the release', () => {
  const release = Object.fromEntries(jobs(readFileSync(join(directory, 'release.yml'), 'utf8')))
  const platforms = readdirSync(join(root, 'npm'))
  const matrix = (job: string): readonly Record<string, string>[] => release[job]?.strategy?.matrix.include ?? []

  it('builds and tries the binaries of all platforms', () => {
    const { napi } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { napi: { targets: string[] } }
    for (const job of ['build', 'smoke']) {
      expect(
        matrix(job)
          .map(({ platform }) => platform)
          .sort(),
        job,
      ).toEqual(platforms)
    }
    expect(
      matrix('build')
        .map(({ target }) => target)
        .sort(),
    ).toEqual(napi.targets.toSorted())
  })

  it('lets one job publish, in its environment, and another write the release', () => {
    const allowed = Object.entries(release).filter(([, { permissions }]) => permissions !== undefined)
    expect(Object.fromEntries(allowed.map(([name, { permissions }]) => [name, permissions]))).toEqual({
      publish: { contents: 'read', 'id-token': 'write' },
      announce: { contents: 'write' },
    })
    const { publish } = release
    expect(publish).toMatchObject({ environment: 'npm', needs: ['check', 'test', 'smoke'] })
  })
})
