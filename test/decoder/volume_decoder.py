#!/usr/bin/env python3
"""A second decoder of the volume's store, written from spec/volume.md alone.

volume_decoder.py DIRECTORY PIN KEY_FILE    prints what the anchored state holds, as JSON
volume_decoder.py DIRECTORY PIN --no-key    the same of an authenticated volume, verified from the anchored tag alone

Exit code: 0, 3 damaged, 4 rollback.
"""

import hashlib
import json
import os
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ENCRYPTED, AUTHENTICATED = 1, 2
DATA, INDEX, COMMIT = 1, 2, 3
CHECKPOINT, CHANGES, MORE, CLOSE = 1, 2, 4, 8
SEGMENT_HEADER = 88
FRAME_HEADER = 36


class Failure(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def damaged(text):
    return Failure(3, text)


def want(condition, text):
    if not condition:
        raise damaged(text)


def sha256(data):
    return hashlib.sha256(data).digest()


def label(name):
    return b"coffer/v1/volume/" + name + b"\0"


def hkdf(key, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(key)


def read_header(data):
    want(len(data) == 128 and data[:8] == b"COFFERV\0", "header: magic or size")
    want(sha256(data[:96]) == data[96:], "header: checksum")
    version, protection = struct.unpack_from("<II", data, 8)
    if version != 1:
        raise Failure(2, "header: another format version")
    want(not any(data[48:96]), "header: zero")
    want(protection in (ENCRYPTED, AUTHENTICATED), "header: protection")
    return {"id": data[16:48], "protection": protection, "hash": sha256(data)}


def read_pin(data):
    best = None
    for at in (0, 4096):
        slot = data[at : at + 176]
        if len(slot) < 176 or sha256(slot[:144]) != slot[144:]:
            continue
        want(slot[:8] == b"COFFERP\0", "pin: magic")
        version, zero = struct.unpack_from("<II", slot, 8)
        want(version == 1 and zero == 0, "pin: version")
        count, epoch, sequence = struct.unpack_from("<QQQ", slot, 48)
        pin = {
            "count": count,
            "epoch": epoch,
            "sequence": sequence,
            "volume": slot[16:48],
            "tag": slot[72:104],
            "salt": slot[104:136],
            "offset": struct.unpack_from("<Q", slot, 136)[0],
        }
        if best is None or count > best["count"]:
            best = pin
    if best is None or best["sequence"] == 0:
        raise Failure(4, "pin: none that was used")
    return best


class Segment:
    """A segment file and what opens its frames. `key` is None when an authenticated volume is read without it."""

    def __init__(self, volume, number, generation, salt):
        self.volume, self.number, self.generation, self.salt = volume, number, generation, salt
        try:
            with open(os.path.join(volume.directory, "segments", salt.hex()), "rb") as file:
                self.data = file.read()
        except FileNotFoundError:
            raise damaged(f"segment {number}: not there") from None
        want(len(self.data) <= 256 << 20, "segment: too large")
        head = b"COFFERS\0" + struct.pack("<IIII", 1, generation, number, 0) + salt
        want(self.data[:56] == head, f"segment {number}: header")
        self.aead = None
        if volume.keys is not None:
            key = volume.key(generation)
            info = label(b"segment-check") + volume.header["hash"]
            check = hkdf(key, salt, info + struct.pack("<II", number, generation))
            want(self.data[56:88] == check, f"segment {number}: check")
            self.aead = AESGCM(hkdf(key, salt, label(b"segment-key") + volume.header["hash"]))

    def frame(self, offset, verify=True):
        """(kind, payload, header, stored, end). With a key the frame has verified; without, nothing has."""
        header = self.data[offset : offset + FRAME_HEADER]
        want(len(header) == FRAME_HEADER, f"segment {self.number}: ends before {offset}")
        size, kind = struct.unpack_from("<II", header)
        want(size <= 1 << 20 and kind in (DATA, INDEX, COMMIT), "frame: size or kind")
        end = offset + FRAME_HEADER + size
        want(end <= len(self.data), "frame: beyond the file")
        body = self.data[offset + FRAME_HEADER : end]
        nonce, tag = header[8:20], header[20:36]
        aad = self.volume.header["id"] + self.salt + struct.pack("<QII", offset, kind, size)
        if self.aead is not None and verify:
            try:
                if self.volume.header["protection"] == ENCRYPTED:
                    body = self.aead.decrypt(nonce, body + tag, aad)
                else:
                    self.aead.decrypt(nonce, tag, aad + body)
            except InvalidTag:
                raise damaged(f"segment {self.number}: frame at {offset}") from None
        return kind, body, header, self.data[offset:end], end


def parse_commit(payload, listed):
    want(len(payload) >= 144, "commit: size")
    sequence, previous, digest, durable = struct.unpack_from("<Q32s32sQ", payload)
    cp_sequence, cp_tag, cp_segment, cp_offset = struct.unpack_from("<Q32sII", payload, 80)
    flags, count, store_size, zero = struct.unpack_from("<IIII", payload, 128)
    want(zero == 0 and flags < 16 and count <= 8192, "commit: zero, flags or frame count")
    at = 144
    listed_hashes = []
    if listed:
        listed_hashes = [payload[at + 32 * i : at + 32 * i + 32] for i in range(count)]
        at += 32 * count
    want(at + store_size <= len(payload), "commit: store size")
    items = parse_items(payload[at : at + store_size])
    return {
        "sequence": sequence,
        "previous": previous,
        "digest": digest,
        "durable": durable,
        "checkpoint": (cp_sequence, cp_tag, cp_segment, cp_offset),
        "flags": flags,
        "count": count,
        "hashes": listed_hashes,
        "items": items,
        "records": payload[at + store_size :],
    }


def parse_items(data):
    items, last = {}, 0
    while data:
        want(len(data) >= 8, "store: item")
        kind, size = struct.unpack_from("<II", data)
        want(last < kind <= 7 and size + 8 <= len(data), "store: item type or size")
        items[kind], last = data[8 : 8 + size], kind
        data = data[8 + size :]
    return items


class Volume:
    def __init__(self, directory, pin, key):
        self.directory = directory
        self.keys = None if key is None else {}
        self.newest = key
        with open(os.path.join(directory, "header"), "rb") as file:
            self.header = read_header(file.read())
        self.listed = self.header["protection"] == AUTHENTICATED
        want(key is not None or self.listed, "an encrypted volume needs its key")
        with open(pin, "rb") as file:
            self.pin = read_pin(file.read())
        if self.pin["volume"] != self.header["id"]:
            raise Failure(4, "the pin is of another volume")

    def key(self, generation):
        want(generation in self.keys, f"no key of generation {generation}")
        return self.keys[generation]

    def learn(self, segment, items):
        """Older keys, wrapped under the key of the segment that holds them."""
        if self.keys is None or 5 not in items:
            return
        data = items[5]
        want(len(data) % 64 == 0, "keys: size")
        wrap = hkdf(self.key(segment.generation), self.header["hash"], label(b"key-wrap"))
        for at in range(0, len(data), 64):
            generation = data[at : at + 4]
            nonce, sealed = data[at + 4 : at + 16], data[at + 16 : at + 64]
            try:
                key = AESGCM(wrap).decrypt(nonce, sealed, generation)
            except InvalidTag:
                raise damaged("keys: wrapped key") from None
            self.keys.setdefault(struct.unpack("<I", generation)[0], key)

    def commit(self, segment, offset):
        kind, payload, _, stored, end = segment.frame(offset)
        want(kind == COMMIT, f"segment {segment.number}: no commit at {offset}")
        commit = parse_commit(payload, self.listed)
        prefix = label(b"commit-tag") + commit["previous"]
        commit.update(tag=sha256(prefix + stored), offset=offset, end=end)
        want((offset == SEGMENT_HEADER) == (1 in commit["items"]), "commit: begin")
        return commit

    def anchored(self):
        pin = self.pin
        path = os.path.join(self.directory, "segments", pin["salt"].hex())
        if not os.path.exists(path):
            raise Failure(4, "the anchored segment is not there")
        with open(path, "rb") as file:
            head = file.read(SEGMENT_HEADER)
        want(len(head) == SEGMENT_HEADER, "segment header: size")
        generation, number = struct.unpack_from("<II", head, 12)
        if self.keys is not None:
            self.keys[generation] = self.newest
        segment = Segment(self, number, generation, pin["salt"])
        if len(segment.data) <= pin["offset"]:
            raise Failure(4, "the anchored segment ends before the anchored commit")
        commit = self.commit(segment, pin["offset"])
        want(commit["tag"] == pin["tag"], "the anchored commit has another tag")
        return segment, commit

    def path(self, segment, checkpoint):
        """Segments from the checkpoint's to this one, each with the end of its last commit."""
        path = [(segment, None)]
        while path[0][0].number != checkpoint[2]:
            current = path[0][0]
            items = self.commit(current, SEGMENT_HEADER)["items"]
            begin = struct.unpack("<IIIIII32s", items[1])
            number, generation, previous, previous_generation, end, zero, salt = begin
            want((number, generation) == (current.number, current.generation), "begin: number")
            want(zero == 0 and 0 < previous < number, "begin: previous")
            self.learn(current, items)
            path.insert(0, (Segment(self, previous, previous_generation, salt), end))
        return path

    def state(self):
        segment, head = self.anchored()
        self.learn(segment, head["items"])
        own = (head["sequence"], head["tag"], segment.number, head["offset"])
        checkpoint = own if head["flags"] & CHECKPOINT else head["checkpoint"]
        path = self.path(segment, checkpoint)
        first = path[0][0]
        commit = self.commit(first, checkpoint[3])
        want(commit["tag"] == checkpoint[1], "checkpoint: tag")
        self.learn(first, commit["items"])
        replay = Replay()
        replay.apply(first, commit)
        for current, end in path:
            if current is not first:
                commit = self.next(current, dict(commit, end=SEGMENT_HEADER))
                replay.apply(current, commit)
            while commit["end"] != end and commit["tag"] != head["tag"]:
                commit = self.next(current, commit)
                replay.apply(current, commit)
            replay.table[current.number] = (current.generation, commit["end"], current.salt, commit["tag"])
        want(commit["tag"] == head["tag"], "the chain does not lead to the anchored commit")
        return replay, head

    def next(self, segment, after):
        offset, count, headers = after["end"], 0, hashlib.sha256()
        while True:
            kind, _, header, _, end = segment.frame(offset, verify=False)
            if kind == COMMIT:
                break
            headers.update(header)
            count, offset = count + 1, end
        commit = self.commit(segment, offset)
        want(commit["sequence"] == after["sequence"] + 1, "commit: sequence")
        want(commit["previous"] == after["tag"], "commit: previous")
        want(commit["count"] == count and commit["digest"] == headers.digest(), "commit: digest")
        return commit

    def frames(self, table):
        """Every data and index frame of every segment in use, verified, also against its segment's last tag."""
        for number in sorted(table):
            generation, end, salt, last = table[number]
            segment = Segment(self, number, generation, salt)
            commit = self.commit(segment, SEGMENT_HEADER)
            while commit["end"] < end:
                offset = commit["end"]
                commit = self.next(segment, commit)
                for i in range(commit["count"]):
                    kind, payload, _, _, after = segment.frame(offset)
                    if self.listed:
                        want(sha256(payload) == commit["hashes"][i], "frame: listed hash")
                    yield {
                        "kind": "data" if kind == DATA else "index",
                        "segment": number,
                        "offset": offset,
                        "size": len(payload),
                        "sha256": sha256(payload).hex(),
                    }
                    offset = after
            want(commit["end"] == end and commit["tag"] == last, f"segment {number}: last tag")


class Replay:
    def __init__(self):
        self.table, self.state, self.records, self.parts = {}, b"", [], []

    def apply(self, segment, commit):
        flags, items = commit["flags"], commit["items"]
        if 3 in items:
            self.parts = []
        if flags & CHECKPOINT:
            self.table = {}
            table = items.get(4, b"")
            for at in range(0, len(table), 80):
                number, generation, end, zero = struct.unpack_from("<IIII", table, at)
                want(zero == 0 and number > max(self.table, default=0), "table: entry")
                self.table[number] = (generation, end, table[at + 16 : at + 48], table[at + 48 : at + 80])
            self.state, self.records, self.parts = commit["records"], [], []
        if flags & CHANGES:
            self.parts.append(commit["records"])
            if not flags & MORE:
                self.records.append(b"".join(self.parts))
                self.parts = []
        if not flags & (CHANGES | CHECKPOINT):
            want(not commit["records"], "commit: records without a flag")


def main():
    directory, pin, key_file = sys.argv[1:4]
    key = None
    if key_file != "--no-key":
        with open(key_file, "rb") as file:
            key = file.read()
        if len(key) != 32:
            key = bytes.fromhex(key.decode().strip())
    try:
        volume = Volume(directory, pin, key)
        replay, head = volume.state()
        out = {
            "sequence": head["sequence"],
            "tag": head["tag"].hex(),
            "state": replay.state.hex(),
            "records": [records.hex() for records in replay.records if records],
            "frames": list(volume.frames(replay.table)),
        }
    except Failure as failure:
        print(f"volume_decoder: {failure}", file=sys.stderr)
        return failure.code
    except FileNotFoundError as error:
        print(f"volume_decoder: {error}", file=sys.stderr)
        return 4
    json.dump(out, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
