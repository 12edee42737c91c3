/** What several samples of one figure come to. */

/** The middle one; of an even number the mean of the two in the middle. NaN of none. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2
}

/** The value that `share` of the samples do not exceed. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** The least and the greatest. */
export function range(samples: readonly number[]): [least: number, greatest: number] {
  return [Math.min(...samples), Math.max(...samples)]
}

/** One divided by the other, round by round: a machine that slows down then slows both. */
export function ratios(of: readonly number[], to: readonly number[]): number[] {
  const rounds = Math.min(of.length, to.length)
  return Array.from({ length: rounds }, (_, round) => (of[round] ?? Number.NaN) / (to[round] ?? Number.NaN))
}
