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

function errorFrom({ code, message, ...details }: Failure): Error {
  return code === ABORTED ? new Aborted(message) : new CofferError(code as ErrorCode, message, details)
}
