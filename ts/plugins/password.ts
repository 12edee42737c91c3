import { inspect, types } from 'node:util'
import { decode } from '../cbor/decode.ts'
import { encode } from '../cbor/encode.ts'
import { checkBoolean, checkOptions } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { CofferError, invalid } from '../errors.ts'
import { type PluginHost, RecordPlugin } from './base.ts'
import { type ChromeSource, chromeRows } from './chrome.ts'
import { mask, unmask } from './mask.ts'
import { PASSWD, passwordsFromPyCoffer } from './passwd.ts'
import type { NewPassword, PasswordEntry, PasswordInfo, PasswordKey } from './password-entry.ts'

/** The options of {@link PasswordPlugin.add}. */
export interface AddPasswordOptions {
  /**
   * Whether an existing password is replaced: true by default. If not, an existing one is
   * `ERR_COFFER_MEMBER_EXISTS`, and nothing is added.
   */
  replace?: boolean | undefined
}

/** What {@link PasswordPlugin.importChrome} takes. */
export interface ImportChromeOptions extends AddPasswordOptions {
  /** The owner of the passwords: `chrome` by default. */
  owner?: string | null | undefined
}

/** What {@link PasswordPlugin.importPyCoffer} takes. */
export interface ImportPyCofferOptions extends AddPasswordOptions {
  /** Whether PyCoffer's record is deleted afterwards: false by default. */
  delete?: boolean | undefined
}

/** The result of an import. */
export interface ImportPasswordsResult {
  /** The number of new entries. */
  added: number
  /** The number of entries that replaced one with the same owner and name. */
  replaced: number
}

const texts = ['owner', 'username', 'password', 'url', 'note'] as const
const times = ['ctime', 'mtime'] as const
const fields = ['name', ...texts, ...times] as const

/**
 * The plugin `password`: passwords in the coffer's record `.plugins/password`, each with its owner and
 * name as key. Neither errors nor `console.log` nor `JSON.stringify` show a password.
 *
 * @example
 * ```js
 * import { CofferBank } from 'coffer'
 *
 * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
 * const passwords = await bank.plugin('password')
 * await passwords.add({ name: 'mail', username: 'alice', password: 'hunter2' })
 * console.log((await passwords.get({ name: 'mail' })).password) // hunter2
 * for (const { name, owner } of await passwords.search('ALICE')) console.log(name, owner)
 * await passwords.delete({ name: 'mail' })
 * await passwords.close()
 * await bank.close()
 * ```
 */
export class PasswordPlugin extends RecordPlugin<PasswordEntry[]> {
  protected override readonly record = '.plugins/password'
  readonly #coffer: Coffer

  constructor(host: PluginHost) {
    super(host)
    this.#coffer = host.coffer
  }

  /**
   * All passwords, without the passwords themselves.
   *
   * @returns the entries without their passwords, sorted by owner and name
   * @throws {@link CofferError} `ERR_COFFER_CORRUPT` also if the record is not one of passwords, `…_CLOSED`
   *   (the plugin, or the coffer), and as {@link Coffer.load} except `…_MEMBER_NOT_FOUND` and `…_INVALID_ARG`:
   *   a missing record is not an error
   */
  async list(): Promise<PasswordInfo[]> {
    return (await this.view()).sort(byOwnerAndName).map(infoOf)
  }

  /**
   * The entries of {@link list} with a text in their name, owner, username, URL or note, ignoring case.
   * Passwords are not searched.
   *
   * @param text the text
   * @returns the entries without their passwords, sorted by owner and name
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG`, and as {@link list}
   */
  async search(text: string): Promise<PasswordInfo[]> {
    if (typeof text !== 'string') throw invalid('search takes a text')
    const wanted = text.toLowerCase()
    return (await this.list()).filter(({ name, owner, username, url, note }) =>
      [name, owner, username, url, note].some((field) => field?.toLowerCase().includes(wanted)),
    )
  }

  /**
   * A password entry. Neither `console.log` nor `JSON.stringify` shows the password itself: see
   * {@link PasswordEntry}.
   *
   * @param key its name and owner
   * @returns the password
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_INVALID_ARG`, and as {@link list}
   */
  async get(key: PasswordKey): Promise<PasswordEntry> {
    const { name, owner } = checkKey(key, 'get')
    const entry = (await this.view()).find((other) => other.name === name && other.owner === owner)
    if (entry === undefined) throw this.#missing(name, owner)
    return concealed(entry)
  }

  /**
   * Adds a password, or replaces the one with the same owner and name. It also takes what {@link get}
   * returns.
   *
   * @param password the password
   * @param options whether an existing one is replaced
   * @returns as {@link Coffer.write}
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_EXISTS` with `replace: false`, and if a file has the name
   *   `.plugins`; as {@link list} except `…_STALE`, and as {@link Coffer.batch}
   */
  async add(password: NewPassword, options: AddPasswordOptions = {}): Promise<void> {
    const entry = checkNew(password)
    const { replace } = checkOptions(options, 'add', ['replace'])
    await this.#store([entry], replace)
  }

  /**
   * Deletes a password.
   *
   * @param key its name and owner
   * @returns as {@link Coffer.write}
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`; as {@link list} except `…_STALE`, and as
   *   {@link Coffer.batch}
   */
  async delete(key: PasswordKey): Promise<void> {
    const { name, owner } = checkKey(key, 'delete')
    await this.update((entries) => {
      const at = entries.findIndex((other) => other.name === name && other.owner === owner)
      if (at < 0) throw this.#missing(name, owner)
      entries.splice(at, 1)
    })
  }

  /**
   * Adds an export of Chrome: a CSV file with the header `name,url,username,password,note`, as Chromium's
   * password_csv_writer.cc writes it. All of it is added, or nothing. If several rows have one name, the
   * username is appended to it.
   *
   * @param source the file, or `{ csv }` with its text
   * @param options the owner of the passwords, and whether existing ones are replaced
   * @returns the number of entries added
   * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` if it is not such a file: the message has the
   *   column or the line. `…_IO` if it cannot be read. And as {@link add}
   *
   * @example
   * ```js
   * import { CofferBank } from 'coffer'
   *
   * const bank = await CofferBank.open('bank.coffer', 'w', CofferBank.generateKeys())
   * const passwords = await bank.plugin('password')
   * const csv = 'name,url,username,password,note\r\nshop.example,https://shop.example/,alice,swordfish,\r\n'
   * console.log((await passwords.importChrome({ csv })).added) // 1
   * await bank.close()
   * ```
   */
  async importChrome(source: ChromeSource, options: ImportChromeOptions = {}): Promise<ImportPasswordsResult> {
    this.checkOpen()
    const { replace, owner = 'chrome' } = checkOptions(options, 'importChrome', ['replace', 'owner'])
    checkBoolean(replace, 'replace')
    checkText(owner, 'owner')
    const rows = await chromeRows(source)
    return this.#store(
      rows.map((row) => checkNew({ ...row, owner })),
      replace,
    )
  }

  /**
   * Adds the passwords that PyCoffer's plugin stored in this coffer, with their owners and times. Its
   * record `.plugins/passwd` is a pickle; nothing in it is executed. All of it is added, or nothing.
   *
   * @param options whether existing ones are replaced, and PyCoffer's record deleted
   * @returns the number of entries added
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` if there is no such record, `…_CORRUPT` also if
   *   it has anything but passwords, `…_STALE`, and as {@link add}
   */
  async importPyCoffer(options: ImportPyCofferOptions = {}): Promise<ImportPasswordsResult> {
    this.checkOpen()
    const { replace, delete: remove } = checkOptions(options, 'importPyCoffer', ['replace', 'delete'])
    checkBoolean(replace, 'replace')
    checkBoolean(remove, 'delete')
    const entries = passwordsFromPyCoffer(await this.#coffer.read(PASSWD), this.#coffer.path)
    const imported = await this.#store(entries, replace)
    if (remove) await this.#coffer.delete(PASSWD)
    return imported
  }

  protected override empty(): PasswordEntry[] {
    return []
  }

  protected override stored(record: PasswordEntry[]): unknown {
    // The stored size reveals neither how well the passwords compress, nor their length except for its step.
    return mask(encode(record))
  }

  protected override restore(stored: unknown): PasswordEntry[] {
    // The first versions stored the plain list.
    const entries = Array.isArray(stored) ? stored : this.#unmasked(stored)
    if (Array.isArray(entries) && entries.every(isEntry)) return entries
    const { path } = this.#coffer
    throw new CofferError('ERR_COFFER_CORRUPT', `'${this.record}' of ${path} is not a record of passwords`, {
      path,
      member: this.record,
    })
  }

  #unmasked(stored: unknown): unknown {
    const bytes = unmask(stored)
    return bytes && decode(bytes, { path: this.#coffer.path, member: this.record })
  }

  async #store(added: readonly PasswordEntry[], replace: boolean | undefined): Promise<ImportPasswordsResult> {
    const replaces = checkBoolean(replace, 'replace') ?? true
    return this.update((entries) => {
      const places = new Map(entries.map((entry, at) => [keyOf(entry), at]))
      let replaced = 0
      for (const entry of added) {
        const at = places.get(keyOf(entry))
        const old = at === undefined ? undefined : entries[at]
        if (at === undefined || old === undefined) {
          places.set(keyOf(entry), entries.push(entry) - 1)
          continue
        }
        if (!replaces) throw this.#error('ERR_COFFER_MEMBER_EXISTS', entry.name, entry.owner, 'is there already')
        const ctime = old.ctime < entry.ctime ? old.ctime : entry.ctime
        entries[at] = { ...entry, ctime }
        replaced += 1
      }
      return { added: added.length - replaced, replaced }
    })
  }

  #missing(name: string, owner: string | null): CofferError {
    return this.#error('ERR_COFFER_MEMBER_NOT_FOUND', name, owner, 'is not there')
  }

  #error(
    code: 'ERR_COFFER_MEMBER_EXISTS' | 'ERR_COFFER_MEMBER_NOT_FOUND',
    name: string,
    owner: string | null,
    reason: string,
  ): CofferError {
    const { path } = this.#coffer
    const whose = owner === null ? 'without an owner' : `of the owner ${inspect(owner)}`
    const message = `the password ${inspect(name)} ${whose} ${reason} in ${path}`
    return new CofferError(code, message, { path, member: this.record })
  }
}

const keyOf = ({ owner, name }: PasswordEntry): string => JSON.stringify([owner, name])

function byOwnerAndName(one: PasswordEntry, other: PasswordEntry): number {
  return compare(one.owner ?? '', other.owner ?? '') || compare(one.name, other.name)
}

const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)

function checkKey(key: PasswordKey, what: string): { name: string; owner: string | null } {
  // The properties of an entry are allowed, so that one of `list` can be passed. A misspelt owner is not: it would
  // be another password that is deleted.
  const { name, owner }: Partial<PasswordEntry> = checkOptions<Partial<PasswordEntry>>(
    key,
    `the key of ${what}`,
    fields,
  )
  return { name: checkName(name), owner: checkText(owner, 'owner') }
}

function checkNew(password: NewPassword): PasswordEntry {
  const { name, owner, username, password: secret, url, note } = checkOptions(password, 'a password', fields)
  const now = new Date()
  return {
    name: checkName(name),
    owner: checkText(owner, 'owner'),
    username: checkText(username, 'username'),
    password: checkText(secret, 'password'),
    url: checkText(url, 'url'),
    note: checkText(note, 'note'),
    ctime: now,
    mtime: now,
  }
}

function checkName(name: string | undefined): string {
  if (typeof name === 'string') return name
  throw invalid(`the name of a password must be a string, not ${name === null ? 'null' : typeof name}`)
}

/** The value is not shown: it may be the password. */
function checkText(value: string | null | undefined, what: string): string | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return value
  throw invalid(`the ${what} of a password must be a string or null, not ${typeof value}`)
}

function isEntry(value: unknown): value is PasswordEntry {
  if (typeof value !== 'object' || value === null) return false
  const entry = value as Partial<Record<keyof PasswordEntry, unknown>>
  return (
    typeof entry.name === 'string' &&
    texts.every((text) => entry[text] === null || typeof entry[text] === 'string') &&
    times.every((time) => types.isDate(entry[time]))
  )
}

/**
 * An entry whose password is read as a property and printed by nothing: `JSON.stringify` leaves it out, and
 * `console.log` hides it. As an accessor it is also hidden from `console.dir`, which calls no method. It is
 * enumerable, so that a copy has it, as a plain property: without it, adding a copy would erase the password.
 */
function concealed({ password, ...info }: PasswordEntry): PasswordEntry {
  let secret = password
  const entry: PasswordEntry = {
    ...info,
    get password() {
      return secret
    },
    set password(value) {
      secret = value
    },
  }
  const toJSON = (): PasswordInfo => infoOf(entry)
  const show = (_depth: number, options: object): string => inspect({ ...toJSON(), password: '[hidden]' }, options)
  return Object.defineProperties(entry, { toJSON: { value: toJSON }, [inspect.custom]: { value: show } })
}

const infoOf = ({ password: _, ...info }: PasswordEntry): PasswordInfo => info
