import { checkInteger } from '../check.ts'

/**
 * What {@link CofferFile.read} takes.
 *
 * @typeParam Into the type of the buffer
 */
export interface FileReadOptions<Into extends NodeJS.ArrayBufferView = Buffer> {
  /** Where the bytes go: 16,384 new ones by default. */
  buffer?: Into | undefined
  /** Where in the buffer they begin, in bytes: 0 by default. */
  offset?: number | undefined
  /** How many bytes to read at most: as many as fit by default. */
  length?: number | undefined
  /** The byte of the member to begin with; by default, or with null or -1, where the last read ended. */
  position?: number | bigint | null | undefined
}

/** What {@link CofferFile.write} takes for bytes. */
export interface FileWriteOptions {
  /** Where in the buffer the bytes begin: 0 by default. */
  offset?: number | undefined
  /** How many they are: to the end of the buffer by default. */
  length?: number | undefined
  /** The end of the member, or null: a handle writes one byte after another. */
  position?: number | null | undefined
}

/**
 * What {@link CofferFile.read} read.
 *
 * @typeParam Into the type of the buffer
 */
export interface FileRead<Into extends NodeJS.ArrayBufferView> {
  /** How many bytes were read: none at the end of the member. */
  bytesRead: number
  /** Where they are. */
  buffer: Into
}

/**
 * What {@link CofferFile.write} wrote.
 *
 * @typeParam Data the type of what was given
 */
export interface FileWritten<Data extends string | Uint8Array> {
  /** How many bytes were written. */
  bytesWritten: number
  /** What was given. */
  buffer: Data
}

/** The three arguments behind a buffer. */
export function positional(offset: unknown, length: unknown, position: unknown) {
  return {
    offset: (offset ?? undefined) as number | undefined,
    length: (length ?? undefined) as number | undefined,
    position: position as number | null | undefined,
  }
}

/** A position, or null for the current one. */
export function checkPosition(position: number | bigint | null | undefined): number | null {
  if (position === undefined || position === null || position === -1 || position === -1n) return null
  const number = typeof position === 'bigint' ? Number(position) : position
  return checkInteger(number, 'position', 0, Number.MAX_SAFE_INTEGER) ?? null
}
