import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { marked, marker } from './support/bytes.ts'
import { type Body, startChild } from './support/child.ts'
import { CofferBank } from './support/coffer.ts'
import { type Keys, keyedKinds, keysFor, kindOf, openKind, optionsFor } from './support/kinds.ts'
import { PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

/** The files below a directory, of which some may be gone by the time they are looked at. */
function* files(directory: string): Generator<[name: string, data: Buffer]> {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name)
    try {
      if (statSync(path).isDirectory()) yield* files(path)
      else yield [name, readFileSync(path)]
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
}

/** Everything below a directory that holds one of the needles, with which. */
function leaks(directory: string, needles: Readonly<Record<string, Buffer>>): string[] {
  const found: string[] = []
  for (const [name, data] of files(directory)) {
    for (const [what, needle] of Object.entries(needles)) {
      if (data.includes(needle)) found.push(`${what} in ${name}`)
    }
  }
  return found
}

function keyBytes(keys: Keys): Record<string, Buffer> {
  const found: Record<string, Buffer> = {}
  for (const [name, text] of Object.entries(keys)) {
    found[`${name} as text`] = Buffer.from(text as string)
    found[`${name} as bytes`] = Buffer.from(text as string, 'base64url')
  }
  return found
}

/** Looks into a directory again and again until told to stop; returns every leak it saw. */
function watch(directory: string, needles: Readonly<Record<string, Buffer>>): () => Promise<string[]> {
  const seen = new Set<string>()
  let watching = true
  const looking = (async () => {
    while (watching) {
      for (const leak of leaks(directory, needles)) seen.add(leak)
      await sleep(1)
    }
    for (const leak of leaks(directory, needles)) seen.add(leak)
  })()
  return async () => {
    watching = false
    await looking
    return [...seen]
  }
}

describe.each(keyedKinds)('nothing in clear, $label', (kind) => {
  it('during and after each operation, in the coffer, the temp directory or the lock file', async () => {
    const root = tempDir()
    const watched = join(root, 'watched')
    const source = join(root, 'source')
    mkdirSync(join(watched, 'temp'), { recursive: true })
    mkdirSync(join(source, 'sub'), { recursive: true })
    const needle = marker()
    const keys = keysFor(kind)
    writeFileSync(join(source, 'small'), marked(needle, 3_000))
    writeFileSync(join(source, 'sub/large'), marked(needle, 2_000_000))
    const path = join(watched, 'box.coffer')
    const stop = watch(watched, { marker: needle, ...keyBytes(keys) })

    const box = await openKind(kind, path, 'x', keys, { tempDir: join(watched, 'temp'), backup: '.bak' })
    await box.write('small', marked(needle, 2_000))
    await box.write('text', needle.toString('latin1').repeat(100))
    await box.write('large', marked(needle, 3_000_000))
    await box.append('small', marked(needle, 2_000))
    await box.append('large', marked(needle, 500_000))
    await box.flush()
    await box.write('small', marked(needle, 90_000))
    await box.add(source, { as: 'tree' })
    await box.batch(async (batch) => {
      await batch.write('batched', marked(needle, 2_000))
      await batch.append('large', marked(needle, 1_200_000))
      await batch.read('large')
    })
    await box
      .batch(async (batch) => {
        await batch.write('rolled back', marked(needle, 1_500_000))
        throw new Error('no')
      })
      .catch(() => {})
    await box.flush()
    await box.read('large')
    await box.extractAll(join(root, 'out'))
    await box.verify()
    await box.delete('batched')
    await box.compact()
    await box.close()
    const again = await openKind(kind, path, 'a', keys, { tempDir: join(watched, 'temp'), backup: '.bak' })
    await again.write('again', marked(needle, 2_000))
    await again.close()
    expect(await stop()).toEqual([])
  })

  it.skipIf(kind.container === null)('not even names and sizes of members where the container is sealed', async () => {
    const directory = tempDir()
    const keys = keysFor(kind)
    const box = await openKind(kind, join(directory, 'box.coffer'), 'x', keys)
    const name = `a-telling-name-${marker().toString('hex')}`
    await box.write(name, 'x')
    await box.write(`directory-${name}/inside`, 'x')
    await box.close()
    expect(leaks(directory, { name: Buffer.from(name) })).toEqual([])
  })

  it.skipIf(python === null)('while a legacy coffer is read and converted', async () => {
    const root = tempDir()
    const watched = join(root, 'watched')
    mkdirSync(join(watched, 'temp'), { recursive: true })
    const needle = marker()
    const keys = keysFor(kind)
    const path = join(watched, 'box.coffer')
    const pycoffer = new PyCoffer()
    await pycoffer.open('maker', kind.label, path, 'w', keys, { auto_flush: false })
    await pycoffer.write('maker', 'small', marked(needle, 2_000))
    await pycoffer.write('maker', 'large', marked(needle, 3_000_000))
    await pycoffer.close('maker')
    await pycoffer.end()

    const stop = watch(watched, { marker: needle, ...keyBytes(keys) })
    const box = await openKind(kind, path, 'a', keys, { legacy: true, tempDir: join(watched, 'temp') })
    expect((await box.read('large')).includes(needle)).toBe(true)
    await box.write('new', marked(needle, 100_000))
    await box.flush()
    await box.append('large', marked(needle, 100_000))
    await box.close()
    expect(await stop()).toEqual([])
    expect(readdirSync(join(watched, 'temp'))).toEqual([])
  })

  it('after a writer was killed at its work, and what it left in the temp directory is swept', async () => {
    const root = tempDir()
    const watched = join(root, 'watched')
    mkdirSync(join(watched, 'temp'), { recursive: true })
    const needle = marker()
    const keys = keysFor(kind)
    const path = join(watched, 'box.coffer')
    const body: Body<{ className: 'CofferBank'; path: string; options: object; data: Uint8Array }, void> = async (
      { coffer, say },
      { className, path, options, data },
    ) => {
      const box = await coffer[className].open(path, 'a', options)
      await box.write('first', data)
      await box.flush()
      await say('at work')
      for (;;) await Promise.all([box.write('second', data), box.append('third', data), box.flush()])
    }
    const child = startChild(body, {
      className: kind.className as 'CofferBank',
      path,
      options: { ...optionsFor(kind, keys), tempDir: join(watched, 'temp') },
      data: marked(needle, 700_000),
    })
    await child.heard()
    const stop = watch(watched, { marker: needle, ...keyBytes(keys) })
    await sleep(150)
    await child.kill()
    expect(await stop()).toEqual([])
    await (await openKind(kind, path, 'a', keys, { tempDir: join(watched, 'temp') })).close()
    expect(readdirSync(join(watched, 'temp'))).toEqual([])
    expect(leaks(watched, { marker: needle })).toEqual([])
  })
})

describe('a legacy reader that is killed', () => {
  const kind = kindOf('bank')

  it.skipIf(python === null)('leaves nothing readable, and the next open sweeps what it left', async () => {
    const root = tempDir()
    const temp = join(root, 'temp')
    mkdirSync(temp)
    const needle = marker()
    const keys = keysFor(kind)
    const path = join(root, 'box.coffer')
    const pycoffer = new PyCoffer()
    await pycoffer.open('maker', kind.label, path, 'w', keys, { auto_flush: false })
    await pycoffer.write('maker', 'large', marked(needle, 3_000_000))
    await pycoffer.close('maker')
    await pycoffer.end()
    const body: Body<{ path: string; options: object }, void> = async ({ coffer, say, hear }, { path, options }) => {
      const box = await coffer.CofferBank.open(path, 'r', options)
      await box.read('large')
      await say('open')
      await hear()
    }
    const child = startChild(body, { path, options: { ...keys, legacy: true, tempDir: temp } })
    await child.heard()
    expect(leaks(temp, { marker: needle })).toEqual([])
    await child.kill()
    expect(leaks(temp, { marker: needle })).toEqual([])
    const box = await openKind(kind, path, 'r', keys, { legacy: true, tempDir: temp })
    expect(leaks(temp, { marker: needle })).toEqual([])
    await box.close()
    expect(readdirSync(temp)).toEqual([])
  })
})

describe('a key', () => {
  it('is in no error, and in nothing that is inspected or turned to JSON', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = CofferBank.generateKeys()
    const other = CofferBank.generateKeys()
    const texts: string[] = []
    const remember = (error: unknown): void => {
      texts.push(inspect(error, { depth: 9, showHidden: true }), String((error as Error).stack), JSON.stringify(error))
    }
    await using box = await CofferBank.open(path, 'x', keys)
    texts.push(inspect(box, { depth: 9, showHidden: true }), JSON.stringify(box), String(box))
    await box.read('missing').catch(remember)
    await CofferBank.open(path, 'r', { ...other, lock: 'none' }).catch(remember)
    await CofferBank.open(path, 'r', { cofferKey: keys.cofferKey, secureKey: `${keys.secureKey}!` }).catch(remember)
    await CofferBank.open(path, 'r', { cofferKey: keys.cofferKey.slice(0, 9), secureKey: keys.secureKey }).catch(
      remember,
    )
    await CofferBank.open(join(path, 'impossible'), 'r', keys).catch(remember)
    expect(texts.length).toBeGreaterThanOrEqual(15)
    const secrets = Object.values({ ...keys, ...other }).flatMap((key) => {
      const bytes = Buffer.from(key, 'base64url')
      return [
        key.replace(/=+$/, ''),
        bytes.toString('base64').replace(/=+$/, ''),
        bytes.toString('hex'),
        [...bytes].join(', '),
      ]
    })
    secrets.push(keys.cofferKey.slice(0, 9))
    for (const text of texts) for (const secret of secrets) expect(text.includes(secret)).toBe(false)
  })
})
