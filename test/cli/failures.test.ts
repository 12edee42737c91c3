import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { noise } from '../support/bytes.ts'
import { User } from '../support/cli.ts'
import { CofferNull, CofferStore } from '../support/coffer.ts'

const main = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')

/** A user with a keyless coffer in the configuration, and two members in it. */
async function withMembers(): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'box', '--type', 'null', '--write'])
  user.file('reports/may', 'fine\n')
  user.file('reports/june', 'better\n')
  await user.ok(['add', 'reports'])
  return user
}

describe('standard output that cannot be written', () => {
  it.skipIf(!existsSync('/dev/full'))('is a failure with a message', async () => {
    const user = await withMembers()
    for (const command of ['ls', 'ls --json', 'cat reports/may', 'export --tar', 'info', '--help', 'completion bash']) {
      const output = user.shell(`coffer ${command} > /dev/full; echo "rc $?"`)
      expect([command, output]).toEqual([
        command,
        expect.stringMatching(/standard output cannot be written \(ENOSPC\)/),
      ])
      expect(output.split('\n').slice(1)).toEqual(['rc 1', ''])
    }
  })
})

describe('a command without the one below it', () => {
  it.each(['', 'password', 'check'])('shows help and is called wrongly: coffer %s', async (group) => {
    const { code, stdout, stderr } = await new User().run(group === '' ? [] : [group])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain('Commands:')
    expect(stderr).not.toContain('outputHelp')
  })
})

describe('an environment without', () => {
  it.each([
    ['an empty HOME', '', 'HOME is empty'],
    ['a relative HOME', 'here', 'HOME is empty or not an absolute path'],
    ['a HOME that is not there', '/nonexistent/home', 'there is no directory /nonexistent/home'],
  ])('%s: generate --write writes nothing anywhere', async (_, HOME, message) => {
    const user = new User()
    mkdirSync(user.path('here'))
    const { code, stderr } = await user.run(['generate', 'v', '--write'], { env: { HOME } })
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)])
    expect([readdirSync(user.home), readdirSync(user.path('here'))]).toEqual([['here'], []])
    const file = ['--file', 'x.coffer', '--type', 'null']
    user.file('a', 'x')
    await user.ok(['add', 'a', ...file], { env: { HOME } })
    expect(await user.ok(['ls', ...file], { env: { HOME } })).toBe('a\n')
    expect((await user.run(['check', 'system'], { env: { HOME } })).code).toBe(0)
  })

  it('a directory for temporary files: import does not call the archive damaged', async () => {
    const user = await withMembers()
    mkdirSync(user.path('empty'))
    writeFileSync(user.path('big'), noise(3_000_000))
    user.shell('tar cf empty.tar empty; tar cf big.tar big')
    const { code, stderr } = await user.run(['import', '--tar', 'big.tar'], { env: { TMPDIR: '/nonexistent' } })
    expect(code).toBe(1)
    expect(stderr).not.toContain('damaged')
    expect(stderr).toContain('TMPDIR names another')
    // Empty directories take no such directory.
    await user.ok(['import', '--tar', 'empty.tar'], { env: { TMPDIR: '/nonexistent' } })
    expect(await user.ok(['ls'])).toContain('empty')
    const check = await user.run(['check', 'system'], { env: { TMPDIR: '/nonexistent' } })
    expect([check.code, check.stdout]).toEqual([1, expect.stringMatching(/files and locks .*nonexistent/)])
  })
})

describe('a message', () => {
  it('names the member that is damaged, and says what of it was written', async () => {
    const user = new User()
    const { cofferKey } = CofferStore.generateKeys()
    const box = await CofferStore.open(user.path('s.coffer'), 'x', { cofferKey })
    await box.write('sound', 'x')
    await box.write('damaged', noise(500_000))
    await box.close()
    const bytes = readFileSync(user.path('s.coffer'))
    bytes.writeUInt8(bytes.readUInt8(300_000) ^ 1, 300_000)
    writeFileSync(user.path('s.coffer'), bytes)
    const run = await user.run(['cat', 'sound', 'damaged', '--file', 's.coffer'], { env: { COFFER_KEY: cofferKey } })
    expect([run.code, run.stdout.slice(0, 1)]).toEqual([4, 'x'])
    expect(run.stderr).toMatch(/^coffer: the member damaged is damaged, and .* written/)
  })

  it('about a directory comes before the question, with what is in it', async () => {
    const user = await withMembers()
    for (const flags of [[], ['--force']]) {
      const { code, stderr } = await user.run(['delete', 'reports', ...flags])
      expect(code).toBe(2)
      if (flags.length > 0) expect(stderr).toContain('reports is a directory with 2 members: -r deletes it')
    }
  })

  it('says what to type, not what a program passes', async () => {
    const user = await withMembers()
    const said = async (...args: string[]): Promise<string> => (await user.run(args)).stderr
    expect(await said('add', 'reports')).toContain('--replace')
    expect(await said('extract')).toContain('--overwrite')
    const holder = await CofferNull.open(user.path('box.coffer'), 'a')
    const locked = await user.run(['ls', '--lock-timeout', '0.1'])
    await holder.close()
    expect([locked.code, locked.stderr]).toEqual([5, expect.stringContaining('--lock-timeout')])
    user.file('old', readFileSync(join(import.meta.dirname, '../fixtures/null.pycoffer')))
    expect(await said('ls', '--file', 'old', '--type', 'null')).toContain('--legacy')
    for (const text of [await said('add', 'reports'), await said('extract'), locked.stderr])
      expect(text).not.toMatch(/lockTimeout|allow replacing|legacy: true/)
  })

  it('after generate says what has to be kept, and what makes the coffer', async () => {
    const user = new User()
    const said = async (...args: string[]): Promise<string> => (await user.run(['generate', ...args, '--write'])).stderr
    expect(await said('keys')).toContain('Without its keys the coffer cannot be opened')
    const passphrase = await said('phrase', '--passphrase')
    expect(passphrase).toContain('opened by its passphrase')
    expect(passphrase).not.toContain('Without its keys')
    expect(await said('command', '--password-command', 'pass show x')).toContain('what the password command prints')
    const { code, stderr } = await user.run(['ls', '-f', 'keys'])
    expect([code, stderr]).toEqual([1, expect.stringContaining('coffer add makes it')])
  })
})

describe('--file', () => {
  it('means the coffer of the configuration that has it for its location', async () => {
    const user = new User()
    await user.ok(['generate', 'vault', '--write'])
    user.file('a', 'x')
    await user.ok(['add', 'a', '--file', './vault.coffer'])
    expect(await user.ok(['ls', '--file', 'vault.coffer'])).toBe('a\n')
    expect(await user.ok(['ls', '--file', user.path('.', 'vault.coffer')])).toBe('a\n')
    mkdirSync(user.path('d'))
    expect(await user.ok(['ls', '--file', '../vault.coffer'], { cwd: user.path('d') })).toBe('a\n')
    await user.ok(['generate', 'same', '--location', 'vault.coffer', '--write'])
    const { code, stderr } = await user.run(['ls', '--file', 'vault.coffer'])
    expect([code, stderr]).toEqual([2, expect.stringContaining('vault, same: --coffer names one')])
  })
})

describe('one signal', () => {
  /** Runs a command until it has started, and ends it by one SIGTERM. */
  async function stopped(user: User, args: string[], until: () => boolean): Promise<boolean> {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: user.home,
      env: user.environment(),
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    while (!until()) await setTimeout(20)
    // It has been started for long enough to wait.
    await setTimeout(1_500)
    child.kill('SIGTERM')
    const [code, signal] = await once(child, 'exit')
    return code === 143 || signal === 'SIGTERM'
  }

  it('ends a command that waits for a lock, for standard input, or for a program', async () => {
    const user = await withMembers()
    const holder = await CofferNull.open(user.path('box.coffer'), 'a')
    expect(await stopped(user, ['ls', '--lock-timeout', '600'], () => true)).toBe(true)
    await holder.close()
    expect(await stopped(user, ['add', '-', '--as', 'x'], () => true)).toBe(true)
    expect(await stopped(user, ['password', 'add', 'x', '--stdin'], () => true)).toBe(true)
    user.file('deaf', '#!/bin/sh\ntrap "" TERM\ntouch ready\nsleep 60\n')
    chmodSync(user.path('deaf'), 0o700)
    const command = ['ls', '--file', 's', '--type', 'store', '--password-command', './deaf']
    await (await CofferStore.open(user.path('s'), 'x', CofferStore.generateKeys())).close()
    expect(await stopped(user, command, () => existsSync(user.path('ready')))).toBe(true)
  })

  it.skipIf(process.platform === 'win32')('ends a command that waits for a pipe', async () => {
    const user = await withMembers()
    spawnSync('mkfifo', [user.path('pipe')])
    expect(await stopped(user, ['import', '--tar', 'pipe'], () => true)).toBe(true)
    expect(await user.ok(['verify'])).toContain('all is well')
  })
})
