/** The key of a password. */
export interface PasswordKey {
  /** The name, such as that of the site. */
  name: string
  /** The owner, or the origin: `null` by default. */
  owner?: string | null | undefined
}

/** A password entry without the password itself. */
export interface PasswordInfo {
  /** The name. */
  name: string
  /** The owner, or the origin. */
  owner: string | null
  /** The name for logging in. */
  username: string | null
  /** The address for logging in. */
  url: string | null
  /** A note. */
  note: string | null
  /** The time when it was first added. */
  ctime: Date
  /** The time when it was last added. */
  mtime: Date
}

/**
 * A password entry, from {@link PasswordPlugin.get}. Its `password` is read and set as any property, but
 * `JSON.stringify` leaves it out, and `console.log` and `util.inspect` hide it. A copy, by `{ ...entry }`,
 * `Object.assign`, `structuredClone` or {@link Coffer.dump}, is a plain object with the password, and hides
 * nothing.
 */
export interface PasswordEntry extends PasswordInfo {
  /** The password itself. */
  password: string | null
}

/** A type with all properties optional or undefined. */
type Optional<T> = { [Name in keyof T]?: T[Name] | undefined }

/** What {@link PasswordPlugin.add} takes: absent values are `null`. It sets the times; given ones are ignored. */
export interface NewPassword extends PasswordKey, Optional<Omit<PasswordEntry, keyof PasswordKey>> {}
