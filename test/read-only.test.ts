import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { noise, sha256 } from './support/bytes.ts'
import { type Body, type ChildOptions, inChild } from './support/child.ts'
import { canMount, withReadOnly } from './support/confined.ts'
import { type ClassName, type Keys, type Kind, keysFor, kindOf, kinds, openKind, optionsFor } from './support/kinds.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'

const { EACCES, EROFS } = constants.errno
const isRoot = process.getuid?.() === 0
/** Nobody may write where root may. */
const asSomebody: ChildOptions = isRoot ? { uid: 65_534 } : {}

interface Trying {
  readonly className: ClassName
  readonly options: object
  readonly path: string
}

interface Tried {
  /** What a reader finds: sizes by name. */
  readonly found: Readonly<Record<string, number>>
  readonly refused: Readonly<Record<string, unknown>>
}

/** Reads a coffer, and tries to change it and what is beside it. */
const tryAll: Body<Trying, Tried> = async ({ coffer }, { className, options, path }) => {
  const refused: Record<string, unknown> = {}
  const refuse = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    refused[what] = await work().then(
      () => null,
      (error) => ({ name: error.name, message: error.message, ...error }),
    )
  }
  const box = await coffer[className].open(path, 'r', options)
  const found: Record<string, number> = {}
  for (const member of await box.members()) found[member.name] = (await box.read(member.name)).length
  await box.verify()
  await refuse('extract', async () => box.extract('large', `${path}.out`))
  await box.close()
  await refuse('a', async () => coffer[className].open(path, 'a', options))
  await refuse('w', async () => coffer[className].open(path, 'w', options))
  await refuse('x', async () => coffer[className].open(`${path}.new`, 'x', options))
  return { found, refused }
}

/** A coffer in a directory of its own. */
async function made(kind: Kind): Promise<{ path: string; keys: Keys }> {
  const directory = join(tempDir(), 'coffer')
  mkdirSync(directory)
  const [path, keys] = [join(directory, 'box.coffer'), keysFor(kind)]
  const box = await openKind(kind, path, 'x', keys)
  await box.write('small', 'contents')
  await box.write('large', noise(300_000))
  await box.close()
  for (const file of [path, `${path}.lock`]) chmodSync(file, 0o644)
  return { path, keys }
}

/** Closes the directory of a file to those who may not do everything, until the test has finished. */
function shut(path: string): void {
  const directory = dirname(path)
  chmodSync(dirname(directory), 0o755)
  chmodSync(directory, 0o555)
  onTestFinished(() => chmodSync(directory, 0o755))
}

/** Everything in the directory of a file, by name. */
function everything(path: string): Record<string, string> {
  const directory = dirname(path)
  return Object.fromEntries(readdirSync(directory).map((file) => [file, sha256(readFileSync(join(directory, file)))]))
}

const found = { small: 8, large: 300_000 }

describe.skipIf(!posix).each(kinds)('in a directory that cannot be written to, $label', (kind) => {
  const refusals = (path: string, errno: number): Record<string, unknown> => {
    const refused = { name: 'CofferError', code: 'ERR_COFFER_IO', errno: -errno, syscall: 'open' }
    return {
      a: { ...refused, path },
      w: { ...refused, path },
      x: { ...refused, path: `${path}.new.lock` },
    }
  }

  it.each([true, false])('a coffer is read, and nothing else; with a lock file beside it: %s', async (locked) => {
    const { path, keys } = await made(kind)
    if (!locked) rmSync(`${path}.lock`)
    shut(path)
    const before = everything(path)
    const work = { className: kind.className, options: optionsFor(kind, keys), path }
    const tried = await inChild(tryAll, work, asSomebody)
    expect(tried.found).toEqual(found)
    const { a, w, x } = refusals(path, EACCES)
    const held = { a, w, x }
    if (!locked) held.a = held.w = { ...(a as object), path: `${path}.lock` }
    expect(tried.refused).toMatchObject(held)
    expect(tried.refused).toMatchObject({ extract: { code: 'ERR_COFFER_IO', errno: -EACCES } })
    expect(everything(path)).toEqual(before)
  })

  it.skipIf(!canMount)(
    'a coffer is read, and nothing else, on a file system mounted so (needs leave to mount)',
    async () => {
      const { path, keys } = await made(kind)
      const before = everything(path)
      const work = { className: kind.className, options: optionsFor(kind, keys), path }
      const tried = await inChild(tryAll, work, { through: withReadOnly(dirname(path)) })
      expect(tried.found).toEqual(found)
      expect(tried.refused).toMatchObject(refusals(path, EROFS))
      expect(tried.refused).toMatchObject({ extract: { code: 'ERR_COFFER_IO', errno: -EROFS } })
      expect(everything(path)).toEqual(before)
    },
  )
})

describe.skipIf(!posix)('a coffer that may be written to, in a directory that may not', () => {
  it('takes changes, which need no other file, but is not compacted', async () => {
    const kind = kindOf('null')
    const { path, keys } = await made(kind)
    if (isRoot) for (const file of [path, `${path}.lock`]) chownSync(file, 65_534, 65_534)
    shut(path)
    const change: Body<Trying, unknown> = async ({ coffer }, { className, options, path }) => {
      const box = await coffer[className].open(path, 'a', options)
      await box.delete('large')
      await box.write('more', 'of it')
      await box.flush()
      const refused = await box.compact().then(
        () => null,
        (error) => ({ name: error.name, message: error.message, ...error }),
      )
      await box.close()
      return refused
    }
    const work = { className: kind.className, options: optionsFor(kind, keys), path }
    const refused = await inChild(change, work, asSomebody)
    expect(refused).toMatchObject({ code: 'ERR_COFFER_IO', errno: -EACCES, syscall: 'open', path })
    expect(readdirSync(dirname(path)).sort()).toEqual(['box.coffer', 'box.coffer.lock'])
    await using box = await openKind(kind, path, 'r', keys)
    expect((await box.members()).map((member) => member.name)).toEqual(['more', 'small'])
    await expect(box.verify()).resolves.toBeDefined()
  })
})
