import { binding, type NativeCoffer } from '../binding/native.ts'
import { checkPath } from '../check.ts'
import { invalid } from '../errors.ts'
import type { Kind } from '../keys/kinds.ts'
import { checkSecret, lend } from '../keys/secret.ts'
import { checkMode, type Mode, type ModeText } from '../member/options.ts'
import { watched } from '../progress.ts'
import { checkOpenOptions, type OpenOptions } from './options.ts'

/** A condition that was found and handled when a coffer was opened or salvaged. */
export interface Notice {
  /** The stable code, such as `torn-tail`. */
  code: string
  /** The description; its text may change. */
  message: string
}

/** The argument of the constructor of a coffer. */
export interface Opened {
  native: NativeCoffer
  path: string
  mode: Mode
  kind: Kind
}

/** Opens a coffer of a kind. The caller has checked the names of the options. */
export async function open(path: string | URL, modeText: ModeText, kind: Kind, options: OpenOptions): Promise<Opened> {
  const file = checkPath(path, 'the path of a coffer')
  const mode = checkMode(modeText)
  const common = checkOpenOptions(options)
  const native = await lend(checkSecret(kind, options), (secret) =>
    watched({ signal: options.signal }, (watch) =>
      binding.openCoffer(file, { mode, kind: kind.native, ...common, ...secret }, watch),
    ),
  )
  return { native, path: file, mode, kind }
}

/** Refuses a constructor's argument that does not come from {@link open}. */
export function checkOpened(opened: Opened, label: string): Opened {
  if (typeof opened?.native?.status === 'function') return opened
  throw invalid(`a ${label} comes from ${label}.open(path, mode, options), not from a constructor`)
}
