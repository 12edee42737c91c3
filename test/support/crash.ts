import type { Body } from './child.ts'

/** What the child is to do. */
export interface Work {
  readonly className: 'CofferBank' | 'CofferStore' | 'CofferMarket' | 'CofferNull'
  readonly path: string
  readonly options: object
  /** The number of the first round. */
  readonly first: number
}

/** What the child says after each flush: the state it has just made durable. */
export interface Flushed {
  readonly round: number
}

/**
 * Changes a coffer without end, saying when each round is durable. Round n leaves the members
 * `small/i` and `large`, each with the number of the round that wrote it at its front.
 */
export const changeWithoutEnd: Body<Work, void> = async ({ coffer, say }, { className, path, options, first }) => {
  const content = (round: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 65_536) {
      globalThis.crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)))
    }
    new DataView(bytes.buffer).setUint32(0, round, true)
    return bytes
  }
  const box = await coffer[className].open(path, 'a', { ...options, autoFlush: false } as never)
  for (let round = first; ; round += 1) {
    await Promise.all([
      box.write(`small/${round % 7}`, content(round, 1_000 + (round % 5) * 10_000)),
      box.write('round', content(round, 4)),
      round % 3 === 0 ? box.write('large', content(round, 1_500_000)) : Promise.resolve(),
      round % 4 === 0 ? box.delete(`small/${(round - 1) % 7}`).catch(() => {}) : Promise.resolve(),
    ])
    await box.flush()
    if (round % 11 === 0) await box.compact()
    await say({ round })
  }
}
