import { checkInteger } from '../check.ts'

/**
 * What {@link CofferFile.read} takes.
 *
 * @typeParam Into the type of the buffer
 */
export interface FileReadOptions<Into extends NodeJS.ArrayBufferView = Buffer> {
  /** The buffer to fill: a new one of 16,384 bytes by default. */
  buffer?: Into | undefined
  /** The offset in the buffer, in bytes: 0 by default. */
  offset?: number | undefined
  /** The most bytes to read: as many as fit by default. */
  length?: number | undefined
  /** The offset in the member; by default, or with null or -1, the end of the last read. */
  position?: number | bigint | null | undefined
}

/** What {@link CofferFile.write} takes for bytes. */
export interface FileWriteOptions {
  /** The offset in the buffer: 0 by default. */
  offset?: number | undefined
  /** The number of bytes: to the end of the buffer by default. */
  length?: number | undefined
  /** The end of the member, or null: a handle writes sequentially. */
  position?: number | null | undefined
}

/**
 * What {@link CofferFile.read} read.
 *
 * @typeParam Into the type of the buffer
 */
export interface FileReadResult<Into extends NodeJS.ArrayBufferView> {
  /** The number of bytes read: 0 at the end of the member. */
  bytesRead: number
  /** The filled buffer. */
  buffer: Into
}

/**
 * What {@link CofferFile.write} wrote.
 *
 * @typeParam Data the type of what was given
 */
export interface FileWriteResult<Data extends string | Uint8Array> {
  /** The number of bytes written. */
  bytesWritten: number
  /** The given data. */
  buffer: Data
}

/** The positional arguments after a buffer, as options. */
export function positional(offset: unknown, length: unknown, position: unknown) {
  return {
    offset: (offset ?? undefined) as number | undefined,
    length: (length ?? undefined) as number | undefined,
    position: position as number | null | undefined,
  }
}

/** Checks a position; null is the current one. */
export function checkPosition(position: number | bigint | null | undefined): number | null {
  if (position === undefined || position === null || position === -1 || position === -1n) return null
  const number = typeof position === 'bigint' ? Number(position) : position
  return checkInteger(number, 'position', 0, Number.MAX_SAFE_INTEGER) ?? null
}
