"""The filesystem of a volume, read by spec/volume-index.md alone. volume_tree_decoder.py DIRECTORY PIN KEY-FILE

Prints one JSON document: each path with what stands there.
"""

import hashlib
import json
import struct
import sys

from volume_decoder import DATA, INDEX, Failure, Segment, Volume, want

PAGE = 8192
INODE, EXTENT, ENTRY, NAME, XATTR, TARGET, ORPHAN = range(7)
PUT, REMOVE, WRITE, CUT = 1, 2, 3, 4


def extent(value):
    """segment, offset, payload, data size, stride, inner, length"""
    if len(value) == 16:
        segment, offset, payload, per, inner, length = struct.unpack("<IIHHHH", value)
        return [segment, offset, payload, per, 0, inner, length]
    found = list(struct.unpack("<7I", value))
    want(packed(*found) == value, "extent: short where it can be")
    return found


def packed(segment, offset, payload, per, stride, inner, length):
    if stride == 0 and max(payload, per, inner, length) < 65536:
        return struct.pack("<IIHHHH", segment, offset, payload, per, inner, length)
    return struct.pack("<7I", segment, offset, payload, per, stride, inner, length)


def attributes(value):
    """mode, uid, gid, size, allocated, extra, mtime"""
    mode, form = struct.unpack_from("<HH", value)
    at = 4

    def take(what):
        nonlocal at
        found = struct.unpack_from("<" + what, value, at)
        at += struct.calcsize("<" + what)
        return found if len(found) > 1 else found[0]

    def number(shift, none=0):
        kind = form >> shift & 3
        want(kind < 3, "inode: form")
        found = none if kind == 0 else take("I" if kind == 1 else "Q")
        want(kind == 0 or found != none, "inode: a number that is not needed")
        want(kind < 2 or found >= 2**32, "inode: a long number")
        return found

    owner = form & 3
    want(owner < 3 and form < 1 << 15, "inode: form")
    uid, gid = (0, 0) if owner == 0 else take("HH" if owner == 1 else "II")
    want(owner == (0 if uid == gid == 0 else 1 if max(uid, gid) < 65536 else 2), "inode: form of the owner")
    links = take("I") if form >> 2 & 1 else 1
    size = number(3)
    allocated = number(5, size)
    extra = number(7)
    seconds = take("q") if form >> 9 & 1 else take("I")
    mtime = [seconds, take("I")]
    for shift in (10, 12):
        kind = form >> shift & 3
        if kind == 1:
            want(take("i") != 0, "inode: the same time")
        elif kind > 1:
            other = take("I" if kind == 2 else "q") * 10**9 + take("I")
            difference = other - seconds * 10**9 - mtime[1]
            want(not -(2**31) <= difference < 2**31, "inode: a long time")
    if form >> 14 & 1:
        want(take("I") != 0, "inode: flags")
    want(at == len(value) and (links != 1 or not form >> 2 & 1), "inode: size")
    return mode, uid, gid, size, allocated, extra, mtime


def name_hash(seeds, name):
    def times(x, y):
        return x * y & 0xFFFFFFFF

    a, b = 0xDEADBEEF ^ seeds[0], 0x41C6CE57 ^ seeds[1]
    for byte in name:
        a, b = times(a ^ byte, 2654435761), times(b ^ byte, 1597334677)
    a = times(a ^ a >> 16, 2246822507) ^ times(b ^ b >> 13, 3266489909)
    b = times(b ^ b >> 16, 2246822507) ^ times(a ^ a >> 13, 3266489909)
    return a ^ b


class Tree:
    def __init__(self, volume, table, seeds):
        self.volume, self.table, self.segments, self.map = volume, table, {}, {}
        self.seeds = seeds

    def payload(self, kind, number, offset, size):
        if number not in self.segments:
            generation, _, salt, _ = self.table[number]
            self.segments[number] = Segment(self.volume, number, generation, salt)
        found, payload, _, _, _ = self.segments[number].frame(offset)
        want(found == kind and len(payload) == size, "frame: another one")
        return payload

    def page(self, place, level, low, high):
        page = self.payload(INDEX, *place)
        magic, own, entry, count, heap, base = struct.unpack_from("<4sHHIIQ", page)
        want(magic == b"CPX2" and (level is None or own == level), "page: magic or level")
        want(entry in (12, 20), "page: size of an entry")
        start = 24 + entry * count
        want(start + PAGE - heap == len(page), "page: size")
        entries = []
        for i in range(count):
            hi, lo, at, size = struct.unpack_from("<IIHH" if entry == 12 else "<QQHH", page, 24 + entry * i)
            want(at % 4 == 0 and heap <= at and at + size <= PAGE, "page: value")
            entries.append(((base + hi, lo), page[start + at - heap : start + at - heap + size]))
        keys = [key for key, _ in entries]
        want(keys == sorted(set(keys)), "page: order")
        near = not keys or (keys[-1][0] - keys[0][0] < 2**32 and all(lo < 2**32 for _, lo in keys))
        want(near == (entry == 12), "page: entries of 12 bytes where they can be")
        want(base == (keys[0][0] if near and keys else 0), "page: base")
        for i, (key, value) in enumerate(entries):
            if own == 0:
                want((low is None or low <= key) and (high is None or key < high), "page: key of another one")
                self.map[key] = value
                continue
            below = low if i == 0 else key
            above = keys[i + 1] if i + 1 < count else high
            self.page(struct.unpack("<III", value), own - 1, below, above)

    def cut(self, hi, start, length):
        end = start + length
        for key in [k for k in self.map if k[0] == hi and k[1] < end]:
            value = extent(self.map[key])
            first, last = key[1], key[1] + value[6]
            if last <= start:
                continue
            del self.map[key]
            if first < start:
                self.map[key] = packed(*value[:6], start - first)
            if last > end:
                value[5] += end - first
                if value[4]:
                    value[1] += value[5] // value[3] * value[4]
                    value[5] %= value[3]
                self.map[(hi, end)] = packed(*value[:6], last - end)

    def apply(self, records):
        at = 0
        while at < len(records):
            head, hi, lo = struct.unpack_from("<IQQ", records, at)
            operation, size = head & 255, head >> 8
            value = records[at + 20 : at + 20 + size]
            want(len(value) == size, "record: size")
            at += 20 + (size + 3) // 4 * 4
            if operation == PUT:
                self.map[(hi, lo)] = value
            elif operation == REMOVE:
                want((hi, lo) in self.map, "record: removes what is not there")
                del self.map[(hi, lo)]
            elif operation == WRITE:
                self.cut(hi, lo, extent(value)[6])
                self.map[(hi, lo)] = value
            else:
                want(operation == CUT, "record: operation")
                self.cut(hi, lo, *struct.unpack("<Q", value))
        want(at == len(records), "records: end")

    def content(self, inode, size):
        data = bytearray(size)
        for (hi, lo), value in self.map.items():
            if hi != inode * 16 + EXTENT:
                continue
            segment, offset, payload, per, stride, inner, length = extent(value)
            done = 0
            while done < length:
                frame, begin = divmod(inner + done, per) if stride else (0, inner + done)
                body = self.payload(DATA, segment, offset + frame * stride, payload)
                count, magic = struct.unpack("<I4s", body[-8:])
                want(magic == b"CPF1" and per + 24 * count + 8 == payload, "data frame: trailer")
                part = body[begin : min(per, begin + length - done)]
                want(lo + done + len(part) <= size, "extent: beyond the file")
                data[lo + done : lo + done + len(part)] = part
                done += len(part)
        return bytes(data)

    def xattrs(self, inode):
        slots = {}
        for (hi, lo), value in sorted(self.map.items()):
            if hi == inode * 16 + XATTR:
                slots[lo // 64] = slots.get(lo // 64, b"") + value
        found = {}
        for value in slots.values():
            name, size = struct.unpack_from("<II", value)
            want(8 + name + size == len(value), "xattr: size")
            found[value[8 : 8 + name].hex()] = value[8 + name :].hex()
        return found

    def names(self, inode, entries):
        """Each entry is found by the hash of its name, and nothing else is."""
        found = {}
        for (hi, lo), value in self.map.items():
            if hi == inode * 16 + NAME:
                numbers = struct.unpack("<I" if len(value) == 4 else "<%dQ" % (len(value) // 8), value)
                want(0 < len(numbers) <= 64, "name: count")
                want(len(value) == 4 or len(numbers) > 1 or numbers[0] >= 2**32, "name: short where it can be")
                found.update({number: lo for number in numbers})
        wanted = {lo: name_hash(self.seeds, value[8:]) for lo, value in entries}
        want(found == wanted, "directory: hashes of its names")

    def walk(self, inode, path, out):
        mode, uid, gid, size, allocated, extra, mtime = attributes(self.map[(inode * 16 + INODE, 0)])
        node = {"mode": mode, "uid": uid, "gid": gid, "inode": inode, "mtime": mtime}
        node["xattrs"] = self.xattrs(inode)
        kind = mode >> 12
        if kind == 8:
            node["sha256"] = hashlib.sha256(self.content(inode, size)).hexdigest()
            node["size"] = size
        elif kind == 10:
            parts = sorted((lo, value) for (hi, lo), value in self.map.items() if hi == inode * 16 + TARGET)
            want([lo for lo, _ in parts] == list(range(len(parts))), "target: chunks")
            want(all(len(value) == 2048 for _, value in parts[:-1]), "target: size of a chunk")
            node["target"] = b"".join(value for _, value in parts).hex()
            want(len(node["target"]) == 2 * size, "target: size")
        elif kind in (2, 6):
            node["device"] = extra
        out[path] = node
        if kind != 4:
            return
        entries = [(lo, value) for (hi, lo), value in self.map.items() if hi == inode * 16 + ENTRY]
        want(len(entries) == size and all(lo < allocated for lo, _ in entries), "directory: entries")
        self.names(inode, entries)
        for _, value in sorted(entries):
            (head,) = struct.unpack_from("<Q", value)
            child, kind = head & (2**53 - 1), head >> 60
            want(head >> 53 & 0x7F == 0, "entry: reserved")
            self.walk(child, path + "/" + value[8:].hex(), out)
            want(out[path + "/" + value[8:].hex()]["mode"] >> 12 == kind, "entry: type")


def main():
    directory, pin, key_file = sys.argv[1:4]
    with open(key_file, "rb") as file:
        key = file.read()
    try:
        volume = Volume(directory, pin, key)
        replay, _ = volume.state()
        magic, segment, offset, size, *seeds = struct.unpack_from("<4sIIIII", replay.state)
        tree = Tree(volume, replay.table, seeds)
        want(magic == b"CVS2", "state: magic")
        tree.page((segment, offset, size), None, None, None)
        for records in replay.records:
            tree.apply(records)
        out = {}
        tree.walk(1, "", out)
    except Failure as failure:
        print(f"volume_tree_decoder: {failure}", file=sys.stderr)
        return failure.code
    json.dump(out, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
