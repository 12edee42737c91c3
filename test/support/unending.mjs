// @ts-check
/**
 * Lives through the rounds of a seed until it is killed, and reports on its standard output, with a
 * write that has returned before it goes on:
 *
 *     opening        the coffer is about to be opened
 *     opened
 *     flushed 12     round 12's changes are durable
 *     doing rekey    the whole coffer is about to be rewritten
 *     keys 3         it has got new keys three times
 *     done 12        round 12 is over
 */
import { writeSync } from 'node:fs'
import * as coffer from 'coffer'
import { changed, contentOf, keysOf, roundOf, stateAfter } from './rounds.mjs'

/**
 * @typedef {object} Life
 * @property {'CofferBank' | 'CofferStore' | 'CofferMarket' | 'CofferNull'} className
 * @property {string} path
 * @property {string} seed
 * @property {import('./kinds.ts').AnyOptions} options
 * @property {{ cofferKey?: string, secureKey?: string }} firstKeys whose form all keys have
 * @property {number} rounds how many rounds the coffer has behind it
 * @property {number} epoch how often it has got new keys
 * @property {number | null} dieOpening the microseconds into the first opening at which this process kills itself
 */

const {
  className,
  path,
  seed,
  options,
  firstKeys,
  rounds,
  epoch: firstEpoch,
  dieOpening,
} = /** @type {Life} */ (JSON.parse(process.argv[2] ?? ''))

const keyed = Object.keys(firstKeys).length > 0
let epoch = firstEpoch
let state = stateAfter(seed, rounds)

/** @param {string} line */
const report = (line) => writeSync(1, `${line}\n`)

/** Opens the coffer. The engine works on threads of its own, so this one can wait for the moment to die. */
async function open() {
  report('opening')
  const opening = /** @type {import('./kinds.ts').AnyClass} */ (coffer[className]).open(path, 'a', {
    ...options,
    ...keysOf(seed, epoch, firstKeys),
  })
  if (dieOpening !== null) {
    const end = process.hrtime.bigint() + BigInt(dieOpening) * 1_000n
    while (process.hrtime.bigint() < end);
    process.kill(process.pid, 'SIGKILL')
  }
  const box = await opening
  report('opened')
  return box
}

/** @param {Buffer} data */
function* pieces(data) {
  for (let at = 0; at < data.length; at += 50_000) yield data.subarray(at, at + 50_000)
}

/**
 * @param {Pick<coffer.Coffer, 'write' | 'append' | 'delete'>} box
 * @param {number} round
 * @param {import('./rounds.mjs').Change} change
 */
async function make(box, round, change) {
  if (change.do === 'delete') return box.delete(change.name)
  const data = contentOf(seed, change.name, round, change.length)
  if (change.do === 'append') return box.append(change.name, data)
  return box.write(change.name, change.do === 'stream' ? pieces(data) : data)
}

let box = await open()
for (let round = rounds + 1; ; round += 1) {
  const { batch, changes, after } = roundOf(seed, round, state)
  // With autoFlush each change is a commit of its own, unless a batch keeps them together.
  if (batch || (options.autoFlush === true && changes.length > 1)) {
    await box.batch(async (all) => {
      for (const change of changes) await make(all, round, change)
    })
  } else {
    await Promise.all(changes.map(async (change) => make(box, round, change)))
  }
  if (options.autoFlush !== true) await box.flush()
  state = changed(state, round, changes)
  report(`flushed ${round}`)
  if (after !== 'nothing') report(`doing ${after}`)
  if (after === 'compact' || (after === 'rekey' && !keyed)) await box.compact()
  if (after === 'rekey' && keyed) {
    await box.rekey(keysOf(seed, epoch + 1, firstKeys))
    epoch += 1
    report(`keys ${epoch}`)
  }
  if (after === 'reopen') {
    await box.close()
    box = await open()
  }
  report(`done ${round}`)
}
