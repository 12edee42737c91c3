import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { Coffer, CofferStore, identify } from './support/coffer.ts'
import { headerMarks } from './support/format.ts'
import { keyedKinds, keysFor, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
const newPath = (): string => join(tempDir(), 'box.coffer')

const names = { CofferBank: 'bank', CofferStore: 'store', CofferMarket: 'market', CofferNull: 'null' } as const

function written(bytes: Uint8Array): string {
  const path = newPath()
  writeFileSync(path, bytes)
  return path
}

describe.each(kinds)('a $label file', (kind) => {
  const known = { format: 'coffer', version: 1, kind: names[kind.className], cipher: kind.container ?? 'none' }

  it('says what it is, also while somebody writes it', async () => {
    const path = newPath()
    const box = await openKind(kind, path, 'x', keysFor(kind))
    expect(await identify(path)).toEqual({ ...known, passphrase: false })
    await box.write('a', noise(1_000_000))
    await box.close()
    expect(await identify(pathToFileURL(path))).toEqual({ ...known, passphrase: false })
  })

  it('of PyCoffer says that it is one', async () => {
    const legacy = new URL(`./fixtures/${kind.label}.pycoffer`, import.meta.url)
    expect(await identify(legacy)).toEqual({ format: 'legacy' })
  })
})

describe.each(keyedKinds)('a $label from a passphrase', (kind) => {
  it('says so, and how its keys are derived', async () => {
    const path = newPath()
    const box = await openKind(kind, path, 'x', {}, { passphrase: 'words', kdf })
    const { kdf: known } = await box.info()
    await box.close()
    expect(await identify(path)).toMatchObject({ format: 'coffer', passphrase: true, kdf: { ...known, ...kdf } })
    expect(Buffer.from(known?.salt ?? '', 'base64url')).toHaveLength(16)
  })
})

describe('identify', () => {
  it('knows layers of your own by their container', async () => {
    const layers = { member: { cipher: 'none' }, container: { cipher: 'aes-ocb' } } as const
    const path = newPath()
    await (await Coffer.open(path, 'x', { ...layers, ...Coffer.generateKeys(layers) })).close()
    expect(await identify(path)).toEqual({
      format: 'coffer',
      version: 1,
      kind: 'custom',
      cipher: 'aes-ocb',
      passphrase: false,
    })
  })

  it('says of a coffer from a newer version only which one', async () => {
    const path = newPath()
    await (await CofferStore.open(path, 'x', CofferStore.generateKeys())).close()
    const file = readFileSync(path)
    for (const mark of headerMarks(file, 'header')) file.writeUInt8(9, mark + 4)
    writeFileSync(path, file)
    expect(await identify(path)).toEqual({ format: 'coffer', version: 9, passphrase: false })
  })

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.alloc(1)],
    ['zeros', Buffer.alloc(10_000)],
    ['text', Buffer.from('just a text of some length, and no coffer at all')],
    ['noise', noise(10_000)],
  ])('does not know %s', async (_, bytes) => {
    expect(await identify(written(bytes))).toEqual({ format: 'unknown' })
  })

  it('takes a zstd frame for what PyCoffer may have written', async () => {
    const frame = Buffer.concat([Buffer.from('28b52ffd', 'hex'), noise(100)])
    expect(await identify(written(frame))).toEqual({ format: 'legacy' })
  })

  it.skipIf(process.platform === 'win32')('does not open what is no file', async () => {
    expect(await identify('/dev/null')).toEqual({ format: 'unknown' })
  })

  it('fails where there is nothing, or a directory', async () => {
    const path = newPath()
    await expect(identify(path)).rejects.toMatchObject({ name: 'CofferError', code: 'ERR_COFFER_NOT_FOUND', path })
    mkdirSync(path)
    await expect(identify(path)).rejects.toMatchObject({ name: 'CofferError', code: 'ERR_COFFER_IO', path })
    await expect(identify(5 as never)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
  })
})
