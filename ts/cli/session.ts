import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { CofferBank } from '../coffer/bank.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { identify } from '../coffer/identify.ts'
import { CofferMarket } from '../coffer/market.ts'
import { CofferNull } from '../coffer/null.ts'
import type { Commit, OpenOptions } from '../coffer/options.ts'
import type { Salvaged, SalvageOptions } from '../coffer/salvage.ts'
import { CofferStore } from '../coffer/store.ts'
import { CofferError } from '../errors.ts'
import { type BankCipher, type FixedKindName, kindNames, neededKeys } from '../keys/kinds.ts'
import { keyless } from '../keys/secret.ts'
// Registers the plugins that come with Coffer.
import '../plugins/registry.ts'
import type { Changes } from './config/changes.ts'
import { changeSection } from './config/config.ts'
import {
  areOf,
  askPassphrase,
  canAskPassphrase,
  environmentHasKeys,
  findKeys,
  type KeyOptions,
  type Keys,
  nextKeys,
  renewed,
  sectionHasKeys,
} from './config/keys.ts'
import { expandHome } from './config/section.ts'
import { findTarget, type Target, type TargetOptions } from './config/target.ts'
import { UsageError } from './exit.ts'
import { changes, interrupted, untilInterrupted } from './terminal/interrupt.ts'
import { warn } from './terminal/output.ts'

/** The options of all commands. */
export interface CommonOptions extends TargetOptions, KeyOptions {
  type?: FixedKindName
  cipher?: BankCipher
  lockTimeout?: number
  expect?: Commit
  json?: boolean
  quiet?: boolean
}

/** Options of a command for opening a coffer. */
export interface Use {
  /** Whether PyCoffer's format is accepted. */
  legacy?: boolean
  /** The most bytes of a member, and of all members, of a coffer in that format. */
  maxMemberSize?: number
  maxTotalSize?: number
  /** The most bytes of the catalog. */
  maxCatalogSize?: number
  /** The suffix of a copy of the file. */
  backup?: string | true
  /** Whether a missing coffer is created. */
  create?: boolean
}

const classes = { bank: CofferBank, store: CofferStore, market: CofferMarket, null: CofferNull } as const

/** An open coffer, with the target and the keys that it was opened with. */
export interface Session {
  coffer: Coffer
  target: Target
  /** The keys that opened it. */
  keys: Keys
}

/** Opens a coffer for reading, runs a function with it, and closes it. */
export async function reading<T>(command: Command, use: Use, work: (coffer: Coffer) => Promise<T>): Promise<T> {
  const { coffer } = await openTarget(command.optsWithGlobals(), 'r', use)
  try {
    return await work(coffer)
  } finally {
    await coffer.close()
  }
}

/**
 * Opens a coffer for changes, runs a function with it, flushes, and closes it. If the function fails, nothing
 * is flushed.
 */
export async function changing<T>(
  command: Command,
  use: Use,
  work: (coffer: Coffer, session: Session) => Promise<T>,
): Promise<T> {
  const session = await openTarget(command.optsWithGlobals(), 'a', use)
  const { coffer } = session
  changes(coffer.path)
  let result: T
  try {
    result = await work(coffer, session)
    await coffer.flush()
  } catch (error) {
    // The first error is thrown.
    await coffer.close().catch(() => {})
    throw error
  }
  await coffer.close()
  return result
}

/** Salvages a coffer into a new one. */
export async function salvaging(command: Command, to: string, options: SalvageOptions): Promise<Salvaged> {
  const common = command.optsWithGlobals<CommonOptions>()
  const target = await findTarget(common)
  if (common.expect !== undefined) throw new UsageError('salvage has no --expect: what it reads may be any commit')
  if (!existsSync(target.path)) throw missing(target)
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

/** Whether a source of keys for a coffer is given. */
export function givesKeys({ section }: Target, options: CommonOptions): boolean {
  return (
    options.askPassphrase === true ||
    options.passwordCommand !== undefined ||
    options.keyring !== undefined ||
    environmentHasKeys() ||
    (section !== undefined && sectionHasKeys(section))
  )
}

/** The signal of Ctrl-C, as an option of long calls. */
export const stoppable = { signal: interrupted } as const

async function openTarget(options: CommonOptions, mode: 'r' | 'a', use: Use): Promise<Session> {
  const target = await findTarget(options)
  const exists = existsSync(target.path)
  if (!exists && (!use.create || options.expect !== undefined)) throw missing(target)
  const kind = await kindOf(target, options, exists)
  const keys = await keysOf(target, kind, options, exists)
  const { section } = target
  const open: OpenOptions = {
    ...(kind === 'bank' ? { cipher: options.cipher ?? section?.cipher } : {}),
    autoFlush: section?.autoFlush,
    level: section?.level,
    lockTimeout: options.lockTimeout,
    legacy: use.legacy,
    maxMemberSize: use.maxMemberSize,
    maxTotalSize: use.maxTotalSize,
    maxCatalogSize: use.maxCatalogSize,
    backup: mode === 'r' ? undefined : (use.backup ?? section?.backup),
    expect: options.expect,
    signal: interrupted,
  }
  const session = await openWith(target, keys, (keys) => classes[kind].open(target.path, mode, { ...open, ...keys }))
  const { coffer } = session
  try {
    if (exists) await checkArchive(session)
    else await noteArchive(coffer, target)
  } catch (error) {
    await coffer.close().catch(() => {})
    throw error
  }
  const quiet = ['legacy', 'created']
  for (const { code, message } of coffer.notices) if (!quiet.includes(code)) warn(message)
  return session
}

/** Opens a coffer, if necessary with the next keys of its section, which an interrupted command has left there. */
async function openWith(target: Target, keys: Keys, open: (keys: Keys) => Promise<Coffer>): Promise<Session> {
  const { section } = target
  const next = section && nextKeys(section)
  if (section === undefined || next === undefined || !areOf(section, keys))
    return { coffer: await open(keys), target, keys }
  try {
    return { coffer: await open(keys), target, keys }
  } catch (error) {
    if (!(error instanceof CofferError) || error.code !== 'ERR_COFFER_WRONG_KEY') throw error
    const coffer = await open(next).catch(() => {
      throw error
    })
    await noteInSection(target, renewed(section, next))
    return { coffer, target, keys: next }
  }
}

/** Checks the archive id of a coffer against its section. PyCoffer's format has no archive id. */
async function checkArchive({ coffer, target: { path, name, section } }: Session): Promise<void> {
  const expected = section?.archiveId
  if (expected === undefined) return
  const { archiveId } = await coffer.info()
  if (archiveId === undefined || archiveId === expected) return
  throw new CofferError(
    'ERR_COFFER_CORRUPT',
    `${path} is another coffer than the one that ${name} is about: its archive id is ${archiveId}, not ${expected}. If you put it there yourself, change archive_id in the section`,
    { path },
  )
}

/** Records the kind and archive id of a coffer in its section. */
export async function noteArchive(coffer: Coffer, target: Pick<Target, 'section' | 'conf'>): Promise<void> {
  const { archiveId, kind } = await coffer.info()
  const { section } = target
  if (section === undefined || archiveId === undefined || section.archiveId === archiveId) return
  await noteInSection(target, { ...(section.type === undefined ? { type: kind } : {}), archive_id: archiveId })
}

/** Changes a section. If that fails, the command continues with a warning of the missing entries. */
async function noteInSection({ section, conf }: Pick<Target, 'section' | 'conf'>, entries: Changes): Promise<void> {
  if (section === undefined || conf === undefined) return
  await changeSection(conf, section.name, entries).catch((error: Error) => {
    const open = Object.entries(entries).filter(([option]) => !option.endsWith('_key'))
    const lines = open.map(([option, value]) => `${option}: ${value}`).join(', ')
    warn(`${conf} could not be changed (${error.message}). What belongs into its section ${section.name}: ${lines}`)
  })
}

/** The error for a missing coffer. */
export function missing({ path, section }: Pick<Target, 'path' | 'section'>): CofferError {
  const message = section
    ? `there is no coffer ${path} yet: coffer add makes it`
    : `there is no coffer ${path}: coffer add makes one`
  return new CofferError('ERR_COFFER_NOT_FOUND', message, { path })
}

async function kindOf(target: Target, options: CommonOptions, exists: boolean): Promise<FixedKindName> {
  const { name, path, section } = target
  const said = options.type ?? section?.type
  if (section?.type !== undefined && said !== section.type) {
    throw new UsageError(`--type says ${said}, but the section ${name} says ${section.type}`)
  }
  const found = exists ? (await untilInterrupted(identify(path))).kind : undefined
  if (found === 'null' && givesKeys(target, options)) throw keyless(path)
  if (said !== undefined) return said
  const kind = kindNames.find((kind) => kind === found)
  if (kind !== undefined) return kind
  throw new UsageError(`what kind of coffer is ${name}? --type says one of ${kindNames.join(', ')}`)
}

async function keysOf(target: Target, kind: FixedKindName, options: CommonOptions, exists: boolean): Promise<Keys> {
  if (neededKeys(kind).length === 0) {
    if (givesKeys(target, options)) throw keyless(target.path)
    return {}
  }
  const keys = await findKeys(target.name, options, target.section, !exists)
  if (keys.passphrase !== undefined || keys.cofferKey !== undefined || keys.secureKey !== undefined) return keys
  if (exists && canAskPassphrase() && (await untilInterrupted(identify(target.path))).passphrase)
    return askPassphrase(target.name, false)
  throw new UsageError(
    `there are no keys for ${target.name}: they come from the configuration, the environment (COFFER_KEY, COFFER_SECURE_KEY, COFFER_PASSPHRASE), --password-command, --keyring, or --ask-passphrase`,
  )
}
