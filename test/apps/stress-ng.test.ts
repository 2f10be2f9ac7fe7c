/** A few of stress-ng's filesystem stressors, which check what they do. `volume-stress.soak.ts` runs all of them. */
import { test } from "node:test"
import { lacks } from "../support/run.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"
import { checkStressors } from "./stress-ng.ts"

const some = ["chattr", "dentry", "dir", "fallocate", "hdd", "link", "rename", "xattr"]

test(`stress-ng: ${some.join(", ")}`, { skip: cannotServe() || lacks("stress-ng") }, () =>
  withDaemon({}, (daemon) => checkStressors(daemon.mount, some, 1)),
)
