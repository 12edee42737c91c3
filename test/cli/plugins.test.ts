import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { noise } from '../support/bytes.ts'
import { terminalPython, User } from '../support/cli.ts'

const root = join(import.meta.dirname, '..', '..')

/** A user with a bank in the configuration. */
async function withBank(): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--write'])
  return user
}

/** The same, with a password in it. */
async function withPassword(): Promise<User> {
  const user = await withBank()
  const more = ['--username', 'ada', '--url', 'https://mail.example', '--note', 'a note']
  await user.ok(['password', 'add', 'mail', '--stdin', ...more], { input: 's3cret\n' })
  return user
}

/** Puts a clipboard in place that is a file, and tells what its program was called with. */
function withClipboard(user: User): Record<string, string> {
  const script = `#!/bin/sh
echo "$@" >> ${user.path('args')}
env >> ${user.path('env')}
case "$*" in *-o*) cat ${user.path('clip')} ;; *) cat > ${user.path('clip.new')} && mv ${user.path('clip.new')} ${user.path('clip')} ;; esac
`
  user.file('bin/xclip', script)
  chmodSync(user.path('bin/xclip'), 0o700)
  return { PATH: `${user.path('bin')}:/usr/bin:/bin` }
}

/** The processes that are going to empty a clipboard, with their arguments and environment. */
function clearing(): { pid: number; args: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        if (!args.includes(join('cli', 'terminal', 'clipboard-clear.js')) || !args.includes(root)) return []
        return [{ pid: Number(pid), args: args + readFileSync(`/proc/${pid}/environ`, 'utf8') }]
      } catch {
        return []
      }
    })
}

describe('password', () => {
  it('stores, lists, finds, shows and deletes', async () => {
    const user = await withPassword()
    expect(await user.ok(['password', 'ls'])).toMatch(
      /^name +user name +url +owner\nmail +ada +https:\/\/mail.example *\n$/,
    )
    expect(JSON.parse(await user.ok(['password', 'ls', 'ADA', '--json']))).toMatchObject([
      { name: 'mail', username: 'ada' },
    ])
    expect(await user.ok(['password', 'ls', 'nothing'])).toBe('')
    expect(await user.ok(['password', 'show', 'mail', '--only'])).toBe('s3cret\n')
    expect(JSON.parse(await user.ok(['password', 'show', '--name', 'mail', '--json']))).toMatchObject({
      password: 's3cret',
      note: 'a note',
    })
    expect((await user.run(['password', 'add', 'mail', '--stdin'], { input: 'other\n' })).code).toBe(1)
    expect((await user.run(['password', 'delete', 'mail'])).code).toBe(2)
    await user.ok(['password', 'delete', 'mail', '--force'])
    expect((await user.run(['password', 'show', 'mail'])).code).toBe(1)
  })

  it('imports what Chrome exported, and asks whose a password is where several have one name', async () => {
    const user = await withPassword()
    user.file(
      'chrome.csv',
      'name,url,username,password,note\nmail,https://m.example,bob,pw1,\nshop,https://s.example,bob,pw2,\n',
    )
    await user.ok(['password', 'import-chrome', 'chrome.csv'])
    expect(await user.ok(['password', 'show', 'shop', '--only'])).toBe('pw2\n')
    expect((await user.run(['password', 'show', 'mail'])).code).toBe(2)
    expect(await user.ok(['password', 'show', 'mail', '--only', '--owner', 'chrome'])).toBe('pw1\n')
    expect(await user.ok(['password', 'show', 'mail', '--only', '--owner', ''])).toBe('s3cret\n')
  })

  it('fills the clipboard through the standard input of a program, or says that there is none', async () => {
    const user = await withPassword()
    const none = await user.run(['password', 'clip', 'mail'], { env: { PATH: user.path('bin') } })
    expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('xclip') })
    const env = withClipboard(user)
    const { stderr } = await user.run(['password', 'clip', 'mail', '--clear-after', '0'], { env })
    expect(stderr).toContain('in the clipboard and stays there')
    expect(user.read('clip')).toBe('s3cret')
    expect(user.read('args')).not.toContain('s3cret')
    expect((await user.run(['password', 'clip', 'mail', '--clear-after', 'soon'], { env })).code).toBe(2)
  })

  it('takes the password out of the clipboard again, unless something else is in it by then', async () => {
    const user = await withPassword()
    const env = withClipboard(user)
    // Whatever the clipboard's programs are told, and by whom, has no secret in it.
    await user.ok(['password', 'clip', 'mail', '--clear-after', '1'], { env })
    expect(user.read('clip')).toBe('s3cret')
    await vi.waitUntil(() => user.read('clip') === '', 20_000)
    await user.ok(['password', 'clip', 'mail', '--clear-after', '1'], { env })
    user.file('clip', 'something else')
    const before = user.read('args').split('\n').length
    await vi.waitUntil(() => user.read('args').split('\n').length > before, 20_000)
    await setTimeout(500)
    expect(user.read('clip')).toBe('something else')
    expect(user.read('args')).not.toContain('s3cret')
    expect(user.read('env')).not.toContain('s3cret')
  })

  it('says for how long a password is in the clipboard: 45 seconds if nothing else is said', async () => {
    const user = await withPassword()
    const env = withClipboard(user)
    const { stderr } = await user.run(['password', 'clip', 'mail'], { env })
    expect(stderr).toContain('in the clipboard for 45 seconds')
    const helpers = clearing()
    expect(helpers).toHaveLength(1)
    for (const { pid, args } of helpers) {
      expect(args).not.toContain('s3cret')
      process.kill(pid)
    }
  })

  it('looks for the programs of the clipboard, and of a password command, on the PATH alone', async () => {
    const user = await withPassword()
    withClipboard(user)
    user.shell('cp bin/xclip xclip; cp bin/xclip pass; mkdir directory; mkdir directory/xclip')
    for (const PATH of ['', '.', 'bin', `:${user.path('directory')}:.`]) {
      const { code } = await user.run(['password', 'clip', 'mail'], { env: { PATH } })
      expect([PATH, code]).toEqual([PATH, 2])
      user.file('conf', 's:\n  type: store\n  location: s\n  password_command: [pass, show]\n')
      const asked = await user.run(['add', 'conf', '--conf', 'conf'], { env: { PATH } })
      expect([PATH, asked.code, asked.stderr]).toEqual([PATH, 2, expect.stringContaining('pass is not on the PATH')])
    }
    expect(existsSync(user.path('args'))).toBe(false)
  })

  it.skipIf(terminalPython === null)('asks for a password twice, and does not show it', async () => {
    const user = await withBank()
    const { code, output } = await user.terminal(
      ['password', 'add', 'mail'],
      [
        { expect: 'New password', send: 'one\r' },
        { expect: 'Repeat it', send: 'two\r' },
        { expect: 'New password', send: 'hush\r' },
        { expect: 'Repeat it', send: 'hush\r' },
      ],
    )
    expect(code).toBe(0)
    expect(output).not.toContain('hush')
    expect(await user.ok(['password', 'show', 'mail', '--only'])).toBe('hush\n')
  })
})

describe('info', () => {
  it('tells without keys what kind of file it is', async () => {
    const user = await withBank()
    user.file('a', 'x')
    await user.ok(['add', 'a'])
    const found = JSON.parse(await user.ok(['info', 'vault.coffer', '--json'])) as object
    expect(found).toMatchObject({ format: 'coffer', version: 1, kind: 'bank', cipher: 'fernet', passphrase: false })
    expect(found).not.toHaveProperty('members')
    expect(await user.ok(['info', 'a'])).toContain('not a coffer')
    expect((await user.run(['info', 'nothing'])).code).toBe(1)
  })

  it('tells with keys how many members, which generation, how much dead space', async () => {
    const user = await withBank()
    user.file('a', noise(100_000))
    // Too large for a pack, so that it stays where it is.
    user.file('b', noise(300_000, 'b'))
    await user.ok(['add', 'a', 'b'])
    // With more dead than live bytes it would be compacted.
    await user.ok(['add', 'a', '--replace'])
    const found = JSON.parse(await user.ok(['info', '--json'])) as { deadBytes: number }
    expect(found).toMatchObject({ members: 2, bytes: 400_000, kind: 'bank' })
    expect(found.deadBytes).toBeGreaterThan(100_000)
    expect(await user.ok(['info'])).toMatch(/members +2\n(.*\n)*dead space +\d+ kB\n(.*\n)*generation +\d+\n/)
  })

  it('finds the kind by itself where nobody says it', async () => {
    const user = await withBank()
    user.file('a', 'x')
    await user.ok(['add', 'a'])
    const [, key = ''] = /coffer_key: !!binary "(.*)"/.exec(user.read('.cofferrc')) ?? []
    const [, secure = ''] = /secure_key: !!binary "(.*)"/.exec(user.read('.cofferrc')) ?? []
    const env = { COFFER_KEY: key, COFFER_SECURE_KEY: secure }
    expect(await user.ok(['ls', '--file', 'vault.coffer'], { env })).toBe('a\n')
  })
})

describe('rekey', () => {
  it('gives a coffer the keys of another section', async () => {
    const user = await withBank()
    user.file('a', 'x')
    await user.ok(['add', 'a'])
    await user.ok(['generate', 'next', '--location', 'vault.coffer', '--write'])
    await user.ok(['rekey', '-f', 'vault', '--to', 'next'])
    expect(await user.ok(['ls', '-f', 'next'])).toBe('a\n')
    expect((await user.run(['ls', '-f', 'vault'])).code).toBe(3)
    expect((await user.run(['rekey', '-f', 'next'])).code).toBe(2)
    expect((await user.run(['rekey', '-f', 'next', '--to', 'nobody'])).code).toBe(2)
  })
})

describe('a passphrase', () => {
  it('opens a coffer, from the environment, a file or a command', async () => {
    const user = new User()
    user.file('a', 'x')
    user.file('secret', 'open sesame\n')
    const file = ['--file', 's.coffer', '--type', 'store']
    await user.ok(['add', 'a', ...file], { env: { COFFER_PASSPHRASE: 'open sesame' } })
    expect(await user.ok(['ls', ...file], { env: { COFFER_PASSPHRASE_FILE: 'secret' } })).toBe('a\n')
    expect(await user.ok(['ls', ...file, '--password-command', 'cat secret'])).toBe('a\n')
    expect((await user.run(['ls', ...file], { env: { COFFER_PASSPHRASE: 'wrong' } })).code).toBe(3)
  })

  it.skipIf(terminalPython === null)(
    'is asked for: twice when it is new, once when it is not, and can be changed',
    async () => {
      const user = new User()
      user.file('a', 'x')
      await user.ok(['generate', 'vault', '--type', 'store', '--passphrase', '--write'])
      const twice = (secret: string) => [
        { expect: 'New passphrase', send: `${secret}\r` },
        { expect: 'Repeat it', send: `${secret}\r` },
      ]
      expect(await user.terminal(['add', 'a'], twice('first'))).toMatchObject({ code: 0 })
      const once = (secret: string) => [{ expect: 'Passphrase of vault', send: `${secret}\r` }]
      expect(await user.terminal(['ls'], once('first'))).toMatchObject({
        code: 0,
        output: expect.stringMatching(/a\r\n$/),
      })
      expect(await user.terminal(['ls'], once('wrong'))).toMatchObject({ code: 3 })
      expect(await user.terminal(['rekey', '--new-passphrase'], [...once('first'), ...twice('second')])).toMatchObject({
        code: 0,
      })
      expect(await user.terminal(['ls'], once('second'))).toMatchObject({ code: 0 })
      // It is asked for also where no configuration says so.
      const bare = await user.terminal(['ls', '--file', 'vault.coffer'], [{ expect: 'Passphrase', send: 'second\r' }])
      expect(bare).toMatchObject({ code: 0 })
    },
  )
})

describe('crypt and decrypt', () => {
  it('encrypt and decrypt files and streams', async () => {
    const user = await withBank()
    const data = noise(2_000_000, 'crypt')
    user.file('a', 'x')
    user.file('clear', data)
    await user.ok(['add', 'a'])
    await user.ok(['crypt', 'clear', 'sealed'])
    expect(readFileSync(user.path('sealed')).includes(data.subarray(0, 64))).toBe(false)
    await user.ok(['decrypt', '-s', 'sealed', '-t', 'again'])
    expect(readFileSync(user.path('again')).equals(data)).toBe(true)
    expect(user.shell('coffer crypt - - < clear | coffer decrypt - - | cmp - clear && echo same')).toBe('same\n')
    expect((await user.run(['decrypt', 'sealed', 'again'])).code).toBe(2)
    await user.ok(['decrypt', 'sealed', 'again', '--overwrite'])
    user.file('other', noise(1000))
    expect((await user.run(['decrypt', 'other', 'x'])).code).not.toBe(0)
  })
})

describe('rsync', () => {
  it('brings a directory into a coffer and back, and only says what it would do with --dry-run', async () => {
    const user = await withBank()
    mkdirSync(user.path('d'))
    user.file('d/a', 'x')
    user.file('d/b', 'y')
    expect(await user.ok(['rsync', '-s', 'd', '-t', 'docs', '--dry'])).toBe('add  docs/a\nadd  docs/b\n')
    await user.ok(['rsync', 'push', 'd', 'docs'])
    expect(await user.ok(['ls'])).toBe('docs/a\ndocs/b\n')
    user.shell('rm d/b; echo new > d/a')
    await user.ok(['rsync', 'push', 'd', 'docs', '--delete'])
    expect(await user.ok(['ls'])).toBe('docs/a\n')
    await user.ok(['rsync', 'pull', 'docs', 'out'])
    expect(user.read('out/a')).toBe('new\n')
  })
})

describe('extract', () => {
  it('never overwrites unless told', async () => {
    const user = await withBank()
    user.file('a', 'in the coffer\n')
    await user.ok(['add', 'a'])
    user.file('a', 'on the disk\n')
    expect((await user.run(['extract'])).code).not.toBe(0)
    expect(user.read('a')).toBe('on the disk\n')
    await user.ok(['extract', '--overwrite'])
    expect(user.read('a')).toBe('in the coffer\n')
  })

  it('writes what is not there, below a directory', async () => {
    const user = await withBank()
    user.file('d/e/a', 'x')
    await user.ok(['add', 'd'])
    await user.ok(['extract', 'd/e', '--from', 'd', '-p', 'out'])
    expect(user.read('out/e/a')).toBe('x')
    await user.ok(['extract', '-i', 'd/e/a', '--to', 'out'])
    expect(user.read('out/d/e/a')).toBe('x')
  })
})
