import { Argument, Command } from "commander"
import { descendants } from "../descendants.ts"
import type { Io } from "../io.ts"

/** `coffer completion bash|zsh|fish`: a script for the shell, made from the commands themselves. */
export function completionCommand(program: Command, io: Io): Command {
  return new Command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
Examples:
  eval "$(coffer completion bash)"
  coffer completion fish > ~/.config/fish/completions/coffer.fish`,
    )
    .action((shell: string) => {
      const levels = [program, ...descendants(program)].map((command) => levelOf(command, program))
      io.print(
        shell === "fish"
          ? fishScript(levels)
          : shell === "zsh"
            ? `autoload -U +X bashcompinit && bashcompinit\n${bashScript(levels)}`
            : bashScript(levels),
      )
    })
}

/** What may follow one command (`volume create`). */
interface Level {
  readonly path: string
  /** Subcommands, or what its arguments may be. */
  readonly words: readonly string[]
  readonly options: readonly string[]
  /** Options with a value: by name, what that may be, or nothing when it may be a file. */
  readonly values: ReadonlyMap<string, readonly string[]>
  /** Whether its arguments may be files. */
  readonly takesFiles: boolean
}

function levelOf(command: Command, program: Command): Level {
  const path: string[] = []
  for (let at: Command | null = command; at !== null && at !== program; at = at.parent)
    path.unshift(at.name())
  const names = command.options.map((option) => ({
    option,
    names: [option.long, option.short].filter((name) => typeof name === "string"),
  }))
  const choices = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? [])
  return {
    path: path.join(" "),
    words: [...command.commands.map((child) => child.name()), ...choices],
    options: [...names.flatMap((one) => one.names), "--help"],
    values: new Map(
      names
        .filter(({ option }) => option.required || option.optional)
        .flatMap((one) => one.names.map((name) => [name, one.option.argChoices ?? []] as const)),
    ),
    takesFiles: command.registeredArguments.some(({ argChoices }) => argChoices === undefined),
  }
}

// Options are shown when a dash is typed, or when there is nothing else.
function bashScript(levels: readonly Level[]): string {
  const paths = levels.flatMap(({ path }) => (path === "" ? [] : [`"${path}"`]))
  const cases = levels.map(
    ({ path, words, options, takesFiles }) =>
      `    "${path}") words="${words.join(" ")}" options="${options.join(" ")}" files=${takesFiles ? "1" : ""} ;;`,
  )
  const values = levels.flatMap(({ path, values: found }) =>
    [...found].map(
      ([name, choices]) =>
        `    "${path} ${name}") words="${choices.join(" ")}" options="" files=${choices.length === 0 ? "1" : ""} ;;`,
    ),
  )
  return `_coffer() {
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  local path="" candidate word words="" options="" files="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    candidate="\${path:+$path }$word"
    case "$candidate" in
      ${paths.join("|")}) path="$candidate" ;;
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  case "$path $before" in
${values.join("\n")}
  esac
  if [[ "$current" == -* || -z "$words$files" ]]; then words="$words $options"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$files" ]; then
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _coffer coffer`
}

function fishScript(levels: readonly Level[]): string {
  const paths = levels.flatMap(({ path }) => (path === "" ? [] : [`'${path}'`]))
  const lines = levels.flatMap((level) => fishLines(level))
  return `function __coffer_at
  set -l path
  for word in (commandline -opc)[2..-1]
    set -l candidate (string join ' ' $path $word)
    if contains -- $candidate ${paths.join(" ")}
      set path $path $word
    end
  end
  test (string join ' ' $path) = "$argv[1]"
end
complete -c coffer -f
${lines.join("\n")}`
}

function fishLines({ path, words, options, values, takesFiles }: Level): string[] {
  const start = `complete -c coffer -n "__coffer_at '${path}'"`
  return [
    ...(takesFiles ? [`${start} -F`] : []),
    ...(words.length > 0 ? [`${start} -a "${words.join(" ")}"`] : []),
    ...options.map((name) => {
      const flag = name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`
      const choices = values.get(name)
      if (choices === undefined) return `${start} ${flag}`
      return choices.length === 0
        ? `${start} ${flag} -r -F`
        : `${start} ${flag} -x -a "${choices.join(" ")}"`
    }),
  ]
}
