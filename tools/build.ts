/**
 * Bundles the command line, the OCI runtime and every worker into `dist/`, a file each: a start then reads one file instead of
 * hundreds, and evaluates only what its own program uses.
 */
import { globSync, rmSync } from "node:fs"
import { basename } from "node:path"
import { build, type Plugin } from "esbuild"

/**
 * What is imported but hardly ever used at a start stands in a file of its own, which is read at its first use: the YAML parser, what
 * only a CAS needs, and zod, whose schemas `lazy-zod.ts` reads usual values for. zod's messages in 50 languages are left out.
 */
const lean: Plugin = {
  name: "lean",
  setup(context) {
    context.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, () => ({ contents: "export {}" }))
    context.onResolve({ filter: /^[@\w]/ }, ({ path, kind }) =>
      kind === "import-statement" && Object.hasOwn(lazy, path)
        ? { path, namespace: "lazy" }
        : undefined,
    )
    context.onLoad({ filter: /./, namespace: "lazy" }, ({ path }) => {
      const { file = "", isCommonJs = false, exports = [] } = lazy[path] ?? {}
      const part = isCommonJs ? ".default" : ""
      return {
        contents: [`const whole = () => require("./${file}.js")${part}`, ...exports].join("\n"),
        resolveDir: import.meta.dirname,
      }
    })
  },
}

function call(name: string): string {
  return `export const ${name} = (...words) => whole().${name}(...words)`
}

interface Lazy {
  readonly file: string
  /** What it exports is the default of the file that is made of it. */
  readonly isCommonJs?: boolean
  readonly exports: readonly string[]
}

// Only these: a name that is missing here is an error of the build.
const lazy: Readonly<Record<string, Lazy>> = {
  yaml: {
    file: "yaml",
    isCommonJs: true,
    exports: [
      ...["parseDocument", "isMap", "isNode", "isScalar"].map(call),
      "export function LineCounter() { return new (whole().LineCounter)() }",
    ],
  },
  zod: {
    file: "zod",
    exports: [
      'import { lazyZod } from "../src/bytes/lazy-zod.ts"',
      "export const z = lazyZod(() => whole().z)",
    ],
  },
  // Evaluated, it reads `Request` and `Response`, and Node.js loads its HTTP client for these.
  "@hono/node-server": { file: "listener", exports: [call("getRequestListener")] },
  pg: {
    file: "pg",
    isCommonJs: true,
    exports: ["export default { get Pool() { return whole().Pool } }"],
  },
}
const lazyFiles = Object.entries(lazy).map(([module, { file }]) => ({ in: module, out: file }))

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
  ...lazyFiles,
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
    // A comment with one letter that is not Latin makes V8 keep the whole file in twice the memory.
    minifyWhitespace: true,
    plugins: [lean, builtins],
    external: lazyFiles.map(({ out }) => `./${out}.js`),
    sourcemap: "linked",
    logLevel: "warning",
    banner: {
      js: 'const require = (name) => process.getBuiltinModule("node:module").createRequire(import.meta.url)(name);',
    },
  })
