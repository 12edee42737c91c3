import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { startChild } from './support/child.ts'
import { changeWithoutEnd, type Flushed } from './support/crash.ts'
import { contents, keysFor, kindOf, openKind, optionsFor } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

describe('a writer that is killed', () => {
  it.each(['bank', 'store', 'null'] as const)(
    'leaves a %s coffer at the last flush that returned, or at the next one, and never with anything else',
    { timeout: 120_000 },
    async (label) => {
      const kind = kindOf(label)
      const keys = keysFor(kind)
      const path = join(tempDir(), 'box.coffer')
      await (await openKind(kind, path, 'x', keys)).close()
      let flushed = 0
      for (let attempt = 0; attempt < 8; attempt += 1) {
        const { className } = kind
        const child = startChild(changeWithoutEnd, {
          className,
          path,
          options: optionsFor(kind, keys),
          first: flushed + 2,
        })
        flushed = ((await child.heard()) as Flushed).round
        let dying = false
        const listening = (async () => {
          while (!dying) flushed = ((await child.heard()) as Flushed).round
        })().catch(() => {})
        await sleep(10 + attempt * 37)
        await child.kill()
        dying = true
        await listening

        const writes = attempt % 2 === 0
        const box = await openKind(kind, path, writes ? 'a' : 'r', keys, { lockTimeout: 5_000 })
        const members = await contents(box)
        const round = members.get('round')?.readUInt32LE(0) ?? 0
        expect(round).toBeGreaterThanOrEqual(flushed)
        expect(round).toBeLessThanOrEqual(flushed + 1)
        // Round n wrote small/(n mod 7); what an unfinished round wrote must not be seen.
        for (const [name, data] of members) expect(data.readUInt32LE(0), name).toBeLessThanOrEqual(round)
        expect(members.get(`small/${round % 7}`)?.readUInt32LE(0)).toBe(round)
        await expect(box.verify()).resolves.toBeDefined()
        if (writes) {
          await box.write('alive', `after ${attempt}`)
          await box.flush()
          expect(await box.readText('alive')).toBe(`after ${attempt}`)
          await box.delete('alive')
        }
        await box.close()
        expect(existsSync(`${path}.torn`)).toBe(false)
      }
    },
  )
})
