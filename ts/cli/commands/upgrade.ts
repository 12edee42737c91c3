import type { Coffer } from '../../coffer/coffer.ts'
import { neededKeys } from '../../keys/kinds.ts'
import { changeSection } from '../config/config.ts'
import { announced, areOf, freshKeys, type Keys, nextKeys, renewed } from '../config/keys.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { type CommonOptions, changing, noteArchive, type Session, stoppable } from '../session.ts'
import { json, manner, say } from '../terminal/output.ts'
import { withProgress } from '../terminal/progress.ts'
import { keysOfSection, sealAnew } from './rekey.ts'

interface Options {
  backup?: string | true
  keepKeys?: boolean
  to?: string
}

/** `coffer upgrade` */
export function upgrade(): Entry {
  return new Entry('upgrade')
    .summary('convert a coffer of PyCoffer to the format of this package')
    .description(
      'Converts a coffer that PyCoffer wrote to version 1 of the format, which detects changes that PyCoffer cannot, and gives it new keys: parts of the old file could be recombined under the old keys. The new keys are recorded in its section of the configuration before the coffer gets them; the former keys, which open copies of the old file, stay there as former_coffer_key and former_secure_key. PyCoffer can still open the coffer, with the new keys.',
    )
    .option('--backup [suffix]', 'keep a copy of the old file with this suffix (.bak)')
    .option('--to <name>', 'the section with the new keys, if the keys of the coffer are not in its own')
    .option('--keep-keys', 'keep the keys of the coffer')
    .example('With a copy of the old file', 'coffer upgrade -f vault --backup')
    .example('Keys that are in no section: first make new ones', 'coffer generate vault --location old.coffer --write')
    .example('Then let the coffer have them', 'coffer upgrade --file /mnt/old.coffer --type bank --to vault')
    .action(async ({ backup, keepKeys, to }: Options, command: Entry) => {
      if (keepKeys && to !== undefined) throw new UsageError('--keep-keys and --to exclude each other')
      const common = command.optsWithGlobals<CommonOptions>()
      let rekeyed = false
      const upgraded = await changing(command, { legacy: true, backup }, async (coffer, session) => {
        const legacy = coffer.notices.some(({ code }) => code === 'legacy')
        // An interrupted upgrade continues if the coffer does not have its next keys yet.
        if (!legacy && nextOf(session) === undefined) return false
        const give = keepKeys ? undefined : await newKeys(session, to, common)
        if (legacy) await coffer.flush({ force: true })
        if (give !== undefined) {
          await withProgress('sealing anew', async (bar) => give(coffer, { onProgress: bar.update, ...stoppable }))
          rekeyed = true
        } else await noteArchive(coffer, session.target)
        return true
      })
      if (manner.json) return json({ upgraded, rekeyed })
      const keys = rekeyed ? ', with new keys. Copies made before still open with the former ones' : ''
      say(upgraded ? `upgraded to version 1${keys}` : 'it is of version 1 already')
    })
}

function nextOf({ target: { section }, keys }: Session): Keys | undefined {
  return section && areOf(section, keys) ? nextKeys(section) : undefined
}

type Give = (coffer: Coffer, watch: object) => Promise<void>

/** The function that gives a coffer new keys, which are recorded on the disk before; undefined if it has no keys. */
async function newKeys(session: Session, to: string | undefined, options: CommonOptions): Promise<Give | undefined> {
  const { coffer, keys, target } = session
  const { kind } = await coffer.info()
  if (kind === 'custom' || neededKeys(kind).length === 0) return undefined
  if (to !== undefined) {
    const other = await keysOfSection(options.conf, to)
    return async (coffer, watch) => {
      await sealAnew(coffer, other, watch)
      await noteArchive(coffer, other)
    }
  }
  const { section, conf } = target
  if (section === undefined || conf === undefined || !areOf(section, keys)) {
    throw new UsageError(
      `upgrade gives a coffer new keys, but the section of ${target.name} has none that could be replaced: make a section with keys (coffer generate NAME --location ${target.path} --write) and call upgrade --to NAME, or leave the coffer its keys with --keep-keys`,
    )
  }
  const fresh = nextKeys(section) ?? freshKeys(keys)
  await changeSection(conf, section.name, announced(fresh))
  return async (coffer, watch) => {
    await coffer.rekey({ cofferKey: fresh.cofferKey, secureKey: fresh.secureKey }, watch)
    const { archiveId } = await coffer.info()
    await changeSection(conf, section.name, {
      ...renewed(section, fresh),
      ...(section.type === undefined ? { type: kind } : {}),
      ...(archiveId === undefined ? {} : { archive_id: archiveId }),
    })
  }
}
