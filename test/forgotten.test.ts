import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, it, onTestFinished } from 'vitest'
import { contents, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const root = join(import.meta.dirname, '..')
const classes = ['CofferStore', 'CofferMarket'] as const
type ClassName = (typeof classes)[number]

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program of a user's, which has the package, a path and keys, to its end. */
async function run(
  path: string,
  className: ClassName | 'CofferBank' | 'CofferNull',
  program: string,
  { execArgv = [], env = {} }: { execArgv?: readonly string[]; env?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  const source = `
    import { ${className} as Type } from 'coffer'
    const [path] = process.argv.slice(1)
    const key = Buffer.alloc(32, 7)
    const keys = { CofferStore: { cofferKey: key }, CofferMarket: { secureKey: key },
      CofferBank: { cofferKey: key, secureKey: key }, CofferNull: {} }.${className}
    const open = (mode, options) => Type.open(path, mode, { ...keys, ...options })
    ${program}
  `
  const child = spawn(process.execPath, [...execArgv, '--input-type=module', '-e', source, path], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', NODE_ENV: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: code as number | null, stdout, stderr }
}

const newPath = (): string => join(tempDir(), 'box.coffer')

/** How a process ends. */
const ends = {
  'by itself': '',
  'by process.exit': 'process.exit(0)',
  'by process.exit in a callback': 'setTimeout(() => process.exit(0), 20)',
}

describe.each(classes)('a %s that is left open when the process ends', (className) => {
  it.each(Object.entries(ends))('is warned about: %s', async (_, end) => {
    const path = newPath()
    const { code, stderr } = await run(
      path,
      className,
      `const box = await open('x'); await box.write('a', 'x'); ${end}`,
    )
    expect(stderr).toMatch(/\(node:\d+\) \[COFFER_NOT_CLOSED\] CofferWarning: /)
    expect(stderr).toContain(`${path} was not closed, and the process has ended`)
    expect(stderr).toContain('the changes since its last flush are lost')
    // In development the warning tells where it was opened.
    expect(stderr).toContain('It was opened')
    expect(code).toBe(0)
  })

  it('is warned about by an event, which has its code and no place in production', async () => {
    const program = `
      process.on('warning', ({ name, code, message, detail }) => {
        console.log(JSON.stringify({ name, code, message, detail: detail ?? null }))
      })
      const box = await open('x')
      await box.write('a', 'x')
    `
    const path = newPath()
    const { stdout } = await run(path, className, program, { env: { NODE_ENV: 'production' } })
    expect(JSON.parse(stdout)).toEqual({
      name: 'CofferWarning',
      code: 'COFFER_NOT_CLOSED',
      message: expect.stringContaining(path) as string,
      detail: null,
    })
  })

  it('has lost what was not flushed, and kept what was', async () => {
    const path = newPath()
    const program = `
      const box = await open('x')
      await box.write('kept', 'x')
      await box.flush()
      await box.write('lost', 'x')
    `
    expect((await run(path, className, program)).stderr).toContain('COFFER_NOT_CLOSED')
    const key = Buffer.alloc(32, 7)
    const secret = className === 'CofferStore' ? { cofferKey: key } : { secureKey: key }
    const kind = kindOf(className === 'CofferStore' ? 'store' : 'market')
    await using box = await openKind(kind, path, 'r', {}, secret)
    expect([...(await contents(box)).keys()]).toEqual(['kept'])
  })

  it.each([
    ['closed', 'await box.close()'],
    ['closed by await using', 'await box[Symbol.asyncDispose]()'],
    ['flushed', 'await box.flush()'],
    ['closing', 'void box.close()'],
  ])('is not warned about where nothing is lost: %s', async (_, end) => {
    const program = `const box = await open('x'); await box.write('a', 'x'); ${end}`
    expect(await run(newPath(), className, program)).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it.each([
    ['opened', `const box = await open('x')`],
    ['opened with "w"', `await (await open('x')).close(); const box = await open('w')`],
    ['read', `await (await open('x')).close(); const box = await open('r'); await box.members()`],
    ['read with "r+"', `await (await open('x')).close(); const box = await open('r+'); await box.members()`],
    ['written with autoFlush', `const box = await open('x', { autoFlush: true }); await box.write('a', 'x')`],
    ['failed', `await open('r').catch(() => {})`],
    [
      'changed by a batch that is taken back',
      `const box = await open('x')
      await box.batch(async (batch) => { await batch.write('a', 'x'); throw new Error('no') }).catch(() => {})`,
    ],
  ])('is not warned about where nothing was changed: %s', async (_, program) => {
    expect(await run(newPath(), className, program)).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('is warned about once for each, and not by a process that wants no warnings', async () => {
    const directory = tempDir()
    const program = `
      for (const name of ['one', 'two', 'three']) {
        const box = await Type.open(path + name, 'x', keys)
        await box.write('a', 'x')
        if (name === 'three') await box.close()
      }
    `
    const path = join(directory, 'box-')
    const { stderr } = await run(path, className, program)
    expect(stderr.match(/COFFER_NOT_CLOSED/g)).toHaveLength(2)
    expect(stderr).toContain(`${path}one was not closed`)
    expect(stderr).toContain(`${path}two was not closed`)
    const other = join(tempDir(), 'box-')
    expect((await run(other, className, program, { execArgv: ['--no-warnings'] })).stderr).toBe('')
  })
})

describe('a CofferBank that is left open', () => {
  it('is warned about only where its changes wait for a flush', async () => {
    const write = `await box.write('a', 'x')`
    const quiet = await run(newPath(), 'CofferBank', `const box = await open('x'); ${write}`)
    expect(quiet).toEqual({ code: 0, stdout: '', stderr: '' })
    const loud = await run(newPath(), 'CofferBank', `const box = await open('x', { autoFlush: false }); ${write}`)
    expect(loud.stderr).toContain('COFFER_NOT_CLOSED')
  })
})

describe.each(classes)('a %s that nothing refers to any more', (className) => {
  const collect = `
    const warnings = []
    process.on('warning', (warning) => warnings.push(warning))
    const collected = async () => {
      for (let round = 0; round < 400 && warnings.length === 0; round += 1) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
  `
  const options = { execArgv: ['--expose-gc', '--no-warnings'] }

  it('is warned about when it is collected with changes that no commit has, and not again at the end', async () => {
    const path = newPath()
    const program = `${collect}
      await (async () => {
        const box = await open('x')
        await box.write('a', 'x')
      })()
      await collected()
      process.once('exit', () => console.log(JSON.stringify(warnings.map(({ code, message }) => [code, message]))))
    `
    const { stdout, code } = await run(path, className, program, options)
    expect(code).toBe(0)
    const warnings = JSON.parse(stdout) as [string, string][]
    expect(warnings).toHaveLength(1)
    expect(warnings[0]?.[0]).toBe('COFFER_NOT_CLOSED')
    expect(warnings[0]?.[1]).toContain(`${path} was not closed, and nothing refers to it any more`)
  })

  it('is not warned about when it was closed or flushed', async () => {
    const program = `${collect}
      let left = 0
      const seen = new FinalizationRegistry(() => (left -= 1))
      for (const end of ['close', 'flush']) {
        await (async () => {
          const box = await Type.open(path + end, 'x', keys)
          left += 1
          seen.register(box)
          await box.write('a', 'x')
          await box[end]()
        })()
      }
      for (let round = 0; round < 400 && left > 0; round += 1) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      console.log(left, warnings.length)
    `
    expect(await run(newPath(), className, program, options)).toEqual({ code: 0, stdout: '0 0\n', stderr: '' })
  })

  it('lets go of the file when it is collected', async () => {
    const path = newPath()
    const program = `${collect}
      await (async () => {
        const box = await open('x')
        await box.write('a', 'x')
      })()
      await collected()
      const box = await open('r+', { lockTimeout: 5000 })
      console.log((await box.members()).length)
      await box.close()
    `
    expect(await run(path, className, program, options)).toMatchObject({ code: 0, stdout: '0\n' })
    expect(statSync(path).size).toBeGreaterThan(0)
  })

  it('stays open while what came from it is in use', async () => {
    const program = `${collect}
      const { exportTar } = await import('coffer')
      const box = await open('x')
      await box.write('big', 'a line\\n'.repeat(400_000))
      for (let at = 0; at < 200; at += 1) await box.write('m' + at, 'x')
      await box.close()
      const uses = {
        iterate: (box) => box.iterate(),
        lines: (box) => box.readLines('big'),
        stream: (box) => box.createReadStream('big', { highWaterMark: 10_000 }),
        tar: (box) => exportTar(box),
        handle: async (box) => (await box.file('big')).readLines(),
      }
      for (const [name, use] of Object.entries(uses)) {
        const source = await (async () => use(await open('r+', { lock: 'none' })))()
        let parts = 0
        for await (const part of source) {
          parts += 1
          for (let round = 0; parts < 4 && round < 3; round += 1) {
            gc()
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
        }
        console.log(name, parts > 1)
      }
    `
    const stdout = ['iterate', 'lines', 'stream', 'tar', 'handle'].map((name) => `${name} true\n`).join('')
    expect(await run(newPath(), className, program, options)).toEqual({ code: 0, stdout, stderr: '' })
  })
})
