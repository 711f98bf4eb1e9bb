#!/usr/bin/env python3
"""Writes the vectors of FORMAT into the directory format/ beside this file.

A second implementation of that page, slow and simple, so that the vectors do not merely repeat what
the program does. Nothing here is random: keys and ids come from hashing their names. Needs the Python
package `cryptography` (44 or later) for AES-GCM, AES-GCM-SIV and AES-SIV, the library libsodium (as Debian's
libsodium23 brings it) for XSalsa20-Poly1305, and schemes.py beside it.

    python3 spec/vectors/format.py
"""

import base64
import ctypes
import ctypes.util
import hashlib
import hmac
import pathlib
import re

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, AESSIV

from schemes import World, bech32, bytes32, derive, frame, mul, number, point, scalar, seal, sign, u16, u32
from schemes import G

OUT = pathlib.Path(__file__).with_name("format")


# --- FORMAT 1 and 2 ---------------------------------------------------------------------------
def u64(v):
    return v.to_bytes(8, "big")


def mac(key, domain, *parts):
    return hmac.digest(key, frame(domain, *parts), "sha256")


def digest(domain, *parts):
    return hashlib.sha256(frame(domain, *parts)).digest()


class Raw(bytes):
    """CBOR that is already encoded, rightly or wrongly."""


def uint(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")


def cbor(value):
    if isinstance(value, Raw):
        return bytes(value)
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return uint(0, value)
    if isinstance(value, bytes):
        return uint(2, len(value)) + value
    if isinstance(value, list):
        return uint(4, len(value)) + b"".join(map(cbor, value))
    return uint(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def siv(double, ad, plaintext):
    return AESSIV(double).encrypt(plaintext, list(ad))


def wrap(kek, ad, key):
    return siv(derive(kek, "kms/wrap/1", length=64), ad, key)


def record(key, ad, plaintext, salt):
    return salt + AESGCM(derive(key, "kms/record/1", salt)).encrypt(bytes(12), plaintext, ad)


# --- FORMAT 5.1: ciphers ----------------------------------------------------------------------
def secretbox(key, nonce, plain):
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
    tag, sealed = ctypes.create_string_buffer(16), ctypes.create_string_buffer(len(plain) + 1)
    sodium.crypto_secretbox_detached(sealed, tag, plain, ctypes.c_ulonglong(len(plain)), nonce, key)
    return sealed.raw[: len(plain)] + tag.raw


def seal_chunk(cipher, key, nonce, ad, plain):
    if cipher == 3:
        return secretbox(key, digest("kms/secretbox-nonce/1", nonce, ad)[:24], plain)
    return {1: AESGCM, 2: AESGCMSIV}[cipher](key).encrypt(nonce, plain, ad)


# --- the people and things of all vectors -----------------------------------------------------
SHARE = World("format", 2, 3)
STORE, LABEL = SHARE.store, SHARE.label
STORE_KEY = bytes32("store key")
OWNER, MALLORY = number("format owner"), number("format mallory")
OWNER_MAC = derive(STORE_KEY, "kms/owner-mac/1")
DIR = bytes32("directory")[:16]
TAG = bytes32("name tag")[:16]


def dir_key(ident=DIR, epoch=1):
    return derive(STORE_KEY, "kms/dir-key/1", ident, u32(epoch))


def name_key(ident=DIR, epoch=1):
    return derive(dir_key(ident, epoch), "kms/dir-names/1", ident, u32(epoch))


# --- FORMAT 3: headers ------------------------------------------------------------------------
class Object:
    """A header; every part can be replaced by a wrong one before it is sealed."""

    def __init__(self, name, kind=1):
        self.name, self.kind = name, kind
        self.store, self.id = STORE, bytes32(f"{name} id")[:16]
        self.cipher, self.bits = 1, 12 if kind == 1 else 0
        self.sealer = None
        self.key, self.epoch, self.prev = bytes32(f"{name} key"), 1, None
        if kind == 2:
            self.key = dir_key(self.id)
        self.names, self.labels = [(DIR, 1, TAG)], []
        self.generation, self.mode, self.xattrs = 5, 0o644, None
        self.writers = []
        self.size, self.leaves, self.root = 0, [], bytes(32)
        self.device = None
        self.name_key, self.signs = name_key(self.id), 0
        self.owner_mac, self.signer = OWNER_MAC, None
        self.version, self.extra, self.core_extra = 1, {}, []
        self.change = {}

    def core(self):
        return [self.store, self.kind, self.id, self.cipher, self.bits] + self.core_extra

    def core_hash(self):
        return digest("kms/core/1", cbor(self.core()))

    def sub(self, domain, key=None):
        return derive(key or self.key, domain, self.core_hash())

    def keys(self):
        def commitment(key, epoch):
            return derive(key, "kms/commitment/1", self.core_hash(), u32(epoch))

        prev = None
        if self.prev:
            key, epoch = self.prev
            ad = (b"kms/prev/1", self.core_hash(), u32(epoch) + u32(self.epoch))
            prev = [epoch, commitment(key, epoch), wrap(self.key, ad, key)]
        return [self.epoch, commitment(self.key, self.epoch), prev]

    def binding(self, ident, epoch, tag):
        ad = (b"kms/binding/1", self.core_hash(), ident, u32(epoch), tag, u32(self.epoch))
        return [ident, epoch, tag, wrap(dir_key(ident, epoch), ad, self.key)]

    def label(self, ident=LABEL, scheme=1, curve=1, generation=1, epoch=None):
        epoch = SHARE.epoch if epoch is None else epoch
        numbers = u16(scheme) + u16(curve) + u32(generation) + u32(epoch) + u32(self.epoch)
        ad = (b"kms/label/1", self.core_hash(), ident, numbers)
        return [ident, scheme, curve, generation, epoch, SHARE.capsule, wrap(SHARE.secret(), ad, self.key)]

    def content(self):
        if self.device is not None:
            return [self.device]
        if self.kind == 1:
            return [self.size, b"".join(self.leaves), self.root]
        ad = (b"kms/name-key/1", self.core_hash(), u32(self.epoch))
        return [wrap(self.key, ad, self.name_key), None, self.signs]

    def fields(self):
        bindings = [self.binding(*n) for n in self.names]
        labels = [self.label(**l) for l in self.labels]
        state = [self.generation, self.mode, self.xattrs, self.content(), b"".join(m + u64(g) for m, g in self.writers)]
        fields = {1: self.core(), 2: self.keys(), 3: bindings, 4: labels, 5: state}
        return {**fields, **self.change, **self.extra}

    def sealed(self, body=None, length=None):
        body = cbor(self.fields()) if body is None else body
        return b"kmsfs\x1a\r\n" + u16(self.version) + u32(len(body) if length is None else length) + body

    def header(self, body=None, length=None, padding=b""):
        sealed = self.sealed(body, length)
        d = digest("kms/header/1", sealed)
        signature = sign(self.signer, "kms/header-signature/1", d) if self.signer else bytes(64)
        owner = mac(self.owner_mac, "kms/owner-seal/1", d, signature) if self.owner_mac else bytes(32)
        key = mac(self.sub("kms/header-key/1"), "kms/key-seal/1", d, signature, owner)
        return (sealed + padding).ljust(3968, b"\0") + signature + owner + key

    # FORMAT 5
    def chunk(self, index, plain, key=None, epoch=None):
        nonce = bytes32(f"{self.name} nonce {index}")[:12]
        ad = b"kms/chunk/1" + self.core_hash() + u64(index)
        sealed = seal_chunk(self.sealer or self.cipher, self.sub("kms/chunk-key/1", key), nonce, ad, plain)
        return nonce + sealed[-16:] + u32(epoch or self.epoch), sealed[:-16]

    def page(self, level, index, entries, epoch=None):
        table = b"".join(entries.get(s, bytes(32)) for s in range(126))
        trailer = bytes([level, 0, 0, 0]) + u32(epoch or self.epoch) + u64(index) + bytes(16)
        tag = mac(self.sub("kms/tree-key/1"), "kms/page/1", self.core_hash(), table, trailer)
        return tag, table + tag + trailer

    def attributes(self, pairs, key=None):
        plain = cbor(dict(sorted(pairs.items()))) if isinstance(pairs, dict) else pairs
        salt = bytes32(f"{self.name} salt")
        return record(self.sub("kms/xattr-key/1", key), b"kms/xattr/1", plain, salt)


BY_NAME = {"via": "dir", "store-key": STORE_KEY.hex(), "dir": DIR.hex(), "dir-epoch": 1, "name-tag": TAG.hex()}
BY_LABEL = {"via": "label", "label": LABEL.hex(), "secret": SHARE.secret().hex()}
AS_OWNER = {"check": "owner", "owner-mac": OWNER_MAC.hex()}
AS_READER = {"check": "signed", "owner": point(mul(G, OWNER)).hex()}


def write(name, spec, kind, expect, payload, /, **fields):
    lines = [f"spec: FORMAT {spec}", f"kind: {kind}", f"expect: {expect}"]
    lines += [f"{k}: {v}" for k, v in fields.items()]
    if isinstance(payload, bytes):
        words = []
        for piece in re.split(rb"(\0{48,})", payload):
            if piece and not piece.strip(b"\0") and len(piece) >= 48:
                words.append(f"*{len(piece)}")
            elif piece:
                digits = piece.hex()
                words += [digits[i : i + 96] for i in range(0, len(digits), 96)]
        payload = "\n".join(words) + "\n"
    (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n\n" + payload)


def put(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def flip(data, at):
    return put(data, at, bytes([data[at] ^ 1]))


def headers():
    def case(name, spec, expect, payload, **fields):
        write(f"header-{name}", spec, "header", expect, payload, **{**BY_NAME, **AS_OWNER, **fields})

    file = Object("file")
    file.size, file.leaves = 100, [file.chunk(0, b"x" * 100)[0]]
    good = file.header()
    case("file", "3", "ok", good, size=100, mode=0o644, generation=5)
    case("file-for-a-reader", "3.7", "ok", good, size=100, mode=0o644, generation=5, **AS_READER)
    directory = Object("tree", kind=2)
    case("directory", "3", "ok", directory.header(), mode=0o644, generation=5, **{"name-key": directory.name_key.hex()})
    signing = {**AS_READER, "dir-signs": 2}
    case("unsigned-where-all-is-signed", "3.7", "unsigned", good, **signing)
    case("unsigned-where-only-new-ones-are", "3.7", "ok", good, size=100, mode=0o644, generation=5, **AS_READER, **{"dir-signs": 1})
    case("unsigned-for-the-owner", "3.7", "ok", good, size=100, mode=0o644, generation=5, **{"dir-signs": 2})
    file.signer = OWNER
    case("signed-where-all-is", "3.7", "ok", file.header(), size=100, mode=0o644, generation=5, **signing)
    file.signer, directory.signs = None, 1
    case("signing-directory-unsigned", "3.7", "unsigned", directory.header(), **AS_READER)
    directory.signs, directory.signer = 2, OWNER
    case("signing-directory", "3.6.2", "ok", directory.header(), mode=0o644, generation=5, **AS_READER, **{"name-key": directory.name_key.hex()})
    directory.signs = 3
    case("signs-3", "3.6.2", "malformed name key", directory.header())
    directory.signs, directory.signer = 0, None
    case("other-name", "3.4", "not-bound", good, **{"name-tag": bytes(16).hex()})
    case("other-directory", "3.4", "not-bound", good, dir=bytes(16).hex())
    case("other-store", "3.4", "refused bindings", good, **{"store-key": bytes(32).hex(), "check": "key"})
    case("other-owner", "3.8", "refused owner seal", good, **{"owner-mac": bytes(32).hex()})

    # 3.7, steps 1 and 2
    case("empty", "3.7", "cut-off", b"")
    case("cut-off", "3.7", "cut-off", good[:4095])
    case("other-magic", "3.1", "not-a-header", b"K" + good[1:])
    case("text-mode", "3.1", "not-a-header", good.replace(b"\r\n", b"\n", 1) + b"\0")
    file.version = 2
    case("version-2", "3.1", "unknown-version 2", file.header())
    file.version = 1
    case("length-over", "3.1", "malformed envelope", file.header(length=3955))
    case("length-huge", "3.1", "malformed envelope", file.header(length=2**32 - 1))
    case("length-short", "3.1", "malformed envelope", file.header(length=len(file.sealed()) - 15))
    case("padding", "3.1", "malformed envelope", file.header(padding=bytes(9) + b"\1"))

    # 3.7, step 3: everything here is sealed as it stands, so only the form can be the reason.
    def reshaped(name, spec, expect, body):
        case(name, spec, expect, file.header(body=body))

    body = cbor(file.fields())
    reshaped("trailing-byte", "1.3", "malformed envelope", body + b"\0")
    reshaped("no-cbor", "1.3", "malformed envelope", b"")
    reshaped("long-integer", "1.3", "malformed envelope", put(body, 0, b"\xa5") [:1] + b"\x18\x01" + body[2:])
    reshaped("indefinite-map", "1.3", "malformed envelope", b"\xbf" + body[1:] + b"\xff")
    reshaped("long-map-length", "1.3", "malformed envelope", b"\xb8\x05" + body[1:])
    fields = file.fields()
    swapped = {1: fields[1], 3: fields[3], 2: fields[2], 4: fields[4], 5: fields[5]}
    reshaped("fields-out-of-order", "1.3", "malformed envelope", cbor(swapped))
    reshaped("field-missing", "3.1", "malformed envelope", cbor({k: fields[k] for k in (1, 2, 3, 4)}))
    reshaped("unknown-field", "3.1", "unknown-field 6", cbor({**fields, 6: b"new"}))

    def with_state(name, spec, expect, *state):
        reshaped(name, spec, expect, cbor({**fields, 5: list(state) + [b""] * (len(state) == 4)}))

    content, mode = fields[5][3], 0o644
    with_state("size-too-large", "3.6", "malformed state", 5, mode, None, [2**56 + 1, bytes(512), bytes(32)])
    with_state("leaf-missing", "3.6", "malformed state", 5, mode, None, [5000, content[1], bytes(32)])
    with_state("leaf-too-many", "3.6", "malformed state", 5, mode, None, [0, content[1], bytes(32)])
    with_state("leaf-of-epoch-0", "5.2", "malformed state", 5, mode, None, [100, content[1][:28] + bytes(4), bytes(32)])
    with_state("leaf-of-unknown-epoch", "5.2", "malformed state", 5, mode, None,
               [100, content[1][:28] + u32(9), bytes(32)])
    with_state("root-without-pages", "3.6", "malformed state", 5, mode, None, [100, content[1], b"r" * 32])
    for name, bits, device in (("fifo", 0o010000, 0), ("socket", 0o140000, 0), ("character-device", 0o020000, 0x0103),
                               ("block-device", 0o060000, 2**32 - 1)):
        node = Object(name)
        node.mode, node.device = bits | 0o640, device
        case(name, "3.6", "ok", node.header(), mode=node.mode, device=device, generation=5)
    with_state("fifo-with-a-number", "3.6", "malformed state", 5, 0o010644, None, [1])
    with_state("fifo-with-content", "3.6", "malformed state", 5, 0o010644, None, content)
    with_state("number-too-large", "3.6", "malformed state", 5, 0o020644, None, [2**32])
    with_state("number-of-a-regular-file", "3.6", "malformed state", 5, mode, None, [0])
    with_state("regular-by-type", "3.6", "malformed state", 5, 0o100644, None, [0])
    with_state("directory-by-type", "3.6", "malformed state", 5, 0o040644, None, [0])
    with_state("mode-of-17-bits", "3.6", "malformed state", 5, 0o200644, None, content)
    with_state("mode-too-large", "3.6", "malformed state", 5, 2**32, None, content)
    with_state("xattrs-too-long", "3.6.1", "malformed attributes", 5, mode, [1, bytes(1281)], content)
    with_state("xattrs-of-later-epoch", "3.6.1", "malformed attributes", 5, mode, [2, bytes(60)], content)
    with_state("directory-content-in-a-file", "3.6", "malformed state", 5, mode, None, directory.content())
    machines = [bytes([n]) * 8 for n in range(1, 10)]
    for name, writers in (("writer-of-another-generation", [(1, 4)]), ("writers-not-falling", [(1, 5), (2, 3), (3, 4)]),
                          ("writer-twice", [(1, 5), (1, 4)]), ("nine-writers", [(n, 21 - n) for n in range(1, 10)]),
                          ("writer-cut", None)):
        value = b"".join(machines[n - 1] + u64(g) for n, g in writers) if writers else bytes(15)
        generation = 20 if name == "nine-writers" else 5
        with_state(name, "3.6.3", "malformed state", generation, mode, None, content, value)
    file.writers, file.generation = [(m, 12 - n) for n, m in enumerate(machines[:8])], 12
    case("eight-writers", "3.6.3", "ok", file.header(), size=100, mode=0o644, generation=12)
    file.writers, file.generation = [], 5
    with_state("null-generation", "3.6", "malformed state", None, mode, None, content)

    def with_keys(name, expect, *keys):
        reshaped(name, "3.3", expect, cbor({**fields, 2: list(keys)}))

    commitment = fields[2][1]
    with_keys("epoch-0", "malformed key table", 0, commitment, None)
    with_keys("epoch-too-large", "malformed key table", 2**32, commitment, None)
    with_keys("commitment-short", "malformed key table", 1, commitment[:31], None)
    with_keys("other-commitment", "wrong-key", 1, flip(commitment, 0), None)
    with_keys("prev-not-older", "malformed key table", 1, commitment, [1, commitment, bytes(48)])

    for name, field, value, expect in (
        ("kind-3", 1, 3, "unknown-kind 3"), ("cipher-9", 3, 9, "unknown-cipher 9"),
        ("cipher-0", 3, 0, "unknown-cipher 0"), ("cipher-4", 3, 4, "unknown-cipher 4"), ("chunk-bits-13", 4, 13, "unknown-chunk-bits 13"),
        ("chunk-bits-0", 4, 0, "unknown-chunk-bits 0"), ("file-id-short", 2, bytes(15), "malformed core"),
    ):
        core = list(fields[1])
        core[field] = value
        reshaped(name, "3.2", expect, cbor({**fields, 1: core}))
    reshaped("core-with-more", "3.2", "malformed core", cbor({**fields, 1: fields[1] + [0]}))

    names = [(DIR, 1, bytes([i]) * 16) for i in range(13)]
    file.names = names[:12]
    case("twelve-names", "3.4", "ok", file.header(), size=100, mode=0o644, generation=5, **{"name-tag": "0b" * 16})
    file.names = names
    case("thirteen-names", "3.4", "malformed bindings", file.header(), **{"name-tag": "0b" * 16})
    many = [(DIR, 1, bytes([i]) * 16) for i in range(20)]
    beside = b"".join(d + u32(e) + t + w for d, e, t, w in (file.binding(*n) for n in many[11:]))

    def beyond(name, expect, tag, side=beside, digested=None, inline=11, **more):
        file.names = many[:inline]
        own = [file.binding(*n) for n in file.names]
        mark = [5, digest("kms/names-side/1", side if digested is None else digested)]
        body = cbor({**file.fields(), 3: own + [mark]})
        given = {"names": side.hex()} if side is not None else {}
        case(name, "3.4.1", expect, file.header(body=body), **given, **{"name-tag": (bytes([tag]) * 16).hex()}, **more)

    ok = {"size": 100, "mode": 0o644, "generation": 5}
    beyond("twenty-names", "ok", 19, **ok)
    beyond("twenty-names-by-the-first", "ok", 0, **ok)
    beyond("names-without-side-file", "ok", 10, side=None, digested=beside, **ok)
    beyond("name-in-a-missing-side-file", "not-bound", 11, side=None, digested=beside)
    beyond("names-changed", "refused bindings", 0, side=flip(beside, 30), digested=beside)
    beyond("names-cut-off", "refused bindings", 0, side=beside[:-1])
    beyond("names-of-one", "refused bindings", 0, side=beside[:84])
    beyond("names-twice", "refused bindings", 0, side=beside + beside[:84])
    beyond("names-with-ten-in-the-header", "malformed bindings", 0, inline=10)
    file.names = [(DIR, 1, TAG)] * 2
    case("name-twice", "3.4", "malformed bindings", file.header())
    file.names = [(DIR, 2, TAG)]
    case("later-directory-key", "3.4", "dir-epoch 2", file.header())
    file.names = [(DIR, 0, TAG)]
    case("directory-epoch-0", "3.4", "malformed bindings", file.header())
    file.names = [(DIR, 1, TAG)]
    other = list(fields[3][0])
    for name, at, value in (("dir-id", 0, bytes(16)), ("wrapped", 3, flip(other[3], 3))):
        changed = list(other)
        changed[at] = value
        reshaped(f"binding-{name}", "3.4", "not-bound" if at == 0 else "refused bindings", cbor({**fields, 3: [changed]}))
    moved = Object("other").fields()[3]
    reshaped("binding-of-another-file", "3.4", "refused bindings", cbor({**fields, 3: moved}))

    # 3.8
    case("flipped-sealed", "3.8", "refused owner seal", flip(good, good.index(file.id) + 25))
    case("flipped-signature", "3.8", "refused owner seal", flip(good, 3970))
    case("flipped-owner-seal", "3.8", "refused owner seal", flip(good, 4040))
    case("flipped-key-seal", "3.8", "refused key seal", flip(good, 4095))
    case("flipped-owner-seal-for-a-reader", "3.8", "refused key seal", flip(good, 4040), **AS_READER)
    case("seals-exchanged", "3.8", "refused owner seal", good[:4032] + good[4064:] + good[4032:4064])
    file.owner_mac = None
    case("by-a-reader", "3.8", "refused owner seal", file.header())
    file.owner_mac = OWNER_MAC

    # 6: keys of two epochs
    old_leaf = file.leaves
    file.prev, file.key, file.epoch = (file.key, 1), bytes32("second key"), 2
    case("two-keys", "6", "ok", file.header(), size=100, mode=0o644, generation=5)
    wrong = file.keys()
    wrong[2][2] = flip(wrong[2][2], 40)
    reshaped("prev-changed", "3.3", "refused key table", cbor({**file.fields(), 2: wrong}))
    wrong = file.keys()
    wrong[2][1] = flip(wrong[2][1], 1)
    reshaped("prev-other-commitment", "3.3", "refused key table", cbor({**file.fields(), 2: wrong}))
    file.prev = None
    case("leaf-of-dropped-epoch", "5.2", "malformed state", file.header())
    assert old_leaf == file.leaves

    # the root
    root = Object("root", kind=2)
    root.id, root.names = STORE, []
    root.key = dir_key(STORE)
    by_store = {"via": "store", "store-key": STORE_KEY.hex(), "dir": STORE.hex()}
    case("root", "1.2", "ok", root.header(), mode=0o644, generation=5, **by_store, **{"name-key": root.name_key.hex()})
    case("another-directory-as-root", "1.2", "other-dir", directory.header(), **by_store)
    case("file-as-directory", "3.2", "other-kind", good, **{"via": "dir-key", "key": dir_key().hex()})
    case("directory-as-file", "3.2", "other-kind", directory.header(), **{"via": "file-key", "key": dir_key().hex()})
    case("given-key", "3.7", "wrong-key", good, **{"via": "file-key", "key": bytes(32).hex()})


def labels():
    def case(name, spec, expect, payload, **fields):
        write(f"label-{name}", spec, "header", expect, payload, **{**BY_LABEL, **AS_READER, **fields})

    ok = {"size": 0, "mode": 0o644, "generation": 5}
    file = Object("shared")
    file.labels, file.signer = [{}], OWNER
    good = file.header()
    case("signed", "3.5", "ok", good, **ok, **{"label-key": scalar(SHARE.a).hex()})
    case("signed-for-the-owner", "3.5", "ok", good, **ok, **BY_NAME, **AS_OWNER)
    case("other-secret", "3.5", "wrong-key", good, secret=bytes(32).hex())
    case("other-label", "3.5", "no-label", good, label=bytes(16).hex())
    case("flipped-signature", "3.8", "refused key seal", flip(good, 3970))
    file.signer = None
    case("unsigned", "3.7", "unsigned", file.header())
    file.signer = MALLORY
    case("signed-by-another", "3.8", "refused signature", file.header())
    file.signer = OWNER
    high = file.header()
    high_s = sign(OWNER, "kms/header-signature/1", digest("kms/header/1", file.sealed()), high=True)
    d = digest("kms/header/1", file.sealed())
    owner = mac(OWNER_MAC, "kms/owner-seal/1", d, high_s)
    key = mac(file.sub("kms/header-key/1"), "kms/key-seal/1", d, high_s, owner)
    case("signature-high-s", "3.8", "refused signature", high[:3968] + high_s + owner + key)
    plain = Object("shared")
    plain.signer = MALLORY
    case("private-signed-by-another", "3.7", "refused signature", plain.header(), **BY_NAME)
    file.labels = [{}, {"ident": bytes(16)}, {"ident": bytes([1] * 16)}]
    case("three", "3.5", "malformed labels", file.header())
    file.labels = [{}, {}]
    case("twice", "3.5", "malformed labels", file.header())
    file.labels = [{"epoch": 0}]
    case("epoch-0", "3.5", "malformed labels", file.header())
    file.labels = [{}]
    slot = file.label()
    for name, at, value in (("generation", 3, 9), ("epoch", 4, 9), ("scheme", 1, 4), ("curve", 2, 2)):
        changed = list(slot)
        changed[at] = value
        file.change = {4: [changed]}
        case(f"other-{name}", "3.5", "wrong-key", file.header())
    changed = list(slot)
    changed[1] = 2**16
    file.change = {4: [changed]}
    case("scheme-too-large", "3.5", "malformed labels", file.header())
    file.change, file.labels = {}, [{"scheme": 999, "ident": bytes(16)}, {}]
    case("beside-an-unknown-scheme", "3.5", "ok", file.header(), **ok)


def attributes():
    def case(name, expect, payload, **fields):
        write(f"xattrs-{name}", "3.6.1", "xattrs", expect, payload, **{**BY_NAME, **AS_OWNER, **fields})

    file = Object("attributes")
    pairs = {b"user.colour": b"blue", b"user.a": b""}
    listed = " ".join(f"{k.hex()}={v.hex()}" for k, v in sorted(pairs.items()))
    file.xattrs = [1, file.attributes(pairs)]
    case("inline", "ok", file.header(), pairs=listed)
    file.xattrs = [1, flip(file.attributes(pairs), 50)]
    case("changed", "refused", file.header())
    file.xattrs = [1, Object("another").attributes(pairs)]
    case("of-another-file", "refused", file.header())
    unsorted = b"\xa2" + cbor(b"user.b") + cbor(b"") + cbor(b"user.a") + cbor(b"")
    for name, plain in (
        ("unsorted", unsorted), ("twice", b"\xa2" + 2 * (cbor(b"user.a") + cbor(b""))),
        ("trailing-byte", cbor({b"user.a": b""}) + b"\0"), ("array", cbor([b"user.a", b""])),
        ("empty", b""), ("indefinite", b"\xbf" + cbor(b"user.a") + cbor(b"") + b"\xff"),
    ):
        file.xattrs = [1, file.attributes(plain)]
        case(name, "malformed", file.header())
    file.xattrs = [1, file.attributes({b"": b""})]
    case("without-a-name", "name", file.header())
    side = file.attributes({b"user.big": b"b" * 1300})
    file.xattrs = [1, 5, digest("kms/xattr-side/1", side)]
    path = f"xattr/{file.id.hex()[:2]}/{file.id.hex()}.5"
    case("side", "ok", file.header(), side=side.hex(), path=path, pairs=f"{b'user.big'.hex()}={(b'b' * 1300).hex()}")
    case("side-missing", "side-missing", file.header(), path=path)
    case("side-changed", "refused", file.header(), side=flip(side, 1000).hex(), path=path)
    case("side-cut", "refused", file.header(), side=side[:-1].hex(), path=path)


def files():
    def case(name, spec, expect, payload, file, **fields):
        key = {"via": "file-key", "key": file.key.hex(), "check": "key"}
        write(f"file-{name}", spec, "file", expect, payload, **key, **fields)

    def sha(plain):
        return {"plain-sha256": hashlib.sha256(plain).hexdigest()}

    small = Object("whole")
    small.names, small.owner_mac = [], None
    plain = bytes(range(256)) * 16 + b"the end"
    leaves, chunks = zip(*(small.chunk(i, plain[4096 * i :][:4096]) for i in range(2)))
    small.size, small.leaves = len(plain), list(leaves)
    good = small.header() + b"".join(chunks)
    case("two-chunks", "5.1", "ok", good, small, **sha(plain))
    case("cut-off", "4", "truncated", good[:-1], small)
    case("without-last-chunk", "4", "truncated", good[:8192], small)
    case("going-on", "4", "extended", good + b"\0", small)
    case("first-chunk-changed", "5.1", "chunk 0", flip(good, 4096 + 77), small)
    case("last-chunk-changed", "5.1", "chunk 1", flip(good, 8192), small)
    case("zeros-for-a-chunk", "5.2", "chunk 1", good[:8192] + bytes(7), small)
    leaf, chunk = small.chunk(1, plain[:4096])
    small.leaves = [leaf, leaves[1]]
    case("chunk-of-another-place", "5.1", "chunk 0", small.header() + chunk + chunks[1], small)
    leaf, chunk = small.chunk(0, b"?" * 7, key=Object("other").key)
    small.size, small.leaves = 7, [leaf]
    case("chunk-of-another-key", "5.1", "chunk 0", small.header() + chunk, small)

    # 5.1: every cipher. The core names the one that counts.
    for cipher in (2, 3):
        file = Object(f"cipher {cipher}")
        file.names, file.owner_mac, file.cipher = [], None, cipher

        def built():
            leaves, chunks = zip(*(file.chunk(i, plain[4096 * i :][:4096]) for i in range(2)))
            file.size, file.leaves = len(plain), list(leaves)
            return file.header() + b"".join(chunks)

        good = built()
        case(f"cipher-{cipher}", "5.1", "ok", good, file, **sha(plain))
        case(f"cipher-{cipher}-chunk-changed", "5.1", "chunk 1", flip(good, 8194), file)
        moved, chunk = file.chunk(1, plain[:4096])
        file.leaves[0] = moved
        case(f"cipher-{cipher}-chunk-of-another-place", "5.1", "chunk 0", file.header() + chunk + good[8192:], file)
        file.sealer = 1
        case(f"cipher-{cipher}-sealed-with-1", "5.1", "chunk 0", built(), file)
        file.sealer, file.cipher = cipher, 1
        case(f"cipher-1-sealed-with-{cipher}", "5.1", "chunk 0", built(), file)
        file.cipher = 5 - cipher
        case(f"cipher-{5 - cipher}-sealed-with-{cipher}", "5.1", "chunk 0", built(), file)

    empty = Object("whole empty")
    empty.names, empty.owner_mac = [], None
    case("empty", "9", "ok", empty.header(), empty, **sha(b""))
    case("empty-going-on", "4", "extended", empty.header() + bytes(4096), empty)

    # 18 chunks, all holes but the last: the header, 16 chunks, page 1.0, 1 chunk, 5 bytes.
    big = Object("sparse")
    big.names, big.owner_mac = [], None
    big.size, big.leaves = 4096 * 17 + 5, [bytes(32)] * 16
    leaf, chunk = big.chunk(17, b"hello")
    big.root, page = big.page(1, 0, {1: leaf})

    def body(page, chunk=chunk):
        return big.header() + bytes(16 * 4096) + page + bytes(4096) + chunk

    plain = bytes(17 * 4096) + b"hello"
    case("sparse", "5.3", "ok", body(page), big, **sha(plain))
    case("sparse-with-rubbish-in-a-hole", "5.2", "ok", put(body(page), 5000, b"rubbish"), big, **sha(plain))
    for name, at in (("entry", 33), ("seal", 4040), ("level", 4064), ("spare", 4066), ("epoch", 4071), ("index", 4079),
                     ("end", 4095), ("free-entry", 125 * 32)):
        case(f"page-{name}-changed", "5.3", "page 1 0", body(flip(page, at)), big)
    case("page-of-zeros", "5.3", "page 1 0", body(bytes(4096)), big)
    older = big.page(1, 0, {1: big.chunk(17, b"olleh")[0]})[1]
    case("older-page", "5.3", "page 1 0", body(older), big)
    case("chunk-behind-page-changed", "5.1", "chunk 17", body(page, flip(chunk, 2)), big)
    root = big.root
    big.root, moved = big.page(1, 1, {1: leaf})
    case("page-of-another-place", "5.3", "page 1 0", body(moved), big)
    big.root, wrong = big.page(2, 0, {1: leaf})
    case("page-of-another-level", "5.3", "page 1 0", body(wrong), big)
    big.root, wrong = big.page(1, 0, {1: leaf}, epoch=2)
    case("page-of-unknown-epoch", "5.3", "page 1 0", body(wrong), big)
    big.root, wrong = big.page(1, 0, {1: leaf[:28] + bytes(4)})
    case("leaf-of-epoch-0-in-a-page", "5.2", "page 1 0", body(wrong), big)
    big.root, wrong = big.page(1, 0, {1: leaf[:28] + u32(7)})
    case("leaf-of-unknown-epoch-in-a-page", "5.2", "chunk-epoch 17 7", body(wrong), big)
    big.root = bytes(32)
    case("root-of-zeros-makes-holes", "5.3", "ok", body(page), big, **sha(bytes(17 * 4096 + 5)))
    big.root = flip(root, 0)
    case("other-root", "5.3", "page 1 0", body(page), big)

    # Two pages on level 1, one above: 16 + 126 + 1 chunks, the last one of 3 bytes.
    tall = Object("tall")
    tall.names, tall.owner_mac = [], None
    tall.size, tall.leaves = 4096 * 142 + 3, [bytes(32)] * 16
    leaf, chunk = tall.chunk(142, b"top")
    seal1, page1 = tall.page(1, 1, {0: leaf})
    tall.root, page2 = tall.page(2, 0, {1: seal1})

    def tower(page2, page1):
        return tall.header() + bytes(16 * 4096) + bytes(4096) + bytes(126 * 4096) + page2 + page1 + chunk

    case("two-levels", "5.3", "ok", tower(page2, page1), tall, **sha(bytes(142 * 4096) + b"top"))
    case("upper-page-changed", "5.3", "page 2 0", tower(flip(page2, 32), page1), tall)
    case("lower-page-changed", "5.3", "page 1 1", tower(page2, flip(page1, 0)), tall)
    case("pages-exchanged", "5.3", "page 2 0", tower(page1, page2), tall)

    # A key change half way: the first chunk is old, the second new.
    half = Object("half")
    half.names, half.owner_mac = [], None
    old, first = half.chunk(0, b"o" * 4096)
    half.prev, half.key, half.epoch = (half.key, 1), bytes32("half new"), 2
    new, second = half.chunk(1, b"new")
    half.size, half.leaves = 4099, [old, new]
    case("two-epochs", "6", "ok", half.header() + first + second, half, **sha(b"o" * 4096 + b"new"))


def ciphers():
    key, nonce = bytes32("chunk key"), bytes32("chunk nonce")[:12]
    ad = b"kms/chunk/1" + bytes32("chunk core") + u64(7)
    text = bytes(range(256)) * 16

    def case(name, cipher, expect, sealed, key=key, nonce=nonce, ad=ad, **fields):
        fields = {"cipher": cipher, "key": key.hex(), "nonce": nonce.hex(), "ad": ad.hex(), "tag": sealed[-16:].hex(), **fields}
        write(f"chunk-{cipher}-{name}", "5.1", "chunk", expect, sealed[:-16], **fields)

    for cipher in (1, 2, 3):
        for name, plain in (("whole", text), ("one-byte", b"x"), ("one-block", text[:16]), ("partial", text[:1000])):
            case(name, cipher, "ok", seal_chunk(cipher, key, nonce, ad, plain), plain=plain.hex())
        good = seal_chunk(cipher, key, nonce, ad, text[:100])
        case("changed", cipher, "refused", flip(good, 50))
        case("last-byte-changed", cipher, "refused", flip(good, 99))
        case("tag-changed", cipher, "refused", flip(good, 115))
        case("cut", cipher, "refused", good[:99] + good[100:])
        case("longer", cipher, "refused", good[:100] + b"\0" + good[100:])
        case("nothing-left", cipher, "refused", good[100:])
        case("of-another-place", cipher, "refused", good, ad=ad[:-8] + u64(8))
        case("of-another-core", cipher, "refused", good, ad=flip(ad, 20))
        case("without-ad", cipher, "refused", good, ad=b"")
        case("other-nonce", cipher, "refused", good, nonce=flip(nonce, 11))
        case("other-key", cipher, "refused", good, key=flip(key, 31))
        other = cipher % 3 + 1
        case(f"by-{other}", cipher, "refused", seal_chunk(other, key, nonce, ad, text[:100]))

    # The secretbox as it is, its nonce binding nothing.
    bare = secretbox(key, nonce + bytes(12), text[:100])
    case("bound-to-nothing", 3, "refused", bare)

    # As others have published them: McGrew and Viega, test case 16; RFC 8452, C.2, the last with associated data.
    published = bytes.fromhex
    case("published", 1, "ok", published(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"),
        key=published("feffe9928665731c6d6a8f9467308308" * 2), nonce=published("cafebabefacedbaddecaf888"),
        ad=published("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        plain="d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
        "ba637b39")
    case("published", 2, "ok", published("1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
         key=published("01" + "00" * 31), nonce=published("03" + "00" * 11), ad=b"\1", plain="0200000000000000")


# --- FORMAT 4, from its words: everything is laid out in a row ---------------------------------
def laid_out(bits, chunks):
    at, lines = 4096, []
    levels = {}
    for chunk in range(chunks):
        if chunk >= 16 and (chunk - 16) % 126 == 0:
            here, index, level = [], (chunk - 16) // 126, 1
            while True:
                here.append((level, index))
                if index == 1:
                    here.append((level + 1, 0))
                    # Page 0 of the level above stands here; it is the first of its level, so nothing is above it.
                    break
                if index == 0 or index % 126:
                    break
                index, level = index // 126, level + 1
            # Going up from an index that a 126 divides, the level above may itself be at its index 1.
            for level, index in reversed(here):
                lines.append(f"page {level} {index} at {at}")
                levels[level] = levels.get(level, 0) + 1
                at += 4096
        if chunk in (0, 15, 16, 17) or chunk % 126 in (15, 16, 17) and chunk % 5 == 0 or chunk == chunks - 1:
            lines.append(f"chunk {chunk} at {at}")
        at += 1 << bits
    return at, lines, levels


def layouts():
    for bits, chunks in ((12, 16 + 126 * 126 * 2 + 3), (14, 16 + 126 * 3), (16, 16 + 126 * 127 + 1)):
        size = chunks << bits
        end, lines, levels = laid_out(bits, chunks)
        top = max(levels)
        lines += [f"pages {level} {count}" for level, count in sorted(levels.items())]
        # Only the regions that matter: all of level 2 and up, every tenth of level 1.
        lines = [l for l in lines if not l.startswith("page 1 ") or int(l.split()[2]) % 10 in (0, 1, 6)]
        text = "\n".join(lines) + "\n"
        write(f"layout-{bits}", "4", "layout", "ok", text, **{"chunk-bits": bits, "size": size, "length": end, "top": top})
    inline = 4096 + 16 * 4096
    for length, size in ((4096, 0), (4097, 1), (inline, 65536), (inline + 4097, 65537), (inline + 8192, 69632)):
        write(f"length-{length}", "4", "length", "ok", "", **{"chunk-bits": 12, "length": length, "size": size})
    for length in (0, 4095, inline + 1, inline + 4096, inline + 4096 + 126 * 4096 + 1, inline + 4096 + 126 * 4096 + 8192,
                   2**63, 2**64 - 1):
        write(f"length-{length}", "4", "length", "no-file", "", **{"chunk-bits": 12, "length": length})


# --- FORMAT 7: names --------------------------------------------------------------------------
def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def names():
    key, ident = bytes32("name key"), DIR
    fields = {"name-key": key.hex(), "dir": ident.hex()}

    def sealed(name, dir_id=ident, domain="kms/name/1", ad=()):
        return siv(derive(key, domain, length=64), (dir_id, *ad), name)

    def spare(s):
        """The same bytes with bits set that do not count."""
        assert len(s) % 3 == 2
        text = b64(s)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]

    def long(s):
        return "l." + b64(hashlib.sha256(s).digest())

    def case(called, expect, backing, /, **more):
        write(f"name-{called}", "7.1", "name", expect, backing + "\n", **fields, **more)

    for epoch in (1, 2, 2**32 - 1):
        write(f"name-key-{epoch}", "3.6", "name-key", "ok", name_key(epoch=epoch),
              **{"store-key": STORE_KEY.hex(), "dir": ident.hex(), "epoch": epoch})
    for name, plain in (("plain", b"report.txt"), ("one-byte", b"x"), ("not-utf-8", b"\xff\xfe"), ("longest-short", b"n" * 175)):
        s = sealed(plain)
        case(name, "ok", b64(s), name=plain.hex(), tag=s[:16].hex())
    for name, plain in (("shortest-long", b"n" * 176), ("longest", bytes(range(1, 47)) + b"z" * 209)):
        s = sealed(plain)
        case(name, "ok", long(s), name=plain.hex(), tag=s[:16].hex(), long=b64(s))
    good, big = sealed(b"report.txt"), sealed(b"n" * 200)
    case("changed", "refused", b64(flip(good, 20)))
    case("tag-changed", "refused", b64(flip(good, 0)))
    case("of-another-directory", "refused", b64(sealed(b"report.txt", bytes(16))))
    case("padded", "refused", b64(good) + "==")
    case("spare-bits", "refused", spare(sealed(b"1234567")))
    case("standard-alphabet", "refused", b64(good).replace("-", "+").replace("_", "/") + "+")
    case("too-short", "refused", b64(good[:16]))
    case("plain-text", "refused", "report.txt")
    for name, plain in (("dot", b"."), ("dot-dot", b".."), ("slash", b"../x"), ("zero", b"a\0b")):
        case(f"is-{name}", "refused", b64(sealed(plain)))
    case("too-long", "refused", long(sealed(b"n" * 256)), long=b64(sealed(b"n" * 256)))
    case("long-without-side-file", "side-missing", long(big))
    case("long-with-another-side-file", "refused", long(big), long=b64(sealed(b"m" * 200)))
    case("long-form-of-a-short-name", "refused", long(good), long=b64(good))
    case("long-with-changed-side-file", "refused", long(big), long=b64(flip(big, 100)))

    tag = good[:16]

    def aim(called, expect, text, **more):
        write(f"target-{called}", "7.3", "target", expect, text + "\n", **{**fields, "tag": tag.hex(), **more})

    t = sealed(b"../elsewhere", domain="kms/symlink/1", ad=(tag,))
    aim("plain", "ok", b64(t), target=b"../elsewhere".hex())
    longest = sealed(b"t" * 3055, domain="kms/symlink/1", ad=(tag,))
    aim("longest", "ok", b64(longest), target=(b"t" * 3055).hex())
    def aside(text):
        return "l." + b64(hashlib.sha256(text.encode()).digest())

    def aimed(target, tag=tag):
        return b64(sealed(target, domain="kms/symlink/1", ad=(tag,)))

    for length in (3056, 4095):
        text = aimed(b"t" * length)
        aim(f"of-{length}-bytes", "ok", aside(text), target=(b"t" * length).hex(), side=text)
    aim("too-long", "refused", aside(aimed(b"t" * 4096)), side=aimed(b"t" * 4096))
    aim("too-long-for-a-link", "refused", aimed(b"t" * 3056), side=aimed(b"t" * 3056))
    aim("without-side-file", "side-missing", aside(text))
    aim("with-another-side-file", "refused", aside(text), side=aimed(b"u" * 4000))
    aim("aside-though-short", "refused", aside(b64(t)), side=b64(t))
    other = big[:16]
    both = aimed(b"../elsewhere") + "." + aimed(b"../elsewhere", other)
    there = aimed(b"../elsewhere", other) + "." + aimed(b"../elsewhere")
    aim("of-two-names", "ok", aside(both), target=b"../elsewhere".hex(), side=both, **{"other-tag": other.hex()})
    aim("of-two-other-names", "refused", aside(both), side=both, tag=bytes(16).hex())
    aim("of-three-names", "refused", aside(there + "." + b64(t)), side=there + "." + b64(t))
    aim("of-another-link", "refused", b64(sealed(b"../elsewhere", domain="kms/symlink/1", ad=(bytes(16),))))
    aim("is-a-name", "refused", b64(sealed(b"../elsewhere", ad=(tag,))))
    aim("zero", "refused", b64(sealed(b"a\0b", domain="kms/symlink/1", ad=(tag,))))
    aim("plain-text", "refused", "/etc/passwd")
    aim("empty", "refused", "")


# --- FORMAT 8: the configuration --------------------------------------------------------------
def config(owner=OWNER, signer=None, key=STORE_KEY, sealed_to=None, mac_key=None, edit=lambda body: body, late=""):
    public = mul(G, owner)
    box = seal(sealed_to or public, "kms/store-key/1", [STORE], key)
    body = edit(
        "# A kmsfs store.\n\n"
        f'format = 1\nstore = "{STORE.hex()}"\nowner = "{bech32("kms", point(public))}"\n'
        f'cipher = 1\nscheme = 1\nchunk_bits = 12\ncreated = 1790000000\nkey = "{b64(box)}"\n'
    )
    code = mac(derive(mac_key or key, "kms/config/1"), "kms/config-mac/1", body.encode())
    body += f'mac = "{code.hex()}"\n' + late
    return body + f'signature = "{sign(signer or owner, "kms/config-signature/1", body.encode()).hex()}"\n'


def configs():
    def case(name, expect, text, spec="8.1", **more):
        write(f"config-{name}", spec, "config", expect, text, identity=scalar(OWNER).hex(), **more)

    def edited(name, expect, old, new, spec="8.1"):
        case(name, expect, config(edit=lambda body: body.replace(old, new)), spec)

    good = config()
    case("good", "ok", good, **{"store-key": STORE_KEY.hex(), "store": STORE.hex(), "created": 1790000000})
    edited("version-2", "unknown-version 2", "format = 1", "format = 2")
    edited("cipher-7", "unknown-cipher 7", "cipher = 1", "cipher = 7")
    for cipher in (2, 3):
        edited(f"cipher-{cipher}", "ok", "cipher = 1", f"cipher = {cipher}", spec="5.1")
    for scheme in (2, 3, 4):
        edited(f"scheme-{scheme}", "ok", "scheme = 1", f"scheme = {scheme}")
    edited("scheme-5", "unknown-scheme 5", "scheme = 1", "scheme = 5")
    edited("chunk-bits-13", "value chunk_bits", "chunk_bits = 12", "chunk_bits = 13")
    edited("unknown-key", "unknown-key plain_names", "created", 'plain_names = "yes"\ncreated')
    edited("unknown-key-of-version-2", "unknown-version 2", "format = 1", "format = 2\nnew = 1")
    edited("twice", "twice cipher", "scheme = 1", "cipher = 1\nscheme = 1")
    edited("missing", "missing created", "created = 1790000000\n", "")
    edited("leading-zero", "value cipher", "cipher = 1", "cipher = 01")
    edited("number-as-text", "value cipher", "cipher = 1", 'cipher = "1"')
    edited("cipher-too-large", "value cipher", "cipher = 1", "cipher = 65537")
    edited("no-spaces", "line 7", "scheme = 1", "scheme=1")
    edited("indented", "unknown-key  cipher", "cipher = 1", " cipher = 1")
    edited("table", "line 6", "cipher = 1", "[cipher]")
    edited("store-in-capitals-is-another-text", "ok", "# A kmsfs store.", "# Another comment, signed as well.")
    edited("short-store", "value store", STORE.hex(), STORE.hex()[2:])
    edited("owner-mistyped", "value owner", 'owner = "kms1', 'owner = "kms1q')
    case("by-another", "signature", config(signer=MALLORY))
    case("comment-changed", "signature", good.replace("A kmsfs", "a kmsfs"))
    case("comment-after", "value signature", good + "# more\n")
    case("empty-line-after", "value signature", good + "\n")
    case("line-between-seals", "value mac", config(late="# between\n"))
    case("without-signature", "missing signature", good[: good.index("signature")])
    case("no-last-newline", "line 12", good[:-1])
    case("empty", "missing format", "")
    case("too-long", "not-a-config", "# " + "x" * 17000 + "\n" + good)
    case("key-for-another", "key", config(sealed_to=mul(G, MALLORY)))
    case("key-too-short", "key", config(key=STORE_KEY[:31], mac_key=STORE_KEY))
    case("mac-of-another-store", "key", config(mac_key=bytes(32)))
    case("of-another-owner", "not-owner", config(owner=MALLORY))


def small():
    kek, key = bytes32("kek"), bytes32("key")
    ad = (b"kms/vectors/1", b"ab", b"c")
    wrapped = wrap(kek, ad, key)
    fields = {"kek": kek.hex(), "ad": " ".join(a.hex() for a in ad)}
    write("wrap", "2.1", "wrap", "ok", wrapped, **fields, key=key.hex())
    write("wrap-changed", "2.1", "wrap", "refused", flip(wrapped, 20), **fields)
    write("wrap-other-ad", "2.1", "wrap", "refused", wrap(kek, (b"kms/vectors/1", b"a", b"bc"), key), **fields)
    write("wrap-joined-ad", "2.1", "wrap", "refused", wrap(kek, (b"kms/vectors/1abc",), key), **fields)
    write("wrap-other-key", "2.1", "wrap", "refused", wrap(bytes(32), ad, key), **fields)
    good = record(kek, b"here", b"something", bytes32("salt"))
    fields = {"key": kek.hex(), "ad": b"here".hex()}
    write("record", "2.2", "record", "ok", good, **fields, plain=b"something".hex())
    write("record-empty", "2.2", "record", "ok", record(kek, b"here", b"", bytes32("salt")), **fields, plain="")
    write("record-changed", "2.2", "record", "refused", flip(good, 35), **fields)
    write("record-other-salt", "2.2", "record", "refused", flip(good, 3), **fields)
    write("record-cut", "2.2", "record", "refused", good[:-1], **fields)
    write("record-too-short", "2.2", "record", "refused", good[:47], **fields)
    write("record-other-ad", "2.2", "record", "refused", record(kek, b"there", b"something", bytes32("salt")), **fields)


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.txt"):
        old.unlink()
    for part in (small, headers, labels, attributes, files, ciphers, layouts, names, configs):
        part()
    print(len(list(OUT.glob("*.txt"))), "vectors in", OUT)


if __name__ == "__main__":
    main()
