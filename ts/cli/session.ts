import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { CofferBank } from '../bank.ts'
import type { Coffer } from '../coffer.ts'
import { CofferError } from '../errors.ts'
import { identify } from '../identify.ts'
import { CofferMarket } from '../market.ts'
import { CofferNull } from '../null.ts'
import type { OpenOptions } from '../options.ts'
import type { Salvaged, SalvageOptions } from '../salvage.ts'
import { CofferStore } from '../store.ts'
import { UsageError } from './exit.ts'
import { changes, interrupted } from './interrupt.ts'
import {
  askPassphrase,
  canAskPassphrase,
  environmentHasKeys,
  findKeys,
  type KeyOptions,
  type Keys,
  sectionHasKeys,
} from './keys.ts'
import { warn } from './output.ts'
import { type CipherName, expandHome, type KindName, kindNames } from './section.ts'
import { findTarget, type Target, type TargetOptions } from './target.ts'

/** The options that all commands have. */
export interface CommonOptions extends TargetOptions, KeyOptions {
  type?: KindName
  cipher?: CipherName
  lockTimeout?: number
  json?: boolean
  quiet?: boolean
}

/** How a command uses a coffer. */
export interface Use {
  /** Whether PyCoffer's format is accepted. */
  legacy?: boolean
  /** The most bytes that a coffer in that format may unpack to, of a member and of all. */
  maxMemberSize?: number
  maxTotalSize?: number
  /** The most bytes that its list of members may have. */
  maxCatalogSize?: number
  /** Keep a copy under this suffix. */
  backup?: string | true
  /** Whether the coffer is made if there is none. */
  create?: boolean
}

const classes = { bank: CofferBank, store: CofferStore, market: CofferMarket, null: CofferNull } as const

/** Which keys each kind needs. */
export const neededKeys: Readonly<Record<KindName, readonly ('cofferKey' | 'secureKey')[]>> = {
  bank: ['cofferKey', 'secureKey'],
  store: ['cofferKey'],
  market: ['secureKey'],
  null: [],
}

/** Reads with a coffer, and closes it. */
export async function reading<T>(command: Command, use: Use, work: (coffer: Coffer) => Promise<T>): Promise<T> {
  const coffer = await openTarget(command.optsWithGlobals(), 'r', use)
  try {
    return await work(coffer)
  } finally {
    await coffer.close()
  }
}

/** Changes a coffer, flushes, and closes it. If the work fails, nothing of it is flushed. */
export async function changing<T>(command: Command, use: Use, work: (coffer: Coffer) => Promise<T>): Promise<T> {
  const coffer = await openTarget(command.optsWithGlobals(), 'a', use)
  changes(coffer.path)
  let result: T
  try {
    result = await work(coffer)
    await coffer.flush()
  } catch (error) {
    // What went wrong first is what counts.
    await coffer.close().catch(() => {})
    throw error
  }
  await coffer.close()
  return result
}

/** Brings what is not damaged in a coffer into a new one. */
export async function salvaging(command: Command, to: string, options: SalvageOptions): Promise<Salvaged> {
  const common = command.optsWithGlobals<CommonOptions>()
  const target = await findTarget(common)
  if (!existsSync(target.path)) throw missing(target.path)
  const kind = await kindOf(target, common, true)
  const { cipher } = common
  const given = {
    ...(await keysOf(target, kind, common, true)),
    ...(kind === 'bank' ? { cipher: cipher ?? target.section?.cipher } : {}),
    lockTimeout: common.lockTimeout,
  }
  const { signal, onProgress, legacy, claimedNames } = options
  return classes[kind].salvage(target.path, expandHome(to), { ...given, signal, onProgress, legacy, claimedNames })
}

/** Whether keys for a coffer are at hand without asking; for a kind without keys they are. */
export function hasKeys(target: Target, options: CommonOptions, kind: string | undefined): boolean {
  if (kind === 'null') return true
  const { section } = target
  return (
    options.askPassphrase === true ||
    options.passwordCommand !== undefined ||
    options.keyring !== undefined ||
    environmentHasKeys() ||
    (section !== undefined && sectionHasKeys(section))
  )
}

/** The signal of Ctrl-C, in the form that the long calls take. */
export const stoppable = { signal: interrupted } as const

async function openTarget(options: CommonOptions, mode: 'r' | 'a', use: Use): Promise<Coffer> {
  const target = await findTarget(options)
  const exists = existsSync(target.path)
  if (!exists && !use.create) throw missing(target.path)
  const kind = await kindOf(target, options, exists)
  const keys = await keysOf(target, kind, options, exists)
  const { section } = target
  const open: OpenOptions = {
    ...keys,
    ...(kind === 'bank' ? { cipher: options.cipher ?? section?.cipher } : {}),
    autoFlush: section?.autoFlush,
    level: section?.level,
    lockTimeout: options.lockTimeout,
    legacy: use.legacy,
    maxMemberSize: use.maxMemberSize,
    maxTotalSize: use.maxTotalSize,
    maxCatalogSize: use.maxCatalogSize,
    backup: mode === 'r' ? undefined : (use.backup ?? section?.backup),
    signal: interrupted,
  }
  const coffer = await classes[kind].open(target.path, mode, open)
  for (const { code, message } of coffer.notices) if (code !== 'legacy') warn(message)
  return coffer
}

function missing(path: string): CofferError {
  return new CofferError('ERR_COFFER_NOT_FOUND', `there is no coffer ${path}`, { path })
}

async function kindOf({ name, path, section }: Target, options: CommonOptions, exists: boolean): Promise<KindName> {
  const said = options.type ?? section?.type
  if (said !== undefined) return said
  const found = exists ? (await identify(path)).kind : undefined
  const kind = kindNames.find((kind) => kind === found)
  if (kind !== undefined) return kind
  throw new UsageError(`what kind of coffer is ${name}? --type says one of ${kindNames.join(', ')}`)
}

async function keysOf(target: Target, kind: KindName, options: CommonOptions, exists: boolean): Promise<Keys> {
  const needed = neededKeys[kind]
  if (needed.length === 0) return {}
  const keys = await findKeys(target.name, options, target.section, !exists)
  if (keys.passphrase !== undefined || keys.cofferKey !== undefined || keys.secureKey !== undefined) return keys
  if (exists && canAskPassphrase() && (await identify(target.path)).passphrase) return askPassphrase(target.name, false)
  throw new UsageError(
    `there are no keys for ${target.name}: they come from the configuration, the environment (COFFER_KEY, COFFER_SECURE_KEY, COFFER_PASSPHRASE), --password-command, --keyring, or --ask-passphrase`,
  )
}
