// @ts-check
/** Many small members: written in one batch, or opened, iterated and listed in a process that has done nothing else. */
import { createCipheriv } from 'node:crypto'
import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { CofferBank, CofferStore } from 'coffer'
import { job, keys, peak, tell } from './setup.mjs'

const SIZE = 100
/** Members in a directory. */
const DIRECTORY = 1000

/**
 * @typedef {object} Box
 * @property {(members: Iterable<[name: string, content: Buffer]>) => unknown} fill Writes members, all at once.
 * @property {() => Promise<number>} iterate The number of all members, each with its name and size.
 * @property {(prefix: string) => Promise<number>} list The number of members whose names begin so.
 * @property {() => unknown} close
 */

const { what, contestant, path, count } = job
const mode = what === 'write' ? 'x' : 'r'
const load = createRequire(new URL('../peers/npm/package.json', import.meta.url))

/** @param {number} number */
function name(number) {
  return `customers/${String(Math.floor(number / DIRECTORY)).padStart(4, '0')}/invoice-${String(number).padStart(7, '0')}.json`
}

function* members() {
  const cipher = createCipheriv('aes-256-ctr', Buffer.alloc(32, 5), Buffer.alloc(16))
  const zeros = Buffer.alloc(SIZE)
  for (let number = 0; number < count; number += 1) {
    yield/** @type {[string, Buffer]} */ ([name(number), cipher.update(zeros)])
  }
}

/**
 * @param {import('coffer').Coffer} box
 * @returns {Box}
 */
function coffer(box) {
  return {
    fill: async (entries) => {
      await box.batch(async (batch) => {
        for (const [member, content] of entries) await batch.write(member, content)
      })
      await box.flush()
    },
    iterate: async () => {
      let seen = 0
      for await (const { size } of box.iterate()) seen += size === SIZE ? 1 : 0
      return seen
    },
    list: async (prefix) => (await box.members({ prefix })).length,
    close: () => box.close(),
  }
}

/** @returns {Promise<Box>} */
async function sqlite() {
  const Database = load('better-sqlite3')
  const database = new Database(path)
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.exec('CREATE TABLE IF NOT EXISTS members (name TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID')
  const count = (/** @type {Iterable<{ size: number }>} */ rows) => {
    let seen = 0
    for (const { size } of rows) seen += size === SIZE ? 1 : 0
    return seen
  }
  return {
    fill: (entries) => {
      const insert = database.prepare('INSERT INTO members VALUES (?, ?)')
      database.exec('BEGIN')
      for (const [member, content] of entries) insert.run(member, content)
      database.exec('COMMIT')
    },
    iterate: async () => count(database.prepare('SELECT name, length(content) AS size FROM members').iterate()),
    list: async (prefix) =>
      database
        .prepare('SELECT name, length(content) AS size FROM members WHERE name >= ? AND name < ?')
        .all(prefix, `${prefix}\u{10ffff}`).length,
    close: () => database.close(),
  }
}

/** @returns {Promise<Box>} */
async function lmdb() {
  const database = load('lmdb').open({ path, encoding: 'binary', overlappingSync: false, noSubdir: true })
  const count = (/** @type {Iterable<{ value: Buffer }>} */ entries) => {
    let seen = 0
    for (const { value } of entries) seen += value.length === SIZE ? 1 : 0
    return seen
  }
  return {
    fill: (entries) =>
      database.transaction(() => {
        for (const [member, content] of entries) database.put(member, content)
      }),
    iterate: async () => count(database.getRange()),
    list: async (prefix) => count(database.getRange({ start: prefix, end: `${prefix}\u{10ffff}` })),
    close: () => database.close(),
  }
}

/** @type {Record<string, () => Promise<Box>>} */
const open = {
  CofferBank: async () => coffer(await CofferBank.open(path, mode, keys)),
  CofferStore: async () => coffer(await CofferStore.open(path, mode, { cofferKey: keys.cofferKey })),
  'better-sqlite3': sqlite,
  lmdb,
}

/** @returns {Promise<Box>} */
async function box() {
  const opened = open[contestant]
  if (opened === undefined) throw new Error(`${contestant} is no contestant`)
  return opened()
}

if (what === 'write') {
  const target = await box()
  const start = performance.now()
  await target.fill(members())
  const took = performance.now() - start
  await target.close()
  tell({ took, size: statSync(path).size })
} else {
  const idle = process.memoryUsage.rss()
  const start = performance.now()
  const source = await box()
  // A database is open when it has answered.
  const first = await source.list(name(0))
  const opened = performance.now() - start
  const grown = peak() - idle

  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await setTimeout(20)
  const iterating = performance.now()
  const seen = await source.iterate()
  const iterated = performance.now() - iterating
  await setTimeout(20)
  delay.disable()

  const listing = performance.now()
  const listed = await source.list(name(count >> 1).replace(/[^/]*$/, ''))
  const listedIn = performance.now() - listing
  await source.close()
  if (first !== 1 || seen !== count || listed !== DIRECTORY)
    throw new Error(`${first}, ${seen} and ${listed} members came out`)
  tell({ opened, grown, iterated, held: delay.max / 1e6, listed: listedIn })
}
