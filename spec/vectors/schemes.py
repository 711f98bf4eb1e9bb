#!/usr/bin/env python3
"""Writes the vectors of SCHEMES into the directory schemes/ beside this file.

A second implementation of that page, slow and simple, so that the vectors do not merely repeat what
the program does. Nothing here is random: numbers come from hashing their names. Needs the Python
package `cryptography` (44 or later) for AES-GCM and Argon2id.

    python3 spec/vectors/schemes.py
"""

import base64
import hashlib
import hmac
import pathlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# --- SCHEMES 2: the curve ---------------------------------------------------------------------
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0] and (p[1] + q[1]) % P == 0:
        return None
    if p == q:
        slope = 3 * p[0] * p[0] * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def mul(p, k):
    out = None
    for bit in bin(k % N)[2:]:
        out = add(out, out)
        if bit == "1":
            out = add(out, p)
    return out


def neg(p):
    return p[0], P - p[1]


def point(p):
    return bytes([2 + (p[1] & 1)]) + p[0].to_bytes(32, "big")


def unpoint(b):
    x = int.from_bytes(b[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    return x, y if y & 1 == b[0] & 1 else P - y


U = unpoint(bytes.fromhex("03079390d0fbe220fc34aab8ecbf49098098036820fadb98c03143e55db8ec73cd"))


def scalar(k):
    return k.to_bytes(32, "big")


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u16(v):
    return v.to_bytes(2, "big")


def u32(v):
    return v.to_bytes(4, "big")


def h(domain, *parts):
    return sha(u32(len(domain)), domain.encode(), *parts)


def hs(domain, *parts):
    return 1 + int.from_bytes(h(domain, *parts), "big") % (N - 1)


def wide(b):
    return 1 + int.from_bytes(b, "big") % (N - 1)


def frame(domain, *parts):
    return domain.encode() + b"\0" + b"".join(u32(len(p)) + p for p in parts)


def hkdf(ikm, info, length):
    prk = hmac.digest(bytes(32), ikm, "sha256")
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def derive(ikm, domain, *parts, length=32):
    return hkdf(ikm, frame(domain, *parts), length)


def number(name):
    """A scalar for this name."""
    return hs("vectors", name.encode())


def bytes32(name):
    return sha(b"vectors bytes ", name.encode())


# --- SCHEMES 3: texts -------------------------------------------------------------------------
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(values):
    c = 1
    for v in values:
        top = c >> 25
        c = (c & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            c ^= g if top >> i & 1 else 0
    return c


def bech32(hrp, data, spare=0, target=0x2BC830A3):
    bits = "".join(f"{b:08b}" for b in data)
    bits += f"{spare:b}".rjust(-len(bits) % 5, "0") if len(bits) % 5 else ""
    values = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    head = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]
    check = polymod(head + values + [0] * 6) ^ target
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return hrp + "1" + "".join(ALPHABET[v] for v in values)


# --- SCHEMES 5: signatures and sealed boxes ---------------------------------------------------
def sign(key, domain, message, high=False):
    z = int.from_bytes(h(domain, message), "big")
    k = hs("vectors nonce", scalar(key), scalar(z % N))
    r = mul(G, k)[0] % N
    s = pow(k, -1, N) * (z + r * key) % N
    if (s > N // 2) != high:
        s = N - s
    return scalar(r) + scalar(s)


def seal(recipient, domain, ad, plaintext, version=1, curve=1, cipher=1):
    r = number("ephemeral")
    head = b"KMSB" + u16(version) + u16(curve) + u16(cipher)
    shared = mul(recipient, r)
    bound = sha(frame("kms/sealed-box-ad/1", *ad))
    key = derive(
        point(shared), "kms/sealed-box/1", head, point(mul(G, r)), point(recipient),
        domain.encode(), bound,
    )
    return head + point(mul(G, r)) + AESGCM(key).encrypt(bytes(12), plaintext, b"")


# --- SCHEMES 3.3: the identity file -----------------------------------------------------------
def cbor(value):
    if isinstance(value, int):
        for low, high, code in ((0, 24, None), (24, 2**8, 24), (2**8, 2**16, 25), (2**16, 2**32, 26)):
            if low <= value < high:
                return bytes([value]) if code is None else bytes([code]) + value.to_bytes(
                    1 << code - 24, "big"
                )
    kind = {bytes: 0x40, str: 0x60, dict: 0xA0}[type(value)]
    length = cbor(len(value))
    length = bytes([length[0] | kind]) + length[1:]
    if isinstance(value, dict):
        return length + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    return length + (value.encode() if isinstance(value, str) else value)


def identity(secret, passphrase, version=1, kdf=1, memory=64, passes=1, lanes=1, public=None):
    head = {
        "kdf": kdf,
        "params": {"memory_kib": memory, "passes": passes, "lanes": lanes},
        "salt": bytes32("salt")[:16],
        "public": public or point(mul(G, secret)),
    }
    prefix = b"KMSI" + u16(version)
    stretched = Argon2id(
        salt=head["salt"], length=32, iterations=1, lanes=1, memory_cost=64
    ).derive(passphrase)
    key = derive(stretched, "kms/identity/1")
    sealed = AESGCM(key).encrypt(bytes(12), scalar(secret), prefix + cbor(head))
    return prefix + cbor({"head": head, "sealed": sealed})


# --- SCHEMES 6 and 8: policies and scheme 1 ---------------------------------------------------
class World:
    """One label shared with one person, m of n."""

    def __init__(self, name, m, n, scheme=1):
        self.m, self.n = m, n
        self.a, self.b, self.signer = (number(f"{name} {k}") for k in ("label", "bob", "signer"))
        self.A, self.B, self.L = (mul(G, k) for k in (self.a, self.b, self.signer))
        self.salt = bytes32(f"{name} salt")
        self.key = u16(scheme) + u16(1) + point(self.A)
        inner = sha(b"kms/policy-inner/1", self.key, point(self.B), self.salt)
        self.inner = inner
        self.policy = sha(b"kms/policy/1", point(self.L), inner)
        self.store, self.label = bytes32("store")[:16], bytes32("label")[:16]
        self.epoch = 3
        self.r, self.u = number(f"{name} r"), number(f"{name} u")
        self.E, self.V = mul(G, self.r), mul(G, self.u)
        self.h = hs("kms/split/capsule/1", point(self.E), point(self.V))
        self.s = (self.u + self.r * self.h) % N
        self.capsule = PREFIX[0xC1] + point(self.E) + point(self.V) + scalar(self.s)
        x = number(f"{name} x")
        self.X, D = mul(G, x), mul(self.B, x)
        self.shared = self.policy + point(self.X) + point(self.B) + point(D)
        d = hs("kms/split/shared/1", self.shared)
        f = [self.a * pow(d, -1, N)] + [number(f"{name} f{i}") for i in range(1, m)]
        self.ids = [bytes32(f"{name} id {i}") for i in range(n)]
        index = [hs("kms/split/index/1", self.shared, i) for i in self.ids]
        self.rk = [sum(c * pow(z, e, N) for e, c in enumerate(f)) % N for z in index]

    def secret(self):
        shared = mul(add(self.E, self.V), self.a)
        return derive(
            point(shared), "kms/split/label-secret/1", self.capsule, point(self.A), self.store,
            self.label, u32(self.epoch),
        )

    def public(self, i, m=None, n=None, policy=None, signer=None, **form):
        """id, X, U1, m n, signature."""
        mn = bytes([self.m if m is None else m, self.n if n is None else n])
        u1 = point(mul(U, self.rk[i]))
        message = (policy or self.policy) + self.ids[i] + point(self.X) + u1 + mn
        signature = sign(signer or self.signer, "kms/split/fragment/1", message, **form)
        return self.ids[i], point(self.X), u1, mn, signature

    def key_frag(self, i, rk=None, **change):
        ident, x, u1, mn, signature = self.public(i, **change)
        return PREFIX[0xC2] + ident + scalar(rk or self.rk[i]) + x + u1 + mn + signature

    def answer(self, i, e_by=None, v_by=None, rho_by=None, policy=None, bound=None, **change):
        """One node's answer; the arguments make one part of it a lie."""
        rk = self.rk[i]
        ident, x, u1, mn, signature = self.public(i, policy=policy, **change)
        t = number(f"nonce {i}")
        points = [
            mul(self.E, e_by or rk), mul(self.V, v_by or rk),
            mul(self.E, t), mul(self.V, t), mul(U, t),
        ]
        e1v1e2v2u2 = b"".join(map(point, points))
        challenge = hs(
            "kms/split/proof/1", bound or self.policy, ident, mn, point(self.E), point(self.V),
            point(U), x, u1, e1v1e2v2u2,
        )
        rho = (t + challenge * (rho_by or rk)) % N
        return PREFIX[0xC3] + ident + x + u1 + mn + signature + e1v1e2v2u2 + scalar(rho)

    def params(self):
        return {
            "ledger-key": point(self.L).hex(),
            "label-key": self.key.hex(),
            "recipient": point(self.B).hex(),
            "salt": self.salt.hex(),
        }

    def context(self):
        return {"store": self.store.hex(), "label": self.label.hex(), "epoch": self.epoch}


PREFIX = {kind: bytes([kind, 1]) + u16(1) + u16(1) for kind in (0xC1, 0xC2, 0xC3, 0xC4)}

# --- SCHEMES 9 and 10: schemes 2 and 3 --------------------------------------------------------
class Single:
    """One label shared with one person by BBS98 (2) or ECIES (3), 1 of n."""

    def __init__(self, name, scheme, n):
        self.scheme, self.n = scheme, n
        self.domain = {2: "kms/bbs98/", 3: "kms/ecies/"}[scheme]
        self.a, self.b, self.signer = (number(f"{name} {k}") for k in ("label", "bob", "signer"))
        self.A, self.B, self.L = (mul(G, k) for k in (self.a, self.b, self.signer))
        self.salt = bytes32(f"{name} salt")
        self.key = u16(scheme) + u16(1) + point(self.A)
        self.policy = sha(
            b"kms/policy/1", point(self.L), sha(b"kms/policy-inner/1", self.key, point(self.B), self.salt)
        )
        self.store, self.label, self.epoch = bytes32("store")[:16], bytes32("label")[:16], 3
        r, self.e = number(f"{name} r"), number(f"{name} e")
        by_label, by_generator = mul(self.A, r), mul(G, r)
        self.C, self.K = (by_label, by_generator) if scheme == 2 else (by_generator, by_label)
        self.rk = (self.e * pow(self.a, -1, N) if scheme == 2 else self.a * pow(self.e, -1, N)) % N
        self.E = mul(G, self.e)
        self.P, self.Q = (self.A, self.E) if scheme == 2 else (self.E, self.A)
        self.capsule = self.prefix(0xC1) + point(self.C)
        self.sealed = self.seal()
        self.ids = [bytes32(f"{name} id {i}") for i in range(n)]

    def prefix(self, kind):
        return bytes([kind, 1]) + u16(self.scheme) + u16(1)

    def seal(self, plaintext=None, recipient=None, ad=None):
        return seal(
            recipient or self.B, self.domain + "ephemeral/1", [ad or self.policy],
            scalar(self.e) if plaintext is None else plaintext,
        )

    def secret(self):
        return derive(
            point(self.K), self.domain + "label-secret/1", self.capsule, point(self.A), self.store,
            self.label, u32(self.epoch),
        )

    def public(self, i, mn=None, policy=None, signer=None, sealed=None, E=None, **form):
        """id, then commitment, sealed key, m n, signature."""
        mn = mn or bytes([1, self.n])
        rest = point(E or self.E) + (sealed or self.sealed) + mn
        message = (policy or self.policy) + self.ids[i] + rest
        return self.ids[i], rest + sign(signer or self.signer, self.domain + "fragment/1", message, **form)

    def key_frag(self, i, rk=None, **change):
        ident, rest = self.public(i, **change)
        return self.prefix(0xC2) + ident + scalar(rk or self.rk) + rest

    def answer(self, i, rk=None, lie=None, bound=None, **change):
        """One node's answer; the arguments make one part of it a lie."""
        ident, rest = self.public(i, **change)
        t, by = number(f"nonce {i}"), rk or self.rk
        c1 = mul(self.C, lie or by)
        h = hs(
            self.domain + "proof/1", bound or self.policy, ident, rest[124:126], rest[:33], self.capsule,
            point(c1), point(mul(self.P, t)), point(mul(self.C, t)),
        )
        return self.prefix(0xC3) + ident + rest + point(c1) + scalar(h) + scalar((t + h * by) % N)

    def params(self):
        return {
            "ledger-key": point(self.L).hex(), "label-key": self.key.hex(),
            "recipient": point(self.B).hex(), "salt": self.salt.hex(),
        }

    context = World.context


# --- writing ----------------------------------------------------------------------------------
OUT = pathlib.Path(__file__).with_name("schemes")
OFF_CURVE = b"\2" + scalar(5)
X_TOO_LARGE = b"\2" + scalar(P + 1)
IDENTITY = bytes(33)


def write(name, spec, kind, expect, payload, **fields):
    lines = [f"spec: SCHEMES {spec}", f"kind: {kind}", f"expect: {expect}"]
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in fields.items()]
    if isinstance(payload, bytes):
        digits = payload.hex()
        payload = "\n".join(digits[i : i + 96] for i in range(0, len(digits), 96))
    (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n\n" + payload + "\n")


def put(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def texts():
    good = mul(G, number("alice"))
    text = bech32("kms", point(good))
    ok = {"key": point(good).hex()}
    write("public-key", "3.1", "public-key", "ok", text, **ok)
    write("public-key-capitals", "3.1", "public-key", "ok", text.upper(), **ok)
    wrong = {
        "empty": ("empty", " "),
        "prefix": ("prefix", bech32("kmt", point(good))),
        "secret-given": ("secret-given", bech32("kms-secret-key-", scalar(number("alice"))).upper()),
        "mixed-case": ("mixed-case 11", text[:10] + text[10:].upper().replace("1", "1")),
        "short": ("length", text[:-1]),
        "long": ("length", text + "q"),
        "letter": ("character 20", text[:19] + "b" + text[20:]),
        "typo": ("typo 30", text[:29] + ("q" if text[29] != "q" else "p") + text[30:]),
        "bech32-checksum": ("checksum", bech32("kms", point(good), target=1)),
        "spare-bit": ("checksum", bech32("kms", point(good), spare=1)),
        "off-curve": ("point", bech32("kms", OFF_CURVE)),
        "identity": ("point", bech32("kms", IDENTITY)),
    }
    for name, (expect, payload) in wrong.items():
        write(f"public-key-{name}", "3.1", "public-key", expect, payload)
    secret = bech32("kms-secret-key-", scalar(number("alice"))).upper()
    write("secret-key", "3.2", "secret-key", "ok", secret, key=scalar(number("alice")).hex())
    for name, value in {"zero": 0, "order": N, "above-order": 2**256 - 1}.items():
        text = bech32("kms-secret-key-", scalar(value)).upper()
        write(f"secret-key-{name}", "3.2", "secret-key", "scalar", text)
    write("secret-key-public-given", "3.2", "secret-key", "public-given", bech32("kms", point(good)))


def identities():
    secret = number("alice")
    text = lambda data: "# made for the vectors\n" + base64.b64encode(data).decode()
    good = identity(secret, b"correct horse")
    ok = {"passphrase": "correct horse", "key": scalar(secret).hex()}
    write("identity", "3.3", "identity", "ok", text(good), **ok)
    ok.pop("key")
    write("identity-wrong-passphrase", "3.3", "identity", "passphrase", text(good), passphrase="correct  horse")
    other = point(mul(G, number("bob")))
    bad = {
        "altered-seal": ("passphrase", put(good, len(good) - 1, bytes([good[-1] ^ 1]))),
        "other-public": ("passphrase", good.replace(point(mul(G, secret)), other)),
        "sealed-for-other-public": ("passphrase", identity(secret, b"correct horse", public=other)),
        "version": ("version 2", identity(secret, b"correct horse", version=2)),
        "kdf": ("passphrase function 2", identity(secret, b"correct horse", kdf=2)),
        "memory": ("parameters", identity(secret, b"correct horse", memory=2**20 + 1)),
        "passes": ("parameters", identity(secret, b"correct horse", passes=65)),
        "lanes": ("parameters", identity(secret, b"correct horse", lanes=17)),
        "no-passes": ("parameters", identity(secret, b"correct horse", passes=0)),
        "truncated": ("malformed", good[:-1]),
        "trailing": ("malformed", good + b"\0"),
        "magic": ("malformed", b"KMSJ" + good[4:]),
        "long-integer": ("malformed", good.replace(b"\x63kdf\x01", b"\x63kdf\x18\x01")),
        "extra-entry": ("malformed", good[:6] + b"\xa3" + good[7:] + cbor("x") + cbor(1)),
    }
    for name, (expect, payload) in bad.items():
        write(f"identity-{name}", "3.3", "identity", expect, text(payload), **ok)
    comment = f"# public key: {bech32('kms', other)}\n"
    write("identity-comment", "3.3", "identity", "comment", comment + text(good), **ok)


def store_keys():
    store = bytes32("store key")
    dir_id, label = bytes32("dir")[:16], bytes32("label")[:16]
    salt = bytes32("salt")
    delegating = wide(derive(store, "kms/delegating/1", label, u32(2), length=64))
    ledger = wide(derive(store, "kms/ledger-key/1", salt, length=64))
    write(
        "store-key", "4", "store-key", "ok", store, dir=dir_id.hex(), epoch=5, label=label.hex(),
        generation=2, salt=salt.hex(),
        dir_key=derive(store, "kms/dir-key/1", dir_id, u32(5)).hex(),
        owner_mac=derive(store, "kms/owner-mac/1").hex(),
        records=derive(store, "kms/records/1").hex(),
        config=derive(store, "kms/config/1").hex(),
        delegating=scalar(delegating).hex(), ledger=scalar(ledger).hex(),
    )


def signatures():
    key = number("alice")
    good = sign(key, "vectors/sign", b"message")
    fields = {"signer": point(mul(G, key)).hex(), "domain": "vectors/sign", "message": b"message".hex()}
    s = int.from_bytes(good[32:], "big")
    cases = {
        "": ("ok", good),
        "-high-s": ("form", sign(key, "vectors/sign", b"message", high=True)),
        "-r-zero": ("form", bytes(32) + good[32:]),
        "-s-zero": ("form", good[:32] + bytes(32)),
        "-r-order": ("form", scalar(N) + good[32:]),
        "-s-order": ("form", good[:32] + scalar(N)),
        "-short": ("form", good[:-1]),
        "-long": ("form", good + b"\0"),
        "-s-plus-one": ("mismatch", good[:32] + scalar(s - 1)),
        "-other-domain": ("mismatch", sign(key, "vectors/other", b"message")),
        "-other-key": ("mismatch", sign(number("bob"), "vectors/sign", b"message")),
        "-no-domain": ("mismatch", sign(key, "", b"vectors/signmessage")),
    }
    for name, (expect, payload) in cases.items():
        write(f"signature{name}", "5.1", "signature", expect, payload, **fields)


def boxes():
    bob = number("bob")
    B = mul(G, bob)
    good = seal(B, "vectors/box", [b"one", b"two"], b"for bob")
    fields = {"secret": scalar(bob).hex(), "domain": "vectors/box", "ad": f"{b'one'.hex()} {b'two'.hex()}"}
    write("sealed-box", "5.2", "sealed-box", "ok", good, **fields, plaintext=b"for bob".hex())
    cases = {
        "other-domain": ("refused", seal(B, "vectors/boy", [b"one", b"two"], b"for bob")),
        "joined-ad": ("refused", seal(B, "vectors/box", [b"onetwo"], b"for bob")),
        "other-recipient": ("refused", seal(mul(G, number("eve")), "vectors/box", [b"one", b"two"], b"x")),
        "altered": ("refused", put(good, 45, bytes([good[45] ^ 1]))),
        "truncated": ("refused", good[:-1]),
        "no-tag": ("malformed", good[:50]),
        "magic": ("malformed", b"KMSC" + good[4:]),
        "off-curve": ("malformed", put(good, 10, OFF_CURVE)),
        "identity": ("malformed", put(good, 10, IDENTITY)),
        "version": ("version 2", seal(B, "vectors/box", [b"one", b"two"], b"x", version=2)),
        "curve": ("curve 2", seal(B, "vectors/box", [b"one", b"two"], b"x", curve=2)),
        "cipher": ("cipher 9", seal(B, "vectors/box", [b"one", b"two"], b"x", cipher=9)),
    }
    for name, (expect, payload) in cases.items():
        write(f"sealed-box-{name}", "5.2", "sealed-box", expect, payload, **fields)
    a, b = number("alice"), bob
    keys = sorted([point(mul(G, a)), point(B)])
    shared = derive(point(mul(B, a)), "kms/shared/1", *keys, b"vectors/shared", b"one")
    write(
        "shared-secret", "5.3", "shared", "ok", shared, secret=scalar(a).hex(), other=point(B).hex(),
        domain="vectors/shared", context=b"one".hex(),
    )


def prefixed(name, spec, kind, good, **fields):
    """What every encoding refuses in its prefix and length."""
    cases = {
        "empty": ("malformed", b""),
        "prefix-only": ("malformed", good[:6]),
        "truncated": ("malformed", good[:-1]),
        "trailing": ("malformed", good + b"\0"),
        "other-kind": ("malformed", put(good, 0, b"\xc0")),
        "version": ("version 2", put(good, 1, b"\2")),
        "other-scheme": ("malformed", put(good, 2, u16(2))),
        "unknown-scheme": ("scheme 258", put(good, 2, u16(258))),
        "curve": ("curve 2", put(good, 4, u16(2))),
    }
    for case, (expect, payload) in cases.items():
        write(f"{name}-{case}", spec, kind, expect, payload, **fields)


def slots(name, spec, kind, good, points, scalars, **fields):
    """What no slot for a point or scalar takes."""
    for field, at in points.items():
        for case, value in {
            "identity": IDENTITY, "off-curve": OFF_CURVE, "x-too-large": X_TOO_LARGE,
            "compact": b"\5", "hybrid": b"\6", "uncompressed": b"\4",
        }.items():
            write(f"{name}-{field}-{case}", spec, kind, f"point {field}", put(good, at, value), **fields)
    for field, at in scalars.items():
        for case, value in {"zero": 0, "order": N, "max": 2**256 - 1}.items():
            write(f"{name}-{field}-{case}", spec, kind, f"scalar {field}", put(good, at, scalar(value)), **fields)


def capsules():
    w = World("capsule", 1, 1)
    c = w.capsule
    fields = {"delegating": scalar(w.a).hex(), **w.context()}
    write("capsule", "8.2", "capsule", "ok", c, **fields, secret=w.secret().hex())
    prefixed("capsule", "7.1", "capsule", c)
    slots("capsule", "8.2", "capsule", c, {"E": 6, "V": 39}, {"s": 72})
    r = number("constant")
    e = mul(G, r)
    hh = hs("kms/split/capsule/1", point(e), point(neg(e)))
    unbound = hs("CAPSULE_POINTS", point(w.E), point(w.V))
    checks = {
        "exchanged": PREFIX[0xC1] + point(w.V) + point(w.E) + scalar(w.s),
        "negated-E": put(c, 6, point(neg(w.E))),
        "negated-V": put(c, 39, point(neg(w.V))),
        "doubled": put(c, 39, point(w.E)),
        "s-plus-one": put(c, 72, scalar((w.s + 1) % N)),
        "s-minus-one": put(c, 72, scalar((w.s - 1) % N)),
        "s-negated": put(c, 72, scalar(N - w.s)),
        "other-domain": put(c, 72, scalar((w.u + w.r * unbound) % N)),
        "constant-secret": PREFIX[0xC1] + point(e) + point(neg(e)) + scalar((r * hh - r) % N),
    }
    for name, payload in checks.items():
        write(f"capsule-{name}", "8.2", "capsule", "check", payload)


def key_frags():
    w, other = World("frags", 2, 3), World("other", 2, 3)
    good = w.key_frag(0)
    fields = w.params()
    write("key-frag", "8.3", "key-frag", "ok", good, **fields)
    prefixed("key-frag", "7.1", "key-frag", good, **fields)
    slots("key-frag", "8.3", "key-frag", good, {"X": 70, "U1": 103}, {"rk": 38}, **fields)
    cases = {
        "m-zero": ("threshold", put(good, 136, b"\0\3")),
        "m-above-n": ("threshold", put(good, 136, b"\4\3")),
        "none": ("threshold", put(good, 136, b"\0\0")),
        "high-s": ("signature-form", w.key_frag(0, high=True)),
        "id": ("signature", put(good, 6, bytes32("another id"))),
        "share": ("commitment", w.key_frag(0, rk=w.rk[0] + 1)),
        "share-negated": ("commitment", w.key_frag(0, rk=N - w.rk[0])),
        "share-of-another": ("commitment", w.key_frag(0, rk=w.rk[1])),
        "X": ("signature", put(good, 70, point(other.X))),
        "U1": ("signature", put(good, 103, point(mul(U, w.rk[1])))),
        "m": ("signature", put(good, 136, b"\1\3")),
        "n": ("signature", put(good, 136, b"\2\4")),
        "signature-of-another": ("signature", put(good, 138, w.key_frag(1)[138:])),
        "other-policy": ("signature", w.key_frag(0, policy=other.policy)),
        "other-signer": ("signature", w.key_frag(0, signer=other.signer)),
        "signed-by-label-key": ("signature", w.key_frag(0, signer=w.a)),
    }
    for name, (expect, payload) in cases.items():
        write(f"key-frag-{name}", "8.3", "key-frag", expect, payload, **fields)
    for name in fields:
        changed = {**fields, name: (World("other", 2, 3).params())[name]}
        write(f"key-frag-under-other-{name}", "6", "key-frag", "signature", good, **changed)
    write(
        "policy", "6", "policy", "ok", w.policy, **fields, inner=w.inner.hex(),
    )


def capsule_frags():
    w, other = World("frags", 2, 3), World("other", 2, 3)
    good = w.answer(0)
    fields = {**w.params(), "capsule": w.capsule.hex()}
    write("capsule-frag", "8.4", "capsule-frag", "ok", good, **fields)
    prefixed("capsule-frag", "7.1", "capsule-frag", good, **fields)
    points = {"X": 38, "U1": 71, "E1": 170, "V1": 203, "E2": 236, "V2": 269, "U2": 302}
    slots("capsule-frag", "8.4", "capsule-frag", good, points, {"rho": 335}, **fields)
    lie = number("lie")
    second = w.answer(1)
    shifted = lambda at: put(good, at, point(add(unpoint(good[at : at + 33]), G)))
    rho = int.from_bytes(good[335:], "big")
    cases = {
        "only-E-false": ("proof-e", w.answer(0, e_by=lie)),
        "only-V-false": ("proof-v", w.answer(0, v_by=lie)),
        "only-commitment-false": ("proof-commitment", w.answer(0, e_by=lie, v_by=lie, rho_by=lie)),
        "E1-shifted": ("proof-e", shifted(170)),
        "V1-shifted": ("proof-e", shifted(203)),
        "E2-shifted": ("proof-e", shifted(236)),
        "V2-shifted": ("proof-e", shifted(269)),
        "U2-shifted": ("proof-e", shifted(302)),
        "rho-plus-one": ("proof-e", put(good, 335, scalar((rho + 1) % N))),
        "exchanged": ("proof-e", good[:170] + good[203:236] + good[170:203] + good[236:]),
        "proof-of-another": ("proof-e", good[:236] + second[236:]),
        "share-of-another": ("proof-e", second[:170] + good[170:]),
        "bound-to-other-policy": ("proof-e", w.answer(0, bound=other.policy)),
        "signed-for-other-policy": ("signature", w.answer(0, policy=other.policy)),
        "other-signer": ("signature", w.answer(0, signer=other.signer)),
        "high-s": ("signature-form", w.answer(0, high=True)),
        "id": ("signature", put(good, 6, bytes32("another id"))),
        "X": ("signature", put(good, 38, point(other.X))),
        "U1": ("signature", put(good, 71, point(mul(U, w.rk[1])))),
        "m": ("signature", put(good, 104, b"\1\3")),
        "m-zero": ("threshold", put(good, 104, b"\0\3")),
        "m-above-n": ("threshold", put(good, 104, b"\4\3")),
    }
    for name, (expect, payload) in cases.items():
        write(f"capsule-frag-{name}", "8.4", "capsule-frag", expect, payload, **fields)
    elsewhere = {**fields, "capsule": World("capsule", 1, 1).capsule.hex()}
    write("capsule-frag-for-other-capsule", "8.4", "capsule-frag", "proof-e", good, **elsewhere)


def opening():
    for m, n in ((1, 1), (2, 3), (3, 5)):
        w = World(f"open {m} {n}", m, n)
        fields = {**w.params(), "capsule": w.capsule.hex(), **w.context()}
        fields["identity"] = scalar(w.b).hex()
        answers = [w.answer(i) for i in range(n)]
        chosen = b"".join(answers[n - m :])
        write(f"open-{m}-of-{n}", "8.5", "open", "ok", chosen, **fields, secret=w.secret().hex())
        few = b"".join(answers[: m - 1])
        write(f"open-{m}-of-{n}-too-few", "8.5", "open", "too-few", few, **fields)
        twice = b"".join(answers[:1] * 2)
        write(f"open-{m}-of-{n}-duplicate", "8.5", "open", "duplicate", twice, **fields)
        stranger = {**fields, "identity": scalar(number("eve")).hex()}
        write(f"open-{m}-of-{n}-stranger", "8.5", "open", "other-recipient", chosen, **stranger)
    w = World("open 3 5", 3, 5)
    fields = {**w.params(), "capsule": w.capsule.hex(), **w.context(), "identity": scalar(w.b).hex()}
    # The owner signed two of five for shares that need three: two do not add up to anything.
    forged = b"".join(w.answer(i, m=2) for i in range(2))
    write("open-below-the-true-threshold", "8.5", "open", "inconsistent", forged, **fields)
    mixed = w.answer(0) + w.answer(1, m=2) + w.answer(2)
    write("open-mixed-thresholds", "8.5", "open", "mixed", mixed, **fields)


def singles():
    for scheme, name in ((2, "bbs98"), (3, "ecies")):
        w, other = Single(name, scheme, 3), Single(f"other {name}", scheme, 3)
        sid = {"scheme": scheme}
        fields = {"delegating": scalar(w.a).hex(), **w.context(), **sid}
        write(f"{name}-capsule", "10.1", "capsule", "ok", w.capsule, **fields, secret=w.secret().hex())
        swap = lambda good: (
            ("other-scheme", "scheme 9", put(good, 2, u16(9))), ("curve", "curve 2", put(good, 4, u16(2))),
            ("truncated", "malformed", good[:-1]), ("trailing", "malformed", good + b"\0"),
        )
        for case, expect, payload in swap(w.capsule):
            write(f"{name}-capsule-{case}", "7.1", "capsule", expect, payload, **fields)
        slots(f"{name}-capsule", "10.1", "capsule", w.capsule, {"C": 6}, {}, **fields)

        good, fields = w.key_frag(0), w.params()
        write(f"{name}-key-frag", "10.2", "key-frag", "ok", good, **fields)
        for case, expect, payload in swap(good):
            write(f"{name}-key-frag-{case}", "7.1", "key-frag", expect, payload, **fields)
        for case, expect, payload in (
            ("share", "commitment", w.key_frag(0, rk=w.rk + 1)),
            ("inverse", "commitment", w.key_frag(0, rk=pow(w.rk, -1, N))),
            ("id", "signature", put(good, 6, bytes32("another id"))),
            ("ephemeral", "signature", put(good, 70, point(other.E))),
            ("sealed", "signature", put(good, 103, other.sealed)),
            ("signed-other-ephemeral", "commitment", w.key_frag(0, E=other.E)),
            ("other-policy", "signature", w.key_frag(0, policy=other.policy)),
            ("other-signer", "signature", w.key_frag(0, signer=other.signer)),
            ("high-s", "signature-form", w.key_frag(0, high=True)),
            ("two-of-three", "threshold", w.key_frag(0, mn=b"\2\3")),
            ("m-zero", "threshold", w.key_frag(0, mn=b"\0\3")),
            ("rk-zero", "scalar rk", put(good, 38, bytes(32))),
            ("rk-order", "scalar rk", put(good, 38, scalar(N))),
            ("ephemeral-identity", "point ephemeral key", put(good, 70, IDENTITY)),
        ):
            write(f"{name}-key-frag-{case}", "10.2", "key-frag", expect, payload, **fields)

        good, fields = w.answer(0), {**w.params(), "capsule": w.capsule.hex()}
        write(f"{name}-capsule-frag", "10.3", "capsule-frag", "ok", good, **fields)
        for case, expect, payload in swap(good):
            write(f"{name}-capsule-frag-{case}", "7.1", "capsule-frag", expect, payload, **fields)
        for case, expect, payload in (
            ("lie", "proof", w.answer(0, lie=number("lie"))),
            ("other-rk", "proof", w.answer(0, rk=number("lie"))),
            ("bound-to-other-policy", "proof", w.answer(0, bound=other.policy)),
            ("rho", "proof", put(good, 293, scalar(number("lie")))),
            ("h", "proof", put(good, 261, scalar(number("lie")))),
            ("signed-for-other-policy", "signature", w.answer(0, policy=other.policy)),
            ("other-signer", "signature", w.answer(0, signer=other.signer)),
            ("sealed", "signature", put(good, 71, other.sealed)),
            ("two-of-three", "threshold", w.answer(0, mn=b"\2\3")),
            ("h-zero", "scalar h", put(good, 261, bytes(32))),
            ("rho-order", "scalar rho", put(good, 293, scalar(N))),
            ("C1-identity", "point C1", put(good, 228, IDENTITY)),
            ("C1-off-curve", "point C1", put(good, 228, OFF_CURVE)),
        ):
            write(f"{name}-capsule-frag-{case}", "10.3", "capsule-frag", expect, payload, **fields)
        elsewhere = {**fields, "capsule": other.capsule.hex()}
        write(f"{name}-capsule-frag-for-other-capsule", "10.3", "capsule-frag", "proof", good, **elsewhere)

        fields = {**w.params(), "capsule": w.capsule.hex(), **w.context(), "identity": scalar(w.b).hex()}
        secret = {"secret": w.secret().hex()}
        write(f"{name}-open", "10.4", "open", "ok", w.answer(2), **fields, **secret)
        write(f"{name}-open-more", "10.4", "open", "ok", w.answer(1) + w.answer(0), **fields, **secret)
        write(f"{name}-open-too-few", "10.4", "open", "too-few", b"", **fields)
        write(f"{name}-open-duplicate", "10.4", "open", "duplicate", w.answer(0) * 2, **fields)
        eve = {**fields, "identity": scalar(number("eve")).hex()}
        write(f"{name}-open-stranger", "10.4", "open", "other-recipient", w.answer(0), **eve)
        for case, sealed in {
            "to-another": w.seal(recipient=other.B), "other-key": w.seal(scalar(number("lie"))),
            "zero": w.seal(bytes(32)), "for-other-policy": w.seal(ad=other.policy),
        }.items():
            write(f"{name}-open-sealed-{case}", "10.4", "open", "sealed-key", w.answer(0, sealed=sealed), **fields)


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.txt"):
        if not old.name.startswith("afgh-"):  # those are schemes_afgh.py's
            old.unlink()
    for part in (
        texts, identities, store_keys, signatures, boxes, capsules, key_frags, capsule_frags, opening,
        singles,
    ):
        part()
    print(len(list(OUT.glob("*.txt"))), "vectors in", OUT)


if __name__ == "__main__":
    main()
