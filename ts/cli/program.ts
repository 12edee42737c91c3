import { InvalidArgumentError, Option } from 'commander'
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
import { Entry, examplesText } from './entry.ts'
import { manner } from './output.ts'
import { cipherNames, kindNames } from './section.ts'
import { version } from './version.ts'

/** Commands whose result is not for `--json`: it is bytes, or a script. */
const withoutJson = ['cat', 'export', 'completion']

/** The whole command line. Parsing it, its help, its completion and its man page all come from here. */
export function program(): Entry {
  const root = new Entry('coffer')
    .summary('one file that holds many')
    .description('One file that holds many: compressed, sealed, indexed, safe against crashes.')
    .version(version(), '-V, --version', 'show the version')
    .option('-c, --conf <file>', 'the configuration (~/.cofferrc)')
    .option('-f, --coffer <name>', "a coffer of the configuration; by default the configuration's own, or the only one")
    .option('--file <path>', 'a coffer by its file')
    .addOption(new Option('--type <kind>', 'the kind of the coffer').choices(kindNames))
    .addOption(new Option('--cipher <cipher>', 'the outer cipher of a new bank').choices(cipherNames))
    .option('--ask-passphrase', 'ask for the passphrase')
    .option('--password-command <command>', 'a command that prints the passphrase or the keys')
    .option('--keyring <service>', "a service of the system's keyring that has the passphrase or the keys")
    .option('--lock-timeout <ms>', 'how long to wait for others, in milliseconds (1000)', milliseconds)
    .option('-q, --quiet', 'no progress, and no word about what was done')
    .option('--json', 'results, and errors, for machines')
    .example('A new coffer, and the first file in it', 'coffer generate vault --write && coffer add report.pdf')
    .hook('preAction', (_, action) => {
      const { quiet, json } = action.optsWithGlobals<{ quiet?: boolean; json?: boolean }>()
      Object.assign(manner, { quiet: quiet === true, json: json === true })
      if (json && withoutJson.includes(action.name())) {
        action.error(`error: ${action.name()} has no --json: what it writes is no list of things`)
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

/** What holds for every command: errors are thrown, not printed, and help ends with the examples. */
function finish(command: Entry): void {
  command.exitOverride()
  command.configureOutput({ outputError: () => {} })
  command.configureHelp({ showGlobalOptions: true, sortOptions: false })
  command.helpOption('-h, --help', 'show this help')
  if (command.entries.length > 0) command.helpCommand(false)
  command.addHelpText('after', examplesText(command))
  command.entries.forEach(finish)
}

function milliseconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a number of milliseconds.')
  return Number(text)
}
