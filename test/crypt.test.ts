import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Duplex, Readable, type Transform } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { Coffer, CofferNull, type CofferProgress, CofferStore, KeyPlugin } from './support/coffer.ts'
import { cryptOf, through } from './support/crypt.ts'
import { flipped } from './support/format.ts'
import { keyedKinds, keysFor, kindOf } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const KiB = 1 << 10
const MiB = 1 << 20
const sizes = [0, 1, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, MiB - 1, MiB, MiB + 1, 10 * MiB]

const corrupt = { code: 'ERR_COFFER_CORRUPT' }

describe.each(keyedKinds)('crypt with a key of a $label', (kind) => {
  it('encrypts and decrypts files of every size', async () => {
    const { crypt, at } = await cryptOf(kind)
    for (const size of sizes) {
      const data = noise(size, size)
      writeFileSync(at('plain'), data)
      await crypt.encrypt(at('plain'), at('file'), { replace: true })
      await crypt.decrypt(at('file'), at('back'), { replace: true })
      expect(readFileSync(at('back')).equals(data), `${size}`).toBe(true)
      if (size > 100) expect(readFileSync(at('file')).includes(data.subarray(0, 32)), `${size}`).toBe(false)
    }
  })

  it('makes the same files with streams, whatever the parts they are given', async () => {
    const { crypt, at } = await cryptOf(kind)
    for (const size of sizes) {
      const data = noise(size, size)
      for (const part of size > 100_000 ? [16 * KiB, 5 * MiB + 1] : [1_000, MiB]) {
        const parts = Array.from({ length: Math.ceil(size / part) }, (_, i) => data.subarray(i * part, (i + 1) * part))
        const file = await through(crypt.createEncryptStream(), parts)
        expect((await through(crypt.createDecryptStream(), file)).equals(data), `${size}`).toBe(true)
        writeFileSync(at('file'), file)
      }
      await crypt.decrypt(at('file'), at('back'), { replace: true })
      expect(readFileSync(at('back')).equals(data), `${size}`).toBe(true)
    }
  })

  it('compresses before it encrypts, better with a higher level', async () => {
    const { crypt } = await cryptOf(kind)
    const words = lines(9, 'word').join(' ').split(' ')
    const text = Buffer.from(Array.from(noise(300_000), (byte) => words[byte % words.length]).join(' '))
    const [fast, best] = await Promise.all(
      [1, 19].map(async (level) => through(crypt.createEncryptStream({ level }), text)),
    )
    expect(fast?.length).toBeLessThan(text.length / 3)
    expect(best?.length).toBeLessThan(fast?.length ?? 0)
  })

  it('decrypts with the same key in another coffer, and with no other key', async () => {
    const keys = keysFor(kind)
    const { crypt } = await cryptOf(kind, keys)
    const same = await cryptOf(kind, keys)
    const other = await cryptOf(kind)
    const file = await through(crypt.createEncryptStream(), noise(100_000))
    expect((await through(same.crypt.createDecryptStream(), file)).equals(noise(100_000))).toBe(true)
    await expect(through(other.crypt.createDecryptStream(), file)).rejects.toMatchObject({
      code: 'ERR_COFFER_WRONG_KEY',
      message: expect.stringContaining(kind.sealedMembers ? 'secureKey' : 'cofferKey'),
    })
  })

  it('never makes the same file twice', async () => {
    const { crypt } = await cryptOf(kind)
    const [one, two] = await Promise.all([1, 2].map(async () => through(crypt.createEncryptStream(), noise(1_000))))
    expect(one?.equals(two ?? Buffer.alloc(0))).toBe(false)
  })
})

describe.each([
  ['fernet', 'none'],
  ['aes-ocb', 'secretbox'],
  ['none', 'fernet'],
  ['none', 'aes-ocb'],
] as const)('crypt in a coffer of members %s and a container %s', (member, container) => {
  it('has the cipher of the members, or else of the container', async () => {
    const layers = { member: { cipher: member, level: null }, container: { cipher: container } } as const
    const keys = Coffer.generateKeys(layers)
    await using box = await Coffer.open(join(tempDir(), 'box.coffer'), 'x', { ...layers, ...keys })
    const crypt = await box.plugin('crypt')
    const data = noise(300_000)
    const file = await through(crypt.createEncryptStream(), data)
    expect((await through(crypt.createDecryptStream(), file)).equals(data)).toBe(true)
    const { crypt: other } = await cryptOf(kindOf('store'))
    await expect(through(other.createDecryptStream(), file)).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KIND' })
  })
})

describe('a coffer without a key', () => {
  it('has nothing to encrypt with', async () => {
    await using box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'x')
    const crypt = await box.plugin('crypt')
    const refused = { code: 'ERR_COFFER_INVALID_ARG', message: expect.stringContaining('no key') }
    await expect(crypt.encrypt('a', 'b')).rejects.toMatchObject(refused)
    await expect(crypt.decrypt('a', 'b')).rejects.toMatchObject(refused)
    await expect(through(crypt.createEncryptStream(), noise(1))).rejects.toMatchObject(refused)
    await expect(through(crypt.createDecryptStream(), noise(1))).rejects.toMatchObject(refused)
  })
})

describe('the target', () => {
  it('is not the coffer, nor its lock, by whatever name', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    const coffer = join(at('..'), 'box.coffer')
    const before = readFileSync(coffer)
    writeFileSync(at('plain'), 'text')
    symlinkSync(coffer, at('link'))
    for (const target of [coffer, `${coffer}.lock`, at('link')]) {
      await expect(crypt.encrypt(at('plain'), target, { replace: true })).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
        path: target,
      })
    }
    expect(readFileSync(coffer)).toEqual(before)
  })

  it('is replaced only if that is said, and is its owner’s alone', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    writeFileSync(at('plain'), 'plain')
    writeFileSync(at('target'), 'before', { mode: 0o644 })
    await expect(crypt.encrypt(at('plain'), at('target'))).rejects.toMatchObject({
      code: 'ERR_COFFER_EXISTS',
      path: at('target'),
    })
    expect(readFileSync(at('target'), 'utf8')).toBe('before')
    await crypt.encrypt(at('plain'), pathToFileURL(at('target')), { replace: true })
    await expect(crypt.decrypt(at('target'), at('plain'))).rejects.toMatchObject({ code: 'ERR_COFFER_EXISTS' })
    await crypt.decrypt(at('target'), at('back'))
    expect(readFileSync(at('back'), 'utf8')).toBe('plain')
    if (process.platform !== 'win32') {
      for (const path of [at('target'), at('back')]) expect(statSync(path).mode & 0o777).toBe(0o600)
    }
  })

  it('may be the source', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    writeFileSync(at('file'), noise(3_000_000))
    await crypt.encrypt(at('file'), at('file'), { replace: true })
    expect(readFileSync(at('file')).equals(noise(3_000_000))).toBe(false)
    await crypt.decrypt(at('file'), at('file'), { replace: true })
    expect(readFileSync(at('file')).equals(noise(3_000_000))).toBe(true)
  })

  it('is a file: a directory is refused, and a link is followed', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    writeFileSync(at('plain'), 'plain')
    writeFileSync(at('real'), '')
    await expect(crypt.encrypt(at('plain'), at(''), { replace: true })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringContaining('is not a file'),
    })
    if (process.platform === 'win32') return
    symlinkSync('real', at('link'))
    await crypt.encrypt(at('plain'), at('link'), { replace: true })
    await crypt.decrypt(at('real'), at('back'))
    expect(readFileSync(at('back'), 'utf8')).toBe('plain')
  })

  it('is not made if there is no source, or no directory for it', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    const missing = { code: 'ERR_COFFER_IO', syscall: 'open' }
    await expect(crypt.encrypt(at('plain'), at('target'))).rejects.toMatchObject({ ...missing, path: at('plain') })
    writeFileSync(at('plain'), 'plain')
    await expect(crypt.encrypt(at('plain'), at('no/target'))).rejects.toMatchObject(missing)
    expect(readdirSync(at(''))).toEqual(['plain'])
  })
})

describe('a call that is watched', () => {
  it('tells how much of the source is done', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    writeFileSync(at('plain'), noise(3_000_000))
    const told: CofferProgress[] = []
    await crypt.encrypt(at('plain'), at('file'), { onProgress: (progress) => told.push(progress) })
    expect(told.at(-1)).toMatchObject({ bytes: 3_000_000, totalBytes: 3_000_000 })
    const { size } = statSync(at('file'))
    await crypt.decrypt(at('file'), at('back'), { onProgress: (progress) => told.push(progress) })
    expect(told.at(-1)).toMatchObject({ bytes: size, totalBytes: size })
  })

  it('stops when it is told to, and leaves nothing behind', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    writeFileSync(at('plain'), noise(60_000_000))
    await crypt.encrypt(at('plain'), at('file'), { level: 1 })
    const reason = new Error('enough')
    for (const call of [
      async (signal: AbortSignal) => crypt.encrypt(at('plain'), at('target'), { signal }),
      async (signal: AbortSignal) => crypt.decrypt(at('file'), at('target'), { signal }),
    ]) {
      const controller = new AbortController()
      const calling = call(controller.signal)
      controller.abort(reason)
      await expect(calling).rejects.toBe(reason)
      await expect(call(AbortSignal.abort(reason))).rejects.toBe(reason)
      expect(readdirSync(at('')).sort()).toEqual(['file', 'plain'])
    }
  })
})

describe('a stream', () => {
  it('goes through pipelines, to the web and to a file', async () => {
    const { crypt, at } = await cryptOf(kindOf('market'))
    const data = noise(9_000_000)
    const { readable, writable } = Duplex.toWeb(crypt.createEncryptStream())
    const [file] = await Promise.all([
      new Response(readable as ReadableStream<Uint8Array>).arrayBuffer(),
      new Blob([data]).stream().pipeTo(writable),
    ])
    writeFileSync(at('file'), new Uint8Array(file))
    await crypt.decrypt(at('file'), at('back'))
    expect(readFileSync(at('back')).equals(data)).toBe(true)
  })

  it('takes text, and memory that is used again', async () => {
    const { crypt } = await cryptOf(kindOf('market'))
    const stream = crypt.createEncryptStream()
    const result = buffer(stream)
    const memory = Buffer.alloc(1_000)
    for (let index = 0; index < 10; index += 1) {
      memory.fill(index)
      await new Promise<void>((resolve, reject) => stream.write(memory, (error) => (error ? reject(error) : resolve())))
    }
    stream.end('the end')
    const expected = Buffer.concat([
      ...Array.from({ length: 10 }, (_, i) => Buffer.alloc(1_000, i)),
      Buffer.from('the end'),
    ])
    expect((await through(crypt.createDecryptStream(), await result)).equals(expected)).toBe(true)
  })

  it('does not decompress what nobody has asked for', { timeout: 60_000 }, async () => {
    const { crypt } = await cryptOf(kindOf('market'))
    const zeros = Buffer.alloc(MiB)
    const file = await through(
      crypt.createEncryptStream({ level: 1 }),
      Array.from({ length: 512 }, () => zeros),
    )
    expect(file.length).toBeLessThan(MiB)
    const stream = crypt.createDecryptStream()
    stream.end(file)
    await new Promise((resolve) => stream.once('readable', resolve))
    await sleep(200)
    expect(stream.readableLength).toBeLessThanOrEqual(2 * MiB)
    let length = 0
    for await (const part of stream) length += (part as Buffer).length
    expect(length).toBe(512 * MiB)
  })

  it('that is destroyed while it works ends there', async () => {
    const { crypt } = await cryptOf(kindOf('market'))
    for (const stream of [crypt.createEncryptStream(), crypt.createDecryptStream()]) {
      stream.destroy()
      await new Promise((resolve) => stream.once('close', resolve))
    }
    const stream = crypt.createEncryptStream()
    const reason = new Error('enough')
    stream.write(noise(20_000_000))
    stream.once('data', () => stream.destroy(reason))
    await expect(buffer(stream)).rejects.toBe(reason)
    const aborted = pipeline(Readable.from([noise(20_000_000)]), crypt.createEncryptStream(), buffer, {
      signal: AbortSignal.timeout(1),
    })
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('that is destroyed while the engine works answers the write under way', async () => {
    const { crypt } = await cryptOf(kindOf('market'))
    const data = noise(5 * MiB)
    const file = await through(crypt.createEncryptStream({ level: 1 }), data)
    for (const [stream, input] of [
      [crypt.createEncryptStream(), data],
      [crypt.createDecryptStream(), file],
    ] as const) {
      // Once this is answered, the stream is open.
      await new Promise((resolve) => stream.write(input.subarray(0, 1), resolve))
      const answered = new Promise((resolve) => stream.write(input.subarray(1), resolve))
      stream.destroy()
      await answered
    }
  })

  it('releases nothing of a chunk that was changed, and everything of the chunks before its part', async () => {
    const { crypt } = await cryptOf(kindOf('market'))
    const data = noise(20_000_000)
    const file = await through(crypt.createEncryptStream(), data)
    const stream = crypt.createDecryptStream()
    stream.end(flipped(file, 15_000_000))
    const released: Buffer[] = []
    const failed = await new Promise((resolve) => {
      stream.on('data', (part: Buffer) => released.push(part)).once('error', resolve)
    })
    expect(failed).toMatchObject(corrupt)
    const whole = Buffer.concat(released)
    expect(whole.length).toBeGreaterThan(8_000_000)
    expect(whole.length).toBeLessThan(15_000_000)
    expect(whole.equals(data.subarray(0, whole.length))).toBe(true)
  })

  it('of 200 MB takes no more memory than a part of it', { timeout: 120_000 }, async () => {
    const body: Body<{ path: string; keys: object }, { grown: number; length: number }> = async (
      { coffer },
      { path, keys },
    ) => {
      const box = await coffer.CofferStore.open(path, 'x', keys)
      const crypt = await box.plugin('crypt')
      const part = new Uint8Array(1 << 20)
      for (let at = 0; at < part.length; at += 65_536) globalThis.crypto.getRandomValues(part.subarray(at, at + 65_536))
      async function* source(): AsyncGenerator<Uint8Array> {
        for (let index = 0; index < 200; index += 1) yield part
      }
      const before = process.resourceUsage().maxRSS
      const { pipeline } = process.getBuiltinModule('node:stream/promises')
      let length = 0
      await pipeline(
        source,
        crypt.createEncryptStream({ level: 1 }),
        crypt.createDecryptStream(),
        async (plain: AsyncIterable<Uint8Array>) => {
          for await (const bytes of plain) length += bytes.length
        },
      )
      const grown = process.resourceUsage().maxRSS - before
      await box.close()
      return { grown, length }
    }
    const { grown, length } = await inChild(body, {
      path: join(tempDir(), 'box.coffer'),
      keys: CofferStore.generateKeys(),
    })
    expect(length).toBe(200 * MiB)
    expect(grown).toBeLessThan(128 * KiB) // kilobytes
  })
})

describe('a coffer that is closed', () => {
  it('encrypts and decrypts no more, but what was begun before', async () => {
    const directory = tempDir()
    const box = await CofferStore.open(join(directory, 'box.coffer'), 'x', CofferStore.generateKeys())
    const crypt = await box.plugin('crypt')
    writeFileSync(join(directory, 'plain'), noise(10_000_000))
    const encrypting = crypt.encrypt(join(directory, 'plain'), join(directory, 'file'))
    const stream = crypt.createEncryptStream()
    await box.close()
    // Closing has waited.
    expect(existsSync(join(directory, 'file'))).toBe(true)
    await encrypting
    const file = await through(stream, noise(1_000))
    const closed = { code: 'ERR_COFFER_CLOSED' }
    await expect(crypt.encrypt('a', 'b')).rejects.toMatchObject(closed)
    await expect(crypt.decrypt('a', 'b')).rejects.toMatchObject(closed)
    await expect(through(crypt.createEncryptStream(), noise(1))).rejects.toMatchObject(closed)
    await expect(through(crypt.createDecryptStream(), file)).rejects.toMatchObject(closed)
  })
})

describe('a coffer whose keys were changed', () => {
  it('encrypts with the new ones, and no longer decrypts what the old ones encrypted', async () => {
    await using box = await CofferStore.open(join(tempDir(), 'box.coffer'), 'x', CofferStore.generateKeys())
    const crypt = await box.plugin('crypt')
    const old = await through(crypt.createEncryptStream(), noise(1_000))
    const keys = CofferStore.generateKeys()
    await box.rekey(keys)
    await expect(through(crypt.createDecryptStream(), old)).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
    const { crypt: other } = await cryptOf(kindOf('store'), keys)
    const file = await through(crypt.createEncryptStream(), noise(1_000))
    expect((await through(other.createDecryptStream(), file)).equals(noise(1_000))).toBe(true)
  })
})

describe('arguments', () => {
  const refused = (message: RegExp) => ({ code: 'ERR_COFFER_INVALID_ARG', message: expect.stringMatching(message) })
  const wrong = (value: unknown): never => value as never

  it('are checked before anything is done', async () => {
    const { crypt, at } = await cryptOf(kindOf('store'))
    await expect(crypt.encrypt(wrong(5), 'b')).rejects.toMatchObject(refused(/the source of encrypt/))
    await expect(crypt.decrypt('a', wrong(null))).rejects.toMatchObject(refused(/the target of decrypt/))
    await expect(crypt.encrypt('a', 'b', { level: 0 })).rejects.toMatchObject(refused(/level must be/))
    await expect(crypt.encrypt('a', 'b', wrong({ legacy: true }))).rejects.toMatchObject(refused(/no option legacy/))
    await expect(crypt.decrypt('a', 'b', { legacy: wrong(1) })).rejects.toMatchObject(refused(/legacy must be/))
    await expect(crypt.decrypt('a', 'b', { replace: wrong('no') })).rejects.toMatchObject(refused(/replace must be/))
    expect(() => crypt.createEncryptStream({ level: 23 })).toThrow(expect.objectContaining(refused(/level must be/)))
    expect(() => crypt.createDecryptStream(wrong({ level: 3 }))).toThrow(expect.objectContaining(refused(/no option/)))
    expect(readdirSync(at(''))).toEqual([])
  })
})

describe('a plugin of one’s own', () => {
  it('encrypts with the coffer’s key', async () => {
    class Mine extends KeyPlugin {
      encrypted(): Transform {
        return this.crypt.createEncryptStream()
      }
    }
    await using box = await CofferStore.open(join(tempDir(), 'box.coffer'), 'x', CofferStore.generateKeys())
    const mine = await box.plugin(Mine)
    const crypt = await box.plugin('crypt')
    const file = await through(mine.encrypted(), noise(1_000))
    expect((await through(crypt.createDecryptStream(), file)).equals(noise(1_000))).toBe(true)
  })
})
