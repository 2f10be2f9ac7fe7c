import assert from "node:assert/strict"
import { test } from "node:test"
import { defaultHostFile, renderHostFile, withOwnName } from "./host-files.ts"

test("host files are parsed and written anew", () => {
  assert.equal(
    renderHostFile("hosts", "# c\n127.0.0.1\tlocalhost  a.b # x\r\n\nfe80::1%eth0 six\n"),
    "127.0.0.1 localhost a.b\nfe80::1%eth0 six\n",
  )
  assert.equal(
    renderHostFile("resolv.conf", "search a.example .\nnameserver 10.0.0.1\noptions ndots:5 edns0"),
    "search a.example .\nnameserver 10.0.0.1\noptions ndots:5 edns0\n",
  )
  assert.equal(renderHostFile("hostname", "web\n"), "web\n")
  for (const format of ["hosts", "hostname", "resolv.conf"] as const)
    assert.equal(
      renderHostFile(format, defaultHostFile(format, "web")),
      defaultHostFile(format, "web"),
    )
})

test("a container finds its own name", () => {
  assert.equal(withOwnName("127.0.0.1 localhost\n", "web"), "127.0.0.1 localhost\n127.0.1.1 web\n")
  assert.equal(withOwnName("10.0.0.2 web web.lan\n", "web"), "10.0.0.2 web web.lan\n")
})

test("a line of another form is refused and not quoted", () => {
  const bad = [
    ["hosts", "root:x:0:0:secret"],
    ["hosts", "127.0.0.1"],
    ["hosts", "127.0.0.1 a\0b"],
    ["hosts", `127.0.0.1 ${"a".repeat(300)}`],
    ["resolv.conf", "nameserver evil"],
    ["resolv.conf", "sortlist 1"],
    ["resolv.conf", "options use-vc:$(x)"],
    ["hostname", "two words"],
    ["hosts", "\n".repeat(2000)],
  ] as const
  for (const [format, text] of bad)
    assert.throws(
      () => renderHostFile(format, text),
      (error: Error) => /wanted/.test(error.message) && !error.message.includes("secret"),
      text,
    )
})
