import { UsageError } from '../exit.ts'

/** The operating system's store of secrets. */
export interface Keyring {
  /** The secret of an account, or null if there is none. */
  get(service: string, account: string): string | null
  set(service: string, account: string, secret: string): void
}

const PACKAGE = '@napi-rs/keyring'

interface KeyringModule {
  Entry: new (service: string, account: string) => { getPassword(): string | null; setPassword(secret: string): void }
}

/**
 * The system's keyring, by an optional package.
 *
 * @throws {UsageError} if it is not installed
 */
export async function systemKeyring(): Promise<Keyring> {
  let Entry: KeyringModule['Entry']
  try {
    ;({ Entry } = (await import(PACKAGE)) as KeyringModule)
  } catch (cause) {
    throw new UsageError(`the system keyring needs the package ${PACKAGE}: npm i -g ${PACKAGE}`, { cause })
  }
  return {
    get: (service, account) => new Entry(service, account).getPassword(),
    set: (service, account, secret) => new Entry(service, account).setPassword(secret),
  }
}
