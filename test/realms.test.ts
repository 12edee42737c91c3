import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Body, inChild } from './support/child.ts'
import { tempDir } from './support/temp.ts'

/**
 * What jsdom does to the globals of a test, and Electron to those of its renderer: classes of their
 * own for signals, events, URLs and streams' errors, timers that return numbers, and some are missing.
 */
const foreign: Body<{ directory: string }, unknown> = async ({ coffer, fs }, { directory }) => {
  const { EventEmitter } = process.getBuiltinModule('node:events')
  const vm = process.getBuiltinModule('node:vm')
  class ForeignSignal {
    readonly emitter = new EventEmitter()
    aborted = false
    reason: unknown
    addEventListener(name: string, listener: () => void): void {
      this.emitter.on(name, listener)
    }
    removeEventListener(name: string, listener: () => void): void {
      this.emitter.off(name, listener)
    }
    throwIfAborted(): void {
      if (this.aborted) throw this.reason
    }
  }
  class ForeignController {
    readonly signal = new ForeignSignal()
    abort(reason: unknown = new Error('aborted')): void {
      this.signal.aborted = true
      this.signal.reason = reason
      this.signal.emitter.emit('abort')
    }
  }
  class ForeignURL {
    readonly #url: URL
    constructor(text: string) {
      this.#url = new NodeURL(text)
    }
    get href(): string {
      return this.#url.href
    }
    get protocol(): string {
      return this.#url.protocol
    }
    toString(): string {
      return this.href
    }
  }
  const NodeURL = URL
  const { setInterval: every } = globalThis
  let number = 0
  Object.assign(globalThis, {
    AbortController: ForeignController,
    AbortSignal: ForeignSignal,
    URL: ForeignURL,
    EventTarget: class {},
    Event: class {},
    DOMException: class extends Error {},
    setInterval: (...args: Parameters<typeof setInterval>) => {
      every(...args).unref()
      number += 1
      return number
    },
  })
  for (const name of ['structuredClone', 'performance', 'ReadableStream']) {
    Object.defineProperty(globalThis, name, { value: undefined })
  }
  const done: string[] = []
  const step = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const outcome = await work().then(
      () => 'well',
      (error) => `${error?.code ?? ''} ${error?.stack}`,
    )
    done.push(`${what}: ${outcome}`)
  }
  const keys = coffer.CofferBank.generateKeys()
  const url = (path: string): URL => new ForeignURL(`file://${directory}/${path}`) as unknown as URL
  const box = await coffer.CofferBank.open(url('box.coffer'), 'x', { ...keys, backup: true, tempDir: url('') })
  const { signal } = new ForeignController() as unknown as { signal: AbortSignal }
  const onProgress = (): void => {}
  const from = <T>(source: string): T => vm.runInNewContext(source) as T
  fs.writeFileSync(`${directory}/file`, 'x')
  await step('write', () => box.write('a', 'x', { signal }))
  await step('bytes of another realm', () => box.write('b', from<Uint8Array>('new Uint8Array([1, 2])')))
  await step('a source of another realm', () =>
    box.write('c', from<string[]>('["x", new Uint8Array([1])]'), { signal }),
  )
  await step('a generator of another realm', () =>
    box.write('d', from<Iterable<string>>('(function* () { yield "x" })()'), { signal }),
  )
  await step('a time of another realm', () => box.write('e', 'x', { mtime: from<Date>('new Date(0)') }))
  await step('options of another realm', () => box.write('f', 'x', from<object>('({ mode: 0o600 })')))
  await step('a value of another realm', async () => {
    await box.dump('g', from('({ a: [new Map([[1, new Set([new Date(0), new Uint8Array(2)])]])] })'))
    await box.load('g')
  })
  await step('keys of another realm', async () => {
    const key = from<Uint8Array>('new Uint8Array(32)')
    const other = await coffer.CofferStore.open(`${directory}/other`, 'x', { cofferKey: key })
    await other.close()
  })
  await step('an error of another realm', async () => {
    const own = from<Error>('new Error("own")')
    const failed = await box
      .write('h', {
        [Symbol.iterator]: () => ({
          next: () => {
            throw own
          },
        }),
      })
      .catch((error) => error)
    if (failed !== own) throw failed
  })
  await step('lines', async () => {
    for await (const line of box.readLines('a')) if (line !== 'x') throw new Error(line)
    await box.readLines('a').next()
  })
  await step('a handle', async () => {
    const file = await box.file('i', 'w')
    await file.writeFile(['x', 'y'], { signal })
    await file.close()
    const aborted = await box.file('j', 'w')
    aborted.abort()
  })
  await step('a batch', () => box.batch((batch) => batch.write('k', ['x'], { signal })))
  await step('streams', async () => {
    await box.createReadStream('a', { signal }).toArray()
    const stream = box.createWriteStream('l', { signal })
    await new Promise((resolve, reject) => stream.on('error', reject).on('finish', resolve).end('x'))
  })
  await step('add', () => box.add(url('file'), { as: 'm', signal, onProgress }))
  await step('extract', () => box.extractAll(url('out'), { signal, onProgress }))
  await step('verify', () => box.verify({ signal, onProgress }))
  await step('compact', () => box.compact({ signal, onProgress }))
  await step('rsync', async () => {
    const rsync = await box.plugin('rsync')
    await rsync.push(url('out'), 'tree', { signal, onProgress })
    await rsync.pull('tree', url('pulled'), { signal, onProgress })
  })
  await step('crypt', async () => {
    const crypt = await box.plugin('crypt')
    await crypt.encrypt(url('file'), url('file.crypt'), { signal, onProgress })
    await crypt.decrypt(url('file.crypt'), url('file.again'), { signal, onProgress })
  })
  await step('passwords', async () => {
    const passwords = await box.plugin('password')
    await passwords.add({ name: 'mail', password: 'x' })
    await passwords.list()
  })
  await step('tar', async () => {
    await coffer.importTar(box, coffer.exportTar(box, { signal, onProgress }), { prefix: 'copy', signal, onProgress })
  })
  await step('identify', () => coffer.identify(url('box.coffer')))
  await step('an abort', async () => {
    const stop = new ForeignController()
    const own = new Error('own')
    const given = box.write(
      'n',
      { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) },
      {
        signal: stop.signal as unknown as AbortSignal,
      },
    )
    stop.abort(own)
    const reason = await given.then(
      () => undefined,
      (error) => error,
    )
    if (reason !== own) throw reason
  })
  await step('close', () => box.close())
  return done
}

describe('where the globals are not those of Node.js, as under jsdom', () => {
  it('every call works', async () => {
    const done = (await inChild(foreign, { directory: tempDir() })) as string[]
    expect(done.length).toBeGreaterThan(20)
    for (const outcome of done) expect(outcome).toMatch(/: well$/)
  })
})

/** The package's own globals are taken when it is loaded: here it is loaded afterwards. */
const loadedLate: Body<{ directory: string; at: string }, string> = async (_, { directory, at }) => {
  for (const name of ['AbortController', 'AbortSignal', 'URL', 'performance']) {
    Object.defineProperty(globalThis, name, { value: class {} })
  }
  const load = new Function('at', 'return import(at)') as (at: string) => Promise<typeof import('./support/coffer.ts')>
  const coffer = await load(at)
  const box = await coffer.CofferNull.open(`${directory}/box.coffer`, 'x')
  await box.write('a', ['x', 'y'])
  await box.dump('b', { text: 'ä' })
  const { text } = await box.load<{ text: string }>('b')
  const read = await box.readText('a')
  await box.close()
  return `${read}${text}`
}

it('and so it does where it is loaded into such a process', async () => {
  const at = `${new URL('../dist/index.js', import.meta.url).href}?late`
  expect(await inChild(loadedLate, { directory: join(tempDir()), at })).toBe('xyä')
})
