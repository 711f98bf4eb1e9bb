#!/usr/bin/env python3
"""Writes the vectors of SCHEMES 14 into the directory frost/ beside this file.

A second implementation of that chapter and of what it takes from RFC 9591, slow and simple. What appendix E.5 of the RFC
gives for FROST(secp256k1, SHA-256) is checked here before it is written.

    python3 spec/vectors/frost.py
"""

import hashlib

import schemes
from schemes import G, IDENTITY, N, OFF_CURVE, X_TOO_LARGE, add, bytes32, mul, number, point, put, scalar, sha, sign, u16

schemes.OUT = schemes.pathlib.Path(__file__).with_name("frost")
CONTEXT = b"FROST-secp256k1-SHA256-v1"


# --- RFC 9591 ---------------------------------------------------------------------------------
def hash_to_field(tag, message):
    """RFC 9380 5.2 with expand_message_xmd, one element of 48 bytes."""
    dst = CONTEXT + tag
    dst += bytes([len(dst)])
    first = hashlib.sha256(bytes(64) + message + u16(48) + b"\0" + dst).digest()
    one = hashlib.sha256(first + b"\1" + dst).digest()
    two = hashlib.sha256(bytes(a ^ b for a, b in zip(first, one)) + b"\2" + dst).digest()
    return int.from_bytes((one + two)[:48], "big") % N


def nonce(randomness, share):
    return hash_to_field(b"nonce", randomness + scalar(share))


def evaluate(coefficients, x):
    return sum(c * pow(x, j, N) for j, c in enumerate(coefficients)) % N


def lagrange(x, all_of_them):
    out = 1
    for other in all_of_them:
        if other != x:
            out = out * other * pow(other - x, -1, N) % N
    return out


def ceremony(group, message, shares, nonces):
    """Every signer's share of the signature, and the signature; by identifier."""
    order = sorted(nonces)
    commitments = {i: [point(mul(G, k)) for k in nonces[i]] for i in order}
    encoded = b"".join(scalar(i) + b"".join(commitments[i]) for i in order)
    prefix = group + hashlib.sha256(CONTEXT + b"msg" + message).digest()
    prefix += hashlib.sha256(CONTEXT + b"com" + encoded).digest()
    rho = {i: hash_to_field(b"rho", prefix + scalar(i)) for i in order}
    total = None
    for i in order:
        total = add(total, mul(G, nonces[i][0] + nonces[i][1] * rho[i]))
    c = hash_to_field(b"chal", point(total) + group + message)
    z = {i: (nonces[i][0] + nonces[i][1] * rho[i] + lagrange(i, order) * shares[i] * c) % N for i in order}
    return commitments, z, point(total) + scalar(sum(z.values()) % N)


RFC = {
    "secret": "0d004150d27c3bf2a42f312683d35fac7394b1e9e318249c1bfe7f0795a83114",
    "group": "02f37c34b66ced1fb51c34a90bdae006901f10625cc06c4f64663b0eae87d87b4f",
    "message": "74657374",
    "coefficient": "fbf85eadae3058ea14f19148bb72b45e4399c0b16028acaf0395c9b03c823579",
    "share-1": "08f89ffe80ac94dcb920c26f3f46140bfc7f95b493f8310f5fc1ea2b01f4254c",
    "share-2": "04f0feac2edcedc6ce1253b7fab8c86b856a797f44d83d82a385554e6e401984",
    "share-3": "00e95d59dd0d46b0e303e500b62b7ccb0e555d49f5b849f5e748c071da8c0dbc",
    "hiding-randomness-1": "bda8e748e599187762cff956f03dc6ea13fc8e04491a0427b7e6e78600f41c52",
    "binding-randomness-1": "2ca682429bf05df435b9927b8edb1d748278f3e42fa11ef358e49bbf4a1b780d",
    "hiding-commitment-1": "0305e62a1d3f57a0b17ade569a3a4043e2a1fc3bd0b102614a8d8cc68e3322ad89",
    "binding-commitment-1": "03b634c2aed7f85b8eec22e97e5f916ab43a3518821480e15da2af7cffcb060a30",
    "hiding-randomness-3": "70818dd5170672c4a4285fd593d4f222417f941f3118e1244955e7a1098a35d8",
    "binding-randomness-3": "74ca2da071ed4a2a6cad5087d6758b48a558ab5861c61117fee05757e4b1309e",
    "hiding-commitment-3": "036f878da0dc19ba7da9f2d9e795e2674e62ff06c990fc4464cc1ed55a2acce46b",
    "binding-commitment-3": "025350e2a9e32e7b1fe0161e990623600b2d301b3307641469129cff7936c4d2ce",
    "signature-share-1": "ca54b18d7449377cfa680760a5770b9e64e201f7ea36b068effeca5fce2155e5",
    "signature-share-3": "da13d054e83052568706a6d161d80f112a6bc3f76aa903c022585ae7e091e65e",
}
SIGNATURE = "024c1ad4e031872661fa6ebd05dfc7fb30db08b38d79f0edbc82051ae931381bc6a46881e25c7989d3816eae32074f1ab0d49ee908a59713ed5284c6bade7cfb02"


def rfc():
    of = {name: bytes.fromhex(value) for name, value in RFC.items()}
    as_number = lambda name: int.from_bytes(of[name], "big")
    polynomial = [as_number("secret"), as_number("coefficient")]
    assert point(mul(G, polynomial[0])) == of["group"]
    shares = {i: as_number(f"share-{i}") for i in (1, 2, 3)}
    assert all(evaluate(polynomial, i) == share for i, share in shares.items())
    nonces = {i: [nonce(of[f"{k}-randomness-{i}"], shares[i]) for k in ("hiding", "binding")] for i in (1, 3)}
    commitments, z, signature = ceremony(of["group"], of["message"], shares, nonces)
    for i in (1, 3):
        assert commitments[i] == [of[f"hiding-commitment-{i}"], of[f"binding-commitment-{i}"]]
        assert scalar(z[i]) == of[f"signature-share-{i}"]
    assert signature.hex() == SIGNATURE
    fields = {name.replace("-", "_"): value for name, value in RFC.items()}
    schemes.write("rfc9591", "14.3", "rfc9591", "ok", signature, **fields)


# --- SCHEMES 14 -------------------------------------------------------------------------------
class Group:
    """A group key dealt to n nodes, m of which sign."""

    def __init__(self, name, m, n):
        self.m, self.n = m, n
        self.f = [number(f"{name} f{j}") for j in range(m)]
        self.b, self.signer = number(f"{name} owner"), number(f"{name} signer")
        self.points = [point(mul(G, c)) for c in self.f]
        self.key = u16(5) + u16(1) + self.points[0]
        self.salt = bytes32(f"{name} salt")
        self.B, self.L = point(mul(G, self.b)), point(mul(G, self.signer))
        self.policy = sha(b"kms/policy/1", self.L, sha(b"kms/policy-inner/1", self.key, self.B, self.salt))

    def public(self, mn=None, points=None, policy=None, signer=None, **form):
        mn, points = mn or bytes([self.m, self.n]), b"".join(points or self.points)
        message = (policy or self.policy) + mn + points
        return mn + points + sign(signer or self.signer, "kms/frost/split/1", message, **form)

    def frag(self, i, s=None, prefix=None, **change):
        s = evaluate(self.f, i + 1) if s is None else s
        return (prefix or bytes([0xC2, 1]) + u16(5) + u16(1)) + bytes([i]) + scalar(s) + self.public(**change)

    def params(self):
        return {"ledger-key": self.L.hex(), "label-key": self.key.hex(), "recipient": self.B.hex(), "salt": self.salt.hex()}


def key_frags():
    one, other = Group("one", 3, 5), Group("other", 3, 5)
    good, fields = one.frag(3), one.params()
    for i in range(5):
        schemes.write(f"key-frag-{i}", "14.2", "key-frag", "ok", one.frag(i), **fields)
    wrong = {
        "version": ("version 2", put(good, 1, b"\2")),
        "scheme": ("scheme 6", put(good, 2, u16(6))),
        "curve": ("curve 2", put(good, 4, u16(2))),
        "truncated": ("malformed", good[:-1]),
        "trailing": ("malformed", good + b"\0"),
        "prefix-alone": ("malformed", good[:6]),
        "index": ("malformed", put(good, 6, b"\5")),
        "index-of-another": ("commitment", put(good, 6, b"\2")),
        "share-zero": ("scalar share", one.frag(3, 0)),
        "share-order": ("scalar share", one.frag(3, N)),
        "share-of-another-index": ("commitment", one.frag(3, evaluate(one.f, 5))),
        "share-of-another-key": ("commitment", one.frag(3, evaluate(other.f, 4))),
        "threshold-one": ("threshold", put(good, 39, b"\1\5")),
        "threshold-above": ("threshold", put(good, 39, b"\6\5")),
        "threshold-of-a-crowd": ("threshold", put(good, 39, b"\x41\xff")),
        "threshold-two": ("malformed", put(good, 39, b"\2\5")),
        "total-not-signed": ("signature", put(good, 40, b"\6")),
        "signed-for-other-policy": ("signature", one.frag(3, policy=other.policy)),
        "other-signer": ("signature", one.frag(3, signer=other.signer)),
        "high-s": ("signature-form", one.frag(3, high=True)),
        "other-group-key": ("commitment", one.frag(3, points=[other.points[0]] + one.points[1:])),
        "other-coefficient": ("commitment", one.frag(3, points=one.points[:2] + [other.points[2]])),
        "of-another-key": ("commitment", other.frag(3)),
    }
    for j in range(3):
        for case, bad in (("off-curve", OFF_CURVE), ("x-too-large", X_TOO_LARGE), ("identity", IDENTITY)):
            wrong[f"coefficient-{j}-{case}"] = ("point coefficient", put(good, 41 + 33 * j, bad))
    for case, (expect, payload) in wrong.items():
        schemes.write(f"key-frag-{case}", "14.2", "key-frag", expect, payload, **fields)


def signatures():
    one, other = Group("one", 3, 5), Group("other", 3, 5)
    message = b"pay the ferryman"
    shares = {i: evaluate(one.f, i) for i in (1, 2, 5)}
    nonces = {i: [nonce(bytes32(f"{k} {i}"), shares[i]) for k in ("hiding", "binding")] for i in shares}
    _, _, good = ceremony(one.points[0], message, shares, nonces)
    _, _, without = ceremony(one.points[0], message, {1: shares[1], 2: shares[2]}, {i: nonces[i] for i in (1, 2)})
    z = int.from_bytes(good[33:], "big")
    cases = {
        "": ("ok", good, one, message),
        "-of-two": ("mismatch", without, one, message),
        "-other-message": ("mismatch", good, one, message + b"s"),
        "-empty-message": ("mismatch", good, one, b""),
        "-other-group": ("mismatch", good, other, message),
        "-point-negated": ("mismatch", put(good, 0, bytes([good[0] ^ 1])), one, message),
        "-point-identity": ("mismatch", IDENTITY + good[33:], one, message),
        "-point-off-curve": ("mismatch", OFF_CURVE + good[33:], one, message),
        "-point-x-too-large": ("mismatch", X_TOO_LARGE + good[33:], one, message),
        "-scalar-zero": ("mismatch", good[:33] + scalar(0), one, message),
        "-scalar-negated": ("mismatch", good[:33] + scalar(N - z), one, message),
        "-scalar-order": ("mismatch", good[:33] + scalar(N), one, message),
        "-truncated": ("mismatch", good[:-1], one, message),
        "-trailing": ("mismatch", good + b"\0", one, message),
        "-empty": ("mismatch", good[:0], one, message),
    }
    for case, (expect, payload, group, text) in cases.items():
        schemes.write(
            f"signature{case}", "14.3", "group-signature", expect, payload, group=group.points[0].hex(), message=text.hex()
        )


if __name__ == "__main__":
    schemes.OUT.mkdir(exist_ok=True)
    rfc()
    key_frags()
    signatures()
