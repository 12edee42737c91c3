import { getHeapStatistics } from 'node:v8'

/**
 * Memory that what a member says may take on JavaScript's heap, where too much would end the
 * process: half of what is left. It is counted in estimated bytes, before each value is made.
 */
export class HeapRoom {
  #left: number

  constructor(bytes = heapLeft() / 2) {
    this.#left = bytes
  }

  /** @throws {NoRoom} if there is not so much left */
  take(bytes: number): void {
    this.#left -= bytes
    if (this.#left < 0) throw new NoRoom('it takes more memory than JavaScript has')
  }
}

/** A value needs more memory than there is room for. */
export class NoRoom extends Error {}

function heapLeft(): number {
  const { heap_size_limit, used_heap_size } = getHeapStatistics()
  return Math.max(0, heap_size_limit - used_heap_size)
}
