/**
 * All that the store asks of a disk: one directory with `header`, `lock` and `segments/`. Names are relative to it.
 * Synchronous. Errors are those of `node:fs` (an absent file is ENOENT). Tests put layers under the store that record
 * and cut.
 */
export interface Disk {
  /** For messages. */
  readonly path: string
  /** Makes the directory (its parent exists) and `segments` in it, durably. EEXIST when the directory is there and not empty. */
  initialise(): void
  /** Takes the writer's lock of this volume; false: another process has it. Ends with `unlock` or the process. */
  lock(): boolean
  unlock(): void
  /** Names in `segments`, in any order. */
  segments(): string[]
  /** For reading only. */
  open(name: string): number
  /** A new file, for reading and writing. EEXIST when there is one. */
  create(name: string): number
  close(fd: number): void
  size(fd: number): number
  /** When the file was last written, in milliseconds since 1970: the disk's word. */
  modified(fd: number): number
  /** The count of bytes read: fewer than `size` only at the end of the file. */
  read(fd: number, target: Uint8Array, at: number, size: number, position: number): number
  /** The range will be read soon: starts that, and waits for nothing. */
  prefetch?(fd: number, offset: number, size: number): void
  /** Writes all, or throws. */
  write(fd: number, source: Uint8Array, at: number, size: number, position: number): void
  /** The range will not change any more: starts to write it to the disk, and waits for nothing. Nothing is durable by it. */
  writeSoon?(fd: number, offset: number, size: number): void
  /** Makes sure that blocks for this range are there, the file's size stays. False: this disk cannot promise it. */
  reserve(fd: number, offset: number, size: number): boolean
  /** Ends the file at `size`, and gives back what was reserved after it. */
  trim(fd: number, size: number): void
  /** fdatasync. */
  sync(fd: number): void
  /** Makes names in `segments` durable. */
  syncDirectory(): void
  /** Writes what is dirty of the file, then forgets the rest, so that what is read next is what the disk has. */
  reload(name: string): void
  remove(name: string): void
  space(): { readonly free: number; readonly total: number }
}
