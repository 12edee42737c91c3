import type { Option } from 'commander'
import type { Entry } from '../entry.ts'

/** The completion scripts by shell. */
export const scripts: Readonly<Record<'bash' | 'zsh' | 'fish', (root: Entry) => string>> = { bash, zsh, fish }

/** A command with its completions. */
interface Place {
  /** Its name and those of its parents, without the program's: empty for the program itself. */
  path: string[]
  entry: Entry
  options: Option[]
}

function places(root: Entry): Place[] {
  const found: Place[] = []
  const visit = (entry: Entry, path: string[], inherited: readonly Option[]): void => {
    const own = entry.options.filter((option) => !option.hidden)
    found.push({ path, entry, options: [...own, ...inherited] })
    for (const below of entry.entries) visit(below, [...path, below.name()], entry === root ? own : inherited)
  }
  visit(root, [], [])
  return found
}

const flags = ({ short, long }: Option): string[] => [short, long].filter((flag) => flag !== undefined)
const takesValue = (option: Option): boolean => option.required
const words = ({ entry, options }: Place): string[] => [
  ...entry.entries.map((below) => below.name()),
  ...entry.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  ...options.flatMap(flags),
  '-h',
  '--help',
]

function bash(root: Entry): string {
  const all = places(root)
  const valued = new Map<string, string>()
  for (const option of all.flatMap(({ options }) => options).filter(takesValue)) {
    for (const flag of flags(option)) valued.set(flag, option.argChoices?.join(' ') ?? '')
  }
  const free = [...valued].filter(([, choices]) => choices === '').map(([flag]) => flag)
  const chosen = [...valued].filter(([, choices]) => choices !== '')
  const cases = all.map((place) => `    '${place.path.join(' ')}') words='${words(place).join(' ')}' ;;`)
  const steps = all.filter(({ path }) => path.length > 0).map(({ path }) => `'${path.join(' ')}'`)
  return `# bash completion for coffer
_coffer() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' next='' index words=''
  case $previous in
${chosen.map(([flag, choices]) => `    ${flag}) COMPREPLY=($(compgen -W '${choices}' -- "$current")); return ;;`).join('\n')}
    ${free.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    next="\${path:+$path }\${COMP_WORDS[index]}"
    case $next in
      ${steps.join('|')}) path=$next ;;
    esac
  done
  case $path in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}
complete -o filenames -F _coffer coffer
`
}

function zsh(root: Entry): string {
  const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
  const described = (name: string, what: string) => quote(`${name.replaceAll(':', '\\:')}:${what}`)
  const cases = places(root).map(({ path, entry, options }) => {
    const lines = [
      ...entry.entries.map((below) => described(below.name(), below.summary() || below.description())),
      ...entry.registeredArguments.flatMap(({ argChoices, description }) =>
        (argChoices ?? []).map((choice) => described(choice, description)),
      ),
      ...options.flatMap((option) => flags(option).map((flag) => described(flag, option.description))),
      described('--help', 'show this help'),
    ]
    return `    '${path.join(' ')}') found=(\n      ${lines.join('\n      ')}\n    ) ;;`
  })
  const steps = places(root)
    .filter(({ path }) => path.length > 0)
    .map(({ path }) => `'${path.join(' ')}'`)
  return `#compdef coffer
_coffer() {
  local place='' next='' index
  local -a found
  for ((index = 2; index < CURRENT; index++)); do
    next="\${place:+$place }\${words[index]}"
    case $next in
      ${steps.join('|')}) place=$next ;;
    esac
  done
  case $place in
${cases.join('\n')}
  esac
  _describe 'coffer' found
  _files
}
if [ "$funcstack[1]" = _coffer ]; then _coffer "$@"; else compdef _coffer coffer; fi
`
}

function fish(root: Entry): string {
  const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const lines: string[] = []
  for (const { path, entry } of places(root)) {
    const below = entry.entries.map((next) => next.name())
    const seen = path.map((name) => `__fish_seen_subcommand_from ${name}`)
    const none = below.length > 0 ? [`not __fish_seen_subcommand_from ${below.join(' ')}`] : []
    const place = [...seen, ...none].join('; and ')
    for (const next of entry.entries) {
      lines.push(
        `complete -c coffer -n ${quote(place)} -a ${next.name()} -d ${quote(next.summary() || next.description())}`,
      )
    }
    for (const argument of entry.registeredArguments) {
      if (argument.argChoices)
        lines.push(`complete -c coffer -n ${quote(place)} -a ${quote(argument.argChoices.join(' '))}`)
    }
    // The options of the program apply to all commands.
    const where = path.length === 0 ? '' : ` -n ${quote(seen.join('; and '))}`
    for (const option of entry.options.filter((option) => !option.hidden)) {
      const short = option.short ? ` -s ${option.short.slice(1)}` : ''
      const long = option.long ? ` -l ${option.long.slice(2)}` : ''
      const value = option.required ? ` -r${option.argChoices ? ` -a ${quote(option.argChoices.join(' '))}` : ''}` : ''
      lines.push(`complete -c coffer${where}${short}${long}${value} -d ${quote(option.description)}`)
    }
  }
  return `# fish completion for coffer\n${lines.join('\n')}\n`
}
