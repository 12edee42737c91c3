import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ReadableStream } from 'node:stream/web'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { marked, marker, noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { CofferBank, CofferError, CofferNull } from './support/coffer.ts'
import { keyedKinds, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const KiB = 1024
const MiB = 1 << 20

/** Bytes in chunks of a size. */
async function* chunked(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Some bytes, and then nothing more until it is told to go on. */
function stalling(bytes: Buffer): { source: AsyncGenerator<Buffer>; go: () => void; stopped: () => boolean } {
  let go = (): void => {}
  let stopped = false
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  async function* source(): AsyncGenerator<Buffer> {
    try {
      yield* chunked(bytes, 64 * KiB)
      await gate
      yield Buffer.from('the end')
    } finally {
      stopped = true
    }
  }
  return { source: source(), go: () => go(), stopped: () => stopped }
}

/** Every file below a directory. */
function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

function bytesBelow(directory: string): number {
  return filesBelow(directory).reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0)
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setTimeout(5)
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe.each(kinds)('a $label', (kind) => {
  it.each([
    ['its own blocks', 1 * MiB, [0, 1, 131_071, 131_072, 131_073, MiB - 1, MiB, MiB + 1, 3 * MiB, 3 * MiB + 7]],
    ['small blocks', 4 * KiB, [4_096, 131_072, 131_073, 135_168, 135_169, 300_000]],
  ] as const)(
    'takes streams of any length with %s, appends to them, and gives them back whole and in ranges',
    async (_, blockSize, sizes) => {
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      const expected = new Map<string, Buffer>()
      const box = await openKind(kind, path, 'x', keys, { blockSize, level: 1, durability: 'none' })
      for (const size of sizes) {
        const name = `noise/${size}`
        const data = noise(size, name)
        await box.write(name, chunked(data, 50_000))
        expect((await box.read(name)).equals(data), name).toBe(true)
        expected.set(name, data)
      }
      await box.verify()
      for (const size of sizes) {
        for (const more of [100, 200_001]) {
          const [name, longer] = [`noise/${size}+${more}`, noise(more, `more ${more}`)]
          const data = noise(size, name)
          await box.write(name, chunked(data, 70_000))
          await box.append(name, chunked(longer, 1_000))
          expected.set(name, Buffer.concat([data, longer]))
        }
      }
      await box.flush()
      await box.compact()
      await box.close()

      await using again = await openKind(kind, path, 'r', keys)
      await again.verify()
      for (const [name, data] of expected) {
        expect((await collect(again.createReadStream(name))).equals(data), name).toBe(true)
        const [start, end] = [Math.floor(data.length / 3), Math.floor(data.length / 2)]
        const part = await collect(again.createReadStream(name, { start, end, highWaterMark: 10_000 }))
        expect(part.equals(data.subarray(start, end + 1)), name).toBe(true)
      }
    },
  )

  it('keeps the old member, and nothing else, when a stream fails, and takes the whole when it does not', async () => {
    const directory = tempDir()
    const temp = join(directory, '.')
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { tempDir: temp, durability: 'none' })
    await box.write('member', 'old')
    const reason = new Error('the source broke')
    async function* broken(): AsyncGenerator<Buffer> {
      yield noise(3 * MiB, 'broken')
      throw reason
    }
    await expect(box.write('member', broken())).rejects.toBe(reason)
    await expect(box.append('member', broken())).rejects.toBe(reason)
    await expect(box.write('other', broken())).rejects.toBe(reason)
    await expect(pipeline(broken(), box.createWriteStream('member'))).rejects.toBe(reason)
    await expect(pipeline(broken(), box.createWriteStream('member', { flags: 'a' }))).rejects.toBe(reason)
    expect(await box.readText('member')).toBe('old')
    await box.append('member', chunked(noise(2 * MiB), 30_000))
    await box.close()
    expect(readdirSync(directory).filter((name) => name.startsWith('.coffer-'))).toEqual([])

    await using again = await openKind(kind, path, 'r', keys)
    expect((await again.members()).map((member) => member.name)).toEqual(['member'])
    expect((await again.read('member')).equals(Buffer.concat([Buffer.from('old'), noise(2 * MiB)]))).toBe(true)
  })
})

describe.each(keyedKinds)('the temp directory of a $label', (kind) => {
  it('has no plaintext in it while a stream stalls, and nothing at all afterwards', async () => {
    const [directory, temp] = [tempDir(), tempDir()]
    const needle = marker()
    await using box = await openKind(kind, join(directory, 'box.coffer'), 'x', keysFor(kind), {
      tempDir: temp,
      blockSize: MiB,
    })
    const { source, go } = stalling(marked(needle, 4 * MiB))
    const writing = box.write('secret', source)
    // Three of four pieces are there, a little compressed; the last stays in memory.
    await until(() => bytesBelow(temp) > 2.2 * MiB)
    for (const file of filesBelow(temp)) expect(readFileSync(file).includes(needle), file).toBe(false)
    go()
    await writing
    await until(() => bytesBelow(temp) === 0)
    await box.close()
    expect(readdirSync(temp)).toEqual([])
  })
})

describe('what may be written', () => {
  const text = 'grüße 🗝️ and '.repeat(5_000)
  const bytes = Buffer.from(text)
  const halves = Array.from({ length: Math.ceil(text.length / 7) }, (_, i) => text.slice(i * 7, i * 7 + 7))
  const sources: Record<string, () => Parameters<CofferNull['write']>[1]> = {
    'a Readable': () => Readable.from(chunked(bytes, 999), { objectMode: false }),
    'a Readable in object mode': () => Readable.from([bytes.subarray(0, 6), bytes.subarray(6).toString()]),
    'a Readable that gives text': () => Readable.from(chunked(bytes, 999), { objectMode: false }).setEncoding('utf8'),
    'a PassThrough': () => Readable.from(chunked(bytes, 999)).pipe(new PassThrough()),
    'a web stream': () => ReadableStream.from(chunked(bytes, 999)),
    'a web stream of text': () => ReadableStream.from(halves),
    'an async generator of text cut within surrogate pairs': () =>
      (async function* () {
        yield* halves
      })(),
    'an array': () => halves,
    'a Set of both': () => new Set([bytes.subarray(0, 8), bytes.subarray(8).toString()]),
  }

  it.each(Object.keys(sources))('%s', async (what) => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const source = sources[what] ?? (() => '')
    await box.write('a', source())
    await box.write('b', 'before ')
    await box.append('b', source())
    await box.batch(async (b) => {
      await b.write('c', source())
      await b.append('c', source())
    })
    expect((await box.readText('a')) === text).toBe(true)
    expect((await box.readText('b')) === `before ${text}`).toBe(true)
    expect((await box.readText('c')) === text + text).toBe(true)
  })

  it('half a surrogate pair at the end becomes what Buffer makes of it', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', ['x\ud83d', Buffer.from('y'), '\ud83d'])
    expect(await box.readText('a')).toBe('x\ufffdy\ufffd')
  })

  it('a chunk that is neither text nor bytes is refused by name, and its source stopped', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const chunk of [5, null, undefined, {}, [1], new ArrayBuffer(3), new Uint16Array(3)]) {
      let stopped = false
      const source = (function* () {
        try {
          yield 'fine'
          yield chunk as never
        } finally {
          stopped = true
        }
      })()
      await expect(box.write('a', source)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG', message: /a chunk/ })
      expect(stopped).toBe(true)
    }
    const objects = Readable.from(['a', { b: 1 }])
    await expect(box.write('a', objects)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect(objects.destroyed).toBe(true)
    expect(await box.has('a')).toBe(false)
  })

  it('no stream that was read, destroyed or broken before, and no member comes of it', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const used = Readable.from(['x'])
    await used.toArray()
    await expect(box.write('a', used)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await expect(box.write('a', Readable.from(['x']).destroy())).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
    })
    const reason = new Error('broken')
    const broken = Readable.from(['x']).on('error', () => {})
    broken.destroy(reason)
    await expect(box.write('a', broken)).rejects.toBe(reason)
    const locked = ReadableStream.from(['x'])
    locked.getReader()
    await expect(box.write('a', locked)).rejects.toThrow(/locked/)
    expect(await box.has('a')).toBe(false)
  })

  it('a stream that breaks at once, in the same turn, is heard', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const reason = new Error('broken')
    const source = new Readable({ read() {} })
    const writing = box.write('a', source)
    source.destroy(reason)
    await expect(writing).rejects.toBe(reason)
  })

  it('nothing into a coffer that cannot be changed, or under a name that is none: the source is stopped', async () => {
    const path = join(tempDir(), 'box.coffer')
    await (await CofferNull.open(path, 'x')).close()
    await using box = await CofferNull.open(path, 'r')
    const source = new Readable({ read() {} })
    await expect(box.write('a', source)).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
    expect(source.destroyed).toBe(true)
    await box.close()
    await using open = await CofferNull.open(path, 'a')
    const other = new Readable({ read() {} })
    await expect(open.write('../a', other)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect(other.destroyed).toBe(true)
  })
})

describe('a signal', () => {
  it('ends a write from a source that has stalled, whatever it is, and nothing is written', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const reason = new Error('enough')
    const readable = new Readable({ read() {} })
    let cancelled: unknown
    const web = new ReadableStream<Uint8Array>({
      cancel(why) {
        cancelled = why
      },
    })
    const generated = stalling(noise(2 * MiB))
    const controller = new AbortController()
    const { signal } = controller
    const writing = [
      box.write('a', readable, { signal }),
      box.append('b', web, { signal }),
      box.write('c', generated.source, { signal }),
    ]
    const settled = Promise.allSettled(writing)
    await setTimeout(20)
    controller.abort(reason)
    expect(await settled).toEqual(writing.map(() => ({ status: 'rejected', reason })))
    expect([readable.destroyed, cancelled]).toEqual([true, reason])
    generated.go()
    await until(generated.stopped)
    expect(await box.members()).toEqual([])
  })

  it('that was given before is obeyed before anything is done', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const signal = AbortSignal.abort(new Error('before'))
    const source = Readable.from(['x'])
    await expect(box.write('a', source, { signal })).rejects.toBe(signal.reason)
    expect(source.destroyed).toBe(true)
    await expect(box.write('a', 'x', { signal })).rejects.toBe(signal.reason)
    await expect(box.append('a', new Uint8Array(1), { signal })).rejects.toBe(signal.reason)
    expect(await box.members()).toEqual([])
  })

  it('destroys streams with its reason', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', noise(MiB))
    const controller = new AbortController()
    const reason = new Error('enough')
    const reading = box.createReadStream('a', { signal: controller.signal })
    const writing = box.createWriteStream('b', { signal: controller.signal })
    writing.write('x')
    const errors = Promise.all([once(reading, 'error'), once(writing, 'error')])
    controller.abort(reason)
    expect(await errors).toEqual([[reason], [reason]])
    expect(await box.has('b')).toBe(false)
    const late = box.createReadStream('a', { signal: controller.signal })
    expect(await once(late, 'error')).toEqual([reason])
  })
})

describe('backpressure', () => {
  it('a source is asked for no more than the engine can take', { timeout: 120_000 }, async () => {
    const temp = tempDir()
    const box = await CofferBank.open(join(tempDir(), 'box.coffer'), 'x', {
      ...CofferBank.generateKeys(),
      tempDir: temp,
      level: 9,
      blockSize: MiB,
    })
    const total = 48
    const piece = noise(MiB)
    let ahead = 0
    async function* fast(): AsyncGenerator<Buffer> {
      for (let pulled = 0; pulled < total; pulled += 1) {
        ahead = Math.max(ahead, pulled * MiB - bytesBelow(temp))
        yield piece
      }
    }
    await box.write('a', fast())
    expect((await box.stat('a')).size).toBe(total * MiB)
    await box.close()
    // Without it, the source would be far ahead of what is encoded.
    expect(ahead).toBeLessThan(20 * MiB)
  })

  it('a write stream says when it is full, and drains', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const stream = box.createWriteStream('a', { highWaterMark: 1_000 })
    expect(stream.write(Buffer.alloc(999))).toBe(true)
    expect(stream.write(Buffer.alloc(2 * MiB))).toBe(false)
    await once(stream, 'drain')
    stream.end()
    await once(stream, 'finish')
    expect((await box.stat('a')).size).toBe(2 * MiB + 999)
  })

  it.skipIf(process.platform !== 'linux')('a reader that takes nothing stops the reading', async () => {
    const path = join(tempDir(), 'box.coffer')
    const made = await CofferNull.open(path, 'x')
    await made.write('a', noise(64 * MiB))
    await made.close()
    const body: Body<{ path: string }, { first: number; all: number; bytes: number }> = async (
      { coffer, fs },
      { path },
    ) => {
      const read = (): number => Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
      const box = await coffer.CofferNull.open(path, 'r')
      const before = read()
      const chunks = box.createReadStream('a')[Symbol.asyncIterator]()
      let bytes = (await chunks.next()).value.length
      await new Promise((resolve) => globalThis.setTimeout(resolve, 500))
      const first = read() - before
      for (;;) {
        const { done, value } = await chunks.next()
        if (done) break
        bytes += value.length
      }
      await box.close()
      return { first, all: read() - before, bytes }
    }
    const { first, all, bytes } = await inChild(body, { path })
    expect(bytes).toBe(64 * MiB)
    expect(first).toBeLessThan(12 * MiB)
    // What comes next was fetched before anybody asked for it.
    expect(first).toBeGreaterThan(1.5 * MiB)
    // Nothing is decoded twice.
    expect(all).toBeLessThan(66 * MiB)
  })
})

describe('a stream that stalls', () => {
  it('holds up no other change, flush or batch, and no end of the coffer', async () => {
    const temp = tempDir()
    const path = join(tempDir(), 'box.coffer')
    const keys = CofferBank.generateKeys()
    const box = await CofferBank.open(path, 'x', { ...keys, tempDir: temp })
    const { source, go } = stalling(noise(3 * MiB))
    const stalled = box.write('stalled', source)
    const outcome = stalled.catch((error) => error)
    await until(() => bytesBelow(temp) > 1.9 * MiB)
    await box.write('small', 'x')
    await box.write('large', noise(2 * MiB))
    await box.write('streamed', chunked(noise(2 * MiB), 100_000))
    await box.batch(async (b) => b.delete('small'))
    await box.flush({ force: true })
    await box.compact()
    expect((await box.members()).map((member) => member.name)).toEqual(['large', 'streamed'])
    await box.close()
    // The source has still not moved, and need not for the write to end.
    expect(await outcome).toBeInstanceOf(CofferError)
    expect(await outcome).toMatchObject({ code: 'ERR_COFFER_CLOSED', path })
    await until(() => readdirSync(temp).length === 0)
    go()
    await using again = await CofferBank.open(path, 'r', keys)
    expect((await again.members()).map((member) => member.name)).toEqual(['large', 'streamed'])
  })

  it('takes effect when it ends: the last to end is what stays', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const { source, go } = stalling(Buffer.from('first to begin, '))
    const slow = box.write('a', source)
    await box.write('a', chunked(Buffer.from('second to begin'), 4))
    expect(await box.readText('a')).toBe('second to begin')
    await box.write('a', 'third')
    go()
    await slow
    expect(await box.readText('a')).toBe('first to begin, the end')
  })

  it('beyond the end of its batch is refused, and the batch is as it was without it', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const { source, go } = stalling(Buffer.from('late'))
    let late: Promise<unknown> = Promise.resolve()
    await box.batch(async (b) => {
      await b.write('in time', 'x')
      late = b.write('late', source).catch((error) => error)
      await setImmediate()
    })
    go()
    expect(await late).toMatchObject({ code: 'ERR_COFFER_BATCH_ENDED', message: /batch has ended/ })
    expect((await box.members()).map((member) => member.name)).toEqual(['in time'])
  })
})

describe('streams in a batch', () => {
  it('are undone with it', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', 'old')
    const undone = box.batch(async (b) => {
      await b.write('a', chunked(noise(2 * MiB), 60_000))
      expect((await b.stat('a')).size).toBe(2 * MiB)
      throw new Error('no')
    })
    await expect(undone).rejects.toThrow('no')
    expect(await box.readText('a')).toBe('old')
  })

  it('of the coffer itself would wait for ever, and are refused', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.batch(async () => {
      await expect(box.write('a', ['x'])).rejects.toMatchObject({ code: 'ERR_COFFER_IN_BATCH' })
      expect(() => box.createWriteStream('a')).toThrow(expect.objectContaining({ code: 'ERR_COFFER_IN_BATCH' }))
    })
  })
})

describe('many streams', () => {
  it.each([['bank'], ['null']] as const)(
    'a hundred at once into a %s, and out of it',
    { timeout: 120_000 },
    async (label) => {
      const kind = kindOf(label)
      await using box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keysFor(kind), {
        durability: 'none',
        level: 1,
      })
      const data = Array.from({ length: 100 }, (_, i) => noise(i * 13_000, i))
      await Promise.all(
        data.map(async (bytes, i) =>
          i % 2 === 0
            ? box.write(`m/${i}`, chunked(bytes, 1_000 + i))
            : pipeline(chunked(bytes, 1_000 + i), box.createWriteStream(`m/${i}`)),
        ),
      )
      const found = await Promise.all(data.map(async (_, i) => collect(box.createReadStream(`m/${i}`))))
      expect(found.every((bytes, i) => bytes.equals(data[i] as Buffer))).toBe(true)
      await box.flush()
      await box.verify()
    },
  )
})

describe('createWriteStream', () => {
  it('has finished only when its member is part of the coffer', async () => {
    await using box = await CofferBank.open(join(tempDir(), 'box.coffer'), 'x', CofferBank.generateKeys())
    const { generation } = box.head
    const stream = box.createWriteStream('a', { mode: 0o600, mtime: new Date(5_000) })
    stream.write('grüße', 'latin1')
    stream.write(Buffer.from(' and '))
    stream.end('6d6f7265', 'hex')
    const has = once(stream, 'finish').then(async () => [
      box.head.generation,
      await box.readText('a', { encoding: 'latin1' }),
    ])
    expect(await box.has('a')).toBe(false)
    expect(await has).toEqual([generation + 1, 'grüße and more'])
    expect(await box.stat('a')).toMatchObject({ mode: 0o600, mtime: new Date(5_000) })
  })

  it('appends with a, and keeps what is there with x', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await pipeline(['one '], box.createWriteStream('a', { flags: 'x' }))
    await pipeline(['two'], box.createWriteStream('a', { flags: 'a' }))
    await expect(pipeline(['three'], box.createWriteStream('a', { flags: 'x' }))).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
      member: 'a',
    })
    expect(await box.readText('a')).toBe('one two')
  })

  it.each([10, 2 * MiB])('with x loses to whoever ends first, with %i bytes', async (size) => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const race = [1, 2].map(async (n) =>
      pipeline(chunked(noise(size, n), 50_000), box.createWriteStream('a', { flags: 'x' })),
    )
    const outcomes = (await Promise.allSettled(race)).map((outcome) =>
      outcome.status === 'rejected' ? outcome.reason.code : 'written',
    )
    expect(outcomes.sort()).toEqual(['ERR_COFFER_MEMBER_EXISTS', 'written'])
    expect((await box.stat('a')).size).toBe(size)
  })

  it('destroyed before its end leaves nothing', async () => {
    const temp = tempDir()
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { tempDir: temp })
    const stream = box.createWriteStream('a')
    stream.write(noise(3 * MiB))
    await until(() => bytesBelow(temp) > MiB)
    stream.destroy()
    await once(stream, 'close')
    await until(() => bytesBelow(temp) === 0)
    expect(await box.has('a')).toBe(false)
  })

  it('fails with what the disk says, and so does write', async () => {
    const missing = join(tempDir(), 'missing')
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { tempDir: missing })
    const failure = { code: 'ERR_COFFER_IO', syscall: 'mkdir', path: missing }
    await expect(box.write('a', chunked(noise(9 * MiB), 100_000))).rejects.toMatchObject(failure)
    await expect(pipeline(chunked(noise(9 * MiB), 100_000), box.createWriteStream('a'))).rejects.toMatchObject(failure)
    await box.write('small', chunked(noise(100_000), 1_000))
    expect((await box.members()).map((member) => member.name)).toEqual(['small'])
  })

  it('refuses options that make no sense', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const options of [
      { flags: 'r' },
      { flags: 'wx' },
      { mode: -1 },
      { highWaterMark: 0 },
      { start: 1 },
      { signal: 1 },
    ]) {
      expect(() => box.createWriteStream('a', options as never)).toThrow(CofferError)
    }
    expect(() => box.createWriteStream(5 as never)).toThrow(CofferError)
    const bad = box.createWriteStream('../a')
    expect((await once(bad, 'error'))[0]).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
  })
})

describe('createReadStream', () => {
  it('reads ranges as fs does', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', 'abcdefghij')
    const read = async (options: object): Promise<string> =>
      (await collect(box.createReadStream('a', options))).toString()
    expect(await read({})).toBe('abcdefghij')
    expect(await read({ start: 3, end: 3 })).toBe('d')
    expect(await read({ start: 8, end: 100 })).toBe('ij')
    expect(await read({ end: 0 })).toBe('a')
    expect(await read({ start: 10 })).toBe('')
    expect(await read({ start: 1, end: Number.POSITIVE_INFINITY })).toBe('bcdefghij')
    for (const options of [
      { start: 5, end: 4 },
      { start: -1 },
      { end: 1.5 },
      { encoding: 'no' },
      { highWaterMark: 0 },
      { x: 1 },
    ]) {
      expect(() => box.createReadStream('a', options as never)).toThrow(CofferError)
    }
  })

  it.skipIf(process.platform !== 'linux')('reads from the file only the pieces that a range touches', async () => {
    const path = join(tempDir(), 'box.coffer')
    const data = noise(32 * MiB)
    const made = await CofferNull.open(path, 'x')
    await made.write('a', data)
    await made.close()
    const at = 31 * MiB - 5
    const body: Body<
      { path: string; at: number },
      { range: string; streamed: number; part: string; read: number }
    > = async ({ coffer, fs }, { path, at }) => {
      const read = (): number => Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
      const box = await coffer.CofferNull.open(path, 'r')
      const before = read()
      let range = ''
      for await (const chunk of box.createReadStream('a', { start: at, end: at + 9 })) range += chunk.toString('hex')
      const between = read()
      const file = await box.file('a')
      const part = (await file.read(Buffer.alloc(10), 0, 10, at)).buffer.toString('hex')
      const after = read()
      await box.close()
      return { range, streamed: between - before, part, read: after - between }
    }
    const { range, streamed, part, read } = await inChild(body, { path, at })
    const expected = data.subarray(at, at + 10).toString('hex')
    expect([range, part]).toEqual([expected, expected])
    // The ten bytes lie in two pieces of 1 MiB.
    for (const cost of [streamed, read]) {
      expect(cost).toBeGreaterThan(MiB)
      expect(cost).toBeLessThan(2.5 * MiB)
    }
  })

  it('gives chunks of its highWaterMark, whose memory is the consumer’s own', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const data = noise(3 * MiB)
    await box.write('a', data)
    const found: Buffer[] = []
    for await (const chunk of box.createReadStream('a', { highWaterMark: 100_000 })) {
      expect(chunk.length).toBeLessThanOrEqual(100_000)
      // As when it is transferred to another thread.
      found.push(Buffer.from(structuredClone(chunk, { transfer: [chunk.buffer] })))
    }
    expect(Buffer.concat(found).equals(data)).toBe(true)
  })

  it('gives text, whole characters, with an encoding', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const text = '日本🗝️'.repeat(3_000)
    await box.write('a', text)
    let found = ''
    for await (const chunk of box.createReadStream('a', { encoding: 'utf8', highWaterMark: 1_001 })) {
      expect(typeof chunk).toBe('string')
      found += chunk
    }
    expect(found).toBe(text)
  })

  it('fails when the member is not there, is a directory, or is replaced meanwhile', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('dir/a', noise(8 * MiB))
    await expect(collect(box.createReadStream('b'))).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_NOT_FOUND' })
    await expect(collect(box.createReadStream('dir'))).rejects.toMatchObject({ code: 'ERR_COFFER_IS_DIRECTORY' })
    const chunks = box.createReadStream('dir/a')[Symbol.asyncIterator]()
    await chunks.next()
    await box.write('dir/a', noise(8 * MiB, 'other'))
    const rest = (async () => {
      while (!(await chunks.next()).done);
    })()
    await expect(rest).rejects.toMatchObject({ code: 'ERR_COFFER_STALE' })
  })

  it('fails when the coffer is closed meanwhile', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    await box.write('a', noise(8 * MiB))
    const chunks = box.createReadStream('a')[Symbol.asyncIterator]()
    await chunks.next()
    await box.close()
    const rest = (async () => {
      while (!(await chunks.next()).done);
    })()
    await expect(rest).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })
})

describe.skipIf(process.platform !== 'linux')('memory', () => {
  it('is bounded whatever the length of a stream, in both directions', { timeout: 120_000 }, async () => {
    const body: Body<
      { path: string; temp: string; keys: object },
      { grown: number; tail: number[]; bytes: number }
    > = async ({ coffer }, { path, temp, keys }) => {
      const total = 256
      const piece = new Uint8Array(1 << 20)
      for (let at = 0; at < piece.length; at += 65_536)
        globalThis.crypto.getRandomValues(piece.subarray(at, at + 65_536))
      async function* source() {
        for (let i = 0; i < total; i += 1) {
          piece[0] = i
          for (let at = 0; at < piece.length; at += 16_384) yield piece.subarray(at, at + 16_384)
        }
        yield Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      }
      const before = process.resourceUsage().maxRSS
      const box = await coffer.CofferBank.open(path, 'x', { ...keys, tempDir: temp, durability: 'none', level: 1 })
      await box.write('large', source())
      const tail: number[] = []
      for await (const chunk of box.createReadStream('large', { start: total << 20 })) tail.push(...chunk)
      let bytes = 0
      for await (const chunk of box.createReadStream('large')) bytes += chunk.length
      await box.close()
      return { grown: process.resourceUsage().maxRSS - before, tail, bytes }
    }
    const keys = CofferBank.generateKeys()
    const { grown, tail, bytes } = await inChild(body, { path: join(tempDir(), 'box.coffer'), temp: tempDir(), keys })
    expect(tail).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(bytes).toBe(256 * MiB + 10)
    expect(grown * KiB).toBeLessThan(128 * MiB)
  })
})
