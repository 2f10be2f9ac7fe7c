/**
 * Bundles the command line, the OCI runtime and every worker into `dist/`, a file each: a start then reads one file instead of
 * hundreds, and evaluates only what its own program uses.
 */
import { globSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { build } from "esbuild"

const outdir = process.argv[2] ?? "dist"
rmSync(outdir, { recursive: true, force: true })
const entries = [
  { in: "src/cli/main.ts", out: "main" },
  { in: "src/runtime/main.ts", out: "coffer-oci" },
  ...globSync("src/**/*.worker.ts").map((file) => ({ in: file, out: basename(file, ".ts") })),
]
for (const entry of entries)
  await build({
    entryPoints: [entry],
    outdir,
    bundle: true,
    // What is imported when it is needed stays in a file of its own.
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node26",
    minify: false,
    sourcemap: "linked",
    logLevel: "warning",
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  })
