// Hot path: one step for each entry that the kernel learns or forgets; typed arrays, no allocation but for growth.

/**
 * How often the kernel has been told of each inode. A hash table with linear probing: 12 bytes an inode at most half
 * full, so a million cached inodes cost 24 MiB.
 */
export class LookupCounts {
  #inodes = new Float64Array(1024)
  #counts = new Uint32Array(1024)
  #mask = 1023
  #size = 0

  /** Inodes that the kernel knows. */
  get size(): number {
    return this.#size
  }

  increment(inode: number): void {
    const at = this.#find(inode)
    if (this.#inodes[at] === 0) {
      this.#inodes[at] = inode
      this.#size += 1
    }
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    if (this.#size * 2 > this.#mask) this.#grow()
  }

  /** True when the kernel has now forgotten the inode. False also for one that it was never told of. */
  decrement(inode: number, count: number): boolean {
    const at = this.#find(inode)
    if (this.#inodes[at] === 0) return false
    const left = (this.#counts[at] ?? 0) - count
    if (left > 0) {
      this.#counts[at] = left
      return false
    }
    this.#remove(at)
    return true
  }

  has(inode: number): boolean {
    return this.#inodes[this.#find(inode)] !== 0
  }

  /** The slot of the inode, or the free one where it would be. */
  #find(inode: number): number {
    let at = slot(inode) & this.#mask
    for (;;) {
      const found = this.#inodes[at]
      if (found === inode || found === 0) return at
      at = (at + 1) & this.#mask
    }
  }

  // Shifts back what probed past the freed slot, so that no tombstones gather.
  #remove(freed: number): void {
    let hole = freed
    let at = freed
    this.#size -= 1
    for (;;) {
      at = (at + 1) & this.#mask
      const inode = this.#inodes[at] ?? 0
      if (inode === 0) break
      const home = slot(inode) & this.#mask
      if (((at - home) & this.#mask) < ((at - hole) & this.#mask)) continue
      this.#inodes[hole] = inode
      this.#counts[hole] = this.#counts[at] ?? 0
      hole = at
    }
    this.#inodes[hole] = 0
    this.#counts[hole] = 0
  }

  #grow(): void {
    const inodes = this.#inodes
    const counts = this.#counts
    const capacity = inodes.length * 2
    this.#inodes = new Float64Array(capacity)
    this.#counts = new Uint32Array(capacity)
    this.#mask = capacity - 1
    for (let i = 0; i < inodes.length; i += 1) {
      const inode = inodes[i] ?? 0
      if (inode === 0) continue
      const at = this.#find(inode)
      this.#inodes[at] = inode
      this.#counts[at] = counts[i] ?? 0
    }
  }
}

// Inodes are often consecutive: multiplication by an odd constant spreads them over the high bits.
function slot(inode: number): number {
  const mixed = Math.imul(inode ^ Math.floor(inode / 4294967296), 0x9e3779b1)
  return (mixed ^ (mixed >>> 15)) >>> 0
}
