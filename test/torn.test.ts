import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { CofferError } from './support/coffer.ts'
import { chunks, flipped, lastRecord } from './support/format.ts'
import { contents, type Keys, type Kind, keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

/** What the coffer held at a commit, and how long the file was. */
interface State {
  readonly generation: number
  readonly length: number
  readonly members: ReadonlyMap<string, string>
}

interface Made {
  readonly file: Buffer
  readonly keys: Keys
  readonly states: readonly State[]
}

/** The smallest coffer with a history: every commit's state and length. */
async function make(kind: Kind, directory: string): Promise<Made> {
  const path = join(directory, 'made.coffer')
  const keys = keysFor(kind)
  const box = await openKind(kind, path, 'x', keys, { autoFlush: false, durability: 'none' })
  const states: State[] = []
  const members = new Map<string, string>()
  const remember = (): void => {
    const { generation } = box.head
    if (generation === states.at(-1)?.generation) return
    states.push({ generation, length: readFileSync(path).length, members: new Map(members) })
  }
  remember()
  for (const [name, text] of [
    ['one', 'first'],
    ['two', 'second'],
    ['three', 'third'],
  ] as const) {
    members.set(name, text)
    await box.write(name, text)
    await box.flush()
    remember()
  }
  await box.close()
  const file = readFileSync(path)
  expect(file.length).toBe(states.at(-1)?.length)
  return { file, keys, states }
}

async function texts(
  kind: Kind,
  path: string,
  keys: Keys,
): Promise<{ generation: number; members: Map<string, string> }> {
  const box = await openKind(kind, path, 'r', keys, { lock: 'none' })
  try {
    const members = new Map([...(await contents(box))].map(([name, data]) => [name, data.toString()]))
    return { generation: box.head.generation, members }
  } finally {
    await box.close()
  }
}

/** A file cut before its first commit is damaged, and one cut inside its first mark may be anything. */
const clear = ['ERR_COFFER_CORRUPT', 'ERR_COFFER_LEGACY']

describe.each(kinds)('a torn $label coffer', (kind) => {
  it('cut at every length opens at a commit that was whole, or fails with a clear error', {
    timeout: 120_000,
  }, async () => {
    const directory = tempDir()
    const { file, keys, states } = await make(kind, directory)
    const wrong: string[] = []
    let opened = 0
    const attempt = async (length: number): Promise<void> => {
      const path = join(directory, `cut-${length}`)
      writeFileSync(path, file.subarray(0, length))
      const whole = states.findLast((state) => state.length <= length)
      try {
        const { generation, members } = await texts(kind, path, keys)
        opened += 1
        const state = states.find((one) => one.generation === generation)
        // A commit that is whole counts even if its footer is cut off.
        const allowed = whole === undefined ? [states[0]] : [whole, states[states.indexOf(whole) + 1]]
        if (state === undefined || !allowed.includes(state)) wrong.push(`${length}: generation ${generation}`)
        else if (JSON.stringify([...members].sort()) !== JSON.stringify([...state.members].sort())) {
          wrong.push(`${length}: wrong members at generation ${generation}`)
        }
      } catch (error) {
        if (!(error instanceof CofferError) || !clear.includes(error.code)) wrong.push(`${length}: ${String(error)}`)
        else if (whole !== undefined) wrong.push(`${length}: ${error.message}`)
      }
    }
    for (let length = 0; length <= file.length; length += 16) {
      const batch = Array.from({ length: Math.min(16, file.length + 1 - length) }, (_, index) =>
        attempt(length + index),
      )
      await Promise.all(batch)
    }
    expect(wrong).toEqual([])
    expect(opened).toBeGreaterThan(file.length - (states[1]?.length ?? 0))
  })

  it('is cut back to its last commit by a writer, which then goes on', { timeout: 120_000 }, async () => {
    const directory = tempDir()
    const { file, keys, states } = await make(kind, directory)
    for (let length = states[0]?.length ?? 0; length <= file.length; length += 41) {
      const path = join(directory, `cut-${length}`)
      writeFileSync(path, file.subarray(0, length))
      const box = await openKind(kind, path, 'a', keys, { durability: 'none' })
      const state = states.find((one) => one.generation === box.head.generation)
      expect(state?.length, `cut at ${length}`).toBeDefined()
      await box.write('after the crash', 'goes on')
      await box.close()
      const { members } = await texts(kind, path, keys)
      expect(members).toEqual(new Map([...(state?.members ?? []), ['after the crash', 'goes on']]))
    }
  })

  it('whose last footer is damaged loses nothing, wherever the damage is', async () => {
    const directory = tempDir()
    const { file, keys, states } = await make(kind, directory)
    const footer = lastRecord(file, kind.container !== null, 'footer')
    const last = states.at(-1)
    for (let at = footer.offset; at < footer.offset + footer.length; at += 3) {
      const path = join(directory, `damaged-${at}`)
      writeFileSync(path, flipped(file, at, 0x10))
      expect(await texts(kind, path, keys), `byte ${at}`).toEqual({
        generation: last?.generation,
        members: last?.members,
      })
    }
  })

  it('whose last commit is damaged says so, and a writer moves it aside before it goes on', async () => {
    const directory = tempDir()
    const { file, keys, states } = await make(kind, directory)
    const commit = lastRecord(file, kind.container !== null, 'commit')
    const before = states.at(-2)
    const path = join(directory, 'damaged')
    writeFileSync(path, flipped(file, commit.payload + Math.floor((commit.length - 40) / 2)))

    const reader = await openKind(kind, path, 'r', keys, { lock: 'none' })
    expect(reader.notices.length).toBeGreaterThan(0)
    expect(reader.head.generation).toBe(before?.generation)
    await reader.close()

    const writer = await openKind(kind, path, 'a', keys)
    expect(writer.notices.length).toBeGreaterThan(0)
    await writer.write('later', 'goes on')
    await writer.close()
    expect(existsSync(`${path}.torn`)).toBe(true)
    const saved = readFileSync(`${path}.torn`)
    const tail = file.subarray(commit.offset + commit.length)
    expect(saved.includes(tail)).toBe(true)
    const { members } = await texts(kind, path, keys)
    expect(members).toEqual(new Map([...(before?.members ?? []), ['later', 'goes on']]))
  })

  it('with rubbish behind its last footer opens at that footer, and tells who holds the lock', async () => {
    const directory = tempDir()
    const { file, keys, states } = await make(kind, directory)
    const path = join(directory, 'rubbish')
    writeFileSync(path, Buffer.concat([file, noise(5_000)]))
    const last = states.at(-1)
    const reader = await openKind(kind, path, 'r', keys)
    expect(reader.notices.length).toBeGreaterThan(0)
    await reader.close()
    expect(await texts(kind, path, keys)).toEqual({ generation: last?.generation, members: last?.members })
    const writer = await openKind(kind, path, 'a', keys)
    await writer.write('later', 'goes on')
    await writer.close()
    expect((await texts(kind, path, keys)).members).toEqual(new Map([...(last?.members ?? []), ['later', 'goes on']]))
  })

  it.each([
    ['lost', 1],
    ['lost', 100],
    ['inserted', 1],
    ['inserted', 100],
  ] as const)(
    'in whose middle bytes were %s (%i) is damaged, not torn: a writer throws nothing away',
    async (what, count) => {
      const directory = tempDir()
      const { file, keys, states } = await make(kind, directory)
      const at = (states[0]?.length ?? 0) + 60
      const path = join(directory, 'shifted')
      const middle = what === 'lost' ? Buffer.alloc(0) : noise(count)
      writeFileSync(
        path,
        Buffer.concat([file.subarray(0, at), middle, file.subarray(what === 'lost' ? at + count : at)]),
      )
      const box = await openKind(kind, path, 'a', keys).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
        return undefined
      })
      if (box !== undefined) {
        expect(box.notices.map((notice) => notice.code)).toContain('damaged-commit')
        await box.close()
      }
      // The commits behind the damage are authentic, and only out of place.
      const kept = readFileSync(box === undefined ? path : `${path}.torn`)
      expect(kept.includes(file.subarray(at + 100))).toBe(true)
    },
  )

  it('says nothing when there is nothing to say', async () => {
    const directory = tempDir()
    const { file, keys } = await make(kind, directory)
    const path = join(directory, 'whole')
    writeFileSync(path, file)
    await using box = await openKind(kind, path, 'a', keys)
    expect(box.notices).toEqual([])
  })
})

describe('a clock that steps', () => {
  const kind = kindOf('bank')

  it('changes nothing: no Fernet token of ours carries a time', async () => {
    const path = join(tempDir(), 'bank.coffer')
    const keys = keysFor(kind)
    const box = await openKind(kind, path, 'x', keys)
    await box.write('small', 'x')
    await box.write('large', noise(300_000))
    await box.delete('small')
    await box.close()
    const file = readFileSync(path)
    const all = chunks(file)
    expect(all.length).toBeGreaterThan(5)
    for (const { offset, length, payload } of all) {
      const token = Buffer.from(file.toString('latin1', payload, offset + length), 'base64url')
      expect(token.readUInt8(0)).toBe(0x80)
      expect(token.readBigUInt64BE(1)).toBe(0n)
    }
  })
})
