/** Figures as people read them. */
import type { Unit } from '../case.ts'
import { median, range } from '../statistics.ts'

/** Three digits that count, no more. */
export function rounded(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)))
  return value.toFixed(Math.min(digits, 3))
}

/** The median with its unit, and the spread where there is one. */
export function shown(samples: readonly number[], unit: Unit): string {
  if (samples.length === 0) return '–'
  const middle = `${rounded(median(samples))} ${unit}`
  const [least, greatest] = range(samples)
  return samples.length < 2 || rounded(least) === rounded(greatest)
    ? middle
    : `${middle} (${rounded(least)}–${rounded(greatest)})`
}
