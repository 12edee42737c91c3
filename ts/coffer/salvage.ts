import { binding } from '../binding/native.ts'
import { checkBoolean, checkPath } from '../check.ts'
import type { Kind } from '../keys/kinds.ts'
import { checkSecret, wipe } from '../keys/secret.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import type { Notice } from './open.ts'
import { type Commit, checkOpenOptions, type OpenOptions } from './options.ts'

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
    > {
  /**
   * Whether members that no commit vouches for get the names that they claim: false by default, and
   * then they are kept apart, below a directory. Anyone who chose contents may have made them up.
   */
  claimedNames?: boolean | undefined
}

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
  'claimedNames',
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
   * The names in the new coffer of those members that no commit vouches for. Each is whole, but
   * perhaps it is an old version, or was never committed, or was deleted; or it never was a member,
   * and was made up by a person who chose the contents of another one.
   */
  unverified: string[]
  /**
   * The directory of the new coffer that these are below, each under the name that it claims:
   * `.salvaged`, or with a number where the coffer had that. Null if there are none, or all of them
   * have the names that they claim.
   */
  apart: string | null
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
  const claimedNames = checkBoolean(options.claimedNames, 'claimedNames') ?? false
  const { maxKdfMemory, lock, lockTimeout, durability, legacy, signal, onProgress } = options
  const common = checkOpenOptions({ maxKdfMemory, lock, lockTimeout, durability, legacy })
  const secret = checkSecret(kind, options)
  const salvaging = watched({ signal, onProgress }, (watch) =>
    binding.salvage(from, to, { mode: 'r', kind: kind.native, ...common, ...secret }, claimedNames, watch),
  )
  // The engine has copies of its own by now, and wipes them when it is done.
  wipe(secret)
  const { commit, apart, lost, ...salvaged } = await salvaging
  return { ...salvaged, apart: apart ?? null, lost: lost as LostMember[], commit: commit ?? null }
}
