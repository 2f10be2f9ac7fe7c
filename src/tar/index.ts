/**
 * Tar: the reader and writer for trees.
 *
 * Reads ustar, PAX, GNU and old tars at random access, keeps every byte of names and xattrs, and trusts nothing: each
 * number is bounded, each name is checked, and what is damaged or ambiguous is a `CofferError` with the byte position.
 * Memory is bounded by the names, never by the content. Whiteouts are not interpreted: that is `oci`'s.
 * Spec: POSIX.1-2017 pax, GNU tar's manual (basic format, sparse formats), star's xattr and ACL records.
 */
export { putTarEntry, type TarEntry } from "./entry.ts"
export { readTar, type TarOptions } from "./reader.ts"
export { type TarSource, tarSourceOfFile, tarSourceOfRange } from "./source.ts"
export { builderOptions, treeFromTar } from "./tree-from-tar.ts"
export { tarAround, writeTar } from "./write.ts"
