import { getEventListeners } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { type Body, inChild } from './support/child.ts'
import { type Coffer, CofferNull, exportTar, importTar, type MemberData } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

/** Every call that takes a source, with the name of the member that it is to change. */
const calls = ['write', 'append', 'batch.write', 'batch.append', 'file.writeFile', 'file.appendFile'] as const

async function give(box: Coffer, call: (typeof calls)[number], data: MemberData, signal?: AbortSignal): Promise<void> {
  const options = signal ? { signal } : {}
  if (call === 'write') await box.write('a', data, options)
  else if (call === 'append') await box.append('a', data, options)
  else if (call === 'batch.write') await box.batch((batch) => batch.write('a', data, options))
  else if (call === 'batch.append') await box.batch((batch) => batch.append('a', data, options))
  else {
    await using file = await box.file('a', 'w')
    await (call === 'file.writeFile' ? file.writeFile(data, options) : file.appendFile(data, options))
  }
}

const fresh = async (): Promise<Coffer> => {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
  await box.write('a', 'before')
  return box
}

/** Runs each misbehaving source, against each call, in a process that anything unheard would end. */
const misbehaving: Body<{ path: string; calls: typeof calls }, [string, string, string][]> = async (
  { coffer },
  { path, calls },
) => {
  const { Readable, Transform } = process.getBuiltinModule('node:stream')
  const own = new Error('its own')
  const reason = new Error('the reason')
  type Box = import('./support/coffer.ts').Coffer
  type Make = (stop: AbortController, box: Box) => unknown
  const forever = (): Promise<never> => new Promise(() => {})
  const later = (work: () => void): void => void setTimeout(work, 5)
  const sources: Record<string, Make> = {
    'return() gives no promise': (stop) => ({
      [Symbol.asyncIterator]: () => ({
        next: () => (later(() => stop.abort(reason)), forever()),
        return: () => undefined,
      }),
    }),
    'return() throws': (stop) => ({
      [Symbol.asyncIterator]: () => ({
        next: () => (later(() => stop.abort(reason)), forever()),
        return: () => {
          throw own
        },
      }),
    }),
    'return() rejects': (stop) => ({
      [Symbol.asyncIterator]: () => ({
        next: () => (later(() => stop.abort(reason)), forever()),
        return: () => Promise.reject(own),
      }),
    }),
    'return is no function': (stop) => ({
      [Symbol.asyncIterator]: () => ({ next: () => (later(() => stop.abort(reason)), forever()), return: 5 }),
    }),
    'then throws': (stop) => ({
      [Symbol.asyncIterator]: () => ({
        next: () => (later(() => stop.abort(reason)), forever()),
        return: () => ({
          // biome-ignore lint/suspicious/noThenProperty: this is what is tried
          get then() {
            throw own
          },
        }),
      }),
    }),
    'a generator that aborts its own signal': function* (stop) {
      yield 'x'
      stop.abort(reason)
      yield 'y'
    },
    'an asynchronous generator that aborts its own signal': async function* (stop) {
      yield 'x'
      stop.abort(reason)
      yield 'y'
    },
    'a finally that throws': function* (stop) {
      try {
        yield 'x'
        later(() => stop.abort(reason))
        yield 'y'
        stop.abort(reason)
        yield 'z'
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: this is what is tried
        throw own
      }
    },
    'an asynchronous finally that throws': async function* (stop) {
      try {
        yield 'x'
        stop.abort(reason)
        yield 'y'
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: this is what is tried
        throw own
      }
    },
    'a generator that throws': function* () {
      yield 'x'
      throw own
    },
    'next() throws': () => ({
      [Symbol.iterator]: () => ({
        next: () => {
          throw own
        },
      }),
    }),
    'next() gives nothing': () => ({ [Symbol.iterator]: () => ({ next: () => undefined }) }),
    'a chunk that is none, and a finally that throws': function* () {
      try {
        yield 5
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: this is what is tried
        throw own
      }
    },
    'a stream that fails at being destroyed': (stop) =>
      new Readable({
        read() {
          this.push('x')
          later(() => stop.abort(reason))
        },
        destroy(_, done) {
          done(own)
        },
      }),
    'a stream that fails at being destroyed because of a chunk': () =>
      Object.assign(
        new Readable({
          objectMode: true,
          read() {
            this.push(5)
          },
          destroy(_, done) {
            done(own)
          },
        }),
      ),
    'a stream whose destroy throws': (stop) =>
      Object.assign(new Readable({ read: () => later(() => stop.abort(reason)) }), {
        destroy: () => {
          throw own
        },
      }),
    'a transform that fails': () => {
      const transform = new Transform({ transform: (_chunk, _encoding, done) => done(own) })
      // It fails before a batch has begun to read it.
      transform.on('error', () => {}).write('x')
      return transform
    },
    'a web stream that fails at being cancelled': (stop) =>
      new ReadableStream({
        pull: (controller) => {
          controller.enqueue('x')
          later(() => stop.abort(reason))
          return new Promise((resolve) => setTimeout(resolve, 20))
        },
        cancel: () => Promise.reject(own),
      }),
    'a generator that closes the coffer': function* (_, box) {
      yield 'x'
      box.close().catch(() => {})
      yield 'y'
      yield 'z'
    },
    'an asynchronous generator that closes the coffer': async function* (_, box) {
      yield 'x'
      box.close().catch(() => {})
      yield 'y'
      yield 'z'
    },
  }
  const outcomes: [string, string, string][] = []
  for (const [what, make] of Object.entries(sources)) {
    for (const call of calls) {
      // A batch waits for what is in it, and so cannot wait for the coffer to close.
      if (/closes/.test(what) && call.startsWith('batch')) continue
      const box = await coffer.CofferNull.open(path, 'w')
      await box.write('a', 'before')
      const stop = new AbortController()
      const data = make(stop, box) as never
      const options = { signal: stop.signal }
      const work = async (): Promise<void> => {
        if (call === 'write' || call === 'append') await box[call]('a', data, options)
        else if (call === 'batch.write') await box.batch((batch) => batch.write('a', data, options))
        else if (call === 'batch.append') await box.batch((batch) => batch.append('a', data, options))
        else {
          const file = await box.file('a', 'w')
          await file[call === 'file.writeFile' ? 'writeFile' : 'appendFile'](data, options)
          await file.close()
        }
      }
      const outcome = await work().then(
        () => 'taken',
        (error: Error & { code?: string }) => error.code ?? error.message,
      )
      await new Promise((resolve) => setTimeout(resolve, 2))
      await box.close()
      const again = await coffer.CofferNull.open(path, 'r')
      outcomes.push([what, outcome, await again.readText('a')])
      await again.close()
    }
  }
  return outcomes
}

describe('a source that stops badly', () => {
  it('fails its call with the reason or its own error, leaves the member, and ends no process', async () => {
    const outcomes = await inChild(misbehaving, { path: join(tempDir(), 'box.coffer'), calls })
    expect(outcomes.length).toBeGreaterThan(100)
    for (const [what, outcome, member] of outcomes) {
      expect(['its own', 'the reason', 'ERR_COFFER_INVALID_ARG', 'ERR_COFFER_CLOSED'], what).toContain(outcome)
      expect(member, what).toBe('before')
      if (/abort|return\(\)|cancel/.test(what)) expect(outcome, what).toBe('the reason')
      if (/closes/.test(what)) expect(outcome, what).toBe('ERR_COFFER_CLOSED')
    }
  })
})

describe('a source that has nothing left', () => {
  const used = async (): Promise<ReadableStream<string>> => {
    const stream = new ReadableStream({ start: (controller) => (controller.enqueue('x'), controller.close()) })
    for await (const _ of stream);
    return stream
  }
  const sources: Record<string, () => MemberData | Promise<MemberData>> = {
    'a web stream that was read': used,
    'a web stream that was cancelled': async () => {
      const stream = new ReadableStream<string>({})
      await stream.cancel()
      return stream
    },
    'a web stream that is locked': () => {
      const stream = new ReadableStream<string>({})
      stream.getReader()
      return stream
    },
    'a web stream that is being piped elsewhere': () => {
      const stream = new ReadableStream<string>({})
      void stream.pipeTo(new WritableStream())
      return stream
    },
    'the body of a response that was read': async () => {
      const response = new Response('x')
      await response.text()
      return response.body as ReadableStream<Uint8Array>
    },
    'a stream that was destroyed': () => new PassThrough().destroy(),
    'a stream that has ended': async () => {
      const stream = Readable.from(['x'])
      for await (const _ of stream);
      return stream
    },
    'an array whose memory was transferred': () => {
      const bytes = new Uint8Array(100)
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      return bytes
    },
    'a large array whose memory was transferred': () => {
      const bytes = new Uint8Array(4 << 20)
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      return bytes
    },
    'an array behind the end of its buffer': () => {
      const buffer = new ArrayBuffer(100, { maxByteLength: 100 })
      const bytes = new Uint8Array(buffer, 50, 50)
      buffer.resize(10)
      return bytes
    },
    'a chunk whose memory was transferred': () => {
      const bytes = new Uint8Array(100)
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      return ['x', bytes]
    },
  }
  it.each(Object.entries(sources).flatMap(([what, make]) => calls.map((call) => ({ what, call, make }))))(
    '$what is an error of $call, and the member stays',
    async ({ call, make }) => {
      const box = await fresh()
      await expect(give(box, call, await make())).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
      expect(await box.readText('a')).toBe('before')
      await box.close()
    },
  )

  it('may be empty, and may have been read in part', async () => {
    const box = await fresh()
    await box.write('a', new ReadableStream({ start: (controller) => controller.close() }))
    expect(await box.readText('a')).toBe('')
    const stream = new ReadableStream({
      start: (controller) => (controller.enqueue('head'), controller.enqueue('rest'), controller.close()),
    })
    const reader = stream.getReader()
    await reader.read()
    reader.releaseLock()
    await box.write('a', stream)
    expect(await box.readText('a')).toBe('rest')
    await box.write('a', new Uint8Array())
    expect(await box.readText('a')).toBe('')
    await box.close()
  })

  it('throws the error that a stream failed with', async () => {
    const box = await fresh()
    const own = new Error('its own')
    const web = () => new ReadableStream({ start: (controller) => controller.error(own) })
    const node = new PassThrough().once('error', () => {})
    node.destroy(own)
    for (const call of calls) {
      await expect(give(box, call, web())).rejects.toBe(own)
      await expect(give(box, call, node)).rejects.toBe(own)
    }
    expect(await box.readText('a')).toBe('before')
    await box.close()
  })

  it('is an error of a key, a passphrase and a buffer to read into, too', async () => {
    const gone = new Uint8Array(32)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    const box = await fresh()
    const file = await box.file('a')
    await expect(file.read(gone)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await file.close()
    const writing = await box.file('b', 'w')
    await expect(writing.write(gone)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    writing.abort()
    await box.close()
    const { CofferStore } = await import('./support/coffer.ts')
    for (const keys of [{ cofferKey: gone }, { passphrase: gone }]) {
      const opening = CofferStore.open(join(tempDir(), 'x.coffer'), 'x', keys)
      await expect(opening).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })
})

/** The bytes that the heap grows by with some thousand streamed writes, each with a signal, or in all with one. */
const growth: Body<{ path: string; rounds: number }, number[]> = async ({ coffer }, { path, rounds }) => {
  const box = await coffer.CofferNull.open(path, 'w', { autoFlush: false })
  const shared = new AbortController()
  const grown: number[] = []
  for (const signalOf of [() => new AbortController().signal, () => shared.signal]) {
    const write = async (count: number): Promise<number> => {
      for (let at = 0; at < count; at += 1) await box.write('a', ['x'], { signal: signalOf() })
      for (let at = 0; at < 3; at += 1) {
        globalThis.gc?.()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      return process.memoryUsage().heapUsed
    }
    const before = await write(1_000)
    grown.push((await write(rounds)) - before)
  }
  await box.close()
  return grown
}

describe('a signal', () => {
  it('costs nothing once its call is over, while the coffer stays open', async () => {
    const rounds = 8_000
    const args = { path: join(tempDir(), 'box.coffer'), rounds }
    const grown = await inChild(growth, args, { execArgv: ['--expose-gc'] })
    for (const bytes of grown) expect(bytes / rounds).toBeLessThan(60)
  })

  it('has no listener left after any call that takes it, whether that succeeds or fails', async () => {
    const directory = tempDir()
    const box = await fresh()
    writeFileSync(join(directory, 'file'), 'x')
    const { signal } = new AbortController()
    const [crypt, rsync] = [await box.plugin('rsync'), await box.plugin('rsync')]
    const all: (() => Promise<unknown>)[] = [
      ...calls.flatMap((call) => [
        () => give(box, call, 'whole', signal),
        () => give(box, call, ['in', 'parts'], signal),
        () => give(box, call, Readable.from(['in', 'parts']), signal),
        () => give(box, call, [5] as never, signal),
      ]),
      () => box.add(join(directory, 'file'), { as: 'b', signal }),
      () => box.add(join(directory, 'missing'), { as: 'b', signal }),
      () => box.extract('a', join(directory, 'out'), { signal }),
      () => box.extractAll(join(directory, 'out'), { signal, replace: false }),
      () => box.verify({ signal }),
      () => box.compact({ signal }),
      () => rsync.push(directory, 'tree', { signal }),
      () => rsync.pull('tree', join(directory, 'pulled'), { signal }),
      () => crypt.push(join(directory, 'missing'), 'tree', { signal }),
      () => exportTar(box, { signal }).toArray(),
      () => importTar(box, exportTar(box), { signal, prefix: 'copy' }),
      () => box.createReadStream('a', { signal }).toArray(),
      () => box.createReadStream('missing', { signal }).toArray(),
      async () => {
        const stream = box.createWriteStream('a', { signal })
        await new Promise((resolve) => stream.once('close', resolve).end('x'))
      },
      async () => (await CofferNull.open(join(directory, 'other.coffer'), 'w', { signal })).close(),
      () => CofferNull.open(join(directory, 'missing.coffer'), 'r', { signal }),
    ]
    for (const call of all) {
      await call().catch(() => {})
      await new Promise((resolve) => setImmediate(resolve))
      expect(getEventListeners(signal, 'abort'), String(call)).toEqual([])
    }
    await box.close()
  })
})
