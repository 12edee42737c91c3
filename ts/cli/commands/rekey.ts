import type { Coffer } from '../../coffer/coffer.ts'
import type { WatchOptions } from '../../progress.ts'
import { fromSection, type Keys } from '../config/keys.ts'
import { location, type Section } from '../config/section.ts'
import { findConfig, findSection } from '../config/target.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { type CommonOptions, changing, noteArchive, stoppable } from '../session.ts'
import { json, manner, say } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'
import { askNewSecret } from '../terminal/prompt.ts'

interface Options {
  to?: string
  newPassphrase?: boolean
}

/** `coffer rekey` */
export function rekey(): Entry {
  return new Entry('rekey')
    .summary('seal a coffer with other keys')
    .description(
      'Rewrites a coffer under the keys of another section of the configuration, or changes its passphrase. The section must exist before, so that a crash at any time leaves a coffer with known keys.',
    )
    .option('--to <name>', 'the section with the new keys')
    .option('--new-passphrase', 'ask for a new passphrase')
    .example('New keys: first make them', 'coffer generate vault2 --location ~/vault.coffer --write')
    .example('Then use them; afterwards -f vault2 opens the coffer', 'coffer rekey -f vault --to vault2')
    .example('Another passphrase', 'coffer rekey -f photos --new-passphrase')
    .action(async ({ to, newPassphrase }: Options, command: Entry) => {
      if ((to === undefined) === !newPassphrase) throw new UsageError('give either --to or --new-passphrase')
      const { conf } = command.optsWithGlobals<CommonOptions>()
      const other = to === undefined ? undefined : await keysOfSection(conf, to)
      const path = await changing(command, {}, async (coffer) => {
        const keys = other ?? { keys: { passphrase: await askNewSecret('passphrase') } }
        await withProgress('sealing anew', (bar) => sealAnew(coffer, keys, { onProgress: bar.update, ...stoppable }))
        if (other) await noteArchive(coffer, other)
        return coffer.path
      })
      const section = other?.section
      if (manner.json) return json({ path })
      say(`${path} has new keys. Copies made before still open with the old ones`)
      if (section && (await location(section)) !== path) {
        say(`to open it with -f ${section.name}, let the location of ${section.name} be ${path}`)
      }
    })
}

/** Keys, with the section of the configuration that they are from. */
export interface SectionKeys {
  keys: Keys
  section?: Section
  conf?: string
}

/** The keys of a section; an error if it has none. */
export async function keysOfSection(
  conf: string | undefined,
  name: string,
): Promise<SectionKeys & { section: Section }> {
  const config = await findConfig(conf)
  const section = findSection(config, name)
  const keys = await fromSection(section, true)
  if (Object.values(keys).every((key) => key === undefined)) throw new UsageError(`${name} has no keys`)
  return { keys, section, conf: config?.path }
}

/** Rekeys a coffer, or changes its passphrase. */
export async function sealAnew(coffer: Coffer, { keys, section }: SectionKeys, watch: WatchOptions): Promise<void> {
  const { passphrase, cofferKey, secureKey } = keys
  if (passphrase !== undefined) return coffer.changePassphrase(passphrase, watch)
  const cipher = section?.cipher === undefined ? {} : { cipher: section.cipher }
  return coffer.rekey({ cofferKey, secureKey, ...cipher }, watch)
}
