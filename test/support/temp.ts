import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A new empty directory, removed when the test that asked for it has finished. */
export function tempDir(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'coffer-test-')))
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}
