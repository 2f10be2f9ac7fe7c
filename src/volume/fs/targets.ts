import { type ByteString, bytesOf } from "../../bytes/index.ts"
import type { Catalog } from "./catalog.ts"
import { itemType, keyOf } from "./keys.ts"

/** A value of the index has no room for a long one. */
const chunkSize = 2048

/** The target of a new symlink: at least one byte. */
export function putTarget(catalog: Catalog, inode: number, target: ByteString): void {
  for (let at = 0; at < target.length; at += chunkSize) {
    const part = bytesOf(target.slice(at, at + chunkSize) as ByteString)
    catalog.words[part.length >> 2] = 0
    catalog.bytes.set(part, 0)
    catalog.put(keyOf(inode, itemType.target), at / chunkSize, part.length)
  }
}

/** Undefined: it is no symlink. */
export function targetOf({ tree }: Catalog, inode: number): ByteString | undefined {
  const hi = keyOf(inode, itemType.target)
  let target = ""
  for (let more = tree.seek(hi, 0); more && tree.hi === hi; more = tree.next())
    target += tree.page.bytes.toString("latin1", tree.at, tree.at + tree.size)
  return target === "" ? undefined : (target as ByteString)
}

export function removeTarget(catalog: Catalog, inode: number): void {
  for (let chunk = 0; catalog.remove(keyOf(inode, itemType.target), chunk); chunk += 1);
}
