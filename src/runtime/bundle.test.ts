import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { describe, test } from "node:test"
import { CofferError } from "../errors.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { mountFlags } from "../sys/index.ts"
import { type Bundle, bundleFromManifest } from "./bundle.ts"
import { type EngineConfig, isSandbox, parseEngineConfig } from "./engine-config.ts"
import { fieldTreatments, type Treatment } from "./fields.ts"
import { namespaceTreatments } from "./namespaces.ts"
import { requireExec } from "./service-process.ts"

const sealedPath = "/coffer/service"

const manifest: MeasuredManifest = {
  format: "coffer/manifest/1",
  arch: "x86-64",
  name: "shop",
  binary: "/usr/bin/shop",
  argv: ["shop", "serve"],
  args: { allow: ["--port=[0-9]+"] },
  cwd: "/srv",
  user: { uid: 1000, gid: 1001, groups: [7] },
  env: { set: { LANG: "C.UTF-8", PATH: "/usr/bin" }, allow: { TZ: "[A-Za-z/]+" } },
  exec: [["/health", "--quick"]],
  stdin: "none",
  readOnly: false,
  debug: false,
  stopSignal: "SIGTERM",
  regions: [
    {
      kind: "volume",
      path: "/data",
      protection: "encrypted",
      volume: "data",
      exec: false,
      seed: false,
    },
    { kind: "host", path: "/etc/hosts", format: "hosts" },
    { kind: "host", path: "/host/dir", format: "directory" },
    { kind: "scratch", path: "/tmp", exec: false, size: 1 << 20 },
  ],
  binfs: { offset: 4096, size: 4096 },
  verity: { offset: 8192, size: 4096, rootHash: "00".repeat(32) },
}

type Json = { [key: string]: unknown }

/** As podman writes it, in short. */
function engine(): Json {
  return {
    ociVersion: "1.0.2-dev",
    process: {
      user: { uid: 0, gid: 0 },
      args: [sealedPath],
      env: ["PATH=/usr/bin", "TERM=xterm", "HOSTNAME=c", "container=podman", "HOME=/root"],
      cwd: "/",
      capabilities: { bounding: ["CAP_CHOWN", "CAP_SYS_ADMIN"], permitted: ["CAP_CHOWN"] },
    },
    root: { path: "/merged" },
    hostname: "c",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: [] },
      { destination: "/dev/shm", type: "bind", source: "/run/shm", options: ["bind"] },
      { destination: "/etc/hosts", type: "bind", source: "/run/hosts", options: ["bind"] },
      { destination: "/etc/resolv.conf", type: "bind", source: "/run/r", options: ["bind"] },
      { destination: "/data", type: "bind", source: "/store", options: ["rbind"] },
    ],
    linux: {
      sysctl: { "net.ipv4.ping_group_range": "0 0" },
      resources: { memory: { limit: 1 << 30 }, devices: [{ allow: true, access: "rwm" }] },
      cgroupsPath: "/libpod/c",
      namespaces: [
        { type: "pid" },
        { type: "network", path: "/run/netns/x" },
        { type: "ipc" },
        { type: "uts" },
        { type: "mount" },
      ],
      maskedPaths: ["/proc/kcore"],
    },
  }
}

function put(config: Json, field: string, value: unknown): Json {
  const parts = field.split(".")
  const last = parts.pop() ?? ""
  let at = config
  for (const part of parts) at = (at[part] ??= {}) as Json
  at[last] = value
  return config
}

function build(config: Json, changed: Partial<MeasuredManifest> = {}): Bundle {
  return bundleFromManifest({
    manifest: { ...manifest, ...changed },
    config: parseEngineConfig(JSON.stringify(config)),
    place: "/place",
    sealedPath,
    ownerOf: () => ({ uid: 3, gid: 4, mode: 0o1777 }),
    noswap: true,
    cgroup: true,
    ownIds: undefined,
  })
}

const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }]

/** With a user namespace of its own. */
function mapped(uids: unknown = mapping, gids: unknown = mapping): Json {
  const config = withNamespace({ type: "user" })
  return put(put(config, "linux.uidMappings", uids), "linux.gidMappings", gids)
}

function withNamespace(namespace: object): Json {
  const { namespaces } = engine()["linux"] as { namespaces: { type: string }[] }
  return put(engine(), "linux.namespaces", [...namespaces, namespace])
}

function refusedAt(config: Json, message: RegExp, changed: Partial<MeasuredManifest> = {}): void {
  assert.throws(
    () => build(config, changed),
    (error) => {
      assert.ok(error instanceof CofferError, String(error))
      assert.equal(error.code, "refused", error.message)
      assert.match(error.message, message)
      return true
    },
  )
}

/** The volume's mount, and another one. */
function withMount(destination: string, rest: object): Json {
  return put(engine(), "mounts", [
    { destination: "/data", type: "bind", source: "/s" },
    { destination, ...rest },
  ])
}

const document = readFileSync(new URL("../../docs/config-json.md", import.meta.url), "utf8")

function rows(title: string): Map<string, string> {
  const section = document.split(`| ${title} |`)[1]?.split("\n\n")[0] ?? ""
  const found = [...section.matchAll(/^\| `([^`]+)` \| (\w+) \|/gm)]
  return new Map(found.map(([, field = "", treatment = ""]) => [field, treatment]))
}

/** A value for each field that asks for something, and what the bundle must then show. */
const probes: Readonly<
  Record<string, readonly [unknown, ((bundle: Bundle) => unknown)?, unknown?]>
> = {
  ociVersion: ["9.9", (b) => b.config.ociVersion, "1.0.2"],
  "process.terminal": [true],
  "process.consoleSize": [{ height: 1, width: 2 }, (b) => b.config.process.consoleSize, undefined],
  "process.user": [
    { uid: 0, gid: 0, umask: 0 },
    (b) => b.config.process.user,
    { uid: 1000, gid: 1001, umask: 0o022, additionalGids: [7] },
  ],
  "process.args": [
    [sealedPath, "--port=80"],
    (b) => b.config.process.args,
    ["shop", "serve", "--port=80"],
  ],
  "process.commandLine": ["cmd"],
  "process.env": [
    ["TZ=Europe/Berlin", "TERM=x"],
    (b) => b.config.process.env,
    ["LANG=C.UTF-8", "PATH=/usr/bin", "TZ=Europe/Berlin"],
  ],
  "process.cwd": ["/etc", (b) => b.config.process.cwd, "/srv"],
  "process.capabilities": [
    { bounding: ["CAP_KILL", "CAP_SYS_PTRACE"], permitted: ["CAP_KILL"], ambient: ["CAP_KILL"] },
    (b) => b.config.process.capabilities,
    { bounding: ["CAP_KILL"], effective: [], permitted: [], inheritable: [], ambient: [] },
  ],
  "process.rlimits": [
    [
      { type: "RLIMIT_CORE", hard: 9, soft: 9 },
      { type: "RLIMIT_NOFILE", hard: 9, soft: 8 },
    ],
    (b) => b.config.process.rlimits,
    [
      { type: "RLIMIT_NOFILE", hard: 9, soft: 8 },
      { type: "RLIMIT_CORE", hard: 0, soft: 0 },
    ],
  ],
  "process.noNewPrivileges": [true, (b) => b.config.process.noNewPrivileges, true],
  "process.apparmorProfile": ["p", (b) => b.config.process.apparmorProfile, "p"],
  "process.selinuxLabel": ["l", (b) => b.config.process.selinuxLabel, "l"],
  "process.oomScoreAdj": [5, (b) => b.config.process.oomScoreAdj, 5],
  "process.scheduler": [{ policy: "SCHED_FIFO" }],
  "process.ioPriority": [{ class: "IOPRIO_CLASS_RT" }],
  "process.execCPUAffinity": [{ initial: "0" }],
  "root.path": ["/elsewhere", (b) => b.config.root.path, "/place/root"],
  "root.readonly": [true, (b) => [b.readOnly, b.config.root.readonly], [true, true]],
  hostname: ["web.example", (b) => b.config.hostname, "web.example"],
  domainname: ["example", (b) => b.config.domainname, "example"],
  mounts: [
    [{ destination: "/data", type: "bind", source: "/s" }],
    (b) => b.volumes[0]?.directory,
    "/s",
  ],
  hooks: [{ prestart: [{ path: "/bin/sh" }] }],
  annotations: [{ "run.oci.keep_original_groups": "1" }],
  "linux.uidMappings": [mapping, (b) => b.config.linux.uidMappings, mapping],
  "linux.gidMappings": [mapping, (b) => b.config.linux.gidMappings, mapping],
  "linux.sysctl": [{ "kernel.shm_rmid_forced": "1" }],
  "linux.resources.devices": [
    [{ allow: true }],
    (b) => b.config.linux.resources["devices"],
    [{ allow: false, access: "rwm" }],
  ],
  "linux.cgroupsPath": ["/x", (b) => b.config.linux.cgroupsPath, "/x"],
  "linux.namespaces": [
    [{ type: "pid" }, { type: "mount" }],
    (b) => [b.config.linux.namespaces.map(({ type }) => type), b.reported],
    [
      ["pid", "mount", "cgroup"],
      ["network: the host's", "ipc: the host's", "uts: the host's"],
    ],
  ],
  "linux.devices": [[{ path: "/dev/sda", type: "b", major: 8, minor: 0 }]],
  "linux.netDevices": [{ eth0: {} }],
  "linux.seccomp": [
    { defaultAction: "SCMP_ACT_ALLOW" },
    (b) => b.config.linux.seccomp.defaultAction,
    "SCMP_ACT_ERRNO",
  ],
  "linux.rootfsPropagation": ["shared", (b) => b.config.linux.rootfsPropagation, "private"],
  "linux.maskedPaths": [["/x"], (b) => b.config.linux.maskedPaths.includes("/proc/kcore"), true],
  "linux.readonlyPaths": [["/x"], (b) => b.config.linux.readonlyPaths.includes("/proc/sys"), true],
  "linux.mountLabel": ["l"],
  "linux.intelRdt": [{ closID: "x" }],
  "linux.memoryPolicy": [{ mode: "MPOL_BIND" }],
  "linux.personality": [{ domain: "LINUX32" }],
  "linux.timeOffsets": [{ boottime: { secs: 1 } }],
  solaris: [{ milestone: "x" }],
  windows: [{ layerFolders: ["x"] }],
  vm: [{ kernel: "x" }],
  zos: [{ x: 1 }],
  freebsd: [{ x: 1 }],
  ...Object.fromEntries(
    ["memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified"].map(
      (name) => [
        `linux.resources.${name}`,
        [{ limit: 8192 }, (b: Bundle) => b.config.linux.resources[name], { limit: 8192 }] as const,
      ],
    ),
  ),
}

void describe("config.json comes from the adversary", () => {
  test("the document's table is the code's", () => {
    assert.deepEqual(Object.fromEntries(rows("field")), fieldTreatments)
    assert.deepEqual(Object.fromEntries(rows("namespace")), namespaceTreatments)
    assert.deepEqual(Object.keys(probes).toSorted(), Object.keys(fieldTreatments).toSorted())
  })

  for (const [field, [value, look, want]] of Object.entries(probes)) {
    const treatment: Treatment | undefined = fieldTreatments[field]
    test(`${field} is ${treatment}`, () => {
      const config = put(field.endsWith("Mappings") ? mapped() : engine(), field, value)
      if (field === "process.terminal") {
        refusedAt(config, /terminal: wanted no terminal/)
        assert.equal(build(config, { stdin: "inherit" }).config.process.terminal, true)
      } else if (treatment === "refused")
        refusedAt(config, new RegExp(`^config.json: ${field}: wanted nothing`))
      else if (treatment === "dropped") {
        const bundle = build(config)
        assert.ok(bundle.dropped.includes(field), bundle.dropped.join())
        assert.ok(!JSON.stringify(bundle.config).includes(JSON.stringify(value)))
      } else assert.deepEqual(look?.(build(config)), want)
    })
  }

  for (const [type, treatment] of Object.entries(namespaceTreatments)) {
    test(`namespace ${type}: ${treatment}`, () => {
      const others = (engine()["linux"] as { namespaces: { type: string }[] }).namespaces
      const namespaces = [
        ...others.filter((other) => other.type !== type),
        { type, path: "/proc/1/ns/x" },
      ]
      const config = put(engine(), "linux.namespaces", namespaces)
      if (treatment === "shared")
        assert.ok(build(config).reported.includes(`${type}: joined, /proc/1/ns/x`))
      else refusedAt(config, new RegExp(`linux.namespaces: ${type}: wanted`))
    })
  }
})

void describe("what is not in the table", () => {
  test("an unknown field is refused, wherever it stands; one that asks for nothing is not there", () => {
    for (const field of ["new", "process.new", "root.new", "linux.new", "linux.resources.new"]) {
      refusedAt(put(engine(), field, 1), /wanted a field that docs\/config-json.md lists/)
      build(put(engine(), field, []))
    }
    build(put(engine(), "hooks", { prestart: [], poststop: null }))
  })

  test("arguments, variables, entrypoint", () => {
    refusedAt(put(engine(), "process.args", ["/bin/sh"]), /args\[0\]: wanted \/coffer\/service/)
    refusedAt(put(engine(), "process.args", []), /args\[0\]/)
    refusedAt(put(engine(), "process.args", [sealedPath, "--port=80", "-x"]), /found "-x"/)
    refusedAt(put(engine(), "process.args", [sealedPath, "--port=80\n"]), /process.args/)
    refusedAt(put(engine(), "process.env", ["LD_PRELOAD=/x.so"]), /found LD_PRELOAD$/)
    refusedAt(put(engine(), "process.env", ["LANG=de_DE"]), /found LANG$/)
    refusedAt(put(engine(), "process.env", ["TZ=../../x\n"]), /process.env: TZ/)
    refusedAt(put(engine(), "process.env", ["__proto__=x"]), /process.env/)
    const { dropped } = build(
      put(engine(), "process.env", ["SHOP_SERVICE_HOST=1", "https_proxy=x"]),
    )
    assert.ok(dropped.includes("process.env: SHOP_SERVICE_HOST"))
  })

  test("mounts: only what backs a region", () => {
    for (const destination of ["/usr", "/", "/data/x", "/etc", "/etc/passwd", "/data/", "/../data"])
      refusedAt(withMount(destination, { type: "bind", source: "/x" }), /mounts: wanted mounts of/)
    refusedAt(
      withMount("/etc/hosts", { type: "overlay", source: "x" }),
      /wanted a file or directory/,
    )
    refusedAt(withMount("/data", { type: "bind", source: "/t" }), /two for \/data/)
    const proc = build(withMount("/proc", { type: "bind", source: "/fake" }))
    assert.deepEqual(
      proc.config.mounts.filter(({ destination }) => destination === "/proc").map((m) => m.type),
      ["proc"],
    )
    const host = build(
      withMount("/host/dir", { type: "bind", source: "/h", options: ["suid", "exec"] }),
    )
    assert.deepEqual(host.config.mounts.find((m) => m.destination === "/host/dir")?.options, [
      "bind",
      "rprivate",
      "nosuid",
      "nodev",
      "noexec",
    ])
    assert.throws(() => build(put(engine(), "mounts", [])), /volume data: wanted a directory/)
  })

  test("privileged is refused, pid of the host too", () => {
    const all = put(engine(), "process.capabilities", { bounding: ["CAP_SYS_ADMIN"] })
    refusedAt(put(all, "linux.maskedPaths", []), /privileged/)
    refusedAt(put(engine(), "linux.namespaces", [{ type: "mount" }]), /pid: wanted a new one/)
    refusedAt(put(engine(), "hostname", "a b"), /hostname/)
  })
})

function mountOn({ config }: Bundle, path: string) {
  return config.mounts.find(({ destination }) => destination === path)
}

function line(containerID: number, hostID: number, size: number) {
  return { containerID, hostID, size }
}

void describe("a user namespace", () => {
  test("its mappings go to runc and to the shield, owners of what we make are mapped", () => {
    const bundle = build(mapped())
    const range = [{ inside: 0, outside: 100_000, size: 65_536 }]
    assert.deepEqual(bundle.ids, { uids: range, gids: range })
    assert.deepEqual(bundle.config.linux.namespaces.at(3), { type: "user" })
    assert.ok(bundle.scratches[0]?.options.includes("uid=100003"))
    assert.ok(bundle.scratches[0]?.options.includes("gid=100004"))
    assert.equal(build(engine()).ids, undefined)
  })

  test("what root of it could not mount is bound, or left out", () => {
    const joined = build(mapped())
    assert.equal(mountOn(joined, "/sys")?.type, "bind")
    assert.ok(mountOn(joined, "/sys")?.options.includes("rro"))
    assert.ok(mountOn(joined, "/dev/mqueue"))
    assert.ok(mountOn(joined, "/dev/pts")?.options.includes("gid=5"))
    const types = ["pid", "mount", "network", "user"].map((type) => ({ type }))
    const own = build(put(mapped(), "linux.namespaces", types))
    assert.equal(mountOn(own, "/sys")?.type, "sysfs")
    assert.equal(mountOn(own, "/dev/mqueue"), undefined)
    const few = [
      { containerID: 0, hostID: 1000, size: 1 },
      { containerID: 7, hostID: 1007, size: 1 },
      { containerID: 1001, hostID: 2001, size: 1 },
    ]
    const scratchOwner = { containerID: 4, hostID: 4004, size: 1 }
    const narrow = build(mapped(mapping, [...few, scratchOwner]))
    assert.ok(!mountOn(narrow, "/dev/pts")?.options.includes("gid=5"))
    refusedAt(mapped(mapping, few), /gidMappings: wanted a range with the group of \/tmp, 4, found/)
  })

  test("mappings that are none are refused by name", () => {
    const all = line(0, 100_000, 65_536)
    for (const [mappings, message] of [
      [[], /wanted 1 to 340 ranges/],
      [Array.from({ length: 341 }, (_, i) => line(i, i, 1)), /wanted 1 to 340 ranges/],
      [[all, line(65_535, 300_000, 1)], /overlap inside: 0:100000:65536 65535:300000:1/],
      [[all, line(65_536, 165_535, 1)], /overlap outside/],
      [[line(1, 100_000, 65_535)], /a range with the container's 0/],
      [[line(0, 100_000, 500)], /a range with the service's user 1000, found 0 to 499/],
      [[all, line(70_000, 300_000, 0)], /ranges of ids below/],
      [[all, line(70_000, 4_294_967_294, 1)], /ranges of ids below 4294967294/],
      [[all, line(70_000, -1, 1)], /ranges of ids below/],
      [[all, line(70_000.5, 300_000, 1)], /ranges of ids below/],
    ] as const)
      refusedAt(mapped(mappings), message)
    refusedAt(mapped(mapping, []), /linux.gidMappings: wanted 1 to 340/)
    refusedAt(mapped(mapping, [line(0, 100_000, 8)]), /the service's group 1001/)
    refusedAt(put(engine(), "linux.uidMappings", [all]), /none without a new user namespace/)
    refusedAt(withNamespace({ type: "user", path: "/proc/1/ns/user" }), /user: wanted a new one/)
  })
})

void describe("the rest of the bundle", () => {
  test("a scratch region: size, owner, no swap, no exec; the upper layer gets half of the memory", () => {
    const bundle = build(engine())
    const flags = ["nosuid", "nodev", "noexec"]
    assert.deepEqual(
      bundle.config.mounts.find(({ destination }) => destination === "/tmp"),
      {
        destination: "/tmp",
        type: "bind",
        source: "/place/region/3",
        options: ["bind", "rprivate", ...flags],
      },
    )
    assert.deepEqual(bundle.scratches, [
      {
        target: "/place/region/3",
        flags: mountFlags.noSuid | mountFlags.noDev | mountFlags.noExec,
        options: ["uid=3", "gid=4", "mode=1777", "size=1048576", "noswap"],
      },
    ])
    assert.equal(bundle.upperSize, 1 << 29)
  })

  test("exec: only commands that are listed, unless debug", () => {
    requireExec(manifest, ["/health", "--quick"])
    requireExec({ ...manifest, debug: true }, ["/bin/sh"])
    for (const args of [["/health"], ["/health", "--quick", ""], ["/bin/sh"], []])
      assert.throws(() => requireExec(manifest, args), { reason: "exec-not-listed" })
  })

  test("a sandbox container is recognised", () => {
    const pause = put(engine(), "annotations", { "io.kubernetes.cri.container-type": "sandbox" })
    assert.ok(isSandbox(parseEngineConfig(JSON.stringify(pause)) satisfies EngineConfig))
    assert.ok(!isSandbox(parseEngineConfig(JSON.stringify(engine()))))
  })

  test("no JSON, or another shape, is a config error", () => {
    for (const text of ["", "[]", "{}", '{"process":{"args":1},"root":{"path":"/"}}'])
      assert.throws(() => parseEngineConfig(text), { code: "config" })
  })
})
