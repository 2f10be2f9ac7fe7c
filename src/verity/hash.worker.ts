// Hot path. Hashes the slots of a `HashRing` that it is the first to claim, until it is told to stop.
import { workerData } from "node:worker_threads"
import { attach, type RingMemory, runWorker } from "./ring.ts"

runWorker(attach(workerData as RingMemory))
