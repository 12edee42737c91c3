// @ts-check
/** The parts of a gate: commands that run beside each other, their output, and what they took and counted. */
import { spawn } from 'node:child_process'
import { setPriority } from 'node:os'
import { SKIPPED } from './checks.mjs'
import { root } from './prepare.mjs'

/** How many suites and tests the report of times names. */
const NAMED = 10

/**
 * Something that took time.
 *
 * @typedef {{ readonly name: string, readonly seconds: number }} Timed
 */

/** How many tests passed, failed and were skipped. A check counts as one when it fails or is skipped. */
const totals = { passed: 0, failed: 0, skipped: 0 }

/** @type {Record<'parts' | 'suites' | 'tests', Timed[]>} */
const times = { parts: [], suites: [], tests: [] }

/** @type {string[]} */
const failures = []

/**
 * Runs a part.
 *
 * @param {string} name
 * @param {() => Promise<{ passed?: number, failed?: number, skipped?: number }>} work what it counts
 */
export async function part(name, work) {
  console.log(`${name} | begins`)
  const started = performance.now()
  const { passed = 0, failed = 0, skipped = 0 } = await work()
  const seconds = (performance.now() - started) / 1000
  console.log(`${name} | ${failed > 0 ? 'failed' : 'done'} after ${seconds.toFixed(1)} s`)
  times.parts.push({ name, seconds })
  if (failed > 0) failures.push(name)
  totals.passed += passed
  totals.failed += failed
  totals.skipped += skipped
}

/**
 * Runs checks, one after another.
 *
 * @param {readonly import('./checks.mjs').Check[]} checks
 */
export async function check(checks) {
  for (const { name, command, env } of checks) {
    await part(name, async () => {
      const code = await show(name, command, { env })
      return { failed: code === 0 || code === SKIPPED ? 0 : 1, skipped: code === SKIPPED ? 1 : 0 }
    })
  }
}

/**
 * How a command is run.
 *
 * @typedef {object} ShowOptions
 * @property {NodeJS.ProcessEnv | undefined} [env] more environment
 * @property {string} [cwd]
 * @property {boolean} [background] it gives way to the others
 * @property {boolean} [silent] its standard output is for `onLine` alone
 * @property {(line: string) => void} [onLine] gets each line of its standard output
 */

/**
 * Runs a command, and shows its output line by line, each behind a name.
 *
 * @param {string} name
 * @param {readonly [command: string, ...args: string[]]} command
 * @param {ShowOptions} options
 * @returns {Promise<number | null>} its exit code
 */
export function show(name, [command, ...args], { env, cwd = root, background = false, silent = false, onLine } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // npm is a script on Windows, which only a shell can start.
      shell: process.platform === 'win32' && command === 'npm',
    })
    if (background && child.pid !== undefined) setPriority(child.pid, 10)
    const print = (/** @type {string} */ line) => console.log(`${name} | ${line}`)
    lines(child.stdout, (line) => {
      if (!silent) print(line)
      onLine?.(line)
    })
    lines(child.stderr, print)
    child.on('error', ({ message }) => {
      print(message)
      resolve(null)
    })
    child.on('close', resolve)
  })
}

/**
 * @param {import('node:stream').Readable} stream
 * @param {(line: string) => void} onLine
 */
function lines(stream, onLine) {
  let rest = ''
  stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
    const whole = (rest + text).split('\n')
    rest = whole.pop() ?? ''
    whole.forEach(onLine)
  })
  stream.on('end', () => {
    if (rest !== '') onLine(rest)
  })
}

/**
 * Records what suites or tests took.
 *
 * @param {'suites' | 'tests'} of
 * @param {readonly Timed[]} timed
 */
export function took(of, timed) {
  times[of].push(...timed)
}

/** Prints what took longest, and what failed; returns the counts. */
export function report() {
  for (const [of, timed] of Object.entries(times)) {
    const named = timed.sort((a, b) => b.seconds - a.seconds).slice(0, of === 'parts' ? timed.length : NAMED)
    if (named.length > 0) console.log(`\nThe ${of} that took longest, in seconds:`)
    for (const { name, seconds } of named) console.log(`${seconds.toFixed(1).padStart(8)}  ${name}`)
  }
  if (failures.length > 0) console.log(`\nFailed: ${failures.join(', ')}`)
  return totals
}
