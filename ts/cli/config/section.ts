import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CofferKey } from '../../keys/key.ts'
import { type BankCipher, bankCiphers, type FixedKindName, kindNames } from '../../keys/kinds.ts'
import { UsageError } from '../exit.ts'
import { home } from './home.ts'

/** The entries of a configuration for one coffer. */
export interface Section {
  name: string
  type?: FixedKindName
  /** The file, or its directory; see {@link location}. */
  location?: string
  cofferKey?: CofferKey
  secureKey?: CofferKey
  /** The next keys of the coffer, recorded before it gets them. */
  nextCofferKey?: CofferKey
  nextSecureKey?: CofferKey
  /** The archive id of the coffer, in hexadecimal. */
  archiveId?: string
  cipher?: BankCipher
  backup?: string
  autoFlush?: boolean
  level?: number
  /** A command that prints the passphrase or the keys: a line for the shell, or a program with arguments. */
  passwordCommand?: string | readonly string[]
  /** The service of the system's keyring with the passphrase or the keys. */
  keyring?: string
  /** Whether a passphrase is asked for. */
  passphrase?: boolean
  /** PyCoffer's method of getting the keys, if it is not the file. */
  auth?: string
}

/** The defaults of the command line. */
export interface Defaults {
  /** The name of the coffer. */
  coffer?: string
  /** The kind of a new coffer. */
  type?: string
  location?: string
  backup?: string
}

/** The file of a coffer. In a directory it is `.name`, as in PyCoffer. */
export async function location({ name, location }: Section): Promise<string> {
  const hidden = `.${name}`
  if (location === undefined) return hidden
  const path = expandHome(location)
  return (await isDirectory(path)) ? join(path, hidden) : path
}

/** A path in which `~` is the home directory. */
export function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(home(`write ${path} as an absolute path`), path.slice(1)) : path
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
}

/** Parses the entries of DEFAULT. */
export function defaultsFrom(name: string, entries: Readonly<Record<string, unknown>>): Defaults {
  const texts = new Entries(name, entries)
  return {
    coffer: texts.text('coffer'),
    type: texts.text('type'),
    location: texts.text('location'),
    backup: texts.text('backup'),
  }
}

/** Parses a section. Unknown entries are ignored. */
export function sectionFrom(name: string, entries: Readonly<Record<string, unknown>>): Section {
  const values = new Entries(name, entries)
  return {
    name,
    type: values.choice('type', kindNames),
    location: values.text('location'),
    cofferKey: values.key('coffer_key'),
    secureKey: values.key('secure_key'),
    nextCofferKey: values.key('next_coffer_key'),
    nextSecureKey: values.key('next_secure_key'),
    archiveId: values.hexadecimal('archive_id'),
    cipher: values.choice('cipher', bankCiphers),
    backup: values.text('backup'),
    autoFlush: values.flag('auto_flush'),
    level: values.integer('level'),
    passwordCommand: values.command('password_command') ?? values.command('passwordCommand'),
    keyring: values.text('keyring'),
    passphrase: values.flag('passphrase'),
    auth: values.text('auth'),
  }
}

/** Reads the entries of a section by type. No value appears in a message. */
class Entries {
  readonly #section: string
  readonly #values: Readonly<Record<string, unknown>>

  constructor(section: string, values: Readonly<Record<string, unknown>>) {
    this.#section = section
    this.#values = values
  }

  text(name: string): string | undefined {
    const value = this.#get(name)
    if (value === undefined || typeof value === 'string') return value
    throw this.#wrong(name, 'text')
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw this.#wrong(name, `one of ${choices.join(', ')}`)
    return found
  }

  key(name: string): CofferKey | undefined {
    const value = this.#get(name)
    if (value === undefined || typeof value === 'string' || value instanceof Uint8Array) return value
    throw this.#wrong(name, 'a key: base64 text, or !!binary')
  }

  hexadecimal(name: string): string | undefined {
    const value = this.text(name)
    if (value === undefined || /^[0-9a-f]{32}$/i.test(value)) return value?.toLowerCase()
    throw this.#wrong(name, '32 hexadecimal digits')
  }

  flag(name: string): boolean | undefined {
    const value = this.#get(name)
    if (value === undefined || typeof value === 'boolean') return value
    if (value === 'true' || value === 'yes') return true
    if (value === 'false' || value === 'no') return false
    throw this.#wrong(name, 'true or false')
  }

  integer(name: string): number | undefined {
    const value = this.#get(name)
    if (value === undefined) return undefined
    const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
    if (typeof number === 'number' && Number.isInteger(number)) return number
    throw this.#wrong(name, 'a whole number')
  }

  command(name: string): string | readonly string[] | undefined {
    const value = this.#values[name] ?? this.#values[name.toLowerCase()]
    if (value === undefined || value === null || typeof value === 'string') return value ?? undefined
    if (Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === 'string')) return value
    throw this.#wrong(name, 'a command: a line, or a list of a program and its arguments')
  }

  #get(name: string): unknown {
    return this.#values[name] ?? undefined
  }

  #wrong(name: string, what: string): UsageError {
    return new UsageError(`${name} of ${this.#section} must be ${what}`)
  }
}
