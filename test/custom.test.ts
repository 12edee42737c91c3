import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type AnyKeys, Coffer, type CofferCipher, type CofferLayers, type NewCofferOptions } from './support/coffer.ts'
import { contents } from './support/kinds.ts'
import { Random } from './support/random.ts'
import { tempDir } from './support/temp.ts'

/** What makes a coffer with layers of its own. */
type CustomOptions = NewCofferOptions & CofferLayers & AnyKeys

const members = [
  { cipher: 'none', level: null },
  { cipher: 'none', level: 5 },
  { cipher: 'secretbox', level: 3 },
  { cipher: 'fernet', level: 1 },
  { cipher: 'aes-ocb', level: 9 },
  { cipher: 'secretbox', level: null },
] as const
const containers = [
  { cipher: 'none', level: 3 },
  { cipher: 'secretbox', level: 1 },
  { cipher: 'fernet' },
  { cipher: 'aes-ocb', level: 5 },
] as const
const mixes = members.flatMap((member) => containers.map((container) => ({ member, container })))

describe.each(mixes)(
  'layers of your own: members $member.cipher/$member.level, container $container.cipher',
  (layers: CofferLayers) => {
    it('are a coffer like any other', async () => {
      const path = join(tempDir(), 'box.coffer')
      const options: CustomOptions = { ...layers, ...Coffer.generateKeys(layers) }
      const expected = new Map([
        ['text', Buffer.from(lines(2_000).join('\n'))],
        ['large', noise(1_300_000)],
        ['empty', Buffer.alloc(0)],
      ])
      const box = await Coffer.open(path, 'x', options)
      for (const [name, data] of expected) await box.write(name, data)
      await box.append('large', 'more')
      expected.set('large', Buffer.concat([noise(1_300_000), Buffer.from('more')]))
      await box.write('gone', noise(100_000))
      await box.delete('gone')
      await box.compact()
      await box.close()

      await using again = await Coffer.open(path, 'r', options)
      const found = await contents(again)
      expect([...found.keys()].sort()).toEqual([...expected.keys()].sort())
      for (const [name, data] of expected) expect(found.get(name)?.equals(data), name).toBe(true)
      await expect(again.verify()).resolves.toBeDefined()
      if (layers.member.cipher !== 'none' || layers.container.cipher !== 'none') {
        expect(readFileSync(path).includes('of a text that repeats itself')).toBe(false)
      }
    })
  },
)

describe('options that made a coffer', () => {
  const ciphers = ['none', 'secretbox', 'fernet', 'aes-ocb'] as const
  const all = ciphers.flatMap((cipher) =>
    [undefined, null, 4].flatMap((level) => ciphers.map((container) => ({ cipher, level, container }))),
  )

  it.each(all)('open it again, whatever the level: members $cipher/$level, container $container', async (mix) => {
    const random = new Random(JSON.stringify(mix))
    const layer = (cipher: CofferCipher, level: number | null | undefined) => ({
      cipher,
      ...(level === undefined ? {} : { level }),
    })
    for (const level of [undefined, 9]) {
      const path = join(tempDir(), 'box.coffer')
      const layers: CofferLayers = {
        member: layer(mix.cipher, mix.level),
        container: layer(mix.container, random.of([undefined, 1, 5])),
      }
      const options: CustomOptions = {
        ...layers,
        ...Coffer.generateKeys(layers),
        ...(level === undefined ? {} : { level }),
        ...(random.below(2) ? { chunkSize: 288 + random.below(70_000) } : {}),
        ...(random.below(2) ? { blockSize: 4_096 + random.below(100_000) } : {}),
      }
      const expected = new Map([
        ['text', Buffer.from(lines(500).join('\n'))],
        ['large', noise(150_000)],
        ['empty', Buffer.alloc(0)],
      ])
      const made = await Coffer.open(path, 'x', options)
      for (const [name, data] of expected) await made.write(name, data)
      await made.close()
      // Another level, and none, is how it is written from now on and not another kind.
      for (const other of [level, undefined, 2]) {
        const { level: _, ...rest } = options
        const again = await Coffer.open(path, 'a', { ...rest, ...(other === undefined ? {} : { level: other }) })
        const name = `level ${other}`
        const data = noise(140_000)
        await again.write(name, data)
        await again.append('text', 'more')
        expected.set(name, data)
        expected.set('text', Buffer.concat([expected.get('text') ?? Buffer.alloc(0), Buffer.from('more')]))
        await again.close()
      }
      // What is for making and for writing has no place in reading.
      const { level: _, chunkSize: __, blockSize: ___, ...reading } = options
      await using read = await Coffer.open(path, 'r', reading)
      const found = await contents(read)
      expect([...found.keys()].sort()).toEqual([...expected.keys()].sort())
      for (const [name, data] of expected) expect(found.get(name)?.equals(data), name).toBe(true)
      await expect(read.verify()).resolves.toBeDefined()
    }
  })
})

describe('layers that do not fit the coffer', () => {
  it('are ERR_COFFER_WRONG_KIND', async () => {
    const path = join(tempDir(), 'box.coffer')
    const layers = { member: { cipher: 'secretbox', level: 3 }, container: { cipher: 'fernet' } } as const
    const keys = Coffer.generateKeys(layers)
    await (await Coffer.open(path, 'x', { ...layers, ...keys })).close()
    const others: CofferLayers[] = [
      { ...layers, container: { cipher: 'secretbox' } },
      { ...layers, member: { cipher: 'fernet', level: 3 } },
      { ...layers, member: { cipher: 'secretbox', level: null } },
    ]
    for (const other of others) {
      await expect(Coffer.open(path, 'r', { ...other, ...keys })).rejects.toMatchObject({
        code: 'ERR_COFFER_WRONG_KIND',
        path,
      })
    }
  })

  it('are refused if they make no sense', async () => {
    const path = join(tempDir(), 'box.coffer')
    const good = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const
    const bad = [
      {},
      { member: good.member },
      { ...good, member: { cipher: 'rot13' } },
      { ...good, container: { cipher: 'none', level: null } },
      { ...good, member: { cipher: 'none', level: 99 } },
      { ...good, member: { level: 3 } },
    ]
    for (const layers of bad) {
      await expect(Coffer.open(path, 'x', layers as CustomOptions)).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
      })
    }
  })
})
