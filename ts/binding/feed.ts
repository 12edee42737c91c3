import { types } from 'node:util'
import { invalid } from '../errors.ts'
import { binding, type NativeFeed, type Settled, settled } from './native.ts'

/** Up to this size bytes are copied at the call, so that the caller may use its array again at once. */
export const COPIED_BYTES = 1 << 20

/** How much of a larger array is copied at a time: this thread does it, and other work waits meanwhile. */
const PART_BYTES = 1 << 20

/**
 * Hands a large array to a change, part by part as the engine takes it. The change takes its place
 * among the others at the call. If the memory of the array goes away meanwhile, the change fails.
 */
export async function feed(
  bytes: Uint8Array,
  change: (native: NativeFeed) => Promise<Settled<undefined>>,
): Promise<void> {
  const native = new binding.NativeFeed(bytes.length)
  const changing = change(native)
  const size = bytes.length
  try {
    for (let at = 0; at < size; at += PART_BYTES) {
      const part = partOf(bytes, at, Math.min(PART_BYTES, size - at))
      if (!(await settled(native.push(part)))) break
    }
  } catch (error) {
    native.fail()
    // It fails as well, because of this.
    await changing
    throw error
  }
  await settled(changing)
}

/** A part of an array whose memory may go away. */
export function partOf(bytes: Uint8Array, at: number, length: number): Uint8Array {
  // It has no length any more, and may not even be asked for a part.
  if (bytes.length >= at + length) return ownBytes(bytes.subarray(at, at + length))
  throw invalid('the array was transferred, or its buffer made smaller, while it was written: nothing is written')
}

/**
 * Bytes that no other thread changes while the engine copies them: JavaScript's own copy of shared
 * memory is safe, where another reader's is a data race.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  return types.isSharedArrayBuffer(bytes.buffer) ? Uint8Array.from(bytes) : bytes
}
