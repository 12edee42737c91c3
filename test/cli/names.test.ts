import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { terminalPython, User } from '../support/cli.ts'
import { CofferNull } from '../support/coffer.ts'

const dist = join(import.meta.dirname, '..', '..', 'dist', 'cli')
const { compiled } = (await import(join(dist, 'patterns.js'))) as typeof import('../../dist/cli/patterns.js')
const { escaped } = (await import(
  join(dist, 'terminal/output.js')
)) as typeof import('../../dist/cli/terminal/output.js')

/** A user with a keyless coffer that has members of these names. */
async function withNames(...names: string[]): Promise<User> {
  const user = new User()
  user.file('.cofferrc', 'box:\n  type: "null"\n  location: box.coffer\n')
  const box = await CofferNull.open(user.path('box.coffer'), 'x')
  for (const name of names) await box.write(name, `${name}\n`)
  await box.close()
  return user
}

describe('a name on the command line', () => {
  it('is that of a member, whatever characters are in it', async () => {
    const odd = ['!imp', 'a (1).txt', 'a 1.txt', 'b{1,2}', 'b1', '+(x)', 'x', 'c[1]', 'c1', 'd*', 'dd', 'imp', '@(x|y)']
    const user = await withNames(...odd)
    for (const name of ['!imp', 'a (1).txt', 'b{1,2}', '+(x)', 'c[1]', 'd*', '@(x|y)']) {
      expect(await user.ok(['ls', name])).toBe(`${name}\n`)
    }
  })

  it.each(['reports/', './reports', 'reports//', './/reports/.'])('means the same everywhere: %s', async (typed) => {
    const user = await withNames('reports/may', 'todo')
    mkdirSync(user.path('empty'))
    await user.ok(['add', 'empty', '--as', './reports/empty/'])
    expect(await user.ok(['ls', typed])).toBe('reports/empty/\nreports/may\n')
    expect(await user.ok(['cat', `${typed}/may`])).toBe('reports/may\n')
    await user.ok(['extract', typed, '--to', 'out'])
    await user.ok(['extract', `${typed}/empty/`, '--from', typed, '--to', 'out2'])
    expect([readdirSync(user.path('out', 'reports')), readdirSync(user.path('out2'))]).toEqual([
      ['empty', 'may'],
      ['empty'],
    ])
    expect(user.shell(`coffer export --tar '${typed}' | tar t`)).toBe('reports/empty/\nreports/may\n')
    await user.ok(['rsync', 'pull', typed, 'out3'])
    expect(readdirSync(user.path('out3'))).toEqual(['empty', 'may'])
    await user.ok(['delete', 'reports/empty/', '--force'])
    await user.ok(['delete', '-r', typed, './todo', '--force'])
    expect(await user.ok(['ls', '.'])).toBe('')
  })

  it('in a glob: * ? [ ] and ** have a meaning, and nothing else has', () => {
    const matches = (glob: string, ...names: string[]) => names.filter(compiled(glob))
    expect(matches('*.txt', 'a.txt', 'd/b.txt', '.c.txt', 'a.txt.gz')).toEqual(['a.txt', 'd/b.txt', '.c.txt'])
    expect(matches('d/*', 'd/a', 'd/e/a', 'x/d/a')).toEqual(['d/a'])
    expect(matches('**/a', 'a', 'd/a', 'd/e/a', 'd/ba')).toEqual(['a', 'd/a', 'd/e/a'])
    expect(matches('d/**/a', 'd/a', 'd/e/f/a', 'e/a')).toEqual(['d/a', 'd/e/f/a'])
    expect(matches('[a-c]?', 'a1', 'd1', 'c', 'b🗝')).toEqual(['a1', 'b🗝'])
    expect(matches('[!a-c]', 'a', 'd')).toEqual(['d'])
    expect(matches('[]x]', ']', 'x', 'a')).toEqual([']', 'x'])
    expect(matches('\\*', '*', 'a')).toEqual(['*'])
    expect(matches('!a', 'b', '!a')).toEqual(['!a'])
    expect(matches('(a|b)', 'a', '(a|b)')).toEqual(['(a|b)'])
    expect(matches('{a,b}', 'a', '{a,b}')).toEqual(['{a,b}'])
    expect(matches('[a', '[a', 'a')).toEqual(['[a'])
    expect(matches(`${'*a'.repeat(30)}b`, 'a'.repeat(5_000))).toEqual([])
  })

  it('of what plugins keep has to be given, or asked for', async () => {
    const user = await withNames('a')
    await user.ok(['password', 'add', 'mail', '--stdin'], { input: 's3cret\n' })
    expect(await user.ok(['ls'])).toBe('a\n')
    expect(await user.ok(['ls', '*'])).toBe('a\n')
    expect(JSON.parse(await user.ok(['ls', '--json']))).toHaveLength(1)
    expect(await user.ok(['ls', '--plugins'])).toBe('.plugins/password\na\n')
    expect(await user.ok(['ls', '.plugins'])).toBe('.plugins/password\n')
    expect(await user.ok(['ls', '.plugins/*'])).toBe('.plugins/password\n')
  })

  it('of what plugins keep has to be given, or asked for, before it comes out', async () => {
    const user = await withNames('a')
    await user.ok(['password', 'add', 'mail', '--stdin'], { input: 's3cret\n' })
    expect(user.shell('coffer export --tar | tar t')).toBe('a\n')
    expect(user.shell('coffer export --tar --plugins | tar tv')).toMatch(/^-rw------- .*\.plugins\/password\n/)
    expect(user.shell('coffer export --tar .plugins | tar t')).toBe('.plugins/password\n')
    await user.ok(['rsync', 'pull', '.', 'synced'])
    await user.ok(['extract', '--to', 'out'])
    expect([readdirSync(user.path('out')), readdirSync(user.path('synced'))]).toEqual([['a'], ['a']])
    await user.ok(['extract', '--plugins', '--to', 'all'])
    await user.ok(['extract', '.plugins', '--to', 'named'])
    await user.ok(['rsync', 'pull', '.', 'synced', '--plugins'])
    for (const directory of ['all', 'named', 'synced']) {
      expect(statSync(user.path(directory, '.plugins', 'password')).mode & 0o777).toBe(0o600)
    }
    expect(await user.ok(['password', 'show', 'mail', '--only'])).toBe('s3cret\n')
  })

  it('of an older record, which others may read in the coffer, comes out for its owner alone', async () => {
    const user = await withNames()
    const box = await CofferNull.open(user.path('box.coffer'), 'a')
    await box.write('.plugins/password', 'x', { mode: 0o644 })
    await box.close()
    await user.ok(['extract', '--plugins', '--to', 'out'])
    await user.ok(['rsync', 'pull', '.plugins', 'out2'])
    expect(await user.ok(['rsync', 'pull', '.plugins', 'out2'])).toBe('')
    for (const path of ['out/.plugins/password', 'out2/password'])
      expect(statSync(user.path(path)).mode & 0o777).toBe(0o600)
    expect(user.shell('coffer export --tar --plugins | tar tv')).toMatch(/^-rw------- /)
  })
})

describe('a name with characters that a terminal would obey', () => {
  const csi = '\u009b31m'
  const evil = `${csi}\u202egpj\u2066\u061c\u{e0041}\ufeff`
  const raw = /[\p{Cc}\p{Cf}]/u

  it('is spelt out by escaped, but for joiners, which scripts need', () => {
    expect(escaped(evil)).toBe('\\x9b31m\\u{202e}gpj\\u{2066}\\u{61c}\\u{e0041}\\u{feff}')
    expect(escaped('\u001b\n\ud800')).toBe('\\x1b\\x0a\\u{d800}')
    expect(escaped('👩\u200d💻 ünïcode/語')).toBe('👩\u200d💻 ünïcode/語')
  })

  it('is escaped in JSON, which gives the same name back', async () => {
    const user = await withNames(evil)
    const json = await user.ok(['ls', '--json'])
    expect(json.replaceAll('\n', '')).not.toMatch(raw)
    expect(JSON.parse(json)).toMatchObject([{ name: evil }])
    expect(await user.ok(['ls'])).toBe(`${evil}\n`)
  })

  it('is escaped in every message, of which it cannot make two', async () => {
    const user = await withNames(evil, 'a')
    const fake = `${evil}\ncoffer: all is well`
    const runs = [
      ['cat', fake],
      ['ls', fake],
      ['ls', fake, '--json'],
      ['delete', fake, '--force'],
      ['add', fake],
      ['password', 'show', fake],
      ['-f', fake, 'ls'],
      [fake],
    ]
    user.file('a', 'x')
    for (const args of runs) {
      const { stderr } = await user.run(args, { env: { COFFER_DEBUG: '1' } })
      expect(stderr.replaceAll('\n', '')).not.toMatch(raw)
      expect(stderr).not.toMatch(/^coffer: all is well/m)
    }
  })

  it.skipIf(terminalPython === null)('is escaped in questions and lists at a terminal', async () => {
    const user = await withNames(evil)
    const { output } = await user.terminal(['delete', evil], [{ expect: 'Delete', send: 'n\r' }])
    expect(output).toContain('\\x9b31m')
    expect(output).not.toContain(csi)
    expect(output).not.toContain('\u202e')
    const list = await user.terminal(['ls', '-l'])
    expect(list.output.replaceAll('\r\n', '')).not.toMatch(raw)
  })
})
