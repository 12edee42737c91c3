import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { User } from '../support/cli.ts'
import { Coffer, CofferBank, CofferNull, CofferStore } from '../support/coffer.ts'
import { classOf } from '../support/kinds.ts'
import { tempDir } from '../support/temp.ts'

const FORGED = 'this is not what you stored'

/** A user with a bank in the configuration, a member in it, and a keyless coffer of the same shape beside it. */
async function withForgery(): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--write'])
  user.file('a', 'confidential\n')
  await user.ok(['add', 'a'])
  const forged = await CofferNull.open(user.path('forged'), 'x')
  await forged.write('a', FORGED)
  await forged.close()
  return user
}

const keysIn = (user: User): Record<string, string> => {
  const key = (name: string) => new RegExp(`^ *${name}: !!binary "(.*)"`, 'm').exec(user.read('.cofferrc'))?.[1] ?? ''
  return { COFFER_KEY: key('coffer_key'), COFFER_SECURE_KEY: key('secure_key') }
}

const commands = [
  ['cat', 'a'],
  ['verify'],
  ['ls'],
  ['info'],
  ['export', '--tar'],
  ['password', 'add', 'mail', '--stdin'],
  ['add', 'a', '--replace'],
  ['salvage', 'rescued'],
]

describe('a keyless coffer in place of a bank', () => {
  it.each(commands.map((command) => [command.join(' '), command]))(
    'is refused by %s, and stays as it is',
    async (_, command) => {
      const user = await withForgery()
      const env = keysIn(user)
      copyFileSync(user.path('forged'), user.path('vault.coffer'))
      user.file(
        'untyped',
        user
          .read('.cofferrc')
          .replace('  type: bank\n', '')
          .replace(/ {2}archive_id.*\n/, ''),
      )
      const before = readFileSync(user.path('vault.coffer'))
      const ways: [string[], Record<string, string>][] = [
        [[], {}],
        [['--conf', 'untyped'], {}],
        [['--conf', 'none', '--file', 'vault.coffer'], env],
        [['--conf', 'none', '--file', 'vault.coffer'], { COFFER_PASSPHRASE: 'open sesame' }],
        [['--conf', 'none', '--file', 'vault.coffer', '--password-command', 'touch asked; echo x'], {}],
      ]
      user.file('none', '')
      for (const [where, env] of ways) {
        const { code, stdout, stderr } = await user.run([...command, ...where], { env, input: 's3cret\n' })
        expect([where, env, code, stdout]).toEqual([where, env, 3, ''])
        expect(stderr).toContain('the file was replaced')
        expect(stderr).not.toContain(FORGED)
      }
      expect(readFileSync(user.path('vault.coffer')).equals(before)).toBe(true)
      expect(readdirSync(user.home)).not.toContain('asked')
    },
  )

  it('has an error of its own, and is refused although --type says so', async () => {
    const user = await withForgery()
    const env = keysIn(user)
    const forged = ['--file', 'forged', '--conf', 'none']
    user.file('none', '')
    expect(await user.ok(['cat', 'a', ...forged])).toBe(FORGED)
    const { code, stderr } = await user.run(['cat', 'a', ...forged, '--type', 'null', '--json'], { env })
    expect(code).toBe(2)
    const ls = await user.run(['ls', ...forged, '--type', 'null', '--json'], { env })
    expect(ls.code).toBe(3)
    expect(JSON.parse(ls.stderr)).toMatchObject({ error: { code: 'ERR_COFFER_KEYLESS' } })
    expect(stderr).not.toContain(FORGED)
  })

  it('is not made either where keys are given', async () => {
    const user = new User()
    user.file('a', 'x')
    const { cofferKey } = CofferStore.generateKeys()
    const { code } = await user.run(['add', 'a', '--file', 'new', '--type', 'null'], { env: { COFFER_KEY: cofferKey } })
    expect(code).toBe(3)
    expect(readdirSync(user.home)).toEqual(['a'])
  })
})

describe('keys for a coffer that is sealed with none', () => {
  const keys = CofferBank.generateKeys()
  const layers = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const

  it.each([
    ['a container key', { cofferKey: keys.cofferKey }],
    ['a member key', { secureKey: keys.secureKey }],
    ['both', keys],
    ['a passphrase', { passphrase: 'open sesame' }],
    ['an empty key', { cofferKey: '' }],
  ])('are ERR_COFFER_KEYLESS: %s', async (_, secret) => {
    const path = join(tempDir(), 'box.coffer')
    const refused = { code: 'ERR_COFFER_KEYLESS' }
    await expect(classOf('CofferNull').open(path, 'x', secret)).rejects.toMatchObject(refused)
    await (await CofferNull.open(path, 'x')).close()
    for (const mode of ['r', 'a', 'w'] as const) {
      await expect(classOf('CofferNull').open(path, mode, secret)).rejects.toMatchObject(refused)
      await expect(Coffer.open(path, mode, { ...layers, ...secret })).rejects.toMatchObject(refused)
    }
    await expect(classOf('CofferNull').salvage(path, `${path}.rescued`, secret)).rejects.toMatchObject(refused)
    await expect(Coffer.salvage(path, `${path}.rescued`, { ...layers, ...secret })).rejects.toMatchObject(refused)
  })
})

describe('another coffer in place of one of the configuration', () => {
  it.each(['yaml', 'pycoffer'])(
    'is refused by its archive id, which the first command writes into the section (%s)',
    async (format) => {
      const user = new User()
      user.file('a', 'x')
      user.file(
        'rc',
        `${await user.ok(['generate', 'vault', '--type', 'store', '--format', format])}${format === 'yaml' ? '# mine\n' : '; mine\n'}`,
      )
      const before = user.read('rc')
      await user.ok(['add', 'a', '-c', 'rc'])
      const { archiveId } = JSON.parse(await user.ok(['info', '--json', '-c', 'rc'])) as { archiveId: string }
      const after = user.read('rc')
      const line = after.split('\n').find((text) => text.includes('archive_id')) ?? ''
      expect(line).toContain(archiveId)
      expect(after.replace(`${line}\n`, '')).toBe(before)
      // A second one under the same keys.
      user.file('other-rc', before.replaceAll('vault.coffer', 'other.coffer'))
      await user.ok(['add', 'a', '--as', 'b', '-c', 'other-rc'])
      copyFileSync(user.path('other.coffer'), user.path('vault.coffer'))
      for (const command of [['ls'], ['add', 'a'], ['verify']]) {
        const { code, stdout, stderr } = await user.run([...command, '-c', 'rc'])
        expect([code, stdout]).toEqual([4, ''])
        expect(stderr).toContain(archiveId)
      }
      expect(await user.ok(['ls', '-c', 'other-rc'])).toBe('b\n')
    },
  )

  it('is known for its archive id after compaction and new keys', async () => {
    const user = await withForgery()
    await user.ok(['compact'])
    await user.ok(['generate', 'next', '--location', 'vault.coffer', '--write'])
    await user.ok(['rekey', '-f', 'vault', '--to', 'next'])
    expect(await user.ok(['ls', '-f', 'next'])).toBe('a\n')
    expect(user.read('.cofferrc').match(/archive_id: (\S+)/g)).toHaveLength(2)
  })

  it('is refused for its kind, and --type cannot say otherwise', async () => {
    const user = await withForgery()
    const { cofferKey } = CofferStore.generateKeys()
    const store = await CofferStore.open(user.path('store'), 'x', { cofferKey })
    await store.close()
    copyFileSync(user.path('store'), user.path('vault.coffer'))
    expect((await user.run(['ls'], { env: { COFFER_KEY: cofferKey, COFFER_SECURE_KEY: cofferKey } })).code).toBe(1)
    const { code, stderr } = await user.run(['ls', '--type', 'store'], { env: { COFFER_KEY: cofferKey } })
    expect([code, stderr]).toEqual([2, expect.stringContaining('the section vault says bank')])
  })

  it('does not keep a command from being done where the configuration cannot be changed', async () => {
    const user = new User()
    user.file('a', 'x')
    const { cofferKey } = CofferStore.generateKeys()
    user.file('.cofferrc', `{v: {type: store, coffer_key: "${cofferKey}", location: v.coffer}}\n`)
    const { code, stderr } = await user.run(['add', 'a'])
    expect([code, stderr]).toEqual([0, expect.stringMatching(/section v: archive_id: [0-9a-f]{32}/)])
    expect(stderr).not.toContain(cofferKey)
  })
})

describe('--expect', () => {
  it('takes the commit that info prints, and refuses a coffer that does not hold it', async () => {
    const user = await withForgery()
    const { commit } = JSON.parse(await user.ok(['info', '--json'])) as { commit: string }
    expect(await user.ok(['info'])).toContain(commit)
    copyFileSync(user.path('vault.coffer'), user.path('older'))
    await user.ok(['add', 'a', '--as', 'b', '--expect', commit])
    const { commit: newer } = JSON.parse(await user.ok(['info', '--json', '--expect', commit])) as { commit: string }
    expect(await user.ok(['ls', '--expect', newer])).toBe('a\nb\n')
    writeFileSync(user.path('vault.coffer'), readFileSync(user.path('older')))
    for (const command of [['ls'], ['cat', 'a'], ['add', 'a', '--replace'], ['verify'], ['info'], ['password', 'ls']]) {
      expect([command, (await user.run([...command, '--expect', newer])).code]).toEqual([command, 4])
    }
    expect((await user.run(['ls', '--expect', 'x'])).code).toBe(2)
    expect((await user.run(['generate', 'x', '--expect', newer])).code).toBe(2)
    expect(
      (await user.run(['add', 'a', '--file', 'new', '--type', 'null', '--expect', newer, '-c', 'older'])).code,
    ).not.toBe(0)
    expect(readdirSync(user.home)).not.toContain('new')
  })
})
