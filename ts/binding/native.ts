import { getSystemErrorMap } from 'node:util'
import type { Failure, Settled } from '../../native/binding.d.cts'
import { CofferError, type ErrorCode } from '../errors.ts'

export type {
  NativeCoffer,
  NativeDerivation,
  NativeEntry,
  NativeExtraction,
  NativeFeed,
  NativeInfo,
  NativeKdf,
  NativeKind,
  NativeLayer,
  NativeMember,
  NativeOptions,
  NativeOutput,
  NativePage,
  NativeSecret,
  NativeStage,
  NativeTime,
  NativeWatch,
  Settled,
} from '../../native/binding.d.cts'
export { binding } from './binary.ts'

/** The code of a cancelled call. It stays inside the facade. */
const ABORTED = 'ERR_COFFER_ABORTED'

/** The engine cancelled a call on request. */
export class Aborted extends Error {}

/**
 * Returns the value of a call of the engine, or throws its failure. A call that needs no thread settles
 * synchronously.
 */
export async function settled<T>(call: Settled<T> | Promise<Settled<T>>): Promise<T> {
  const [failure, value] = await call
  if (failure === null) {
    return value
  }
  throw errorFrom(failure)
}

/** The error of a failure that a call has listed in its value. */
export function errorFrom({ code, message, ...details }: Failure): Error {
  if (code === ABORTED) return new Aborted(message)
  return new CofferError(code as ErrorCode, message, { ...details, systemCode: systemCode(details.errno) })
}

/** The number that Node.js has for an error of the operating system with this name. */
export function errnoOf(name: string): number | undefined {
  for (const [errno, [known]] of getSystemErrorMap()) if (known === name) return errno
  return undefined
}

/** The name of an error of the operating system, such as `ENOSPC`, if Node.js has one for its number. */
function systemCode(errno: number | undefined): string | undefined {
  const name = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[0]
  return name === 'UNKNOWN' ? undefined : name
}
