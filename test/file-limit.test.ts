import { spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, inChild, startChild } from './support/child.ts'
import { withLongestFile } from './support/confined.ts'
import { contents, keysFor, kindOf, kinds, openKind, optionsFor } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'

const { EFBIG } = constants.errno
const tooBig = { name: 'CofferError', code: 'ERR_COFFER_IO', errno: -EFBIG, systemCode: 'EFBIG', syscall: 'write' }
const longest = 1 << 20

interface Writing {
  readonly className: 'CofferBank' | 'CofferStore' | 'CofferMarket' | 'CofferNull'
  readonly path: string
  readonly options: object
  /** Whether the system ends the process that writes too far, as it does unless somebody asks it not to. */
  readonly deadly: boolean
}

/** Writes members, saying which have been flushed, until that fails; then deletes one, and writes a small one. */
const writeOn: Body<Writing, { readonly error: unknown; readonly flushed: number }> = async (
  { coffer, say },
  { className, path, options, deadly },
) => {
  if (deadly) {
    // Node.js ignores the signal. When the last listener goes, the system's own answer is back.
    const listener = (): void => {}
    process.on('SIGXFSZ', listener).off('SIGXFSZ', listener)
  } else {
    process.on('SIGXFSZ', () => {})
  }
  const box = await coffer[className].open(path, 'x', { ...options, autoFlush: false } as never)
  for (let index = 0; ; index += 1) {
    const data = new Uint8Array(index % 4 === 0 ? 140_000 : 9_000)
    for (let at = 0; at < data.length; at += 50_000) globalThis.crypto.getRandomValues(data.subarray(at, at + 50_000))
    data.fill(index, 0, 4)
    try {
      await box.write(`m${index}`, data)
      await box.flush()
    } catch (error) {
      const { name, message } = error as Error
      if (await box.has(`m${index}`)) await box.delete(`m${index}`)
      // There is room for this where the failed write has been cut off.
      await box.delete('m0')
      await box.compact()
      await box.write('after', 'the handle goes on')
      await box.close()
      return { error: { name, message, ...(error as object) }, flushed: index }
    }
    await say(index)
  }
}

describe.skipIf(!posix).each(kinds)('a file that may not grow any more (RLIMIT_FSIZE), $label', (kind) => {
  const setting = () => {
    const keys = keysFor(kind)
    const path = join(tempDir(), 'box.coffer')
    return { keys, path, work: { className: kind.className, path, options: optionsFor(kind, keys) } }
  }

  it('is an error with its number where the signal is handled, and what was flushed stays', async () => {
    const { keys, path, work } = setting()
    const through = withLongestFile(longest)
    const { error, flushed } = await inChild(writeOn, { ...work, deadly: false }, { through })
    expect(error).toMatchObject({ ...tooBig, path })
    expect(flushed).toBeGreaterThan(5)
    await using box = await openKind(kind, path, 'a', keys)
    const members = await contents(box)
    expect(members.size).toBe(flushed)
    for (let index = 1; index < flushed; index += 1) {
      expect(members.get(`m${index}`)?.subarray(0, 4)).toEqual(Buffer.alloc(4, index))
    }
    expect(await box.readText('after')).toBe('the handle goes on')
    await expect(box.verify()).resolves.toBeDefined()
  })

  it('ends the process where it is not, and nothing that was reported is lost', async () => {
    const { keys, path, work } = setting()
    const child = startChild(writeOn, { ...work, deadly: true }, { through: withLongestFile(longest) })
    let flushed = 0
    for (;;) {
      const last = await child.heard().catch((reason: Error) => reason)
      if (last instanceof Error) {
        expect(last.message).toContain('SIGXFSZ')
        break
      }
      flushed = (last as number) + 1
    }
    expect(flushed).toBeGreaterThan(5)
    await using box = await openKind(kind, path, 'a', keys, { lockTimeout: 0 })
    const members = await contents(box)
    expect(members.size).toBe(flushed)
    for (let index = 0; index < flushed; index += 1) {
      expect(members.get(`m${index}`)?.subarray(0, 4)).toEqual(Buffer.alloc(4, index))
    }
    await expect(box.verify()).resolves.toBeDefined()
  })
})

/** Opens a coffer, and does what it is asked, one thing after another. */
const serve: Body<{ path: string; options: object }, void> = async ({ coffer, fs, say, hear }, { path, options }) => {
  const refusal = async (work: () => Promise<unknown>): Promise<unknown> =>
    work().then(
      () => null,
      (error) => ({ name: error.name, message: error.message, ...error }),
    )
  const pristine = fs.readFileSync(path)
  for (;;) {
    await say('next')
    if ((await hear()) === 'end') return
    fs.rmSync(path)
    fs.writeFileSync(path, pristine)
    const box = await coffer.CofferStore.open(path, 'a', { ...options, autoFlush: false })
    await say(fs.statSync(path).size)
    await hear()
    const refused = await refusal(async () => {
      await box.delete('first')
      await box.write('new', 'x')
      await box.flush()
    })
    await say(refused)
    await hear()
    // Now there is room again.
    const later = await refusal(async () => box.flush())
    const names = (await box.members()).map((member) => member.name).join(' ')
    await refusal(async () => box.close())
    await say({ later, names })
  }
}

const canLimit = spawnSync('prlimit', ['--version'], { stdio: 'ignore' }).status === 0

describe.skipIf(!canLimit)('a flush that may write so many bytes and no more (needs prlimit)', () => {
  it('is done, or is refused and can be repeated, wherever the limit falls', async () => {
    const kind = kindOf('store')
    const keys = keysFor(kind)
    const path = join(tempDir(), 'box.coffer')
    const first = await openKind(kind, path, 'x', keys)
    for (const name of ['first', 'second']) await first.write(name, noise(2_000, name))
    await first.close()
    const child = startChild(serve, { path, options: optionsFor(kind, keys) })
    const limit = (bytes: number | 'unlimited'): void => {
      const { status } = spawnSync('prlimit', [`--pid=${child.pid}`, `--fsize=${bytes}:unlimited`])
      expect(status).toBe(0)
    }
    const seen = { refused: 0, done: 0 }
    for (let room = 0; seen.done < 12; room += 29) {
      expect(await child.heard()).toBe('next')
      child.say('go on')
      const size = (await child.heard()) as number
      limit(size + room)
      child.say('flush')
      const refused = await child.heard()
      if (refused !== null) expect(refused, `with room for ${room} bytes`).toMatchObject({ ...tooBig, path })
      seen[refused === null ? 'done' : 'refused'] += 1
      const reader = await openKind(kind, path, 'r', keys, { lock: 'none' })
      const names = (await reader.members()).map((member) => member.name).join(' ')
      expect(names, `with room for ${room} bytes`).toBe(refused === null ? 'new second' : 'first second')
      await expect(reader.verify()).resolves.toBeDefined()
      await reader.close()
      limit('unlimited')
      child.say('flush again')
      expect(await child.heard()).toEqual({ later: null, names: 'new second' })
      const again = await openKind(kind, path, 'r', keys, { lockTimeout: 0 })
      expect([...(await contents(again)).keys()]).toEqual(['new', 'second'])
      expect((await again.read('second')).equals(noise(2_000, 'second'))).toBe(true)
      await expect(again.verify()).resolves.toBeDefined()
      await again.close()
    }
    expect(await child.heard()).toBe('next')
    child.say('end')
    await child.result
    expect(seen.refused).toBeGreaterThan(50)
  }, 300_000)
})
