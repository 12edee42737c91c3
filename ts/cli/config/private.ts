import { type FileHandle, open } from 'node:fs/promises'
import { UsageError } from '../exit.ts'

/** The permissions of a file for its owner only. */
export const OWNER_ONLY = 0o600
const OTHERS = 0o077
const PERMISSIONS = 0o777

/**
 * Reads a file that only its owner, who must be this user, has permissions on; null if it does not exist.
 *
 * @throws {UsageError} if another user has permissions on it
 */
export async function readPrivate(path: string): Promise<string | null> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  try {
    const { mode, uid } = await handle.stat()
    // Windows does not report its permissions here.
    if (process.platform !== 'win32') {
      if ((mode & OTHERS) !== 0) {
        const bits = (mode & PERMISSIONS).toString(8).padStart(4, '0')
        throw new UsageError(
          `${path} is refused: others than its owner have permissions on it (${bits}): chmod 600 ${path}`,
        )
      }
      if (uid !== process.geteuid?.()) throw new UsageError(`${path} is refused: it belongs to another user`)
    }
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}
