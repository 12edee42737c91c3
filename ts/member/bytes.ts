/**
 * Bytes that Coffer returns: a `Buffer` over an `ArrayBuffer` of its own, as `Blob`, `Response` and
 * `crypto.subtle` take it. Where the types of Node.js have no type parameter for `Buffer`, it is a `Buffer`.
 */
export type CofferBytes = ReturnType<typeof Buffer.alloc>

/** Bytes of the engine, as the type that users get: the engine's buffers have memory of their own. */
export function bytesFrom(bytes: Buffer): CofferBytes {
  return bytes as CofferBytes
}
