import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { tempDir } from './support/temp.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')

/** The examples of a document, with the heading that each stands below. */
function examples(document: string): [heading: string, code: string][] {
  const found: [string, string][] = []
  let heading = document
  for (const [, title, code] of readFileSync(join(root, document), 'utf8').matchAll(
    /^#+ (.+)$|^```js\n([\s\S]*?)^```$/gm,
  )) {
    if (title !== undefined) heading = title
    if (code !== undefined) found.push([`${found.length + 1}, ${heading}`, code])
  }
  return found
}

describe.each(['README.md', 'docs/api.md'])('the examples of %s', (document) => {
  it('are found', () => {
    expect(examples(document).length).toBeGreaterThan(0)
  })

  it.each(examples(document))('%s: runs as printed', async (_, code) => {
    const directory = tempDir()
    mkdirSync(join(directory, 'node_modules'))
    symlinkSync(root, join(directory, 'node_modules/coffer'))
    writeFileSync(join(directory, 'example.mjs'), code)
    // It ends by itself, within the time a user would wait.
    const { stdout } = await run(process.execPath, ['example.mjs'], { cwd: directory, timeout: 60_000 })
    // What the example says it prints, it prints.
    for (const [, printed] of code.matchAll(/^console\.log\(.*\) \/\/ ([\w.-]+)$/gm)) {
      expect(stdout.split(/\s+/)).toContain(printed)
    }
  })
})
