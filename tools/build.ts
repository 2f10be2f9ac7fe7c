/**
 * Bundles the command line, the OCI runtime and every worker into `dist/`, a file each: a start then reads one file instead of
 * hundreds, and evaluates only what its own program uses.
 */
import { globSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { build, type Plugin } from "esbuild"

/**
 * What is imported but hardly ever used at a start is left out or evaluated at its first use: zod's messages in 50 languages, the
 * YAML parser, which takes 11 ms, what only a CAS needs, which takes 50 ms, and the schemas that are asked only about what is not usual, which take 60 ms with zod.
 */
const lean: Plugin = {
  name: "lean",
  setup(context) {
    context.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({ contents: "export {}" }))
    context.onResolve({ filter: /^whole:/ }, ({ path }) => ({ path: path.slice("whole:".length) }))
    for (const { module, file, exports } of lazy) {
      context.onResolve(
        { filter: module },
        async ({ path, importer, resolveDir, pluginData, kind }) => {
          if (pluginData === "whole" || importer.includes("node_modules")) return
          const { path: whole } = await context.resolve(path, {
            kind,
            resolveDir,
            pluginData: "whole",
          })
          return { path: whole, namespace: file }
        },
      )
      context.onLoad({ filter: /./, namespace: file }, ({ path }) => ({
        contents: [
          `const whole = () => require(${JSON.stringify(`whole:${path}`)})`,
          ...exports,
        ].join("\n"),
        resolveDir: import.meta.dirname,
      }))
    }
  },
}

function call(name: string): string {
  return `export const ${name} = (...words) => whole().${name}(...words)`
}

// Only these: a name that is missing here is an error of the build.
const lazy = [
  {
    module: /^yaml$/,
    file: "yaml",
    exports: [
      ...["parseDocument", "isMap", "isNode", "isScalar"].map(call),
      "export function LineCounter() { return new (whole().LineCounter)() }",
    ],
  },
  {
    // Evaluated, it reads `Request` and `Response`, and Node.js loads its HTTP client for these.
    module: /^@hono\/node-server$/,
    file: "listener",
    exports: [call("getRequestListener")],
  },
  {
    module: /^pg$/,
    file: "pg",
    exports: ["export default { get Pool() { return whole().default.Pool } }"],
  },
  { module: /\/measured-schema\.ts$/, file: "manifest", exports: [call("readManifest")] },
  { module: /\/engine-config-schema\.ts$/, file: "engine", exports: [call("readEngineConfig")] },
]

/**
 * `import` of a built-in module reads all that it exports, and with that makes Node load streams, promises and Web Crypto of modules
 * of which we use two functions: 14 ms for every thread.
 */
const builtins: Plugin = {
  name: "builtins",
  setup(context) {
    context.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "import-statement" ? { path, namespace: "builtin" } : undefined,
    )
    context.onLoad({ filter: /./, namespace: "builtin" }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) ?? {})
      const exported = names.filter((name) => /^\w+$/.test(name) && name !== "default")
      return {
        contents: [
          `const __builtin = process.getBuiltinModule(${JSON.stringify(path)})`,
          "const __get = (name) => __builtin[name]",
          "export default __builtin",
          ...exported.map((name) => `export const ${name} = /* @__PURE__ */ __get("${name}")`),
        ].join("\n"),
      }
    })
  },
}

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
    plugins: [lean, builtins],
    sourcemap: "linked",
    logLevel: "warning",
    banner: {
      js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);',
    },
  })
