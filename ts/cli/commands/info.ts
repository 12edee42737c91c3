import { existsSync } from 'node:fs'
import type { Coffer } from '../../coffer.ts'
import { CofferError } from '../../errors.ts'
import { type Identity, identify } from '../../identify.ts'
import type { Info } from '../../info.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { bytes, json, manner, properties } from '../output.ts'
import { type CommonOptions, hasKeys, reading } from '../session.ts'
import { findTarget } from '../target.ts'

interface Options extends CommonOptions {
  legacy?: boolean
}

/** `coffer info` */
export function info(): Entry {
  return new Entry('info')
    .summary('show what kind of file it is, and what is in it')
    .description(
      'Shows what kind of file it is, which takes no keys. Where there are keys, also the number of members, the generation, dead space, and how much smaller than its contents the coffer is.',
    )
    .argument('[file]', 'a file; the same as --file')
    .option('--legacy', 'accept a coffer that PyCoffer wrote')
    .example('A file of unknown origin', 'coffer info found.bin')
    .example('The coffer of the configuration', 'coffer info')
    .action(async (file: string | undefined, options: Options, command: Entry) => {
      if (file !== undefined) {
        if (options.coffer !== undefined || command.optsWithGlobals<Options>().file !== undefined) {
          throw new UsageError('which file is meant? It is given twice')
        }
        command.setOptionValue('file', file)
      }
      const all = command.optsWithGlobals<Options>()
      const target = await findTarget(all)
      if (!existsSync(target.path)) {
        throw new CofferError('ERR_COFFER_NOT_FOUND', `there is no file ${target.path}`, { path: target.path })
      }
      const identity = await identify(target.path)
      const known = identity.format === 'coffer' || (identity.format === 'legacy' && options.legacy)
      const inside = known && hasKeys(target, all, identity.kind) ? await reading(command, options, insideOf) : null
      if (manner.json) return json({ path: target.path, ...identity, ...inside })
      await properties([['file', target.path], ...outside(identity), ...(inside ? within(inside) : [])])
    })
}

type Property = readonly [string, string | number]

async function insideOf(coffer: Coffer): Promise<Info & { commit: string }> {
  return { ...(await coffer.info()), commit: coffer.commit.digest }
}

function outside({ format, version, kind, cipher, passphrase, kdf }: Identity): Property[] {
  if (format === 'unknown') return [['format', 'not a coffer']]
  if (format === 'legacy') return [['format', "PyCoffer's, or one like it"]]
  const found: Property[] = [['format', `coffer, version ${version}`]]
  if (kind !== undefined) found.push(['kind', kind])
  if (cipher !== undefined) found.push(['cipher', cipher])
  if (passphrase !== undefined) found.push(['keys', passphrase ? 'from a passphrase' : 'random'])
  if (kdf !== undefined) found.push(['passphrase costs', `${bytes(kdf.memory)}, ${kdf.passes} passes`])
  return found
}

function within(info: Info & { commit: string }): Property[] {
  return [
    ['members', info.members],
    ['contents', bytes(info.bytes)],
    ['size of the file', bytes(info.fileSize)],
    ['dead space', bytes(info.deadBytes)],
    ['ratio', info.ratio.toFixed(2)],
    ['generation', info.generation],
    ['commit', info.commit],
  ]
}
