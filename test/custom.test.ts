import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { Coffer, type CofferOptions, type Layers } from './support/coffer.ts'
import { contents } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

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
  (layers: Layers) => {
    it('are a coffer like any other', async () => {
      const path = join(tempDir(), 'box.coffer')
      const options: CofferOptions = { ...layers, ...Coffer.generateKeys(layers) }
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

describe('layers that do not fit the coffer', () => {
  it('are ERR_COFFER_WRONG_KIND', async () => {
    const path = join(tempDir(), 'box.coffer')
    const layers = { member: { cipher: 'secretbox', level: 3 }, container: { cipher: 'fernet' } } as const
    const keys = Coffer.generateKeys(layers)
    await (await Coffer.open(path, 'x', { ...layers, ...keys })).close()
    const others: Layers[] = [
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
      await expect(Coffer.open(path, 'x', layers as CofferOptions)).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
      })
    }
  })
})
