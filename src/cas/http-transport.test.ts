import assert from "node:assert/strict"
import { createServer, type Socket } from "node:net"
import { test } from "node:test"
import { httpTransport } from "./http-transport.ts"

test("a server that accepts and never speaks: close ends the call, and nothing keeps the process waiting", async () => {
  const sockets: Socket[] = []
  const server = createServer((socket) => void sockets.push(socket)).listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  const transport = httpTransport(`https://127.0.0.1:${port}`, new Uint8Array(32))
  const call = transport.call("/v1/info", {})
  await new Promise((resolve) => server.once("connection", resolve))
  await transport.close()
  await assert.rejects(call, /given up/)
  server.close()
  for (const socket of sockets) socket.destroy()
})
