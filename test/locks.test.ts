import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Body, startChild } from './support/child.ts'
import { CofferError, CofferNull } from './support/coffer.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

interface Hold {
  readonly path: string
  readonly mode: 'r' | 'a'
}

/** Opens a coffer, says so, and closes it when told to. */
const hold: Body<Hold, void> = async ({ coffer, say, hear }, { path, mode }) => {
  const box = await coffer.CofferNull.open(path, mode)
  await say('held')
  await hear()
  await box.close()
}

async function made(directory = tempDir()): Promise<string> {
  const path = join(directory, 'box.coffer')
  const box = await CofferNull.open(path, 'x')
  await box.write('member', 'contents')
  await box.close()
  return path
}

const locked = { name: 'CofferError', code: 'ERR_COFFER_LOCKED' }

describe('a lock', () => {
  it.each([
    ['a', 'a'],
    ['a', 'r'],
    ['r', 'a'],
    ['a', 'w'],
    ['r', 'w'],
  ] as const)('keeps "%s" and "%s" apart in one process, and the error names the file', async (first, second) => {
    const path = await made()
    await using holder = await CofferNull.open(path, first)
    await expect(CofferNull.open(path, second, { lockTimeout: 50 })).rejects.toMatchObject({ ...locked, path })
    const error = await CofferNull.open(path, second, { lockTimeout: 0 }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CofferError)
    expect((error as CofferError).message).toContain(path)
    expect(await holder.readText('member')).toBe('contents')
  })

  it.each([
    ['a', 'a'],
    ['a', 'r'],
    ['r', 'a'],
  ] as const)('keeps "%s" in another process and "%s" in this one apart', async (theirs, ours) => {
    const path = await made()
    const child = startChild(hold, { path, mode: theirs })
    await child.heard()
    await expect(CofferNull.open(path, ours, { lockTimeout: 100 })).rejects.toMatchObject({ ...locked, path })
    child.say('let go')
    await child.result
    await (await CofferNull.open(path, ours, { lockTimeout: 0 })).close()
  })

  it('is shared by readers, in one process and in two', async () => {
    const path = await made()
    const child = startChild(hold, { path, mode: 'r' })
    await child.heard()
    await using one = await CofferNull.open(path, 'r', { lockTimeout: 0 })
    await using two = await CofferNull.open(path, 'r', { lockTimeout: 0 })
    expect(await one.readText('member')).toBe('contents')
    expect(await two.readText('member')).toBe('contents')
    child.say('let go')
    await child.result
  })

  it('is waited for until lockTimeout has passed', async () => {
    const path = await made()
    const holder = await CofferNull.open(path, 'a')
    const waiting = CofferNull.open(path, 'a', { lockTimeout: 10_000 })
    await sleep(150)
    await holder.close()
    await (await waiting).close()
  })

  it('is free again after close, after a failed open, and after a closed handle was closed again', async () => {
    const path = await made()
    const box = await CofferNull.open(path, 'a')
    await box.close()
    await box.close()
    await expect(openKind(kindOf('store'), path, 'a', keysFor(kindOf('store')))).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KIND',
    })
    await expect(CofferNull.open(path, 'x')).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS' })
    await (await CofferNull.open(path, 'a', { lockTimeout: 0 })).close()
  })

  it('dies with a killed holder', async () => {
    const path = await made()
    const child = startChild(hold, { path, mode: 'a' })
    await child.heard()
    await expect(CofferNull.open(path, 'a', { lockTimeout: 0 })).rejects.toMatchObject(locked)
    await child.kill()
    await using box = await CofferNull.open(path, 'a', { lockTimeout: 0 })
    expect(await box.readText('member')).toBe('contents')
  })

  it('is not taken by readers with lock "w", while writers still exclude each other', async () => {
    const path = await made()
    await using writer = await CofferNull.open(path, 'a', { lock: 'w' })
    await using reader = await CofferNull.open(path, 'r', { lock: 'w', lockTimeout: 0 })
    expect(await reader.readText('member')).toBe('contents')
    await expect(CofferNull.open(path, 'a', { lock: 'w', lockTimeout: 0 })).rejects.toMatchObject(locked)
    await writer.write('another', 'x')
  })

  it('is not taken at all with lock "none", and leaves no lock file', async () => {
    const path = join(tempDir(), 'box.coffer')
    await using one = await CofferNull.open(path, 'x', { lock: 'none' })
    await one.write('member', 'contents')
    await one.flush()
    await using two = await CofferNull.open(path, 'r', { lock: 'none', lockTimeout: 0 })
    expect(await two.readText('member')).toBe('contents')
    expect(existsSync(`${path}.lock`)).toBe(false)
  })

  it('keeps its file: closing does not unlink it', async () => {
    const path = await made()
    expect(existsSync(`${path}.lock`)).toBe(true)
  })

  it.skipIf(!posix)('is taken on the coffer alone by a reader that cannot write to the directory', async () => {
    const directory = join(tempDir(), 'sealed off')
    mkdirSync(directory)
    const path = await made(directory)
    rmSync(`${path}.lock`)
    chmodSync(path, 0o444)
    chmodSync(directory, 0o555)
    chmodSync(join(directory, '..'), 0o755)
    const asNobody = process.getuid?.() === 0 ? { uid: 65_534 } : {}
    const child = startChild(hold, { path, mode: 'r' }, asNobody)
    await child.heard()
    expect(existsSync(`${path}.lock`)).toBe(false)
    chmodSync(directory, 0o755)
    chmodSync(path, 0o644)
    await expect(CofferNull.open(path, 'a', { lockTimeout: 0 })).rejects.toMatchObject(locked)
    child.say('let go')
    await child.result
  })
})

// Where that is possible.
describe.skipIf(!posix)('a lock file that is unlinked under its holder', () => {
  it('lets no second writer in, and stops the first at its next commit', async () => {
    const path = await made()
    const first = await CofferNull.open(path, 'a')
    rmSync(`${path}.lock`)
    await expect(CofferNull.open(path, 'a', { lockTimeout: 50 })).rejects.toMatchObject(locked)
    await first.write('unsafe', 'x').catch(() => {})
    await expect(first.flush()).rejects.toMatchObject({ code: 'ERR_COFFER_POISONED', path })
    await first.close().catch(() => {})
    await using second = await CofferNull.open(path, 'a', { lockTimeout: 0 })
    expect((await second.members()).map((member) => member.name)).toEqual(['member'])
  })

  it('while it is opened is taken again', async () => {
    const path = await made()
    const first = await CofferNull.open(path, 'a')
    rmSync(`${path}.lock`)
    const opening = CofferNull.open(path, 'a', { lockTimeout: 20_000, autoFlush: true })
    // It has a lock file of its own, and waits for the coffer itself.
    await vi.waitFor(() => expect(existsSync(`${path}.lock`)).toBe(true))
    await sleep(20)
    rmSync(`${path}.lock`)
    await first.close()
    await using second = await opening
    expect(existsSync(`${path}.lock`)).toBe(true)
    await second.write('safe', 'x')
  })

  it('never lets two writers change the coffer at once', { timeout: 120_000 }, async () => {
    const path = await made()
    /** Appends a line a commit; returns the lines whose commit was acknowledged. */
    const append: Body<{ path: string; me: number; rounds: number }, string[]> = async (
      { coffer },
      { path, me, rounds },
    ) => {
      const acknowledged: string[] = []
      for (let round = 0; round < rounds; round += 1) {
        try {
          const box = await coffer.CofferNull.open(path, 'a', { lockTimeout: 20_000, durability: 'none' })
          try {
            const line = `${me}/${round}\n`
            await box.append('log', line)
            await box.flush()
            acknowledged.push(line)
          } finally {
            await box.close()
          }
        } catch (error) {
          const { code } = error as { code?: string }
          if (code !== 'ERR_COFFER_POISONED' && code !== 'ERR_COFFER_LOCKED') throw error
        }
      }
      return acknowledged
    }
    const children = [0, 1, 2, 3].map((me) => startChild(append, { path, me, rounds: 40 }))
    let running = true
    const unlinking = (async () => {
      while (running) {
        rmSync(`${path}.lock`, { force: true })
        await sleep(3)
      }
    })()
    const acknowledged = (await Promise.all(children.map(async (child) => child.result))).flat()
    running = false
    await unlinking
    await using box = await CofferNull.open(path, 'r')
    const log = await box.readText('log')
    const counted = new Map<string, number>()
    for (const line of log.split('\n').slice(0, -1)) counted.set(`${line}\n`, (counted.get(`${line}\n`) ?? 0) + 1)
    expect(acknowledged.length).toBeGreaterThan(0)
    expect(acknowledged.filter((line) => counted.get(line) !== 1)).toEqual([])
    await expect(box.verify()).resolves.toBeDefined()
  })
})

describe.skipIf(python === null)('a PyCoffer process', () => {
  const kind = kindOf('store')
  let pycoffer: PyCoffer

  beforeAll(() => {
    pycoffer = new PyCoffer()
  })
  afterAll(async () => {
    await pycoffer.end()
  })

  it.each(['r', 'a', 'w'] as const)(
    'that holds the lock keeps "%s" here out, and lets it in afterwards',
    async (mode) => {
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      await (await openKind(kind, path, 'x', keys)).close()
      await pycoffer.open('holder', 'store', path, 'r', keys)
      await expect(openKind(kind, path, mode, keys, { lockTimeout: 100 })).rejects.toMatchObject({ ...locked, path })
      await pycoffer.close('holder')
      await (await openKind(kind, path, mode, keys)).close()
    },
  )

  it.each(['r', 'a', 'w'] as const)('is kept out by "%s" here, and let in afterwards', async (mode) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'x', keys)).close()
    const box = await openKind(kind, path, mode, keys)
    await expect(pycoffer.open('waiter', 'store', path, 'r', keys, { lock_timeout: 0.1 })).rejects.toMatchObject({
      type: 'Timeout',
    })
    await box.close()
    await pycoffer.open('waiter', 'store', path, 'r', keys, { lock_timeout: 0.1 })
    await pycoffer.close('waiter')
  })

  it('that is killed lets this one in', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'x', keys)).close()
    const doomed = new PyCoffer(tempDir())
    await doomed.open('holder', 'store', path, 'r', keys)
    await expect(openKind(kind, path, 'a', keys, { lockTimeout: 0 })).rejects.toMatchObject(locked)
    doomed.kill()
    await (await openKind(kind, path, 'a', keys, { lockTimeout: 10_000 })).close()
  })

  it('that gets in by an unlinked lock file is not written over', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('ours', 'first')
    await box.flush()
    rmSync(`${path}.lock`)
    await pycoffer.open('intruder', 'store', path, 'a', keys)
    await box.write('ours', 'second').catch(() => {})
    await expect(box.flush()).rejects.toMatchObject({ code: 'ERR_COFFER_POISONED' })
    await box.close().catch(() => {})
    await pycoffer.write('intruder', 'theirs', Buffer.from('theirs'))
    await pycoffer.close('intruder')
    expect(Object.keys(await pycoffer.list('store', path, keys)).sort()).toEqual(['ours', 'theirs'])
  })
})
