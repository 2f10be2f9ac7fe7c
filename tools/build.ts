/**
 * Bundles the command line, the OCI runtime and every worker into `dist/`, a file each: a start then reads one file instead of
 * hundreds, and evaluates only what its own program uses.
 */
import { globSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { build, type Plugin } from "esbuild"

/**
 * What is imported but hardly ever used at a start is left out or evaluated at its first use: zod's messages in 50 languages, and
 * the YAML parser, which takes 11 ms.
 */
const lean: Plugin = {
  name: "lean",
  setup(context) {
    context.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({ contents: "export {}" }))
    context.onResolve({ filter: /^yaml$/ }, ({ importer, pluginData }) =>
      pluginData === "whole" || importer.includes("node_modules")
        ? undefined
        : { path: "yaml", namespace: "lazy" },
    )
    context.onResolve({ filter: /^whole-yaml$/ }, ({ resolveDir }) =>
      context.resolve("yaml", { kind: "require-call", resolveDir, pluginData: "whole" }),
    )
    context.onLoad({ filter: /^yaml$/, namespace: "lazy" }, () => ({
      contents: lazyYaml,
      resolveDir: import.meta.dirname,
    }))
  },
}

// Only these: a name that is missing here is an error of the build.
const lazyYaml = `
const whole = () => require("whole-yaml")
export const parseDocument = (...words) => whole().parseDocument(...words)
export const isMap = (node) => whole().isMap(node)
export const isNode = (node) => whole().isNode(node)
export const isScalar = (node) => whole().isScalar(node)
export function LineCounter() { return new (whole().LineCounter)() }
`

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
    plugins: [lean],
    sourcemap: "linked",
    logLevel: "warning",
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  })
