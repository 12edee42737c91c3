import { createRequire } from 'node:module'
import type * as Binding from '#binding'
import type { Failure, Settled } from '#binding'
import { CofferError, type ErrorCode } from './errors.ts'

export type {
  NativeCoffer,
  NativeDerivation,
  NativeEntry,
  NativeInfo,
  NativeKdf,
  NativeKind,
  NativeLayer,
  NativeMember,
  NativeOptions,
  NativeSecret,
  NativeStage,
  NativeTime,
  NativeWatch,
  Settled,
} from '#binding'

function load(): typeof Binding {
  try {
    return createRequire(import.meta.url)('#binding') as typeof Binding
  } catch (cause) {
    throw new Error(
      `coffer has no binary that loads on ${process.platform}-${process.arch} with Node.js ${process.version}. Binaries are optional dependencies: install again without --omit=optional, on the platform that runs it.`,
      { cause },
    )
  }
}

/** The generated binding: the one place where it is loaded. */
export const binding = load()

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
