import { Help, InvalidArgumentError, Option } from 'commander'
import type { CofferCommit } from '../coffer/options.ts'
import { bankCiphers, kindNames } from '../keys/kinds.ts'
import { add } from './commands/add.ts'
import { cat } from './commands/cat.ts'
import { check } from './commands/check.ts'
import { compact } from './commands/compact.ts'
import { completion } from './commands/completion.ts'
import { crypt, decrypt } from './commands/crypt.ts'
import { remove } from './commands/delete.ts'
import { exporting } from './commands/export.ts'
import { extract } from './commands/extract.ts'
import { generate } from './commands/generate.ts'
import { importing } from './commands/import.ts'
import { info } from './commands/info.ts'
import { ls } from './commands/ls.ts'
import { password } from './commands/password.ts'
import { rekey } from './commands/rekey.ts'
import { rsync } from './commands/rsync.ts'
import { salvage } from './commands/salvage.ts'
import { upgrade } from './commands/upgrade.ts'
import { verify } from './commands/verify.ts'
import { Entry, examplesText, wrapped } from './entry.ts'
import { manner } from './terminal/output.ts'
import { version } from './version.ts'

/** Commands without `--json`: their result is bytes, or a script. */
const withoutJson = ['cat', 'export', 'completion']

/** Commands that do not open a coffer. */
const withoutCoffer = ['generate', 'system', 'completion']

/** The tree of commands, from which parsing, help, completion and the man page are generated. */
export function program(): Entry {
  const root = new Entry('coffer')
    .summary('one file that holds many')
    .description('One file that holds many: compressed, sealed, indexed, safe against crashes.')
    .version(version(), '-V, --version', 'show the version')
    .option('-c, --conf <file>', 'the configuration (~/.cofferrc)')
    .option('-f, --coffer <name>', 'a coffer of the configuration (its default, or its only one)')
    .option('--file <path>', 'a coffer by its file')
    .addOption(new Option('--type <kind>', 'the kind of the coffer').choices(kindNames))
    .addOption(new Option('--cipher <cipher>', 'the outer cipher of a new bank').choices(bankCiphers))
    .option('--ask-passphrase', 'ask for the passphrase')
    .option('--password-command <command>', 'a command that prints the passphrase or the keys')
    .option('--keyring <service>', "a service of the system's keyring that has the passphrase or the keys")
    .option('--lock-timeout <seconds>', 'how long to wait for the lock of the coffer (1)', lockTimeout)
    .option('--expect <commit>', 'a commit that the coffer must hold, as info prints it: generation:digest', commit)
    .option('-q, --quiet', 'hide progress and summaries')
    .option('--json', 'print results and errors as JSON')
    .example('A new coffer, and the first file in it', 'coffer generate vault --write && coffer add report.pdf')
    .hook('preAction', (_, action) => {
      const { quiet, json, expect } = action.optsWithGlobals<{
        quiet?: boolean
        json?: boolean
        expect?: CofferCommit
      }>()
      Object.assign(manner, { quiet: quiet === true, json: json === true })
      if (json && withoutJson.includes(action.name())) {
        action.error(`error: ${action.name()} has no --json: its output is not structured`)
      }
      if (expect !== undefined && withoutCoffer.includes(action.name())) {
        action.error(`error: ${action.name()} has no --expect: it does not open a coffer`)
      }
    })
  for (const command of [
    ...[generate(), ls(), add(), extract(), cat(), remove()],
    ...[crypt(), decrypt(), password(), rsync()],
    ...[info(), verify(), salvage(), compact(), upgrade(), rekey()],
    ...[exporting(), importing(), check(), completion()],
  ]) {
    root.addCommand(command)
  }
  finish(root)
  return root
}

/** Sets up every command: errors are thrown, not printed, and help ends with the examples. */
function finish(command: Entry): void {
  command.exitOverride()
  command.configureOutput({ outputError: () => {} })
  command.configureHelp({ showGlobalOptions: true, sortOptions: false, ...narrowHelp })
  command.helpOption('-h, --help', 'show this help')
  if (command.entries.length > 0) command.helpCommand(false)
  command.addHelpText('after', ({ error }) =>
    examplesText(command, (error ? process.stderr : process.stdout).columns ?? WIDTH),
  )
  command.entries.forEach(finish)
}

/** The width in columns if the output is not a terminal. */
const WIDTH = 80

/** On a narrow terminal a description is printed below its term. */
const narrowHelp = {
  formatItem(term: string, termWidth: number, description: string, helper: Help): string {
    const width = helper.helpWidth ?? WIDTH
    const indent = 2
    if (description !== '' && width - termWidth - 2 * indent < helper.minWidthToWrap) {
      const text = wrapped(description, width - 3 * indent)
      return [' '.repeat(indent) + term, ...text.map((line) => ' '.repeat(3 * indent) + line)].join('\n')
    }
    return Help.prototype.formatItem.call(helper, term, termWidth, description, helper)
  },
  boxWrap: (text: string, width: number): string => wrapped(text, width).join('\n'),
  styleUsage: (usage: string): string =>
    wrapped(usage, (process.stdout.columns ?? WIDTH) - 'Usage: '.length).join('\n       '),
}

/** Parses seconds, and returns milliseconds. */
function lockTimeout(text: string): number {
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.')
  return Math.round(Number(text) * 1000)
}

function commit(text: string): CofferCommit {
  const [, generation = '', digest = ''] = /^(\d{1,15}):([0-9a-f]{64})$/i.exec(text) ?? []
  if (digest === '') {
    throw new InvalidArgumentError('It must be a commit as info prints it: its generation, a colon, its digest.')
  }
  return { generation: Number(generation), digest: digest.toLowerCase() }
}
