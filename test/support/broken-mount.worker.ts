/** A filesystem that cannot be opened. */
import { CofferError } from "../../src/errors.ts"
import { serveInWorker } from "../../src/shield/index.ts"

await serveInWorker(() => {
  throw new CofferError("integrity", "no", { hint: "use the right key" })
})
