import { text } from 'node:stream/consumers'
import { InvalidArgumentError } from 'commander'
import type { PasswordPlugin } from '../../plugins/password.ts'
import type { PasswordEntry, PasswordInfo } from '../../plugins/password-entry.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { changing, reading } from '../session.ts'
import { copy } from '../terminal/clipboard.ts'
import { takeInput } from '../terminal/input.ts'
import { untilInterrupted } from '../terminal/interrupt.ts'
import { count, json, line, manner, properties, say, shown, styled, table } from '../terminal/output.ts'
import { askNewSecret, askWhether, canAsk } from '../terminal/prompt.ts'

/** `coffer password` */
export function password(): Entry {
  const group = new Entry('password').summary('keep passwords').description('Keeps passwords in a coffer.')
  ls(group)
  add(group)
  show(group)
  remove(group)
  importChrome(group)
  clip(group)
  return group
}

interface Which {
  name?: string
  owner?: string
}

function ls(group: Entry): void {
  group
    .command('ls')
    .description('Lists the passwords, without the passwords themselves.')
    .argument('[text]', 'only entries with this text')
    .example('All entries about the bank', 'coffer password ls bank')
    .action(async (text: string | undefined, _: object, command: Entry) => {
      const entries = await look(command, (passwords) =>
        text === undefined ? passwords.list() : passwords.search(text),
      )
      if (manner.json) return json(entries.map(plain))
      const head = ['name', 'user name', 'url', 'owner'].map((title) => styled('bold', title))
      const rows = entries.map(({ name, username, url, owner }) =>
        [name, username, url, owner].map((text) => shown(text ?? '')),
      )
      if (rows.length > 0) await table([head, ...rows])
    })
}

function add(group: Entry): void {
  named(group.command('add'))
    .description('Stores a password from a prompt or from standard input.')
    .option('--username <name>', 'the name for logging in')
    .option('--url <url>', 'the address for logging in')
    .option('--note <text>', 'a note')
    .option('--stdin', 'read the password from the first line of standard input')
    .option('--replace', 'replace an existing one')
    .example('It asks for the password', 'coffer password add mail --username ada --url https://mail.example')
    .example('A new random password', 'openssl rand -base64 24 | coffer password add wifi --stdin')
    .action(async (argument: string | undefined, options: AddOptions, command: Entry) => {
      const { username, url, note, stdin, replace } = options
      const which = chosen(argument, options)
      const secret = await newPassword(which.name, stdin)
      const entry = { name: which.name, owner: which.owner || null, username, url, note, password: secret }
      await change(command, true, (passwords) => passwords.add(entry, { replace: replace ?? false }))
      if (manner.json) return json(which)
      say(`stored the password ${which.name}`)
    })
}

interface AddOptions extends Which {
  username?: string
  url?: string
  note?: string
  stdin?: boolean
  replace?: boolean
}

function show(group: Entry): void {
  named(group.command('show'))
    .description('Shows a password with its other properties.')
    .option('--only', 'the password alone')
    .example('For a program', 'coffer password show wifi --only')
    .action(async (argument: string | undefined, options: Which & { only?: boolean }, command: Entry) => {
      const entry = await one(command, chosen(argument, options))
      if (options.only) return line(shown(entry.password ?? ''))
      if (manner.json) return json({ ...plain(entry), password: entry.password })
      const { name, username, password, url, owner, note } = entry
      const all = Object.entries({ name, 'user name': username, password, url, owner, note })
      await properties(all.flatMap(([title, value]) => (value === null ? [] : [[title, value] as const])))
    })
}

function remove(group: Entry): void {
  named(group.command('delete'))
    .description('Deletes a password, after confirmation.')
    .option('--force', 'do not ask')
    .example('Without being asked', 'coffer password delete wifi --force')
    .action(async (argument: string | undefined, options: Which & { force?: boolean }, command: Entry) => {
      const which = chosen(argument, options)
      if (!options.force && !canAsk()) {
        throw new UsageError('delete asks first, and standard input is not a terminal: --force deletes without asking')
      }
      await change(command, false, async (passwords) => {
        const found = await find(passwords, which)
        if (!options.force && !(await askWhether(`Delete the password ${which.name}?`)))
          throw new Error('nothing was deleted')
        await passwords.delete(found)
      })
      if (manner.json) return json(which)
      say(`deleted the password ${which.name}`)
    })
}

function importChrome(group: Entry): void {
  group
    .command('import-chrome')
    .description('Stores the passwords of an export of Chrome. Remove that file afterwards: it is not encrypted.')
    .argument('[file]', 'the file (CSV)')
    .option('-i, --csv <file>', 'the same as the argument, as PyCoffer has it')
    .option('--replace', 'replace existing ones')
    .example('What Chrome exported', 'coffer password import-chrome "Chrome Passwords.csv"')
    .action(
      async (argument: string | undefined, { csv, replace }: { csv?: string; replace?: boolean }, command: Entry) => {
        const file = argument ?? csv
        if (file === undefined) throw new UsageError('the file is missing: Chrome exports it as "Chrome Passwords.csv"')
        const result = await change(command, true, (passwords) =>
          passwords.importChrome(file, { replace: replace ?? false }),
        )
        if (manner.json) return json(result)
        say(
          `stored ${count(result.added + result.replaced, 'password')} of ${file}; remove that file now, it is not encrypted`,
        )
      },
    )
}

function clip(group: Entry): void {
  named(group.command('clip'))
    .description(
      'Copies a password to the clipboard, by pbcopy, wl-copy, xclip, xsel or clip.exe, and clears it after 45 seconds if it is still there.',
    )
    .option('--clear-after <seconds>', 'the time until the clipboard is cleared; 0 is never (45)', seconds)
    .example('To paste it', 'coffer password clip mail')
    .example('Quickly', 'coffer password clip mail --clear-after 10')
    .action(async (argument: string | undefined, options: Which & { clearAfter?: number }, command: Entry) => {
      const { clearAfter = CLEAR_AFTER_S } = options
      const entry = await one(command, chosen(argument, options))
      if (entry.password === null) throw new UsageError(`${entry.name} has no password`)
      await copy(entry.password, clearAfter * 1000)
      if (manner.json) return json({ name: entry.name, clearAfter })
      const how = clearAfter === 0 ? 'and stays there' : `for ${count(clearAfter, 'second')}`
      say(`the password ${entry.name} is in the clipboard ${how}`)
    })
}

/** The default time until the clipboard is cleared, in seconds. */
const CLEAR_AFTER_S = 45

function seconds(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.')
  return Number(text)
}

function named(command: Entry): Entry {
  return command
    .argument('[name]', 'the name of the password')
    .option('--name <name>', 'the same as the argument, as PyCoffer has it')
    .option('--owner <owner>', 'the owner, if several passwords have the same name') as Entry
}

function chosen(argument: string | undefined, { name, owner }: Which): { name: string; owner?: string } {
  const said = argument ?? name
  if (said === undefined) throw new UsageError('the name of the password is missing')
  return owner === undefined ? { name: said } : { name: said, owner }
}

async function newPassword(name: string, stdin: boolean | undefined): Promise<string> {
  if (!stdin) return askNewSecret(`password ${name}`)
  const [first = ''] = (await untilInterrupted(text(takeInput('the password')))).split(/\r?\n/)
  if (first === '') throw new UsageError('the first line of standard input is empty, so there is no password')
  return first
}

async function look<T>(command: Entry, work: (passwords: PasswordPlugin) => Promise<T>): Promise<T> {
  return reading(command, {}, async (coffer) => work(await coffer.plugin('password')))
}

async function change<T>(command: Entry, create: boolean, work: (passwords: PasswordPlugin) => Promise<T>): Promise<T> {
  return changing(command, { create }, async (coffer) => work(await coffer.plugin('password')))
}

async function one(command: Entry, which: { name: string; owner?: string }): Promise<PasswordEntry> {
  return look(command, async (passwords) => passwords.get(await find(passwords, which)))
}

/** The key of a password: without an owner, the only one of the name. */
async function find(passwords: PasswordPlugin, { name, owner }: { name: string; owner?: string }): Promise<Found> {
  if (owner !== undefined) return { name, owner: owner || null }
  const found = (await passwords.list()).filter((entry) => entry.name === name)
  if (found.length > 1) {
    const owners = found.map((entry) => entry.owner ?? "''").join(', ')
    throw new UsageError(`there are several passwords ${name}: --owner says whose, of ${owners}`)
  }
  return { name, owner: found[0]?.owner ?? null }
}

interface Found {
  name: string
  owner: string | null
}

function plain({ name, owner, username, url, note, ctime, mtime }: PasswordInfo): PasswordInfo {
  return { name, owner, username, url, note, ctime, mtime }
}
