import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const MiB = 1 << 20
/** Linux counts what each process reads and writes; elsewhere there is nothing to measure with. */
const counted = process.platform === 'linux'

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

describe.skipIf(!counted)('a flush costs what changed', () => {
  it('appends no more for the 1,000th member of a Bank with autoFlush than for the first', {
    timeout: 120_000,
  }, async () => {
    interface Costs {
      readonly written: number[]
      readonly grown: number[]
    }
    const body: Body<{ path: string; keys: object }, Costs> = async ({ coffer, fs }, { path, keys }) => {
      const written = (): number => Number(/^wchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
      const box = await coffer.CofferBank.open(path, 'x', { ...keys, durability: 'none' })
      const costs: Costs = { written: [], grown: [] }
      for (let index = 0; index < 1_000; index += 1) {
        const data = globalThis.crypto.getRandomValues(new Uint8Array(10_000))
        const [before, size] = [written(), fs.statSync(path).size]
        await box.write(`member ${String(index).padStart(4, '0')}`, data)
        costs.written.push(written() - before)
        costs.grown.push(fs.statSync(path).size - size)
      }
      await box.close()
      return costs
    }
    const path = join(tempDir(), 'bank.coffer')
    const { written, grown } = await inChild(body, { path, keys: keysFor(kindOf('bank')) })

    // A delta is smaller than the snapshot it saves, so the median of each hundred is a delta.
    for (const cost of [written, grown]) {
      expect(median(cost.slice(-100))).toBeLessThanOrEqual(median(cost.slice(0, 100)) + 256)
      // Snapshots pay for themselves: together they cost no more than the deltas they replace.
      const deltas = cost.length * median(cost)
      expect(cost.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(deltas * 1.5)
      expect(cost.filter((one) => one > median(cost) * 1.5).length).toBeLessThan(100)
    }
    // Members of 10 KB, sealed twice, in base64 outside: nothing else of size is written.
    expect(median(written)).toBeLessThan(18_000)
    expect(median(grown)).toBeLessThan(18_000)
  })

  it.each(['bank', 'store', 'market', 'null'] as const)(
    'writes little to delete, replace or append to one small member of a big %s',
    { timeout: 120_000 },
    async (label) => {
      const kind = kindOf(label)
      const keys = keysFor(kind)
      const path = join(tempDir(), 'box.coffer')
      const made = await openKind(kind, path, 'x', keys, { autoFlush: false, level: 1 })
      for (let index = 0; index < 10; index += 1) await made.write(`large/${index}`, noise(2 * MiB, index))
      for (let index = 0; index < 1_000; index += 1) await made.write(`small/${index}`, noise(10_000, index))
      await made.close()

      const body: Body<{ className: 'CofferBank'; path: string; keys: object }, number[]> = async (
        { coffer, fs },
        { className, path, keys },
      ) => {
        const written = (): number => Number(/^wchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
        const box = await coffer[className].open(path, 'a', keys)
        const costs: number[] = []
        const cost = async (change: () => Promise<void>): Promise<void> => {
          const before = written()
          await change()
          await box.flush()
          costs.push(written() - before)
        }
        await cost(async () => box.delete('small/300'))
        await cost(async () => box.write('small/500', 'replaced'))
        await cost(async () => box.append('small/700', 'appended'))
        await cost(async () => box.flush({ force: false }))
        await box.close()
        return costs
      }
      const [deleted, replaced, appended, nothing] = await inChild(body, {
        className: kind.className as 'CofferBank',
        path,
        keys: keys,
      })
      // A pack is about 256 KiB; its live neighbours are written again and the dead one is scrubbed.
      const allowance = 1.5 * MiB
      expect(deleted).toBeLessThan(allowance)
      expect(replaced).toBeLessThan(allowance)
      expect(appended).toBeLessThan(allowance)
      expect(nothing).toBeLessThan(4_096)
    },
  )
})

describe.skipIf(!counted)('a big coffer', () => {
  it('of 300 MB gives up one 4 KB member for under 4 MB read, and is never held in memory', {
    timeout: 240_000,
  }, async () => {
    const directory = tempDir()
    const path = join(directory, 'bank.coffer')
    const keys = keysFor(kindOf('bank'))
    const tree = join(directory, 'tree')
    mkdirSync(tree)
    const small = noise(4_096, 'small')
    for (const name of ['a', 'm', 'z']) {
      const file = openSync(join(tree, name), 'w')
      if (name === 'm') writeSync(file, small)
      else for (let block = 0; block < 150; block += 1) writeSync(file, noise(MiB, `${name}${block}`))
      closeSync(file)
    }

    const add: Body<{ path: string; tree: string; keys: object }, number> = async (
      { coffer },
      { path, tree, keys },
    ) => {
      const before = process.resourceUsage().maxRSS
      const box = await coffer.CofferBank.open(path, 'x', { ...keys, durability: 'none' })
      await box.add(tree, { as: 'tree' })
      await box.close()
      return process.resourceUsage().maxRSS - before
    }
    const kilobytesToAdd = await inChild(add, { path, tree, keys })
    expect(statSync(path).size).toBeGreaterThan(300 * MiB)
    expect(kilobytesToAdd * 1024).toBeLessThan(100 * MiB)

    const read: Body<{ path: string; keys: object }, { bytes: number; data: Uint8Array }> = async (
      { coffer, fs },
      { path, keys },
    ) => {
      const read_ = (): number => Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
      const before = read_()
      const box = await coffer.CofferBank.open(path, 'r', keys)
      const data = await box.read('tree/m')
      await box.close()
      return { bytes: read_() - before, data }
    }
    const { bytes, data } = await inChild(read, { path, keys })
    expect(small.equals(data)).toBe(true)
    expect(bytes).toBeLessThan(4_000_000)
    expect(bytes).toBeGreaterThan(4_096)

    const extract: Body<{ path: string; target: string; keys: object }, number> = async (
      { coffer },
      { path, target, keys },
    ) => {
      const before = process.resourceUsage().maxRSS
      const box = await coffer.CofferBank.open(path, 'r', keys)
      await box.extractAll(target)
      await box.close()
      return process.resourceUsage().maxRSS - before
    }
    const kilobytesToExtract = await inChild(extract, { path, target: join(directory, 'out'), keys })
    expect(statSync(join(directory, 'out/tree/z')).size).toBe(150 * MiB)
    expect(kilobytesToExtract * 1024).toBeLessThan(100 * MiB)
  })
})

describe.skipIf(!counted)('reading costs a pack once', () => {
  it.each(['bank', 'store', 'market', 'null'] as const)('of a %s, whoever asks for its members', async (label) => {
    const kind = kindOf(label)
    const keys = keysFor(kind)
    const path = join(tempDir(), 'box.coffer')
    const made = await openKind(kind, path, 'x', keys, { autoFlush: false })
    // As many as share a pack: those that are sealed one by one have smaller ones.
    const [count, least, more] = kind.sealedMembers ? [8, 300, 50] : [40, 1_000, 200]
    for (let index = 0; index < count; index += 1) await made.write(`${index}`, noise(least + more * index, index))
    await made.close()

    const body: Body<{ className: 'CofferBank'; path: string; keys: object; count: number }, number[]> = async (
      { coffer, fs },
      { className, path, keys, count },
    ) => {
      const read = (): number => Number(/^rchar: (\d+)$/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1])
      const box = await coffer[className].open(path, 'r', keys)
      const costs: number[] = []
      const cost = async (ask: () => Promise<unknown>): Promise<void> => {
        // What looking costs.
        const looking = -read() + read()
        const before = read()
        await ask()
        costs.push(read() - before - looking)
      }
      const names = Array.from({ length: count }, (_, index) => `${index}`)
      await cost(() => Promise.all(names.slice(count / 2).map((name) => box.read(name))))
      await cost(() => Promise.all(names.map((name) => box.read(name))))
      await cost(async () => {
        for (const name of names) await box.read(name)
      })
      await box.close()
      return costs
    }
    const className = kind.className as 'CofferBank'
    const [first, ...others] = await inChild(body, { className, path, keys, count })
    const { size } = statSync(path)
    expect(first).toBeGreaterThan(size / 3)
    expect(first).toBeLessThan(size)
    // A little for what a number has more digits.
    for (const cost of others) expect(cost).toBeLessThan(100)
  })
})
