import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Entry } from '../../dist/cli/entry.js'
import { User } from '../support/cli.ts'

const root = join(import.meta.dirname, '..', '..')
let tree: Entry
let page: string

beforeAll(async () => {
  const { program } = (await import(join(root, 'dist/cli/program.js'))) as typeof import('../../dist/cli/program.js')
  const { manPage } = (await import(join(root, 'dist/cli/help/man.js'))) as typeof import('../../dist/cli/help/man.js')
  tree = program()
  page = manPage(tree)
})

function everything(entry: Entry): Entry[] {
  return [entry, ...entry.entries.flatMap(everything)]
}

const leaves = (): Entry[] => everything(tree).filter((entry) => entry.entries.length === 0)

describe('help', () => {
  it('of every command shows what it does and an example', () => {
    expect(leaves().length).toBeGreaterThan(20)
    for (const entry of leaves()) {
      expect([entry.fullName, entry.description()]).not.toEqual([entry.fullName, ''])
      expect([entry.fullName, entry.examples.length]).not.toEqual([entry.fullName, 0])
      for (const { line } of entry.examples) expect(line).toContain('coffer')
    }
  })

  it('is what the command prints', async () => {
    const user = new User()
    for (const args of [['extract'], ['password', 'add'], ['check', 'system']]) {
      const text = await user.ok([...args, '--help'])
      expect(text).toContain(`Usage: coffer ${args.join(' ')}`)
      expect(text).toMatch(/\nExamples:\n {2}\S/)
    }
  })

  it('has options of examples that exist', () => {
    for (const entry of everything(tree)) {
      for (const { line } of entry.examples) {
        for (const [, words = ''] of line.matchAll(/\bcoffer ([^|&>]*)/g)) {
          const named = everything(tree).filter((other) =>
            `${words} `.startsWith(`${other.fullName.replace(/^coffer ?/, '')} `),
          )
          const found = named.sort((a, b) => b.fullName.length - a.fullName.length)[0] ?? tree
          const known = [...found.options, ...(found.parent?.options ?? []), ...tree.options].flatMap(
            ({ long, short }) => [long, short],
          )
          for (const [flag] of words.matchAll(/(?<=\s)--?[a-z][a-z-]*/g))
            expect([line, known]).toEqual([line, expect.arrayContaining([flag])])
        }
      }
    }
  })

  it('is what a mistake points to', async () => {
    const { stderr, code } = await new User().run(['lst'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/^coffer: unknown command 'lst'\n\(Did you mean ls\?\)\nSee coffer --help\n$/)
  })
})

describe('the man page', () => {
  it('is up to date: node scripts/man.mjs', () => {
    expect(readFileSync(join(root, 'man', 'coffer.1'), 'utf8')).toBe(page)
  })

  it('has every command and every option', () => {
    for (const entry of leaves()) expect(page).toContain(`.SS "${entry.fullName.replaceAll('-', '\\-')} `)
    for (const { long } of everything(tree).flatMap(({ options }) => options.filter(({ hidden }) => !hidden))) {
      expect(page).toContain((long ?? '').replaceAll('-', '\\-'))
    }
  })

  it.skipIf(spawnSync('groff', ['--version']).status !== 0)('is roff without a warning', () => {
    const { stderr, stdout } = spawnSync('groff', ['-man', '-ww', '-Tutf8'], { input: page, encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(stdout).toContain('password')
  })
})

describe('completion', () => {
  const shells = ['bash', 'zsh', 'fish']

  it.each(shells)('for %s knows every command', async (shell) => {
    const script = await new User().ok(['completion', shell])
    for (const { name, options } of leaves().map((entry) => ({ name: entry.name(), options: entry.options }))) {
      expect(script).toContain(name)
      for (const { long, hidden } of options) if (!hidden) expect(script).toContain((long ?? '').replace(/^--/, ''))
    }
  })

  it.for(shells)('for %s is understood by the shell', async (shell, { skip }) => {
    if (spawnSync(shell, ['--version']).status !== 0) skip(`there is no ${shell} here`)
    const user = new User()
    user.file('script', await user.ok(['completion', shell]))
    const { status, stderr } = spawnSync(shell, ['-n', user.path('script')], { encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
  })

  it('for bash completes commands, options and their values', async () => {
    const user = new User()
    user.file('completion', await user.ok(['completion', 'bash']))
    const complete = (...words: string[]) => {
      const list = ['coffer', ...words].map((word) => `'${word}'`).join(' ')
      return user
        .shell(`. ./completion; COMP_WORDS=(${list}); COMP_CWORD=${words.length}; _coffer; echo "\${COMPREPLY[*]}"`)
        .trim()
        .split(' ')
    }
    expect(complete('pass')).toEqual(['password'])
    expect(complete('password', 'sh')).toEqual(['show'])
    expect(complete('-q', 'extract', '--over')).toEqual(['--overwrite'])
    expect(complete('ls', '--type', 'b')).toEqual(['bank'])
    expect(complete('completion', 'z')).toEqual(['zsh'])
  })
})
