import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { User } from '../support/cli.ts'
import { CofferBank, CofferMarket, CofferStore } from '../support/coffer.ts'
import { python } from '../support/python.ts'

const root = join(import.meta.dirname, '..', '..')

/** Runs Python, with arguments; returns what it printed. */
function runPython(user: User, ...args: string[]): string {
  const { stdout, stderr, status } = spawnSync(python ?? '', args, {
    cwd: user.home,
    env: user.environment({ LC_ALL: 'C.UTF-8' }),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr)
  return stdout
}

const pycoffer = (user: User, ...args: string[]): string =>
  runPython(user, '-c', 'import sys; sys.argv[0] = "pycoffer"; from pycoffer.main import cli; cli()', ...args)

/** A store with one member, made without a configuration. */
async function withStore(): Promise<{ user: User; key: string }> {
  const user = new User()
  const { cofferKey: key } = CofferStore.generateKeys()
  const store = await CofferStore.open(user.path('s.coffer'), 'x', { cofferKey: key })
  await store.write('a', 'x')
  await store.close()
  return { user, key }
}

const file = ['--file', 's.coffer', '--type', 'store']

describe('a configuration', () => {
  it.each([0o644, 0o640, 0o604, 0o660, 0o601])('with permissions %o is refused', async (mode) => {
    const { user, key } = await withStore()
    const text = `s:\n  type: store\n  coffer_key: ${key}\n  location: s.coffer\n`
    user.file('.cofferrc', text)
    expect(await user.ok(['ls'])).toBe('a\n')
    chmodSync(user.path('.cofferrc'), mode)
    const { code, stderr } = await user.run(['ls'])
    expect(code).toBe(2)
    expect(stderr).toContain('chmod 600')
  })

  it('says which coffer: by name, by its default, or because there is one', async () => {
    const { user, key } = await withStore()
    const section = (name: string) => `${name}:\n  type: store\n  coffer_key: ${key}\n  location: s.coffer\n`
    user.file('.cofferrc', section('one'))
    expect(await user.ok(['ls'])).toBe('a\n')
    user.file('.cofferrc', section('one') + section('two'))
    expect(await user.run(['ls'])).toMatchObject({ code: 2, stderr: expect.stringContaining('one, two') })
    expect(await user.ok(['ls', '-f', 'two'])).toBe('a\n')
    user.file('.cofferrc', `DEFAULT:\n  coffer: two\n${section('one')}${section('two')}`)
    expect(await user.ok(['ls'])).toBe('a\n')
    expect((await user.run(['ls', '-f', 'one', '--file', 's.coffer'])).code).toBe(2)
  })

  it('says where: a directory holds the coffer by a hidden name, which is also the default', async () => {
    const user = new User()
    mkdirSync(user.path('dir'))
    user.file('a', 'x')
    user.file(
      '.cofferrc',
      'one:\n  type: "null"\ntwo:\n  type: "null"\n  location: dir\nthree:\n  type: "null"\n  location: ~/dir/x\n',
    )
    for (const name of ['one', 'two', 'three']) await user.ok(['add', 'a', '-f', name])
    expect(readdirSync(user.home)).toContain('.one')
    expect(readdirSync(user.path('dir')).filter((name) => !name.endsWith('.lock'))).toEqual(['.two', 'x'])
  })

  it('says how: backup, level and cipher', async () => {
    const user = new User()
    user.file('a', 'x')
    await user.ok(['generate', 'v', '--cipher', 'aes-ocb', '--backup', '.bak', '--write'])
    await user.ok(['add', 'a'])
    await user.ok(['add', 'a', '--as', 'b'])
    expect(readdirSync(user.home)).toContain('v.coffer.bak')
    const [, cofferKey = ''] = /coffer_key: !!binary "(.*)"/.exec(user.read('.cofferrc')) ?? []
    expect(Buffer.from(cofferKey, 'base64')).toHaveLength(16)
  })

  it.each([
    ['no mapping', '- a\n', 'section'],
    ['a wrong type', 'v:\n  type: bunk\n', 'type of v must be one of'],
    ['a tag that is not known', 'v: !!python/object:os.system\n  type: bank\n', 'line 1'],
    ['broken YAML', 'v:\n  coffer_key: "c2VjcmV0c2VjcmV0\n', 'not YAML'],
    ['broken INI', '[v]\ntype = bank\nc2VjcmV0c2VjcmV0\n', 'line 3'],
  ])('with %s is refused, without a word of what is in it', async (_, text, message) => {
    const user = new User()
    user.file('.cofferrc', text)
    const { code, stderr } = await user.run(['ls'])
    expect(code).toBe(2)
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('c2VjcmV0')
  })
})

describe('generate', () => {
  it('prints a section that is a configuration', async () => {
    const user = new User()
    user.file('a', 'x')
    const text = await user.ok(['generate', 'v', '--type', 'market'])
    expect(readdirSync(user.home)).toEqual(['a'])
    user.file('conf', text)
    await user.ok(['add', 'a', '--conf', 'conf'])
    expect(await user.ok(['ls', '-c', 'conf', '-f', 'v'])).toBe('a\n')
  })

  it('adds to a configuration, leaves what is there, and refuses a name that is taken', async () => {
    const user = new User()
    const old = '# mine\nother:   # as I like it\n    type:   "null"'
    user.file('.cofferrc', old)
    await user.ok(['generate', 'v', '--write'])
    const now = user.read('.cofferrc')
    expect(now.startsWith(`${old}\n`)).toBe(true)
    expect(statSync(user.path('.cofferrc')).mode & 0o777).toBe(0o600)
    expect(readdirSync(user.home)).toEqual(['.cofferrc'])
    expect((await user.run(['generate', 'v', '--write'])).code).toBe(2)
    expect(user.read('.cofferrc')).toBe(now)
    expect((await user.run(['generate', 'DEFAULT', '--write'])).code).toBe(2)
    expect((await user.run(['generate', 'a/b'])).code).toBe(2)
  })

  it('makes a configuration that only its owner can read', async () => {
    const user = new User()
    const { stdout, stderr } = await user.run(['generate', 'v', '--write'])
    expect(stdout).toBe('')
    expect(stderr).not.toContain('_key')
    expect(statSync(user.path('.cofferrc')).mode & 0o777).toBe(0o600)
  })

  it('does not write while somebody else does', async () => {
    const user = new User()
    user.file('.cofferrc.new', '')
    expect(await user.run(['generate', 'v', '--write'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('.cofferrc.new'),
    })
  })

  it('does not write where a section cannot be put at the end', async () => {
    const user = new User()
    user.file('.cofferrc', '{one: {type: "null"}}\n')
    expect((await user.run(['generate', 'v', '--write'])).code).toBe(2)
    expect(user.read('.cofferrc')).toBe('{one: {type: "null"}}\n')
    expect(readdirSync(user.home)).toEqual(['.cofferrc'])
  })
})

describe('keys', () => {
  it('come from the environment, or from files or standard input that it names', async () => {
    const { user, key } = await withStore()
    user.file('key', `${key}\n`)
    expect(await user.ok(['ls', ...file], { env: { COFFER_KEY: key } })).toBe('a\n')
    expect(await user.ok(['ls', ...file], { env: { COFFER_KEY_FILE: 'key' } })).toBe('a\n')
    expect(await user.ok(['ls', ...file], { env: { COFFER_KEY_FILE: '-' }, input: key })).toBe('a\n')
    expect((await user.run(['ls', ...file], { env: { COFFER_KEY_FILE: 'key', COFFER_KEY: key } })).code).toBe(2)
    chmodSync(user.path('key'), 0o644)
    expect((await user.run(['ls', ...file], { env: { COFFER_KEY_FILE: 'key' } })).code).toBe(2)
    const twice = { COFFER_KEY_FILE: '-' }
    expect((await user.run(['add', '-', '--as', 'b', ...file], { env: twice, input: key })).code).toBe(2)
  })

  it('come from a command, of the command line or the configuration', async () => {
    const { user, key } = await withStore()
    user.file('secret', `coffer_key = ${key}\n`)
    expect(await user.ok(['ls', ...file, '--password-command', 'cat secret'])).toBe('a\n')
    const section = (command: string) => `s:\n  type: store\n  location: s.coffer\n  ${command}\n`
    for (const command of ['password_command: cat "secret"', 'passwordCommand: [cat, secret]']) {
      user.file('.cofferrc', section(command))
      expect(await user.ok(['ls'])).toBe('a\n')
    }
    for (const command of ['password_command: exit 7', 'password_command: "true"', 'password_command: [not-there]']) {
      user.file('.cofferrc', section(command))
      expect((await user.run(['ls'])).code).toBe(2)
    }
  })

  it('come from the command line rather than the environment, and from there rather than the configuration', async () => {
    const { user, key } = await withStore()
    const { cofferKey: wrong } = CofferStore.generateKeys()
    user.file('.cofferrc', `s:\n  type: store\n  coffer_key: ${wrong}\n  location: s.coffer\n`)
    expect((await user.run(['ls'])).code).toBe(3)
    expect(await user.ok(['ls'], { env: { COFFER_KEY: key } })).toBe('a\n')
    const command = ['--password-command', `echo coffer_key: ${key}`]
    expect(await user.ok(['ls', ...command], { env: { COFFER_KEY: wrong } })).toBe('a\n')
    expect((await user.run(['ls', ...command, '--ask-passphrase'])).code).toBe(2)
    expect((await user.run(['ls'], { env: { COFFER_KEY: key, COFFER_PASSPHRASE: 'x' } })).code).toBe(2)
  })

  it('are not handed on to commands that are started', async () => {
    const { user, key } = await withStore()
    await user.ok(['ls', ...file, '--password-command', `env > seen; echo coffer_key: ${key}`], {
      env: { COFFER_KEY: 'hidden' },
    })
    expect(user.read('seen')).not.toContain('COFFER_KEY')
  })

  it('are never arguments, and in no message', async () => {
    const { user, key } = await withStore()
    for (const command of ['', 'ls', 'generate', 'add', 'rekey', 'password add']) {
      const help = await user.ok([...command.split(' ').filter((word) => word !== ''), '--help'])
      expect(help).not.toMatch(/--(coffer-|secure-)?key\b|--passphrase <|--password </)
    }
    const broken = key.slice(0, -6)
    const environments: Record<string, string>[] = [
      { COFFER_KEY: broken },
      { COFFER_KEY: `${key}!` },
      { COFFER_SECURE_KEY: key },
    ]
    for (const env of environments) {
      const { code, stdout, stderr } = await user.run(['ls', ...file], { env: { ...env, COFFER_DEBUG: '1' } })
      expect(code).not.toBe(0)
      expect(stdout + stderr).not.toContain(broken)
    }
  })

  it('are missed with a word about where they may come from', async () => {
    const { user } = await withStore()
    const { code, stderr } = await user.run(['ls', ...file])
    expect(code).toBe(2)
    expect(stderr).toMatch(/COFFER_KEY.*--password-command.*--keyring.*--ask-passphrase/)
    expect((await user.run(['ls', ...file, '--ask-passphrase'])).stderr).toContain('not a terminal')
  })

  it("come from the system's keyring, where its package is installed", async () => {
    const user = new User()
    const missing = await user.run(['generate', 'v', '--keyring', 'coffer', '--write'])
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('npm i -g @napi-rs/keyring') })
    // As npm lays packages out, with a keyring that is a directory.
    const modules = user.path('lib', 'node_modules')
    mkdirSync(join(modules, 'coffer'), { recursive: true })
    for (const part of ['dist', 'package.json', 'native'])
      cpSync(join(root, part), join(modules, 'coffer', part), { recursive: true })
    for (const name of readdirSync(join(root, 'node_modules'))) {
      if (!name.startsWith('.') && name !== '@napi-rs')
        symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
    user.file(
      'lib/node_modules/@napi-rs/keyring/package.json',
      JSON.stringify({ name: '@napi-rs/keyring', type: 'module', exports: './index.js' }),
    )
    user.file(
      'lib/node_modules/@napi-rs/keyring/index.js',
      `import { existsSync, readFileSync, writeFileSync } from 'node:fs'
       export class Entry {
         constructor(service, account) { this.file = process.env.HOME + '/ring-' + service + '-' + account }
         getPassword() { return existsSync(this.file) ? readFileSync(this.file, 'utf8') : null }
         setPassword(secret) { writeFileSync(this.file, secret) }
       }`,
    )
    const main = join(modules, 'coffer/dist/cli/main.js')
    const run = (...args: string[]) => user.shell(`'${process.execPath}' '${main}' ${args.join(' ')}`)
    user.file('a', 'x')
    expect(run('generate', 'v', '--keyring', 'box', '--write', '--quiet')).toBe('')
    expect(user.read('.cofferrc')).toMatch(/^v:\n {2}type: bank\n {2}keyring: box\n {2}location: .*\n$/)
    expect(user.read('ring-box-v')).toMatch(/^coffer_key = \S+\nsecure_key = \S+\n$/)
    expect(run('add', 'a', '--quiet')).toBe('')
    expect(run('ls')).toBe('a\n')
    expect(run('generate', 'v', '--keyring', 'box')).toContain('already')
  })
})

describe.skipIf(python === null)('configurations of PyCoffer', () => {
  it.each(['bank', 'store', 'market'])('are read: a %s that PyCoffer generated and filled', async (type) => {
    const user = new User()
    user.file('a', 'from PyCoffer\n')
    user.file('b', 'from here\n')
    mkdirSync(user.path('dir'))
    user.file(
      'rc',
      pycoffer(user, 'generate', '-f', 'vault', '--type', type, '--location', user.path('dir'), '--backup', '.bak'),
    )
    pycoffer(user, 'add', '-c', 'rc', '-f', 'vault', '-s', 'a')
    const conf = ['-c', 'rc', '-f', 'vault']
    expect((await user.run(['ls', ...conf])).code).toBe(1)
    expect(await user.ok(['cat', 'a', '--legacy', ...conf])).toBe('from PyCoffer\n')
    expect((await user.run(['upgrade', ...conf])).stderr).toContain('upgraded')
    expect(readdirSync(user.path('dir'))).toContain('.vault.bak')
    await user.ok(['add', 'b', ...conf])
    // PyCoffer shows sizes in the coffer, and members in the order of the file.
    const names = pycoffer(user, 'ls', ...conf)
      .replaceAll(/ \d+$/gm, '')
      .trim()
      .split('\n')
    expect(names.sort()).toEqual(['a', 'b'])
  })

  it.each(['bank', 'store', 'market'])('are written: a %s that PyCoffer opens', async (type) => {
    const user = new User()
    user.file('a', 'from here\n')
    user.file('rc', await user.ok(['generate', 'vault', '--type', type, '--format', 'pycoffer', '--backup', '.bak']))
    await user.ok(['add', 'a', '-c', 'rc'])
    pycoffer(user, 'extract', '-c', 'rc', '-f', 'vault', '-p', 'out', '-i', 'a')
    expect(user.read('out/a')).toBe('from here\n')
    pycoffer(user, 'add', '-c', 'rc', '-f', 'vault', '-s', 'a', '-t', 'b')
    expect(await user.ok(['ls', '--legacy', '-c', 'rc'])).toBe('a\nb\n')
  })

  it('in INI inherit from DEFAULT, and get further sections in INI', async () => {
    const user = new User()
    user.file('a', 'x')
    const keys = CofferMarket.generateKeys()
    user.file(
      'rc',
      `[DEFAULT]\ntype = market\ndefault_coffer: two\n; a comment\n[one]\n[two]\nSecure_Key = ${keys.secureKey}\nlocation = ${user.path('m.coffer')}\n`,
    )
    await user.ok(['add', 'a', '-c', 'rc'])
    expect(await user.ok(['ls', '-c', 'rc'])).toBe('a\n')
    await user.ok(['generate', 'three', '--type', 'bank', '-c', 'rc', '--write'])
    const script =
      'from pycoffer.config import Config; c = Config("rc").coffer("three"); print(c["type"], len(c["coffer_key"]), len(c["secure_key"]))'
    expect(runPython(user, '-c', script)).toBe('bank 16 32\n')
    await user.ok(['add', 'a', '-c', 'rc', '-f', 'three'])
    expect(pycoffer(user, 'ls', '-c', 'rc', '-f', 'three')).toMatch(/^a \d+\n$/)
  })

  it('in YAML, as newer ones have them, are read with their binary keys', async () => {
    const user = new User()
    const { cofferKey, secureKey } = CofferBank.generateKeys({ cipher: 'aes-ocb' })
    user.file('a', 'x')
    const script = `
import base64, sys, yaml
key = lambda text: base64.urlsafe_b64decode(text + "==")
print(yaml.dump({
    "DEFAULT": {"backup": ".backup", "coffer": "confidential", "location": "~/", "hidden": "yes"},
    "confidential": {"name": "confidential", "type": "bank", "auth": "file", "coffer_key": key(sys.argv[1])[:16], "secure_key": key(sys.argv[2]), "location": "v.coffer"},
    "game": {"key": "45", "location": "Documents/game.coffer"},
    "fido": {"type": "bank", "auth": "fido", "fido_app": "pycoffer"},
}))`
    const text = runPython(user, '-c', script, cofferKey, secureKey)
    expect(text).toContain('!!binary |')
    user.file('rc', text)
    await user.ok(['add', 'a', '--conf', 'rc'])
    const bank = await CofferBank.open(user.path('v.coffer'), 'r', {
      cofferKey: Buffer.from(cofferKey, 'base64').subarray(0, 16),
      secureKey,
    })
    expect(await bank.has('a')).toBe(true)
    await bank.close()
    const fido = await user.run(['add', 'a', '--conf', 'rc', '-f', 'fido'])
    expect(fido).toMatchObject({ code: 2, stderr: expect.stringContaining('fido') })
  })

  it('in YAML are written with binary keys, which Python reads', async () => {
    const user = new User()
    user.file('rc', await user.ok(['generate', 'vault', '--cipher', 'aes-ocb', '--backup', '.bak']))
    const script = `
import yaml
c = yaml.safe_load(open("rc"))["vault"]
print(c["type"], type(c["coffer_key"]).__name__, len(c["coffer_key"]), len(c["secure_key"]), c["backup"], c["location"])`
    expect(runPython(user, '-c', script)).toBe(`bank bytes 16 32 .bak ${user.path('vault.coffer')}\n`)
    const read = readFileSync(user.path('rc'), 'utf8')
    writeFileSync(
      user.path('again'),
      runPython(user, '-c', 'import yaml; print(yaml.dump(yaml.safe_load(open("rc"))))'),
      { mode: 0o600 },
    )
    user.file('a', 'x')
    await user.ok(['add', 'a', '-c', 'rc'])
    expect(await user.ok(['ls', '-c', 'again'])).toBe('a\n')
    expect(read).toContain('coffer_key: !!binary')
  })
})
