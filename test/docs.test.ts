import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { tempDir } from './support/temp.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')

type Example = [where: string, code: string]

/** The examples of a document, with the heading that each stands below. */
function inDocument(document: string): Example[] {
  const found: Example[] = []
  let heading = document
  for (const [, title, code] of readFileSync(join(root, document), 'utf8').matchAll(
    /^#+ (.+)$|^```js\n([\s\S]*?)^```$/gm,
  )) {
    if (title !== undefined) heading = title
    if (code !== undefined) found.push([`${found.length + 1}, ${heading}`, code])
  }
  return found
}

/** The examples in the comments of a source, with the line that each begins at. */
function inComments(source: string): Example[] {
  const text = readFileSync(join(root, source), 'utf8')
  return Array.from(
    text.matchAll(/^ *\* @example\n *\* ```js\n((?: *\*.*\n)*?) *\* ```$/gm),
    ({ 1: block = '', index }) => [
      `${source}:${text.slice(0, index).split('\n').length}`,
      block.replace(/^ *\* ?/gm, ''),
    ],
  )
}

/** Runs an example as a user would, in an empty directory. */
async function runExample(code: string): Promise<void> {
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
}

describe.each(['README.md', 'docs/api.md'])('the examples of %s', (document) => {
  const examples = inDocument(document)

  it('are found', () => {
    expect(examples.length).toBeGreaterThan(0)
  })

  it.each(examples)('%s: runs as printed', async (_, code) => {
    await runExample(code)
  })
})

describe('the examples in the comments of ts', () => {
  const sources = readdirSync(join(root, 'ts'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `ts/${name.replaceAll('\\', '/')}`)
  const examples = sources.flatMap(inComments)

  it('are all found', () => {
    const tags = sources.flatMap((source) => readFileSync(join(root, source), 'utf8').match(/@example/g) ?? [])
    expect(examples.length).toBe(tags.length)
    expect(examples.length).toBeGreaterThan(0)
  })

  it.each(examples)('%s: runs as printed', async (_, code) => {
    await runExample(code)
  })
})
