import type { NativeMember, NativeTime } from './native.ts'

/** A member: a named byte string in a coffer, or a directory. */
export interface Member {
  /** Its name: components joined by `/`. */
  name: string
  /** Which of the two it is. */
  type: 'file' | 'directory'
  /** The number of its bytes; 0 for a directory. */
  size: number
  /** The number of bytes that they take in the coffer, compressed and sealed. */
  storedSize: number
  /** When it was changed last, to the millisecond. */
  mtime: Date
  /** When it was changed last, in nanoseconds since 1970. */
  mtimeNs: bigint
  /** Its permission bits, such as 0o644. */
  mode: number
}

/** A member from its native form. */
export function memberFrom({ name, directory, size, storedSize, mtime, mode }: NativeMember): Member {
  return {
    name,
    type: directory ? 'directory' : 'file',
    size,
    storedSize,
    mtime: new Date(mtime.seconds * 1_000 + Math.floor(mtime.nanoseconds / 1_000_000)),
    mtimeNs: timeNs(mtime),
    mode,
  }
}

/** A time in nanoseconds since 1970. */
export function timeNs({ seconds, nanoseconds }: NativeTime): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
}

/** Whether a name is that of the directory in which plugins keep their records, or is below it. */
export function isOfPlugins(name: string): boolean {
  return name === '.plugins' || name.startsWith('.plugins/')
}
