/** Hot path: every row that is read. 16 bytes an entry, because a CAS can have millions of rows. */

const least = 1024

/** A map from 64 bits to 64 bits that are not zero; keys must look random (they are cut from a MAC). */
export class Fingerprints {
  #keys = new BigUint64Array(least)
  #values = new BigUint64Array(least)
  /** Slots that have a key, also of entries that were removed since. */
  #used = 0

  /** 0n when there is none. */
  get(key: bigint): bigint {
    return this.#values[this.#slot(key)] ?? 0n
  }

  /** 0n removes. */
  set(key: bigint, value: bigint): void {
    let slot = this.#slot(key)
    if (this.#keys[slot] !== key) {
      if (value === 0n) return
      if (this.#used * 10 > this.#keys.length * 6) {
        this.#grow()
        slot = this.#slot(key)
      }
      this.#keys[slot] = key
      this.#used += 1
    }
    this.#values[slot] = value
  }

  #slot(key: bigint): number {
    const keys = this.#keys
    const last = keys.length - 1
    let at = Number(key & 0xffffffffn) & last
    while (keys[at] !== 0n && keys[at] !== key) at = (at + 1) & last
    return at
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values]
    let live = 0
    for (const value of values) if (value !== 0n) live += 1
    const size = live * 10 > keys.length * 3 ? keys.length * 2 : keys.length
    this.#keys = new BigUint64Array(size)
    this.#values = new BigUint64Array(size)
    this.#used = live
    for (let i = 0; i < keys.length; i += 1) {
      const value = values[i] ?? 0n
      if (value === 0n) continue
      const slot = this.#slot(keys[i] ?? 0n)
      this.#keys[slot] = keys[i] ?? 0n
      this.#values[slot] = value
    }
  }
}

/** The first 64 bits of each of a list of hashes, growing at its end. */
export class HashPrefixes {
  #list = new BigUint64Array(least)
  #count = 0

  get count(): number {
    return this.#count
  }

  push(hash: Uint8Array): void {
    if (this.#count === this.#list.length) {
      const more = new BigUint64Array(this.#list.length * 2)
      more.set(this.#list)
      this.#list = more
    }
    this.#list[this.#count] = prefixOf(hash)
    this.#count += 1
  }

  /** Forgets all after the first `count`. */
  cut(count: number): void {
    this.#count = Math.min(this.#count, count)
  }

  /** True when entry `index` (from 0) is there and begins as `hash` does. */
  fits(index: number, hash: Uint8Array): boolean {
    return index >= 0 && index < this.#count && this.#list[index] === prefixOf(hash)
  }
}

function prefixOf(hash: Uint8Array): bigint {
  if (hash.length !== 32) throw new TypeError("a hash has 32 bytes")
  return new DataView(hash.buffer, hash.byteOffset).getBigUint64(0)
}
