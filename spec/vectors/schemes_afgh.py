#!/usr/bin/env python3
"""Writes the vectors of SCHEMES 11 (AFGH) into the directory schemes/ beside this file.

The pairing is that of the Python package `py_ecc` (8 or later), an implementation of BLS12-381 that shares nothing with the
program's; the rest is here and in schemes.py.

    python3 spec/vectors/schemes_afgh.py
"""

from py_ecc.bls.point_compression import compress_G1, compress_G2
from py_ecc.optimized_bls12_381 import FQ12, G1, G2, add, curve_order as Q, field_modulus, multiply, pairing
from schemes import (
    OUT, G, Single, World, bytes32, derive, h, mul, number, point, put, scalar, seal, sha, sign, u16, u32, write,
)

FP = field_modulus
DOMAIN = "kms/afgh/"


def wide(b):
    return int.from_bytes(b, "big") % Q or 1


def hs(domain, *parts):
    return wide(derive(h(domain, *parts), "kms/bls-scalar/1", length=64))


def bls_number(name):
    return wide(derive(bytes32(name), "vectors", length=64))


def g1(p):
    return compress_G1(p).to_bytes(48, "big")


def g2(p):
    return b"".join(z.to_bytes(48, "big") for z in compress_G2(p))


def e(p, q):
    """The pairing of SCHEMES 2.1. py_ecc takes the loop's length without its sign, and the least final exponent."""
    return pairing(q, p) ** (Q - 3)


def gt(x):
    """(1 + c0)/c1. py_ecc has powers of w alone, with w^6 = 1 + u."""
    c = [int(k) for k in x.coeffs]
    half = lambda odd: FQ12([c[i + odd] if i % 2 == 0 else 0 for i in range(12)])
    t = [int(k) for k in ((half(0) + FQ12.one()) / half(1)).coeffs]
    out = b""
    for i in (0, 2, 4):
        for k in ((t[i] + t[i + 6]) % FP, t[i + 6] % FP):
            out += k.to_bytes(48, "little")
    return out


class Afgh:
    """One label shared with one person, n of n."""

    def __init__(self, name, n):
        self.n = n
        self.a, self.e = bls_number(f"{name} label"), bls_number(f"{name} e")
        self.b, self.signer = number(f"{name} bob"), number(f"{name} signer")
        self.A, self.B, self.L = multiply(G1, self.a), mul(G, self.b), mul(G, self.signer)
        self.salt = bytes32(f"{name} salt")
        self.key = u16(4) + u16(2) + g1(self.A)
        self.policy = sha(
            b"kms/policy/1", point(self.L), sha(b"kms/policy-inner/1", self.key, point(self.B), self.salt)
        )
        self.store, self.label, self.epoch = bytes32("store")[:16], bytes32("label")[:16], 3
        r = bls_number(f"{name} r")
        self.C = multiply(self.A, r)
        self.K = e(G1, G2) ** r
        self.capsule = self.prefix(0xC1) + g1(self.C)
        terms = [bls_number(f"{name} term {i}") for i in range(n - 1)]
        self.terms = terms + [(self.e * pow(self.a, -1, Q) - sum(terms)) % Q]
        self.rk = [multiply(G2, k) for k in self.terms]
        self.commitments = [e(self.A, rk) for rk in self.rk]
        self.sealed = self.seal()
        self.ids = [bytes32(f"{name} id {i}") for i in range(n)]

    def prefix(self, kind):
        return bytes([kind, 1]) + u16(4) + u16(2)

    def seal(self, plaintext=None, recipient=None, ad=None):
        return seal(
            recipient or self.B, DOMAIN + "ephemeral/1", [ad or self.policy],
            scalar(self.e) if plaintext is None else plaintext,
        )

    def secret(self):
        return derive(
            gt(self.K), DOMAIN + "label-secret/1", self.capsule, g1(self.A), self.store, self.label, u32(self.epoch)
        )

    def public(self, i, mn=None, policy=None, signer=None, sealed=None, K=None, **form):
        rest = gt(K or self.commitments[i]) + (sealed or self.sealed) + (mn or bytes([self.n, self.n]))
        message = (policy or self.policy) + self.ids[i] + rest
        return self.ids[i], rest + sign(signer or self.signer, DOMAIN + "fragment/1", message, **form)

    def key_frag(self, i, rk=None, **change):
        ident, rest = self.public(i, **change)
        return self.prefix(0xC2) + ident + g2(rk or self.rk[i]) + rest

    def answer(self, i, term=None, lie=None, bound=None, **change):
        """One node's answer; the arguments make one part of it a lie."""
        ident, rest = self.public(i, **change)
        t, by = bls_number(f"nonce {i}"), term or self.terms[i]
        T = multiply(G2, t)
        S = e(self.C, multiply(G2, lie or by))
        challenge = hs(
            DOMAIN + "proof/1", bound or self.policy, ident, rest[379:381], rest[:288], self.capsule, gt(S),
            gt(e(self.A, T)), gt(e(self.C, T)),
        )
        rho = add(T, multiply(G2, challenge * by % Q))
        return self.prefix(0xC3) + ident + rest + gt(S) + scalar(challenge) + g2(rho)

    params = Single.params
    context = World.context


def prefixes(name, kind, good, **fields):
    for case, expect, payload in (
        ("other-scheme", "scheme 9", put(good, 2, u16(9))), ("curve", "curve 1", put(good, 4, u16(1))),
        ("truncated", "malformed", good[:-1]), ("trailing", "malformed", good + b"\0"),
    ):
        write(f"{name}-{case}", "7.1", kind, expect, payload, **fields)


# What is no point: infinity, and x = p.
G1_INFINITY = b"\xc0" + bytes(47)
G2_INFINITY = b"\xc0" + bytes(95)
G1_TOO_LARGE = (FP | 1 << 383).to_bytes(48, "big")


def g1_outside():
    """The first point on the curve whose order is not q."""
    x = 1
    while True:
        y = pow(x**3 + 4, (FP + 1) // 4, FP)
        p = (type(G1[0])(x), type(G1[0])(y), type(G1[0])(1))
        if y * y % FP == (x**3 + 4) % FP and multiply_plainly(p, Q)[2] != type(G1[0])(0):
            return g1(p)
        x += 1


def multiply_plainly(p, k):
    out = None
    for bit in bin(k)[2:]:
        out = add(out, out) if out else None
        if bit == "1":
            out = add(out, p) if out else p
    return out


def main():
    for old in OUT.glob("afgh-*.txt"):
        old.unlink()
    w, other = Afgh("afgh", 2), Afgh("other afgh", 2)
    fields = {"delegating": scalar(w.a).hex(), **w.context(), "scheme": 4}
    write("afgh-capsule", "11.1", "capsule", "ok", w.capsule, **fields, secret=w.secret().hex())
    prefixes("afgh-capsule", "capsule", w.capsule, **fields)
    for case, C in (
        ("identity", G1_INFINITY), ("x-too-large", G1_TOO_LARGE), ("outside-the-subgroup", g1_outside()),
        ("not-compressed", bytes([w.capsule[6] & 0x7F]) + w.capsule[7:]),
        ("off-curve", (1 << 383 | 1).to_bytes(48, "big") if not on_curve(1) else (1 << 383 | 3).to_bytes(48, "big")),
    ):
        write(f"afgh-capsule-C-{case}", "11.1", "capsule", "point C", put(w.capsule, 6, C), **fields)

    good, fields = w.key_frag(0), w.params()
    write("afgh-key-frag", "11.2", "key-frag", "ok", good, **fields)
    write("afgh-key-frag-last", "11.2", "key-frag", "ok", w.key_frag(1), **fields)
    prefixes("afgh-key-frag", "key-frag", good, **fields)
    for case, expect, payload in (
        ("share-of-another", "commitment", w.key_frag(0, rk=w.rk[1])),
        ("commitment-to-another", "commitment", w.key_frag(0, K=w.commitments[1])),
        ("id", "signature", put(good, 6, bytes32("another id"))),
        ("commitment", "signature", put(good, 134, gt(other.commitments[0]))),
        ("sealed", "signature", put(good, 422, other.sealed)),
        ("other-policy", "signature", w.key_frag(0, policy=other.policy)),
        ("other-signer", "signature", w.key_frag(0, signer=other.signer)),
        ("high-s", "signature-form", w.key_frag(0, high=True)),
        ("one-of-two", "threshold", w.key_frag(0, mn=b"\1\2")),
        ("rk-identity", "point rk", put(good, 38, G2_INFINITY)),
        ("commitment-not-in-the-group", "point K", put(good, 134, bytes([2]) + bytes(287))),
        ("commitment-too-large", "point K", put(good, 134, FP.to_bytes(48, "little"))),
    ):
        write(f"afgh-key-frag-{case}", "11.2", "key-frag", expect, payload, **fields)

    good, fields = w.answer(0), {**w.params(), "capsule": w.capsule.hex()}
    write("afgh-capsule-frag", "11.3", "capsule-frag", "ok", good, **fields)
    prefixes("afgh-capsule-frag", "capsule-frag", good, **fields)
    for case, expect, payload in (
        ("lie", "proof", w.answer(0, lie=bls_number("lie"))),
        ("other-share", "proof", w.answer(0, term=w.terms[1])),
        ("bound-to-other-policy", "proof", w.answer(0, bound=other.policy)),
        ("h", "proof", put(good, 771, scalar(bls_number("lie")))),
        ("rho", "proof", put(good, 803, g2(multiply(G2, bls_number("lie"))))),
        ("answer-of-another", "proof", put(good, 483, w.answer(1)[483:771])),
        ("signed-for-other-policy", "signature", w.answer(0, policy=other.policy)),
        ("sealed", "signature", put(good, 326, other.sealed)),
        ("one-of-two", "threshold", w.answer(0, mn=b"\1\2")),
        ("h-zero", "scalar h", put(good, 771, bytes(32))),
        ("h-order", "scalar h", put(good, 771, scalar(Q))),
        ("rho-identity", "point rho", put(good, 803, G2_INFINITY)),
    ):
        write(f"afgh-capsule-frag-{case}", "11.3", "capsule-frag", expect, payload, **fields)
    elsewhere = {**fields, "capsule": other.capsule.hex()}
    write("afgh-capsule-frag-for-other-capsule", "11.3", "capsule-frag", "proof", good, **elsewhere)

    fields = {**w.params(), "capsule": w.capsule.hex(), **w.context(), "identity": scalar(w.b).hex()}
    write("afgh-open", "11.4", "open", "ok", w.answer(1) + w.answer(0), **fields, secret=w.secret().hex())
    write("afgh-open-too-few", "11.4", "open", "too-few", w.answer(0), **fields)
    write("afgh-open-duplicate", "11.4", "open", "duplicate", w.answer(0) * 2, **fields)
    eve = {**fields, "identity": scalar(number("eve")).hex()}
    write("afgh-open-stranger", "11.4", "open", "other-recipient", w.answer(0) + w.answer(1), **eve)
    for case, expect, sealed in (
        ("other-key", "inconsistent", w.seal(scalar(bls_number("lie")))), ("zero", "sealed-key", w.seal(bytes(32))),
        ("to-another", "sealed-key", w.seal(recipient=other.B)),
    ):
        both = w.answer(0, sealed=sealed) + w.answer(1, sealed=sealed)
        write(f"afgh-open-sealed-{case}", "11.4", "open", expect, both, **fields)
    print(len(list(OUT.glob("afgh-*.txt"))), "vectors in", OUT)


def on_curve(x):
    return pow(x**3 + 4, (FP - 1) // 2, FP) == 1


if __name__ == "__main__":
    main()
