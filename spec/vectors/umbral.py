#!/usr/bin/env python3
"""Writes the vectors of UMBRAL that must be refused: what umbral-pre made (umbral/from-umbral-*.txt), altered.

Shares no code with the program. Run it after changing it, and commit what it writes.
"""
import hashlib
import os

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "umbral")
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
U = bytes.fromhex("03079390d0fbe220fc34aab8ecbf49098098036820fadb98c03143e55db8ec73cd")


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def mul(point, scalar):
    total = None
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def decode(data):
    x = int.from_bytes(data[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    return x, y if y & 1 == data[0] & 1 else P - y


def encode(point):
    return bytes([2 + (point[1] & 1)]) + number(point[0])


def number(value):
    return (value % 2**256).to_bytes(32, "big")


def hash_to_scalar(domain, *parts):
    data = len(domain).to_bytes(4, "big") + domain + b"".join(parts)
    return int.from_bytes(hashlib.sha256(data).digest(), "big") % (N - 1) + 1


def put(data, offset, new):
    return data[:offset] + new + data[offset + len(new):]


def read(name):
    with open(os.path.join(HERE, name + ".txt")) as file:
        head, payload = file.read().split("\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return fields, [bytes.fromhex(line) for line in payload.split()]


def write(name, kind, expect, payload, section, **fields):
    lines = [f"spec: UMBRAL {section}", f"kind: {kind}", f"expect: {expect}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in fields.items()]
    with open(os.path.join(HERE, name + ".txt"), "w") as file:
        file.write("\n".join(lines) + "\n\n" + "".join(it.hex() + "\n" for it in payload))


# Encodings of no point, for every place a point stands in.
NO_POINTS = {
    "identity": b"\0" * 33,
    "off-curve": b"\2" + number(5),
    "x-too-large": b"\2" + b"\xff" * 32,
    "hybrid": b"\6",
    "compact": b"\5",
}
NO_SCALARS = {"zero": number(0), "order": number(N), "max": b"\xff" * 32}


def main():
    for name in os.listdir(HERE):
        if not name.startswith("from-umbral-"):
            os.remove(os.path.join(HERE, name))
    fields, frags = read("from-umbral-3-of-5")
    keys, answers = frags[:5], frags[5:]
    capsule = bytes.fromhex(fields["capsule"])
    other, _ = read("from-umbral-2-of-3")
    parties = {name: fields[name] for name in ("verifying", "delegating", "receiving")}

    # Capsules
    def capsule_case(name, expect, data):
        write(f"capsule-{name}", "capsule", expect, [data], 2)

    for place, offset in (("E", 0), ("V", 33)):
        for how, data in NO_POINTS.items():
            capsule_case(f"{place}-{how}", f"point {place}", put(capsule, offset, data))
        capsule_case(f"{place}-negated", "check", put(capsule, offset, bytes([capsule[offset] ^ 1])))
    for how, data in NO_SCALARS.items():
        capsule_case(f"s-{how}", "scalar s", put(capsule, 66, data))
    s = int.from_bytes(capsule[66:], "big")
    capsule_case("s-plus-one", "check", put(capsule, 66, number((s + 1) % N)))
    capsule_case("exchanged", "check", capsule[33:66] + capsule[:33] + capsule[66:])
    capsule_case("doubled", "check", capsule[:33] * 2 + capsule[66:])
    capsule_case("empty", "malformed", b"")
    capsule_case("truncated", "malformed", capsule[:-1])
    capsule_case("trailing", "malformed", capsule + b"\0")

    # Key fragments
    key = keys[0]

    def key_case(name, expect, data, **change):
        write(f"key-frag-{name}", "key-frag", expect, [data], 3, **{**parties, **change})

    for place, offset in (("X", 64), ("U1", 97)):
        for how, data in NO_POINTS.items():
            key_case(f"{place}-{how}", f"point {place}", put(key, offset, data))
    key_case("X-negated", "signature", put(key, 64, bytes([key[64] ^ 1])))
    key_case("U1-negated", "commitment", put(key, 97, bytes([key[97] ^ 1])))
    for how, data in NO_SCALARS.items():
        key_case(f"rk-{how}", "scalar rk", put(key, 32, data))
    rk = int.from_bytes(key[32:64], "big")
    key_case("rk-plus-one", "commitment", put(key, 32, number(rk + 1)))
    key_case("rk-of-another", "commitment", put(key, 32, keys[1][32:64]))
    key_case("id", "signature", put(key, 31, bytes([key[31] ^ 1])))
    for place, offset in (("node", 130), ("recipient", 194)):
        r, s = key[offset:offset + 32], int.from_bytes(key[offset + 32:offset + 64], "big")
        key_case(f"{place}-high-s", "signature-form", put(key, offset, r + number(N - s)))
        key_case(f"{place}-r-zero", "signature-form", put(key, offset, number(0)))
        key_case(f"{place}-s-order", "signature-form", put(key, offset + 32, number(N)))
        key_case(f"{place}-signature-of-another", "signature", put(key, offset, keys[1][offset:offset + 64]))
    for place, offset in (("delegating", 258), ("receiving", 259)):
        key_case(f"{place}-flag-cleared", "signature", put(key, offset, b"\0"))
        key_case(f"{place}-flag-two", "malformed", put(key, offset, b"\2"))
        key_case(f"{place}-wrong", "signature", key, **{place: parties["verifying"]})
        key_case(f"{place}-missing", "signature", key, **{place: "-"})
    key_case("verifying-wrong", "signature", key, verifying=parties["delegating"])
    key_case("empty", "malformed", b"")
    key_case("truncated", "malformed", key[:-1])
    key_case("trailing", "malformed", key + b"\0")

    # Capsule fragments
    answer = answers[0]

    def answer_case(name, expect, data, **change):
        write(f"capsule-frag-{name}", "capsule-frag", expect, [data], 4,
              **{**parties, "capsule": capsule.hex(), **change})

    places = {"E1": (0, "proof-e"), "V1": (33, "proof-e"), "X": (98, "signature"), "E2": (131, "proof-e"),
              "V2": (164, "proof-e"), "U1": (197, "signature"), "U2": (230, "proof-e")}
    for place, (offset, expect) in places.items():
        for how, data in NO_POINTS.items():
            answer_case(f"{place}-{how}", f"point {place}", put(answer, offset, data))
        answer_case(f"{place}-negated", expect, put(answer, offset, bytes([answer[offset] ^ 1])))
    for how, data in NO_SCALARS.items():
        answer_case(f"rho-{how}", "scalar rho", put(answer, 263, data))
    rho = int.from_bytes(answer[263:295], "big")
    answer_case("rho-plus-one", "proof-e", put(answer, 263, number((rho + 1) % N)))
    answer_case("id", "signature", put(answer, 97, bytes([answer[97] ^ 1])))
    r, s = answer[295:327], int.from_bytes(answer[327:], "big")
    answer_case("high-s", "signature-form", put(answer, 295, r + number(N - s)))
    answer_case("signature-of-another", "signature", put(answer, 295, answers[1][295:]))
    answer_case("exchanged", "proof-e", answer[33:66] + answer[:33] + answer[66:])
    answer_case("id-of-another", "signature", put(answer, 66, answers[1][66:98]))
    answer_case("all-but-points-of-another", "proof-e", answer[:66] + answers[1][66:])
    answer_case("for-other-capsule", "proof-e", answer, capsule=other["capsule"])
    for party in parties:
        wrong = parties["verifying" if party != "verifying" else "delegating"]
        answer_case(f"{party}-wrong", "signature", answer, **{party: wrong})
    answer_case("empty", "malformed", b"")
    answer_case("truncated", "malformed", answer[:-1])
    answer_case("trailing", "malformed", answer + b"\0")

    # A node with a real share that answers with another number in exactly one place.
    e, v, u = decode(capsule[:33]), decode(capsule[33:66]), decode(U)

    def forged(for_e, for_v, answered):
        t = hash_to_scalar(b"nonce", number(for_e), number(for_v), number(answered))
        e1, v1 = encode(mul(e, for_e)), encode(mul(v, for_v))
        e2, v2, u2 = (encode(mul(base, t)) for base in (e, v, u))
        u1 = key[97:130]
        h = hash_to_scalar(b"CFRAG_VERIFICATION", capsule[:33], e1, e2, capsule[33:66], v1, v2, U, u1, u2)
        rho = number((t + h * answered) % N)
        return e1 + v1 + key[:32] + key[64:97] + e2 + v2 + u1 + u2 + rho + key[194:258]

    lie = rk + 1
    answer_case("made-here", "ok", forged(rk, rk, rk))
    answer_case("only-E-false", "proof-e", forged(lie, rk, rk))
    answer_case("only-V-false", "proof-v", forged(rk, lie, rk))
    answer_case("only-commitment-false", "proof-commitment", forged(lie, lie, lie))

    # Opening
    def open_case(name, expect, data, **change):
        names = ("delegating", "verifying", "receiver", "capsule", "message", "plaintext")
        write(f"open-{name}", "open", expect, data, 4, **{**{it: fields[it] for it in names}, **change})

    message = bytes.fromhex(fields["message"])
    open_case("any-three", "ok", [answers[4], answers[0], answers[2]])
    open_case("all", "ok", answers)
    open_case("none", "too-few", [])
    open_case("too-few", "inconsistent", answers[:2])
    open_case("duplicate", "duplicate", [answers[0], answers[1], answers[0]])
    open_case("tag", "refused", answers[:3], message=(message[:-1] + bytes([message[-1] ^ 1])).hex())
    open_case("nonce", "refused", answers[:3], message=(bytes([message[0] ^ 1]) + message[1:]).hex())
    open_case("no-tag", "refused", answers[:3], message=message[:39].hex())
    open_case("no-nonce", "refused", answers[:3], message=message[:23].hex())
    open_case("other-message", "refused", answers[:3], message=other["message"])


if __name__ == "__main__":
    main()
