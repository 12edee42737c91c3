import { binding, type NativeCoffer } from '../binding/native.ts'
import { checkSecret, type Kind, wipe } from '../keys/kinds.ts'
import { watched } from '../progress.ts'
import { checkMode, checkOpenOptions, checkPath, type Mode, type ModeText, type OpenOptions } from './options.ts'

/** What the constructor of a coffer is given. */
export interface Opened {
  native: NativeCoffer
  path: string
  mode: Mode
  kind: Kind
}

/** Opens a coffer of a kind. The names of the options have been checked. */
export async function open(path: string | URL, modeText: ModeText, kind: Kind, options: OpenOptions): Promise<Opened> {
  const file = checkPath(path, 'the path of a coffer')
  const mode = checkMode(modeText)
  const common = checkOpenOptions(options)
  const secret = checkSecret(kind, options)
  const opening = watched({ signal: options.signal }, (watch) =>
    binding.openCoffer(file, { mode, kind: kind.native, ...common, ...secret }, watch),
  )
  // The engine has copies of its own by now, and wipes them when it is done.
  wipe(secret)
  return { native: await opening, path: file, mode, kind }
}
