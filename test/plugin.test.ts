import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Coffer,
  CofferBank,
  CofferNull,
  CofferPlugin,
  CofferStore,
  type PluginClass,
  RecordPlugin,
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

async function newBox(): Promise<Coffer> {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
  onTestFinished(async () => box.close())
  return box
}

/** For calls that the types do not allow. */
const wrong = (value: unknown): PluginClass => value as PluginClass

const refused = (message: RegExp): object => ({
  code: 'ERR_COFFER_INVALID_ARG',
  message: expect.stringMatching(message),
})

describe('plugin', () => {
  it('gives an object of a class, and a new one for each call', async () => {
    const box = await newBox()
    const census = await box.plugin(Census)
    expect(census).toBeInstanceOf(Census)
    expect(await census.count()).toBe(0)
    expect(await box.plugin(Counter)).toBeInstanceOf(Counter)
    expect(await box.plugin(Census)).not.toBe(census)
  })

  it('gives those that come with Coffer by their names', async () => {
    const box = await newBox()
    for (const name of ['crypt', 'password', 'rsync'] as const) {
      expect((await box.plugin(name)).constructor.name.toLowerCase()).toBe(`${name}plugin`)
    }
  })

  it('refuses another name, and names those that there are', async () => {
    const box = await newBox()
    for (const name of ['nope', 'constructor', '__proto__', '']) {
      await expect(box.plugin(name as 'crypt')).rejects.toMatchObject(refused(/crypt, password, rsync/))
    }
  })

  it('refuses what is no class of plugins', async () => {
    const box = await newBox()
    const none = [undefined, null, 5, {}, () => {}, class {}, class extends Map {}, Counter.prototype]
    for (const plugin of none) {
      await expect(box.plugin(wrong(plugin))).rejects.toMatchObject(refused(/extends CofferPlugin, RecordPlugin or/))
    }
  })

  it('refuses a coffer that is closed', async () => {
    const box = await newBox()
    const before = await box.plugin(Counter)
    await box.close()
    await expect(box.plugin(Census)).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED', path: box.path })
    await expect(before.count('late')).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })

  it('ends with its block, and the coffer does not', async () => {
    const box = await newBox()
    let kept: Census
    {
      await using census = await box.plugin(Census)
      expect(census.closed).toBe(false)
      expect(await census.count()).toBe(0)
      kept = census
    }
    expect(kept.closed).toBe(true)
    await expect(kept.count()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await kept.close()
    expect(await (await box.plugin(Census)).count()).toBe(0)
  })

  it('with a record is over when it is closed', async () => {
    const counter = await (await newBox()).plugin(Counter)
    await counter.close()
    await expect(counter.look()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    await expect(counter.count('late')).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
  })
})

describe('a record', () => {
  it('begins empty and is stored by the first change', async () => {
    const box = await newBox()
    const counter = await box.plugin(Counter)
    expect(await counter.look()).toEqual({ total: 0, log: [] })
    expect(await box.has('.plugins/test-counter')).toBe(false)
    expect(await counter.count('a')).toBe(1)
    expect(await box.load('.plugins/test-counter')).toEqual({ total: 1, log: ['a'] })
  })

  it('loses no change, however many come at once from several plugins', async () => {
    const keys = CofferBank.generateKeys()
    await using bank = await CofferBank.open(join(tempDir(), 'bank.coffer'), 'w', { ...keys, durability: 'none' })
    const plugins = await Promise.all([1, 2, 3].map(async () => bank.plugin(Counter)))
    const names = Array.from({ length: 60 }, (_, index) => `change ${index}`)
    const totals = await Promise.all(names.map(async (name, index) => plugins[index % 3]?.count(name)))
    expect(totals).toEqual(names.map((_, index) => index + 1))
    expect(await plugins[0]?.look()).toEqual({ total: 60, log: names })
  })

  it('is not changed by a change that fails', async () => {
    const counter = await (await newBox()).plugin(Counter)
    await counter.count('a')
    const [failed, counted] = await Promise.allSettled([counter.fail(), counter.count('b')])
    expect(failed).toMatchObject({ status: 'rejected', reason: { message: 'changed my mind' } })
    expect(counted).toMatchObject({ status: 'fulfilled', value: 2 })
    expect(await counter.look()).toEqual({ total: 2, log: ['a', 'b'] })
  })

  it('has the changes that were begun when the plugin was closed', async () => {
    const box = await newBox()
    const counter = await box.plugin(Counter)
    const counting = Promise.all([counter.count('a'), counter.count('b')])
    await counter.close()
    expect(await counting).toEqual([1, 2])
  })

  it('is not changed by a change to what was looked at', async () => {
    const counter = await (await newBox()).plugin(Counter)
    await counter.count('a')
    ;(await counter.look()).log.push('b')
    expect((await counter.look()).log).toEqual(['a'])
  })

  it('refuses a change within a change, which would wait for ever', async () => {
    const counter = await (await newBox()).plugin(Counter)
    await expect(counter.countTwice()).rejects.toMatchObject({ code: 'ERR_COFFER_IN_BATCH' })
    expect(await counter.count('after')).toBe(1)
  })

  it('is looked at by its plugin before it is used', async () => {
    const box = await newBox()
    const counter = await box.plugin(Counter)
    await box.dump('.plugins/test-counter', { total: 'many' })
    await expect(counter.look()).rejects.toThrow('no counts')
    await expect(counter.count('a')).rejects.toThrow('no counts')
    await box.write('.plugins/test-counter', 'damage')
    await expect(counter.look()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', member: '.plugins/test-counter' })
  })

  it('can be looked at, and not changed, in a coffer that is open for reading', async () => {
    const path = join(tempDir(), 'box.coffer')
    const box = await CofferNull.open(path, 'w')
    await (await box.plugin(Counter)).count('a')
    await box.close()
    await using again = await CofferNull.open(path, 'r')
    const counter = await again.plugin(Counter)
    expect(await counter.look()).toEqual({ total: 1, log: ['a'] })
    await expect(counter.count('b')).rejects.toMatchObject({ code: 'ERR_COFFER_READ_ONLY' })
  })
})

describe('the plugins that come with Coffer', () => {
  /** A call of a method, with options that the types do not allow. */
  type Call = (options: never) => unknown

  /** Options that take part in no call. */
  const unknown = [{ nothing: 1 }, { Replace: true }, { onprogress: () => {} }]
  const noOptions = [null, 5, 'fast', [], () => {}, new Uint8Array(1)]
  const noBoolean = [null, 0, 1, 'true', {}]
  const noSignal = [null, 5, {}, 'abort']
  const noFunction = [null, 5, {}]
  const noText = [5, {}, true, []]
  const noPatterns = [null, '*.tmp', {}, [5], [null], [''], [['*']]]
  const watch = { signal: noSignal, onProgress: noFunction }
  const level = [null, 0, 23, 1.5, '3', Number.NaN]
  const syncing = {
    ...{ checksum: noBoolean, delete: noBoolean, dryRun: noBoolean, plugins: noBoolean },
    ...{ include: noPatterns, exclude: noPatterns, ...watch },
  }

  /** A key or an entry that is right but for what is given. */
  const named = (given: unknown): never =>
    (given instanceof Object && given.constructor === Object ? { name: 'mail', ...given } : given) as never

  /** Each method with each of its options, and values that these do not take. */
  async function methods(): Promise<Record<string, { call: Call; options: Record<string, readonly unknown[]> }>> {
    // It has a key: without one, crypt refuses everything.
    const box = await CofferStore.open(join(tempDir(), 'store.coffer'), 'w', CofferStore.generateKeys())
    onTestFinished(async () => box.close())
    const crypt = await box.plugin('crypt')
    const password = await box.plugin('password')
    const rsync = await box.plugin('rsync')
    const [source, target] = [import.meta.filename, join(tempDir(), 'target')]
    await password.add({ name: 'mail' })
    return {
      'crypt.encrypt': {
        call: (options) => crypt.encrypt(source, target, options),
        options: { level, replace: noBoolean, ...watch },
      },
      'crypt.decrypt': {
        call: (options) => crypt.decrypt(source, target, options),
        options: { legacy: noBoolean, replace: noBoolean, ...watch },
      },
      'crypt.createEncryptStream': { call: (options) => crypt.createEncryptStream(options), options: { level } },
      'crypt.createDecryptStream': {
        call: (options) => crypt.createDecryptStream(options),
        options: { legacy: noBoolean },
      },
      'crypt.createTargetStream': {
        call: (options) => crypt.createTargetStream(target, options),
        options: { replace: noBoolean },
      },
      'password.add': { call: (options) => password.add({ name: 'a' }, options), options: { replace: noBoolean } },
      'password.add, its entry': {
        call: (entry) => password.add(named(entry)),
        options: {
          name: [null, ...noText],
          owner: noText,
          username: noText,
          password: noText,
          url: noText,
          note: noText,
        },
      },
      'password.get': {
        call: (key) => password.get(named(key)),
        options: { name: [null, ...noText], owner: noText },
      },
      'password.delete': {
        call: (key) => password.delete(named(key)),
        options: { name: [null, ...noText], owner: noText },
      },
      // There is nothing to import: options are checked nevertheless.
      'password.importChrome': {
        call: (options) => password.importChrome({ csv: 'name,url,username,password,note\r\n' }, options),
        options: { replace: noBoolean, owner: noText },
      },
      'password.importPyCoffer': {
        call: (options) => password.importPyCoffer(options),
        options: { replace: noBoolean, delete: noBoolean },
      },
      // Nor is there anything to synchronize.
      'rsync.push': {
        call: (options) => rsync.push(join(target, 'missing'), 'a', options),
        options: { ...syncing, symlinks: [null, 5, 'all', true] },
      },
      'rsync.pull': {
        call: (options) => rsync.pull('missing', target, options),
        options: { ...syncing, preserve: noBoolean },
      },
    }
  }

  it('refuse an option that a call does not have, and a value that an option does not take', async () => {
    let tried = 0
    for (const [name, { call, options }] of Object.entries(await methods())) {
      const values = Object.entries(options).flatMap(([option, wrong]) => wrong.map((value) => ({ [option]: value })))
      for (const given of [...noOptions, ...unknown, ...values]) {
        const failed = await (async () => call(given as never))().catch((error: unknown) => error)
        expect(failed, `${name} ${JSON.stringify(given)}`).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
        tried += 1
      }
    }
    expect(tried).toBeGreaterThan(200)
  })

  it('name each method with options in this test', async () => {
    const box = await newBox()
    const tested = Object.keys(await methods())
    for (const name of ['crypt', 'password', 'rsync'] as const) {
      const { prototype } = (await box.plugin(name)).constructor
      const inherited = ['constructor', 'empty', 'restore', 'stored']
      const none = ['password.list', 'password.search']
      for (const method of Object.getOwnPropertyNames(prototype)) {
        if (inherited.includes(method) || none.includes(`${name}.${method}`)) continue
        expect(tested).toContain(`${name}.${method}`)
      }
    }
  })

  it('refuse a source of an import that is neither a path nor a text', async () => {
    const passwords = await (await newBox()).plugin('password')
    for (const source of [null, undefined, 5, {}, { csv: 5 }, { csv: '', nothing: 1 }, [], new URL('http://x/')]) {
      await expect(passwords.importChrome(source as never)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })

  it('refuse a misspelt owner, which would mean another password', async () => {
    const passwords = await (await newBox()).plugin('password')
    await passwords.add({ name: 'mail', password: 'mine' })
    await passwords.add({ name: 'mail', owner: 'bob', password: 'his' })
    const misspelt = { name: 'mail', Owner: 'bob' }
    await expect(passwords.delete(misspelt)).rejects.toMatchObject(refused(/did you mean owner/))
    await expect(passwords.get(misspelt)).rejects.toMatchObject(refused(/did you mean owner/))
    expect(await passwords.list()).toHaveLength(2)
    // What list and get return is a key.
    for (const entry of await passwords.list()) await passwords.delete(await passwords.get(entry))
    expect(await passwords.list()).toEqual([])
  })
})

const root = join(import.meta.dirname, '..')

/** A second copy of the package, whose base classes are other objects. */
async function secondCopy(edit?: (code: string) => string): Promise<typeof import('coffer')> {
  const directory = tempDir()
  cpSync(join(root, 'dist'), join(directory, 'dist'), { recursive: true })
  for (const name of ['native', 'node_modules']) symlinkSync(join(root, name), join(directory, name), 'junction')
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  if (edit) {
    const file = join(directory, 'dist/coffer/plugins.js')
    const [before, after] = [readFileSync(file, 'utf8'), edit(readFileSync(file, 'utf8'))]
    expect(after).not.toBe(before)
    writeFileSync(file, after)
  }
  return (await import(pathToFileURL(join(directory, 'dist/index.js')).href)) as typeof import('coffer')
}

describe('a class of a second copy of the package', () => {
  it('works with this one, and the other way round', async () => {
    const other = await secondCopy()
    expect(other.RecordPlugin).not.toBe(RecordPlugin)
    class Tags extends other.RecordPlugin<string[]> {
      protected override readonly record = '.plugins/tags'
      protected override empty(): string[] {
        return []
      }
      async add(tag: string): Promise<string[]> {
        return this.update((tags) => {
          tags.push(tag)
          return tags
        })
      }
      async all(): Promise<string[]> {
        return this.view()
      }
    }
    class Names extends other.CofferPlugin {
      async all(): Promise<string[]> {
        return (await this.coffer.members()).map(({ name }) => name)
      }
    }
    const box = await newBox()
    const tags = (await box.plugin(wrong(Tags))) as unknown as Tags
    await tags.add('red')
    expect(await tags.all()).toEqual(['red'])
    expect(await ((await box.plugin(wrong(Names))) as unknown as Names).all()).toEqual(['.plugins/tags'])
    await tags.close()
    await expect(tags.all()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED', path: box.path })

    await using theirs = await other.CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
    const counter = (await theirs.plugin(Counter as never)) as unknown as Counter
    expect(await counter.count('a')).toBe(1)
    expect(await counter.look()).toEqual({ total: 1, log: ['a'] })
  })

  it('is refused if the copies expect other things of each other', async () => {
    const other = await secondCopy((code) => code.replace('const CONTRACT = 1;', 'const CONTRACT = 2;'))
    class Theirs extends other.CofferPlugin {}
    const box = await newBox()
    await expect(box.plugin(wrong(Theirs))).rejects.toMatchObject(refused(/another version of coffer.*one version/))
    await using theirs = await other.CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
    await expect(theirs.plugin(Census as never)).rejects.toMatchObject(refused(/another version of coffer/))
  })
})

describe('types', () => {
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
    import { type Coffer, CofferPlugin, type PasswordPlugin } from 'coffer'
    export declare const box: Coffer
    export class Mine extends CofferPlugin {
      async count(): Promise<number> { return (await this.coffer.members()).length }
    }
    export async function use(): Promise<number> {
      const password: PasswordPlugin = await box.plugin('password')
      const mine: Mine = await box.plugin(Mine)
      return (await mine.count()) + (await password.list()).length
    }
  `

  it('follow from the class of a plugin, and from the name of one of Coffer’s own', async () => {
    expect(await compile(mine)).toBe('')
  })

  it('are the same with the base classes of coffer/plugin, and for the plugins of its coffer', async () => {
    const program = `
      import { CofferPlugin } from 'coffer/plugin'
      export class Mine extends CofferPlugin {
        async count(): Promise<number> { return (await (await this.coffer.plugin('password')).list()).length }
        async other(): Promise<number> { return (await this.coffer.plugin(Mine)).count() }
      }
    `
    expect(await compile(program)).toBe('')
  })

  it('refuse what the plugins do not have', async () => {
    const mistakes: [line: string, message: string][] = [
      ["await box.plugin('nope')", '"nope"'],
      ['await (await box.plugin(Mine)).nothing()', "'nothing' does not exist on type 'Mine'"],
      ['await box.plugin(Map)', "'MapConstructor'"],
      ['await box.plugin(CofferPlugin)', 'abstract'],
      ['void (await box.plugin(Mine)).coffer', "'coffer' is protected"],
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
