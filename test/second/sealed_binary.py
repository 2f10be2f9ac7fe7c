"""A second reader of sealed binaries, written from spec/sealed-binary.md alone, with the standard library.

usage: sealed_binary.py FILE
Prints one JSON document: mrenclave, and mrsigner, isv_prod_id, isv_svn of a signed binary. Exits 3 when it does not verify.
"""

import hashlib
import json
import struct
import sys

PAGE = 4096


def fail(text):
    print(f"sealed binary: {text}", file=sys.stderr)
    sys.exit(3)


def check(condition, text):
    if not condition:
        fail(text)


def mrenclave(pages):
    size = 2 * PAGE
    while size < len(pages) * PAGE:
        size *= 2
    digest = hashlib.sha256(b"ECREATE\0" + struct.pack("<IQ", 1, size) + bytes(44))
    for i, page in enumerate(pages):
        flags = 0x205 if i == 0 else 0x201
        digest.update(b"EADD\0\0\0\0" + struct.pack("<QQ", i * PAGE, flags) + bytes(40))
        for at in range(0, PAGE, 256):
            digest.update(b"EEXTEND\0" + struct.pack("<Q", i * PAGE + at) + bytes(48))
            digest.update(page[at : at + 256])
    return digest.digest()


def block_hash(data):
    return hashlib.sha256(data).digest()


def verity_root(image):
    """Root hash and hash area: the levels, top first."""
    level = [block_hash(image[at : at + PAGE]) for at in range(0, len(image), PAGE)]
    area = b""
    while len(level) > 1:
        joined = b"".join(level)
        joined += bytes(-len(joined) % PAGE)
        area = joined + area
        level = [block_hash(joined[at : at + PAGE]) for at in range(0, len(joined), PAGE)]
    return level[0], area


def verify_sigstruct(s, measurement):
    number = lambda at, size: int.from_bytes(s[at : at + size], "little")
    check(s[0:16].hex() == "06000000e10000000000010000000000", "header")
    check(s[24:40].hex() == "01010000600000006000000001000000", "header2")
    for at, size in ((44, 84), (910, 2), (992, 16), (1028, 12)):
        check(not any(s[at : at + size]), "reserved")
    n, e, sig = number(128, 384), number(512, 4), number(516, 384)
    check(e == 3 and sig < n, "exponent")
    check(number(1040, 384) == sig * sig // n, "q1")
    check(number(1424, 384) == sig * (sig * sig % n) // n, "q2")
    digest = block_hash(s[0:128] + s[900:1028])
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
    padded = b"\x00\x01" + b"\xff" * (384 - 3 - len(info)) + b"\x00" + info
    check(pow(sig, 3, n) == int.from_bytes(padded, "big"), "signature")
    check(s[960:992] == measurement, "another MrEnclave")
    return {
        "mrsigner": block_hash(s[128:512]).hex(),
        "isv_prod_id": number(1024, 2),
        "isv_svn": number(1026, 2),
    }


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    end = data.index(0, 0x4000)
    text = data[0x4000:end]
    manifest = json.loads(text)
    binfs, verity = manifest["binfs"], manifest["verity"]
    check(verity["offset"] == binfs["offset"] + binfs["size"], "verity.offset")
    check(len(data) == verity["offset"] + verity["size"], "size")
    check(not any(data[end : binfs["offset"]]), "padding")
    measured = data[0x1000:0x2000] + data[0x4000 : binfs["offset"]]
    measurement = mrenclave([measured[at : at + PAGE] for at in range(0, len(measured), PAGE)])
    root, area = verity_root(data[binfs["offset"] : verity["offset"]])
    check(root.hex() == verity["rootHash"], "root hash")
    check(area == data[verity["offset"] :], "hash tree")
    sentence = b"sealed by Coffer, MrEnclave " + measurement.hex().encode() + b": run it with coffer\n"
    check(data[0x2014 : 0x2014 + 113] == sentence, "sentence")
    found = {"mrenclave": measurement.hex()}
    sigstruct = data[0x3000 : 0x3000 + 1808]
    if any(sigstruct):
        found |= verify_sigstruct(sigstruct, measurement)
    print(json.dumps(found))


main(sys.argv[1])
