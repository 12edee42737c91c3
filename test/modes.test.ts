import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate as immediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { noise } from './support/bytes.ts'
import { User } from './support/cli.ts'
import { keysFor, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const PRIVATE = 0o600
const kind = kindOf('bank')

const modeOf = (path: string): number => statSync(path).mode & 0o777

/** The modes of the files below a directory, but for lock files and owner files, which hold nothing. */
function modesIn(directory: string): Record<string, number> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  const modes: Record<string, number> = {}
  for (const name of names.filter((name) => !/\.lock$|\/owner$/.test(name))) {
    // What is unfinished gets its own name meanwhile.
    const found = statSync(join(directory, name), { throwIfNoEntry: false })
    if (found?.isFile() === true) modes[name] = found.mode & 0o777
  }
  return modes
}

const allPrivate = (modes: Record<string, number>): void => {
  expect(Object.keys(modes)).not.toEqual([])
  expect(modes).toEqual(Object.fromEntries(Object.keys(modes).map((name) => [name, PRIVATE])))
}

/** The test runs with this umask. */
function withUmask(mask: number): void {
  const before = process.umask(mask)
  onTestFinished(() => {
    process.umask(before)
  })
}

describe.skipIf(process.platform === 'win32').each(['000', '022'])('with the umask %s', (octal) => {
  const mask = Number.parseInt(octal, 8)

  it('a new coffer, its backup and what is unfinished are their owner’s alone', async () => {
    withUmask(mask)
    const [path, keys] = [join(tempDir(), 'box.coffer'), keysFor(kind)]
    const seen: Record<string, number>[] = []
    const look = (): void => void seen.push(modesIn(dirname(path)))
    const during = async (work: Promise<unknown>): Promise<void> => {
      let done = false
      const ended = (): void => {
        done = true
      }
      work.then(ended, ended)
      while (!done) {
        look()
        await immediate()
      }
      await work
    }
    const box = await openKind(kind, path, 'x', keys)
    await box.write('a', noise(8_000_000))
    look()
    await box.close()
    const again = await openKind(kind, path, 'a', keys, { backup: '.bak' })
    await again.write('b', 'b')
    const target = join(dirname(path), 'sealed')
    await during(again.compact())
    const next = keysFor(kind)
    await during(again.rekey(next))
    const crypt = await again.plugin('crypt')
    const plain = join(tempDir(), 'plain')
    writeFileSync(plain, 'plain')
    await crypt.encrypt(plain, target)
    await crypt.decrypt(target, join(dirname(path), 'opened'))
    await again.close()
    look()
    for (const modes of seen) allPrivate(modes)
    const names = Object.keys(Object.assign({}, ...seen))
    expect(names).toEqual(expect.arrayContaining(['box.coffer', 'box.coffer.bak', 'sealed', 'opened']))
    expect(names.filter((name) => name.endsWith('.coffer-new'))).not.toEqual([])
  })

  it('temporary files are their owner’s alone', async () => {
    withUmask(mask)
    const [temporary, keys] = [tempDir(), keysFor(kind)]
    const box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keys, { tempDir: temporary })
    const directories: number[] = []
    async function* parts(): AsyncGenerator<Buffer> {
      for (let part = 0; part < 40; part += 1) yield noise(100_000, part)
      // The pieces are spooled by threads of the engine.
      await vi.waitFor(() => expect(modesIn(temporary)).not.toEqual({}), { timeout: 30_000 })
      for (const name of readdirSync(temporary)) directories.push(modeOf(join(temporary, name)))
      allPrivate(modesIn(temporary))
    }
    await box.write('a', Readable.from(parts()))
    expect(directories).toEqual([0o700])
    await box.close()
  })

  it('a file that is there keeps its mode when it is rewritten', async () => {
    withUmask(mask)
    const [path, keys] = [join(tempDir(), 'box.coffer'), keysFor(kind)]
    await (await openKind(kind, path, 'x', keys)).close()
    chmodSync(path, 0o640)
    const box = await openKind(kind, path, 'a', keys)
    await box.write('a', noise(100_000))
    await box.delete('a')
    await box.compact()
    expect(modeOf(path)).toBe(0o640)
    const newKeys = keysFor(kind)
    await box.rekey(newKeys)
    await box.close()
    expect(modeOf(path)).toBe(0o640)
    await (await openKind(kind, path, 'w', newKeys)).close()
    expect(modeOf(path)).toBe(0o640)
  })

  it('extracted files have the modes of their members', async () => {
    withUmask(mask)
    const [target, keys] = [tempDir(), keysFor(kind)]
    const box = await openKind(kind, join(tempDir(), 'box.coffer'), 'x', keys)
    for (const mode of [0o600, 0o640, 0o755]) await box.write(mode.toString(8), 'x', { mode })
    await box.extractAll(target)
    expect(modesIn(target)).toEqual({ 600: 0o600, 640: 0o640, 755: 0o755 })
    await box.close()
  })

  it('the command line’s files are their owner’s alone', async () => {
    const user = new User()
    user.file('plain', 'plain')
    const line = [
      'coffer generate vault --write',
      'coffer add plain',
      'coffer crypt plain sealed',
      'coffer crypt - sealed-2 < plain',
      'coffer decrypt sealed opened',
      'coffer decrypt - opened-2 < sealed',
    ].join(' && ')
    user.shell(`umask ${octal}; ${line}`)
    const modes = modesIn(user.home)
    allPrivate(modes)
    for (const name of ['.cofferrc', 'sealed', 'sealed-2', 'opened', 'opened-2']) expect(modes).toHaveProperty(name)
  })
})
