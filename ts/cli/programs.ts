import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'

/**
 * The absolute path of a program, searched only in the absolute directories of PATH. Windows also searches
 * the current directory, as does an empty or relative entry of PATH, where any user may have put a
 * program.
 */
export function findProgram(name: string): string | undefined {
  const { PATH = '', PATHEXT = '' } = process.env
  const endings = process.platform === 'win32' && !/\.\w+$/.test(name) ? PATHEXT.split(';') : ['']
  for (const directory of PATH.split(delimiter)) {
    if (!isAbsolute(directory)) continue
    for (const ending of endings) {
      const path = join(directory, name + ending)
      if (isProgram(path)) return path
    }
  }
  return undefined
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
