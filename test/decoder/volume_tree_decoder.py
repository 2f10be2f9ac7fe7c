"""The filesystem of a volume, read by spec/volume-index.md alone. volume_tree_decoder.py DIRECTORY PIN KEY-FILE

Prints one JSON document: each path with what stands there.
"""

import hashlib
import json
import struct
import sys

from volume_decoder import DATA, INDEX, Failure, Segment, Volume, want

PAGE = 16384
INODE, EXTENT, ENTRY, NAME, XATTR, TARGET, ORPHAN = range(7)
PUT, REMOVE, WRITE, CUT = 1, 2, 3, 4


class Tree:
    def __init__(self, volume, table):
        self.volume, self.table, self.segments, self.map = volume, table, {}, {}

    def payload(self, kind, number, offset, size):
        if number not in self.segments:
            generation, _, salt, _ = self.table[number]
            self.segments[number] = Segment(self.volume, number, generation, salt)
        found, payload, _, _, _ = self.segments[number].frame(offset)
        want(found == kind and len(payload) == size, "frame: another one")
        return payload

    def page(self, place, level, low, high):
        page = self.payload(INDEX, *place)
        magic, own, count, heap = struct.unpack_from("<4sIII", page)
        want(magic == b"CPX1" and (level is None or own == level), "page: magic or level")
        start = 16 + 20 * count
        want(start + PAGE - heap == len(page), "page: size")
        entries = []
        for i in range(count):
            hi, lo, at, size = struct.unpack_from("<QQHH", page, 16 + 20 * i)
            want(at % 4 == 0 and heap <= at and at + size <= PAGE, "page: value")
            entries.append(((hi, lo), page[start + at - heap : start + at - heap + size]))
        keys = [key for key, _ in entries]
        want(keys == sorted(set(keys)), "page: order")
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
            value = list(struct.unpack("<7I", self.map[key]))
            first, last = key[1], key[1] + value[6]
            if last <= start:
                continue
            del self.map[key]
            if first < start:
                self.map[key] = struct.pack("<7I", *value[:6], start - first)
            if last > end:
                value[5] += end - first
                if value[4]:
                    value[1] += value[5] // value[3] * value[4]
                    value[5] %= value[3]
                self.map[(hi, end)] = struct.pack("<7I", *value[:6], last - end)

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
                self.cut(hi, lo, struct.unpack("<7I", value)[6])
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
            segment, offset, payload, per, stride, inner, length = struct.unpack("<7I", value)
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
                slots[lo // 32] = slots.get(lo // 32, b"") + value
        found = {}
        for value in slots.values():
            name, size = struct.unpack_from("<II", value)
            want(8 + name + size == len(value), "xattr: size")
            found[value[8 : 8 + name].hex()] = value[8 + name :].hex()
        return found

    def walk(self, inode, path, out):
        fields = struct.unpack("<IIIIQQQqqqIIII", self.map[(inode * 16 + INODE, 0)])
        mode, uid, gid, links, size, allocated, extra = fields[:7]
        node = {"mode": mode, "uid": uid, "gid": gid, "inode": inode, "mtime": [fields[8], fields[11]]}
        node["xattrs"] = self.xattrs(inode)
        kind = mode >> 12
        if kind == 8:
            node["sha256"] = hashlib.sha256(self.content(inode, size)).hexdigest()
            node["size"] = size
        elif kind == 10:
            node["target"] = self.map[(inode * 16 + TARGET, 0)].hex()
        elif kind in (2, 6):
            node["device"] = extra
        out[path] = node
        if kind != 4:
            return
        entries = [(lo, value) for (hi, lo), value in self.map.items() if hi == inode * 16 + ENTRY]
        want(len(entries) == size and all(lo < allocated for lo, _ in entries), "directory: entries")
        for _, value in sorted(entries):
            child, kind = struct.unpack_from("<QI", value)
            self.walk(child, path + "/" + value[12:].hex(), out)
            want(out[path + "/" + value[12:].hex()]["mode"] >> 12 == kind, "entry: type")


def main():
    directory, pin, key_file = sys.argv[1:4]
    with open(key_file, "rb") as file:
        key = file.read()
    try:
        volume = Volume(directory, pin, key)
        replay, _ = volume.state()
        tree = Tree(volume, replay.table)
        magic, segment, offset, size = struct.unpack_from("<4sIII", replay.state)
        want(magic == b"CVS1", "state: magic")
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
