import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { compete, newTally } from './support/contention.ts'
import { keysFor, kindOf, openKind, optionsFor } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

/** COFFER_ROUNDS asks for a longer competition. */
const { COFFER_ROUNDS: asked = '1000' } = process.env
const rounds = Number(asked)
const doomed = Math.max(10, rounds / 50)

it('two processes and those that are killed beside them hold the lock one at a time, and every update counts', {
  timeout: 900_000,
}, async () => {
  const kind = kindOf('store')
  const keys = keysFor(kind)
  const directory = tempDir()
  const [path, holders] = [join(directory, 'box.coffer'), join(directory, 'holders')]
  mkdirSync(holders)
  await (await openKind(kind, path, 'x', keys)).close()
  const work = {
    className: kind.className,
    path,
    options: { ...optionsFor(kind, keys), durability: 'none' },
    holders,
    rounds: rounds / 2,
    stay: false,
  }
  const tally = newTally()
  const dying = async (): Promise<void> => {
    for (let count = 0; count < doomed; count += 1) {
      await compete({ ...work, me: `doomed-${count}`, rounds: 2, stay: true }, tally)
    }
  }
  await Promise.all([compete({ ...work, me: 'one' }, tally), compete({ ...work, me: 'two' }, tally), dying()])

  console.info(`${tally.won} times held, ${tally.waited} times waited for, ${tally.killed} holders killed`)
  expect(tally.wrong).toEqual([])
  expect(readdirSync(holders)).toEqual([])
  expect(tally).toMatchObject({ poisoned: 0, killed: doomed, won: rounds + 2 * doomed })
  expect(tally.waited).toBeGreaterThan(rounds / 10)
  // Each update built on the one before it, and none was lost.
  const updates = rounds + doomed
  expect(tally.wrote.sort((a, b) => a - b)).toEqual(Array.from({ length: updates }, (_, index) => index + 1))
  await using box = await openKind(kind, path, 'a', keys, { lockTimeout: 0 })
  expect(await box.readText('counter')).toBe(`${updates}`)
  await expect(box.verify()).resolves.toBeDefined()
})
