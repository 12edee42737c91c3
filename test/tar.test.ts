import { spawnSync } from 'node:child_process'
import { createReadStream, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { noise, sha256 } from './support/bytes.ts'
import { type Coffer, CofferBank, CofferNull, CofferStore, exportTar, importTar } from './support/coffer.ts'
import { contents, keysFor, kinds, openKind } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { sampleMembers } from './support/sample.ts'
import { tempDir } from './support/temp.ts'

const hasTar = spawnSync('tar', ['--version']).status === 0

async function emptyBox(directory = tempDir(), name = 'box.coffer'): Promise<CofferNull> {
  const box = await CofferNull.open(join(directory, name), 'x')
  onTestFinished(() => box.close())
  return box
}

/** The names, and the digests of what they name: comparing megabytes takes the test's tools too long. */
function digests(members: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries([...members].map(([name, data]) => [name, sha256(data)]))
}

/** An archive of entries that tar-stream writes as it is told. */
async function archive(...entries: (readonly [object, string?])[]): Promise<Buffer> {
  const packed = pack()
  for (const [header, data] of entries) packed.entry(header as { name: string }, data ?? '')
  packed.finalize()
  return buffer(packed as unknown as Readable)
}

describe('a tar archive', () => {
  it.each(kinds)('carries every member of a $label to another coffer', async (kind) => {
    const directory = tempDir()
    const from = await openKind(kind, join(directory, 'from'), 'x', keysFor(kind), { autoFlush: false })
    const members = sampleMembers()
    await from.batch(async (b) => {
      for (const [name, data] of members) await b.write(name, data, { mode: 0o600, mtime: 1_714_000_000_123_456_789n })
    })
    const to = await CofferStore.open(join(directory, 'to'), 'x', CofferStore.generateKeys())
    const imported = await importTar(to, exportTar(from))
    expect(imported).toMatchObject({ files: members.size, directories: 0, skipped: [] })
    expect(digests(await contents(to))).toEqual(digests(members))
    for (const member of await to.members({ bigint: true })) {
      expect([member.mode, member.mtimeNs]).toEqual([0o600, 1_714_000_000_123_456_789n])
    }
    await from.close()
    await to.close()
  })

  it('carries empty directories with permissions and times', async () => {
    const directory = tempDir()
    mkdirSync(join(directory, 'd/empty'), { recursive: true, mode: 0o750 })
    writeFileSync(join(directory, 'd/file'), 'x')
    utimesSync(join(directory, 'd/empty'), 1_500_000_000, 1_500_000_000)
    const from = await emptyBox(directory, 'from')
    await from.add(join(directory, 'd'))
    const to = await emptyBox(directory, 'to')
    expect(await importTar(to, exportTar(from), { prefix: 'copy' })).toMatchObject({ files: 1, directories: 1 })
    expect((await to.members()).map(({ name }) => name)).toEqual(['copy/d/empty', 'copy/d/file'])
    expect(await to.stat('copy/d/empty')).toMatchObject({
      type: 'directory',
      mode: posix ? 0o750 : 0o755,
      mtime: new Date(1_500_000_000_000),
    })
  })

  it('carries permissions of 0, and times of directories to the nanosecond', async () => {
    const archived = await archive(
      [{ name: 'file', type: 'file', mode: 0o10000 }, 'x'],
      [{ name: 'closed/', type: 'directory', mode: 0o10000, pax: { mtime: '-1.5' } }],
      [{ name: 'sticky/', type: 'directory', mode: 0o1777, pax: { mtime: '1500000000.123456789' } }],
    )
    const from = await emptyBox(tempDir(), 'from')
    expect(await importTar(from, Readable.from([archived]))).toMatchObject({ files: 1, directories: 2, skipped: [] })
    const to = await emptyBox(tempDir(), 'to')
    await importTar(to, exportTar(from))
    for (const box of [from, to]) {
      const seen = (await box.members({ bigint: true })).map(({ name, type, mode, mtimeNs }) => [
        name,
        type,
        mode,
        mtimeNs,
      ])
      expect(seen.slice(0, 1).concat(seen.slice(2))).toEqual([
        ['closed', 'directory', 0, -1_500_000_000n],
        ['sticky', 'directory', 0o1777, 1_500_000_000_123_456_789n],
      ])
      expect(seen[1]?.slice(0, 3)).toEqual(['file', 'file', 0])
    }
  })

  it('carries times before 1970, after 2038, and none at all', async () => {
    const from = await emptyBox()
    const times = [-1n, -1_500_000_000n, 0n, 4_294_967_297_000_000_001n]
    for (const [index, mtime] of times.entries()) await from.write(String(index), 'x', { mtime })
    const to = await emptyBox()
    await importTar(to, exportTar(from))
    expect((await to.members({ bigint: true })).map(({ mtimeNs }) => mtimeNs)).toEqual(times)
  })

  it('of a coffer without members is an archive without entries', async () => {
    const from = await emptyBox()
    const bytes = await buffer(exportTar(from))
    expect(bytes.equals(Buffer.alloc(1024))).toBe(true)
    expect(await importTar(from, Readable.from([bytes]))).toEqual({ files: 0, directories: 0, bytes: 0, skipped: [] })
  })

  it.skipIf(!hasTar)('is what tar reads and writes', async () => {
    const directory = tempDir()
    const box = await emptyBox(directory)
    const long = `${'directory/'.repeat(20)}name`
    await box.write(long, 'long\n')
    await box.write('ünïcode', 'u\n')
    const bytes = await buffer(exportTar(box))
    mkdirSync(join(directory, 'out'))
    expect(spawnSync('tar', ['-xf', '-', '-C', 'out'], { cwd: directory, input: bytes }).status).toBe(0)
    symlinkSync('ünïcode', join(directory, 'out/link'))
    const made = spawnSync('tar', ['-cf', '-', '-C', 'out', '.'], { cwd: directory, maxBuffer: 1 << 24 }).stdout
    const to = await emptyBox(directory, 'to')
    const { skipped } = await importTar(to, Readable.from([made]))
    expect(skipped).toEqual([{ path: './link', reason: 'it is a symbolic link to ünïcode' }])
    expect(await contents(to)).toEqual(await contents(box))
  })

  it('can have some of the members only', async () => {
    const from = await emptyBox()
    for (const name of ['a/1', 'a/2', 'ab', 'b']) await from.write(name, name)
    const to = await emptyBox()
    await importTar(to, exportTar(from, { members: ['a', 'b'] }))
    expect((await to.members()).map(({ name }) => name)).toEqual(['a/1', 'a/2', 'b'])
    await expect(buffer(exportTar(from, { members: ['nothing'] }))).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_NOT_FOUND',
    })
  })
})

describe('exportTar', () => {
  /** Replaces every member when the first bytes of an archive have been read. Gives the archive, or its error's code. */
  async function exportedBeside(reader: Coffer, writer: Coffer, names: readonly string[]): Promise<Buffer | string> {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of exportTar(reader)) {
        if (chunks.length === 0) {
          for (const name of names) await writer.write(name, `${name} is new, and shorter`, { mode: 0o600 })
          await writer.flush()
        }
        chunks.push(chunk)
      }
    } catch (error) {
      return (error as { code: string }).code
    }
    return Buffer.concat(chunks)
  }

  it.each(kinds)('of a $label has one state of it, or is stale, while members are replaced', async (kind) => {
    const path = join(tempDir(), 'replaced.coffer')
    const keys = keysFor(kind)
    const names = Array.from({ length: 40 }, (_, index) => `member/${10 + index}`)
    await using writer = await openKind(kind, path, 'x', keys, { autoFlush: false, lock: 'w' })
    const fill = async () => {
      await writer.batch(async (b) => {
        for (const [index, name] of names.entries()) {
          await b.write(name, noise(index === 20 ? 700_000 : 30_000, index), { mode: 0o644 })
        }
      })
      await writer.flush()
    }
    for (const beside of [false, true]) {
      await fill()
      const reader = beside ? await openKind(kind, path, 'r', keys, { lock: 'none' }) : writer
      const exported = await exportedBeside(reader, writer, names)
      if (beside) await reader.close()
      if (typeof exported === 'string') {
        expect(exported).toBe('ERR_COFFER_STALE')
        continue
      }
      await using copy = await CofferNull.open(join(tempDir(), 'copy'), 'x')
      await importTar(copy, Readable.from([exported]))
      for (const [index, { name, mode }] of (await copy.members()).entries()) {
        expect([name, mode]).toEqual([names[index], 0o644])
        expect((await copy.read(name)).equals(noise(index === 20 ? 700_000 : 30_000, index))).toBe(true)
      }
    }
  })

  it('is stale where a member is deleted before it was read', async () => {
    const box = await emptyBox()
    for (let i = 10; i < 40; i += 1) await box.write(`member/${i}`, noise(100_000, i))
    const reading = (async () => {
      let first = true
      for await (const _ of exportTar(box)) {
        if (first) await box.delete('member/39')
        first = false
      }
    })()
    await expect(reading).rejects.toMatchObject({ code: 'ERR_COFFER_STALE', member: 'member/39' })
  })

  it('asks for its members once, however many names there are, also for names that lie in each other', async () => {
    const box = await emptyBox()
    for (let i = 10; i < 30; i += 1) await box.write(`a/b/${i}`, String(i))
    await box.write('c', 'c')
    const calls = [vi.spyOn(box, 'stat'), vi.spyOn(box, 'members'), vi.spyOn(box, 'has')]
    const members = ['a/b/12', 'a', 'a/b', 'a', 'a/b/12', 'c']
    const bytes = await buffer(exportTar(box, { members }))
    for (const call of calls) expect(call).not.toHaveBeenCalled()
    vi.restoreAllMocks()
    const to = await emptyBox(tempDir(), 'to')
    expect(await importTar(to, Readable.from([bytes]))).toMatchObject({ files: 21 })
  })

  it('tells how far it has come, and can be stopped', async () => {
    const box = await emptyBox()
    await box.write('large', noise(3_000_000))
    const reports: number[] = []
    await buffer(exportTar(box, { onProgress: ({ bytes, totalBytes }) => reports.push(bytes, totalBytes ?? 0) }))
    expect(reports.slice(-2)).toEqual([3_000_000, 3_000_000])
    const reason = new Error('enough')
    await expect(buffer(exportTar(box, { signal: AbortSignal.abort(reason) }))).rejects.toBe(reason)
    const thrown = new Error('thrown')
    const throwing = exportTar(box, {
      onProgress: () => {
        throw thrown
      },
    })
    await expect(buffer(throwing)).rejects.toBe(thrown)
  })

  it('may be left before its end', async () => {
    const box = await CofferBank.open(join(tempDir(), 'b'), 'x', CofferBank.generateKeys())
    await box.write('a', noise(2_000_000))
    await box.write('b', noise(2_000_000))
    for await (const chunk of exportTar(box)) {
      expect(chunk.length).toBeGreaterThan(0)
      break
    }
    await box.close()
  })

  it('fails as reading does', async () => {
    const box = await emptyBox()
    await box.close()
    await expect(buffer(exportTar(box))).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    expect(() => exportTar(box, { members: 'a' as never })).toThrow(/array of names/)
    expect(() => exportTar(box, { member: [] } as never)).toThrow(/no option member/)
  })
})

describe('importTar', () => {
  it('leaves out what is neither a file nor a directory, and says so', async () => {
    const box = await emptyBox()
    const bytes = await archive(
      [{ name: 'file' }, 'x'],
      [{ name: 'soft', type: 'symlink', linkname: '/etc/passwd' }],
      [{ name: 'hard', type: 'link', linkname: 'file' }],
      [{ name: 'device', type: 'character-device' }],
      [{ name: 'pipe', type: 'fifo' }],
      [{ name: 'sparse', pax: { 'GNU.sparse.major': '1' } }, 'map'],
    )
    const { files, skipped } = await importTar(box, Readable.from([bytes]))
    expect(files).toBe(2)
    expect(skipped.map(({ path }) => path)).toEqual(['soft', 'device', 'pipe', 'sparse'])
    expect((await box.members()).map(({ name }) => name)).toEqual(['file', 'hard'])
  })

  it.each([
    ['a name that leads out', 'a/../../b', 'ERR_COFFER_UNSAFE_PATH'],
    ['a component that is too long', 'n'.repeat(300), 'ERR_COFFER_INVALID_ARG'],
    ['a file where a directory is', 'first/below', 'ERR_COFFER_MEMBER_EXISTS'],
  ])('stores nothing of an archive with %s', async (_, name, code) => {
    const box = await emptyBox()
    const bytes = await archive([{ name: 'first' }, '1'], [{ name }, '2'])
    await expect(importTar(box, Readable.from([bytes]))).rejects.toMatchObject({ code })
    expect(await box.members()).toEqual([])
  })

  it('takes absolute names as relative ones, and the last of several entries with one name', async () => {
    const box = await emptyBox()
    const bytes = await archive(
      [{ name: '/etc//./hosts' }, 'one'],
      [{ name: 'etc/hosts' }, 'two'],
      [{ name: './', type: 'directory' }],
    )
    expect(await importTar(box, Readable.from([bytes]), { replace: false })).toMatchObject({ files: 2, directories: 0 })
    expect(await box.readText('etc/hosts')).toBe('two')
  })

  it('stores nothing of what is damaged, cut short, empty or no archive', async () => {
    const box = await emptyBox()
    const whole = await archive([{ name: 'a' }, 'x'], [{ name: 'b' }, noise(100_000).toString('latin1')])
    for (const bytes of [whole.subarray(0, 50_000), whole.subarray(0, 700), noise(2048), Buffer.alloc(0)]) {
      await expect(importTar(box, Readable.from([bytes]))).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    }
    expect(await box.members()).toEqual([])
  })

  it('rejects with what its source fails with, or its signal says, and stores nothing', async () => {
    const box = await emptyBox()
    const bytes = await archive([{ name: 'a' }, 'x'], [{ name: 'b' }, 'y'.repeat(2_000_000)])
    const reason = new Error('the line is down')
    const failing = Readable.from(
      (async function* () {
        yield bytes.subarray(0, 1_000_000)
        throw reason
      })(),
    )
    await expect(importTar(box, failing)).rejects.toBe(reason)
    await expect(importTar(box, Readable.from([bytes]), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const stopped = importTar(box, Readable.from([bytes]), {
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    await expect(stopped).rejects.toBe(reason)
    expect(await box.members()).toEqual([])
    expect(box.modified).toBe(false)
  })

  it('stores the content of a hard link again, and nothing that the archive did not bring', async () => {
    const box = await emptyBox()
    await box.write('secret', 'the coffer had this before')
    await box.write('copy/secret', 'and this')
    const large = noise(400_000).toString('latin1')
    const bytes = await archive(
      [{ name: 'file' }, 'x'],
      [{ name: 'large' }, large],
      [{ name: 'hard', type: 'link', linkname: './file', mode: 0o600 }],
      [{ name: 'harder', type: 'link', linkname: 'hard' }],
      [{ name: 'large-too', type: 'link', linkname: 'large' }],
      [{ name: 'stolen', type: 'link', linkname: 'secret' }],
      [{ name: 'absolute', type: 'link', linkname: '/secret' }],
      [{ name: 'later', type: 'link', linkname: 'last' }],
      [{ name: 'last' }, 'y'],
    )
    const { files, skipped } = await importTar(box, Readable.from([bytes]), { prefix: 'copy' })
    expect(files).toBe(6)
    expect(skipped.map(({ path }) => path)).toEqual(['stolen', 'absolute', 'later'])
    expect(skipped[0]?.reason).toBe('it is a link to secret, which the archive did not store before it')
    expect(await box.readText('copy/hard')).toBe('x')
    expect(await box.readText('copy/harder')).toBe('x')
    expect((await box.read('copy/large-too')).equals(await box.read('copy/large'))).toBe(true)
    expect((await box.stat('copy/hard')).mode).toBe(0o600)
    const leading = await archive([{ name: 'hard', type: 'link', linkname: '../secret' }])
    await expect(importTar(box, Readable.from([leading]), { prefix: 'copy' })).rejects.toMatchObject({
      code: 'ERR_COFFER_UNSAFE_PATH',
    })
  })

  it('refuses a directory where the coffer or the archive has a file', async () => {
    const box = await emptyBox()
    await box.write('a', 'a file')
    for (const bytes of [
      await archive([{ name: 'new' }, 'x'], [{ name: 'a/', type: 'directory' }]),
      await archive([{ name: 'b/', type: 'directory' }], [{ name: 'b' }, 'x']),
      await archive([{ name: 'b' }, 'x'], [{ name: 'b/', type: 'directory' }]),
    ]) {
      await expect(importTar(box, Readable.from([bytes]))).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_EXISTS' })
      expect((await box.members()).map(({ name }) => name)).toEqual(['a'])
    }
  })

  it('needs no temporary directory for empty directories, and gives those that are there new attributes', async () => {
    const box = await emptyBox()
    const directory = (mode: number) => archive([{ name: 'd/', type: 'directory', mode }])
    vi.stubEnv('TMPDIR', join(tempDir(), 'missing'))
    onTestFinished(() => void vi.unstubAllEnvs())
    expect(await importTar(box, Readable.from([await directory(0o700)]))).toMatchObject({ directories: 1 })
    expect(await importTar(box, Readable.from([await directory(0o750)]))).toMatchObject({ directories: 1 })
    expect((await box.members()).map(({ name, mode }) => [name, mode])).toEqual([['d', 0o750]])
    await box.write('d/file', 'x')
    expect(await importTar(box, Readable.from([await directory(0o711)]))).toMatchObject({ directories: 0 })
  })

  it('does not wait for a source that has stalled when its signal says so', async () => {
    const box = await emptyBox()
    const bytes = await archive([{ name: 'a' }, 'x'], [{ name: 'b' }, 'y'.repeat(2_000_000)])
    for (const most of [0, 700, 1_000_000]) {
      const stalling = Readable.from(
        (async function* () {
          if (most > 0) yield bytes.subarray(0, most)
          await new Promise(() => {})
        })(),
        { objectMode: false },
      )
      const controller = new AbortController()
      const stopped = importTar(box, stalling, { signal: controller.signal })
      setTimeout(() => controller.abort('enough'), 20)
      await expect(stopped).rejects.toBe('enough')
    }
    expect(await box.members()).toEqual([])
    await box.write('after', 'the batch has ended')
  })

  it('refuses a source that is used up, that has an encoding, or that is no stream', async () => {
    const box = await emptyBox()
    const bytes = await archive([{ name: 'a' }, 'x'])
    const used = Readable.from([bytes])
    await buffer(used)
    const text = Readable.from([bytes], { objectMode: false }).setEncoding('utf8')
    for (const source of [used, text, bytes as never, undefined as never]) {
      await expect(importTar(box, source)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
    const missing = createReadStream(join(tempDir(), 'missing'))
    await expect(importTar(box, missing)).rejects.toMatchObject({ code: 'ENOENT' })
    expect(await box.members()).toEqual([])
  })

  it('does not replace a member with replace: false', async () => {
    const box = await emptyBox()
    await box.write('a', 'old')
    const bytes = await archive([{ name: 'new' }, 'x'], [{ name: 'a' }, 'y'])
    await expect(importTar(box, Readable.from([bytes]), { replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
      member: 'a',
    })
    expect((await box.members()).map(({ name }) => name)).toEqual(['a'])
    await importTar(box, Readable.from([bytes]))
    expect(await box.readText('a')).toBe('y')
  })
})
