import { existsSync } from 'node:fs'
import type { Coffer } from '../../coffer/coffer.ts'
import { type CofferIdentity, identify } from '../../coffer/identify.ts'
import type { CofferInfo } from '../../coffer/info.ts'
import { CofferError } from '../../errors.ts'
import { findTarget } from '../config/target.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { type CommonOptions, givesKeys, missing, reading } from '../session.ts'
import { untilInterrupted } from '../terminal/interrupt.ts'
import { bytes, json, manner, properties } from '../terminal/output.ts'

interface Options extends CommonOptions {
  legacy?: boolean
}

/** `coffer info` */
export function info(): Entry {
  return new Entry('info')
    .summary('show the kind of a file and what is in it')
    .description(
      'Shows the kind of a file, without keys. With keys also the number of members, the generation, dead space, the ratio of contents to file size, and the commit for --expect.',
    )
    .argument('[file]', 'a file, regardless of the configuration')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('A file of unknown origin', 'coffer info found.bin')
    .example('The coffer of the configuration', 'coffer info')
    .example('To detect later that the file is an older copy', 'coffer info --json | jq -r .commit')
    .action(async (file: string | undefined, options: Options, command: Entry) => {
      if (file !== undefined) {
        if (options.coffer !== undefined || command.optsWithGlobals<Options>().file !== undefined) {
          throw new UsageError('the file is given twice')
        }
        command.setOptionValue('file', file)
        command.setOptionValue('bare', true)
      }
      const all = command.optsWithGlobals<Options>()
      const target = await findTarget(all)
      if (!existsSync(target.path)) {
        if (target.section) throw missing(target)
        throw new CofferError('ERR_COFFER_NOT_FOUND', `there is no file ${target.path}`, { path: target.path })
      }
      const identity = await untilInterrupted(identify(target.path))
      const known = identity.format === 'coffer' || (identity.format === 'legacy' && options.legacy)
      const opens = known && (all.expect !== undefined || identity.kind === 'null' || givesKeys(target, all))
      const inside = opens ? await reading(command, options, insideOf) : null
      if (manner.json) return json({ path: target.path, ...identity, ...inside })
      await properties([['file', target.path], ...outside(identity), ...(inside ? within(inside) : [])])
    })
}

type Property = readonly [string, string | number]

async function insideOf(coffer: Coffer): Promise<CofferInfo & { commit: string }> {
  const { generation, digest } = coffer.head
  return { ...(await coffer.info()), commit: `${generation}:${digest}` }
}

function outside({ format, version, kind, cipher, passphrase, kdf }: CofferIdentity): Property[] {
  if (format === 'unknown') return [['format', 'not a coffer']]
  if (format === 'legacy') return [['format', "PyCoffer's, or one like it"]]
  const found: Property[] = [['format', `coffer, version ${version}`]]
  if (kind !== undefined) found.push(['kind', kind])
  if (cipher !== undefined) found.push(['cipher', cipher])
  if (passphrase !== undefined) found.push(['keys', passphrase ? 'from a passphrase' : 'random'])
  if (kdf !== undefined) found.push(['passphrase costs', `${bytes(kdf.memory)}, ${kdf.passes} passes`])
  return found
}

function within(info: CofferInfo & { commit: string }): Property[] {
  return [
    ['members', info.members],
    ['contents', bytes(info.bytes)],
    ['size of the file', bytes(info.fileSize)],
    ['dead space', bytes(info.deadBytes)],
    ['ratio', info.ratio.toFixed(2)],
    ['generation', info.generation],
    ['commit', info.commit],
    ...(info.archiveId === undefined ? [] : [['archive id', info.archiveId] as const]),
  ]
}
