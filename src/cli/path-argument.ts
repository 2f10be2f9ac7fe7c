import { type ByteString, parseDisplayName, utf8OfByteString } from "../bytes/index.ts"

/** For the help of the commands that take one. */
export const pathHelp = "in the filesystem; bytes that are no text as ls shows them, \\xNN"

/** What a path that a user typed may mean, the likeliest first: the name that we show so, else what stands there. */
export function pathsOf(text: string): readonly [ByteString, ...ByteString[]] {
  const shown = parseDisplayName(text)
  const typed = utf8OfByteString(text)
  return shown === undefined || shown === typed ? [typed] : [shown, typed]
}

/** The same, absolute and with no part that says nothing. */
export function absolutePathsOf(text: string): readonly [ByteString, ...ByteString[]] {
  const [path, ...other] = pathsOf(text)
  return [normal(path), ...other.map((one) => normal(one))]
}

function normal(path: ByteString): ByteString {
  const names = path.split("/").filter((name) => name !== "" && name !== ".")
  return `/${names.join("/")}` as ByteString
}
