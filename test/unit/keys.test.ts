import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { CofferBank, CofferError, CofferMarket, CofferStore } from 'coffer'
import { afterAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'coffer-keys-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let count = 0
const fresh = (): string => join(directory, `${count++}.coffer`)
const failure = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  )

/** Texts of 43 characters and more that decode as base64 to a key, and are words. */
const words = [
  'correct-horse-battery-staple-correct-horses',
  'CorrectHorseBatteryStapleAndThenSomeMoreXyz',
  'correct_horse_battery_staple_and_more_words',
  'correcthorsebatterystapleandthensomemorewor',
  'anvilmosaicturniplanternanvilmosaicturnip12',
  'anvil-Mosaic-turnip-Lantern-anvil-mosaic-12',
  'thisisnotakeyatallbutasentenceofwordsinarow',
]

describe('a key that reads like words', () => {
  it.each(words)('is refused, and is not shown: %#', async (text) => {
    const secureKey = Buffer.alloc(32, 3)
    for (const work of [
      CofferStore.open(fresh(), 'x', { cofferKey: text }),
      CofferStore.open(fresh(), 'x', { cofferKey: ` ${text}\n` }),
      CofferMarket.open(fresh(), 'x', { secureKey: text }),
      CofferBank.open(fresh(), 'x', { cofferKey: text, secureKey }),
      CofferStore.open(fresh(), 'r', { cofferKey: text }),
      CofferStore.salvage(fresh(), fresh(), { cofferKey: text }),
    ]) {
      const error = await failure(work)
      expect(error).toBeInstanceOf(CofferError)
      expect(error).toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
        message: expect.stringMatching(/reads like words/),
      })
      expect(inspect(error, { showHidden: true, depth: 9 })).not.toContain(text)
    }
    const store = await CofferStore.open(fresh(), 'x', CofferStore.generateKeys())
    await expect(store.rekey({ cofferKey: text })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringMatching(/give words as passphrase/),
    })
    await store.close()
  })

  it('is taken as its bytes, and words as a passphrase', async () => {
    const text = 'correcthorsebatterystapleandthensomemorewor'
    const path = fresh()
    await (await CofferStore.open(path, 'x', { cofferKey: Buffer.from(text, 'base64') })).close()
    await (await CofferStore.open(path, 'r', { cofferKey: Buffer.from(text, 'base64') })).close()
    const phrased = fresh()
    const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
    await (await CofferStore.open(phrased, 'x', { passphrase: text, kdf })).close()
    await (await CofferStore.open(phrased, 'r', { passphrase: text })).close()
  })
})

describe('a random key', () => {
  it('never reads like words', async () => {
    const path = fresh()
    // There is no coffer: what is said about the key is said before that.
    for (let seed = 0; seed < 2_000; seed += 1) {
      const key = createHash('sha256').update(`${seed}`).digest()
      for (const cofferKey of [key.toString('base64'), key.toString('base64url')]) {
        const error = await failure(CofferStore.open(path, 'r', { cofferKey }))
        expect(error, cofferKey).toMatchObject({ code: 'ERR_COFFER_NOT_FOUND' })
      }
    }
  })

  it('may be a run of letters in one case where it is short: those of 16 and 24 bytes are not judged', async () => {
    for (const text of ['abcdefghijklmnopqrstuv', 'abcdefghijklmnopqrstuvwxyzabcdef']) {
      const path = fresh()
      const keys = { cofferKey: text, secureKey: Buffer.alloc(32, 3) }
      await (await CofferBank.open(path, 'x', keys)).close()
      await (await CofferBank.open(path, 'r', keys)).close()
    }
  })
})
