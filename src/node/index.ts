/**
 * The node agent: what measures enclaves on a machine and vouches for them with platform evidence.
 *
 * Spec: docs/node.md, spec/evidence.md. Promises: a releasing report is signed only for an enclave that the agent measured
 * itself, over the connection on which it did; only root of this machine reaches it; what it trusts (the CAS, its key,
 * hooks) comes from a file that only root can write.
 */

export { nodeStatus } from "./client.ts"
export {
  defaultSocket,
  loadNodeConfig,
  type NodeConfig,
  parseNodeConfig,
} from "./config.ts"
export { ed25519File } from "./keys.ts"
export type { Challenge, Node, NodeEnclave } from "./node.ts"
export { openNode } from "./open.ts"
export type { NodeStatus } from "./protocol.ts"
export { type AgentEvent, type NodeAgent, serveNode } from "./server.ts"
