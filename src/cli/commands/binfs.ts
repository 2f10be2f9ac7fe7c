import { Command } from "commander"
import { createBinfsFile } from "../../binfs/index.ts"
import { type ByteString, displayName, toHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { extractTree, lookup, readPieces, type TreeNode } from "../../tree/index.ts"
import { VerifiedSource } from "../../verity/index.ts"
import { named, type OpenedBinfs, withBinfs } from "../binfs-source.ts"
import type { Io } from "../io.ts"
import { listing } from "../listing.ts"
import { pathHelp, pathsOf } from "../path-argument.ts"
import { formatSize, progressBar } from "../progress.ts"
import { withTreeSource } from "../tree-source.ts"
import { binfsMountCommand } from "./binfs-mount.ts"

interface ReadOptions {
  readonly rootHash?: string
  readonly json?: true
}

interface ListOptions extends ReadOptions {
  readonly recursive?: true
}

/** `coffer binfs …`: binary filesystems, alone in a file or in a sealed binary. `mount` has a file of its own. */
export function binfsCommand(io: Io): Command {
  return new Command("binfs")
    .description("binary filesystems: EROFS images with a dm-verity hash tree")
    .addCommand(createCommand(io))
    .addCommand(listCommand(io))
    .addCommand(catCommand(io))
    .addCommand(extractCommand(io))
    .addCommand(verifyCommand(io))
    .addCommand(binfsMountCommand(io))
}

function createCommand(io: Io): Command {
  return new Command("create")
    .description("make a binary filesystem from a directory or a tar")
    .argument("<src>", "directory, tar (plain, gzip, zstd), binary filesystem, or sealed binary")
    .argument("<out>", "the file to make; replaced when it is there")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The same files give the same bytes on every machine. OUT is an EROFS image with its hash tree behind it:
  mount -t erofs OUT DIR
  veritysetup verify --no-superblock --salt - --hash-offset=SIZE --data-blocks=BLOCKS OUT OUT ROOT`,
    )
    .action(async (src: string, out: string, options: { json?: true }) => {
      const bar = progressBar(io, "creating")
      try {
        const made = await withTreeSource(src, bar.update, (root) =>
          createBinfsFile(root, out, bar.update),
        )
        bar.end()
        const { imageSize, hashSize, inodeCount } = made
        const rootHash = toHex(made.rootHash)
        const blocks = imageSize / 4096
        if (options.json === true)
          io.print(JSON.stringify({ file: out, imageSize, blocks, hashSize, inodeCount, rootHash }))
        else {
          io.print(`${out}: ${formatSize(imageSize)} image (${imageSize} bytes, ${blocks} blocks)`)
          io.print(`hash tree ${formatSize(hashSize)} at offset ${imageSize}, ${inodeCount} inodes`)
          io.print(`root hash ${rootHash}`)
        }
      } finally {
        bar.end()
      }
    })
}

function reading(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument("<file>", "binary filesystem or sealed binary")
    .option("--root-hash <hex>", "what the root hash must be; a sealed binary's manifest says it")
}

function listCommand(io: Io): Command {
  return reading("ls", "list a directory, or one file")
    .argument("[path]", pathHelp, "/")
    .option("-R, --recursive", "with everything below")
    .option("--json", "print one JSON document")
    .action(async (file: string, path: string, options: ListOptions) => {
      await withBinfs(file, options.rootHash, ({ root }) => {
        const [at, node] = found(root, path)
        const lines = listing(node, at, options.recursive === true)
        if (options.json === true) io.print(JSON.stringify([...lines].map(({ entry }) => entry)))
        else for (const { text } of lines) io.print(text)
      })
    })
}

function catCommand(io: Io): Command {
  return reading("cat", "print the bytes of a file, verified")
    .argument("<path>", `${pathHelp}; symlinks are followed`)
    .action(async (file: string, path: string, options: ReadOptions) => {
      await withBinfs(file, options.rootHash, ({ root }) => {
        const node = pathsOf(path)
          .map((at) => lookup(root, at))
          .find((one) => one !== undefined)
        if (node?.kind !== "file")
          throw new CofferError(
            "missing",
            `${displayName(pathsOf(path)[0])}: wanted a file, found ${node === undefined ? "nothing" : `a ${node.kind}`}`,
            { hint: "coffer binfs ls FILE -R shows every name" },
          )
        const { content } = node
        for (const { bytes } of readPieces(content, { offset: 0, size: content.size }))
          io.write(bytes)
      })
    })
}

function extractCommand(io: Io): Command {
  return reading("extract", "write all files to a new directory")
    .argument("<dir>", "made, or empty")
    .addHelpText(
      "after",
      "\nAs root everything is kept; else all belongs to you, without setuid and devices.",
    )
    .action(async (file: string, target: string, options: ReadOptions) => {
      const bar = progressBar(io, "extracting")
      try {
        const owners = process.getuid?.() === 0 ? "keep" : "mine"
        await withBinfs(file, options.rootHash, ({ root }) =>
          extractTree(root, target, { owners, onProgress: bar.update }),
        )
      } finally {
        bar.end()
      }
    })
}

function verifyCommand(io: Io): Command {
  return reading("verify", "verify every block and the structure")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Without --root-hash a file that is no sealed binary is compared with its own hash tree: that shows damage, but whoever
changed the files could change the tree as well.`,
    )
    .action(async (file: string, options: ReadOptions) => {
      const bar = progressBar(io, "verifying")
      try {
        await withBinfs(file, options.rootHash, (opened) => {
          verifyAll(file, opened, bar.update)
          bar.end()
          reportVerified(file, opened, options, io)
        })
      } finally {
        bar.end()
      }
    })
}

function verifyAll(
  path: string,
  { image, bare }: OpenedBinfs,
  onProgress: (done: number, total: number) => void,
): void {
  if (!(image instanceof VerifiedSource))
    throw new CofferError("config", `${path}: wanted a hash area behind the image, found none`, {
      hint: "coffer binfs create makes one",
    })
  try {
    image.readAll(onProgress)
  } catch (error) {
    throw named(error, bare)
  }
}

const sources = {
  option: "as given",
  manifest: "of the measured manifest",
  file: "of the file itself: it shows damage, not tampering",
  none: "none",
} as const

function reportVerified(file: string, opened: OpenedBinfs, options: ReadOptions, io: Io): void {
  const { imageSize, hashSize, rootHash, rootFrom, inodeCount } = opened
  if (options.json === true) {
    io.print(
      JSON.stringify({ file, ok: true, imageSize, hashSize, inodeCount, rootHash, rootFrom }),
    )
    return
  }
  io.print(`${file}: every block is sound, ${formatSize(imageSize)}, ${inodeCount} inodes`)
  io.print(`root hash ${rootHash} (${sources[rootFrom]})`)
}

function found(root: TreeNode, typed: string): readonly [ByteString, TreeNode] {
  for (const path of pathsOf(typed)) {
    const node = childAt(root, path)
    if (node !== undefined) return [path, node]
  }
  throw new CofferError(
    "missing",
    `${displayName(pathsOf(typed)[0])}: wanted something of that name, found nothing`,
    { hint: "coffer binfs ls FILE -R shows every name" },
  )
}

function childAt(root: TreeNode, path: ByteString): TreeNode | undefined {
  let node: TreeNode | undefined = root
  for (const name of path.split("/").filter((part) => part !== "" && part !== ".") as ByteString[])
    node = node?.kind === "directory" ? node.children.get(name) : undefined
  return node
}
