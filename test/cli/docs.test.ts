import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { User } from '../support/cli.ts'

const text = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')

interface Step {
  readonly command: string
  readonly printed: string
}

/** The commands of each block marked `console`, with what they print. */
function transcripts(): Step[][] {
  return [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block = '']) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((step) => {
        const end = step.indexOf('\n')
        return { command: step.slice(0, end), printed: step.slice(end + 1) }
      }),
  )
}

/** What a document shows, as a pattern: `…` stands for anything, also for several lines. */
function pattern(printed: string): RegExp {
  const quoted = printed.split('…').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${quoted.join('[\\s\\S]*?')}$`)
}

describe('the transcript of docs/cli.md', () => {
  it('is what a new user sees', async () => {
    const user = new User()
    const [first = [], second = []] = transcripts()
    expect(Math.min(first.length, second.length)).toBeGreaterThan(10)
    let status = ''
    for (const { command, printed } of [...first, ...second]) {
      const output = user.shell(`umask 022; (exit ${status || 0}); ${command}; echo "status $?"`)
      const [, shown = '', code = ''] = /^([\s\S]*)status (\d+)\n$/.exec(output) ?? []
      expect(shown, command).toMatch(pattern(printed))
      status = code
    }
  })
})

describe('docs/cli.md', () => {
  it('names every command', async () => {
    const { program } = (await import(
      join(import.meta.dirname, '../../dist/cli/program.js')
    )) as typeof import('../../dist/cli/program.js')
    for (const entry of program().entries) expect(text).toContain(`\`${entry.name()}`)
  })
})
