/**
 * Attacks on the file and on what is made of it, and where each is shown:
 *
 * | attack | test |
 * | --- | --- |
 * | chunks reordered, repeated, dropped, spliced between members and coffers of one key | tamper: "tampering with data" |
 * | the same in an encrypted file | crypt-tamper, and `file_crypt/tests.rs` |
 * | truncation at a commit boundary, an older copy, a fork | here: "an older state" |
 * | a file replaced under an open handle | here: "an older state" |
 * | a footer or a commit rolled back, or of another coffer | tamper: "tampering with commits" |
 * | a commit made of chosen contents | tamper: "an attacker's commit" |
 * | the header stripped, to pass for a legacy coffer | tamper: "tampering with the header", crypt-tamper |
 * | the wrong kind | tamper: "tampering with the header", errors |
 * | a derivation that is too expensive, or too cheap | passphrase: "the header of a coffer from a passphrase" |
 * | one header for two keys | `attacks_test.rs` (secretbox); here: "half of a Fernet key" |
 * | lengths of every size | here: "a length"; `attacks_test.rs` (in a catalog), `chunk.rs`, `codec.rs` |
 * | zstd bombs | `attacks_test.rs` (a size that lies), `frame.rs`; here: limits, windows |
 * | commits, CBOR and pickles that ask for more memory than they have bytes for | `commit_parts.rs`, `rules.rs`; here: limits; `unit/heap` |
 * | commits that the next writer cannot live with | `rules.rs`, `fuzz/hostile.rs`, `container/commit.rs` |
 * | a tar and a catalog that disagree | `attacks_test.rs` |
 * | a legacy tar that can be read in two ways | here, and `legacy/entries.rs` |
 * | hostile names | `attacks_test.rs`, `name.rs`; here for legacy coffers |
 * | names that are one on the file system | `extract.rs` |
 * | symlinks, hard links and devices in a legacy tar | here, and legacy |
 * | symlinks in the target, also planted meanwhile | extract: "extraction stays inside its target"; here, by another process |
 */

import { createHmac } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Inside, startChild } from './support/child.ts'
import { User } from './support/cli.ts'
import { CofferBank, CofferError, CofferMarket, CofferNull, CofferStore } from './support/coffer.ts'
import { chunks, pieces } from './support/format.ts'
import { keysFor, kinds, openKind } from './support/kinds.ts'
import { paxHeader, tarEnd, tarEntry, zstdFrame } from './support/legacy.ts'
import { tempDir } from './support/temp.ts'

const corrupt = { code: 'ERR_COFFER_CORRUPT' }
const rolledBack = { code: 'ERR_COFFER_ROLLED_BACK' }
const tooLarge = { code: 'ERR_COFFER_TOO_LARGE' }

/** A Null as PyCoffer writes it, with a tar of the test's own. */
function legacyNull(...tar: Buffer[]): string {
  const path = join(tempDir(), 'legacy.coffer')
  writeFileSync(path, zstdFrame(Buffer.concat(tar)))
  return path
}

async function textsOf(path: string): Promise<Record<string, string>> {
  await using box = await CofferNull.open(path, 'r', { legacy: true })
  const names = (await box.members()).filter((member) => member.type === 'file').map((member) => member.name)
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await box.readText(name)])))
}

describe('what is extracted may be limited', () => {
  const sizes = { 'a/large': 300_000, 'a/small': 1_000, b: 10 }

  async function boxWith(directory: string): Promise<CofferNull> {
    const box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
    for (const [name, size] of Object.entries(sizes)) await box.write(name, noise(size))
    return box
  }

  it.each([
    [{ maxMemberSize: 299_999 }, 'a/large'],
    [{ maxTotalSize: 301_009 }, 'b'],
    [{ maxTotalSize: 0 }, 'a/large'],
    [{ maxMemberSize: 300_000, maxTotalSize: 300_999 }, 'a/small'],
  ])('by %j: then nothing is written at all', async (limits, member) => {
    const directory = tempDir()
    const target = join(directory, 'out')
    await using box = await boxWith(directory)
    await expect(box.extractAll(target, limits)).rejects.toMatchObject({ ...tooLarge, member, path: box.path })
    expect(existsSync(target)).toBe(false)
  })

  it('to exactly what there is, and to what is selected', async () => {
    const directory = tempDir()
    await using box = await boxWith(directory)
    const limits = { maxMemberSize: 300_000, maxTotalSize: 301_010 }
    expect(await box.extractAll(join(directory, 'all'), limits)).toMatchObject({ files: 3, bytes: 301_010 })
    const one = await box.extract('b', join(directory, 'one'), { maxMemberSize: 10, maxTotalSize: 10 })
    expect(one).toMatchObject({ files: 1, bytes: 10 })
  })

  it('of a handle, in every call that returns bytes of a member, and an extraction cannot raise them', async () => {
    const directory = tempDir()
    const { path } = await boxWith(directory).then(async (made) => {
      await made.dump('value', 'x'.repeat(2_000))
      await made.close()
      return made
    })
    await using box = await CofferNull.open(path, 'r+', { maxMemberSize: 1_000, maxTotalSize: 1_005 })
    const refused = { ...tooLarge, member: 'a/large', path }
    await expect(box.read('a/large')).rejects.toMatchObject(refused)
    await expect(box.readText('a/large')).rejects.toMatchObject(refused)
    await expect(box.load('value')).rejects.toMatchObject({ ...tooLarge, member: 'value' })
    await expect(box.readLines('a/large').next()).rejects.toMatchObject(refused)
    await expect(box.createReadStream('a/large', { start: 5, end: 9 }).toArray()).rejects.toMatchObject(refused)
    await expect(box.file('a/large', 'r', async (file) => file.readFile())).rejects.toMatchObject(refused)
    await expect(box.batch(async (batch) => batch.read('a/large'))).rejects.toMatchObject(refused)
    const target = join(directory, 'out')
    for (const options of [{}, { maxMemberSize: 1_000_000, maxTotalSize: 1_000_000 }]) {
      await expect(box.extract('a/large', target, options)).rejects.toMatchObject(refused)
      await expect(box.extract(['a/small', 'b'], target, options)).rejects.toMatchObject(tooLarge)
    }
    expect(existsSync(target)).toBe(false)
    // What is not returned is not limited.
    expect((await box.read('a/small')).length).toBe(1_000)
    expect((await box.stat('a/large')).size).toBe(300_000)
    expect(await box.members()).toHaveLength(4)
    await expect(box.verify()).resolves.toMatchObject({ members: 4 })
    await box.write('more', noise(5_000))
    await expect(box.read('more')).rejects.toMatchObject({ ...tooLarge, member: 'more' })
    await box.append('b', 'x')
    await box.compact()
  })

  it.each([-1, 1.5, Number.NaN, '5' as unknown as number, 2 ** 53])('but not by %s', async (size) => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await expect(CofferNull.open(box.path, 'r', { maxCatalogSize: size })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
    })
    for (const limits of [{ maxMemberSize: size }, { maxTotalSize: size }]) {
      await expect(box.extractAll(tempDir(), limits)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
      await expect(CofferNull.open(box.path, 'r', limits)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })

  it('where a legacy coffer is unpacked, before the temp directory is full', async () => {
    const [directory, temp] = [tempDir(), tempDir()]
    const path = join(directory, 'bomb.coffer')
    const [header, half] = [tarEntry({ name: 'bomb', size: 2_000_000_000 }), { byte: 7, times: 1_000_000_000 }]
    writeFileSync(path, Buffer.concat([zstdFrame(header), zstdFrame(half), zstdFrame(half)]))
    expect(readFileSync(path).length).toBeLessThan(100_000)
    for (const limits of [{ maxMemberSize: 1_000_000 }, { maxTotalSize: 1_000_000 }]) {
      const opening = CofferNull.open(path, 'r', { legacy: true, tempDir: temp, lock: 'none', ...limits })
      await expect(opening).rejects.toMatchObject({ ...tooLarge, member: 'bomb', path })
      expect(readdirSync(temp)).toEqual([])
    }
    const small = legacyNull(tarEntry({ name: 'a' }, 'one'), tarEntry({ name: 'b' }, 'two'))
    await (await CofferNull.open(small, 'r', { legacy: true, maxMemberSize: 3, maxTotalSize: 6 })).close()
    const opening = CofferNull.open(small, 'r', { legacy: true, maxTotalSize: 5 })
    await expect(opening).rejects.toMatchObject({ ...tooLarge, member: 'b' })
  })

  it('in the list of members, before memory is taken for it', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'x')
    const names = Array.from({ length: 1_000 }, (_, number) => `member-${number}`)
    await box.batch(async (batch) => {
      for (const name of names) await batch.write(name, '')
    })
    await box.close()
    await expect(CofferNull.open(path, 'r', { maxCatalogSize: 10_000 })).rejects.toMatchObject({ ...tooLarge, path })
    await expect(CofferNull.open(path, 'a', { maxCatalogSize: 10_000 })).rejects.toMatchObject({ ...tooLarge, path })
    expect(existsSync(`${path}.torn`)).toBe(false)
    const again = await CofferNull.open(path, 'a', { maxCatalogSize: 60_000 })
    // What follows a snapshot counts as well.
    for (let at = 0; at < names.length; at += 100) {
      for (const name of names.slice(at, at + 100)) await again.write(name, 'x')
      await again.flush()
    }
    await again.close()
    await expect(CofferNull.open(path, 'r', { maxCatalogSize: 40_000 })).rejects.toMatchObject(tooLarge)
    await (await CofferNull.open(path, 'r')).close()
    const legacy = legacyNull(...names.map((name) => tarEntry({ name }, '')))
    await expect(CofferNull.open(legacy, 'r', { legacy: true, maxCatalogSize: 10_000 })).rejects.toMatchObject(tooLarge)
    await (await CofferNull.open(legacy, 'r', { legacy: true, maxCatalogSize: 60_000 })).close()
  })

  it('in a commit, whatever the caller allows, by what its file could describe', async () => {
    const bomb = join(tempDir(), 'bomb.coffer')
    copyFileSync(join(import.meta.dirname, '../crates/coffer-core/tests/fixtures/rules/commit-bomb.null.coffer'), bomb)
    for (const mode of ['r', 'a'] as const) {
      await expect(CofferNull.open(bomb, mode)).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', path: bomb })
      const opening = CofferNull.open(bomb, mode, { maxCatalogSize: 1_000_000 })
      await expect(opening).rejects.toMatchObject({ ...tooLarge, path: bomb })
    }
  })

  it('by the command, in bytes and in units', async () => {
    const user = new User()
    await user.ok(['generate', 'vault', '--type', 'null', '--write'])
    user.file('a', 'x'.repeat(3_000))
    await user.ok(['add', 'a'])
    for (const limit of ['--max-member-size=2999', '--max-total-size=2.9 kB', '--max-catalog-size=20']) {
      const { code, stderr } = await user.run(['extract', '--to', 'out', limit])
      expect([code, stderr]).toEqual([1, expect.stringMatching(/allow/)])
      expect(existsSync(user.path('out'))).toBe(false)
    }
    expect((await user.run(['extract', '--to', 'out', '--max-total-size', '1 parsec'])).code).toBe(2)
    await user.ok(['extract', '--to', 'out', '--max-member-size', '3kB', '--max-total-size', '1GiB'])
    expect(user.read('out/a')).toHaveLength(3_000)
  })
})

describe('a legacy coffer whose tar can be read in two ways is damage', () => {
  const file = tarEntry({ name: 'good' }, 'good')

  it.each([
    ['a path twice in one PAX header', [paxHeader(['path', 'good'], ['path', 'evil']), file]],
    ['the same path twice', [paxHeader(['path', 'good'], ['path', 'good']), file]],
    ['two PAX headers', [paxHeader(['path', 'good']), paxHeader(['path', 'good']), file]],
    ['a PAX path that is not the one of ustar', [paxHeader(['path', 'evil']), file]],
    ['a PAX size that is not the one of ustar', [paxHeader(['size', '2']), file]],
    ['a size twice', [paxHeader(['size', '4'], ['size', '2']), file]],
    [
      'a name of GNU beside one of PAX',
      [tarEntry({ name: 'L', type: 'L' }, 'good\0'), paxHeader(['path', 'good']), file],
    ],
    ['a name of GNU that is not the one of ustar', [tarEntry({ name: 'L', type: 'L' }, 'evil\0'), file]],
    ['a sparse file of GNU with another name', [paxHeader(['GNU.sparse.name', 'evil']), file]],
    ['a malformed PAX record', [tarEntry({ name: 'x', type: 'x' }, '99 path=evil\n'), file]],
    ['a directory with contents', [tarEntry({ name: 'dir/', type: '5' }, 'evil'), file]],
    ['a file whose name is that of a directory', [tarEntry({ name: 'dir/' }, 'evil'), file]],
    ['a name that is a file and a directory', [file, tarEntry({ name: 'good/inner' }, 'evil')]],
    ['a directory that is a file as well', [file, tarEntry({ name: 'good/', type: '5' })]],
    ['an entry behind its end', [file, tarEnd, tarEntry({ name: 'evil' }, 'evil')]],
    ['an end in the middle of an entry', [file.subarray(0, 515)]],
  ])('%s', async (_, tar) => {
    await expect(textsOf(legacyNull(...tar))).rejects.toMatchObject(corrupt)
  })

  it('and one that says things twice in the ways that tarfile does is not', async () => {
    const long = `${'d'.repeat(120)}/é`
    const path = legacyNull(
      paxHeader(['path', 'ü'], ['mtime', '1700000000.5']),
      tarEntry({ name: '?' }, 'pax'),
      paxHeader(['path', long]),
      tarEntry({ name: long.slice(0, 100) }, 'long'),
      tarEntry({ name: '././@LongLink', type: 'L' }, `gnu/${long}\0`),
      tarEntry({ name: `gnu/${long}`.slice(0, 100) }, 'gnu'),
      tarEnd,
      Buffer.alloc(9_000),
    )
    expect(await textsOf(path)).toEqual({ ü: 'pax', [long]: 'long', [`gnu/${long}`]: 'gnu' })
  })

  it.each([1, 3, 31, 32, 600])('%i stray bytes behind it', async (count) => {
    const nothing = legacyNull(file, tarEnd)
    writeFileSync(nothing, Buffer.concat([readFileSync(nothing), noise(count, 'stray')]))
    await expect(textsOf(nothing)).rejects.toMatchObject(corrupt)
    const sealed = join(tempDir(), 'market.coffer')
    const fixture = new URL('./fixtures/market.pycoffer', import.meta.url)
    writeFileSync(sealed, Buffer.concat([readFileSync(fixture), noise(count, 'stray')]))
    const secureKey = Buffer.from(Array.from({ length: 32 }, (_, index) => 100 + index))
    const opening = CofferMarket.open(sealed, 'r', { secureKey, legacy: true })
    await expect(opening).rejects.toMatchObject(corrupt)
  })

  it('a window that would take more memory than a level of zstd asks for', async () => {
    const path = legacyNull()
    writeFileSync(path, zstdFrame(file, 27))
    expect(await textsOf(path)).toEqual({ good: 'good' })
    writeFileSync(path, zstdFrame(file, 28))
    await expect(textsOf(path)).rejects.toMatchObject(corrupt)
  })
})

describe('a hostile legacy coffer', () => {
  it.each([
    ['..', {}],
    ['../evil', {}],
    ['a/../../evil', {}],
    ['a/..', {}],
    ['a//evil', {}],
    ['link', { type: '2', link: '/tmp' }],
    ['hard', { type: '1', link: '/etc/passwd' }],
    ['device', { type: '3' }],
    ['fifo', { type: '6' }],
    ['global', { type: 'g' }],
  ])('with %j is refused as a whole, and nothing of it is extracted', async (name, header) => {
    const path = legacyNull(tarEntry({ name: 'good' }, 'good'), tarEntry({ name, ...header }), tarEnd)
    await expect(textsOf(path)).rejects.toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH' })
  })

  it.each([256, 4_000, 65_536])('with a name of %i bytes is refused', async (length) => {
    const name = 'n'.repeat(length)
    const path = legacyNull(paxHeader(['path', name]), tarEntry({ name: name.slice(0, 100) }, 'evil'), tarEnd)
    await expect(textsOf(path)).rejects.toMatchObject({ code: 'ERR_COFFER_UNSAFE_PATH' })
  })

  it('with a NUL in a name of PAX is refused', async () => {
    const path = legacyNull(paxHeader(['path', 'good\0evil']), tarEntry({ name: 'good' }, 'evil'), tarEnd)
    await expect(textsOf(path)).rejects.toBeInstanceOf(CofferError)
  })
})

describe.each(kinds)('a length that is changed, $label', (kind) => {
  it('wherever it stands and whatever it says, asks for no memory and gives no wrong byte', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('a', 'genuine')
    await box.close()
    const file = readFileSync(path)
    const sealed = kind.container !== null
    const before = process.memoryUsage().rss
    let refused = 0
    for (const piece of pieces(file, sealed)) {
      const at = sealed ? piece.offset : piece.offset + 4
      for (const length of [0, 1, 39, 0xffff, 0xff_ffff, 0x0100_0000, 0x0100_0001, 0x7fff_ffff, 0xffff_ffff]) {
        const copy = Buffer.from(file)
        copy.writeUInt32LE(length, at)
        writeFileSync(path, copy)
        const read = async (): Promise<string> => {
          await using open = await openKind(kind, path, 'r', keys, { lock: 'none' })
          return (await open.has('a')) ? await open.readText('a') : 'genuine'
        }
        const text = await read().catch((error: unknown) => {
          expect(error).toBeInstanceOf(CofferError)
          refused += 1
          return 'genuine'
        })
        expect(text, `${length} at ${at}`).toBe('genuine')
      }
    }
    expect(refused).toBeGreaterThan(10)
    expect(process.memoryUsage().rss - before).toBeLessThan(400_000_000)
  })
})

describe.each(kinds)('an older state, $label', (kind) => {
  it('cut off at a commit boundary, copied back or forked: whoever remembers a commit is told', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    await box.write('a', 'first')
    await box.flush()
    const first = box.head
    const older = readFileSync(path)
    await box.write('a', 'second')
    await box.close()
    const commit = box.head
    const whole = readFileSync(path)

    // The one thing that a single file cannot tell: it is a good coffer, and says nothing.
    truncateSync(path, older.length)
    if (!whole.subarray(0, older.length).equals(older)) writeFileSync(path, older)
    await using cut = await openKind(kind, path, 'r', keys)
    expect([cut.notices, await cut.readText('a')]).toEqual([[], 'first'])
    for (const mode of ['r', 'a'] as const) {
      await expect(openKind(kind, path, mode, keys, { lock: 'none', expect: commit })).rejects.toMatchObject(rolledBack)
    }
    await cut.close()

    // A fork: as many commits as were expected, and more, but not these.
    const fork = await openKind(kind, path, 'a', keys, { autoFlush: false, expect: first })
    await fork.write('a', 'forked')
    await fork.flush()
    expect(fork.head.generation).toBe(commit.generation)
    await expect(openKind(kind, path, 'r', keys, { lock: 'none', expect: commit })).rejects.toMatchObject(rolledBack)
    await fork.write('b', 'forked')
    await fork.close()
    await expect(openKind(kind, path, 'r', keys, { expect: commit })).rejects.toMatchObject(rolledBack)

    writeFileSync(path, whole)
    await (await openKind(kind, path, 'r', keys, { expect: commit })).close()
    await (await openKind(kind, path, 'r', keys, { expect: first })).close()
  })

  it('a fork that is put under an open handle is damage to it, and never read as a later state', async () => {
    const directory = tempDir()
    const [path, other] = [join(directory, 'box.coffer'), join(directory, 'fork.coffer')]
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { autoFlush: false })
    await box.flush({ force: true })
    copyFileSync(path, other)
    await box.write('a', noise(300_000, 'genuine'))
    await box.close()
    const fork = await openKind(kind, other, 'a', keys, { autoFlush: false })
    await fork.write('a', noise(300_000, 'forked'))
    for (let times = 0; times < 4; times += 1) await fork.flush({ force: true })
    await fork.close()

    await using reader = await openKind(kind, path, 'r', keys, { lock: 'none' })
    expect(reader.head.generation).toBeLessThan(fork.head.generation)
    writeFileSync(path, readFileSync(other))
    await expect(reader.read('a')).rejects.toMatchObject(corrupt)
    await expect(reader.verify()).rejects.toMatchObject(corrupt)
  })
})

describe('half of a Fernet key', () => {
  it('is enough for a token, and not for a coffer: the key check is of all of it', async () => {
    const path = join(tempDir(), 'bank.coffer')
    const { cofferKey, secureKey } = CofferBank.generateKeys({ cipher: 'fernet' })
    const box = await CofferBank.open(path, 'x', { cofferKey, secureKey })
    await box.write('a', 'confidential')
    await box.close()
    const whole = Buffer.from(cofferKey, 'base64url')
    const half = Buffer.concat([whole.subarray(0, 16), noise(16, 'another key')])
    // Each token of the file authenticates under the other key, too.
    const file = readFileSync(path)
    for (const { offset, length, payload } of chunks(file)) {
      const token = Buffer.from(file.toString('latin1', payload, offset + length), 'base64url')
      const mac = createHmac('sha256', half.subarray(0, 16)).update(token.subarray(0, -32)).digest()
      expect(mac.equals(token.subarray(-32))).toBe(true)
    }
    await expect(CofferBank.open(path, 'r', { cofferKey: half, secureKey })).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
    })
  })
})

describe('another process that plants links while a coffer is extracted', () => {
  it('gets nothing outside the target', { timeout: 60_000 }, async () => {
    const root = tempDir()
    const [target, outside] = [join(root, 'target'), join(root, 'outside')]
    mkdirSync(outside)
    mkdirSync(target)
    const path = join(root, 'box.coffer')
    const { cofferKey } = CofferStore.generateKeys()
    await using box = await CofferStore.open(path, 'x', { cofferKey, autoFlush: false })
    for (let index = 0; index < 300; index += 1) await box.write(`dir/sub/${index}`, `${index}`)
    const planter = startChild(plant, { target, outside, enough: 50 })
    await planter.heard()
    let stopped = 0
    let enough = false
    void planter.heard().then(() => {
      enough = true
    })
    while (!enough || stopped === 0) {
      await box.extractAll(target).catch((error: unknown) => {
        expect(error).toBeInstanceOf(CofferError)
        stopped += 1
      })
      expect(readdirSync(outside)).toEqual([])
    }
    planter.say('stop')
    expect(await planter.result).toBeGreaterThanOrEqual(50)
    expect(readdirSync(outside)).toEqual([])
  })
})

/** Puts links to another directory where the extraction makes directories and files, again and again. */
async function plant(
  { fs, say, hear }: Inside,
  { target, outside, enough }: { target: string; outside: string; enough: number },
) {
  let [going, planted] = [true, 0]
  void hear().then(() => {
    going = false
  })
  await say('ready')
  while (going) {
    for (const place of [`${target}/dir`, `${target}/dir/sub`, `${target}/dir/sub/7`]) {
      try {
        if (fs.existsSync(place)) fs.renameSync(place, `${place}.aside`)
        fs.symlinkSync(outside, place)
        planted += 1
        if (planted === enough) await say('enough')
        await new Promise((resolve) => setImmediate(resolve))
        fs.unlinkSync(place)
        fs.rmSync(`${place}.aside`, { recursive: true, force: true })
      } catch {
        // The extraction was there before.
      }
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  return planted
}
