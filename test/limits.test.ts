import { constants } from 'node:buffer'
import { ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { streamLines } from '../ts/member/lines.ts'
import { mostBytesOf, textOf } from '../ts/member/text.ts'
import { CofferNull } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

describe('a member that no value of JavaScript can hold', () => {
  it('is an error of the calls that return it whole, before anything of it is decoded', async () => {
    // As text in hexadecimal it is too long for a string. It is small in the coffer.
    const size = mostBytesOf('hex') + 1
    const directory = tempDir()
    ftruncateSync(openSync(join(directory, 'zeros'), 'w'), size)
    const box = await CofferNull.open(join(directory, 'box.coffer'), 'x')
    await box.add(join(directory, 'zeros'))
    const file = await box.file('zeros')
    const before = process.resourceUsage().maxRSS
    const limit = { code: 'ERR_COFFER_LIMIT', member: 'zeros' }
    await expect(box.readText('zeros', { encoding: 'hex' })).rejects.toMatchObject(limit)
    await expect(box.batch((batch) => batch.readText('zeros', { encoding: 'hex' }))).rejects.toMatchObject(limit)
    await expect(file.readFile('hex')).rejects.toMatchObject(limit)
    // In KiB: decoded, it would take more than 256 MiB.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(64 << 10)
    // What remains can be read in parts.
    expect((await file.read({ length: 10, position: size - 5 })).bytesRead).toBe(5)
    await file.close()
    await box.close()
  })

  it('is one where its text or its longest line turns out to be too long', async () => {
    const bytes = Buffer.alloc(constants.MAX_STRING_LENGTH + 1)
    expect(() => textOf(bytes, 'latin1', 'a')).toThrow(
      expect.objectContaining({ code: 'ERR_COFFER_LIMIT', member: 'a' }),
    )
    const piece = bytes.subarray(0, 32 << 20)
    const read = async () => ({ bytes: piece, version: 1n, size: Number.MAX_SAFE_INTEGER })
    const lines = async (): Promise<void> => {
      for await (const _ of streamLines(read));
    }
    await expect(lines()).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
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
