import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from '../support/bytes.ts'
import { type Keys, type Kind, keyedKinds, keysFor, kinds, openKind } from '../support/kinds.ts'
import { PyCoffer, python } from '../support/python.ts'
import { sampleMembers } from '../support/sample.ts'
import { tempDir } from '../support/temp.ts'

const page = readFileSync(new URL('../../docs/reading-without-coffer.md', import.meta.url), 'utf8')

/** The page's program: its only block of Python. */
function program(): string {
  const blocks = [...page.matchAll(/^```python\n(.*?)^```$/gms)]
  expect(blocks).toHaveLength(1)
  return blocks[0]?.[1] ?? ''
}

/** Runs the page's program and returns every file it made, by name. */
function extract(directory: string, kind: Kind, path: string, keys: Keys, passphrase?: string): Map<string, Buffer> {
  const script = join(directory, 'read_coffer.py')
  const target = join(directory, 'out')
  writeFileSync(script, program())
  const { PATH } = process.env
  const env = {
    PATH,
    ...(passphrase === undefined
      ? { COFFER_KEY: keys.cofferKey ?? '', SECURE_KEY: keys.secureKey ?? '' }
      : { PASSPHRASE: passphrase }),
  }
  const run = spawnSync(python ?? '', [script, kind.label, path, target], { encoding: 'utf8', env })
  expect(run.stderr).toBe('')
  expect(run.status).toBe(0)
  const found = new Map<string, Buffer>()
  for (const entry of readdirSync(target, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name)
    if (entry.isFile()) found.set(relative(target, file), readFileSync(file))
  }
  return found
}

describe.skipIf(python === null).each(kinds)('the Python of docs/reading-without-coffer.md, $label', (kind) => {
  it('gets every live member out, with its bytes and its time', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const members = sampleMembers()
    const box = await openKind(kind, path, 'w', keys, { autoFlush: false })
    for (const [name, data] of members) await box.write(name, data)
    await box.flush()
    await box.write('small/001.txt', noise(100_000, 'replaced'))
    await box.append('small/002.txt', Buffer.from('appended'))
    await box.append('sizes/noise-1200001.bin', Buffer.from('appended'))
    await box.write('dated', 'old', { mtime: new Date('2001-02-03T04:05:06Z') })
    await box.delete('small/003.txt')
    await box.close()
    members.set('small/001.txt', noise(100_000, 'replaced'))
    members.set('dated', Buffer.from('old'))
    members.delete('small/003.txt')
    for (const name of ['small/002.txt', 'sizes/noise-1200001.bin']) {
      members.set(name, Buffer.concat([members.get(name) ?? Buffer.alloc(0), Buffer.from('appended')]))
    }

    const found = extract(directory, kind, path, keys)
    expect([...found.keys()].sort()).toEqual([...members.keys()].sort())
    for (const [name, data] of members) expect(found.get(name)?.equals(data), name).toBe(true)
    expect(statSync(join(directory, 'out/dated')).mtime).toEqual(new Date('2001-02-03T04:05:06Z'))
  })

  it('gets nothing out of an empty coffer', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    await (await openKind(kind, path, 'x', keys)).close()
    expect(extract(directory, kind, path, keys).size).toBe(0)
  })

  it('reads what PyCoffer wrote as well', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const keys = keysFor(kind)
    const members = sampleMembers()
    const pycoffer = new PyCoffer()
    await pycoffer.open('maker', kind.label, path, 'w', keys, { auto_flush: false })
    for (const [name, data] of members) await pycoffer.write('maker', name, data)
    await pycoffer.close('maker')
    await pycoffer.end()

    const found = extract(directory, kind, path, keys)
    expect([...found.keys()].sort()).toEqual([...members.keys()].sort())
    for (const [name, data] of members) expect(found.get(name)?.equals(data), name).toBe(true)
  })
})

describe.skipIf(python === null).each(keyedKinds)('the same page with a $label from a passphrase', (kind) => {
  it('derives its keys, and gets every member out', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const kdf = { memory: 20 * 1024 * 1024, passes: 3 }
    // Accents typed as characters of their own are the same passphrase.
    const box = await openKind(kind, path, 'x', {}, { passphrase: 'Gr\u00fc\u00dfe an Zo\u00eb', kdf })
    await box.write('large', noise(2_000_000))
    await box.write('small', 'small')
    await box.close()
    const found = extract(directory, kind, path, {}, 'Gru\u0308\u00dfe an Zoe\u0308')
    expect([...found.keys()].sort()).toEqual(['large', 'small'])
    expect(found.get('large')?.equals(noise(2_000_000))).toBe(true)
    expect(found.get('small')?.toString()).toBe('small')
  })
})
