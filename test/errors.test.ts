import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { CofferBank, CofferError, CofferMarket, CofferNull, CofferStore, type ErrorCode } from './support/coffer.ts'
import { flipped, headerMarks, lastRecord } from './support/format.ts'
import { keyedKinds, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'

/** One way to reach each code: a call that fails with it, and what it is about. */
interface Case {
  readonly code: ErrorCode
  readonly fail: (directory: string) => Promise<unknown>
  readonly path?: string
  readonly member?: string
}

async function boxed(directory: string): Promise<string> {
  const path = join(directory, 'box.coffer')
  const box = await CofferNull.open(path, 'x')
  await box.write('member', noise(1_000))
  await box.close()
  return path
}

const cases: readonly Case[] = [
  {
    code: 'ERR_COFFER_LOCKED',
    path: 'box.coffer',
    fail: async (directory) => {
      await using _ = await CofferNull.open(await boxed(directory), 'a')
      return await CofferNull.open(join(directory, 'box.coffer'), 'a', { lockTimeout: 0 })
    },
  },
  {
    code: 'ERR_COFFER_EXISTS',
    path: 'box.coffer',
    fail: async (directory) => CofferNull.open(await boxed(directory), 'x'),
  },
  {
    code: 'ERR_COFFER_NOT_FOUND',
    path: 'missing',
    fail: async (directory) => CofferNull.open(join(directory, 'missing'), 'r'),
  },
  {
    code: 'ERR_COFFER_MEMBER_EXISTS',
    path: 'box.coffer',
    member: 'member',
    fail: async (directory) => {
      await using box = await CofferNull.open(await boxed(directory), 'a')
      writeFileSync(join(directory, 'file'), 'x')
      return await box.add(join(directory, 'file'), 'member', { replace: false })
    },
  },
  {
    code: 'ERR_COFFER_MEMBER_NOT_FOUND',
    path: 'box.coffer',
    member: 'other',
    fail: async (directory) => {
      await using box = await CofferNull.open(await boxed(directory), 'r')
      return await box.read('other')
    },
  },
  {
    code: 'ERR_COFFER_WRONG_KEY',
    path: 'store',
    fail: async (directory) => {
      const path = join(directory, 'store')
      await (await CofferStore.open(path, 'x', CofferStore.generateKeys())).close()
      return CofferStore.open(path, 'r', CofferStore.generateKeys())
    },
  },
  {
    code: 'ERR_COFFER_WRONG_KIND',
    path: 'box.coffer',
    fail: async (directory) => CofferMarket.open(await boxed(directory), 'r', CofferMarket.generateKeys()),
  },
  {
    code: 'ERR_COFFER_CORRUPT',
    path: 'box.coffer',
    member: 'member',
    fail: async (directory) => {
      const path = await boxed(directory)
      const file = readFileSync(path)
      writeFileSync(path, flipped(file, file.indexOf(noise(1_000).subarray(0, 32)) + 7))
      await using box = await CofferNull.open(path, 'r')
      return await box.read('member')
    },
  },
  {
    code: 'ERR_COFFER_LEGACY',
    path: 'null.pycoffer',
    fail: async (directory) => {
      const path = join(directory, 'null.pycoffer')
      writeFileSync(path, readFileSync(new URL('./fixtures/null.pycoffer', import.meta.url)))
      return CofferNull.open(path, 'r')
    },
  },
  {
    code: 'ERR_COFFER_VERSION',
    path: 'box.coffer',
    fail: async (directory) => {
      const path = await boxed(directory)
      const file = readFileSync(path)
      for (const mark of headerMarks(file, 'header')) file.writeUInt8(9, mark + 4)
      writeFileSync(path, file)
      return CofferNull.open(path, 'r')
    },
  },
  {
    code: 'ERR_COFFER_CLOSED',
    path: 'box.coffer',
    fail: async (directory) => {
      const box = await CofferNull.open(await boxed(directory), 'r')
      await box.close()
      return box.read('member')
    },
  },
  {
    code: 'ERR_COFFER_READ_ONLY',
    path: 'box.coffer',
    fail: async (directory) => {
      await using box = await CofferNull.open(await boxed(directory), 'r')
      return await box.write('member', 'x')
    },
  },
  {
    code: 'ERR_COFFER_UNSAFE_PATH',
    member: 'a',
    fail: async (directory) => {
      await using box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
      await box.write('a/b', 'x')
      mkdirSync(join(directory, 'out'))
      symlinkSync(directory, join(directory, 'out/a'))
      return await box.extractAll(join(directory, 'out'))
    },
  },
  {
    code: 'ERR_COFFER_STALE',
    path: 'box.coffer',
    member: 'member',
    fail: async (directory) => {
      const path = await boxed(directory)
      await using reader = await CofferNull.open(path, 'r', { lock: 'w' })
      await using writer = await CofferNull.open(path, 'a', { lock: 'w' })
      await writer.write('member', 'replaced')
      await writer.flush()
      return await reader.read('member')
    },
  },
  {
    code: 'ERR_COFFER_POISONED',
    path: 'box.coffer',
    fail: async (directory) => {
      const box = await CofferNull.open(await boxed(directory), 'a')
      rmSync(`${box.path}.lock`)
      await box.write('member', 'x').catch(() => {})
      await box.flush().catch(() => {})
      try {
        return await box.flush()
      } finally {
        await box.close().catch(() => {})
      }
    },
  },
  {
    code: 'ERR_COFFER_IO',
    fail: async (directory) => CofferNull.open(join(await boxed(directory), 'below a file'), 'r'),
  },
  {
    code: 'ERR_COFFER_INVALID_ARG',
    fail: async () => CofferNull.open('anywhere', 'rw' as 'r'),
  },
]

/** Where a lock file cannot be removed while it is held, and what is below a file is merely not there. */
const needPosix = new Set(['ERR_COFFER_POISONED', 'ERR_COFFER_IO'])

describe('every code can be reached', () => {
  it.each(cases.filter(({ code }) => posix || !needPosix.has(code)))('$code', async ({ code, path, member, fail }) => {
    const directory = tempDir()
    const error = await fail(directory).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(CofferError)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'CofferError', code })
    const { message, stack } = error as CofferError
    expect(message.length).toBeGreaterThan(20)
    expect(stack).toContain(message)
    if (path !== undefined) expect(error).toMatchObject({ path: join(directory, path) })
    if (member !== undefined) expect(error).toMatchObject({ member })
  })

  it('ERR_COFFER_LIMIT', async () => {
    // A container that cannot be larger than the address space of its piece sizes: reached by options.
    const box = CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { blockSize: 4_294_967_295 })
    await expect(box).rejects.toMatchObject({ code: /ERR_COFFER_(LIMIT|INVALID_ARG)/ })
  })

  it.skipIf(!posix)('ERR_COFFER_IO has the number and the call of the system', async () => {
    const path = join(await boxed(tempDir()), 'below a file')
    const error = await CofferNull.open(path, 'x').catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      errno: -20,
      systemCode: 'ENOTDIR',
      syscall: expect.any(String) as string,
      path,
    })
  })

  it.skipIf(!posix)('ERR_COFFER_IO where the system refuses', async () => {
    const directory = join(tempDir(), 'closed')
    mkdirSync(directory)
    const path = await boxed(directory)
    chmodSync(path, 0o000)
    chmodSync(join(directory, '..'), 0o755)
    const body: Body<{ path: string }, { code?: string; errno?: number }> = async ({ coffer }, { path }) => {
      try {
        await coffer.CofferNull.open(path, 'r')
        return {}
      } catch (error) {
        const { code, errno } = error as { code?: string; errno?: number }
        return { ...(code === undefined ? {} : { code }), ...(errno === undefined ? {} : { errno }) }
      }
    }
    const asNobody = process.getuid?.() === 0 ? { uid: 65_534 } : {}
    expect(await inChild(body, { path }, asNobody)).toEqual({ code: 'ERR_COFFER_IO', errno: -13 })
  })
})

describe('five different errors', () => {
  it.each(keyedKinds)(
    'wrong key, wrong kind, damage, legacy and newer version of a $label are told apart',
    async (kind) => {
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      const box = await openKind(kind, path, 'x', keys)
      await box.write('a', noise(10_000))
      await box.close()
      const file = readFileSync(path)
      const sealed = kind.container !== null
      await expect(openKind(kind, path, 'r', keysFor(kind))).rejects.toMatchObject({
        code: 'ERR_COFFER_WRONG_KEY',
        path,
      })
      for (const other of kinds) {
        if (other.className === kind.className) continue
        await expect(openKind(other, path, 'r', keysFor(other)), other.label).rejects.toMatchObject({
          code: 'ERR_COFFER_WRONG_KIND',
          path,
        })
      }
      const newer = Buffer.from(file)
      for (const mark of headerMarks(file, 'header')) newer.writeUInt8(2, mark + 4)
      writeFileSync(path, newer)
      await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_VERSION', path })
      const commit = lastRecord(file, sealed, 'commit')
      writeFileSync(path, file.subarray(0, headerMarks(file, 'key').at(0)))
      await expect(openKind(kind, path, 'r', keys)).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', path })
      expect(commit.offset).toBeGreaterThan(0)
      const fixture = fileURLToPath(new URL(`./fixtures/${kind.label}.pycoffer`, import.meta.url))
      await expect(openKind(kind, fixture, 'r', keys, { lock: 'none' })).rejects.toMatchObject({
        code: 'ERR_COFFER_LEGACY',
      })
    },
  )

  it('a wrong key is named: the container’s or the members’', async () => {
    const path = join(tempDir(), 'bank')
    const keys = CofferBank.generateKeys()
    const other = CofferBank.generateKeys()
    await (await CofferBank.open(path, 'x', keys)).close()
    const open = async (options: object): Promise<unknown> => CofferBank.open(path, 'r', { ...keys, ...options })
    await expect(open({ cofferKey: other.cofferKey })).rejects.toThrow(/cofferKey/)
    await expect(open({ secureKey: other.secureKey })).rejects.toThrow(/secureKey/)
  })

  it('half of a Fernet key is not a Fernet key: both halves are checked', async () => {
    const kind = kindOf('bank')
    const path = join(tempDir(), 'bank')
    const keys = CofferBank.generateKeys()
    await (await CofferBank.open(path, 'x', keys)).close()
    for (const at of [0, 15, 16, 31]) {
      const key = Buffer.from(keys.cofferKey, 'base64url')
      key.writeUInt8(key.readUInt8(at) ^ 1, at)
      await expect(openKind(kind, path, 'r', { ...keys, cofferKey: key.toString('base64url') })).rejects.toMatchObject({
        code: 'ERR_COFFER_WRONG_KEY',
      })
    }
  })
})

describe('an error of Coffer’s', () => {
  it('is recognized across two copies of the package', async () => {
    const url = new URL('../dist/errors.js?copy', import.meta.url).href
    const copy = (await import(/* @vite-ignore */ url)) as { CofferError: typeof CofferError }
    expect(copy.CofferError).not.toBe(CofferError)
    const theirs = new copy.CofferError('ERR_COFFER_CLOSED', 'closed')
    expect(theirs).toBeInstanceOf(CofferError)
    expect(new Error('plain')).not.toBeInstanceOf(CofferError)
    for (const other of [null, undefined, 'text', {}]) expect(other instanceof CofferError).toBe(false)
  })

  it('does not stop the coffer: the next call works', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await expect(box.read('missing')).rejects.toBeInstanceOf(CofferError)
    await expect(box.write('', 'x')).rejects.toBeInstanceOf(CofferError)
    await box.write('a', 'x')
    expect(await box.readText('a')).toBe('x')
  })
})

describe('a class that extends CofferError', () => {
  class MyError extends CofferError {}

  it('has its own instances, and no others', () => {
    const [theirs, mine] = [new CofferError('ERR_COFFER_CORRUPT', 'x'), new MyError('ERR_COFFER_CORRUPT', 'x')]
    expect(theirs instanceof MyError).toBe(false)
    expect(mine instanceof MyError).toBe(true)
    expect(mine instanceof CofferError && theirs instanceof CofferError).toBe(true)
    expect({ code: 'ERR_COFFER_CORRUPT' } instanceof MyError).toBe(false)
    for (const value of [null, undefined, 5, 'x', new Error('x')])
      expect((value as object) instanceof MyError).toBe(false)
  })
})

it('a coffer that is made with new says where coffers come from', () => {
  for (const Type of [CofferBank, CofferStore, CofferMarket, CofferNull]) {
    const make = () => Reflect.construct(Type, ['x.coffer'])
    expect(make).toThrow(`a ${Type.name} comes from ${Type.name}.open(path, mode, options), not from a constructor`)
    expect(make).toThrow(CofferError)
  }
})
