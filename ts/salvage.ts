import type { Notice } from './coffer.ts'
import { checkSecret, type Kind, wipe } from './kinds.ts'
import { binding } from './native.ts'
import { type Commit, checkOpenOptions, checkPath, type OpenOptions } from './options.ts'
import { type WatchOptions, watched, watchOptions } from './watch.ts'

/** What {@link Coffer.salvage} takes: what opens the coffer, and what `open` takes that matters here. */
export interface SalvageOptions
  extends WatchOptions,
    Pick<
      OpenOptions,
      | 'cofferKey'
      | 'secureKey'
      | 'passphrase'
      | 'maxKdfMemory'
      | 'cipher'
      | 'lock'
      | 'lockTimeout'
      | 'durability'
      | 'legacy'
    > {}

/** The names of {@link SalvageOptions}, but for `cipher`, which only a bank has. */
export const salvageOptions = [
  'cofferKey',
  'secureKey',
  'passphrase',
  'maxKdfMemory',
  'lock',
  'lockTimeout',
  'durability',
  'legacy',
  ...watchOptions,
] as const satisfies (keyof SalvageOptions)[]

/** A member that {@link Coffer.salvage} could not bring over. */
export interface LostMember {
  /** Its name. */
  name: string
  /**
   * `damaged`; `missing` if the file ends before it, or nothing says where it is; `overwritten` if
   * a commit that cannot be read deleted or moved it; `refused` if its name is, or what it is.
   */
  reason: 'damaged' | 'missing' | 'overwritten' | 'refused'
  /** What is known beyond that; this may change. */
  message: string
  /** Where in the damaged file its blocks lie that could not be read. */
  damage: {
    /** The first byte. */
    from: number
    /** The byte behind the last one. */
    to: number
  }[]
}

/** What {@link Coffer.salvage} brought over, and what is lost. */
export interface Salvaged {
  /** The number of members in the new coffer. */
  members: number
  /** The number of their bytes. */
  bytes: number
  /**
   * The names of those members that no commit vouches for: each is whole, but perhaps it is an old
   * version, or was never committed, or was deleted.
   */
  unverified: string[]
  /** The members whose names are known, and that could not be brought over. */
  lost: LostMember[]
  /** The number of bytes that could be read, and belong to no member whose name is known. */
  nameless: number
  /** The newest commit that could be read; null if none could. */
  commit: Commit | null
  /**
   * Whether every commit that is needed could be read: then `lost` is all that is lost. Of a coffer
   * that PyCoffer wrote, whether it was read from beginning to end.
   */
  complete: boolean
  /** What was found beside. The codes are in docs/api.md. */
  notices: Notice[]
}

/** Salvages a coffer of a kind. The names of the options have been checked. */
export async function salvage(
  path: string | URL,
  target: string | URL,
  kind: Kind,
  options: SalvageOptions,
): Promise<Salvaged> {
  const from = checkPath(path, 'the path of a coffer')
  const to = checkPath(target, 'the target of salvage')
  const { maxKdfMemory, lock, lockTimeout, durability, legacy, signal, onProgress } = options
  const common = checkOpenOptions({ maxKdfMemory, lock, lockTimeout, durability, legacy })
  const secret = checkSecret(kind, options)
  const salvaging = watched({ signal, onProgress }, (watch) =>
    binding.salvage(from, to, { mode: 'r', kind: kind.native, ...common, ...secret }, watch),
  )
  // The engine has copies of its own by now, and wipes them when it is done.
  wipe(secret)
  const { commit, lost, ...salvaged } = await salvaging
  return { ...salvaged, lost: lost as LostMember[], commit: commit ?? null }
}
