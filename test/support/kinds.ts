import type {
  BankCipherOption,
  Coffer,
  CofferKey,
  OpenFlags,
  Passphrase,
  ReplaceOptions,
  SalvageOptions,
  SalvageResult,
} from './coffer.ts'
import * as coffer from './coffer.ts'

/** The classes of the package, by name: a name can be handed to another process. */
export type ClassName = 'CofferBank' | 'CofferStore' | 'CofferMarket' | 'CofferNull'

/** The label of a kind with a container cipher, as the Python side knows it too. */
export type Label = 'bank' | 'bank-aes-ocb' | 'store' | 'market' | 'null'

/** Keys as `generateKeys` returns them, for a kind that may not need both. */
export interface Keys {
  readonly cofferKey?: string
  readonly secureKey?: string
}

/** One row of the table of kinds. */
export interface Kind {
  readonly label: Label
  readonly className: ClassName
  /** What the container's chunks are sealed with; null for a container that is not sealed. */
  readonly container: 'fernet' | 'aes-ocb' | 'secretbox' | null
  /** Whether a member's bytes are sealed before they enter the tar. */
  readonly sealedMembers: boolean
}

const table: readonly Kind[] = [
  { label: 'bank', className: 'CofferBank', container: 'fernet', sealedMembers: true },
  { label: 'bank-aes-ocb', className: 'CofferBank', container: 'aes-ocb', sealedMembers: true },
  { label: 'store', className: 'CofferStore', container: 'secretbox', sealedMembers: false },
  { label: 'market', className: 'CofferMarket', container: null, sealedMembers: true },
  { label: 'null', className: 'CofferNull', container: null, sealedMembers: false },
]

/** Every kind. */
export const kinds = table
/** The kinds that have a key. */
export const keyedKinds = table.filter((kind) => kind.container !== null || kind.sealedMembers)
/** The kinds whose container is sealed. */
export const sealedKinds = table.filter((kind) => kind.container !== null)

/** The kind with a label. */
export function kindOf(label: Label): Kind {
  const found = table.find((kind) => kind.label === label)
  if (found === undefined) throw new Error(`no kind ${label}`)
  return found
}

/** What opens a coffer of any kind, as a value whose kind is not in its type. */
export interface AnySecret extends BankCipherOption {
  readonly cofferKey?: CofferKey | undefined
  readonly secureKey?: CofferKey | undefined
  readonly passphrase?: Passphrase | undefined
}

/**
 * The options of `open` of any class and mode. The package's types differ from class to class and from mode to mode; a
 * test that goes through the table has all of them as values.
 */
export interface AnyOptions extends ReplaceOptions, AnySecret {}

/** A class of the package: the calls that each has, with the options of any. */
export interface AnyClass {
  open(path: string | URL, mode: OpenFlags, options?: AnyOptions): Promise<Coffer>
  salvage(path: string | URL, target: string | URL, options?: SalvageOptions & AnySecret): Promise<SalvageResult>
  generateKeys(options?: object): Keys
}

/** The class with a name. */
export function classOf(name: ClassName): AnyClass {
  return coffer[name] as AnyClass
}

/** Fresh keys for a kind. */
export function keysFor(kind: Kind): Keys {
  switch (kind.className) {
    case 'CofferBank':
      return coffer.CofferBank.generateKeys({ cipher: kind.container === 'aes-ocb' ? 'aes-ocb' : 'fernet' })
    case 'CofferStore':
      return coffer.CofferStore.generateKeys()
    case 'CofferMarket':
      return coffer.CofferMarket.generateKeys()
    case 'CofferNull':
      return coffer.CofferNull.generateKeys()
  }
}

/** The options that open a kind: its keys, and the cipher where the class leaves a choice. */
export function optionsFor(kind: Kind, keys: Keys): AnyOptions {
  return kind.label === 'bank-aes-ocb' ? { ...keys, cipher: 'aes-ocb' } : { ...keys }
}

/** Opens a coffer of a kind. */
export async function openKind(
  kind: Kind,
  path: string,
  mode: 'r' | 'r+' | 'w' | 'a' | 'x',
  keys: Keys,
  options: AnyOptions = {},
): Promise<Coffer> {
  return classOf(kind.className).open(path, mode, { ...optionsFor(kind, keys), ...options })
}

/** Every file member's name and bytes, read through an open coffer. */
export async function contents(box: Coffer): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for (const member of await box.members()) {
    if (member.type === 'file') found.set(member.name, await box.read(member.name))
  }
  return found
}
