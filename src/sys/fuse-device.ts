// Hot path: one read and one write a request, through FFI: a quarter of a microsecond each above the system call, and no exception for EAGAIN.

import { dlopen, getRawPointer } from "node:ffi"
import { constants, openSync, readSync, writeSync } from "node:fs"
import { constants as os } from "node:os"
import { fromSystem } from "../errors.ts"
import { lastErrno, systemError } from "./ffi.ts"

// The results are below 2^31, so their lower half is all of them, and no BigInt is made.
const { functions: libc } = dlopen(null, {
  // Sizes as numbers: Node.js looks at the range of each BigInt, twice as long as the call itself takes.
  read: { arguments: ["int32", "pointer", "uint32"], return: "int32" },
  // One vector: its size stands in memory that we write.
  writev: { arguments: ["int32", "pointer", "int32"], return: "int32" },
  poll: { arguments: ["pointer", "uint32", "int32"], return: "int32" },
  eventfd: { arguments: ["uint32", "int32"], return: "int32" },
})

const { EAGAIN, EINTR, ENODEV, ENOENT, EPERM, ECONNABORTED } = os.errno
const POLLIN = 1
const EFD_CLOEXEC_NONBLOCK = 0o2004000
const unmountedPauseMs = 2

/** Opens /dev/fuse for one mount: the descriptor goes into the mount's options. */
export function openFuse(): number {
  try {
    return openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK)
  } catch (error) {
    throw fromSystem(
      error,
      "/dev/fuse",
      "load the kernel module fuse, or give the container /dev/fuse",
    )
  }
}

/** A descriptor by which another thread ends `FuseDevice.wait`. */
export function createWaker(): number {
  const fd = libc.eventfd(0, EFD_CLOEXEC_NONBLOCK)
  if (fd < 0) throw systemError(lastErrno(), "eventfd")
  return fd
}

/** Ends the `wait` of the device that has this waker, now or when it next waits. From any thread. */
export function wake(waker: number): void {
  writeSync(waker, new BigUint64Array([1n]))
}

/** /dev/fuse as the loop in `src/fuse` wants its `Device`. For one thread. The descriptors belong to the caller. */
export class FuseDevice {
  readonly #fd: number
  readonly #waker: number
  readonly #vector = new Uint32Array(new ArrayBuffer(16))
  readonly #vectorAt = getRawPointer(this.#vector)
  readonly #polled = new Int32Array(new ArrayBuffer(16))
  readonly #polledAt = getRawPointer(this.#polled)
  /** Held so that the memory behind the addresses lives as long as they do. */
  memory: readonly ArrayBuffer[] = []
  #inputAt = 0n
  #inputSize = 0
  #mounted = false

  constructor(fd: number, waker: number) {
    this.#fd = fd
    this.#waker = waker
  }

  attach(input: ArrayBuffer, output: ArrayBuffer): void {
    this.memory = [input, output]
    this.#inputAt = getRawPointer(input)
    this.#inputSize = input.byteLength
    new BigUint64Array(this.#vector.buffer)[0] = getRawPointer(output)
    const [fd, waker] = [this.#fd, this.#waker]
    this.#polled.set([fd, POLLIN, waker, POLLIN])
  }

  receive(): number {
    const size = libc.read(this.#fd, this.#inputAt, this.#inputSize)
    if (size > 0) {
      this.#mounted = true
      return size
    }
    const errno = lastErrno()
    if (errno === EAGAIN || errno === EINTR || errno === ENOENT) return 0
    if (errno === ENODEV || errno === ECONNABORTED) return -1
    if (errno === EPERM && !this.#mounted) return 0 // the mount is still to come
    throw systemError(errno, "read of /dev/fuse")
  }

  wait(ms: number): boolean {
    // Before the mount, poll would return at once with an error, again and again.
    if (!this.#mounted) pause(unmountedPauseMs)
    const timeout = this.#mounted ? Math.ceil(ms) : 0
    if (libc.poll(this.#polledAt, 2, timeout) <= 0) return false
    const woken = (this.#polled[3] ?? 0) >>> 16 !== 0
    if (woken) readSync(this.#waker, new Uint8Array(8))
    return woken
  }

  send(size: number): number {
    this.#vector[2] = size
    if (libc.writev(this.#fd, this.#vectorAt, 1) >= 0) return 0
    const errno = lastErrno()
    if (errno === EINTR || errno === EAGAIN) return this.send(size)
    return errno === ENOENT || errno === ENODEV ? 0 : -errno
  }
}

const paused = new Int32Array(new SharedArrayBuffer(4))

function pause(ms: number): void {
  Atomics.wait(paused, 0, 0, ms)
}
