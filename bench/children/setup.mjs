// @ts-check
/** What the children of the benchmark have in common: a job as JSON in, figures as JSON out. */
import { readFileSync } from 'node:fs'
import { CofferBank } from 'coffer'

/** The keys of every bank. */
export const keys = {
  cofferKey: Buffer.alloc(32, 7).toString('base64url'),
  secureKey: Buffer.alloc(32, 9).toString('base64url'),
}

/** The job that the parent gives. */
export const job = JSON.parse(process.argv[2] ?? '{}')

/** @param {unknown} figures */
export function tell(figures) {
  console.log(JSON.stringify(figures))
}

/**
 * A bank, at level 3 where it is written.
 *
 * @param {string} path
 * @param {'r' | 'w'} mode
 */
export function openBank(path, mode) {
  return mode === 'w' ? CofferBank.open(path, mode, { ...keys, level: 3 }) : CofferBank.open(path, mode, keys)
}

/** The most resident memory of this process, in bytes. What `getrusage` says counts its parent's, too. */
export function peak() {
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  if (kibibytes === undefined) throw new Error('this system does not say')
  return Number(kibibytes) * 1024
}
