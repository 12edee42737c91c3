import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { CofferKey } from '../../keys/key.ts'
import { UsageError } from '../exit.ts'
import { findProgram } from '../programs.ts'
import { takeInput } from '../terminal/input.ts'
import { interrupted, untilInterrupted } from '../terminal/interrupt.ts'
import { askNewSecret, askSecret, canAsk } from '../terminal/prompt.ts'
import type { Changes } from './changes.ts'
import { systemKeyring } from './keyring.ts'
import { readPrivate } from './private.ts'
import type { Section } from './section.ts'

/** What opens a coffer. */
export interface Keys {
  cofferKey?: CofferKey
  secureKey?: CofferKey
  passphrase?: string
}

/** The options of the command line for the source of keys. */
export interface KeyOptions {
  askPassphrase?: boolean
  passwordCommand?: string
  keyring?: string
}

/** The keys from the environment, which are removed from it, so that child processes do not get them. */
const environment = takeEnvironment()

/**
 * Finds the keys of a coffer: from the options of the command line, else from the environment, else from
 * the configuration. Empty if none of them has any.
 *
 * @param name the name of the coffer, for prompts and in the keyring
 * @param fresh whether a passphrase that is asked for is new
 */
export async function findKeys(
  name: string,
  options: KeyOptions,
  section: Section | undefined,
  fresh: boolean,
): Promise<Keys> {
  const chosen = [options.askPassphrase, options.passwordCommand, options.keyring].filter((way) => way !== undefined)
  if (chosen.length > 1) {
    throw new UsageError('--ask-passphrase, --password-command and --keyring exclude each other')
  }
  if (options.askPassphrase) return askPassphrase(name, fresh)
  if (options.passwordCommand !== undefined) return fromCommand(options.passwordCommand)
  if (options.keyring !== undefined) return fromKeyring(options.keyring, name)
  return (await fromEnvironment()) ?? (section === undefined ? {} : fromSection(section, fresh))
}

/** The keys in a section, or from the source that it names; empty if it has neither. */
export async function fromSection(section: Section, fresh: boolean): Promise<Keys> {
  const { name, cofferKey, secureKey, passwordCommand, keyring, passphrase, auth } = section
  if (cofferKey !== undefined || secureKey !== undefined) return { cofferKey, secureKey }
  if (passwordCommand !== undefined) return fromCommand(passwordCommand)
  if (keyring !== undefined) return fromKeyring(keyring, name)
  if (passphrase) return askPassphrase(name, fresh)
  if (auth === undefined || auth === 'file') return {}
  throw new UsageError(`the keys of ${name} come from ${auth}, which only PyCoffer knows: give them in another way`)
}

/** Asks for the passphrase of a coffer. */
export async function askPassphrase(name: string, fresh: boolean): Promise<Keys> {
  return { passphrase: fresh ? await askNewSecret(`passphrase of ${name}`) : await askSecret(`Passphrase of ${name}`) }
}

/** Whether a passphrase can be asked for. */
export const canAskPassphrase: () => boolean = canAsk

/** Whether the environment has keys or a passphrase. */
export function environmentHasKeys(): boolean {
  return Object.values(environment).some((value) => value !== undefined)
}

/** Whether a section has keys, or names their source. */
export function sectionHasKeys(section: Section): boolean {
  const { cofferKey, secureKey, passwordCommand, keyring, passphrase, auth } = section
  const said = cofferKey ?? secureKey ?? passwordCommand ?? keyring
  return said !== undefined || passphrase === true || (auth !== undefined && auth !== 'file')
}

/** Whether keys are those in a section. */
export function areOf(section: Section, { cofferKey, secureKey }: Keys): boolean {
  if (cofferKey === undefined && secureKey === undefined) return false
  return cofferKey === section.cofferKey && secureKey === section.secureKey
}

/** The next keys of a section, which an interrupted command has left there. */
export function nextKeys({ nextCofferKey, nextSecureKey }: Section): Keys | undefined {
  if (nextCofferKey === undefined && nextSecureKey === undefined) return undefined
  return { cofferKey: nextCofferKey, secureKey: nextSecureKey }
}

/**
 * The entries with the next keys, which are recorded before the coffer gets them, so that a crash does not lose
 * them.
 */
export function announced({ cofferKey, secureKey }: Keys): Changes {
  return {
    ...(cofferKey === undefined ? {} : { next_coffer_key: standard(cofferKey) }),
    ...(secureKey === undefined ? {} : { next_secure_key: standard(secureKey) }),
  }
}

/** The entries after the coffer has got new keys: the new ones, and the former ones, which open older copies. */
export function renewed(section: Section, { cofferKey, secureKey }: Keys): Changes {
  const { cofferKey: formerCofferKey, secureKey: formerSecureKey } = section
  return {
    ...(cofferKey === undefined ? {} : { coffer_key: standard(cofferKey) }),
    ...(secureKey === undefined ? {} : { secure_key: standard(secureKey) }),
    ...(formerCofferKey === undefined ? {} : { former_coffer_key: standard(formerCofferKey) }),
    ...(formerSecureKey === undefined ? {} : { former_secure_key: standard(formerSecureKey) }),
    next_coffer_key: null,
    next_secure_key: null,
  }
}

/** New random keys of the same lengths as existing ones. */
export function freshKeys({ cofferKey, secureKey }: Keys): Keys {
  const fresh = (key: CofferKey | undefined) =>
    key === undefined ? undefined : randomBytes(Buffer.from(base64(key), 'base64').length).toString('base64')
  return { cofferKey: fresh(cofferKey), secureKey: fresh(secureKey) }
}

/** A key in standard base64, which PyCoffer and YAML read. */
export function standard(key: CofferKey): string {
  return Buffer.from(base64(key), 'base64').toString('base64')
}

/** Keys as text for {@link parseSecret}. */
export function secretText({ cofferKey, secureKey }: Keys): string {
  const lines: string[] = []
  if (cofferKey !== undefined) lines.push(`coffer_key = ${base64(cofferKey)}`)
  if (secureKey !== undefined) lines.push(`secure_key = ${base64(secureKey)}`)
  return `${lines.join('\n')}\n`
}

/** A key as base64 text. */
export function base64(key: CofferKey): string {
  return typeof key === 'string' ? key : Buffer.from(key).toString('base64')
}

/** Parses keys, if every line is `coffer_key = …` or `secure_key = …`; otherwise the first line is a passphrase. */
function parseSecret(secret: string, source: string): Keys {
  const lines = secret.split(/\r?\n/)
  const keys: Keys = {}
  for (const line of lines) {
    const [, name, value] = /^\s*(coffer_key|secure_key)\s*[=:]\s*(\S+)\s*$/.exec(line) ?? []
    if (name === 'coffer_key') keys.cofferKey = value
    else if (name === 'secure_key') keys.secureKey = value
    else if (line.trim() !== '') return passphraseFrom(lines[0] ?? '', source)
  }
  return keys.cofferKey === undefined && keys.secureKey === undefined ? passphraseFrom(lines[0] ?? '', source) : keys
}

function passphraseFrom(line: string, source: string): Keys {
  if (line === '') throw new UsageError(`${source} gave neither a passphrase nor keys`)
  return { passphrase: line }
}

async function fromCommand(command: string | readonly string[]): Promise<Keys> {
  const [name = '', ...args] = typeof command === 'string' ? [command] : command
  // Any user may have put a program into the current directory, so neither this nor Windows' shell searches it.
  const program = typeof command === 'string' || /[/\\]/.test(name) ? name : findProgram(name)
  if (program === undefined) throw new UsageError(`the password command cannot be run: ${name} is not on the PATH`)
  // The command may ask for input itself, so it inherits the terminal.
  const child = spawn(program, args, {
    shell: typeof command === 'string',
    stdio: ['inherit', 'pipe', 'inherit'],
    env: { ...process.env, NoDefaultCurrentDirectoryInExePath: '1' },
    signal: interrupted,
  })
  const ended = once(child, 'close')
  const [output, [code, signal]] = await Promise.all([text(child.stdout), ended]).catch((cause) => {
    throw interrupted.aborted ? interrupted.reason : new UsageError(`the password command cannot be run: ${cause.code}`)
  })
  if (code !== 0) throw new UsageError(`the password command failed (${signal ?? code})`)
  return parseSecret(output, 'the password command')
}

async function fromKeyring(service: string, account: string): Promise<Keys> {
  const secret = (await systemKeyring()).get(service, account)
  if (secret === null) throw new UsageError(`the keyring has nothing for ${account} in ${service}`)
  return parseSecret(secret, 'the keyring')
}

interface Environment {
  key?: string
  secureKey?: string
  passphrase?: string
  keyFile?: string
  secureKeyFile?: string
  passphraseFile?: string
}

function takeEnvironment(): Environment {
  const take = (name: string): string | undefined => {
    const value = process.env[name]
    delete process.env[name]
    return value === '' ? undefined : value
  }
  return {
    key: take('COFFER_KEY'),
    secureKey: take('COFFER_SECURE_KEY'),
    passphrase: take('COFFER_PASSPHRASE'),
    keyFile: take('COFFER_KEY_FILE'),
    secureKeyFile: take('COFFER_SECURE_KEY_FILE'),
    passphraseFile: take('COFFER_PASSPHRASE_FILE'),
  }
}

async function fromEnvironment(): Promise<Keys | null> {
  const cofferKey = await given('COFFER_KEY', environment.key, environment.keyFile)
  const secureKey = await given('COFFER_SECURE_KEY', environment.secureKey, environment.secureKeyFile)
  const passphrase = await given('COFFER_PASSPHRASE', environment.passphrase, environment.passphraseFile)
  if (passphrase !== undefined && (cofferKey !== undefined || secureKey !== undefined)) {
    throw new UsageError('the environment has keys and a passphrase: leave one of them out')
  }
  if (cofferKey === undefined && secureKey === undefined && passphrase === undefined) return null
  return { cofferKey, secureKey, passphrase }
}

/** A secret from the environment, or the first line of a file named there; `-` is standard input. */
async function given(name: string, value: string | undefined, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return value
  if (value !== undefined) throw new UsageError(`${name} and ${name}_FILE exclude each other`)
  const content = file === '-' ? await untilInterrupted(text(takeInput(name))) : await readPrivate(file)
  if (content === null) throw new UsageError(`${name}_FILE names a file that is not there: ${file}`)
  const [line = ''] = content.split(/\r?\n/)
  if (line === '') throw new UsageError(`the first line of what ${name}_FILE names is empty`)
  return line
}
