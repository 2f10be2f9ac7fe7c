import { z as whole } from "zod"
import { lazyZod } from "../../src/bytes/lazy-zod.ts"

/** How often zod was needed. */
export const asked = { count: 0 }

export const z = lazyZod(() => {
  asked.count += 1
  return whole
})
