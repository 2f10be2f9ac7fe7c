import { CofferError } from "../errors.ts"

export interface ResolvedUser {
  readonly uid: number
  readonly gid: number
}

/**
 * A user as container images name it: `uid`, `name`, `uid:gid` or `name:group`. The two texts are `/etc/passwd` and
 * `/etc/group` of the root filesystem, empty when there is none. A user without a group gets the one of passwd, else 0.
 */
export function resolveUser(spec: string, passwd: string, group: string): ResolvedUser {
  const [user = "", groupName] = spec === "" ? ["0"] : spec.split(":")
  const entry = entriesOf(passwd).find(([name, , uid]) =>
    isId(user) ? uid === user : name === user,
  )
  const uid = idOf(isId(user) ? user : entry?.[2], "user", user, "/etc/passwd")
  if (groupName === undefined)
    return { uid, gid: entry?.[3] !== undefined && isId(entry[3]) ? Number(entry[3]) : 0 }
  const gid = isId(groupName)
    ? groupName
    : entriesOf(group).find(([name]) => name === groupName)?.[2]
  return { uid, gid: idOf(gid, "group", groupName, "/etc/group") }
}

function entriesOf(text: string): string[][] {
  return text.split("\n").map((line) => line.split(":"))
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= 4_294_967_294
}

function idOf(id: string | undefined, kind: string, name: string, file: string): number {
  if (id !== undefined && isId(id)) return Number(id)
  throw new CofferError(
    "config",
    `service.user: wanted a ${kind} of ${file}, found ${JSON.stringify(name)}`,
  )
}
