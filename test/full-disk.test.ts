import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Body, inChild } from './support/child.ts'
import { canMount, withDisk } from './support/confined.ts'
import { type ClassName, keysFor, kinds, optionsFor } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const { ENOSPC } = constants.errno
const full = { name: 'CofferError', code: 'ERR_COFFER_IO', errno: ENOSPC }

interface Filling {
  readonly className: ClassName
  readonly options: object
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
const fillUp: Body<Filling, Filled> = async ({ coffer, fs }, { className, options, disk }) => {
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
    const box = handle ?? (await coffer[className].open(path, 'r', { ...options, lock: 'none' }))
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
  const box = await coffer[className].open(path, 'x', options)
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
      { className: kind.className, options: { ...optionsFor(kind, keysFor(kind)), autoFlush }, disk },
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
