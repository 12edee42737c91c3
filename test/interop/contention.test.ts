import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { noise } from '../support/bytes.ts'
import type { Coffer } from '../support/coffer.ts'
import { compete, newTally } from '../support/contention.ts'
import { contents, keysFor, kindOf, openKind, optionsFor } from '../support/kinds.ts'
import { PyCoffer, python } from '../support/python.ts'
import { tempDir } from '../support/temp.ts'

const { COFFER_ROUNDS: asked = '600' } = process.env
const script = fileURLToPath(new URL('./contend.py', import.meta.url))
const kind = kindOf('store')

const changes: Readonly<Record<string, (box: Coffer) => Promise<unknown>>> = {
  write: async (box) => box.write('new', 'x'),
  'write a long one': async (box) => box.write('new', noise(3_000_000)),
  append: async (box) => box.append('first', 'x'),
  delete: async (box) => box.delete('first'),
  batch: async (box) => box.batch(async (batch) => batch.write('new', 'x')),
  compact: async (box) => box.compact(),
  rekey: async (box) => box.rekey(keysFor(kind) as { cofferKey: string }),
}

describe.skipIf(python === null)('PyCoffer removes its lock file after it has released the lock', () => {
  let pycoffer: PyCoffer

  beforeAll(() => {
    pycoffer = new PyCoffer()
  })
  afterAll(async () => {
    await pycoffer.end()
  })

  it.each(Object.keys(changes))('and whoever has taken it in between notices, and writes nothing: %s', async (what) => {
    const path = join(tempDir(), 'box.coffer')
    const keys = keysFor(kind)
    const made = await openKind(kind, path, 'x', keys)
    await made.write('first', 'contents')
    await made.close()

    await pycoffer.open('holder', 'store', path, 'r', keys)
    await expect(openKind(kind, path, 'a', keys, { lockTimeout: 0 })).rejects.toMatchObject({
      code: 'ERR_COFFER_LOCKED',
    })
    const goOn = await pycoffer.closeHalfway('holder')
    const box = await openKind(kind, path, 'a', keys, { lockTimeout: 0, autoFlush: true })
    const before = readFileSync(path)
    await goOn()
    expect(existsSync(`${path}.lock`)).toBe(false)
    // Now another PyCoffer could get in. Coffer's own processes still exclude each other.
    await expect(openKind(kind, path, 'a', keys, { lockTimeout: 0 })).rejects.toMatchObject({
      code: 'ERR_COFFER_LOCKED',
    })
    await expect(changes[what]?.(box)).rejects.toMatchObject({ code: 'ERR_COFFER_POISONED', path })
    expect(readFileSync(path).equals(before)).toBe(true)
    // The handle stays unusable, also when there is a lock file again.
    await expect(box.write('again', 'x')).rejects.toMatchObject({ code: 'ERR_COFFER_POISONED', path })
    await expect(box.flush({ force: true })).rejects.toMatchObject({ code: 'ERR_COFFER_POISONED', path })
    await box.close().catch(() => {})
    expect(readFileSync(path).equals(before)).toBe(true)

    await using again = await openKind(kind, path, 'a', keys, { lockTimeout: 0 })
    expect(await contents(again)).toEqual(new Map([['first', Buffer.from('contents')]]))
    await again.write('first', 'is writable again')
    await expect(again.verify()).resolves.toBeDefined()
  })

  /**
   * What is promised here, and what is not. PyCoffer's lock file may vanish under a Coffer process at
   * any time. Among themselves Coffer's processes still exclude each other, by the lock on the coffer
   * itself; and whoever finds the lock file gone before a commit writes nothing. So no update of theirs
   * is lost. But the file may also vanish after that check, while the commit is being written, and then
   * a PyCoffer may come in at once. It reads in this test, so that what it may see is the state before
   * or after, or an error of its own if it reads just where dead blocks are being overwritten. If it
   * wrote, it would write over that commit: nobody but PyCoffer could prevent it.
   */
  it('and beside it no update of two other processes is lost, nor do they hold the coffer together', {
    timeout: 900_000,
  }, async () => {
    const rounds = Number(asked)
    const keys = keysFor(kind)
    const directory = tempDir()
    const [path, holders] = [join(directory, 'box.coffer'), join(directory, 'holders')]
    mkdirSync(holders)
    const made = await openKind(kind, path, 'x', keys)
    await made.write('counter', '0')
    await made.close()

    const temp = join(directory, 'temp')
    mkdirSync(temp)
    const third = spawn(python ?? '', [script, path, keys.cofferKey ?? ''], {
      env: { ...process.env, TMPDIR: temp },
    })
    onTestFinished(() => {
      third.kill('SIGKILL')
    })
    let complaint = ''
    third.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    const read: number[] = []
    const failed: string[] = []
    createInterface({ input: third.stdout }).on('line', (line) => {
      if (line.startsWith('won ')) read.push(Number(line.slice(4)))
      else failed.push(line)
    })
    const ended = new Promise((resolve) => third.once('close', resolve))

    const options = { ...optionsFor(kind, keys), durability: 'none' }
    const work = { className: kind.className, path, options, holders, rounds: rounds / 2, stay: false }
    const tally = newTally()
    const dying = async (): Promise<void> => {
      for (let count = 0; count < 5; count += 1) {
        await compete({ ...work, me: `doomed-${count}`, rounds: 2, stay: true }, tally)
      }
    }
    await Promise.all([compete({ ...work, me: 'one' }, tally), compete({ ...work, me: 'two' }, tally), dying()])
    third.stdin.end()
    await ended
    expect(complaint).toBe('')

    const counts = `held ${tally.won} times here and ${read.length} by PyCoffer`
    console.info(
      `${counts}, ${tally.waited} times waited for, ${tally.poisoned} times lost to its race, ${failed.length} failed reads of PyCoffer`,
    )
    expect(tally.wrong).toEqual([])
    expect(tally.killed).toBe(5)
    const updates = rounds + 5
    expect(tally.wrote.sort((a, b) => a - b)).toEqual(Array.from({ length: updates }, (_, index) => index + 1))
    // How often PyCoffer gets in is up to the machine.
    expect(read.length).toBeGreaterThan(0)
    // PyCoffer saw the counter grow.
    expect(read.every((value, index) => value >= (read[index - 1] ?? 0) && value <= updates)).toBe(true)
    expect(failed.length).toBeLessThan(1 + read.length / 10)
    await using box = await openKind(kind, path, 'a', keys, { lockTimeout: 0 })
    expect(await box.readText('counter')).toBe(`${updates}`)
    await expect(box.verify()).resolves.toBeDefined()
  })
})
