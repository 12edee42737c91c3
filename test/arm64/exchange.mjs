// @ts-check
/**
 * Coffers that two processors hand to each other: `node exchange.mjs <directory> <visit>`.
 *
 * Each visit finds a coffer of each kind and some encrypted files as the visit before left them, compares every byte of
 * them with what must be there, changes them, and leaves them to the next. Visit 0 makes them. What a visit writes follows
 * from its number alone, so that each of the two knows what the other wrote.
 */
import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { CofferBank, CofferMarket, CofferNull, CofferStore } from 'coffer'

/** @typedef {import('../support/kinds.ts').AnyClass} AnyClass */
/** @typedef {{ readonly label: string, readonly type: AnyClass, readonly options: object, readonly made?: object }} Kind */

const [directory = '', visitText = ''] = process.argv.slice(2)
const visit = Number(visitText)

/** @param {string} name */
const keyOf = (name) => createHash('sha256').update(name).digest()
const keys = { cofferKey: keyOf('coffer'), secureKey: keyOf('secure') }
const passphrase = { passphrase: 'anvil mosaic turnip läntern' }
const cheap = { kdf: { memory: 19 * 1024 * 1024, passes: 2 } }

const [Bank, Store, Market, Null] = /** @type {readonly [AnyClass, AnyClass, AnyClass, AnyClass]} */ (
  /** @type {unknown} */ ([CofferBank, CofferStore, CofferMarket, CofferNull])
)

/** @type {readonly Kind[]} */
const kinds = [
  { label: 'bank', type: Bank, options: keys },
  { label: 'bank-aes-ocb', type: Bank, options: { ...keys, cipher: 'aes-ocb' } },
  {
    label: 'bank-aes-ocb-128',
    type: Bank,
    options: { ...keys, cofferKey: keys.cofferKey.subarray(16), cipher: 'aes-ocb' },
  },
  { label: 'store', type: Store, options: { cofferKey: keys.cofferKey } },
  { label: 'market', type: Market, options: { secureKey: keys.secureKey } },
  { label: 'null', type: Null, options: {} },
  { label: 'bank-passphrase', type: Bank, options: passphrase, made: cheap },
]

/**
 * Bytes that do not compress.
 *
 * @param {string} seed
 * @param {number} length
 */
function noise(seed, length) {
  return createCipheriv('aes-256-ctr', keyOf(seed), Buffer.alloc(16)).update(Buffer.alloc(length))
}

/**
 * Text that compresses.
 *
 * @param {string} seed
 * @param {number} length
 */
function text(seed, length) {
  const words = noise(seed, 4_096).toString('base64')
  const lines = Array.from({ length: Math.ceil(length / 40) }, (_, at) =>
    `${seed} ${at} ${words.slice((at * 37) % 5_000)}`.slice(0, 59),
  )
  return Buffer.from(lines.join('\n')).subarray(0, length)
}

/**
 * What a visit writes whole: sizes around a chunk of PyCoffer's, small ones, large ones, and names in several scripts.
 *
 * @param {number} number
 */
function written(number) {
  const sizes = [0, 1, 65_503, 65_504, 65_505, 131_073, 3_000_001].map((length) => [
    `sizes/${length}`,
    noise(`${number} ${length}`, length),
  ])
  const small = Array.from({ length: 50 }, (_, at) => [`small/${number}/${at}`, text(`${number} ${at}`, at * 20)])
  const names = ['русский/файл', '日本語/ファイル', 'emoji 🗝️📦', `${'long/'.repeat(40)}name`]
  return new Map(
    /** @type {[string, Buffer][]} */ ([
      ...sizes,
      ...small,
      ...names.map((name) => [name, text(`${name} ${number}`, 500)]),
      [`large/${number}`, text(`large ${number}`, 6_000_000 + number)],
    ]),
  )
}

/** @param {number} number */
const appended = (number) => text(`log ${number}`, 30_000 + number)

/** @param {number} number */
const gone = (number) => [`large/${number - 2}`, `small/${number - 1}/7`]

/**
 * What a coffer holds before a visit.
 *
 * @param {number} number
 */
function before(number) {
  const members = new Map()
  for (let made = 0; made < number; made += 1) {
    for (const name of gone(made)) members.delete(name)
    for (const [name, data] of written(made)) members.set(name, data)
    members.set('log', Buffer.concat([members.get('log') ?? Buffer.alloc(0), appended(made)]))
  }
  return members
}

/**
 * @param {Kind} kind
 * @param {string} path
 * @param {ReadonlyMap<string, Buffer>} members
 */
async function check({ type, options }, path, members) {
  const box = await type.open(path, 'r', options)
  await box.verify()
  const listed = await box.members()
  assert.deepEqual(listed.map(({ name }) => name).sort(), [...members.keys()].sort())
  for (const [name, data] of members) assert(data.equals(await box.read(name)), `${path}: ${name} is read`)
  const out = mkdtempSync(join(tmpdir(), 'coffer-exchange-'))
  await box.extractAll(out)
  const files = readdirSync(out, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(out, name)).isFile())
    .map((name) => name.replaceAll(sep, '/'))
  assert.deepEqual(files.sort(), [...members.keys()].sort())
  for (const [name, data] of members)
    assert(data.equals(readFileSync(join(out, name))), `${path}: ${name} is extracted`)
  rmSync(out, { recursive: true })
  await box.close()
}

/** @param {Buffer} data */
function* pieces(data) {
  for (let at = 0; at < data.length; at += 50_000) yield data.subarray(at, at + 50_000)
}

/**
 * @param {Kind} kind
 * @param {string} path
 */
async function change({ type, options, made }, path) {
  const box = await type.open(path, visit === 0 ? 'x' : 'r+', visit === 0 ? { ...options, ...made } : options)
  for (const name of gone(visit)) if (await box.has(name)) await box.delete(name)
  await box.batch(async (all) => {
    for (const [name, data] of written(visit)) await all.write(name, name.startsWith('large/') ? pieces(data) : data)
  })
  await box.append('log', appended(visit))
  // What a processor has put together anew the other one reads, too.
  if (visit % 2 === 1) await box.compact()
  await box.close()
}

/** The plain bytes of the file that a visit encrypts. @param {number} number */
const plain = (number) => Buffer.concat([text(`file ${number}`, 5_000_000), noise(`file ${number}`, 300_001)])

/**
 * @param {Kind} kind
 * @param {string} path
 */
async function exchangeFiles({ label, type, options }, path) {
  const box = await type.open(path, 'r', options)
  const crypt = await box.plugin('crypt')
  /** @param {number} number */
  const file = (number) => join(directory, `${label}-${number}.crypt`)
  const scratch = mkdtempSync(join(tmpdir(), 'coffer-exchange-'))
  for (let made = 0; made < visit; made += 1) {
    const opened = join(scratch, `${made}`)
    await crypt.decrypt(file(made), opened)
    assert(plain(made).equals(readFileSync(opened)), `${file(made)} is decrypted`)
  }
  writeFileSync(join(scratch, 'plain'), plain(visit))
  await crypt.encrypt(join(scratch, 'plain'), file(visit))
  rmSync(scratch, { recursive: true })
  await box.close()
}

const members = before(visit)
let compared = 0
for (const kind of kinds) {
  const path = join(directory, `${kind.label}.coffer`)
  if (visit > 0) {
    await check(kind, path, members)
    compared += [...members.values()].reduce((sum, { length }) => sum + length, 0)
  }
  await change(kind, path)
  if (kind.label !== 'null') await exchangeFiles(kind, path)
}
console.log(
  visit === 0
    ? `${process.arch} made ${kinds.length} coffers`
    : `${process.arch} found ${kinds.length} coffers with ${members.size} members each, ${(compared / 1e6).toFixed(1)} MB, as they must be`,
)
