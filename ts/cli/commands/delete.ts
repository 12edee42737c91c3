import type { Member } from '../../member.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { bytes, count, json, manner, say } from '../output.ts'
import { askWhether, canAsk } from '../prompt.ts'
import { changing } from '../session.ts'
import { plain } from './ls.ts'

interface Options {
  recursive?: boolean
  force?: boolean
}

/** `coffer delete` */
export function remove(): Entry {
  return new Entry('delete')
    .summary('delete members')
    .description(
      'Deletes members, all of them or none. It asks first. Afterwards their contents are no longer in the file; their names are until the next compact.',
    )
    .argument('<members...>', 'members, and with -r directories')
    .option('-r, --recursive', 'delete directories with all that is below them')
    .option('--force', 'do not ask')
    .example('One member', 'coffer delete notes/todo.txt')
    .example('A directory, from a script', 'coffer delete -r reports/2019 --force')
    .action(async (names: string[], { recursive, force }: Options, command: Entry) => {
      if (!force && !canAsk()) {
        throw new UsageError('delete asks first, and standard input is not a terminal: --force deletes without asking')
      }
      const deleted = await changing(command, {}, async (coffer) => {
        const members: Member[] = []
        for (const name of new Set(names)) {
          const member = await coffer.stat(name)
          if (member.type === 'directory' && recursive)
            members.push(...(await below(coffer.members.bind(coffer), name)))
          else members.push(member)
        }
        if (!force && !(await askWhether(question(members, coffer.path)))) throw new Error('nothing was deleted')
        await coffer.batch(async (batch) => {
          for (const name of new Set(names)) {
            // A directory that was given before may have taken it along.
            if (await batch.has(name)) await batch.delete(name, { recursive: recursive ?? false })
          }
        })
        return members
      })
      if (manner.json) return json(deleted.map(plain))
      say(`deleted ${count(deleted.length, 'member')}`)
    })
}

async function below(members: (prefix: string) => Promise<Member[]>, name: string): Promise<Member[]> {
  return (await members(name)).filter((member) => member.name === name || member.name.startsWith(`${name}/`))
}

function question(members: readonly Member[], path: string): string {
  const size = bytes(members.reduce((sum, member) => sum + member.size, 0))
  const [first] = members
  const what = members.length === 1 && first ? first.name : count(members.length, 'member')
  return `Delete ${what} (${size}) from ${path}?`
}
