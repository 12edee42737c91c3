import type { CofferReader } from '../../coffer/calls.ts'
import { isWithin, type Member } from '../../member/member.ts'
import { Entry } from '../entry.ts'
import { UsageError } from '../exit.ts'
import { memberName } from '../names.ts'
import { changing } from '../session.ts'
import { bytes, count, json, manner, say } from '../terminal/output.ts'
import { askWhether, canAsk } from '../terminal/prompt.ts'
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
      'Deletes members, all of them or none, after confirmation. Their contents are then no longer in the file; their names are until the next compact.',
    )
    .argument('<members...>', 'members, and with -r directories')
    .option('-r, --recursive', 'delete directories with everything below them')
    .option('--force', 'do not ask')
    .example('One member', 'coffer delete notes/todo.txt')
    .example('A directory, from a script', 'coffer delete -r reports/2019 --force')
    .action(async (names: string[], { recursive, force }: Options, command: Entry) => {
      const chosen = new Set(names.map(memberName))
      if (!force && !canAsk()) {
        throw new UsageError('delete asks first, and standard input is not a terminal: --force deletes without asking')
      }
      const deleted = await changing(command, {}, async (coffer) => {
        const found = new Map<string, Member>()
        for (const name of chosen) {
          const member = await coffer.stat(name)
          const inside = member.type === 'directory' ? await below(coffer, name) : []
          if (!recursive && inside.some((other) => other.name !== name)) {
            throw new UsageError(
              `${name} is a directory with ${count(inside.length, 'member')}: -r deletes it with all that is in it`,
            )
          }
          for (const one of inside.length > 0 ? inside : [member]) found.set(one.name, one)
        }
        const members = [...found.values()]
        if (!force && !(await askWhether(question(members, coffer.path)))) throw new Error('nothing was deleted')
        await coffer.batch(async (batch) => {
          for (const name of chosen) {
            // It may have been deleted with a directory that was given before.
            if (await batch.has(name)) await batch.delete(name, { recursive: recursive ?? false })
          }
        })
        return members
      })
      if (manner.json) return json(deleted.map(plain))
      say(`deleted ${count(deleted.length, 'member')}`)
    })
}

async function below(coffer: CofferReader, name: string): Promise<Member[]> {
  return (await coffer.members({ prefix: name })).filter((member) => isWithin(member.name, name))
}

function question(members: readonly Member[], path: string): string {
  const size = bytes(members.reduce((sum, member) => sum + member.size, 0))
  const [first] = members
  const what = members.length === 1 && first ? first.name : count(members.length, 'member')
  return `Delete ${what} (${size}) from ${path}?`
}
