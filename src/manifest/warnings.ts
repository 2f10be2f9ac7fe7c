import type { ManifestDraft } from "./measured.ts"

/** Variables that make a program load or run other code. */
const loaders =
  /^(LD_|PYTHON|NODE_OPTIONS$|NODE_PATH$|PERL5|RUBY|JAVA_TOOL_OPTIONS$|_JAVA_OPTIONS$|JDK_JAVA_OPTIONS$|BASH_ENV$|ENV$|GCONV_PATH$|GLIBC_TUNABLES$)/

const interpreters = /\/(ba|da|z|k)?sh$|\/(python|perl|ruby|node|php|lua)[0-9.]*$/

/** What is allowed by this manifest and lets the host run code of its own. One sentence each. */
export function manifestWarnings(manifest: ManifestDraft): string[] {
  const found = Object.keys(manifest.env.allow)
    .filter((name) => loaders.test(name))
    .map((name) => `env.allow: ${name} lets the host choose code that the service loads`)
  if (manifest.debug) found.push("debug: anybody on the host may attach and exec")
  if (manifest.stdin === "inherit" && interpreters.test(manifest.binary))
    found.push(`stdin: ${manifest.binary} runs what it reads from there`)
  for (const region of manifest.regions)
    if (region.kind === "host" && (region.format === "file" || region.format === "directory"))
      found.push(`regions: ${region.path} is the host's and is not protected`)
  return found
}
