import { Argument } from 'commander'
import { Entry } from '../entry.ts'
import { scripts } from '../help/completion.ts'
import { write } from '../terminal/output.ts'

type Shell = keyof typeof scripts

/** `coffer completion` */
export function completion(): Entry {
  const shells = Object.keys(scripts)
  return new Entry('completion')
    .summary('print completion for a shell')
    .description('Prints a script that lets a shell complete commands and options.')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .example('bash', 'coffer completion bash > ~/.local/share/bash-completion/completions/coffer')
    .example('zsh, in a directory of $fpath', 'coffer completion zsh > ~/.zfunc/_coffer')
    .example('fish', 'coffer completion fish > ~/.config/fish/completions/coffer.fish')
    .action(async (shell: Shell, _: object, command: Entry) => {
      await write(scripts[shell](command.parent as Entry))
    })
}
