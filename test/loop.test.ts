import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lines, noise } from './support/bytes.ts'
import { type Body, inChild } from './support/child.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

/** Turns of the event loop while a call was under way. */
async function turns(call: () => Promise<unknown>): Promise<number> {
  let running = true
  let count = 0
  const turn = (): void => {
    count += 1
    if (running) setImmediate(turn)
  }
  const calling = call().finally(() => {
    running = false
  })
  setImmediate(turn)
  await calling
  return count
}

describe('the JavaScript thread stays free', () => {
  it('while large members are written, read, added, verified, extracted and compacted', {
    timeout: 60_000,
  }, async () => {
    const root = tempDir()
    mkdirSync(join(root, 'tree'))
    writeFileSync(join(root, 'tree/large'), noise(24_000_000))
    const text = Buffer.from(lines(500_000).join('\n'))
    const kind = kindOf('bank')
    await using box = await openKind(kind, join(root, 'bank.coffer'), 'x', keysFor(kind))
    // A call that blocked the thread would let the loop turn two or three times.
    const free = 25
    expect(await turns(async () => box.write('noise', noise(24_000_000)))).toBeGreaterThan(free)
    expect(await turns(async () => box.write('text', text))).toBeGreaterThan(free)
    expect(await turns(async () => box.read('noise'))).toBeGreaterThan(free)
    expect(await turns(async () => box.add(join(root, 'tree')))).toBeGreaterThan(free)
    expect(await turns(async () => box.verify())).toBeGreaterThan(free)
    expect(await turns(async () => box.extractAll(join(root, 'out')))).toBeGreaterThan(free)
    expect(await turns(async () => box.compact())).toBeGreaterThan(free)
  })

  it('while small members are read and looked at again and again, each in no time', async () => {
    const kind = kindOf('bank')
    await using box = await openKind(kind, join(tempDir(), 'bank.coffer'), 'x', keysFor(kind))
    await box.write('small', 'small')
    await box.flush()
    const again = async (call: () => Promise<unknown>): Promise<void> => {
      for (let count = 0; count < 3_000; count += 1) await call()
    }
    expect(await turns(() => again(() => box.read('small')))).toBeGreaterThan(25)
    expect(await turns(() => again(() => box.stat('small')))).toBeGreaterThan(25)
  })
})

describe('libuv’s pool stays free', () => {
  it('with one thread of its own, while the pool of the engine is busy', { timeout: 60_000 }, async () => {
    const body: Body<{ path: string; keys: object }, { files: number; meanwhile: number }> = async (
      { coffer, fs },
      { path, keys },
    ) => {
      const data = new Uint8Array(24_000_000)
      for (let at = 0; at < data.length; at += 60_000) globalThis.crypto.getRandomValues(data.subarray(at, at + 60_000))
      const box = await coffer.CofferBank.open(path, 'x', keys)
      let running = 4
      for (let index = 0; index < 4; index += 1) {
        void box.write(`m${index}`, data).finally(() => {
          running -= 1
        })
      }
      let files = 0
      while (running === 4 && files < 100) {
        await fs.promises.readFile('/dev/null')
        files += 1
      }
      const meanwhile = running
      await box.close()
      return { files, meanwhile }
    }
    const env = { UV_THREADPOOL_SIZE: '1' }
    const args = { path: join(tempDir(), 'bank.coffer'), keys: keysFor(kindOf('bank')) }
    const { files, meanwhile } = await inChild(body, args, { env })
    // A hundred files were read while not one of the four writes had finished.
    expect({ files, meanwhile }).toEqual({ files: 100, meanwhile: 4 })
  })

  it('and a process with nothing else to do ends although a coffer is open', async () => {
    const body: Body<{ path: string }, string> = async ({ coffer }, { path }) => {
      const box = await coffer.CofferNull.open(path, 'x')
      await box.write('a', 'x')
      return 'left open'
    }
    expect(await inChild(body, { path: join(tempDir(), 'box.coffer') })).toBe('left open')
  })
})
