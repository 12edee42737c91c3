/** What a password is found by. */
export interface PasswordKey {
  /** What it is called, such as the site's name. */
  name: string
  /** Whose it is, or where it comes from: `null` by default. */
  owner?: string | null | undefined
}

/** What may be shown of a password. */
export interface PasswordInfo {
  /** What it is called. */
  name: string
  /** Whose it is, or where it comes from. */
  owner: string | null
  /** The name to log in with. */
  username: string | null
  /** Where to log in. */
  url: string | null
  /** Anything else. */
  note: string | null
  /** When it was added first. */
  ctime: Date
  /** When it was added last. */
  mtime: Date
}

/** A password with all that belongs to it. */
export interface PasswordEntry extends PasswordInfo {
  /** The password itself. */
  password: string | null
}

/** The same, of which anything may be absent or undefined. */
type Optional<T> = { [Name in keyof T]?: T[Name] | undefined }

/** What {@link PasswordPlugin.add} takes: what is absent is `null`. The times are set by it; given ones are not used. */
export interface NewPassword extends PasswordKey, Optional<Omit<PasswordEntry, keyof PasswordKey>> {}
