import { writeFileSync } from "node:fs"
import type { ByteString } from "../bytes/index.ts"
import type { Attributes, EmitEntry } from "../fuse/index.ts"
import { BinfsFileSystem } from "./binfs-file-system.ts"
import { formatTrace } from "./trace-file.ts"

const ENOENT = -2

/**
 * A binary filesystem that notes what is asked of it, and writes the trace to a file at the end. The kernel asks once
 * for each name and for each page, however often the service does: enough to know what was used. No service runs on
 * one but for `protect --trace`.
 */
export class TracedBinfs extends BinfsFileSystem {
  readonly #file: string
  /** A file with several names has several. */
  readonly #paths = new Map<number, Set<ByteString>>([[1, new Set(["" as ByteString])]])
  readonly #readInodes = new Set<number>()
  readonly #listedInodes = new Set<number>()
  readonly #missed = new Set<ByteString>()
  #written = false

  constructor(file: string, ...base: ConstructorParameters<typeof BinfsFileSystem>) {
    super(...base)
    this.#file = file
  }

  override lookup(parent: number, name: ByteString, out: Attributes): number {
    const result = super.lookup(parent, name, out)
    const [folder = ""] = this.#paths.get(parent) ?? []
    const path = `${folder}/${name}` as ByteString
    if (result === ENOENT) this.#missed.add(path)
    if (result !== 0) return result
    const paths = this.#paths.get(out.inode)
    if (paths === undefined) this.#paths.set(out.inode, new Set([path]))
    else paths.add(path)
    return 0
  }

  override read(inode: number, offset: number, size: number, target: Buffer, at: number): number {
    this.#readInodes.add(inode)
    return super.read(inode, offset, size, target, at)
  }

  override readdir(inode: number, cookie: number, emit: EmitEntry): number {
    this.#listedInodes.add(inode)
    return super.readdir(inode, cookie, (name, child, type, next) =>
      emit(name, child, type, next, tellNothing),
    )
  }

  override destroy(): void {
    if (!this.#written) this.#write()
    this.#written = true
    super.destroy()
  }

  #write(): void {
    const pathsOf = (inodes: Iterable<number>): Set<ByteString> =>
      new Set([...inodes].flatMap((inode) => [...(this.#paths.get(inode) ?? [])].map(rooted)))
    const trace = {
      read: pathsOf(this.#readInodes),
      looked: pathsOf(this.#paths.keys()),
      listed: pathsOf(this.#listedInodes),
      missed: this.#missed,
    }
    writeFileSync(this.#file, formatTrace(trace), { mode: 0o600 })
  }
}

// With attributes in a listing, the kernel would not ask for the names that the service then uses. No inode: look it up.
function tellNothing(out: Attributes): void {
  out.inode = 0
}

function rooted(path: ByteString): ByteString {
  return path === "" ? ("/" as ByteString) : path
}
