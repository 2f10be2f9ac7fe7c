/** The thread that serves one volume of a container: its key, its identity and its freshness come from the CAS. */

import { fromHex, utf8OfByteString } from "../bytes/index.ts"
import { openCasAnchor } from "../cas/index.ts"
import { openFile, openTree } from "../seal/index.ts"
import { serveInWorker, volumeRehearsal } from "../shield/index.ts"
import { lookup } from "../tree/index.ts"
import {
  type Anchor,
  createStore,
  type Freshness,
  fileSystemOn,
  NodeDisk,
  openStore,
  openStoreForReading,
} from "../volume/index.ts"
import type { CasVolumeRequest, VolumeSeed } from "./cas-volume.ts"
import { clearUnanchored, seedVolume, wantsSeed } from "./first-start.ts"

function open({ directory, grant }: CasVolumeRequest, anchor: Anchor) {
  const disk = new NodeDisk(directory)
  const newest = grant.keys.at(-1)
  const key = newest === undefined ? undefined : bytes(newest.key)
  const volumeId = bytes(grant.id)
  const { protection } = grant
  const expect = { volumeId, protection }
  if (grant.access === "read" || key === undefined)
    return openStoreForReading({ disk, key, anchor, expect })
  const settings = { freshness: freshnessOf(grant.freshness) }
  // Only what the CAS calls new is initialised: an emptied directory is a rollback, never a fresh volume.
  if (grant.state === "new")
    return createStore({ disk, key, protection, volumeId, anchor, settings })
  return openStore({ disk, key, anchor, expect, settings })
}

function bytes(hex: string): Uint8Array {
  const value = fromHex(hex)
  if (value === undefined) throw new TypeError("a grant's schema lets only hex pass")
  return value
}

function freshnessOf(wanted: CasVolumeRequest["grant"]["freshness"]): Freshness {
  if (wanted === "strict") return { mode: "strict" }
  return { mode: "periodic", everyMs: wanted.age * 1000, everyCommits: wanted.count }
}

/** The image's directory goes in at the first start. */
function plant(fs: ReturnType<typeof fileSystemOn>, { path, manifest, at }: VolumeSeed): void {
  const source = openFile(path)
  try {
    const node = lookup(openTree(source, manifest), utf8OfByteString(at))
    if (node?.kind === "directory") seedVolume(fs, node)
  } finally {
    source.close()
  }
}

// The error that brought us here says more.
function closeQuietly(fs: ReturnType<typeof fileSystemOn>): void {
  try {
    fs.destroy()
  } catch {}
}

/** Whoever writes next, on whichever machine, need not wait until the lease of a volume that was closed well has lapsed. */
function givingBack(fs: ReturnType<typeof fileSystemOn>, anchor: Anchor): typeof fs {
  const destroy = fs.destroy.bind(fs)
  fs.destroy = () => {
    destroy()
    try {
      anchor.close()
    } catch {
      // It lapses by itself.
    }
  }
  return fs
}

function build(request: unknown, report: (error: unknown) => void) {
  const asked = request as CasVolumeRequest
  const { grant, root, seed } = asked
  const readOnly = grant.access === "read"
  if (grant.state === "new" && !readOnly) clearUnanchored(asked.directory, bytes(grant.id))
  const anchor = openCasAnchor(asked.target, asked.policy, grant)
  const opened = open(asked, anchor)
  const fs = fileSystemOn(opened, { readOnly, root }, report)
  try {
    if (seed !== undefined && !readOnly && wantsSeed(fs, opened.recovery)) plant(fs, seed)
    return givingBack(fs, anchor)
  } catch (error) {
    closeQuietly(fs)
    throw error
  }
}

await serveInWorker(build, () => Promise.resolve(volumeRehearsal()))
