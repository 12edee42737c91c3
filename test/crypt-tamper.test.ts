import { readdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { cryptOf, through } from './support/crypt.ts'
import { bytesOf, chunks, flipped } from './support/format.ts'
import { type Kind, keysFor, kindOf } from './support/kinds.ts'

const MiB = 1 << 20
const corrupt = { code: 'ERR_COFFER_CORRUPT' }

describe('an encrypted file that was tampered with', () => {
  /** What is left of it, from file to file and as a stream. */
  async function refused(kind: Kind, make: (pieces: Buffer[]) => Buffer[][], plain = noise(2_300_000)): Promise<void> {
    const { crypt, at } = await cryptOf(kind)
    const file = await through(crypt.createEncryptStream(), plain)
    const variants = make(chunks(file).map((chunk) => bytesOf(file, chunk)))
    expect(variants.length).toBeGreaterThan(0)
    for (const [index, variant] of variants.entries()) {
      writeFileSync(at('file'), Buffer.concat(variant))
      await expect(crypt.decrypt(at('file'), at('target')), `variant ${index}`).rejects.toMatchObject({
        ...corrupt,
        path: at('file'),
      })
      expect(readdirSync(at('')), `variant ${index}`).toEqual(['file'])
    }
    const last = variants.at(-1) ?? []
    await expect(through(crypt.createDecryptStream(), Buffer.concat(last))).rejects.toMatchObject(corrupt)
  }

  /** Text of several pieces, each of which is a frame of a single chunk. */
  const text = Buffer.concat(Array.from({ length: 5 }, (_, index) => Buffer.alloc(MiB, `piece ${index} `)))

  const everyChunkButTheHead = <T>(pieces: readonly T[], change: (index: number) => T[]): T[][] =>
    pieces.slice(1).map((_, index) => change(index + 1))

  describe.each([kindOf('store'), kindOf('market')])('with a key of a $label', (kind) => {
    it.each([
      ['noise', noise(2_300_000)],
      ['text', text],
    ])('is refused, %s, with two chunks swapped', async (_, plain) => {
      await refused(
        kind,
        (pieces) =>
          everyChunkButTheHead(pieces, (index) =>
            index === 1
              ? [...pieces.slice(0, -2), ...pieces.slice(-1), ...pieces.slice(-2, -1)]
              : pieces.with(index - 1, pieces[index] as Buffer).with(index, pieces[index - 1] as Buffer),
          ),
        plain,
      )
    })

    it.each([
      ['noise', noise(2_300_000)],
      ['text', text],
    ])('is refused, %s, with a chunk repeated, dropped, or cut off from there', async (_, plain) => {
      await refused(
        kind,
        (pieces) => [
          ...everyChunkButTheHead(pieces, (index) => pieces.toSpliced(index, 0, pieces[index] as Buffer)),
          ...everyChunkButTheHead(pieces, (index) => pieces.toSpliced(index, 1)),
          ...everyChunkButTheHead(pieces, (index) => pieces.slice(0, index)),
        ],
        plain,
      )
    })

    it('is refused with something behind it', async () => {
      await refused(kind, (pieces) => [
        [...pieces, Buffer.alloc(1)],
        [...pieces, pieces[1] as Buffer],
        [...pieces, pieces.at(-1) as Buffer],
        [...pieces, ...pieces],
      ])
    })

    it('is refused with chunks of another file under the same key', async () => {
      const keys = keysFor(kind)
      const { crypt } = await cryptOf(kind, keys)
      const one = await through(crypt.createEncryptStream(), text)
      const two = await through(crypt.createEncryptStream(), text)
      const [ours, theirs] = [one, two].map((file) => chunks(file).map((chunk) => bytesOf(file, chunk)))
      for (const index of ours?.keys() ?? []) {
        const spliced = Buffer.concat(ours?.with(index, theirs?.[index] as Buffer) ?? [])
        await expect(through(crypt.createDecryptStream(), spliced), `${index}`).rejects.toMatchObject(corrupt)
      }
    })

    it('is refused with any byte changed', async () => {
      const { crypt } = await cryptOf(kind)
      const file = await through(crypt.createEncryptStream(), noise(200))
      const failures = await Promise.all(
        Array.from(file, async (_, index) => {
          const error: unknown = await through(crypt.createDecryptStream(), flipped(file, index)).catch((e) => e)
          return (error as { code?: string }).code
        }),
      )
      // The first twelve bytes say in clear what the file is.
      expect(new Set(failures.slice(12))).toEqual(new Set(['ERR_COFFER_CORRUPT']))
      expect(failures.slice(0, 12)).not.toContain(undefined)
    })
  })
})

describe('a file without a head', () => {
  it('needs legacy, and is refused all the same if it was made here', async () => {
    const { crypt, at } = await cryptOf(kindOf('bank'))
    const file = await through(crypt.createEncryptStream(), noise(300_000))
    const [head] = chunks(file)
    const stripped = file.subarray(head?.length)
    writeFileSync(at('file'), stripped)
    await expect(crypt.decrypt(at('file'), at('target'))).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY' })
    await expect(crypt.decrypt(at('file'), at('target'), { legacy: true })).rejects.toMatchObject(corrupt)
    // The mark of the tail stands in clear, and anybody can clear it.
    const tail = chunks(file).at(-1)
    Buffer.from(file.buffer, file.byteOffset, file.length).fill(0, (tail?.offset ?? 0) + 4, (tail?.offset ?? 0) + 32)
    writeFileSync(at('file'), stripped)
    await expect(crypt.decrypt(at('file'), at('target'), { legacy: true })).rejects.toMatchObject(corrupt)
    await expect(through(crypt.createDecryptStream(), stripped)).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY' })
    expect(readdirSync(at(''))).toEqual(['file'])
  })

  it('is none at all if it is text, or nothing', async () => {
    const { crypt, at } = await cryptOf(kindOf('bank'))
    for (const text of ['', 'short', lines(100).join('\n')]) {
      writeFileSync(at('file'), text)
      for (const legacy of [false, true]) {
        await expect(crypt.decrypt(at('file'), at('target'), { legacy })).rejects.toMatchObject(corrupt)
      }
    }
  })
})
