import { join } from 'node:path'
import { format, inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { User } from './support/cli.ts'
import { Coffer, CofferBank, CofferNull, deriveKeys } from './support/coffer.ts'
import { classOf, keyedKinds, keysFor, kindOf, openKind } from './support/kinds.ts'
import { tempDir } from './support/temp.ts'

const kdf = { memory: 19 * 1024 * 1024, passes: 2 }
const phrase = 'anvil mosaic turnip lantern'

/** The forms in which an output may have a secret. */
function forms(secret: string | Uint8Array, encoding: 'base64' | 'utf8' = 'base64'): string[] {
  const bytes = Buffer.from(typeof secret === 'string' ? Buffer.from(secret, encoding) : secret)
  const hex = bytes.toString('hex')
  return [
    ...(typeof secret === 'string' ? [secret] : []),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    hex,
    hex.toUpperCase(),
    hex.replace(/..(?=.)/g, '$& '),
    [...bytes].join(','),
    [...bytes].join(', '),
    bytes.toString('latin1'),
  ]
}

/** Everything that anybody would print of a value. */
function shown(value: unknown): string {
  const error = value instanceof Error ? [value.message, value.stack, shown(value.cause)] : []
  const deep = { depth: null, showHidden: true, getters: true, maxArrayLength: null, maxStringLength: null } as const
  return [
    String(value),
    format('%s %o %O', value, value, value),
    JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}` : part)),
    inspect(value, deep),
    ...error,
  ].join('\n')
}

const holdsNothing = (text: string, secrets: readonly string[]): void => {
  for (const secret of secrets) expect(text.includes(secret), secret).toBe(false)
}

const failure = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail('nothing failed'),
    (error: unknown) => error,
  )

it('is found in each form by what the tests look with', () => {
  const key = new Uint8Array(32).map((_, index) => index * 7)
  const values = [
    { key: Buffer.from(key) },
    { key: [...key] },
    { key: Buffer.from(key).toString('base64') },
    { key: Buffer.from(key).toString('hex') },
  ]
  for (const value of values) expect(() => holdsNothing(shown(value), forms(key))).toThrow()
})

describe.each(keyedKinds)('a $label', (kind) => {
  it('shows no key, whatever fails', async () => {
    const [path, keys, others] = [join(tempDir(), 'box.coffer'), keysFor(kind), keysFor(kind)]
    const box = await openKind(kind, path, 'x', keys)
    const options = kind.label === 'bank-aes-ocb' ? { cipher: 'aes-ocb' } : {}
    const asBytes = Object.fromEntries(Object.entries(others).map(([name, key]) => [name, Buffer.from(key, 'base64')]))
    const broken = (key: string): string => `${key.slice(0, -4)}*${key.slice(-3)}`
    const malformed = Object.fromEntries(Object.entries(others).map(([name, key]) => [name, broken(key)]))
    const short = Object.fromEntries(
      Object.entries(others).map(([name, key]) => [name, Buffer.from(key, 'base64').subarray(0, 31)]),
    )
    const unlocked = { lock: 'none' } as const
    const errors = [
      await failure(openKind(kind, path, 'r', others, unlocked)),
      await failure(openKind(kind, path, 'r', {}, { ...asBytes, ...unlocked })),
      await failure(openKind(kind, path, 'r', malformed, unlocked)),
      await failure(openKind(kind, path, 'r', {}, { ...short, ...unlocked })),
      await failure(openKind(kind, path, 'r', others, { passphrase: phrase })),
      await failure(CofferNull.open(path, 'r', { ...others, ...options } as object)),
      await failure(Coffer.open(path, 'r', { member: { cipher: 'none' }, container: { cipher: 'none' }, ...others })),
      await failure(box.rekey(malformed)),
      await failure(box.rekey({ ...others, cofferKey: 7 } as object)),
      await failure(box.changePassphrase(phrase, { kdf: { memory: 1 } })),
      await failure(deriveKeys(phrase, { salt: 'short', ...kdf })),
    ]
    const secrets = [
      ...[...Object.values(keys), ...Object.values(others), ...Object.values(malformed)].flatMap((key) => forms(key)),
      ...Object.values(short).flatMap((key) => forms(key)),
      ...forms(phrase, 'utf8'),
    ]
    for (const error of errors) holdsNothing(shown(error), secrets)
    await box.close()
  })

  it('shows no key when it is inspected, nor does anything made of it', async () => {
    const [path, keys, next] = [join(tempDir(), 'box.coffer'), keysFor(kind), keysFor(kind)]
    const box = await openKind(kind, path, 'x', keys)
    await box.write('a', 'x')
    const crypt = await box.plugin('crypt')
    const file = await box.file('a', 'r')
    const streams = [box.createReadStream('a'), crypt.createEncryptStream(), crypt.createDecryptStream()]
    const passwords = await box.plugin('password')
    const things = [box, crypt, file, passwords, ...streams, await box.info(), await box.members()]
    const secrets = [...Object.values(keys), ...Object.values(next)].flatMap((key) => forms(key))
    for (const thing of things) holdsNothing(shown(thing), secrets)
    await box.batch(async (batch) => holdsNothing(shown(batch), secrets))
    for (const stream of streams) stream.destroy()
    await file.close()
    await box.rekey(next)
    holdsNothing(shown(box), secrets)
    await box.close()
    holdsNothing(shown(box), secrets)
  })

  it('leaves what it is given as it is, and keeps no hold of it', async () => {
    const [path, keys] = [join(tempDir(), 'box.coffer'), keysFor(kind)]
    const given = Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, Buffer.from(key, 'base64')]))
    const before = Object.values(given).map((key) => key.toString('hex'))
    const opening = openKind(kind, path, 'x', {}, given)
    // From here on they are the caller's again.
    expect(Object.values(given).map((key) => key.toString('hex'))).toEqual(before)
    for (const key of Object.values(given)) key.fill(0)
    const box = await opening
    await box.write('a', 'x')
    await box.close()
    const again = await openKind(kind, path, 'r', keys)
    expect(await again.readText('a')).toBe('x')
    await again.close()
  })
})

it('a key leaves nothing in the memory that Node.js shares between small buffers', async () => {
  const [path, keys] = [join(tempDir(), 'box.coffer'), keysFor(kindOf('bank'))]
  // No other test has this one in the pool.
  const phrase = CofferBank.generateKeys().cofferKey as string
  // Whatever is decoded into the pool of now is seen in it.
  const { buffer: pool } = Buffer.from('x')
  const opening = classOf('CofferBank').open(path, 'x', keys)
  const refused = failure(classOf('CofferBank').open(path, 'x', { ...keys, secureKey: 'AAAA' }))
  const phrased = deriveKeys(phrase, { salt: new Uint8Array(16), ...kdf })
  const pools = [pool, Buffer.from('x').buffer].map((shared) => Buffer.from(shared).toString('hex'))
  const secrets = [...Object.values(keys).map((key) => Buffer.from(key, 'base64')), Buffer.from(phrase)]
  for (const secret of secrets) expect(pools.some((shared) => shared.includes(secret.toString('hex')))).toBe(false)
  await refused
  const box = await opening
  await phrased
  await box.close()
})

describe('the command line', () => {
  it('shows no key and no passphrase, whatever fails', async () => {
    const user = new User()
    const [keys, others] = [CofferBank.generateKeys(), CofferBank.generateKeys()]
    const path = user.path('vault.coffer')
    const box = await classOf('CofferBank').open(path, 'x', keys)
    await box.close()
    const section = (secrets: object): string =>
      `coffer:\n  default: vault\nvault:\n  type: bank\n  filename: ${path}\n${Object.entries(secrets)
        .map(([name, value]) => `  ${name}: ${value}\n`)
        .join('')}`
    const secrets = [keys.cofferKey, keys.secureKey, others.cofferKey, others.secureKey].flatMap((key) =>
      forms(key as string),
    )
    const seen: string[] = []
    for (const [name, env] of [
      ['right', { coffer_key: keys.cofferKey, secure_key: keys.secureKey }],
      ['wrong', { coffer_key: others.cofferKey, secure_key: others.secureKey }],
      ['swapped', { coffer_key: `${others.cofferKey}*`, secure_key: [others.secureKey] }],
    ] as const) {
      user.file('.cofferrc', section(env))
      for (const more of [[], ['--json']]) {
        for (const command of [['info'], ['crypt', 'missing', 'x'], ['cat', name]]) {
          const { stdout, stderr } = await user.run([...more, ...command], {
            env: { NODE_DEBUG: 'fs,child_process', DEBUG: '*' },
          })
          seen.push(stdout, stderr)
        }
      }
    }
    const env = {
      COFFER_KEY: others.cofferKey as string,
      COFFER_SECURE_KEY: `${others.secureKey}!`,
      COFFER_PASSPHRASE: phrase,
    }
    for (const given of [env, { ...env, COFFER_PASSPHRASE: '' }, { COFFER_PASSPHRASE: phrase }]) {
      const { code, stdout, stderr } = await user.run(['--file', path, '--type', 'bank', 'ls'], { env: given })
      expect(code).not.toBe(0)
      seen.push(stdout, stderr)
    }
    holdsNothing(seen.join('\n'), [...secrets, ...forms(phrase, 'utf8')])
  })
})
