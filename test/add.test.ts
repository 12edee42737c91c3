import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Coffer, CofferNull, type CofferProgress } from './support/coffer.ts'
import { keysFor, kinds, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'
import { inventory } from './support/tree.ts'

const open = async (): Promise<Coffer> => CofferNull.open(join(tempDir(), 'box.coffer'), 'x')

/** A tree of every kind of thing worth keeping. */
function makeTree(root: string): string {
  const tree = join(root, 'tree')
  mkdirSync(join(tree, 'sub/deeper'), { recursive: true })
  mkdirSync(join(tree, 'empty'))
  mkdirSync(join(tree, 'private'))
  writeFileSync(join(tree, 'file'), 'plain')
  writeFileSync(join(tree, 'nothing'), '')
  writeFileSync(join(tree, 'run'), '#!/bin/sh\n')
  writeFileSync(join(tree, 'sub/deeper/large'), noise(3_000_001))
  for (let index = 0; index < 120; index += 1) writeFileSync(join(tree, `sub/${index}.txt`), `number ${index}`)
  chmodSync(join(tree, 'run'), 0o755)
  chmodSync(join(tree, 'file'), 0o640)
  chmodSync(join(tree, 'private'), 0o700)
  utimesSync(join(tree, 'file'), 1_000_000_000, 1_000_000_000.123_456)
  utimesSync(join(tree, 'empty'), 1_100_000_000, 1_100_000_000)
  return tree
}

describe.each(kinds)('adding to a $label', (kind) => {
  it('a tree keeps modes, nanoseconds and empty directories, in the coffer and out of it', async () => {
    const root = tempDir()
    const tree = makeTree(root)
    const path = join(root, 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const added = await box.add(tree, { as: 'kept' })
    expect(added).toEqual({
      files: 124,
      directories: 2,
      bytes: 3_000_001 + 5 + 10 + 1_090,
      skipped: [],
    })
    await box.close()

    await using again = await openKind(kind, path, 'r', keys)
    const { mtimeNs } = statSync(join(tree, 'file'), { bigint: true })
    expect(mtimeNs % 1_000_000n).not.toBe(0n)
    const mode = posix ? 0o640 : 0o644
    expect(await again.stat('kept/file', { bigint: true })).toMatchObject({ mtimeNs, mode, size: 5, type: 'file' })
    expect((await again.stat('kept/empty')).type).toBe('directory')
    await again.extract('kept', join(root, 'out'))
    expect(inventory(join(root, 'out/kept'))).toEqual(inventory(tree))
  })

  it('a tree again replaces what is there and keeps what is not in it', async () => {
    const root = tempDir()
    const tree = makeTree(root)
    const keys = keysFor(kind)
    await using box = await openKind(kind, join(root, 'box.coffer'), 'x', keys)
    await box.add(tree)
    await box.write('tree/extra', 'not in the tree')
    writeFileSync(join(tree, 'file'), 'changed')
    writeFileSync(join(tree, 'sub/deeper/large'), noise(2_000_000, 'other'))
    await box.add(tree)
    expect(await box.readText('tree/file')).toBe('changed')
    expect((await box.read('tree/sub/deeper/large')).equals(noise(2_000_000, 'other'))).toBe(true)
    expect(await box.readText('tree/extra')).toBe('not in the tree')
    await expect(box.verify()).resolves.toBeDefined()
  })
})

describe('add', () => {
  it('gives a file or a tree its own name unless it is given another, and takes URLs', async () => {
    const root = tempDir()
    const tree = makeTree(root)
    await using box = await open()
    expect(await box.add(join(tree, 'file'))).toEqual({ files: 1, directories: 0, bytes: 5, skipped: [] })
    await box.add(pathToFileURL(join(tree, 'file')), { as: 'renamed/by/me' })
    await box.add(`${tree}/`)
    expect(await box.readText('file')).toBe('plain')
    expect(await box.readText('renamed/by/me')).toBe('plain')
    expect(await box.readText('tree/file')).toBe('plain')
  })

  it('with replace: false refuses what exists, and then stores nothing of the tree', async () => {
    const tree = makeTree(tempDir())
    await using box = await open()
    await box.write('tree/sub/7.txt', 'already here')
    await box.flush()
    await expect(box.add(tree, { as: 'tree', replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
      member: 'tree/sub/7.txt',
    })
    expect(await box.readText('tree/sub/7.txt')).toBe('already here')
    expect((await box.members()).map((member) => member.name)).toEqual(['tree/sub/7.txt'])
    await expect(box.add(join(tree, 'file'), { as: 'tree/sub/7.txt', replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
    })
    await box.add(tree, { as: 'another', replace: false })
    expect(await box.readText('another/file')).toBe('plain')
  })

  it('refuses a tree where a file is, and a file where a tree is', async () => {
    const tree = makeTree(tempDir())
    await using box = await open()
    await box.write('file', 'a file')
    await box.write('dir/inner', 'x')
    await expect(box.add(tree, { as: 'file' })).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_EXISTS' })
    await expect(box.add(join(tree, 'file'), { as: 'dir' })).rejects.toMatchObject({ code: 'ERR_COFFER_IS_DIRECTORY' })
    expect(await box.readText('file')).toBe('a file')
    expect(await box.members()).toHaveLength(2)
  })

  it('names a source that is missing', async () => {
    await using box = await open()
    const source = join(tempDir(), 'missing')
    await expect(box.add(source)).rejects.toMatchObject({ path: source, code: /ERR_COFFER_(IO|NOT_FOUND)/ })
    expect(await box.members()).toEqual([])
  })

  it('refuses options that make no sense', async () => {
    await using box = await open()
    const invalid = { code: 'ERR_COFFER_INVALID_ARG' }
    await expect(box.add('.', { as: 'x', symlinks: 'keep' as 'skip' })).rejects.toMatchObject(invalid)
    await expect(box.add('.', { as: 'x', replace: 1 as unknown as boolean })).rejects.toMatchObject(invalid)
    await expect(box.add('.', { as: 'x', ...({ follow: true } as object) })).rejects.toMatchObject(invalid)
    await expect(box.add('', { as: 'x' })).rejects.toMatchObject(invalid)
    await expect(box.add('.', { as: '../x' })).rejects.toMatchObject(invalid)
  })

  it('stores hard links as the files they are', async () => {
    const root = tempDir()
    mkdirSync(join(root, 'tree'))
    writeFileSync(join(root, 'tree/a'), 'same')
    linkSync(join(root, 'tree/a'), join(root, 'tree/b'))
    await using box = await open()
    await box.add(join(root, 'tree'))
    expect(await box.readText('tree/a')).toBe('same')
    expect(await box.readText('tree/b')).toBe('same')
  })

  it.skipIf(!posix)('leaves out what is neither file nor directory, and says so', async () => {
    const root = tempDir()
    const tree = join(root, 'tree')
    mkdirSync(tree)
    writeFileSync(join(tree, 'file'), 'x')
    expect(spawnSync('mkfifo', [join(tree, 'pipe')]).status).toBe(0)
    await using box = await open()
    const { files, skipped } = await box.add(tree)
    expect(files).toBe(1)
    expect(skipped).toEqual([{ path: join(tree, 'pipe'), reason: expect.any(String) as string }])
  })

  it('does not mind a coffer that lies in the tree it adds', async () => {
    const tree = makeTree(tempDir())
    const box = await CofferNull.open(join(tree, 'box.coffer'), 'x')
    const { skipped } = await box.add(tree, { as: 'tree' })
    expect(skipped.map(({ path }) => path)).toContain(join(tree, 'box.coffer'))
    expect(await box.has('tree/box.coffer')).toBe(false)
    expect(await box.readText('tree/file')).toBe('plain')
    await box.close()
  })

  it('leaves the coffer as it was when a file cannot be read', async () => {
    const tree = makeTree(tempDir())
    symlinkSync('loop', join(tree, 'loop'))
    await using box = await open()
    await box.write('kept', 'x')
    const added = await box.add(tree).catch((error: unknown) => error)
    // A link that leads nowhere is either left out, with a word about it, or an error.
    if (added instanceof Error) expect(await box.members()).toHaveLength(1)
    else expect(added).toMatchObject({ skipped: [{ path: join(tree, 'loop') }] })
    expect(await box.readText('kept')).toBe('x')
  })
})

describe('symlinks', () => {
  function linkedTree(): string {
    const root = tempDir()
    const tree = join(root, 'tree')
    mkdirSync(tree)
    mkdirSync(join(root, 'elsewhere'))
    writeFileSync(join(root, 'elsewhere/target'), 'target', { mode: 0o600 })
    writeFileSync(join(tree, 'file'), 'file')
    symlinkSync('../elsewhere/target', join(tree, 'to-file'))
    symlinkSync('../elsewhere', join(tree, 'to-directory'))
    symlinkSync('.', join(tree, 'to-itself'))
    symlinkSync('nowhere', join(tree, 'dangling'))
    lutimesSync(join(tree, 'to-file'), 1, 1)
    return tree
  }

  it('are followed to files by default, never into directories, and what was left out is told', async () => {
    const tree = linkedTree()
    await using box = await open()
    const { files, skipped } = await box.add(tree)
    expect(files).toBe(2)
    expect(await box.readText('tree/to-file')).toBe('target')
    expect((await box.stat('tree/to-file')).mode).toBe(0o600)
    expect((await box.members()).filter((member) => member.type === 'file').map((member) => member.name)).toEqual([
      'tree/file',
      'tree/to-file',
    ])
    expect(skipped.map(({ path }) => path).sort()).toEqual([
      join(tree, 'dangling'),
      join(tree, 'to-directory'),
      join(tree, 'to-itself'),
    ])
  })

  it('are left out with "skip"', async () => {
    const tree = linkedTree()
    await using box = await open()
    const { files, skipped } = await box.add(tree, { as: 'tree', symlinks: 'skip' })
    expect(files).toBe(1)
    expect(skipped).toHaveLength(4)
  })

  it('are refused with "error", and nothing is stored', async () => {
    const tree = linkedTree()
    await using box = await open()
    await expect(box.add(tree, { as: 'tree', symlinks: 'error' })).rejects.toMatchObject({
      name: 'CofferError',
      path: expect.stringContaining(tree) as string,
    })
    expect(await box.members()).toEqual([])
  })
})

describe('the long calls', () => {
  /** A coffer with enough in it that a call takes a while. */
  async function big(): Promise<{ box: Coffer; tree: string; root: string }> {
    const root = tempDir()
    const tree = join(root, 'tree')
    mkdirSync(tree)
    for (let index = 0; index < 40; index += 1) {
      writeFileSync(join(tree, `${index}`), '')
      truncateSync(join(tree, `${index}`), 1_000_000)
    }
    writeFileSync(join(tree, 'noise'), noise(30_000_000))
    const box = await openKind(kinds[0] ?? fail(), join(root, 'box.coffer'), 'x', keysFor(kinds[0] ?? fail()), {
      autoFlush: false,
    })
    return { box, tree, root }
  }
  const fail = (): never => {
    throw new Error('there are no kinds')
  }
  const total = 70_000_000

  it('tell how far they have come, once more at the end', async () => {
    const { box, tree, root } = await big()
    const run = async (
      what: string,
      call: (onProgress: (progress: CofferProgress) => void) => Promise<unknown>,
    ): Promise<void> => {
      const seen: CofferProgress[] = []
      await call((progress) => {
        seen.push({ ...progress })
      })
      expect(seen.length, what).toBeGreaterThan(0)
      const last = seen.at(-1)
      expect(last?.bytes, what).toBe(total)
      expect(last?.members, what).toBe(41)
      for (let index = 1; index < seen.length; index += 1) {
        expect(seen[index]?.bytes).toBeGreaterThanOrEqual(seen[index - 1]?.bytes ?? 0)
      }
    }
    await run('add', async (onProgress) => box.add(tree, { as: 'tree', onProgress }))
    await run('verify', async (onProgress) => box.verify({ onProgress }))
    await run('extractAll', async (onProgress) => box.extractAll(join(root, 'out'), { onProgress }))
    await run('extract', async (onProgress) => box.extract('tree', join(root, 'out2'), { onProgress }))
    let heard = 0
    await box.compact({
      onProgress: () => {
        heard += 1
      },
    })
    expect(heard).toBeGreaterThan(0)
    await box.close()
  })

  it('stop when their signal says so, with its reason, and leave the coffer whole', { timeout: 30_000 }, async () => {
    const { box, tree, root } = await big()
    await box.write('kept', 'x')
    await box.flush()
    const reason = new Error('enough')
    const aborted = async (call: (signal: AbortSignal) => Promise<unknown>): Promise<void> => {
      await expect(call(AbortSignal.abort(reason))).rejects.toBe(reason)
      const controller = new AbortController()
      const calling = call(controller.signal)
      setImmediate(() => controller.abort(reason))
      await expect(calling).rejects.toBe(reason)
      expect(await box.readText('kept')).toBe('x')
    }
    await aborted(async (signal) => box.add(tree, { as: 'tree', signal }))
    expect((await box.members()).map((member) => member.name)).toEqual(['kept'])
    await box.add(tree, { as: 'tree' })
    await aborted(async (signal) => box.verify({ signal }))
    await aborted(async (signal) => box.extractAll(join(root, 'out'), { signal }))
    await aborted(async (signal) => box.compact({ signal }))
    await expect(box.verify()).resolves.toMatchObject({ bytes: total + 1 })
    await box.close()
  })

  it('stop when onProgress throws, with what it threw', async () => {
    const { box, tree } = await big()
    const reason = new Error('thrown')
    const onProgress = (): void => {
      throw reason
    }
    await expect(box.add(tree, { as: 'tree', onProgress })).rejects.toBe(reason)
    await box.close()
  })
})
