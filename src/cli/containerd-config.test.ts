import assert from "node:assert/strict"
import { test } from "node:test"
import { containerdConfiguration } from "./containerd-config.ts"

const path = "/etc/containerd/config.toml"
const program = "/opt/coffer/coffer-oci"

test("no file yet: version 2, runc as before, and coffer", () => {
  const text = containerdConfiguration("", path, program)
  assert.match(text, /^version = 2\n/)
  assert.match(text, /cri"\.containerd\.runtimes\.runc\]\n {2}runtime_type/)
  assert.match(text, /runtimes\.coffer\.options\]\n {2}BinaryName = "\/opt\/coffer\/coffer-oci"\n/)
  assert.doesNotMatch(text, /SystemdCgroup/)
})

test("a second time: the same text, with the newer program", () => {
  const before = 'version = 2\nroot = "/var/lib/containerd"\n'
  const once = containerdConfiguration(before, path, program)
  assert.ok(once.startsWith(before))
  assert.equal(containerdConfiguration(once, path, program), once)
  const moved = containerdConfiguration(once, path, "/usr/bin/coffer-oci")
  assert.equal(moved, once.replaceAll(program, "/usr/bin/coffer-oci"))
})

test("a node of Kubernetes: runc's own table stays alone, and cgroups are systemd's for both", () => {
  const before = `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = true
`
  const text = containerdConfiguration(before, path, program)
  assert.equal(text.match(/runtimes\.runc\]/g)?.length, 1)
  assert.match(text, /"io\.containerd\.cri\.v1\.runtime"\.containerd\.runtimes\.coffer\]/)
  assert.equal(text.match(/SystemdCgroup = true/g)?.length, 2)
})

test("version 1, and a runtime coffer that somebody wrote: an error", () => {
  const { code } = { code: "config" }
  assert.throws(() => containerdConfiguration('root = "/x"\n', path, program), { code })
  assert.throws(
    () => containerdConfiguration("version = 2\n[a.runtimes.coffer]\n", path, program),
    { code },
  )
})
