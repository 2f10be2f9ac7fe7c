import assert from "node:assert/strict"
import { test } from "node:test"
import { MemoryStore } from "../store/memory-store.ts"
import { LiveTable } from "./live-table.ts"
import { maxValueSize, pageSize } from "./page.ts"
import { Tree } from "./tree.ts"

function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 4294967296) * below)
  }
}

function keyOf(hi: number, lo: number): string {
  return `${String(hi).padStart(17, "0")}/${String(lo).padStart(17, "0")}`
}

function dump(tree: Tree): [string, number, number][] {
  const out: [string, number, number][] = []
  for (let more = tree.seek(0, 0); more; more = tree.next())
    out.push([
      keyOf(tree.hi, tree.lo),
      tree.size,
      tree.size > 3 ? tree.page.bytes.readUInt32LE(tree.at) : 0,
    ])
  return out
}

function expected(model: Model): [string, number, number][] {
  return [...model]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, [size, mark]]) => [key, size, size > 3 ? mark : 0])
}

type Model = Map<string, [size: number, mark: number]>

function put(tree: Tree, model: Model, hi: number, lo: number, size: number, mark: number): void {
  tree.put(hi, lo, size)
  if (size > 3) tree.page.bytes.writeUInt32LE(mark, tree.at)
  model.set(keyOf(hi, lo), [size, mark])
}

const big = 2 ** 45

for (const seed of [1, 2, 3, 4])
  test(`the tree is an ordered map (seed ${seed})`, () => {
    const random = generator(seed)
    const store = new MemoryStore()
    const live = new LiveTable()
    let tree = new Tree(store, live, 12 * pageSize)
    const model: Model = new Map()
    for (let step = 0; step < 20_000; step += 1) {
      const hi = random(4) === 0 ? random(3) * big : random(40)
      const lo = random(2) === 0 ? step : random(1000) * (seed % 2 === 0 ? 1 : 2 ** 33)
      const shrinking = step % 8000 > 5000
      if (random(10) < (shrinking ? 2 : 7))
        put(tree, model, hi, lo, random(30) === 0 ? random(maxValueSize) : random(60), step)
      else if (tree.seek(hi, lo)) {
        model.delete(keyOf(tree.hi, tree.lo))
        tree.remove()
      }
      if (step % 50 === 0) tree.cache.trim()
      if (step % 997 === 0) assert.deepEqual(dump(tree), expected(model), `step ${step}`)
      if (step % 1500 === 0) {
        tree.cache.writeAll()
        assert.equal(tree.cache.dirtyCount, 0)
        const { segment, offset, size } = tree.root
        tree = new Tree(store, live, 12 * pageSize)
        tree.open(segment, offset, size)
      }
    }
    tree.cache.writeAll()
    finish(tree, model, live)
  })

function finish(tree: Tree, model: Model, live: LiveTable): void {
  assert.deepEqual(dump(tree), expected(model))
  const floor = [...model.keys()].toSorted().findLast((key) => key <= keyOf(20, 500))
  assert.equal(tree.floor(20, 500), floor !== undefined)
  if (floor !== undefined) assert.equal(keyOf(tree.hi, tree.lo), floor)
  for (const key of model.keys()) {
    const [hi = 0, lo = 0] = key.split("/").map(Number)
    assert.ok(tree.find(hi, lo))
    tree.remove()
  }
  assert.deepEqual(dump(tree), [])
  tree.cache.writeAll()
  assert.equal(live.total, tree.root.size)
}

test("values that grow at the front of a page keep their order", () => {
  const tree = new Tree(new MemoryStore(), new LiveTable(), 1000 * pageSize)
  const model: Model = new Map()
  for (let i = 0; i < 40; i += 1) put(tree, model, 9, i, 750, i)
  for (const i of [10, 20, 0, 11, 21, 1, 30, 31, 32]) put(tree, model, 9, i, maxValueSize, i + 100)
  assert.deepEqual(dump(tree), expected(model))
})

test("ascending keys leave full pages", () => {
  const tree = new Tree(new MemoryStore(), new LiveTable(), 1000 * pageSize)
  for (let i = 0; i < 50_000; i += 1) tree.put(7, i, 28)
  for (let i = 0; i < 50_000; i += 1) tree.put(3, i, 28)
  tree.cache.writeAll()
  let pages = 0
  let used = 0
  let last = tree.root
  for (let more = tree.seek(0, 0); more; more = tree.next())
    if (tree.page !== last) {
      pages += 1
      used += tree.page.used
      last = tree.page
    }
  assert.ok(used / pages > 0.97 * pageSize, `${used / pages} bytes a page`)
})

test("an empty value is not lost when the values around it go", () => {
  const store = new MemoryStore()
  const tree = new Tree(store, new LiveTable(), 100 * pageSize)
  tree.put(1, 1, 8)
  tree.put(1, 2, 40)
  tree.put(1, 3, 0)
  assert.ok(tree.find(1, 2))
  tree.remove()
  tree.cache.writeAll()
  const { segment, offset, size } = tree.root
  const again = new Tree(store, new LiveTable(), 100 * pageSize)
  again.open(segment, offset, size)
  assert.deepEqual(
    dump(again).map(([key, bytes]) => [key, bytes]),
    [
      [keyOf(1, 1), 8],
      [keyOf(1, 3), 0],
    ],
  )
})
