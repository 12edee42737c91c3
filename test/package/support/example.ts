import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../../scripts/prepare.mjs'

/** What can be imported of the package, the whole first. */
export const entryPoints = ['coffer', 'coffer/errors', 'coffer/plugin']

/** The first example of the README, as an ES module; it is TypeScript as well. */
export const example = firstExample()

/** The same as CommonJS. */
export const exampleInCommonJs = inCommonJs(example)

/** What it prints. */
export const printed = 'buy milk\nand bread\n\nnotes/todo.txt 19\n'

function firstExample(): string {
  const code = /^```js\n([\s\S]*?)^```$/m.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1]
  if (code === undefined) throw new Error('README.md has no example.')
  return code
}

function inCommonJs(code: string): string {
  const [, names, rest] = /^import (\{.*\}) from 'coffer'\n([\s\S]*)$/.exec(code) ?? []
  if (names === undefined || rest === undefined) throw new Error('The example does not begin with its import.')
  return `const ${names} = require('coffer')\nasync function main() {\n${rest}}\nmain()\n`
}
