/** Chapter 3: an encrypted volume on a disk that the adversary owns. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { atEnd, chapter, coffer, must, refused, run, show, work } from "./story.ts"

const volume = join(work, "disk/orders")
const mnt = join(work, "mnt")
const access = "--key-file orders.key --pin orders.pin"

async function mount(): Promise<ChildProcess> {
  console.log(`  $ coffer volume mount disk/orders mnt ${access} &`)
  const args = ["volume", "mount", volume, mnt, ...access.split(" ")]
  const daemon = spawn(coffer, args, { cwd: work, stdio: ["ignore", "pipe", "pipe"] })
  atEnd(() => {
    daemon.kill("SIGKILL")
    run(`umount -l ${mnt}`, { show: false })
  })
  let said = ""
  daemon.stderr.on("data", (chunk: Buffer) => void (said += chunk.toString()))
  const giveUp = performance.now() + 20_000
  while (!readFileSync("/proc/self/mountinfo", "utf8").includes(` ${mnt} `)) {
    if (performance.now() > giveUp || daemon.exitCode !== null)
      throw new Error(`the volume was not mounted: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return daemon
}

async function unmount(daemon: ChildProcess): Promise<void> {
  const ended = once(daemon, "exit")
  must(`umount ${mnt}`)
  await ended
}

/** Every file of the volume that the disk has. */
function backingFiles(): string[] {
  return readdirSync(volume, { recursive: true, encoding: "utf8" })
    .map((name) => join(volume, name))
    .filter((path) => statSync(path).isFile() && statSync(path).size > 4096)
}

export async function volumeChapter(): Promise<void> {
  chapter("3. Data lives in a volume: encrypted, authenticated, and never older than it was")
  mkdirSync(mnt)
  mkdirSync(join(work, "disk"))
  must(`${coffer} keygen --volume orders.key`)
  must(`${coffer} volume create disk/orders ${access}`)
  await crash()
  await rollback()
  await tamper()
}

async function crash(): Promise<void> {
  const daemon = await mount()
  const secret = "a secret order for tea"
  must(`echo "${secret}" > mnt/order-1.txt && sync mnt/order-1.txt`)
  daemon.kill("SIGKILL")
  await once(daemon, "exit")
  run(`umount -l ${mnt}`, { show: false })
  console.log("    (the shield was killed with SIGKILL)")
  const again = await mount()
  show(
    "what was synced is there after kill -9",
    readFileSync(join(mnt, "order-1.txt"), "utf8").trim() === secret,
  )
  await unmount(again)
  const leaked = backingFiles().some((path) =>
    /secret order|order-1/.test(readFileSync(path, "latin1")),
  )
  show("neither content nor file name can be read on the disk", !leaked)
}

async function rollback(): Promise<void> {
  cpSync(volume, join(work, "older"), { recursive: true })
  const daemon = await mount()
  must("echo paid > mnt/order-1.txt && sync mnt/order-1.txt")
  await unmount(daemon)
  cpSync(volume, join(work, "newer"), { recursive: true })
  rmSync(volume, { recursive: true })
  cpSync(join(work, "older"), volume, { recursive: true })
  console.log("    (the adversary puts yesterday's copy of the whole volume back)")
  refused(`${coffer} volume mount disk/orders mnt ${access}`, 4, /older|rollback|anchor|newest/i)
  rmSync(volume, { recursive: true })
  mkdirSync(volume)
  console.log("    (the adversary empties the directory)")
  refused(`${coffer} volume mount disk/orders mnt ${access}`, 4, /./)
  show("an older state, or an emptied directory, is refused with exit code 4", true)
  rmSync(volume, { recursive: true })
  cpSync(join(work, "newer"), volume, { recursive: true })
}

async function tamper(): Promise<void> {
  const daemon = await mount()
  must("head -c 300000 /dev/urandom > mnt/big && sync mnt/big")
  await unmount(daemon)
  const largest = backingFiles().toSorted((a, b) => statSync(b).size - statSync(a).size)[0] ?? ""
  const bytes = readFileSync(largest)
  const middle = Math.floor(bytes.length / 2)
  bytes[middle] = (bytes[middle] ?? 0) ^ 1
  writeFileSync(largest, bytes)
  console.log("    (the adversary flips one bit in the middle of the largest file on the disk)")
  refused(`${coffer} volume verify disk/orders ${access}`, 3, /./)
  show("one flipped bit is found, with its place", true)
}
