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

/** The code of an aborted call, which never leaves the facade. */
const ABORTED = 'ERR_COFFER_ABORTED'

/** The engine stopped because it was asked to. */
export class Aborted extends Error {}

/** The value of a settled call, or its failure, thrown. What takes no time is settled at once. */
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
