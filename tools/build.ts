/** Bundles the command line and every worker into `dist/`: a start then reads a few files instead of hundreds. */
import { globSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { build } from "esbuild"

rmSync("dist", { recursive: true, force: true })
await build({
  entryPoints: [
    { in: "src/cli/main.ts", out: "main" },
    { in: "src/runtime/main.ts", out: "coffer-oci" },
    ...globSync("src/**/*.worker.ts").map((file) => ({ in: file, out: basename(file, ".ts") })),
  ],
  outdir: "dist",
  bundle: true,
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
