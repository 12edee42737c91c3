import { homedir } from 'node:os'
import { isAbsolute } from 'node:path'
import { UsageError } from '../exit.ts'

/**
 * The home directory of this user.
 *
 * @param instead the alternative, for the message
 * @throws {UsageError} if HOME is empty or not an absolute path: files would be read and written in the
 *   current directory
 */
export function home(instead: string): string {
  const directory = homedir()
  if (isAbsolute(directory)) return directory
  throw new UsageError(`there is no home directory, since HOME is empty or not an absolute path: ${instead}`)
}
