import { resolve } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import { CofferBank } from '../../coffer/bank.ts'
import { CofferMarket } from '../../coffer/market.ts'
import { CofferStore } from '../../coffer/store.ts'
import { type BankCipher, type FixedKindName, kindNames, neededKeys } from '../../keys/kinds.ts'
import { addSection, defaultConfigPath, readConfig } from '../config/config.ts'
import { iniSection } from '../config/ini.ts'
import { systemKeyring } from '../config/keyring.ts'
import { type Keys, secretText, standard } from '../config/keys.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import type { CommonOptions } from '../session.ts'
import { json, manner, say, write } from '../terminal/output.ts'

interface Options extends CommonOptions {
  location?: string
  backup?: string
  format?: 'yaml' | 'pycoffer'
  write?: boolean
}

type Section = Record<string, string | boolean>

/** `coffer generate` */
export function generate(): Entry {
  return new Entry('generate')
    .summary('make keys and the configuration of a new coffer')
    .description(
      'Makes new keys and prints a section for the configuration, or adds it there with --write. With --passphrase, --password-command or --keyring the section has the source of the passphrase or keys instead of keys. The first command that changes the coffer creates it.',
    )
    .argument('[name]', 'the name of the coffer in the configuration; -f is the same', nameOf)
    .option(
      '--location <path>',
      'its file, or a directory for the file .NAME; NAME.coffer in the current directory by default',
    )
    .option('--backup <suffix>', 'keep a copy of the file with this suffix before the first change of each command')
    .addOption(new Option('--format <format>', 'the format of the section').choices(['yaml', 'pycoffer']))
    .option('--passphrase', 'ask for a passphrase at each use, instead of keys')
    .option('--write', 'add the section to the configuration instead of printing it')
    .example('A bank, the kind for confidential records', 'coffer generate vault --write')
    .example('An archive whose passphrase is asked for', 'coffer generate photos --type store --passphrase --write')
    .example('A section that PyCoffer reads', 'coffer generate vault --format pycoffer >> ~/.pycofferrc')
    .action(async (argument: string | undefined, _: object, command: Entry) => {
      const options = command.optsWithGlobals<Options & { passphrase?: boolean }>()
      if (argument !== undefined && options.coffer !== undefined && argument !== options.coffer) {
        throw new UsageError('the name is given twice, and differs')
      }
      const name = argument ?? (options.coffer === undefined ? undefined : nameOf(options.coffer))
      if (name === undefined) throw new UsageError('the name of the coffer is missing: coffer generate NAME')
      const conf = options.conf ?? defaultConfigPath()
      const config = await readConfig(conf)
      if (config?.sections.has(name) && options.write) {
        throw new UsageError(`${conf} has a coffer ${name} already: choose another name`)
      }
      const defaults = config?.defaults ?? {}
      const ini =
        options.format === 'pycoffer' || (options.format === undefined && options.write && config?.format === 'ini')
      const type = options.type ?? kindFrom(defaults.type) ?? 'bank'
      const cipher = type === 'bank' ? (options.cipher ?? (ini ? 'aes-ocb' : undefined)) : undefined
      const section: Section = {
        type,
        ...(options.cipher && type === 'bank' ? { cipher: options.cipher } : {}),
        ...(await source(name, type, cipher, options)),
        location: locationOf(options.location ?? defaults.location, name),
        ...backupOf(options.backup ?? defaults.backup),
      }
      if (manner.json) return json({ [name]: section })
      const text = ini
        ? iniSection(name, textsOf(section))
        : (await import('../config/yaml.ts')).yamlSection(name, section)
      if (!options.write) return write(text)
      await addSection(conf, name, text)
      say(`${name} is in ${conf} now. ${advice(section)}. coffer add -f ${name} makes the coffer`)
    })
}

/** Advice on what to keep to be able to open the coffer. */
function advice(section: Section): string {
  const { type, passphrase } = section
  if (passphrase) return 'It is opened by its passphrase, which cannot be recovered: do not forget it'
  if ('password_command' in section) return 'It is opened by what the password command prints: keep a copy of that'
  if ('keyring' in section) return "Its keys are in the system's keyring alone: keep a copy of them"
  if (type === 'null') return 'It has no keys: a person who can read or write its file can read or change what is in it'
  return 'Without its keys the coffer cannot be opened: keep a copy of them in a safe place'
}

/** The entries with keys, or with their source. */
async function source(
  name: string,
  type: FixedKindName,
  cipher: BankCipher | undefined,
  { passphrase, passwordCommand, keyring }: Options & { passphrase?: boolean },
): Promise<Section> {
  const ways = [passphrase, passwordCommand, keyring].filter((way) => way !== undefined)
  if (ways.length > 1) throw new UsageError('--passphrase, --password-command and --keyring exclude each other')
  if (neededKeys(type).length === 0) return {}
  if (passphrase) return { passphrase: true }
  if (passwordCommand !== undefined) return { password_command: passwordCommand }
  const keys = newKeys(type, cipher)
  if (keyring === undefined) {
    const { cofferKey, secureKey } = keys
    return {
      ...(cofferKey === undefined ? {} : { coffer_key: standard(cofferKey) }),
      ...(secureKey === undefined ? {} : { secure_key: standard(secureKey) }),
    }
  }
  const ring = await systemKeyring()
  if (ring.get(keyring, name) !== null)
    throw new UsageError(`the keyring has something for ${name} in ${keyring} already`)
  ring.set(keyring, name, secretText(keys))
  return { keyring }
}

/** New keys. With AES-OCB the container's key has 16 bytes, as in PyCoffer. */
function newKeys(type: FixedKindName, cipher: BankCipher | undefined): Keys {
  switch (type) {
    case 'bank': {
      const keys = CofferBank.generateKeys({ cipher })
      if (cipher !== 'aes-ocb') return keys
      return { ...keys, cofferKey: Buffer.from(keys.cofferKey, 'base64').subarray(0, 16) }
    }
    case 'store':
      return CofferStore.generateKeys()
    case 'market':
      return CofferMarket.generateKeys()
    case 'null':
      return {}
  }
}

function locationOf(location: string | undefined, name: string): string {
  if (location === undefined) return resolve(`${name}.coffer`)
  return location.startsWith('~') ? location : resolve(location)
}

function backupOf(backup: string | undefined): Section {
  return backup === undefined || backup === 'None' ? {} : { backup }
}

function textsOf(section: Section): Record<string, string> {
  return Object.fromEntries(Object.entries(section).map(([option, value]) => [option, String(value)]))
}

function kindFrom(type: string | undefined): FixedKindName | undefined {
  const kind = kindNames.find((kind) => kind === type)
  if (kind === type) return kind
  throw new UsageError(`the configuration's default type must be one of ${kindNames.join(', ')}`)
}

function nameOf(name: string): string {
  if (/^[\p{L}\p{N}_][^\p{Cc}/\\[\]:=#%]*$/u.test(name) && name !== 'DEFAULT' && name.trim() === name) return name
  throw new InvalidArgumentError('A name begins with a letter or a digit, and has none of / \\ [ ] : = # %.')
}
