/**
 * Where a node's configuration is; `src/node` reads it. Nothing that an engine chooses leads to another file. It stands here
 * because a start of the runtime looks whether there is one before it loads what reads it.
 */
export const nodeConfigPath = "/etc/coffer/node.yaml"
