import { dlopen } from "node:ffi"
import { checked } from "./ffi.ts"

const { functions: libc } = dlopen(null, {
  getsockopt: {
    arguments: ["int32", "int32", "int32", "pointer", "pointer"],
    return: "int32",
  },
})

const SOL_SOCKET = 1
const SO_PEERCRED = 17

/** Who connected, as the kernel saw it then. `pid` is 0 for a process that our PID namespace does not show. */
export interface Peer {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** The process at the other end of a connected unix socket. */
export function peerOf(fd: number): Peer {
  const credentials = new Uint32Array(3)
  const size = new Uint32Array([credentials.byteLength])
  checked(libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, size), "getsockopt")
  const [pid = 0, uid = 0, gid = 0] = credentials
  return { pid, uid, gid }
}
