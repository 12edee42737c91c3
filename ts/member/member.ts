import type { NativeMember, NativeTime } from '../binding/native.ts'

/** A member: a named byte string in a coffer, or a directory. */
export interface Member {
  /** Its name: components joined by `/`. */
  name: string
  /** A file or a directory. */
  type: 'file' | 'directory'
  /** The number of its bytes; 0 for a directory. */
  size: number
  /** The number of bytes that they take in the coffer, compressed and sealed. */
  storedSize: number
  /** The time of the last change, to the millisecond; the nearest possible `Date` if it is out of range. */
  mtime: Date
  /** The time of the last change, in milliseconds since 1970, with a fraction. */
  mtimeMs: number
  /** Its permission bits, such as 0o644. */
  mode: number
}

/** A member with its time in nanoseconds, as `bigint: true` asks for it. */
export interface BigIntMember extends Member {
  /** The time of the last change, in nanoseconds since 1970. */
  mtimeNs: bigint
}

/** A member, from the engine's form. */
export function memberFrom({ name, directory, size, storedSize, mtime, mode }: NativeMember): Member {
  return {
    name,
    type: directory ? 'directory' : 'file',
    size,
    storedSize,
    mtime: dateOf(mtime),
    mtimeMs: mtime.seconds * 1_000 + mtime.nanoseconds / 1_000_000,
    mode,
  }
}

/** The same, with the time in nanoseconds. */
export function bigIntMemberFrom(native: NativeMember): BigIntMember {
  return { ...memberFrom(native), mtimeNs: timeNs(native.mtime) }
}

/** Milliseconds that a `Date` can have on either side of 1970 (ECMA-262, section 21.4.1.1). */
const MAX_DATE_MS = 8.64e15

function dateOf({ seconds, nanoseconds }: NativeTime): Date {
  const time = seconds * 1_000 + Math.floor(nanoseconds / 1_000_000)
  return new Date(Math.min(Math.max(time, -MAX_DATE_MS), MAX_DATE_MS))
}

/** A time in nanoseconds since 1970. */
export function timeNs({ seconds, nanoseconds, exact }: NativeTime): bigint {
  return (exact ?? BigInt(seconds)) * 1_000_000_000n + BigInt(nanoseconds)
}

/** Whether a name is a directory, or below it. */
export function isWithin(name: string, directory: string): boolean {
  return name === directory || name.startsWith(`${directory}/`)
}

/** Names of the directory with the records of plugins, also below the directory for unverified members of salvage. */
const OF_PLUGINS = /^(\.salvaged(-\d+)?\/)?\.plugins(\/|$)/

/** Whether a name is the directory with the records of plugins, or below it. */
export function isOfPlugins(name: string): boolean {
  return OF_PLUGINS.test(name)
}
