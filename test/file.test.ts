import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ReadableStream } from 'node:stream/web'
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { CofferBank, CofferError, CofferNull } from './support/coffer.ts'
import { keysFor, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const MiB = 1 << 20

async function fresh(options: object = {}): Promise<CofferNull> {
  return CofferNull.open(join(tempDir(), 'box.coffer'), 'x', options)
}

const code = (name: string) => ({ code: `ERR_COFFER_${name}` })

describe.each(kinds)('a handle in a $label', (kind) => {
  it('writes, appends and reads, and nothing is there before it closes', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys, { level: 1 })
    const data = noise(3 * MiB + 5)
    const writing = await box.file('dir/a', 'x', { mode: 0o600 })
    for (let at = 0; at < data.length; at += 100_000) await writing.write(data.subarray(at, at + 100_000))
    expect(await box.has('dir/a')).toBe(false)
    expect(await writing.stat()).toMatchObject({ name: 'dir/a', type: 'file', size: data.length, mode: 0o600 })
    await writing.close()
    expect(await box.stat('dir/a')).toMatchObject({ size: data.length, mode: 0o600 })

    const appending = await box.file('dir/a', 'a')
    expect((await appending.stat()).size).toBe(data.length)
    await appending.write('the end', data.length)
    await appending.close()
    await box.close()

    await using again = await openKind(kind, path, 'r', keys)
    await using reading = await again.file('dir/a')
    const expected = Buffer.concat([data, Buffer.from('the end')])
    expect((await reading.stat()).size).toBe(expected.length)
    const found: Buffer[] = []
    for (;;) {
      const { bytesRead, buffer } = await reading.read({ buffer: Buffer.alloc(77_777) })
      if (bytesRead === 0) break
      found.push(buffer.subarray(0, bytesRead))
    }
    expect(Buffer.concat(found).equals(expected)).toBe(true)
  })
})

describe('reading', () => {
  it('has the arguments of a FileHandle', async () => {
    await using box = await fresh()
    await box.write('a', 'abcdefghij')
    await using file = await box.file('a', 'rb')
    expect([file.name, file.mode, file.closed]).toEqual(['a', 'r', false])
    const buffer = Buffer.alloc(4, '.')
    expect(await file.read(buffer)).toEqual({ bytesRead: 4, buffer: Buffer.from('abcd') })
    expect(await file.read(buffer, 1, 2)).toEqual({ bytesRead: 2, buffer: Buffer.from('aefd') })
    expect(await file.read(buffer, 0, 4, 8)).toMatchObject({ bytesRead: 2, buffer: Buffer.from('ijfd') })
    expect(await file.read(buffer, { offset: 3, position: 0n })).toMatchObject({
      bytesRead: 1,
      buffer: Buffer.from('ijfa'),
    })
    expect(await file.read(buffer, null, null, null)).toMatchObject({ bytesRead: 4, buffer: Buffer.from('ghij') })
    expect(await file.read(buffer, 0, 4, -1)).toMatchObject({ bytesRead: 0 })
    expect((await file.read({ position: 5 })).buffer.length).toBe(16_384)
    expect((await file.read({ position: 100 })).bytesRead).toBe(0)
    const words = new Uint16Array(3)
    expect((await file.read(words, 2, 4, 0)).bytesRead).toBe(4)
    expect(Buffer.from(words.buffer).toString()).toBe('\0\0abcd')
    for (const wrong of [[buffer, 5], [buffer, 0, 5], [buffer, 0, 1, 1.5], [{ buffer: 'x' }], [{ positon: 1 }]]) {
      await expect(file.read(...(wrong as [never]))).rejects.toMatchObject(code('INVALID_ARG'))
    }
  })

  it('at once in many places needs no waiting', async () => {
    await using box = await fresh({ blockSize: 4_096 })
    const data = noise(500_000)
    await box.write('a', data)
    await using file = await box.file('a')
    const parts = await Promise.all(Array.from({ length: 100 }, async () => file.read(Buffer.alloc(5_000))))
    expect(Buffer.concat(parts.map((part) => part.buffer)).equals(data)).toBe(true)
    expect((await file.read()).bytesRead).toBe(0)
  })

  it('of all, lines, and streams begins where the last read ended', async () => {
    await using box = await fresh()
    const text = lines(50_000)
    await box.writeLines('a', text)
    await using file = await box.file('a')
    const first = (text[0] as string).length + 1
    await file.read(Buffer.alloc(first))
    const found: string[] = []
    for await (const line of file.readLines()) found.push(line)
    expect(found).toEqual(text.slice(1))
    const joined = await collected(file)
    expect(joined).toBe(text.slice(1).join('\n'))
    const streamed = await file.createReadStream({ autoClose: false, encoding: 'utf8' }).toArray()
    expect(streamed.join('').trimEnd()).toBe(joined)
    expect((await file.readFile('utf8')).trimEnd()).toBe(joined)
    expect(await file.readFile()).toEqual(Buffer.alloc(0))
    expect(file.closed).toBe(false)
    const whole = await file.createReadStream({ start: 0 }).toArray()
    expect(Buffer.concat(whole).toString()).toBe(`${text.join('\n')}\n`)
    expect(file.closed).toBe(true)
  })

  it('stays with the version that was there, and says so when it is gone', async () => {
    await using box = await fresh()
    await box.write('a', noise(2 * MiB))
    await using file = await box.file('a')
    await box.compact()
    expect((await file.read()).bytesRead).toBe(16_384)
    await box.write('a', 'new')
    await expect(file.read({ position: 1_500_000 })).rejects.toMatchObject(code('STALE'))
    await expect(file.stat()).rejects.toMatchObject(code('STALE'))
    await expect(file.readFile()).rejects.toMatchObject(code('STALE'))
    await box.delete('a')
    await expect(file.stat()).rejects.toMatchObject(code('STALE'))
  })

  it('needs a member that is a file', async () => {
    await using box = await fresh()
    await box.write('dir/a', 'x')
    await expect(box.file('b')).rejects.toMatchObject(code('MEMBER_NOT_FOUND'))
    await expect(box.file('dir')).rejects.toMatchObject(code('IS_DIRECTORY'))
    await expect(box.file('../a')).rejects.toMatchObject(code('INVALID_ARG'))
    await expect(box.file('a', 'r+' as never)).rejects.toMatchObject(code('INVALID_ARG'))
    await expect(box.file('a', 'w', { flags: 'w' } as never)).rejects.toMatchObject(code('INVALID_ARG'))
  })
})

async function collected(file: { readableWebStream(): ReadableStream<Uint8Array> }): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of file.readableWebStream()) chunks.push(chunk)
  return Buffer.concat(chunks).toString().trimEnd()
}

describe('writing', () => {
  it('has the arguments of a FileHandle', async () => {
    await using box = await fresh()
    const file = await box.file('a', 'w', { mtime: new Date(7_000) })
    const bytes = Buffer.from('0123456789')
    expect(await file.write(bytes, 2, 3)).toEqual({ bytesWritten: 3, buffer: bytes })
    expect(await file.write(bytes, { offset: 8 })).toEqual({ bytesWritten: 2, buffer: bytes })
    expect(await file.write(bytes, 0, 1, 5)).toMatchObject({ bytesWritten: 1 })
    expect(await file.write('ü', null, 'latin1')).toEqual({ bytesWritten: 1, buffer: 'ü' })
    expect(await file.write('grüße', 7)).toEqual({ bytesWritten: 7, buffer: 'grüße' })
    await file.writeFile(' all')
    await file.appendFile(Readable.from([' and ', Buffer.from('more')]))
    await file.write(new Uint8Array(0))
    await file.close()
    const expected = Buffer.concat([Buffer.from('234890'), Buffer.from([0xfc]), Buffer.from('grüße all and more')])
    expect(await box.read('a')).toEqual(expected)
    expect((await box.stat('a')).mtime).toEqual(new Date(7_000))
  })

  it('goes from the beginning to the end: another position is refused, and does no harm', async () => {
    await using box = await fresh()
    const file = await box.file('a', 'w')
    await file.write('abc')
    for (const position of [0, 2, 4]) {
      await expect(file.write('x', position)).rejects.toMatchObject({ ...code('INVALID_ARG'), message: /position.* 3/ })
    }
    for (const wrong of [[5], [['x']], ['x', 'y'], ['x', null, 'no'], [Buffer.alloc(2), 3], [Buffer.alloc(2), 0, 3]]) {
      await expect(file.write(...(wrong as [never]))).rejects.toMatchObject(code('INVALID_ARG'))
    }
    await file.close()
    expect(await box.readText('a')).toBe('abc')
  })

  it('without waiting keeps the order of the calls, and closing waits for all of them', async () => {
    await using box = await fresh()
    const file = await box.file('a', 'w')
    const parts = Array.from({ length: 200 }, (_, i) => noise(30_000, i))
    const writes = parts.map(async (part, i) => (i % 10 === 3 ? file.writeFile([part]) : file.write(part)))
    const closing = file.close()
    expect(file.closed).toBe(true)
    await Promise.all([...writes, closing, file.close()])
    expect((await box.read('a')).equals(Buffer.concat(parts))).toBe(true)
  })

  it('of a source that fails takes the whole handle with it', async () => {
    const temp = tempDir()
    await using box = await fresh({ tempDir: temp })
    await box.write('a', 'old')
    const reason = new Error('broken')
    async function* broken(): AsyncGenerator<Buffer> {
      yield noise(2 * MiB)
      throw reason
    }
    const file = await box.file('a', 'w')
    await file.write('before')
    await expect(file.writeFile(broken())).rejects.toBe(reason)
    await expect(file.write('after')).rejects.toBe(reason)
    await expect(file.close()).rejects.toBe(reason)
    // Disposal is silent about what a call has said already.
    const disposed = (async () => {
      await using other = await box.file('a', 'a')
      await other.writeFile(broken())
    })()
    await expect(disposed).rejects.toBe(reason)
    expect(await box.readText('a')).toBe('old')
    await box.close()
    while (readdirSync(temp).length > 0) await setTimeout(5)
  })

  it('that is aborted leaves what was there, and nothing waits', async () => {
    await using box = await fresh()
    await box.write('a', 'old')
    const file = await box.file('a', 'w')
    await file.write(noise(3 * MiB))
    const stalled = new Readable({ read() {} })
    const writing = file.writeFile(stalled)
    const behind = file.write('x')
    const reason = new Error('enough')
    const settled = Promise.allSettled([writing, behind])
    file.abort(reason)
    expect(await settled).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ])
    expect(stalled.destroyed).toBe(true)
    expect(file.closed).toBe(true)
    await file.close()
    await expect(file.write('x')).rejects.toMatchObject(code('CLOSED'))
    expect(await box.readText('a')).toBe('old')
  })

  it('with x needs a name that is free, at its opening and at its end', async () => {
    await using box = await fresh()
    await box.write('a', 'old')
    await expect(box.file('a', 'x')).rejects.toMatchObject({ ...code('MEMBER_EXISTS'), member: 'a' })
    await box.write('dir/a', 'x')
    for (const mode of ['w', 'a', 'x'] as const) {
      await expect(box.file('dir', mode)).rejects.toMatchObject(code('MEMBER_EXISTS'))
    }
    for (const size of [10, 2 * MiB]) {
      const file = await box.file('b', 'x')
      await file.write(noise(size))
      await box.write('b', 'theirs')
      await expect(file.close()).rejects.toMatchObject({ ...code('MEMBER_EXISTS'), member: 'b' })
      expect(await box.readText('b')).toBe('theirs')
      await box.delete('b')
    }
  })

  it('by streams of Node.js and of the web makes the member when they end', async () => {
    await using box = await fresh()
    const data = noise(2 * MiB)
    const one = await box.file('a', 'w')
    await one.write('head ')
    await pipeline(Readable.from([data.subarray(0, MiB), data.subarray(MiB)]), one.createWriteStream())
    expect(one.closed).toBe(true)
    const two = await box.file('b', 'w')
    await ReadableStream.from([new Uint8Array(data)]).pipeTo(two.writableWebStream())
    expect((await box.read('a')).equals(Buffer.concat([Buffer.from('head '), data]))).toBe(true)
    expect((await box.read('b')).equals(data)).toBe(true)
    const three = await box.file('a', 'w')
    const stream = three.createWriteStream()
    stream.write('x')
    stream.destroy(new Error('no'))
    await once(stream, 'error')
    await three.close()
    expect((await box.stat('a')).size).toBe(2 * MiB + 5)
  })
})

describe('the wrong side of a handle', () => {
  it('is refused, and says what to do', async () => {
    const path = join(tempDir(), 'box.coffer')
    await using box = await CofferNull.open(path, 'x')
    await box.write('a', 'x')
    await using reading = await box.file('a')
    await expect(reading.write('x')).rejects.toMatchObject(code('READ_ONLY'))
    await expect(reading.writeFile('x')).rejects.toMatchObject(code('READ_ONLY'))
    expect(() => reading.createWriteStream()).toThrow(CofferError)
    const writing = await box.file('a', 'w')
    await expect(writing.read()).rejects.toMatchObject(code('INVALID_ARG'))
    await expect(writing.readFile()).rejects.toMatchObject(code('INVALID_ARG'))
    expect(() => writing.readLines()).toThrow(CofferError)
    expect(() => writing.createReadStream()).toThrow(CofferError)
    writing.abort()
    await box.close()
    await using closed = await CofferNull.open(path, 'r')
    await expect(closed.file('a', 'w')).rejects.toMatchObject(code('READ_ONLY'))
  })
})

describe('the end of a handle', () => {
  it('comes once, and nothing goes on after it', async () => {
    await using box = await fresh()
    await box.write('a', 'x')
    for (const mode of ['r', 'w', 'a'] as const) {
      const file = await box.file('a', mode)
      await Promise.all([file.close(), file.close()])
      await file.close()
      file.abort()
      await expect(file.stat()).rejects.toMatchObject(code('CLOSED'))
      await expect(file.read()).rejects.toMatchObject(code('CLOSED'))
      await expect(file.write('x')).rejects.toMatchObject(code('CLOSED'))
      expect(() => file.createReadStream()).toThrow(CofferError)
      expect(inspect(file)).toBe(`CofferFile { name: 'a', mode: '${mode}', closed: true }`)
    }
  })

  it('is an error after the end of its coffer, and nothing hangs', async () => {
    const temp = tempDir()
    const box = await CofferBank.open(join(tempDir(), 'box.coffer'), 'x', {
      ...CofferBank.generateKeys(),
      tempDir: temp,
    })
    await box.write('r', 'x')
    const reading = await box.file('r')
    const files = await Promise.all(['a', 'b', 'c'].map(async (name) => box.file(name, 'w')))
    const [small, large, empty] = files
    await small?.write('x')
    await large?.write(noise(3 * MiB))
    await box.close()
    while (readdirSync(temp).length > 0) await setTimeout(5)
    await expect(large?.write(noise(3 * MiB))).rejects.toMatchObject(code('CLOSED'))
    for (const file of [small, large, empty]) await expect(file?.close()).rejects.toMatchObject(code('CLOSED'))
    await expect(reading.read()).rejects.toMatchObject(code('CLOSED'))
    await reading.close()
  })

  it('in a batch that it would wait for is refused', async () => {
    await using box = await fresh()
    const file = await box.file('a', 'w')
    await file.write('x')
    await box.batch(async (b) => {
      await expect(file.close()).rejects.toMatchObject(code('INVALID_ARG'))
      await expect(box.file('b', 'w')).rejects.toMatchObject(code('INVALID_ARG'))
      await b.write('c', 'x')
      await (await box.file('c')).close()
    })
    await file.close()
    expect(await box.readText('a')).toBe('x')
  })

  it('that never comes leaves nothing behind once it is collected', async () => {
    const temp = tempDir()
    const body: Body<{ path: string; temp: string }, number> = async ({ coffer, fs }, { path, temp }) => {
      const box = await coffer.CofferNull.open(path, 'x', { tempDir: temp })
      const left = (): number =>
        fs.readdirSync(temp, { recursive: true, withFileTypes: true }).filter((e) => e.isFile() && e.name !== 'owner')
          .length
      await (async () => {
        const file = await box.file('a', 'w')
        await file.write(new Uint8Array(9 << 20))
      })()
      const before = left()
      for (let round = 0; round < 200 && left() > 0; round += 1) {
        ;(globalThis as { gc?: () => void }).gc?.()
        await new Promise((resolve) => globalThis.setTimeout(resolve, 10))
      }
      const after = left()
      await box.close()
      return before * 10 + after
    }
    expect(await inChild(body, { path: join(tempDir(), 'box.coffer'), temp }, { execArgv: ['--expose-gc'] })).toBe(10)
  })
})
