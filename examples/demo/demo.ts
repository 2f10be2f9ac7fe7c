/** `make demo`: the main job on a real image, told on the terminal. Ends with what was shown, or with an error and a non-zero exit code. */
import { casChapter } from "./cas.ts"
import { codeChapter } from "./code.ts"
import { imageChapter } from "./image.ts"
import { runChapter } from "./run.ts"
import { cleanUp, summary } from "./story.ts"
import { volumeChapter } from "./volume.ts"

for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    cleanUp()
    process.exit(status)
  })

try {
  const shop = imageChapter()
  codeChapter(shop)
  await volumeChapter()
  await casChapter()
  await runChapter()
  summary()
} catch (error) {
  console.error(`\nthe demo failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  cleanUp()
}
