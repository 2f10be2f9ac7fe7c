import assert from "node:assert/strict"
import { after, before, describe } from "node:test"
import { posixSuite } from "../suites/posix.ts"
import { cannotMount, type TestMount } from "./memory-mount.ts"

/** The POSIX suite over a mount of ours, which must see no fault and no tampering meanwhile. */
export function mounted(label: string, mount: () => Promise<TestMount>): void {
  void describe(label, { skip: cannotMount() }, () => {
    let made: TestMount | undefined
    before(async () => {
      made = await mount()
    })
    after(async () => {
      const { faults, tamperEvents } = made?.served.metrics() ?? {}
      await made?.end()
      assert.deepEqual({ faults, tamperEvents }, { faults: 0, tamperEvents: 0 })
    })
    posixSuite(label, () => made?.directory ?? "", { findsHoles: false, largeDirectory: 2000 })
  })
}
