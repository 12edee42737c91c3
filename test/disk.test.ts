import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { CofferNull, CofferStore, identify } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

const posix = process.platform !== 'win32'
/** Only the superuser may start a process of another user. */
const superuser = process.getuid?.() === 0
const linux = process.platform === 'linux'
/** A user and a group that no account has. */
const STRANGER = 54321

/** A directory that the stranger may write to, as a member of its group. */
function shared(): string {
  const directory = join(tempDir(), 'shared')
  mkdirSync(directory)
  chownSync(directory, 0, STRANGER)
  chmodSync(directory, 0o770)
  chmodSync(join(directory, '..'), 0o711)
  return directory
}

describe.skipIf(!posix)('what is no regular file', () => {
  it('is refused at once in every mode, whatever lockTimeout says, and leaves no lock file', async () => {
    const directory = tempDir()
    const at = (name: string): string => join(directory, name)
    expect(spawnSync('mkfifo', [at('pipe')]).status).toBe(0)
    mkdirSync(at('directory'))
    symlinkSync('pipe', at('link'))
    const server = createServer()
    onTestFinished(() => void server.close())
    await new Promise<void>((resolve) => server.listen(at('socket'), resolve))
    for (const path of [at('pipe'), at('link'), at('directory'), at('socket'), '/dev/null']) {
      const refused = { name: 'CofferError', code: 'ERR_COFFER_INVALID_ARG', path }
      for (const mode of ['r', 'w', 'a', 'x'] as const) {
        for (const lock of ['rw', 'none'] as const) {
          await expect(CofferNull.open(path, mode, { lock, lockTimeout: 60_000 })).rejects.toMatchObject(refused)
        }
      }
      await expect(CofferNull.salvage(path, at('salvaged'))).rejects.toMatchObject(refused)
      if (path !== at('directory')) expect(await identify(path)).toEqual({ format: 'unknown' })
      expect([existsSync(`${path}.lock`), existsSync(at('salvaged'))]).toEqual([false, false])
    }
  })
})

describe.skipIf(!posix)('a link to nothing', () => {
  it.each(['w', 'a', 'x'] as const)('is where "%s" makes the coffer that it points to', async (mode) => {
    const directory = tempDir()
    const [link, real] = [join(directory, 'link.coffer'), join(directory, 'real.coffer')]
    symlinkSync('real.coffer', link)
    const box = await CofferNull.open(link, mode)
    await box.write('a', 'contents')
    await box.close()
    await using again = await CofferNull.open(real, 'r')
    expect(await again.readText('a')).toBe('contents')
  })
})

describe.skipIf(!superuser)('a coffer of another user', () => {
  it('that cannot keep its owner when it is rewritten says so, and one that can does not', async () => {
    const directory = shared()
    const path = join(directory, 'box.coffer')
    await (await CofferNull.open(path, 'x')).close()
    chownSync(path, 0, STRANGER)
    chmodSync(path, 0o660)
    // Gives the lock file the same.
    await (await CofferNull.open(path, 'r')).close()
    type Notices = readonly { code: string; message: string }[]
    const rewrite: Body<{ path: string }, Notices[]> = async ({ coffer }, { path }) => {
      const box = await coffer.CofferNull.open(path, 'a', { backup: '.bak' })
      const notices = [box.notices]
      await box.write('a', 'contents')
      notices.push(box.notices)
      await box.compact()
      notices.push(box.notices)
      await box.compact()
      notices.push(box.notices)
      await box.close()
      return notices
    }
    const child = startChild(rewrite, { path }, { uid: STRANGER })
    const notices = await child.result
    expect(notices.map((some) => some.map(({ code }) => code))).toEqual([
      [],
      ['owner'],
      ['owner', 'owner'],
      ['owner', 'owner'],
    ])
    expect(notices[1]?.[0]?.message).toContain(`${path}.bak`)
    expect(notices[2]?.[1]?.message).toMatch(/user 0 .*user 54321 /)
    const found = statSync(path)
    expect([found.uid, found.gid, found.mode & 0o777]).toEqual([STRANGER, STRANGER, 0o660])
    await using box = await CofferNull.open(path, 'w')
    expect([statSync(path).uid, box.notices]).toEqual([STRANGER, []])
  })

  it('can be locked by those alone who may open it; a reader who may not yet open the lock file does without', async () => {
    const directory = shared()
    const path = join(directory, 'box.coffer')
    await (await CofferNull.open(path, 'x')).close()
    expect(statSync(`${path}.lock`).mode & 0o777).toBe(0o600)
    chownSync(path, 0, STRANGER)
    chmodSync(path, 0o640)
    type Tried = Record<'r' | 'a', string>
    const open: Body<{ path: string }, Tried> = async ({ coffer }, { path }) => {
      const tried: Partial<Tried> = {}
      for (const mode of ['r', 'a'] as const) {
        tried[mode] = await coffer.CofferNull.open(path, mode).then(
          async (box) => box.close().then(() => 'done'),
          (error: { code: string; message: string }) => `${error.code} ${error.message}`,
        )
      }
      return tried as Tried
    }
    const stranger = async (): Promise<Tried> => startChild(open, { path }, { uid: STRANGER }).result
    const refused = expect.stringMatching(/^ERR_COFFER_IO .*\.lock.*owner, group and permissions/) as string
    expect(await stranger()).toEqual({ r: 'done', a: refused })
    // The owner's next opening gives the lock file the permissions that the coffer has now.
    await (await CofferNull.open(path, 'r')).close()
    const lock = statSync(`${path}.lock`)
    expect([lock.uid, lock.gid, lock.mode & 0o777]).toEqual([0, STRANGER, 0o640])
  })
})

describe.skipIf(!superuser || !linux)('without a thread to be had', () => {
  it('calls that need one fail, none runs on JavaScript’s thread, and later they work', async () => {
    const directory = shared()
    const path = join(directory, 'box.coffer')
    const work: Body<{ path: string }, void> = async ({ coffer, say, hear }, { path }) => {
      const code = async (call: Promise<unknown>): Promise<string> =>
        call.then(
          () => 'done',
          (error: { code: string; message: string }) => `${error.code} ${error.message}`,
        )
      const calls = async (): Promise<string[]> => [
        await code(coffer.CofferNull.open(`${path}.2`, 'a').then(async (box) => box.close())),
        await code(coffer.identify(path)),
        await code(coffer.CofferNull.salvage(path, `${path}.salvaged`)),
      ]
      const box = await coffer.CofferNull.open(path, 'x')
      await say('open')
      await hear()
      await say([...(await calls()), await code(box.close())])
      await hear()
      await say([...(await calls()), await code(box.close())])
    }
    const child = startChild(work, { path }, { uid: STRANGER })
    expect(await child.heard()).toBe('open')
    const limit = (...args: string[]): string => {
      const user = { uid: STRANGER, gid: STRANGER }
      const { status, stdout, stderr } = spawnSync('prlimit', ['--pid', String(child.pid), ...args], user)
      expect([status, stderr.toString()]).toEqual([0, ''])
      return stdout.toString().trim()
    }
    const before = limit('--nproc', '--raw', '--noheadings', '--output', 'HARD')
    limit('--nproc=1:')
    child.say('go on')
    for (const answer of (await child.heard()) as string[]) {
      expect(answer).toMatch(/^ERR_COFFER_IO the system has no thread left/)
    }
    limit(`--nproc=${before}:`)
    child.say('go on')
    expect(await child.heard()).toEqual(['done', 'done', expect.stringMatching(/^ERR_COFFER_LOCKED|^done/), 'done'])
    await child.result
  })
})

describe('maxKdfMemory', () => {
  const passphrase = 'anvil mosaic turnip lantern'
  const kdf = { memory: 32 * 2 ** 20, passes: 2 }

  it('refuses a file that asks for more, before anything is derived', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferStore.open(path, 'x', { passphrase, kdf })
    await box.write('a', noise(100))
    await box.close()
    const more = { code: 'ERR_COFFER_LIMIT', message: expect.stringContaining('maxKdfMemory') as string }
    for (const maxKdfMemory of [19 * 2 ** 20, kdf.memory - 1]) {
      for (const mode of ['r', 'a'] as const) {
        await expect(CofferStore.open(path, mode, { passphrase, maxKdfMemory })).rejects.toMatchObject(more)
      }
      await expect(CofferStore.salvage(path, `${path}.new`, { passphrase, maxKdfMemory })).rejects.toMatchObject(more)
    }
    for (const maxKdfMemory of [kdf.memory, 2 ** 30]) {
      await (await CofferStore.open(path, 'r', { passphrase, maxKdfMemory })).close()
    }
  })

  it('is from 19 MiB to 1 GiB', async () => {
    for (const maxKdfMemory of [0, 19 * 2 ** 20 - 1, 2 ** 30 + 1, Number.NaN]) {
      const opening = CofferStore.open(join(tempDir(), 'box.coffer'), 'x', { passphrase, maxKdfMemory })
      await expect(opening).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })
})
