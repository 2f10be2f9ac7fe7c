import { Argument, Command } from "commander"
import { descendants } from "../descendants.ts"
import type { Io } from "../io.ts"

/** `coffer completion bash|zsh|fish`: a script for the shell, made from the commands themselves. */
export function completionCommand(program: Command, io: Io): Command {
  return new Command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>").choices(["bash", "zsh", "fish"]))
    .addHelpText("after", '\nExample:\n  eval "$(coffer completion bash)"')
    .action((shell: string) => {
      const words = wordsByCommand(program)
      io.print(
        shell === "fish"
          ? fishScript(words)
          : shell === "zsh"
            ? `autoload -U +X bashcompinit && bashcompinit\n${bashScript(words)}`
            : bashScript(words),
      )
    })
}

/** For each command line prefix (`volume create`), the words that may follow. */
function wordsByCommand(program: Command): Map<string, string[]> {
  const paths = new Map<string, string[]>()
  for (const command of [program, ...descendants(program)]) {
    const path: string[] = []
    for (let at: Command | null = command; at !== null && at !== program; at = at.parent)
      path.unshift(at.name())
    const options = command.options.flatMap((option) =>
      [option.long, option.short].filter((word) => typeof word === "string"),
    )
    paths.set(path.join(" "), [
      ...command.commands.map((child) => child.name()),
      ...options,
      "--help",
    ])
  }
  return paths
}

function bashScript(words: ReadonlyMap<string, readonly string[]>): string {
  const cases = [...words].map(([path, next]) => `    "${path}") words="${next.join(" ")}" ;;`)
  return `_coffer() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" candidate word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    candidate="\${path:+$path }$word"
    case "$candidate" in
${[...words.keys()]
  .filter((path) => path !== "")
  .map((path) => `      "${path}") path="$candidate" ;;`)
  .join("\n")}
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ \${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _coffer coffer`
}

function fishScript(words: ReadonlyMap<string, readonly string[]>): string {
  return [...words]
    .map(([path, next]) => {
      const seen = path.split(" ").filter((word) => word !== "")
      const when =
        seen.length === 0
          ? "__fish_use_subcommand"
          : `__fish_seen_subcommand_from ${seen.at(-1) ?? ""}`
      return `complete -c coffer -n "${when}" -a "${next.join(" ")}"`
    })
    .join("\n")
}
