import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  type Coffer,
  CofferBank,
  CofferNull,
  CofferPlugin,
  type PluginClass,
  RecordPlugin,
  registerPlugin,
} from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

/** A plugin with the whole coffer. */
class Census extends CofferPlugin {
  async count(): Promise<number> {
    return (await this.coffer.members()).length
  }
}

interface Counts {
  total: number
  log: string[]
}

/** A plugin with a record of its own. */
class Counter extends RecordPlugin<Counts> {
  protected override readonly record = '.plugins/test-counter'

  protected override empty(): Counts {
    return { total: 0, log: [] }
  }

  protected override restore(stored: unknown): Counts {
    if (typeof (stored as Counts).total !== 'number') throw new TypeError('no counts')
    return stored as Counts
  }

  async look(): Promise<Counts> {
    return this.view()
  }

  async count(by: string): Promise<number> {
    return this.update(async (counts) => {
      counts.log.push(by)
      await new Promise((resolve) => setImmediate(resolve))
      counts.total += 1
      return counts.total
    })
  }

  async fail(): Promise<never> {
    return this.update((counts) => {
      counts.total = 1_000_000
      throw new Error('changed my mind')
    })
  }

  async countTwice(): Promise<number> {
    return this.update(async () => this.count('inside'))
  }
}

declare module 'coffer' {
  interface Plugins {
    census: Census
    counter: Counter
  }
}

async function newBox(): Promise<Coffer> {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
  onTestFinished(async () => box.close())
  return box
}

/** For calls that the types do not allow. */
const untyped = registerPlugin as (name: unknown, plugin: unknown) => void

beforeAll(() => {
  registerPlugin('census', Census)
  registerPlugin('counter', Counter)
})

describe('registerPlugin', () => {
  it('refuses a name that is taken, by its own plugins too', () => {
    for (const name of ['census', 'password']) {
      expect(() => untyped(name, Census)).toThrow(
        expect.objectContaining({ code: 'ERR_COFFER_INVALID_ARG', message: expect.stringContaining(name) }),
      )
    }
  })

  it('refuses what is no class of plugins', () => {
    for (const plugin of [undefined, {}, () => {}, class {}, class extends Map {}]) {
      expect(() => untyped('other', plugin)).toThrow(expect.objectContaining({ code: 'ERR_COFFER_INVALID_ARG' }))
    }
    for (const name of ['', 5, undefined]) {
      expect(() => untyped(name, Census)).toThrow(expect.objectContaining({ code: 'ERR_COFFER_INVALID_ARG' }))
    }
  })
})

describe('plugin', () => {
  it('gives the plugin of a name', async () => {
    const box = await newBox()
    expect(await box.plugin('census')).toBeInstanceOf(Census)
    expect(await box.plugin('counter')).toBeInstanceOf(Counter)
  })

  it('refuses a name that nobody knows, and names those that are known', async () => {
    const box = await newBox()
    for (const name of ['nope', 'constructor', '__proto__', undefined]) {
      await expect(box.plugin(name as 'census')).rejects.toMatchObject({
        code: 'ERR_COFFER_INVALID_ARG',
        message: expect.stringMatching(/password.*census, counter/),
      })
    }
  })

  it('refuses a coffer that is closed', async () => {
    const box = await newBox()
    const before = await box.plugin('counter')
    await box.close()
    await expect(box.plugin('census')).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED', path: box.path })
    await expect(before.count('late')).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })

  it('ends with its block, and the coffer does not', async () => {
    const box = await newBox()
    let kept: Census
    {
      await using census = await box.plugin('census')
      expect(census.closed).toBe(false)
      expect(await census.count()).toBe(0)
      kept = census
    }
    expect(kept.closed).toBe(true)
    await expect(kept.count()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await kept.close()
    expect(await (await box.plugin('census')).count()).toBe(0)
  })

  it('with a record is over when it is closed', async () => {
    const counter = await (await newBox()).plugin('counter')
    await counter.close()
    await expect(counter.look()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await expect(counter.count('late')).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })
})

describe('a record', () => {
  it('begins empty and is stored by the first change', async () => {
    const box = await newBox()
    const counter = await box.plugin('counter')
    expect(await counter.look()).toEqual({ total: 0, log: [] })
    expect(await box.has('.plugins/test-counter')).toBe(false)
    expect(await counter.count('a')).toBe(1)
    expect(await box.load('.plugins/test-counter')).toEqual({ total: 1, log: ['a'] })
  })

  it('loses no change, however many come at once from several plugins', async () => {
    const keys = CofferBank.generateKeys()
    await using bank = await CofferBank.open(join(tempDir(), 'bank.coffer'), 'w', { ...keys, durability: 'none' })
    const plugins = await Promise.all([1, 2, 3].map(async () => bank.plugin('counter')))
    const names = Array.from({ length: 60 }, (_, index) => `change ${index}`)
    const totals = await Promise.all(names.map(async (name, index) => plugins[index % 3]?.count(name)))
    expect(totals).toEqual(names.map((_, index) => index + 1))
    expect(await plugins[0]?.look()).toEqual({ total: 60, log: names })
  })

  it('is not changed by a change that fails', async () => {
    const counter = await (await newBox()).plugin('counter')
    await counter.count('a')
    const [failed, counted] = await Promise.allSettled([counter.fail(), counter.count('b')])
    expect(failed).toMatchObject({ status: 'rejected', reason: { message: 'changed my mind' } })
    expect(counted).toMatchObject({ status: 'fulfilled', value: 2 })
    expect(await counter.look()).toEqual({ total: 2, log: ['a', 'b'] })
  })

  it('has the changes that were begun when the plugin was closed', async () => {
    const box = await newBox()
    const counter = await box.plugin('counter')
    const counting = Promise.all([counter.count('a'), counter.count('b')])
    await counter.close()
    expect(await counting).toEqual([1, 2])
  })

  it('is not changed by a change to what was looked at', async () => {
    const counter = await (await newBox()).plugin('counter')
    await counter.count('a')
    ;(await counter.look()).log.push('b')
    expect((await counter.look()).log).toEqual(['a'])
  })

  it('refuses a change within a change, which would wait for ever', async () => {
    const counter = await (await newBox()).plugin('counter')
    await expect(counter.countTwice()).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect(await counter.count('after')).toBe(1)
  })

  it('is looked at by its plugin before it is used', async () => {
    const box = await newBox()
    const counter = await box.plugin('counter')
    await box.dump('.plugins/test-counter', { total: 'many' })
    await expect(counter.look()).rejects.toThrow('no counts')
    await expect(counter.count('a')).rejects.toThrow('no counts')
    await box.write('.plugins/test-counter', 'damage')
    await expect(counter.look()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', member: '.plugins/test-counter' })
  })

  it('can be looked at, and not changed, in a coffer that is open for reading', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'w')
    await (await box.plugin('counter')).count('a')
    await box.close()
    await using again = await CofferNull.open(path, 'r')
    const counter = await again.plugin('counter')
    expect(await counter.look()).toEqual({ total: 1, log: ['a'] })
    await expect(counter.count('b')).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
  })
})

describe('types', () => {
  const root = join(import.meta.dirname, '..')

  /** What the TypeScript compiler says about a program that uses the built package. */
  async function compile(program: string): Promise<string> {
    const directory = tempDir()
    mkdirSync(join(directory, 'node_modules/@types'), { recursive: true })
    symlinkSync(root, join(directory, 'node_modules/coffer'))
    symlinkSync(join(root, 'node_modules/@types/node'), join(directory, 'node_modules/@types/node'))
    const compilerOptions = {
      ...{ target: 'ES2022', lib: ['ES2022', 'ESNext.Disposable'], module: 'NodeNext', strict: true },
      ...{ noEmit: true, types: ['node'], skipLibCheck: false },
    }
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    writeFileSync(join(directory, 'program.ts'), program)
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const ran = promisify(execFile)(process.execPath, [tsc, '-p', directory])
    return ran.then(
      () => '',
      ({ stdout }: { stdout: string }) => stdout,
    )
  }

  const mine = `
    import { type Coffer, CofferPlugin, type PasswordPlugin, registerPlugin } from 'coffer'
    export declare const box: Coffer
    export class Mine extends CofferPlugin {
      async count(): Promise<number> { return (await this.coffer.members()).length }
    }
    declare module 'coffer' { interface Plugins { mine: Mine } }
    registerPlugin('mine', Mine)
    export async function use(): Promise<number> {
      const password: PasswordPlugin = await box.plugin('password')
      return (await (await box.plugin('mine')).count()) + (await password.list()).length
    }
  `

  it('know a plugin that was declared', async () => {
    expect(await compile(mine)).toBe('')
  })

  it('refuse what the plugins do not have', async () => {
    const mistakes: [line: string, message: string][] = [
      ["await box.plugin('nope')", '"nope"'],
      ["await (await box.plugin('mine')).nothing()", "'nothing' does not exist on type 'Mine'"],
      ["registerPlugin('password', Mine)", "Argument of type 'typeof Mine' is not assignable"],
      ["void (await box.plugin('mine')).coffer", "'coffer' is protected"],
    ]
    const errors = await compile([mine, ...mistakes.map(([line]) => line)].join('\n'))
    for (const [, message] of mistakes) expect(errors).toContain(message)
    expect(errors.match(/error TS/g)).toHaveLength(mistakes.length)
  })

  it('of a class of plugins are those of the class', () => {
    const plugin: PluginClass<Census> = Census
    expect(plugin).toBe(Census)
  })
})
