import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { noise, sha256 } from './support/bytes.ts'
import { CofferBank, CofferNull, CofferStore, exportTar, importTar } from './support/coffer.ts'
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
    for (const member of await to.members()) {
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

  it('carries times before 1970, after 2038, and none at all', async () => {
    const from = await emptyBox()
    const times = [-1n, -1_500_000_000n, 0n, 4_294_967_297_000_000_001n]
    for (const [index, mtime] of times.entries()) await from.write(String(index), 'x', { mtime })
    const to = await emptyBox()
    await importTar(to, exportTar(from))
    expect((await to.members()).map(({ mtimeNs }) => mtimeNs)).toEqual(times)
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
    expect(files).toBe(1)
    expect(skipped.map(({ path }) => path)).toEqual(['soft', 'hard', 'device', 'pipe', 'sparse'])
    expect((await box.members()).map(({ name }) => name)).toEqual(['file'])
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
