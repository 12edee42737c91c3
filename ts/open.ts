import { checkKeys, type Kind } from './kinds.ts'
import { binding, type NativeCoffer } from './native.ts'
import { checkMode, checkOpenOptions, checkPath, type Mode, type ModeText, type OpenOptions } from './options.ts'
import { watched } from './watch.ts'

/** What the constructor of a coffer is given. */
export interface Opened {
  native: NativeCoffer
  path: string
  mode: Mode
}

/** Opens a coffer of a kind. The names of the options have been checked. */
export async function open(path: string | URL, modeText: ModeText, kind: Kind, options: OpenOptions): Promise<Opened> {
  const file = checkPath(path, 'the path of a coffer')
  const mode = checkMode(modeText)
  const common = checkOpenOptions(options)
  const keys = checkKeys(kind, options)
  const native = await watched({ signal: options.signal }, (watch) => {
    const opening = binding.openCoffer(file, { mode, kind: kind.native, ...common, ...keys }, watch)
    // The engine has copies of its own by now, and wipes them when it is done.
    keys.cofferKey?.fill(0)
    keys.secureKey?.fill(0)
    return opening
  })
  return { native, path: file, mode }
}
