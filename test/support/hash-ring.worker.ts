import { workerData } from "node:worker_threads"
import { type RingMemory, workOnRing } from "../../src/verity/index.ts"

// Hashes, and fails to sink whatever begins at an odd block.
workOnRing(workerData as RingMemory, (_, firstBlock) => {
  if (firstBlock % 2 === 1) throw new Error("an odd block")
})
