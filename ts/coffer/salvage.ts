import { binding } from '../binding/native.ts'
import { checkBoolean, checkPath } from '../check.ts'
import type { Kind } from '../keys/kinds.ts'
import { checkSecret, lend, type SecretOptions, secretNames } from '../keys/secret.ts'
import { type WatchOptions, watched, watchOptions } from '../progress.ts'
import type { CofferNotice } from './open.ts'
import { type CofferCommit, checkOpenOptions, type WritableOptions } from './options.ts'

/** What {@link Coffer.salvage} takes beside the keys: the options of `open` that apply. */
export interface SalvageOptions
  extends WatchOptions,
    Pick<WritableOptions, 'maxKdfMemory' | 'lock' | 'lockTimeout' | 'durability' | 'legacy'> {
  /**
   * Whether members that no commit authenticates get the names that they claim. By default they do not, and
   * are stored below a separate directory: they may be forged inside the contents of another member.
   */
  claimedNames?: boolean | undefined
}

/** The names of {@link SalvageOptions}, and those of the keys and the passphrase. */
export const salvageOptions: readonly (keyof SalvageOptions | (typeof secretNames)[number])[] = [
  ...secretNames,
  'maxKdfMemory',
  'lock',
  'lockTimeout',
  'durability',
  'legacy',
  'claimedNames',
  ...watchOptions,
]

/** A member that {@link Coffer.salvage} could not recover. */
export interface LostMember {
  /** Its name. */
  name: string
  /**
   * `damaged`; `missing` if the file ends before it, or its position is unknown; `overwritten` if a commit
   * that cannot be read has deleted or moved it; `refused` if its name or type is not allowed.
   */
  reason: 'damaged' | 'missing' | 'overwritten' | 'refused'
  /** Details; the text may change. */
  message: string
  /** The unreadable blocks of the member, as ranges of the damaged file. */
  damage: {
    /** The first byte. */
    from: number
    /** The byte after the last one. */
    to: number
  }[]
}

/** The result of {@link Coffer.salvage}. */
export interface SalvageResult {
  /** The number of members in the new coffer. */
  members: number
  /** The number of their bytes. */
  bytes: number
  /**
   * The names in the new coffer of members that no commit authenticates. Each is complete, but it may be an
   * old version, may never have been committed, or may have been deleted; or it may be forged inside the
   * contents of another member.
   */
  unverified: string[]
  /**
   * The directory of the new coffer with these members, each under the name that it claims: `.salvaged`,
   * with a number if the coffer had that name. Null if there are none, or with `claimedNames`.
   */
  apart: string | null
  /** The members with known names that could not be recovered. */
  lost: LostMember[]
  /** The number of readable bytes that belong to no member with a known name. */
  nameless: number
  /** The newest readable commit; null if there is none. */
  head: CofferCommit | null
  /**
   * Whether every needed commit could be read: then `lost` lists everything that is lost. For a coffer that
   * PyCoffer wrote, whether it was read from beginning to end.
   */
  complete: boolean
  /** Other conditions that were found. The codes are in docs/api.md. */
  notices: CofferNotice[]
}

/** Salvages a coffer of a kind. The caller has checked the names of the options. */
export async function salvage(
  path: string | URL,
  target: string | URL,
  kind: Kind,
  options: SalvageOptions & SecretOptions,
): Promise<SalvageResult> {
  const from = checkPath(path, 'the path of a coffer')
  const to = checkPath(target, 'the target of salvage')
  const claimedNames = checkBoolean(options.claimedNames, 'claimedNames') ?? false
  const { maxKdfMemory, lock, lockTimeout, durability, legacy, signal, onProgress } = options
  const common = checkOpenOptions({ maxKdfMemory, lock, lockTimeout, durability, legacy })
  const { commit, apart, lost, ...salvaged } = await lend(checkSecret(kind, options), (secret) =>
    watched({ signal, onProgress }, (watch) =>
      binding.salvage(from, to, { mode: 'r', kind: kind.native, ...common, ...secret }, claimedNames, watch),
    ),
  )
  const { notices, ...rest } = salvaged
  return {
    ...rest,
    notices: notices as CofferNotice[],
    apart: apart ?? null,
    lost: lost as LostMember[],
    head: commit ?? null,
  }
}
