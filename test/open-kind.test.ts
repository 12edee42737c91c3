import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import * as api from './support/coffer.ts'
import { Coffer, CofferBank, CofferNull, CofferStore } from './support/coffer.ts'
import { headerMarks } from './support/format.ts'
import { type AnyClass, type AnyOptions, keyedKinds, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const newPath = (): string => join(tempDir(), 'box.coffer')
const code = (name: string) => ({ name: 'CofferError', code: `ERR_COFFER_${name}` })
const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
const passphrase = 'anvil mosaic turnip lantern'
/** `Coffer.open` with options as plain values. */
const any = Coffer as unknown as AnyClass

describe.each(kinds)('Coffer.open of a $label without layers', (kind) => {
  const keys = keysFor(kind)

  it('finds its kind, and gives an instance of the class of that kind', async () => {
    const path = newPath()
    const box = await openKind(kind, path, 'x', keys)
    await box.write('a', 'one')
    const { head } = box
    await box.close()

    const reading = await any.open(pathToFileURL(path), 'r', keys)
    expect(reading).toBeInstanceOf(api[kind.className])
    expect(reading.constructor).toBe(api[kind.className])
    expect(inspect(reading)).toContain(kind.className)
    expect(await reading.readText('a')).toBe('one')
    await reading.close()

    const changing = await any.open(path, 'r+', { ...keys, expect: head, autoFlush: true, lockTimeout: 5_000 })
    expect(changing).toBeInstanceOf(api[kind.className])
    await changing.append('a', ' two')
    await changing.close()
    await using again = await openKind(kind, path, 'r', keys)
    expect(await again.readText('a')).toBe('one two')
  })

  it('needs the keys of that kind, and the right ones', async () => {
    const path = newPath()
    await (await openKind(kind, path, 'x', keys)).close()
    if (Object.keys(keys).length === 0) return
    await expect(any.open(path, 'r', {})).rejects.toMatchObject({
      ...code('INVALID_ARG'),
      message: expect.stringContaining(kind.className),
    })
    await expect(any.open(path, 'r', keysFor(kind))).rejects.toMatchObject(code('WRONG_KEY'))
  })
})

describe.each(keyedKinds)('Coffer.open of a $label from a passphrase', (kind) => {
  it('needs the passphrase alone', async () => {
    const path = newPath()
    await (await openKind(kind, path, 'x', {}, { passphrase, kdf })).close()
    await using box = await any.open(path, 'r', { passphrase })
    expect(box).toBeInstanceOf(api[kind.className])
    await expect(any.open(path, 'r', { passphrase: `${passphrase}.` })).rejects.toMatchObject(code('WRONG_KEY'))
  })
})

describe('Coffer.open without layers', () => {
  it.each(['a', 'w', 'x'] as const)('is for what exists, not for the mode "%s"', async (mode) => {
    const path = newPath()
    await expect(any.open(path, mode, keysFor(kindOf('store')))).rejects.toMatchObject({
      ...code('INVALID_ARG'),
      message: expect.stringContaining('layers'),
    })
    expect(existsSync(path)).toBe(false)
  })

  it('says why a file cannot be opened so', async () => {
    const missing = newPath()
    await expect(any.open(missing, 'r', {})).rejects.toMatchObject({ ...code('NOT_FOUND'), path: missing })
    await expect(any.open(missing, 'r+', {})).rejects.toMatchObject({ ...code('NOT_FOUND'), path: missing })
    const text = newPath()
    writeFileSync(text, 'no coffer')
    await expect(any.open(text, 'r', {})).rejects.toMatchObject({ ...code('CORRUPT'), path: text })
    const old = newPath()
    copyFileSync(fileURLToPath(new URL('./fixtures/null.pycoffer', import.meta.url)), old)
    await expect(any.open(old, 'r', { legacy: true })).rejects.toMatchObject({ ...code('LEGACY'), path: old })

    const layers = { member: { cipher: 'none' }, container: { cipher: 'aes-ocb' } } as const
    const keys = Coffer.generateKeys(layers)
    const mix = newPath()
    await (await Coffer.open(mix, 'x', { ...layers, ...keys })).close()
    await expect(any.open(mix, 'r', keys)).rejects.toMatchObject({ ...code('WRONG_KIND'), path: mix })
    await (await Coffer.open(mix, 'r', { ...layers, ...keys })).close()

    const newer = newPath()
    await (await CofferNull.open(newer, 'x')).close()
    const bytes = readFileSync(newer)
    for (const mark of headerMarks(bytes, 'header')) bytes.writeUInt8(9, mark + 4)
    writeFileSync(newer, bytes)
    await expect(any.open(newer, 'r', {})).rejects.toMatchObject({ ...code('VERSION'), path: newer })
  })

  it('takes no option that is for making', async () => {
    const path = newPath()
    await (await CofferNull.open(path, 'x')).close()
    for (const options of [{ chunkSize: 4_096 }, { kdf }, { replace: true }, { cipher: 'fernet' }] as AnyOptions[]) {
      await expect(any.open(path, 'r+', options)).rejects.toMatchObject(code('INVALID_ARG'))
    }
    await expect(any.open(path, 'r', { autoFlush: true })).rejects.toMatchObject(code('INVALID_ARG'))
  })

  it('never opens with keys what needs none: a file in place of the sealed one', async () => {
    const path = newPath()
    const box = await CofferNull.open(path, 'x')
    await box.write('a', 'forged')
    await box.close()
    for (const secret of [
      keysFor(kindOf('bank')),
      { cofferKey: noise(32) },
      { secureKey: noise(32) },
      { passphrase },
    ]) {
      for (const mode of ['r', 'r+'] as const) {
        await expect(any.open(path, mode, secret)).rejects.toMatchObject(code('KEYLESS'))
        await expect(openKind(kindOf('null'), path, mode, {}, secret)).rejects.toMatchObject(code('KEYLESS'))
      }
    }
    await using reader = await Coffer.open(path, 'r', {})
    expect(await reader.readText('a')).toBe('forged')
  })
})

describe('a class of the caller’s', () => {
  class Vault extends CofferBank {
    readonly seen: string[] = []
    async note(name: string): Promise<void> {
      this.seen.push(name)
      await this.write(name, 'noted')
    }
  }
  class Store extends CofferStore {
    override async readText(name: string, options: api.TextOptions = {}): Promise<string> {
      return `mine: ${await super.readText(name, options)}`
    }
  }
  class Own extends Coffer {
    get answer(): number {
      return 42
    }
  }

  it('that extends the class of a kind is what its own open returns', async () => {
    const path = newPath()
    const keys = CofferBank.generateKeys()
    const vault: Vault = await Vault.open(path, 'x', keys)
    expect(vault).toBeInstanceOf(Vault)
    expect(vault).toBeInstanceOf(CofferBank)
    await vault.note('a')
    expect(vault.seen).toEqual(['a'])
    await vault.close()
    const again: Vault = await Vault.open(path, 'r', keys)
    expect(again.seen).toEqual([])
    expect(await again.readText('a')).toBe('noted')
    await again.close()
    // Asked for a coffer of any kind, the package gives its own class.
    await using plain = await Coffer.open(path, 'r', keys)
    expect(plain).not.toBeInstanceOf(Vault)
    expect(plain).toBeInstanceOf(CofferBank)
  })

  it('may replace methods', async () => {
    const store = await Store.open(newPath(), 'x', CofferStore.generateKeys())
    await store.write('a', 'x')
    expect(await store.readText('a')).toBe('mine: x')
    await store.close()
  })

  it('that extends Coffer gets instances of its own, whatever the kind', async () => {
    const path = newPath()
    const keys = CofferStore.generateKeys()
    await (await CofferStore.open(path, 'x', keys)).close()
    const found: Own = await Own.open(path, 'r', keys)
    expect(found).toBeInstanceOf(Own)
    expect(found.answer).toBe(42)
    await found.close()
    const layers = { member: { cipher: 'none' }, container: { cipher: 'none' } } as const
    await using made: Own = await Own.open(newPath(), 'w', layers)
    expect(made.answer).toBe(42)
  })

  it('cannot be made but by open', async () => {
    for (const type of [Coffer, CofferBank, Vault, Own]) {
      expect(() => Reflect.construct(type, [])).toThrow(expect.objectContaining(code('INVALID_ARG')))
      expect(() => Reflect.construct(type, [{ path: 'x' }])).toThrow(expect.objectContaining(code('INVALID_ARG')))
    }
    const { open } = CofferNull
    await expect(open.call(undefined as never, newPath(), 'x')).rejects.toMatchObject(code('INVALID_ARG'))
  })
})
