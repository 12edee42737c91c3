import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { noise, sha256 } from '../support/bytes.ts'
import type { Coffer } from '../support/coffer.ts'
import { keysFor, kindOf, kinds, openKind } from '../support/kinds.ts'
import { listingOf, PyCoffer, python } from '../support/python.ts'
import { tempDir } from '../support/temp.ts'

const MiB = 1 << 20

async function* chunked(bytes: Buffer, size = 70_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Members of many pieces, whole and appended to, by streams and by a handle. */
async function stream(box: Coffer): Promise<Map<string, Buffer>> {
  const members = new Map([
    ['streamed', noise(3 * MiB + 333, 'streamed')],
    ['exact', noise(2 * MiB, 'exact')],
    ['appended', noise(3 * MiB + 1, 'appended')],
    ['handle', noise(2 * MiB + 77, 'handle')],
    ['small', noise(100, 'small')],
    ['empty', Buffer.alloc(0)],
  ])
  for (const name of ['streamed', 'exact', 'small', 'empty']) {
    await pipeline(chunked(members.get(name) as Buffer), box.createWriteStream(name))
  }
  const appended = members.get('appended') as Buffer
  await box.write('appended', chunked(appended.subarray(0, MiB + 500_000)))
  await box.append('appended', chunked(appended.subarray(MiB + 500_000)))
  const file = await box.file('handle', 'x')
  await file.write(members.get('handle') as Buffer)
  await file.close()
  return members
}

describe.skipIf(python === null).each(kinds)('with real PyCoffer, $label', (kind) => {
  it('streamed members are read, also those whose pieces are of unequal length', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    const members = await stream(box)
    await box.close()
    const pycoffer = new PyCoffer()
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listingOf(members, sha256))
    await pycoffer.end()
  })

  it('a coffer of PyCoffer’s takes streams, before and after its conversion', async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const pycoffer = new PyCoffer()
    await pycoffer.open('theirs', kind.label, path, 'w', keys)
    await pycoffer.write('theirs', 'theirs', noise(2 * MiB))
    await pycoffer.close('theirs')
    const box = await openKind(kind, path, 'a', keys, { legacy: true, autoFlush: false })
    const open = await box.file('open', 'w')
    await open.write(noise(2 * MiB, 'open'))
    const members = await stream(box)
    await box.append('theirs', chunked(noise(MiB)))
    await box.flush()
    await open.close()
    await box.verify()
    await box.close()
    members.set('open', noise(2 * MiB, 'open'))
    members.set('theirs', Buffer.concat([noise(2 * MiB), noise(MiB)]))
    expect(await pycoffer.list(kind.label, path, keys)).toEqual(listingOf(members, sha256))
    await pycoffer.end()
  })
})

const tools = ['zstd', 'tar'].every((tool) => spawnSync(tool, ['--version']).status === 0)

describe.skipIf(!tools)('with zstd and tar', () => {
  it('the streamed members of a null coffer come out byte for byte, and those of a market are listed', async () => {
    for (const kind of [kindOf('null'), kindOf('market')]) {
      const path = join(tempDir(), 'box.coffer')
      const box = await openKind(kind, path, 'x', keysFor(kind))
      const members = await stream(box)
      await box.close()
      const run = (command: string) => {
        const script = `set -o pipefail; zstd -dc <"$1" | ${command}`
        return spawnSync('bash', ['-c', script, 'bash', path], { maxBuffer: 1 << 26 })
      }
      const listed = run('tar -tf -').stdout.toString().trim().split('\n')
      expect(listed.sort()).toEqual(['./', ...members.keys()].sort())
      if (kind.label === 'market') continue
      for (const [name, data] of members) {
        expect(run(`tar -xOf - ${name}`).stdout.equals(data), name).toBe(true)
      }
    }
  })
})
