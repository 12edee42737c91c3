import { types } from 'node:util'
import { invalid } from '../errors.ts'
import { binding, type NativeFeed, type Settled, settled } from './native.ts'

/** Arrays of up to so many bytes are copied during the call, so that the caller may reuse them at once. */
export const COPIED_BYTES: number = 1 << 20

/** The bytes of a larger array that are copied at a time. The copy blocks JavaScript's thread. */
const PART_BYTES = 1 << 20

/**
 * Writes a large array part by part, as the engine takes it. The change is queued during the call. If
 * the array is transferred or shrunk before its end, the change fails.
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
    // It fails, too, because its feed failed.
    await changing
    throw error
  }
  await settled(changing)
}

/** A part of an array that may have been transferred or shrunk. */
export function partOf(bytes: Uint8Array, at: number, length: number): Uint8Array {
  // A detached array has a length of 0, and `subarray` would throw.
  if (bytes.length >= at + length) return ownBytes(bytes.subarray(at, at + length))
  throw invalid('the array was transferred, or its buffer made smaller, while it was written: nothing is written')
}

/**
 * Bytes that no other thread changes while the engine copies them. Shared memory is copied by
 * JavaScript first: reading it from native code would be a data race.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  return types.isSharedArrayBuffer(bytes.buffer) ? Uint8Array.from(bytes) : bytes
}
