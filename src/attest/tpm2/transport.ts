import { type FileHandle, open } from "node:fs/promises"
import { connect, type Socket } from "node:net"
import { CofferError, fromSystem } from "../../errors.ts"

/** One command in, its response out; never two at once (the caller sees to it). */
export interface TpmTransport {
  transceive(command: Uint8Array): Promise<Uint8Array>
  /** Idempotent. */
  close(): Promise<void>
}

/** The header of a response says how long it is; no TPM sends more. */
const responseMax = 16384

/**
 * Where a TPM is: `/dev/tpmrm0` (the kernel's resource manager), `unix:PATH` or `HOST:PORT` (a software TPM's data
 * socket, no framing).
 */
export function openTpmTransport(address: string): Promise<TpmTransport> {
  if (address.startsWith("/dev/")) return openDevice(address)
  if (address.startsWith("unix:"))
    return openSocket({ path: address.slice("unix:".length) }, address)
  const match = /^(.+):(\d{1,5})$/.exec(address)
  if (match === null)
    throw new CofferError("config", `tpm: wanted /dev/…, unix:PATH or HOST:PORT, found ${address}`)
  return openSocket({ host: match[1] ?? "", port: Number(match[2]) }, address)
}

async function openDevice(path: string): Promise<TpmTransport> {
  let file: FileHandle
  try {
    file = await open(path, "r+")
  } catch (error) {
    throw fromSystem(error, path, "is there a TPM, and may this user open it?")
  }
  return {
    async transceive(command) {
      try {
        // One write is one command, one read its response; a second write before the read is EBUSY.
        await file.write(command)
        const buffer = new Uint8Array(responseMax)
        const { bytesRead } = await file.read(buffer, 0, buffer.length, null)
        return buffer.subarray(0, bytesRead)
      } catch (error) {
        throw fromSystem(error, path)
      }
    },
    close: () => file.close(),
  }
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number }

async function openSocket(address: Address, name: string): Promise<TpmTransport> {
  const socket = connect(address)
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve)
    socket.once("error", (error) => reject(fromSystem(error, `tpm ${name}`)))
  })
  socket.on("error", () => socket.destroy())
  return {
    transceive: (command) => exchange(socket, command, name),
    close() {
      socket.destroy()
      return Promise.resolve()
    },
  }
}

function exchange(socket: Socket, command: Uint8Array, name: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const finish = (act: () => void) => {
      socket.off("data", onData)
      socket.off("close", onClose)
      act()
    }
    const fail = (found: string) =>
      finish(() => reject(new CofferError("io", `tpm ${name}: wanted a response, found ${found}`)))
    const onClose = () => fail("the end of the connection")
    const onData = (chunk: Buffer) => {
      parts.push(chunk)
      const all = Buffer.concat(parts)
      if (all.length < 6) return
      const size = all.readUInt32BE(2)
      if (size < 10 || size > responseMax || all.length > size)
        fail(`${all.length} bytes of ${size}`)
      else if (all.length === size) finish(() => resolve(new Uint8Array(all)))
    }
    if (socket.destroyed) {
      onClose()
      return
    }
    socket.on("data", onData)
    socket.once("close", onClose)
    socket.write(command)
  })
}
