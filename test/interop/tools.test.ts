import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from '../support/bytes.ts'
import type { Coffer } from '../support/coffer.ts'
import { type Kind, keysFor, kindOf, openKind } from '../support/kinds.ts'
import { sampleMembers } from '../support/sample.ts'
import { tempDir } from '../support/temp.ts'

const present = (tool: string): boolean => spawnSync(tool, ['--version']).status === 0

/** Runs a shell pipeline on a coffer and returns what it printed; any failing part fails the test. */
function pipeline(command: string, path: string): string {
  const run = spawnSync('bash', ['-c', `set -o pipefail; ${command}`, 'bash', path], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  expect(run.stderr.replace(/^.*: \d+ bytes\s*$/gm, '').trim(), command).toBe('')
  expect(run.status, command).toBe(0)
  return run.stdout
}

/** What `tar t` lists: every name once, the root entry first. */
function listed(path: string): string[] {
  const names = pipeline('zstd -dc <"$1" | tar --quoting-style=literal -tf -', path).split('\n').slice(0, -1)
  expect(names.shift()).toBe('./')
  return names.sort()
}

async function expectLive(box: Coffer, path: string): Promise<void> {
  await box.flush()
  pipeline('zstd -q -t <"$1"', path)
  const live = (await box.members()).map((member) => (member.type === 'directory' ? `${member.name}/` : member.name))
  expect(listed(path)).toEqual(live.sort())
}

const unsealed: readonly Kind[] = [kindOf('market'), kindOf('null')]

describe.skipIf(!present('zstd') || !present('tar')).each(unsealed)('with zstd and tar, $label', (kind) => {
  it('passes zstd -t and lists the root entry and the live members, whatever happened to it', async () => {
    const path = join(tempDir(), 'box.coffer')
    await using box = await openKind(kind, path, 'w', keysFor(kind))
    await expectLive(box, path)
    for (const [name, data] of sampleMembers()) await box.write(name, data)
    await expectLive(box, path)
    await box.write('small/000.txt', noise(200_000, 'replaced'))
    await box.write('sizes/noise-1200001.bin', 'small now')
    await expectLive(box, path)
    await box.append('small/001.txt', noise(2_000_000, 'appended'))
    await expectLive(box, path)
    await box.delete('small/002.txt')
    await box.delete('deep', { recursive: true })
    await expectLive(box, path)
    await box.compact()
    await expectLive(box, path)
    for (const member of await box.members()) await box.delete(member.name)
    await expectLive(box, path)
  })

  it('lists added directories, empty ones among them', async () => {
    const directory = tempDir()
    mkdirSync(join(directory, 'tree/empty'), { recursive: true })
    const path = join(directory, 'box.coffer')
    await using box = await openKind(kind, path, 'w', keysFor(kind))
    await box.add(join(directory, 'tree'))
    await box.write('tree/file', 'x')
    await expectLive(box, path)
    expect(listed(path)).toContain('tree/empty/')
  })
})

describe.skipIf(!present('zstd') || !present('tar'))('with zstd and tar, the members of a null coffer', () => {
  it('come out byte for byte', async () => {
    const directory = tempDir()
    const path = join(directory, 'box.coffer')
    const members = sampleMembers()
    const box = await openKind(kindOf('null'), path, 'w', {})
    for (const [name, data] of members) await box.write(name, data)
    await box.write('small/000.txt', 'replaced')
    members.set('small/000.txt', Buffer.from('replaced'))
    await box.close()

    const target = join(directory, 'out')
    mkdirSync(target)
    pipeline(`zstd -dc <"$1" | tar -xf - -C '${target}'`, path)
    for (const [name, data] of members) {
      expect(readFileSync(join(target, name)).equals(data), name).toBe(true)
    }
    const files = readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    expect(files).toHaveLength(members.size)
  })
})
