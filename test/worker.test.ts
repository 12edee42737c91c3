import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Body, type Inside, inChild } from './support/child.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

interface Share {
  readonly path: string
  readonly keys: object
  readonly forever: boolean
}

/** The work of one worker thread: whole coffers, again and again. */
async function work({ coffer, say }: Inside, { path, keys, forever }: Share): Promise<number> {
  const data = new Uint8Array(1_500_000)
  for (let at = 0; at < data.length; at += 60_000) globalThis.crypto.getRandomValues(data.subarray(at, at + 60_000))
  let rounds = 0
  while (forever || rounds < 3) {
    const box = await coffer.CofferBank.open(path, 'a', { ...keys, durability: 'none' })
    await Promise.all([
      box.write(`round ${rounds}`, `number ${rounds}`),
      box.write('data', data),
      box.append('log', 'x'),
    ])
    if ((await box.read('data')).length !== data.length) throw new Error('wrong length')
    if (forever) await say(rounds)
    await box.verify()
    await box.close()
    rounds += 1
  }
  return rounds
}

/** Runs the work in eight threads of this process; ends them mid-call if told to. */
const eight: Body<{ source: string; shares: Share[]; end: boolean }, unknown[]> = async (
  { worker },
  { source, shares, end },
) =>
  Promise.all(
    shares.map(
      async (share, index) =>
        new Promise<unknown>((resolve, reject) => {
          const thread = worker(source, share)
          let said = 0
          thread.on('error', reject)
          thread.on('message', (message: { say?: number; done?: number; failed?: { message: string } }) => {
            if (message.failed !== undefined) reject(new Error(message.failed.message))
            else if (message.done !== undefined) resolve(message.done)
            else said += 1
            // Each is ended at another point of its work: some at once, some later.
            if (end && said >= 1 + (index % 3)) {
              setTimeout(() => {
                void thread.terminate().then(() => resolve('ended'))
              }, index * 3)
            }
          })
        }),
    ),
  )

describe('worker threads', () => {
  const kind = kindOf('bank')
  const shares = (directory: string, forever: boolean): Share[] =>
    Array.from({ length: 8 }, (_, index) => ({ path: join(directory, `box-${index}`), keys: keysFor(kind), forever }))

  it('open, write and close coffers, eight at a time', { timeout: 60_000 }, async () => {
    const mine = shares(tempDir(), false)
    expect(await inChild(eight, { source: work.toString(), shares: mine, end: false })).toEqual(Array(8).fill(3))
    for (const { path, keys } of mine) {
      await using box = await openKind(kind, path, 'r', keys)
      expect(await box.readText('round 2')).toBe('number 2')
      expect(await box.readText('log')).toBe('xxx')
      await expect(box.verify()).resolves.toBeDefined()
    }
  })

  it('can be ended mid-call: the process lives, the locks are free, the coffers are whole', {
    timeout: 60_000,
  }, async () => {
    const mine = shares(tempDir(), true)
    const body: Body<Parameters<typeof eight>[1] & { eight: string }, string[]> = async (inside, args) => {
      const run = (0, eval)(`(${args.eight})`) as typeof eight
      for (let round = 0; round < 3; round += 1) await run(inside, args)
      const generations: string[] = []
      for (const { path, keys } of args.shares) {
        const box = await inside.coffer.CofferBank.open(path, 'a', { ...keys, lockTimeout: 10_000 })
        await box.verify()
        await box.write('after', 'alive')
        await box.close()
        generations.push(path)
      }
      return generations
    }
    const args = { source: work.toString(), shares: mine, end: true, eight: eight.toString() }
    expect(await inChild(body, args)).toHaveLength(8)
    for (const { path, keys } of mine) {
      await using box = await openKind(kind, path, 'r', keys)
      expect(await box.readText('after')).toBe('alive')
    }
  })

  it('that leave a coffer open hold up neither their own end nor that of the process', {
    timeout: 30_000,
  }, async () => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const left: Body<Share, string> = async ({ coffer }, { path, keys }) => {
      const box = await coffer.CofferBank.open(path, 'a', keys)
      await box.write('a', 'x')
      return 'left open'
    }
    const body: Body<{ source: string; share: Share }, number> = async ({ worker }, { source, share }) =>
      new Promise((resolve, reject) => {
        const thread = worker(source, share)
        thread.on('error', reject)
        thread.on('exit', resolve)
      })
    expect(await inChild(body, { source: left.toString(), share: { path, keys, forever: false } })).toBe(0)
    await using box = await openKind(kind, path, 'a', keys, { lockTimeout: 5_000 })
    expect((await box.read('a')).equals(Buffer.from('x'))).toBe(true)
  })
})
