import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Body, inChild } from './support/child.ts'
import { CofferNull } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

/** How the memory of an array goes away, and how it was made. */
const ways = ['transferred', 'shrunk', 'grown by WebAssembly'] as const
const calls = ['write', 'append', 'batch.write', 'file.write', 'file.writeFile', 'stream'] as const

/** What came of each round: the code of the error, and whether the member is the old or the new one. */
type Outcome = [way: string, call: string, code: string | undefined, member: string]

/** Takes the memory of an array away while it is written, again and again. */
const rounds: Body<{ path: string; count: number; ways: typeof ways; calls: typeof calls }, Outcome[]> = async (
  { coffer },
  { path, count, ways, calls },
) => {
  const SIZE = 3 << 20
  const box = await coffer.CofferNull.open(path, 'w', { autoFlush: false })
  const outcomes: Outcome[] = []
  const made = (way: string, fill: number): { bytes: Uint8Array; take: () => void } => {
    if (way === 'grown by WebAssembly') {
      type Memory = { buffer: ArrayBuffer; grow: (pages: number) => number }
      // The types of Node.js leave it out.
      const { Memory } = Reflect.get(globalThis, 'WebAssembly') as { Memory: new (pages: object) => Memory }
      const memory = new Memory({ initial: SIZE >> 16, maximum: (SIZE >> 16) + 16 })
      return { bytes: new Uint8Array(memory.buffer).fill(fill), take: () => void memory.grow(1) }
    }
    const buffer = way === 'shrunk' ? new ArrayBuffer(SIZE, { maxByteLength: SIZE }) : new ArrayBuffer(SIZE)
    const take = (): void => {
      if (way === 'shrunk') buffer.resize(0)
      // What it becomes is dropped, and its memory is freed.
      else structuredClone(buffer, { transfer: [buffer] })
      globalThis.gc?.()
    }
    // Of a fixed length: one that follows its buffer would merely be empty.
    return { bytes: new Uint8Array(buffer, 0, SIZE).fill(fill), take }
  }
  for (const way of ways) {
    for (const call of calls) {
      for (let round = 0; round < count; round += 1) {
        const old = Buffer.alloc(100, 'o')
        await box.write('a', old)
        const fill = 1 + (round % 250)
        const { bytes, take } = made(way, fill)
        const work = async (): Promise<unknown> => {
          if (call === 'write') return box.write('a', bytes)
          if (call === 'append') return box.append('a', bytes)
          if (call === 'batch.write') return box.batch((batch) => batch.write('a', bytes))
          if (call === 'stream') {
            const stream = box.createWriteStream('a')
            return new Promise<void>((resolve, reject) => {
              stream.on('error', reject).on('finish', resolve).end(bytes)
            })
          }
          const file = await box.file('a', 'w')
          const writing = call === 'file.write' ? file.write(bytes) : file.writeFile(bytes)
          return writing.then(
            () => file.close(),
            async (error) => {
              file.abort()
              throw error
            },
          )
        }
        const working = work().then(
          () => undefined,
          (error: Error & { code?: string }) => error.code ?? error.message,
        )
        // At once, in the next turn, or some parts later.
        for (let turn = 0; turn < round % 8; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        take()
        const code = await working
        const now = await box.read('a')
        const whole = Buffer.alloc(SIZE, fill)
        const all = now.equals(whole)
        const appended = now.subarray(0, 100).equals(old) && now.subarray(100).equals(whole)
        const member = now.equals(old) ? 'old' : all || appended ? 'new' : `neither, of ${now.length} bytes`
        outcomes.push([way, call, code, member])
      }
    }
  }
  await box.verify()
  await box.close()
  return outcomes
}

describe('an array whose memory goes away while it is written', () => {
  it('fails its call and leaves the member, or is written whole: the process goes on', async () => {
    const args = { path: join(tempDir(), 'box.coffer'), count: 8, ways, calls }
    const outcomes = await inChild(rounds, args, { execArgv: ['--expose-gc'] })
    expect(outcomes).toHaveLength(args.count * ways.length * calls.length)
    for (const [way, call, code, member] of outcomes) {
      const expected = code === undefined ? [undefined, 'new'] : ['ERR_COFFER_INVALID_ARG', 'old']
      expect([code, member], `${way} ${call}`).toEqual(expected)
    }
    // Some of them were caught in the middle.
    expect(outcomes.filter(([, , code]) => code !== undefined).length).toBeGreaterThan(calls.length)
  })

  it('is written in the order of the calls, as any other', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const large = (fill: number): Uint8Array => new Uint8Array(5 << 20).fill(fill)
    const writes = [
      box.write('a', large(1)),
      box.append('a', large(2)),
      box.write('b', large(3)),
      box.write('b', 'small'),
    ]
    writes.push(box.flush())
    await Promise.all(writes)
    const a = await box.read('a')
    expect([a.length, a[0], a.at(-1)]).toEqual([10 << 20, 1, 2])
    expect(await box.readText('b')).toBe('small')
    await expect(box.write('a/b', large(4))).rejects.toMatchObject({ code: 'ERR_COFFER_MEMBER_EXISTS' })
    const late = box.write('late', large(5))
    await box.close()
    await late
  })

  it('may be shared with other threads, and may be resizable', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    for (const size of [100, 200_000, 3 << 20]) {
      const shared = new Uint8Array(new SharedArrayBuffer(size)).fill(7)
      const resizable = new Uint8Array(new ArrayBuffer(size, { maxByteLength: size * 2 })).fill(8)
      for (const [bytes, fill] of [
        [shared, 7],
        [resizable, 8],
      ] as const) {
        await box.write('a', bytes)
        await box.append('a', [bytes])
        const found = await box.read('a')
        expect(found.length).toBe(2 * size)
        expect(found.every((byte) => byte === fill)).toBe(true)
      }
    }
    await box.close()
  })
})

/** A thread that ends in the middle of a large write. */
const ending: Body<{ path: string }, string> = async ({ coffer, worker }, { path }) => {
  const body = async (
    { coffer: inside, say }: { coffer: typeof coffer; say: (message: unknown) => Promise<void> },
    to: string,
  ) => {
    const box = await inside.CofferNull.open(to, 'w')
    await box.write('a', 'before')
    await box.flush()
    const working = box.write('a', new Uint8Array(64 << 20))
    await say('writing')
    await working
  }
  const thread = worker(body.toString(), path)
  await new Promise((resolve) => thread.on('message', ({ say }) => say === 'writing' && resolve(undefined)))
  await thread.terminate()
  const box = await coffer.CofferNull.open(path, 'a', { lockTimeout: 20_000 })
  const { size } = await box.stat('a')
  await box.close()
  return size === 6 || size === 64 << 20 ? 'one of the two' : `${size} bytes`
}

it('a thread that ends while it writes a large array lets go of the coffer', async () => {
  expect(await inChild(ending, { path: join(tempDir(), 'box.coffer') })).toBe('one of the two')
})

describe('a buffer of a handle', () => {
  it('is the callers again at once, up to 1 MiB', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const file = await box.file('a', 'w')
    const buffer = Buffer.alloc(4)
    const writes: Promise<unknown>[] = []
    for (const text of ['one ', 'two ', 'tri ']) {
      buffer.write(text)
      writes.push(text === 'two ' ? file.writeFile(buffer) : file.write(buffer))
    }
    buffer.fill('x')
    await Promise.all(writes)
    await file.close()
    expect(await box.readText('a')).toBe('one two tri ')
    await box.close()
  })
})

describe('a read beside a write', () => {
  it('gives the old bytes or the new ones, and the new ones once the write has returned', async () => {
    const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x', { autoFlush: false })
    await box.write('a', 'old')
    for (let round = 0; round < 50; round += 1) {
      const [before, after] = [await box.readText('a'), `new ${round} `.repeat(round % 2 === 0 ? 2 : 100_000)]
      const writing = box.write('a', after)
      expect([before, after]).toContain(await box.readText('a'))
      await writing
      expect(await box.readText('a')).toBe(after)
    }
    await box.close()
  })
})
