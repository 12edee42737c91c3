import { spawn, spawnSync } from 'node:child_process'
import {
  chownSync,
  closeSync,
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type ChildOptions, inChild, startChild } from './support/child.ts'
import { type Coffer, CofferBank, CofferNull, CofferStore } from './support/coffer.ts'
import { errnos } from './support/errnos.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'
import { below } from './support/tree.ts'

const isRoot = process.getuid?.() === 0
const linux = process.platform === 'linux'
const { ENOENT, EACCES, EPERM, ELOOP, ENAMETOOLONG } = errnos
/** For children that are to be refused something. */
const asNobody: ChildOptions = isRoot ? { uid: 65_534 } : {}

/** A directory that such a child may write to. */
function nobodysDir(): string {
  const root = tempDir()
  if (isRoot) chownSync(root, 65_534, 65_534)
  return root
}

async function names(box: Coffer): Promise<string[]> {
  return (await box.members()).map(({ name }) => name)
}

describe.skipIf(!posix)('push with delete', () => {
  it.each([
    ['a link that leads to itself', 'x', ELOOP],
    ['a link to a name that is too long', 'n'.repeat(300), ENAMETOOLONG],
  ])('keeps what it cannot look at, and reports it: %s', async (_, to, errno) => {
    const root = tempDir()
    mkdirSync(join(root, 'tree'))
    await using box = await CofferNull.open(join(root, 'box.coffer'), 'x')
    for (const name of ['tree/x', 'tree/gone', 'tree/dead']) await box.write(name, 'precious')
    symlinkSync(to, join(root, 'tree/x'))
    symlinkSync('nowhere', join(root, 'tree/dead'))
    const rsync = await box.plugin('rsync')
    const pushed = await rsync.push(join(root, 'tree'), 'tree', { delete: true })
    // What is known not to be there goes.
    expect(await names(box)).toEqual(['tree/x'])
    expect(pushed.skipped).toContainEqual({
      path: join(root, 'tree/x'),
      reason: expect.any(String) as string,
      errno,
    })
  })

  it('keeps all that is below a directory that it may not list, and what a link in such a one leads to', async () => {
    const root = nobodysDir()
    const seen = await inChild(
      async ({ coffer, fs }, root) => {
        fs.mkdirSync(`${root}/tree/closed/inner`, { recursive: true })
        fs.mkdirSync(`${root}/far/closed`, { recursive: true })
        fs.writeFileSync(`${root}/tree/closed/inner/a`, '1')
        fs.writeFileSync(`${root}/far/closed/file`, 'f')
        fs.writeFileSync(`${root}/tree/open`, '2')
        fs.symlinkSync('../far/closed/file', `${root}/tree/linked`)
        const box = await coffer.CofferNull.open(`${root}/box.coffer`, 'x')
        const rsync = await box.plugin('rsync')
        await rsync.push(`${root}/tree`, 'tree')
        await box.write('tree/closed/other', 'precious')
        await box.write('tree/gone', 'x')
        fs.chmodSync(`${root}/tree/closed`, 0)
        fs.chmodSync(`${root}/far/closed`, 0)
        fs.writeFileSync(`${root}/tree/new`, '3')
        const { skipped, actions } = await rsync.push(`${root}/tree`, 'tree', { delete: true })
        const members = (await box.members()).map(({ name }) => name)
        // The other way round: nothing in the closed directory is known, so nothing of it is removed.
        await box.delete('tree/closed', { recursive: true })
        const pulled = await rsync.pull('tree', `${root}/tree`, { delete: true })
        fs.chmodSync(`${root}/tree/closed`, 0o700)
        const kept = fs.readdirSync(`${root}/tree/closed`)
        fs.chmodSync(`${root}/far/closed`, 0o700)
        await box.close()
        return { skipped, actions: actions.map((a) => `${a.action} ${a.name}`), members, pulled: pulled.skipped, kept }
      },
      root,
      asNobody,
    )
    expect(seen.members).toEqual([
      ...['tree/closed/inner/a', 'tree/closed/other', 'tree/linked', 'tree/new', 'tree/open'],
    ])
    expect(seen.actions).toEqual(['delete tree/gone', 'add tree/new'])
    expect(seen.skipped).toMatchObject([
      { path: join(root, 'tree/closed'), errno: EACCES },
      { path: join(root, 'tree/linked'), errno: EACCES },
    ])
    expect(seen.pulled).toMatchObject([{ path: join(root, 'tree/closed'), errno: EACCES }])
    expect(seen.kept).toEqual(['inner'])
  })
})

describe.skipIf(!posix)('a link that is put in place while a tree is stored', () => {
  const secret = 'what the link leads to'

  /** A tree whose first file takes a while, and what is done meanwhile. */
  async function racing(
    store: (box: Coffer, tree: string, onProgress: () => void) => Promise<unknown>,
    swap: (tree: string, outside: string) => void,
  ): Promise<{ error: unknown; box: Coffer; tree: string }> {
    const root = tempDir()
    const [tree, outside] = [join(root, 'tree'), join(root, 'outside')]
    mkdirSync(join(tree, 'z/deep'), { recursive: true })
    mkdirSync(join(outside, 'deep'), { recursive: true })
    writeFileSync(join(tree, 'a'), noise(40_000_000))
    for (const path of [join(tree, 'z/deep/file'), join(outside, 'deep/file')]) writeFileSync(path, secret)
    const box = await openKind(kindOf('bank'), join(root, 'box.coffer'), 'x', keysFor(kindOf('bank')))
    let swapped = false
    const onProgress = (): void => {
      if (!swapped) swap(tree, outside)
      swapped = true
    }
    const error = await store(box, tree, onProgress).catch((reason: unknown) => reason)
    expect(swapped).toBe(true)
    return { error, box, tree }
  }

  const swaps: [string, (tree: string, outside: string) => void][] = [
    [
      'of a file',
      (tree, outside) => {
        rmSync(join(tree, 'z/deep/file'))
        symlinkSync(join(outside, 'deep/file'), join(tree, 'z/deep/file'))
      },
    ],
    [
      'of its directory',
      (tree, outside) => {
        renameSync(join(tree, 'z/deep'), join(tree, 'aside'))
        symlinkSync(join(outside, 'deep'), join(tree, 'z/deep'))
      },
    ],
    [
      'of a directory further up',
      (tree, outside) => {
        renameSync(join(tree, 'z'), join(tree, 'aside'))
        symlinkSync(outside, join(tree, 'z'))
      },
    ],
    [
      'of the tree itself',
      (tree, outside) => {
        renameSync(tree, `${tree}.aside`)
        mkdirSync(join(outside, 'z'))
        renameSync(join(outside, 'deep'), join(outside, 'z/deep'))
        symlinkSync(outside, tree)
      },
    ],
  ]
  const cases = swaps.flatMap(([what, swap], index) =>
    (
      [['skip', 'error', 'follow'] as const, ['follow'] as const, ['skip'] as const, ['skip'] as const][index] ?? []
    ).flatMap((symlinks) => [['add', what, symlinks, swap] as const, ['push', what, symlinks, swap] as const]),
  )

  it.each(cases)('is not followed by %s, in place %s, with symlinks %s', async (call, _, symlinks, swap) => {
    const { error, box } = await racing(
      async (box, tree, onProgress) =>
        call === 'add'
          ? box.add(tree, { as: 'tree', symlinks, onProgress })
          : (await box.plugin('rsync')).push(tree, 'tree', { symlinks, onProgress }),
      swap,
    )
    expect(error).toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH', path: expect.stringContaining('tree') as string })
    expect(await box.members()).toEqual([])
    await box.close()
  })

  it('is not followed when contents are compared', async () => {
    const root = tempDir()
    const [tree, outside] = [join(root, 'tree'), join(root, 'outside')]
    mkdirSync(join(tree, 'z'), { recursive: true })
    mkdirSync(outside)
    for (const path of [join(tree, 'z/file'), join(outside, 'file')]) writeFileSync(path, secret)
    writeFileSync(join(tree, 'a'), noise(40_000_000))
    await using box = await openKind(kindOf('bank'), join(root, 'box.coffer'), 'x', keysFor(kindOf('bank')))
    const rsync = await box.plugin('rsync')
    await rsync.push(tree, 'tree')
    // Walking is over when the first progress is told: the small file is compared by then or fails.
    renameSync(join(tree, 'z'), join(tree, 'aside'))
    symlinkSync(outside, join(tree, 'z'))
    const { skipped, actions } = await rsync.push(tree, 'tree', { checksum: true, symlinks: 'skip' })
    expect(skipped.map(({ path }) => path)).toEqual([join(tree, 'z')])
    expect(actions.map(({ name }) => name)).toEqual(['tree/aside/file'])
  })
})

describe('what a coffer keeps beside itself', () => {
  it.each([true, '.old'] as const)('is not stored in it, run after run, with backups: %s', async (backup) => {
    const tree = tempDir()
    writeFileSync(join(tree, 'file'), noise(200_000))
    mkdirSync(join(tree, '.coffer-a1b2c3'))
    writeFileSync(join(tree, '.coffer-a1b2c3/owner'), '')
    writeFileSync(join(tree, '.coffer-a1b2c3/page'), 'sealed')
    mkdirSync(join(tree, '.coffer-notes'))
    writeFileSync(join(tree, '.coffer-notes/mine'), 'kept')
    const path = join(tree, 'box.coffer')
    for (const name of ['.box.coffer.ab3xy9.coffer-new', '.box.coffer.bak.ab3xy9.coffer-new', 'box.coffer.torn.1'])
      writeFileSync(join(tree, name), 'of the coffer')
    for (const name of ['other.bak', 'box.coffer.torn.x', '.other.ab3xy9.coffer-new'])
      writeFileSync(join(tree, name), 'mine')
    await (await CofferNull.open(path, 'x')).close()
    if (posix) {
      symlinkSync(backup === true ? 'box.coffer.bak' : 'box.coffer.old', join(tree, 'link'))
      symlinkSync(tree, `${tree}.link`)
    }
    let size = 0
    for (let run = 0; run < 6; run += 1) {
      const box = await CofferNull.open(path, 'a', { backup })
      rmSync(join(tree, 'hard'), { force: true })
      linkSync(path, join(tree, 'hard'))
      await box.add(posix && run > 2 ? `${tree}.link` : tree, { as: 'tree' })
      await box.flush()
      const rsync = await box.plugin('rsync')
      await rsync.push(posix && run > 2 ? `${tree}.link` : tree, 'pushed', { delete: true })
      const own = ['file', '.coffer-notes/mine', '.other.ab3xy9.coffer-new', 'other.bak', 'box.coffer.torn.x']
      expect(await names(box)).toEqual(own.flatMap((name) => [`tree/${name}`, `pushed/${name}`]).sort())
      await box.close()
      if (run === 1) size = statSync(path).size
    }
    if (posix) rmSync(`${tree}.link`)
    expect(statSync(path).size).toBeLessThan(2 * size)
  })
})

describe.skipIf(!linux)('a source whose size is not what the system says', () => {
  it('is read to its end', async () => {
    const root = tempDir()
    await using box = await CofferNull.open(join(root, 'box.coffer'), 'x')
    expect(statSync('/proc/self/status').size).toBe(0)
    await box.add('/proc/cpuinfo', { as: 'cpuinfo' })
    expect(await box.readText('cpuinfo')).toContain('processor')
    expect(
      await box.add('/sys/kernel/mm/transparent_hugepage/enabled', { as: 'page' }).catch(() => ({ bytes: -1 })),
    ).toMatchObject({
      bytes: existsSync('/sys/kernel/mm/transparent_hugepage/enabled')
        ? readFileSync('/sys/kernel/mm/transparent_hugepage/enabled').length
        : -1,
    })
    const rsync = await box.plugin('rsync')
    await rsync.push('/proc/sys/kernel/ostype', 'ostype')
    expect(await box.readText('ostype')).toBe('Linux\n')
    await expect(box.verify()).resolves.toMatchObject({ members: expect.any(Number) as number })
  })
})

describe.skipIf(!posix)('a pipe', () => {
  function fifo(): { root: string; path: string } {
    const root = tempDir()
    const path = join(root, 'fifo')
    expect(spawnSync('mkfifo', [path]).status).toBe(0)
    return { root, path }
  }

  it.each([0, 5, 131_072, 131_073, 9_000_000])('of %d bytes is read to its end by add', async (size) => {
    const { root, path } = fifo()
    await using box = await openKind(kindOf('store'), join(root, 'box.coffer'), 'x', keysFor(kindOf('store')))
    const bytes = noise(size)
    writeFileSync(join(root, 'bytes'), bytes)
    const writer = spawn('sh', ['-c', `sleep 0.1; cat bytes > fifo`], { cwd: root })
    expect(await box.add(path, { as: 'piped' })).toMatchObject({ files: 1, bytes: size, skipped: [] })
    expect((await box.read('piped')).equals(bytes)).toBe(true)
    await box.flush()
    await expect(box.verify()).resolves.toMatchObject({ members: 1, bytes: size })
    writer.kill()
  })

  it('that nothing writes to stops waiting when the signal says so', async () => {
    const { root, path } = fifo()
    const keys = CofferBank.generateKeys()
    await using box = await CofferBank.open(join(root, 'box.coffer'), 'x', keys)
    const crypt = await box.plugin('crypt')
    for (const call of [
      async (signal: AbortSignal) => box.add(path, { as: 'x', signal }),
      async (signal: AbortSignal) => crypt.encrypt(path, join(root, 'out'), { signal }),
      async (signal: AbortSignal) => crypt.decrypt(path, join(root, 'out'), { signal }),
    ]) {
      const controller = new AbortController()
      const calling = call(controller.signal)
      setTimeout(() => controller.abort(new Error('enough')), 100)
      await expect(calling).rejects.toThrow('enough')
    }
    await box.write('after', 'fine')
    expect(await names(box)).toEqual(['after'])
    expect(readdirSync(root).sort()).toEqual(['box.coffer', 'box.coffer.lock', 'fifo'])
  })

  it('is encrypted and decrypted to its end', async () => {
    const { root, path } = fifo()
    await using box = await CofferBank.open(join(root, 'box.coffer'), 'x', CofferBank.generateKeys())
    const crypt = await box.plugin('crypt')
    const bytes = noise(3_000_000)
    writeFileSync(join(root, 'bytes'), bytes)
    const feed = (name: string) => spawn('sh', ['-c', `sleep 0.1; cat ${name} > fifo`], { cwd: root })
    feed('bytes')
    await crypt.encrypt(path, join(root, 'sealed'))
    feed('sealed')
    await crypt.decrypt(path, join(root, 'back'))
    expect(readFileSync(join(root, 'back')).equals(bytes)).toBe(true)
  })

  it('in a tree is left out, and push of one is refused', async () => {
    const { root, path } = fifo()
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    expect((await box.add(root, { as: 'tree' })).skipped).toMatchObject([
      { path, reason: expect.stringContaining('pipe') as string },
    ])
    const rsync = await box.plugin('rsync')
    await expect(rsync.push(path, 'x')).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG', path })
    expect((await rsync.push(root, 'tree')).skipped).toMatchObject([{ path }])
  })
})

describe.skipIf(!posix)('a source that has no bytes', () => {
  it('is an error when it is named: a device, a socket', async () => {
    const root = tempDir()
    await using box = await CofferBank.open(join(root, 'box.coffer'), 'x', CofferBank.generateKeys())
    const crypt = await box.plugin('crypt')
    const rsync = await box.plugin('rsync')
    const socket = join(root, 'socket')
    const server = createServer().listen(socket)
    await new Promise((resolve) => server.once('listening', resolve))
    for (const path of ['/dev/null', '/dev/zero', '/dev/tty', socket]) {
      const refused = { code: 'ERR_COFFER_INVALID_ARG', path }
      await expect(box.add(path, { as: 'x' })).rejects.toMatchObject(refused)
      await expect(rsync.push(path, 'x')).rejects.toMatchObject(refused)
      await expect(crypt.encrypt(path, join(root, 'out'))).rejects.toMatchObject(refused)
    }
    server.close()
    expect(await names(box)).toEqual([])
    expect(existsSync(join(root, 'out'))).toBe(false)
  })

  it('that is missing has the number and the call of the error', async () => {
    const root = tempDir()
    await using box = await CofferBank.open(join(root, 'box.coffer'), 'x', CofferBank.generateKeys())
    const crypt = await box.plugin('crypt')
    const rsync = await box.plugin('rsync')
    const path = join(root, 'missing')
    const calls = [() => box.add(path), () => rsync.push(path, 'x'), () => crypt.encrypt(path, join(root, 'out'))]
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({
        ...{ code: 'ERR_COFFER_IO', errno: ENOENT, path, syscall: expect.stringMatching(/^(stat|open)$/) as string },
      })
    }
  })
})

describe.skipIf(!posix)('modes of what is extracted', () => {
  it('are those of the members less the umask, unless they are to be preserved', async () => {
    const root = tempDir()
    const seen = await inChild(async ({ coffer, fs }, root) => {
      const modes = (directory: string): Record<string, string> => {
        const all: Record<string, string> = {}
        for (const name of fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort())
          all[name] = (fs.statSync(`${directory}/${name}`).mode & 0o7777).toString(8)
        return all
      }
      fs.mkdirSync(`${root}/tree/open/private`, { recursive: true })
      fs.mkdirSync(`${root}/tree/read-only`, { recursive: true })
      fs.chmodSync(`${root}/tree/open/private`, 0o700)
      fs.chmodSync(`${root}/tree/read-only`, 0o577)
      const box = await coffer.CofferNull.open(`${root}/box.coffer`, 'x')
      await box.add(`${root}/tree`, { as: '' })
      await box.write('all', 'x', { mode: 0o777 })
      await box.write('large', new Uint8Array(3_000_000), { mode: 0o666 })
      await box.write('implied/file', 'x', { mode: 0o4666 })
      const rsync = await box.plugin('rsync')
      const results: Record<string, Record<string, string>> = {}
      for (const mask of [0o077, 0o022]) {
        process.umask(mask)
        await box.extractAll(`${root}/plain${mask}`)
        results[`plain ${mask.toString(8)}`] = modes(`${root}/plain${mask}`)
        await rsync.pull('', `${root}/pulled${mask}`)
        results[`pulled ${mask.toString(8)}`] = modes(`${root}/pulled${mask}`)
        const again = await rsync.pull('', `${root}/pulled${mask}`)
        if (again.actions.length > 0) throw new Error('pull is never content')
      }
      process.umask(0o077)
      await box.extractAll(`${root}/preserved`, { preserve: true })
      results['with preserve'] = modes(`${root}/preserved`)
      // In place of what is there, a directory that is there keeps its mode.
      fs.mkdirSync(`${root}/again/read-only`, { recursive: true, mode: 0o700 })
      fs.writeFileSync(`${root}/again/all`, 'old', { mode: 0o600 })
      await box.extractAll(`${root}/again`, { replace: true })
      results['in place'] = modes(`${root}/again`)
      await rsync.pull('', `${root}/again`, { preserve: true })
      results['pulled with preserve'] = modes(`${root}/again`)
      await box.close()
      return results
    }, root)
    const masked = { 'plain 77': 0o077, 'pulled 77': 0o077, 'plain 22': 0o022, 'pulled 22': 0o022 }
    for (const [run, mask] of Object.entries(masked)) {
      const less = (mode: number): string => (mode & ~mask).toString(8)
      expect(seen[run], run).toEqual({
        all: less(0o777),
        implied: less(0o777),
        'implied/file': less(0o666),
        large: less(0o666),
        open: less(0o777),
        'open/private': '700',
        'read-only': less(0o577),
      })
    }
    const whole = { all: '777', implied: '700', 'implied/file': '666', large: '666', open: '700' }
    expect(seen['with preserve']).toEqual({ ...whole, 'open/private': '700', 'read-only': '577' })
    expect(seen['in place']).toMatchObject({ all: '700', 'read-only': '700' })
    expect(seen['pulled with preserve']).toMatchObject({ all: '777', 'read-only': '577', large: '666' })
  })
})

describe.skipIf(!posix)('an extraction that is refused something', () => {
  it('finishes, and tells which modes and times could not be set', async () => {
    const root = nobodysDir()
    // A directory of another user's that everybody may write to.
    const foreign = isRoot ? join(root, 'out/tmp') : '/tmp'
    if (isRoot) {
      mkdirSync(foreign, { recursive: true })
      chownSync(join(root, 'out'), 65_534, 65_534)
      spawnSync('chmod', ['1777', foreign])
    }
    const seen = await inChild(
      async ({ coffer, fs }, { root, target }) => {
        fs.mkdirSync(`${root}/tree/tmp`, { recursive: true })
        const box = await coffer.CofferNull.open(`${root}/box.coffer`, 'x')
        await box.add(`${root}/tree`, { as: '' })
        const { skipped, directories } = await box.extractAll(target, { preserve: true })
        await box.close()
        return { skipped, directories }
      },
      { root, target: isRoot ? join(root, 'out') : '/' },
      asNobody,
    )
    expect(seen.directories).toBe(1)
    expect(seen.skipped.map(({ errno, member, path }) => ({ errno, member, path }))).toEqual(
      ['mode', 'time'].map(() => ({ errno: EPERM, member: 'tmp', path: foreign })),
    )
  })

  it('writes every other member, and names those that it could not', async () => {
    const root = nobodysDir()
    const seen = await inChild(
      async ({ coffer, fs }, root) => {
        fs.mkdirSync(`${root}/tree/closed/empty`, { recursive: true })
        const box = await coffer.CofferNull.open(`${root}/box.coffer`, 'x')
        await box.add(`${root}/tree`, { as: '' })
        for (const name of ['a', 'closed/b', 'closed/new/c', 'd', 'n'.repeat(255)]) await box.write(name, 'x')
        fs.mkdirSync(`${root}/out/closed`, { recursive: true })
        fs.chmodSync(`${root}/out/closed`, 0o500)
        const error = await box.extractAll(`${root}/out`).catch((reason: unknown) => reason)
        const written = fs.readdirSync(`${root}/out`, { recursive: true, encoding: 'utf8' }).sort()
        fs.chmodSync(`${root}/out/closed`, 0o700)
        await box.close()
        const { code, errno, member, message } = error as {
          code: string
          errno: number
          member: string
          message: string
        }
        return { code, errno, member, message, written }
      },
      root,
      asNobody,
    )
    expect(seen.written).toEqual(['a', 'closed', 'd', 'n'.repeat(255)])
    expect(seen).toMatchObject({ code: 'ERR_COFFER_IO', errno: EACCES, member: 'closed/b' })
    for (const name of ['closed/b', 'closed/empty', 'closed/new/c', join(root, 'out'), '3 files'])
      expect(seen.message).toContain(name)
  })
})

describe('extraction of damage', () => {
  it.each([50, 400_000])('names the members that are damaged, and what was written: %d bytes', async (size) => {
    const root = tempDir()
    const path = join(root, 'box.coffer')
    const kind = kindOf('store')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    for (const name of ['a', 'b', 'c']) {
      await box.write(name, noise(size, name))
      await box.flush()
    }
    await box.close()
    // A byte of the second member alone.
    const file = openSync(path, 'r+')
    const bytes = readFileSync(path)
    let damaged = -1
    for (let at = 0; at < bytes.length && damaged < 0; at += size < 1000 ? 16 : 5000) {
      writeSync(file, Buffer.from([bytes.readUInt8(at) ^ 1]), 0, 1, at)
      const error = await openKind(kind, path, 'r', keys).then(
        async (box) => {
          const result = await Promise.allSettled(['a', 'b', 'c'].map(async (name) => box.read(name)))
          await box.close()
          return result.map(({ status }) => status).join()
        },
        () => 'unopened',
      )
      if (error === 'fulfilled,rejected,fulfilled') damaged = at
      else writeSync(file, Buffer.from([bytes.readUInt8(at)]), 0, 1, at)
    }
    closeSync(file)
    expect(damaged).toBeGreaterThan(0)
    await using reader = await openKind(kind, path, 'r', keys)
    const out = join(root, 'out')
    await expect(reader.extractAll(out)).rejects.toMatchObject({
      code: 'ERR_COFFER_CORRUPT',
      member: 'b',
      message: expect.stringMatching(/Not extracted: "b"\. .*2 files/) as string,
    })
    expect(below(out)).toEqual(['a', 'c'])
    expect(readFileSync(join(out, 'c')).equals(noise(size, 'c'))).toBe(true)
  })
})

describe('an output', () => {
  it('has no name until it is whole; what a killed process leaves the next run removes, and nothing else', async () => {
    const root = tempDir()
    const keys = CofferStore.generateKeys()
    const box = await CofferStore.open(join(root, 'box.coffer'), 'x', keys)
    writeFileSync(join(root, 'plain'), noise(60_000_000))
    const crypt = await box.plugin('crypt')
    await crypt.encrypt(join(root, 'plain'), join(root, 'sealed'), { level: 1 })
    await box.write('large', noise(60_000_000))
    await box.close()
    mkdirSync(join(root, 'out'))
    for (const name of ['keep', 'large']) writeFileSync(join(root, 'out', name), 'before')
    const isPart = (name: string): boolean =>
      /^\.[0-9a-f]{16}\.coffer-out$/.test(name) && statSync(join(root, 'out', name)).isFile()
    const parts = (): string[] => readdirSync(join(root, 'out')).filter(isPart)
    for (const what of ['decrypt', 'extract'] as const) {
      const child = startChild(
        async ({ coffer, say }, { root, what, cofferKey }) => {
          const box = await coffer.CofferStore.open(`${root}/box.coffer`, 'r', { cofferKey })
          const crypt = await box.plugin('crypt')
          const onProgress = () => void say('under way')
          if (what === 'decrypt')
            await crypt.decrypt(`${root}/sealed`, `${root}/out/keep`, { replace: true, onProgress })
          else await box.extract('large', `${root}/out`, { replace: true, onProgress })
          await box.close()
        },
        { root, what, cofferKey: keys.cofferKey },
      )
      await child.heard()
      if (posix) process.kill(child.pid, 'SIGSTOP')
      expect(readFileSync(join(root, 'out', what === 'decrypt' ? 'keep' : 'large'), 'utf8')).toBe('before')
      expect(parts()).toHaveLength(1)
      // What is still in use is left alone.
      const reader = await CofferStore.open(join(root, 'box.coffer'), 'r', keys)
      const again = await reader.plugin('crypt')
      writeFileSync(join(root, 'small'), 'small')
      await again.encrypt(join(root, 'small'), join(root, 'out/small'), { replace: true })
      expect(parts()).toHaveLength(1)
      await child.kill()
      expect(parts()).toHaveLength(1)
      const others = [
        '.0123456789abcdef.coffer-new',
        '.0123.coffer-out',
        '.0123456789abcdeg.coffer-out',
        'x.coffer-out',
      ]
      for (const name of others) writeFileSync(join(root, 'out', name), 'not ours')
      mkdirSync(join(root, 'out/.00000000000000aa.coffer-out'), { recursive: true })
      if (what === 'decrypt') await again.encrypt(join(root, 'small'), join(root, 'out/small'), { replace: true })
      else await reader.extract('large', join(root, 'out'), { replace: true })
      expect(parts()).toEqual([])
      expect(existsSync(join(root, 'out/.00000000000000aa.coffer-out'))).toBe(true)
      for (const name of others) expect(existsSync(join(root, 'out', name)), name).toBe(true)
      await reader.close()
    }
    expect(readFileSync(join(root, 'out/large')).length).toBe(60_000_000)
  })

  it.skipIf(!isRoot)('that is of another user is not swept', async () => {
    const root = tempDir()
    await using box = await CofferStore.open(join(root, 'box.coffer'), 'x', CofferStore.generateKeys())
    const crypt = await box.plugin('crypt')
    writeFileSync(join(root, 'plain'), 'x')
    for (const [name, uid] of [
      ['.00000000000000aa.coffer-out', 65_534],
      ['.00000000000000bb.coffer-out', 0],
    ] as const) {
      writeFileSync(join(root, name), 'x')
      chownSync(join(root, name), uid, 0)
    }
    await crypt.encrypt(join(root, 'plain'), join(root, 'sealed'))
    expect(readdirSync(root).filter((name) => name.endsWith('.coffer-out'))).toEqual(['.00000000000000aa.coffer-out'])
  })

  it('of a stream takes its name at the end, and leaves nothing when the stream fails', async () => {
    const root = tempDir()
    await using box = await CofferStore.open(join(root, 'box.coffer'), 'x', CofferStore.generateKeys())
    const crypt = await box.plugin('crypt')
    const [plain, sealed, target] = [join(root, 'plain'), join(root, 'sealed'), join(root, 'target')]
    writeFileSync(plain, noise(5_000_000))
    await crypt.encrypt(plain, sealed)
    writeFileSync(target, 'before')
    const before = readdirSync(root).sort()
    const { size } = statSync(sealed)
    const run = async (end: number, replace: boolean): Promise<void> =>
      pipeline(
        createReadStream(sealed, { end: end - 1 }),
        crypt.createDecryptStream(),
        crypt.createTargetStream(target, { replace }),
      )
    await expect(run(size - 1000, true)).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    await expect(run(size, false)).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS', path: target })
    crypt.createTargetStream(target, { replace: true }).destroy()
    await expect.poll(() => readdirSync(root).sort()).toEqual(before)
    expect(readFileSync(target, 'utf8')).toBe('before')
    await run(size, true)
    expect(readFileSync(target).equals(noise(5_000_000))).toBe(true)
    if (posix) expect(statSync(target).mode & 0o777).toBe(0o600)
    expect(readdirSync(root).sort()).toEqual(before)
  })

  it('is no file for what is no encrypted file', async () => {
    const root = tempDir()
    await using box = await CofferStore.open(join(root, 'box.coffer'), 'x', CofferStore.generateKeys())
    const crypt = await box.plugin('crypt')
    for (const text of ['a', 'hello\n', 'a line of text that is longer than a frame of a chunk\n', '\0\0\0\0']) {
      writeFileSync(join(root, 'text'), text)
      for (const legacy of [false, true]) {
        const error = await crypt.decrypt(join(root, 'text'), join(root, 'out'), { legacy }).catch((e: unknown) => e)
        expect((error as Error).message, JSON.stringify(text)).toMatch(/no encrypted file|has no head/)
      }
    }
    writeFileSync(join(root, 'empty'), '')
    await expect(crypt.decrypt(join(root, 'empty'), join(root, 'out'))).rejects.toThrow('nothing in it')
    expect(existsSync(join(root, 'out'))).toBe(false)
  })
})
