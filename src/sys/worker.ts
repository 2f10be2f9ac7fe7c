/**
 * Where a worker's entry file is: beside its caller in the sources (`./NAME.worker.ts`), in the same folder in the
 * bundle (`./NAME.worker.js`, which `tools/build.ts` makes).
 */
export function workerUrl(name: string, callerUrl: string): URL {
  const suffix = callerUrl.endsWith(".ts") ? "ts" : "js"
  return new URL(`./${name}.worker.${suffix}`, callerUrl)
}
