import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { User } from '../support/cli.ts'
import { CofferStore } from '../support/coffer.ts'
import { classOf } from '../support/kinds.ts'

const fixture = (name: string): string => join(import.meta.dirname, '..', 'fixtures', `${name}.pycoffer`)
const bytes = (from: number, count: number): string =>
  Buffer.from(Array.from({ length: count }, (_, at) => from + at)).toString('base64')
interface Entries {
  readonly [option: string]: string | undefined
  readonly coffer_key: string
  readonly secure_key?: string
}

const store: Entries = { type: 'store', coffer_key: bytes(0, 32) }
const bank: Entries = { type: 'bank', coffer_key: bytes(0, 16), secure_key: bytes(100, 32) }

/** A user with one of PyCoffer's coffers, and a section for it. */
function withLegacy(name: string, section: Readonly<Record<string, string | undefined>>, ini = false): User {
  const user = new User()
  copyFileSync(fixture(name), user.path('old.coffer'))
  const entries = Object.entries({ ...section, location: user.path('old.coffer') })
  user.file(
    '.cofferrc',
    ini
      ? `[old]\n${entries.map(([option, value]) => `${option} = ${value}\n`).join('')}# the end\n`
      : `old:   # mine\n${entries.map(([option, value]) => `    ${option}: ${value}\n`).join('')}# the end\n`,
  )
  return user
}

const entry = (user: User, name: string): string | undefined =>
  new RegExp(`^ *${name}[ =:]+(?:!!binary )?"?([^"\n]*)"?$`, 'm').exec(user.read('.cofferrc'))?.[1]

describe('upgrade', () => {
  it.each([
    ['a store, YAML', 'store', store, false],
    ['a bank, YAML', 'bank-aes-ocb', bank, false],
    ['a bank, INI', 'bank-aes-ocb', bank, true],
  ])(
    'gives the coffer new keys, writes them into its section, and keeps the former ones there: %s',
    async (_, name, section, ini) => {
      const user = withLegacy(name, section, ini)
      expect((await user.run(['upgrade', '--backup'])).stderr).toContain('with new keys')
      expect(await user.ok(['cat', 'hello.txt'])).toMatch(/\S/)
      expect(entry(user, 'coffer_key')).not.toBe(section.coffer_key)
      expect(entry(user, 'coffer_key')).toHaveLength(section.coffer_key.length)
      expect(entry(user, 'former_coffer_key')).toBe(section.coffer_key)
      expect(entry(user, 'archive_id')).toMatch(/^[0-9a-f]{32}$/)
      expect(user.read('.cofferrc')).not.toContain('next_')
      expect(user.read('.cofferrc').endsWith('# the end\n')).toBe(true)
      expect(readFileSync(user.path('old.coffer.bak')).equals(readFileSync(fixture(name)))).toBe(true)
      const old = {
        cofferKey: section.coffer_key,
        ...(section.secure_key === undefined ? {} : { secureKey: section.secure_key }),
      }
      const type = classOf(name === 'store' ? 'CofferStore' : 'CofferBank')
      await expect(type.open(user.path('old.coffer'), 'r', old)).rejects.toMatchObject({ code: 'ERR_COFFER_WRONG_KEY' })
      expect((await user.run(['upgrade'])).stderr).toContain('already')
    },
  )

  it('leaves the keys as they are with --keep-keys', async () => {
    const user = withLegacy('store', store)
    await user.ok(['upgrade', '--keep-keys'])
    expect(entry(user, 'coffer_key')).toBe(store.coffer_key)
    expect(user.read('.cofferrc')).not.toContain('former')
    expect(await user.ok(['cat', 'hello.txt'])).toMatch(/\S/)
  })

  it('changes nothing, and says how, where the keys are not in the section', async () => {
    const user = withLegacy('store', { type: 'store' })
    const env = { COFFER_KEY: store.coffer_key }
    const refused = await user.run(['upgrade'], { env })
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/--to NAME.*--keep-keys/) })
    expect(readFileSync(user.path('old.coffer')).equals(readFileSync(fixture('store')))).toBe(true)
    await user.ok(['generate', 'new', '--type', 'store', '--location', 'old.coffer', '--write'])
    await user.ok(['upgrade', '-f', 'old', '--to', 'new'], { env })
    expect(await user.ok(['ls', '-f', 'new'])).toContain('hello.txt')
    expect((await user.run(['ls', '-f', 'old'], { env })).code).toBe(3)
  })

  it('loses no key whenever it is interrupted', async () => {
    // New keys are written down, and the coffer does not have them yet.
    const { cofferKey: next } = CofferStore.generateKeys()
    const binary = Buffer.from(next, 'base64').toString('base64')
    for (const switched of [false, true]) {
      const user = withLegacy('store', { ...store, next_coffer_key: `!!binary "${binary}"` })
      const coffer = await CofferStore.open(user.path('old.coffer'), 'a', { cofferKey: store.coffer_key, legacy: true })
      await coffer.flush({ force: true })
      if (switched) await coffer.rekey({ cofferKey: next })
      await coffer.close()
      expect(await user.ok(['ls'])).toContain('hello.txt')
      await user.ok(['upgrade'])
      expect(await user.ok(['ls'])).toContain('hello.txt')
      expect(entry(user, 'coffer_key')).toBe(binary)
      expect(entry(user, 'former_coffer_key')).toBe(store.coffer_key)
      expect(user.read('.cofferrc')).not.toContain('next_')
    }
  })

  it('needs no keys for a coffer that has none', async () => {
    const user = withLegacy('null', { type: '"null"' })
    expect((await user.run(['upgrade'])).stderr).toBe('coffer: upgraded to version 1\n')
    expect(await user.ok(['ls'])).toContain('hello.txt')
  })
})
