import { registerHooks } from "node:module"

const mark = "?lazy"
const root = new URL("../..", import.meta.url).href
const shim = new URL("./lazily-zod.ts", import.meta.url).href

/** A second copy of our modules, with the schemas of `lazy-zod.ts` as in the bundle. `path` from the root of the repository. */
export function lazily(path: string): Promise<unknown> {
  return import(`${root}${path}${mark}`) as Promise<unknown>
}

registerHooks({
  resolve(specifier, context, next) {
    const isLazy = context.parentURL?.endsWith(mark) === true
    if (isLazy && specifier === "zod") return next(shim, context)
    const found = next(specifier, context)
    const isOurs = found.url.startsWith(root) && !found.url.includes("/node_modules/")
    return isLazy && isOurs ? { ...found, url: `${found.url}${mark}` } : found
  },
})
