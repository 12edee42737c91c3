import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { noise } from '../support/bytes.ts'
import { User } from '../support/cli.ts'
import * as coffer from '../support/coffer.ts'

/** A user with a coffer of a kind in the configuration. */
async function withCoffer(type = 'bank'): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--type', type, '--write'])
  return user
}

/** The same, with a few members in it. */
async function withMembers(type = 'bank'): Promise<User> {
  const user = await withCoffer(type)
  user.file('reports/may.txt', 'fine\n')
  user.file('reports/2019/old.txt', 'old\n')
  user.file('todo.md', 'buy milk\n')
  await user.ok(['add', 'reports', 'todo.md'])
  return user
}

const listed = async (user: User, ...args: string[]): Promise<string[]> =>
  (await user.ok(['ls', ...args])).split('\n').filter((line) => line !== '')

describe.each(['bank', 'store', 'market', 'null'])('a %s', (type) => {
  it('is generated, filled, listed, read, extracted, verified and compacted', async () => {
    const user = await withMembers(type)
    expect(await listed(user)).toEqual(['reports/2019/old.txt', 'reports/may.txt', 'todo.md'])
    expect(await user.ok(['cat', 'todo.md', 'reports/may.txt'])).toBe('buy milk\nfine\n')
    await user.ok(['extract', '--overwrite', '--to', 'out'])
    expect(user.read('out/reports/2019/old.txt')).toBe('old\n')
    expect(await user.ok(['verify'])).toMatch(/^all is well: 3 members/)
    await user.ok(['delete', 'todo.md', '--force'])
    await user.ok(['compact'])
    expect(await listed(user)).toEqual(['reports/2019/old.txt', 'reports/may.txt'])
  })
})

describe('ls', () => {
  it('takes names, directories and globs', async () => {
    const user = await withMembers()
    expect(await listed(user, '*.txt')).toEqual(['reports/2019/old.txt', 'reports/may.txt'])
    expect(await listed(user, 'reports/2019', 'todo.md')).toEqual(['reports/2019/old.txt', 'todo.md'])
    expect(await listed(user, 'reports/*')).toEqual(['reports/may.txt'])
    expect((await user.run(['ls', 'nothing', '*.txt'])).code).toBe(1)
  })

  it('shows permissions, sizes and times with -l', async () => {
    const user = await withCoffer()
    user.file('a', 'abc', 0o640)
    await user.ok(['add', 'a'])
    expect(await user.ok(['ls', '-l'])).toMatch(/^-rw-r-----\s+3\s+\d+\s+\d{4}-\d\d-\d\d \d\d:\d\d {2}a\n$/)
  })

  it('writes one JSON document, sizes as numbers and times as ISO 8601', async () => {
    const user = await withMembers()
    const [old] = JSON.parse(await user.ok(['ls', '--json'])) as { mtime: string }[]
    expect(old).toMatchObject({ name: 'reports/2019/old.txt', type: 'file', size: 4, mode: '0600' })
    expect(new Date(old?.mtime ?? '').toISOString()).toBe(old?.mtime)
  })

  it('writes names as they are to a pipe, and ends them with NUL if told', async () => {
    const user = await withCoffer('null')
    user.file('evil\u001b[31m\nname', 'x')
    await user.ok(['add', '.', '--as', 'd', '--file', 'other.coffer', '--type', 'null'])
    const names = await user.ok(['ls', '-0', 'd/evil*', '--file', 'other.coffer'].concat('--type', 'null'))
    expect(names).toBe('d/evil\u001b[31m\nname\0')
  })
})

describe('add', () => {
  it('adds all or nothing', async () => {
    const user = await withMembers()
    user.file('new', 'x')
    const { code, stderr } = await user.run(['add', 'new', 'not-there'])
    expect(code).toBe(1)
    expect(stderr).toContain('not-there')
    expect(await listed(user)).not.toContain('new')
  })

  it('replaces a member only if told', async () => {
    const user = await withMembers()
    user.file('todo.md', 'nothing left\n')
    expect((await user.run(['add', 'todo.md'])).code).toBe(1)
    expect(await user.ok(['cat', 'todo.md'])).toBe('buy milk\n')
    await user.ok(['add', 'todo.md', '--replace'])
    expect(await user.ok(['cat', 'todo.md'])).toBe('nothing left\n')
  })

  it('takes standard input, which needs a name', async () => {
    const user = await withCoffer()
    const data = noise(3_000_001, 'input')
    expect((await user.run(['add', '-'], { input: data })).code).toBe(2)
    await user.ok(['add', '-', '--as', 'from/input'], { input: data })
    await user.ok(['extract', 'from/input', '--overwrite'])
    expect(readFileSync(user.path('from/input')).equals(data)).toBe(true)
    expect((await user.run(['add', '-', '--as', 'from/input'], { input: 'x' })).code).toBe(1)
  })

  it("takes PyCoffer's -s and -t", async () => {
    const user = await withMembers()
    await user.ok(['add', '-s', 'todo.md', '-t', 'other.md'])
    expect(await user.ok(['cat', 'other.md'])).toBe('buy milk\n')
  })

  it('says what it has left out', async () => {
    const user = await withCoffer()
    mkdirSync(user.path('d'))
    symlinkSync('/etc', user.path('d/link'))
    writeFileSync(user.path('d/file'), 'x')
    const { stderr, code } = await user.run(['add', 'd'])
    expect(code).toBe(0)
    expect(stderr).toMatch(/left out .*d\/link/)
  })
})

describe('delete', () => {
  it('does not delete where nobody can be asked, unless forced', async () => {
    const user = await withMembers()
    const { code, stderr } = await user.run(['delete', 'todo.md'])
    expect(code).toBe(2)
    expect(stderr).toContain('--force')
    expect(await listed(user)).toContain('todo.md')
  })

  it('deletes a directory only with -r, and everything or nothing', async () => {
    const user = await withMembers()
    expect((await user.run(['delete', 'todo.md', 'reports', '--force'])).code).toBe(2)
    expect(await listed(user)).toHaveLength(3)
    expect((await user.run(['delete', 'todo.md', 'nothing', '--force'])).code).toBe(1)
    expect(await listed(user)).toHaveLength(3)
    await user.ok(['delete', '-r', 'reports', 'reports/2019', '--force'])
    expect(await listed(user)).toEqual(['todo.md'])
  })
})

describe('upgrade', () => {
  it('leaves a coffer of version 1 as it is', async () => {
    const user = await withMembers()
    const before = readFileSync(user.path('vault.coffer'))
    expect((await user.run(['upgrade'])).stderr).toContain('already')
    expect(readFileSync(user.path('vault.coffer')).equals(before)).toBe(true)
  })

  it('does not make a coffer', async () => {
    const user = await withCoffer()
    for (const command of ['upgrade', 'ls', 'verify', 'compact']) expect((await user.run([command])).code).toBe(1)
    expect(existsSync(user.path('vault.coffer'))).toBe(false)
  })
})

describe('export and import', () => {
  it('carry members, empty directories, permissions and times from one coffer to another', async () => {
    const user = await withMembers()
    mkdirSync(user.path('empty'))
    chmodSync(user.path('empty'), 0o700)
    await user.ok(['add', 'empty'])
    await user.ok(['generate', 'copy', '--type', 'store', '--write'])
    user.shell('coffer export --tar -f vault | coffer import --tar -f copy')
    const [from, to] = await Promise.all(
      ['vault', 'copy'].map(async (name) => JSON.parse(await user.ok(['ls', '--json', '-f', name])) as coffer.Member[]),
    )
    const essence = (members: coffer.Member[] = []) =>
      members.map(({ name, type, size, mode, mtime }) => ({ name, type, size, mode, mtime }))
    expect(essence(to)).toEqual(essence(from))
    expect(from).toHaveLength(4)
  })

  it('write what tar reads, and read what tar writes', async () => {
    const user = await withMembers()
    expect(user.shell('coffer export --tar reports | tar -xO -f - reports/may.txt')).toBe('fine\n')
    user.shell('ln -s todo.md link; tar -cf - todo.md link | coffer import --tar --prefix from/tar')
    expect(await listed(user, 'from')).toEqual(['from/tar/todo.md'])
  })

  it('store nothing of an archive that is damaged or names something outside', async () => {
    const user = await withMembers()
    user.shell('head -c 2000000 /dev/urandom > big; tar -cf big.tar todo.md big; head -c 1000000 big.tar > cut.tar')
    expect(await user.run(['import', '--tar', 'cut.tar', '--prefix', 'x'])).toMatchObject({ code: 4 })
    user.shell('tar -cf up.tar todo.md --transform "s,^,../," -P')
    expect(await user.run(['import', '--tar', 'up.tar'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('../todo.md'),
    })
    expect(await user.run(['import', '--tar'], { input: '' })).toMatchObject({ code: 4 })
    expect(await listed(user)).toHaveLength(3)
  })

  it('replace members only if told', async () => {
    const user = await withMembers()
    user.shell('echo new > todo.md; tar -cf t.tar todo.md')
    expect((await user.run(['import', '--tar', 't.tar'])).code).toBe(1)
    await user.ok(['import', '--tar', 't.tar', '--replace'])
    expect(await user.ok(['cat', 'todo.md'])).toBe('new\n')
  })
})

describe('check system', () => {
  it('says what there is, and that it works', async () => {
    const user = new User()
    const found = JSON.parse(await user.ok(['check', 'system', '--json'])) as Record<string, string>
    expect(found).toMatchObject({ node: process.version, openssl: 'not used', 'files and locks': 'work' })
  })
})

describe('exit codes', () => {
  it('are 2 for a command that is called wrongly', async () => {
    const user = await withCoffer()
    for (const args of [
      ['bogus'],
      ['ls', '--bogus'],
      ['cat'],
      ['add'],
      ['ls', '-f', 'nobody'],
      ['export'],
      ['ls', '--conf', 'nowhere'],
    ]) {
      expect([args, (await user.run(args)).code]).toEqual([args, 2])
    }
  })

  it('are 1, 3, 4 and 5 for failure, a wrong key, damage and a lock', async () => {
    const user = await withMembers('store')
    expect((await user.run(['cat', 'nothing'])).code).toBe(1)
    const { cofferKey } = coffer.CofferStore.generateKeys()
    expect((await user.run(['ls'], { env: { COFFER_KEY: cofferKey } })).code).toBe(3)
    const [, key = ''] = /coffer_key: !!binary "(.*)"/.exec(user.read('.cofferrc')) ?? []
    const holder = await coffer.CofferStore.open(user.path('vault.coffer'), 'a', { cofferKey: key })
    expect((await user.run(['ls', '--lock-timeout', '0'])).code).toBe(5)
    await holder.close()
    const bytes = readFileSync(user.path('vault.coffer'))
    const middle = Math.floor(bytes.length / 2)
    for (let at = middle; at < middle + 200; at += 1) bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(user.path('vault.coffer'), bytes)
    expect((await user.run(['verify'])).code).toBe(4)
  })

  it('come with a message on standard error and nothing on standard output', async () => {
    const user = await withCoffer()
    const { stdout, stderr } = await user.run(['ls', '-f', 'nobody'])
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^coffer: .*has no coffer nobody: it has vault\n$/)
    const json = await user.run(['ls', '-f', 'nobody', '--json'])
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'ERR_COFFER_INVALID_ARG' } })
    expect(stderr).not.toContain('    at ')
  })
})

describe('standard output', () => {
  it('may be closed early without a word', async () => {
    const user = await withCoffer('store')
    mkdirSync(user.path('many'))
    for (let index = 0; index < 6000; index += 1) writeFileSync(user.path('many', `${'n'.repeat(90)}${index}`), '')
    await user.ok(['add', 'many'])
    expect(user.shell('coffer ls | head -n 1')).toBe(`many/${'n'.repeat(90)}0\n`)
  })

  it('has no colours unless told', async () => {
    const user = await withCoffer()
    mkdirSync(user.path('empty'))
    await user.ok(['add', 'empty'])
    expect(await user.ok(['ls'])).toBe('empty/\n')
    expect(await user.ok(['ls'], { env: { FORCE_COLOR: '1' } })).toBe('\u001b[34mempty/\u001b[39m\n')
    expect(await user.ok(['ls'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).toBe('empty/\n')
  })

  it('is all there, although it is read slowly', async () => {
    const user = await withCoffer()
    const data = noise(5_000_000, 'slow')
    writeFileSync(user.path('big'), data)
    await user.ok(['add', 'big'])
    user.shell('coffer cat big | (sleep 1; cat) > copy')
    expect(statSync(user.path('copy')).size).toBe(data.length)
    expect(readFileSync(user.path('copy')).equals(data)).toBe(true)
  })

  it('is quiet about what was done with --quiet', async () => {
    const user = await withCoffer()
    user.file('a', 'x')
    expect((await user.run(['add', 'a'])).stderr).toBe('coffer: added 1 file, 1 B\n')
    expect((await user.run(['add', 'a', '--replace', '--quiet'])).stderr).toBe('')
  })
})
