import { Command } from 'commander'

/** An example of a command: what it is for, and the line to type. */
export interface Example {
  what: string
  line: string
}

/** A command of the program, with examples. Help, completion and the man page are made from it. */
export class Entry extends Command {
  readonly examples: Example[] = []

  /** Adds an example. */
  example(what: string, line: string): this {
    this.examples.push({ what, line })
    return this
  }

  /** Its name with those of the commands that it belongs to: `coffer password add`. */
  get fullName(): string {
    return this.parent instanceof Entry ? `${this.parent.fullName} ${this.name()}` : this.name()
  }

  /** The commands below it that are meant to be seen. */
  get entries(): Entry[] {
    return this.commands.filter((command) => command instanceof Entry)
  }

  override createCommand(name?: string): Entry {
    return new Entry(name)
  }
}

/** The examples of a command as its help shows them. */
export function examplesText({ examples }: Entry): string {
  if (examples.length === 0) return ''
  return `\nExamples:\n${examples.map(({ what, line }) => `  ${line}\n      ${what}`).join('\n')}`
}
