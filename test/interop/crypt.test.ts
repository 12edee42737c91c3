import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lines, noise } from '../support/bytes.ts'
import type { Coffer, CryptPlugin } from '../support/coffer.ts'
import { bytesOf, chunks } from '../support/format.ts'
import { keyedKinds, keysFor, openKind } from '../support/kinds.ts'
import { PyCoffer, python } from '../support/python.ts'
import { tempDir } from '../support/temp.ts'

const KiB = 1 << 10
const MiB = 1 << 20
/** 65,504 bytes are PyCoffer's chunk. */
const sizes = [0, 1, 65_503, 65_504, 65_505, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, MiB - 1, MiB, MiB + 1, 10 * MiB]
const contents: readonly (readonly [string, Buffer])[] = [
  ...sizes.map((size) => [`${size} bytes of noise`, noise(size, size)] as const),
  ['text', Buffer.from(lines(200_000).join('\n'))],
]

describe.skipIf(python === null).each(keyedKinds)('crypt with real PyCoffer, $label', (kind) => {
  const keys = keysFor(kind)
  let pycoffer: PyCoffer
  let directory: string
  let box: Coffer
  let crypt: CryptPlugin

  const at = (name: string): string => join(directory, name)

  beforeAll(async () => {
    pycoffer = new PyCoffer()
  })
  afterAll(async () => {
    await pycoffer.end()
  })

  /** Both coffers open, each with its own file, under the same keys. */
  async function begin(): Promise<void> {
    directory = tempDir()
    box = await openKind(kind, at('ours.coffer'), 'x', keys)
    crypt = await box.plugin('crypt')
    // PyCoffer's own Bank has AES-OCB; for its crypt only the secureKey counts.
    const label = kind.label === 'bank' ? 'bank-aes-ocb' : kind.label
    await pycoffer.open('theirs', label, at('theirs.coffer'), 'w', keys)
  }

  async function end(): Promise<void> {
    await pycoffer.close('theirs')
    await box.close()
  }

  it('decrypts there what was encrypted here', async () => {
    await begin()
    for (const [what, data] of contents) {
      writeFileSync(at('plain'), data)
      await crypt.encrypt(at('plain'), at('file'), { replace: true })
      await pycoffer.decrypt('theirs', at('file'), at('back'))
      expect(readFileSync(at('back')).equals(data), what).toBe(true)
      writeFileSync(at('stream'), await buffer(Readable.from([data]).pipe(crypt.createEncryptStream())))
      await pycoffer.decrypt('theirs', at('stream'), at('back'))
      expect(readFileSync(at('back')).equals(data), what).toBe(true)
    }
    await end()
  })

  it('decrypts here what was encrypted there, with legacy alone', async () => {
    await begin()
    for (const [what, data] of contents) {
      writeFileSync(at('plain'), data)
      await pycoffer.encrypt('theirs', at('plain'), at('file'))
      await crypt.decrypt(at('file'), at('back'), { legacy: true, replace: true })
      expect(readFileSync(at('back')).equals(data), what).toBe(true)
      const stream = crypt.createDecryptStream({ legacy: true })
      expect((await buffer(Readable.from([readFileSync(at('file'))]).pipe(stream))).equals(data), what).toBe(true)
      await expect(crypt.decrypt(at('file'), at('x'))).rejects.toMatchObject({ code: 'ERR_COFFER_LEGACY' })
    }
    await end()
  })

  it('decrypts here what was encrypted there in several steps', async () => {
    await begin()
    const parts = [noise(100_000, 'one'), noise(1, 'two'), noise(3_000_000, 'three')]
    for (const part of parts) await pycoffer.encryptAppend('theirs', at('file'), part)
    await crypt.decrypt(at('file'), at('back'), { legacy: true })
    expect(readFileSync(at('back')).equals(Buffer.concat(parts))).toBe(true)
    await end()
  })

  it('tells a wrong key from a file that was cut off', async () => {
    await begin()
    writeFileSync(at('plain'), noise(300_000))
    await pycoffer.encrypt('theirs', at('plain'), at('file'))
    await using other = await openKind(kind, at('other.coffer'), 'x', keysFor(kind))
    const wrong = (await other.plugin('crypt')).decrypt(at('file'), at('back'), { legacy: true })
    await expect(wrong).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
    const file = readFileSync(at('file'))
    for (const count of chunks(file).keys()) {
      const kept = chunks(file).slice(0, count)
      writeFileSync(at('cut'), Buffer.concat(kept.map((chunk) => bytesOf(file, chunk))))
      const cut = crypt.decrypt(at('cut'), at('back'), { legacy: true })
      await expect(cut, `${count}`).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    }
    await end()
  })
})
