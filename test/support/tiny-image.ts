import { utf8, utf8OfByteString } from "../../src/bytes/index.ts"
import { contentOfBytes, plainDirectory, TreeBuilder } from "../../src/tree/index.ts"
import { layoutOf } from "./image.ts"
import { tinyRoot } from "./tiny-service.ts"

/** An ordinary image of some megabytes, with a shell, some tools and these files. Returns its reference. */
export function makeTinyImage(directory: string, files: Readonly<Record<string, string>>): string {
  const options = { duplicates: "replace", parentSymlinks: "resolve" } as const
  const tree = new TreeBuilder(options, tinyRoot({ regions: [] }))
  for (const [path, text] of Object.entries(files))
    tree.put(utf8OfByteString(path), {
      kind: "file",
      meta: { ...plainDirectory, mode: 0o644 },
      content: contentOfBytes(utf8(text)),
    })
  return layoutOf(tree.finish(), directory, {})
}
