import { constants } from 'node:buffer'
import { ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { mostBytesOf, textOf } from '../ts/text.ts'
import { CofferNull } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

const limit = { code: 'ERR_COFFER_LIMIT', member: 'zeros' }

/** A coffer with a member of so many zeros, which is small. */
async function zeros(size: number): Promise<CofferNull> {
  const directory = tempDir()
  const file = openSync(join(directory, 'zeros'), 'w')
  ftruncateSync(file, size)
  const box = await CofferNull.open(join(directory, 'box.coffer'), 'x', { blockSize: 16 << 20 })
  await box.add(join(directory, 'zeros'))
  return box
}

describe('a member that no value of JavaScript can hold', () => {
  it('is an error of every call that returns it whole, before anything of it is decoded', async () => {
    const size = 2 ** 32 + 1
    const box = await zeros(size)
    expect((await box.stat('zeros')).size).toBe(size)
    const file = await box.file('zeros')
    const before = process.memoryUsage().rss
    const calls: Record<string, () => Promise<unknown>> = {
      readText: () => box.readText('zeros'),
      'readText as hex': () => box.readText('zeros', 'hex'),
      readLines: () => box.readLines('zeros'),
      'batch.readText': () => box.batch((batch) => batch.readText('zeros')),
      'file.readFile as text': () => file.readFile('utf8'),
    }
    if (size > constants.MAX_LENGTH) {
      Object.assign(calls, {
        read: () => box.read('zeros'),
        load: () => box.load('zeros'),
        'batch.read': () => box.batch((batch) => batch.read('zeros')),
        'batch.load': () => box.batch((batch) => batch.load('zeros')),
        'file.readFile': () => file.readFile(),
      })
    }
    for (const [call, make] of Object.entries(calls)) await expect(make(), call).rejects.toMatchObject(limit)
    // None of it was decoded: that would have taken hundreds of times as much.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20)
    // What remains can be read in parts.
    const { bytesRead } = await file.read({ length: 10, position: size - 5 })
    expect(bytesRead).toBe(5)
    await file.close()
    await box.close()
  })

  it('is an error where its text or its longest line turns out to be too long', async () => {
    const box = await zeros(constants.MAX_STRING_LENGTH + 1)
    await expect(box.readText('zeros')).rejects.toMatchObject(limit)
    await expect(box.readText('zeros', 'latin1')).rejects.toMatchObject(limit)
    const lines = async (): Promise<void> => {
      for await (const _ of box.lines('zeros'));
    }
    await expect(lines()).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
    await box.close()
  })

  it('is one by what an encoding makes of its bytes', () => {
    const most = constants.MAX_STRING_LENGTH
    expect(mostBytesOf('latin1')).toBeGreaterThanOrEqual(most)
    expect(mostBytesOf('hex')).toBeLessThan(most * 0.51)
    expect(mostBytesOf('base64')).toBeLessThan(most * 0.76)
    expect(mostBytesOf('utf8')).toBeGreaterThanOrEqual(Math.min(3 * most, constants.MAX_LENGTH))
    expect(textOf(Buffer.from('x'), 'utf8', 'a')).toBe('x')
  })
})
