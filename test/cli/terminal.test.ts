import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { terminalPython, User } from '../support/cli.ts'

/** So many bytes that adding them can be watched and stopped. */
const LARGE = 300_000_000

/** A user with a store, and a file in it. */
async function withMember(): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--type', 'store', '--write'])
  user.file('todo.md', 'buy milk\n')
  await user.ok(['add', 'todo.md'])
  return user
}

function largeFile(user: User): void {
  const piece = randomBytes(10_000_000)
  for (let part = 0; part < LARGE / piece.length; part += 1) writeFileSync(user.path('large'), piece, { flag: 'a' })
}

describe.skipIf(terminalPython === null)('at a terminal', () => {
  it('a long command shows a bar with percentage, rate and time left, and takes it away', async () => {
    const user = await withMember()
    largeFile(user)
    const { code, output } = await user.terminal(['add', 'large'])
    expect(code).toBe(0)
    expect(output).toMatch(/adding {2}\[#*-*\] +\d+ % {2}[\d.]+ MB {2}[\d.]+ [MG]B\/s {2}\d\d:\d\d left/)
    expect(output.endsWith('\r\u001b[2Kcoffer: added 1 file, 300 MB\r\n')).toBe(true)
    const quiet = await user.terminal(['add', 'large', '--replace', '--quiet'])
    expect(quiet).toEqual({ code: 0, output: '' })
  })

  it('Ctrl-C leaves the coffer at its last flush, and says so', async () => {
    const user = await withMember()
    largeFile(user)
    const { code, output } = await user.terminal(['add', 'large'], [{ expect: ' % ', send: '\u0003' }])
    expect(output).toContain(`interrupted: ${user.path('vault.coffer')} is as it was at its last flush`)
    expect(code).toBe(130)
    expect(await user.ok(['verify'])).toMatch(/^all is well: 1 member,/)
    expect(await user.ok(['ls'])).toBe('todo.md\n')
  })

  it('Ctrl-C takes the bar away before it says anything', async () => {
    const user = await withMember()
    largeFile(user)
    const { output } = await user.terminal(['add', 'large'], [{ expect: ' % ', send: '\u0003' }])
    expect(output).toContain('\r\u001b[2Kcoffer: stopping; press Ctrl-C again to end at once\r\n')
    expect(output).not.toMatch(/left *coffer/)
  })

  it('in 40 columns the bar keeps percentage and time left', async () => {
    const user = await withMember()
    largeFile(user)
    const { output } = await user.terminal(['add', 'large'], [], { columns: 40 })
    const lines = output.split('\r\u001b[2K').filter((line) => line.includes(' % '))
    expect(lines.length).toBeGreaterThan(0)
    for (const line of lines) {
      expect(line.length).toBeLessThan(40)
      expect(line).toMatch(/\d+ % .*\d\d:\d\d left/)
    }
  })

  it.each([30, 40, 60])('in %i columns help breaks its lines between words', async (columns) => {
    const user = new User()
    for (const command of [[], ['extract'], ['password'], ['generate']]) {
      const { output } = await user.terminal([...command, '--help'], [], { columns })
      const lines = output.split('\r\n')
      for (const line of lines) {
        // Only a word that is longer than a line makes it longer.
        if (line.length > columns) expect(line.trim()).not.toMatch(/\s(?!\\$)(?![<[])/)
      }
      expect(output.replace(/\s+/g, ' ')).toContain('a command that prints the passphrase or the keys')
    }
  })

  it('delete of a directory that is not empty is refused before it asks', async () => {
    const user = await withMember()
    await user.ok(['add', 'todo.md', '--as', 'reports/may'])
    const { code, output } = await user.terminal(['delete', 'reports'])
    expect([code, output]).toEqual([2, expect.stringContaining('-r deletes it')])
    expect(output).not.toContain('?')
    const asked = await user.terminal(['delete', '-r', 'reports'], [{ expect: '(9 B)', send: 'n\r' }])
    expect(asked.code).toBe(1)
  })

  it('delete asks, and takes anything but yes for no', async () => {
    const user = await withMember()
    const no = await user.terminal(['delete', 'todo.md'], [{ expect: 'Delete', send: 'n\r' }])
    expect(no.code).toBe(1)
    expect(await user.ok(['ls'])).toBe('todo.md\n')
    const yes = await user.terminal(['delete', 'todo.md'], [{ expect: 'Delete', send: 'y\r' }])
    expect(yes).toMatchObject({ code: 0, output: expect.stringContaining('deleted 1 member') })
    expect(await user.ok(['ls'])).toBe('')
  })

  it('Ctrl-C at a question is an interruption', async () => {
    const user = await withMember()
    const { code, output } = await user.terminal(['delete', 'todo.md'], [{ expect: 'Delete', send: '\u0003' }])
    expect(output).toContain('interrupted')
    expect(code).toBe(130)
    expect(await user.ok(['ls'])).toBe('todo.md\n')
  })

  it('names are shown without anything that the terminal would obey', async () => {
    const user = await withMember()
    mkdirSync(user.path('d'))
    writeFileSync(user.path('d', '\u001b[2J\u202egpj.exe'), '')
    await user.ok(['add', 'd'])
    const { output } = await user.terminal(['ls', 'd'])
    expect(output).toBe('d/\\x1b[2J\\u{202e}gpj.exe\r\n')
  })

  it('there are colours, unless NO_COLOR says otherwise', async () => {
    const user = await withMember()
    const failing = ['cat', 'nothing']
    expect((await user.terminal(failing)).output).toContain('\u001b[31mcoffer:\u001b[39m')
    expect((await user.terminal(failing, [], { env: { NO_COLOR: '1' } })).output).not.toContain('\u001b')
  })

  it('an archive is not written to it', async () => {
    const user = await withMember()
    const { code, output } = await user.terminal(['export', '--tar'])
    expect(code).toBe(2)
    expect(output).toContain('not written to a terminal')
  })
})
