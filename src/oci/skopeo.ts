import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { CofferError, isErrno } from "../errors.ts"

const run = promisify(execFile)

/** `skopeo copy FROM TO`: all that has to do with registries, engines' storages and their credentials is skopeo's. */
export async function skopeoCopy(
  from: string,
  to: string,
  options: readonly string[] = [],
  copyOptions: readonly string[] = [],
): Promise<void> {
  try {
    await run("skopeo", [...options, "copy", "--quiet", ...copyOptions, from, to])
  } catch (error) {
    if (isErrno(error, "ENOENT")) {
      throw new CofferError("missing", `image ${from}: wanted the tool skopeo, found none`, {
        hint: "install it (apt-get install skopeo), or use an oci: layout",
      })
    }
    const said = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error)
    const full = /no space left on device|disk quota exceeded/i.test(said)
    const code = full ? "io" : "missing"
    throw new CofferError(code, `copy ${from} to ${to}: skopeo said: ${lastLine(said)}`, {
      reason: "skopeo",
      cause: error,
    })
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? ""
}
