import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from '../support/bytes.ts'
import { User } from '../support/cli.ts'
import { posix } from '../support/platform.ts'

const main = join(import.meta.dirname, '../../dist/cli/main.js')
const isRoot = process.getuid?.() === 0

async function withCoffer(type = 'bank'): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--type', type, '--write'])
  return user
}

describe('decrypt from standard input', () => {
  it('leaves the target as it is when its input is cut short or is none, and takes it when all is authentic', async () => {
    const user = await withCoffer()
    const data = noise(6_000_000)
    writeFileSync(user.path('clear'), data)
    await user.ok(['add', 'clear'])
    await user.ok(['crypt', 'clear', 'sealed'])
    user.file('keep.bin', 'precious')
    const before = readdirSync(user.home).sort()
    for (const input of ['head -c 5000000 sealed', 'printf hello', 'true']) {
      const said = user.shell(`${input} | coffer decrypt - keep.bin --overwrite; echo $?`)
      expect(said.endsWith('\n4\n'), said).toBe(true)
      expect(user.read('keep.bin')).toBe('precious')
      expect(readdirSync(user.home).sort()).toEqual(before)
    }
    expect(
      user.shell('coffer decrypt - keep.bin --overwrite < sealed 2>&1; cmp clear keep.bin && echo same'),
    ).toContain('same')
    expect(user.shell('coffer crypt - new < clear; coffer decrypt new - | cmp - clear && echo same')).toContain('same')
    if (posix) expect(statSync(user.path('new')).mode & 0o777).toBe(0o600)
  })
})

describe.skipIf(!posix)('add', () => {
  it('reads pipes, and refuses what has no bytes and no name', async () => {
    const user = await withCoffer('null')
    expect(user.shell('coffer add <(printf piped) --as p; coffer cat p')).toContain('piped')
    expect((await user.run(['add', '/dev/null', '--as', 'x'])).code).toBe(2)
    expect(user.shell('coffer add <(printf piped); echo $?')).toMatch(/--as.*\n2\n$/s)
  })

  it('that waits for a pipe ends at the first SIGTERM', async () => {
    const user = await withCoffer('null')
    expect(spawnSync('mkfifo', [user.path('fifo')]).status).toBe(0)
    const env = { ...process.env, HOME: user.home }
    const child = spawn(process.execPath, [main, 'add', 'fifo'], { cwd: user.home, env })
    // It waits once it has opened the coffer.
    await expect
      .poll(() => existsSync(user.path('vault.coffer.lock')) || readdirSync(user.home).join(), { timeout: 30_000 })
      .toBeTruthy()
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    child.kill('SIGTERM')
    expect(await once(child, 'close')).toEqual([143, null])
  }, 60_000)
})

describe('rsync', () => {
  it('leaves out what the patterns of .gitignore mean, and says what it could not see', async () => {
    const user = await withCoffer('null')
    for (const name of [
      'src/a.ts',
      'src/node_modules/x',
      'node_modules/y',
      'build/z',
      'src/build/w',
      'a.tmp',
      'src/b.tmp',
    ])
      user.file(`tree/${name}`, name)
    const args = ['--exclude', 'node_modules/', '--exclude', '/build', '--exclude', '*.tmp']
    await user.ok(['rsync', 'push', 'tree', 'tree', ...args])
    expect((await user.ok(['ls'])).split('\n').filter(Boolean)).toEqual(['tree/src/a.ts', 'tree/src/build/w'])
    expect((await user.run(['rsync', 'push', 'tree', 'tree', '--exclude', '*.{ts,js}'])).code).toBe(2)
    if (!posix) return
    symlinkSync('src', user.path('tree/src/self'))
    symlinkSync('loop', user.path('tree/loop'))
    const { code, stderr } = await user.run(['rsync', 'push', 'tree', 'tree', '--delete'])
    expect(code).toBe(1)
    expect(stderr).toContain('loop')
  })
})

describe.skipIf(!posix)('extract', () => {
  it('finishes where the system refuses a mode, warns, and ends with 1', async () => {
    const user = await withCoffer('null')
    mkdirSync(user.path('tree/shared'), { recursive: true })
    await user.ok(['add', 'tree', '--as', '.'])
    user.file('b', 'x')
    await user.ok(['add', 'b'])
    // A directory of another user's that everybody may write to.
    mkdirSync(user.path('out/shared'), { recursive: true })
    if (!isRoot) return
    chmodSync(user.path('out/shared'), 0o777)
    for (const path of [user.home, user.path('out')]) chownSync(path, 65_534, 65_534)
    spawnSync('chown', ['-R', '65534:65534', user.path('.config'), user.path('vault.coffer'), user.path('tree')])
    const coffer = readdirSync(user.home).filter((name) => name.endsWith('.coffer') || name.startsWith('.'))
    for (const name of coffer) spawnSync('chown', ['-R', '65534:65534', user.path(name)])
    const child = spawn(process.execPath, [main, 'extract', '--to', 'out', '--preserve'], {
      ...{ cwd: user.home, env: { ...process.env, HOME: user.home }, uid: 65_534, gid: 65_534 },
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, said }).toMatchObject({ code: 1, said: expect.stringContaining('shared') as string })
    expect(user.read('out/b')).toBe('x')
  })
})
