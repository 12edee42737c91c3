// @ts-check
/**
 * An endless story of changes that a seed tells: what round n does to a coffer, and what the coffer
 * holds after it. The child that makes the changes and the test that checks them both read it here.
 */
import { createCipheriv, createHash } from 'node:crypto'

/** Bytes that a round wrote. @typedef {{ readonly round: number, readonly length: number }} Part */
/** What each member consists of. @typedef {Map<string, readonly Part[]>} State */
/**
 * @typedef {{ readonly do: 'write' | 'stream' | 'append', readonly name: string, readonly length: number }
 *   | { readonly do: 'delete', readonly name: string }} Change
 */
/**
 * What a round does: changes that are flushed together, and then perhaps something to the whole.
 *
 * @typedef {{ readonly batch: boolean, readonly changes: readonly Change[],
 *   readonly after: 'nothing' | 'compact' | 'rekey' | 'reopen' }} Round
 */

const SMALL = 7
const LARGE = 2
/** A log longer than this is begun anew. */
const LONG = 40_000

/**
 * Numbers from 0 to 1 that look random, the same for the same seed.
 *
 * @param {string} seed
 * @returns {() => number}
 */
export function randomFrom(seed) {
  let state = createHash('sha1').update(seed).digest().readUInt32LE(0)
  // Mulberry32.
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * @param {string} seed
 * @param {number} length
 * @returns {Buffer}
 */
export function bytesFrom(seed, length) {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

/**
 * @param {string} seed
 * @param {string} name
 * @param {number} round
 * @param {number} length
 */
export function contentOf(seed, name, round, length) {
  return bytesFrom(`${seed}/${round}/${name}`, length)
}

/**
 * What round `round` does to a coffer in a state.
 *
 * @param {string} seed
 * @param {number} round
 * @param {State} state
 * @returns {Round}
 */
export function roundOf(seed, round, state) {
  const random = randomFrom(`${seed}/round ${round}`)
  /** @param {number} bound */
  const below = (bound) => Math.floor(random() * bound)
  /** @type {Map<string, Change>} */
  const changes = new Map()
  const count = 1 + below(4)
  while (changes.size < count) {
    const dice = random()
    if (dice < 0.55) {
      const name = `small/${below(SMALL)}`
      const length = below(3) === 0 ? below(100) : below(30_000)
      if (state.has(name) && below(3) === 0) changes.set(name, { do: 'delete', name })
      else changes.set(name, { do: 'write', name, length })
    } else if (dice < 0.75) {
      const name = `large/${below(LARGE)}`
      if (state.has(name) && below(4) === 0) changes.set(name, { do: 'delete', name })
      else changes.set(name, { do: below(2) === 0 ? 'stream' : 'write', name, length: 130_000 + below(700_000) })
    } else {
      const length = (state.get('log') ?? []).reduce((sum, part) => sum + part.length, 0)
      changes.set('log', { do: length > LONG ? 'write' : 'append', name: 'log', length: 1 + below(8_000) })
    }
  }
  const dice = random()
  return {
    batch: random() < 0.3,
    changes: [...changes.values()],
    after: dice < 0.12 ? 'compact' : dice < 0.24 ? 'rekey' : dice < 0.32 ? 'reopen' : 'nothing',
  }
}

/**
 * The state that a round leaves.
 *
 * @param {State} state
 * @param {number} round
 * @param {readonly Change[]} changes
 * @returns {State}
 */
export function changed(state, round, changes) {
  const next = new Map(state)
  for (const change of changes) {
    if (change.do === 'delete') {
      next.delete(change.name)
    } else {
      const kept = change.do === 'append' ? (state.get(change.name) ?? []) : []
      next.set(change.name, [...kept, { round, length: change.length }])
    }
  }
  return next
}

/**
 * The state after so many rounds.
 *
 * @param {string} seed
 * @param {number} rounds
 * @returns {State}
 */
export function stateAfter(seed, rounds) {
  /** @type {State} */
  let state = new Map()
  for (let round = 1; round <= rounds; round += 1) {
    state = changed(state, round, roundOf(seed, round, state).changes)
  }
  return state
}

/**
 * The keys that a coffer has after so many changes of them.
 *
 * @param {string} seed
 * @param {number} epoch
 * @param {{ readonly cofferKey?: string, readonly secureKey?: string }} first keys of the same form
 * @returns {{ cofferKey?: string, secureKey?: string }}
 */
export function keysOf(seed, epoch, first) {
  const names = /** @type {const} */ (['cofferKey', 'secureKey'])
  return Object.fromEntries(
    names.flatMap((name) => {
      const { [name]: key } = first
      if (key === undefined) return []
      const { length } = Buffer.from(key, 'base64url')
      return [[name, bytesFrom(`${seed}/${name} ${epoch}`, length).toString('base64url')]]
    }),
  )
}
