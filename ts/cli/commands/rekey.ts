import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { fromSection } from '../keys.ts'
import { json, manner, say } from '../output.ts'
import { withProgress } from '../progress.ts'
import { askNewSecret } from '../prompt.ts'
import { location } from '../section.ts'
import { type CommonOptions, changing, stoppable } from '../session.ts'
import { findConfig, findSection } from '../target.ts'

interface Options {
  to?: string
  newPassphrase?: boolean
}

/** `coffer rekey` */
export function rekey(): Entry {
  return new Entry('rekey')
    .summary('seal a coffer with other keys')
    .description(
      'Rewrites a coffer so that other keys open it: those of another section of the configuration, which was made before, so that a crash at any time leaves a coffer to which there are keys. Or changes its passphrase.',
    )
    .option('--to <name>', 'the section that has the new keys')
    .option('--new-passphrase', 'ask for a new passphrase')
    .example('New keys: first make them', 'coffer generate vault2 --location ~/vault.coffer --write')
    .example('Then use them; from now on the coffer is opened by -f vault2', 'coffer rekey -f vault --to vault2')
    .example('Another passphrase', 'coffer rekey -f photos --new-passphrase')
    .action(async ({ to, newPassphrase }: Options, command: Entry) => {
      if ((to === undefined) === !newPassphrase) throw new UsageError('either --to or --new-passphrase says which keys')
      const options = command.optsWithGlobals<CommonOptions>()
      const section = to === undefined ? undefined : findSection(await findConfig(options.conf), to)
      const keys = section && (await fromSection(section, true))
      if (keys && Object.values(keys).every((key) => key === undefined)) throw new UsageError(`${to} has no keys`)
      const path = await changing(command, {}, async (coffer) => {
        const passphrase = keys === undefined ? await askNewSecret('passphrase') : keys.passphrase
        await withProgress('sealing anew', async (bar) => {
          const watch = { onProgress: bar.update, ...stoppable }
          if (passphrase !== undefined) return coffer.changePassphrase(passphrase, watch)
          const cipher = section?.cipher === undefined ? {} : { cipher: section.cipher }
          return coffer.rekey({ cofferKey: keys?.cofferKey, secureKey: keys?.secureKey, ...cipher }, watch)
        })
        return coffer.path
      })
      if (manner.json) return json({ path })
      say(`${path} has new keys. Copies made before still open with the old ones`)
      if (section && (await location(section)) !== path) {
        say(`to open it with -f ${section.name}, let the location of ${section.name} be ${path}`)
      }
    })
}
