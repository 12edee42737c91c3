import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { CofferNull, CofferStore } from './support/coffer.ts'
import { canMount, withDisk } from './support/confined.ts'
import { errnos } from './support/errnos.ts'
import { type ClassName, keysFor, kinds, optionsFor } from './support/kinds.ts'
import { tarEnd, tarEntry, zstdFrame } from './support/legacy.ts'
import { tempDir } from './support/temp.ts'

const { ENOSPC } = errnos
const full = { name: 'CofferError', code: 'ERR_COFFER_IO', errno: ENOSPC, systemCode: 'ENOSPC' }

interface Filling {
  /** What opens the coffer. */
  readonly keys: object
  readonly className: ClassName
  readonly autoFlush: boolean
  readonly disk: string
}

/** What came of it: errors as plain objects, and what was not as it should be. */
interface Filled {
  /** How many flushes returned before one did not. */
  readonly flushes: number
  readonly refused: Readonly<Record<'filling' | 'deleting' | 'compacting', unknown>>
  /** Members that were lost, changed, or should not have been there; and files left behind. */
  readonly wrong: readonly string[]
}

/** Fills a disk with a coffer, and comes back from there. */
const fillUp: Body<Filling, Filled> = async ({ coffer, fs }, { className, keys, autoFlush, disk }) => {
  const path = `${disk}/box.coffer`
  const wrong: string[] = []
  const flushed = new Map<string, Uint8Array>()
  const random = (length: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 65_536) {
      globalThis.crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)))
    }
    return bytes
  }
  const refusal = async (work: () => Promise<unknown>): Promise<unknown> =>
    work().then(
      () => null,
      (error) => ({ name: error.name, message: error.message, ...error }),
    )
  /** Compares the coffer, as somebody else sees it or as the handle does, with what was flushed. */
  const compare = async (when: string, handle?: import('coffer').Coffer): Promise<void> => {
    const box = handle ?? (await coffer[className].open(path, 'r', { ...keys, lock: 'none' }))
    const names = (await box.members()).map((member) => member.name)
    for (const name of new Set([...names, ...flushed.keys()])) {
      const data = flushed.get(name)
      const found = names.includes(name) ? await box.read(name) : null
      if (data === undefined || !found?.equals(data)) wrong.push(`${when}: ${name}`)
    }
    await box.verify()
    if (handle === undefined) await box.close()
    const left = fs.readdirSync(disk).filter((file) => !/^(box\.coffer(\.lock)?|ballast)$/.test(file))
    wrong.push(...left.map((file) => `${when}: ${file} is left`))
  }

  fs.writeFileSync(`${disk}/ballast`, new Uint8Array(1 << 20))
  const box = await coffer[className].open(path, 'x', { ...keys, autoFlush })
  let filling: unknown = null
  for (let index = 0; filling === null; index += 1) {
    const name = `m${index}`
    const data = random(index % 3 === 0 ? 200_000 : 20_000)
    filling = await refusal(async () => {
      await box.write(name, data)
      await box.flush()
    })
    if (filling === null) flushed.set(name, data)
    // What could not be flushed waits for the next flush; here it is given up.
    else if (await box.has(name)) await refusal(async () => box.delete(name))
  }
  const flushes = flushed.size
  await compare('when the disk is full')

  const more = fs.openSync(`${disk}/ballast`, 'a')
  try {
    for (;;) fs.writeSync(more, new Uint8Array(512))
  } catch {}
  fs.closeSync(more)
  // The file may still grow to the end of its last page. A deletion writes a commit, so it comes there.
  let deleting: unknown = null
  for (const name of flushed.keys()) {
    deleting = await refusal(async () => {
      await box.delete(name)
      // It is on the disk then, and the flush erases what it deleted, for which there may be no room.
      if (autoFlush) flushed.delete(name)
      await box.flush()
    })
    if (deleting === null) flushed.delete(name)
    else break
  }
  await compare('when not even a commit fits')
  fs.rmSync(`${disk}/ballast`)
  const [first = ''] = flushed.keys()
  if (await box.has(first)) await box.delete(first)
  await box.flush()
  flushed.delete(first)
  await compare('when there is room for a commit', box)
  const compacting = await refusal(async () => box.compact())
  await compare('when there is no room for a copy')

  for (const name of [...flushed.keys()].slice(2)) {
    await box.delete(name)
    flushed.delete(name)
  }
  await box.flush()
  const before = fs.statSync(path).size
  await box.compact()
  if (fs.statSync(path).size > before / 4) wrong.push('compaction made no room')
  flushed.set('after', random(500_000))
  await box.write('after', flushed.get('after') ?? new Uint8Array())
  await box.flush()
  await compare('when there is room again', box)
  await box.close()
  await compare('after all')
  return { flushes, refused: { filling, deleting, compacting }, wrong }
}

describe.skipIf(!canMount).each(kinds)('on a full disk (needs leave to mount one), $label', (kind) => {
  it.each([true, false])('keeps what was flushed, and goes on when there is room, autoFlush: %s', async (autoFlush) => {
    const disk = tempDir()
    const filled = await inChild(
      fillUp,
      { className: kind.className, keys: optionsFor(kind, keysFor(kind)), autoFlush, disk },
      { through: withDisk(disk, 4 << 20) },
    )
    expect(filled.wrong).toEqual([])
    expect(filled.flushes).toBeGreaterThan(10)
    const path = join(disk, 'box.coffer')
    expect(filled.refused).toMatchObject({
      filling: { ...full, path, syscall: 'write' },
      deleting: { ...full, path, syscall: 'write' },
      compacting: { ...full, path, syscall: 'write' },
    })
  })
})

interface Places {
  /** What opens the coffers. */
  readonly keys: object
  readonly newKeys: { readonly cofferKey: string }
  /** A directory on a disk with room, and one on a small disk. */
  readonly roomy: string
  readonly disk: string
  /** A coffer of PyCoffer's, without keys. */
  readonly legacy: string
}

interface Refused {
  readonly refused: Readonly<Record<string, unknown>>
  readonly wrong: readonly string[]
}

/** Has everything refused that needs more room than there is. */
const ask: Body<Places, Refused> = async ({ coffer, fs }, { keys, newKeys, roomy, disk, legacy }) => {
  const making = { ...keys, blockSize: 1 << 20 }
  const wrong: string[] = []
  const refused: Record<string, unknown> = {}
  const same = (found: string, wanted: string, what: string): void => {
    if (found !== wanted) wrong.push(`${what}: ${found}`)
  }
  const refuse = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    refused[what] = await work().then(
      () => null,
      (error) => ({ name: error.name, message: error.message, ...error }),
    )
  }
  const random = (length: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 65_536) {
      globalThis.crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)))
    }
    return bytes
  }
  /** Leaves so much room on the small disk. */
  const leave = (room: number): void => {
    fs.rmSync(`${disk}/ballast`, { force: true })
    const { bfree, bsize } = fs.statfsSync(disk)
    fs.writeFileSync(`${disk}/ballast`, new Uint8Array(bfree * bsize - room))
  }
  const only = (where: string, files: readonly string[], when: string): void => {
    same(fs.readdirSync(where).sort().join(' '), [...files].sort().join(' '), when)
  }
  const names = async (path: string): Promise<string> => {
    const box = await coffer.CofferStore.open(path, 'r', keys)
    const members = await box.members()
    await box.verify()
    await box.close()
    return members.map((member) => member.name).join(' ')
  }
  function* long(): Generator<Uint8Array> {
    for (let count = 0; count < 60; count += 1) yield random(50_000)
  }

  // A temp directory without room.
  const box = await coffer.CofferStore.open(`${roomy}/box.coffer`, 'x', { ...making, tempDir: disk })
  await box.write('kept', random(1_200_000))
  leave(300_000)
  await refuse('a long source', async () => box.write('streamed', long()))
  await refuse('a stream', async () => {
    const stream = box.createWriteStream('streamed')
    await new Promise<void>((resolve, reject) => {
      stream.on('error', reject).on('finish', resolve)
      for (const piece of long()) stream.write(piece)
      stream.end()
    })
  })
  leave(0)
  await refuse('a coffer of PyCoffer', async () => coffer.CofferNull.open(legacy, 'r', { legacy: true, tempDir: disk }))
  await box.write('after', 'the handle goes on')
  await box.close()
  only(disk, ['ballast'], 'after close')
  same(await names(`${roomy}/box.coffer`), 'after kept', 'the members of the first coffer')

  // A directory without room, to write to.
  const source = await coffer.CofferStore.open(`${roomy}/box.coffer`, 'r', keys)
  leave(300_000)
  await refuse('extract', async () => source.extract('kept', disk))
  only(disk, ['ballast'], 'after extract')
  fs.writeFileSync(`${roomy}/plain`, random(1_000_000))
  const crypt = await source.plugin('crypt')
  await refuse('encrypt', async () => crypt.encrypt(`${roomy}/plain`, `${disk}/encrypted`))
  only(disk, ['ballast'], 'after encrypt')
  await source.close()

  // A coffer without room beside it.
  leave(0)
  await refuse('create', async () => coffer.CofferStore.open(`${disk}/new.coffer`, 'x', making))
  only(disk, ['ballast', 'new.coffer.lock'], 'after create')
  leave(2_000_000)
  const path = `${disk}/box.coffer`
  const files = ['ballast', 'box.coffer', 'box.coffer.lock', 'new.coffer.lock']
  fs.copyFileSync(`${roomy}/box.coffer`, path)
  leave(300_000)
  const careful = await coffer.CofferStore.open(path, 'a', { ...making, backup: true, autoFlush: true })
  await refuse('backup', async () => careful.write('more', 'x'))
  await careful.close()
  only(disk, files, 'after backup')
  const second = await coffer.CofferStore.open(path, 'a', { ...making, autoFlush: true })
  await refuse('batch', async () =>
    second.batch(async (batch) => {
      for (let count = 0; count < 4; count += 1) await batch.write(`of a batch ${count}`, random(140_000))
    }),
  )
  await refuse('compact', async () => second.compact())
  await refuse('rekey', async () => second.rekey(newKeys))
  await second.close()
  only(disk, files, 'after rekey')
  same(await names(path), 'after kept', 'the members of the second coffer')
  const third = await coffer.CofferStore.open(path, 'a', { ...making, autoFlush: false })
  await third.write('small', random(40_000))
  leave(0)
  await refuse('close', async () => third.close())
  same(await names(path), 'after kept', 'the members after close')
  only(disk, files, 'after close')
  return { refused, wrong }
}

/** A coffer as PyCoffer writes it, without keys: a tar in a zstd frame, here of blocks that are not compressed. */
function legacyCoffer(): Buffer {
  return zstdFrame(Buffer.concat([tarEntry({ name: 'member' }, noise(1_500_000)), tarEnd]))
}

describe.skipIf(!canMount)('what needs more room than there is (needs leave to mount a disk)', () => {
  it('is refused with the error of the system, and leaves nothing behind', async () => {
    const [disk, roomy] = [tempDir(), tempDir()]
    const legacy = join(roomy, 'legacy.coffer')
    writeFileSync(legacy, legacyCoffer())
    const places = { keys: CofferStore.generateKeys(), newKeys: CofferStore.generateKeys(), disk, roomy, legacy }
    await (await CofferNull.open(legacy, 'r', { legacy: true, tempDir: roomy })).close()
    const { refused, wrong } = await inChild(ask, places, { through: withDisk(disk, 6 << 20) })
    expect(wrong).toEqual([])
    const asked = ['a long source', 'a stream', 'a coffer of PyCoffer', 'extract', 'encrypt', 'create']
    asked.push('backup', 'batch', 'compact', 'rekey', 'close')
    expect(refused).toMatchObject(Object.fromEntries(asked.map((what) => [what, full])))
  })
})
