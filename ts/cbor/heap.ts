import { getHeapStatistics } from 'node:v8'

/**
 * A budget of heap memory for a value that is decoded from a member: by default half of the free heap,
 * because running out of heap ends the process. Estimated bytes are taken before each value is created.
 */
export class HeapRoom {
  #left: number

  constructor(bytes: number = heapLeft() / 2) {
    this.#left = bytes
  }

  /** @throws {NoRoom} if the budget is exceeded */
  take(bytes: number): void {
    this.#left -= bytes
    if (this.#left < 0) throw new NoRoom('it takes more memory than JavaScript has')
  }
}

/** A value takes more memory than the budget. */
export class NoRoom extends Error {}

function heapLeft(): number {
  const { heap_size_limit, used_heap_size } = getHeapStatistics()
  return Math.max(0, heap_size_limit - used_heap_size)
}
