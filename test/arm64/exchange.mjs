// @ts-check
/**
 * `exchange.mjs make <directory>` makes a coffer of every kind, and an encrypted file. `exchange.mjs check <directory> <n>`
 * compares every byte of them, and that each has been changed by n checks before, and changes them. The contents follow
 * from the names.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CofferBank, CofferMarket, CofferNull, CofferStore } from '../../dist/index.js'

const [, , task = '', directory = '', changes = '0'] = process.argv
const keysFile = join(directory, 'keys.json')

/** @type {Record<string, { kind: any, options: object, sealed: boolean }>} */
const kinds = {
  bank: { kind: CofferBank, options: {}, sealed: true },
  'bank-ocb': { kind: CofferBank, options: { cipher: 'aes-ocb' }, sealed: true },
  store: { kind: CofferStore, options: {}, sealed: true },
  market: { kind: CofferMarket, options: {}, sealed: true },
  null: { kind: CofferNull, options: {}, sealed: false },
  passphrase: {
    kind: CofferBank,
    options: { passphrase: 'a passphrase', kdf: { passes: 2, memory: 19 * 2 ** 20 } },
    sealed: false,
  },
}
const sizes = { empty: 0, small: 100, chunk: 65_536, 'more than a block': 5_000_001 }

if (task === 'make') await make()
else await check()

async function make() {
  mkdirSync(directory, { recursive: true })
  const keys = Object.fromEntries(
    Object.entries(kinds).map(([name, { kind, options, sealed }]) => [name, sealed ? kind.generateKeys(options) : {}]),
  )
  writeFileSync(keysFile, JSON.stringify(keys))
  for (const [name, { kind, options }] of Object.entries(kinds)) {
    const coffer = await kind.open(join(directory, name), 'x', { ...keys[name], ...options })
    for (const [member, size] of Object.entries(sizes)) await coffer.write(member, contents(member, size))
    await coffer.dump('value', { when: new Date(0), big: 2n ** 70n, list: [1.5, null, 'ä'] })
    if (name === 'bank') await encrypted(coffer, 'encrypt')
    await coffer.close()
  }
}

async function check() {
  const keys = JSON.parse(readFileSync(keysFile, 'utf8'))
  for (const [name, { kind, options }] of Object.entries(kinds)) {
    const coffer = await kind.open(join(directory, name), 'a', { ...keys[name], ...options })
    for (const [member, size] of Object.entries(sizes)) {
      assert.ok((await coffer.read(member)).equals(contents(member, size)), `${name}: ${member}`)
    }
    assert.deepEqual(await coffer.load('value'), { when: new Date(0), big: 2n ** 70n, list: [1.5, null, 'ä'] })
    const before = (await coffer.has('changes')) ? await coffer.readText('changes') : ''
    assert.equal(before, 'once more\n'.repeat(Number(changes)))
    await coffer.append('changes', 'once more\n')
    await coffer.verify()
    if (name === 'bank') await encrypted(coffer, 'decrypt')
    await coffer.close()
    console.log(`${process.arch}: ${name} is as it was made`)
  }
}

/**
 * @param {any} coffer
 * @param {'encrypt' | 'decrypt'} way
 */
async function encrypted(coffer, way) {
  const crypt = await coffer.plugin('crypt')
  const [plain, sealed] = [join(directory, 'plain'), join(directory, 'encrypted')]
  const bytes = contents('plain', 300_000)
  rmSync(plain, { force: true })
  if (way === 'encrypt') {
    writeFileSync(plain, bytes)
    await crypt.encrypt(plain, sealed)
  } else {
    await crypt.decrypt(sealed, plain)
    assert.ok(readFileSync(plain).equals(bytes), 'the encrypted file')
  }
}

/**
 * Bytes that do not compress, then bytes that do.
 *
 * @param {string} name
 * @param {number} size
 */
function contents(name, size) {
  const noise = Buffer.alloc(Math.ceil(size / 2))
  for (let at = 0; at < noise.length; at += 32) createHash('sha256').update(`${name} ${at}`).digest().copy(noise, at)
  return Buffer.concat([noise, Buffer.alloc(size - noise.length, name)])
}
