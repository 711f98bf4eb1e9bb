#!/usr/bin/env python3
"""Exchanges capsules, fragments and messages between kms-crypto and umbral-pre, every role on either side.

  tests/umbral/interop.py PEER…

PEER is the example program umbral_peer, or a Python with the package kms and peer.py beside this. Needs the Python package
umbral-pre 0.11 (scripts/test installs it below target/).
"""
import itertools
import json
import subprocess
import sys

import umbral_pre as umbral

U = bytes.fromhex("03079390d0fbe220fc34aab8ecbf49098098036820fadb98c03143e55db8ec73cd")
# umbral-pre speaks MessagePack, umbral_peer the fields alone. A shape is literal bytes and lengths of fields; 1 is a flag.
SHAPES = {
    umbral.Capsule: [b"\x93", 33, 33, 32],
    umbral.KeyFrag: [b"\x95\x91\xc4\x21" + U, 32, 32, 33, b"\x95", 33, 64, 64, 1, 1],
    umbral.CapsuleFrag: [b"\x95", 33, 33, 32, 33, b"\x96", 33, 33, 33, 33, 32, 64],
}


def to_fields(kind, value):
    data, fields = bytes(value), b""
    for part in SHAPES[kind]:
        if isinstance(part, bytes):
            assert data.startswith(part), f"{kind.__name__} has another shape than expected"
            data = data[len(part):]
        elif part == 1:
            fields += {0xC2: b"\0", 0xC3: b"\1"}[data[0]]
            data = data[1:]
        else:
            assert data[:2] == bytes([0xC4, part])
            fields += data[2:part + 2]
            data = data[part + 2:]
    assert not data
    return fields


def from_fields(kind, fields):
    data = b""
    for part in SHAPES[kind]:
        if isinstance(part, bytes):
            data += part
        elif part == 1:
            data += {0: b"\xc2", 1: b"\xc3"}[fields[0]]
            fields = fields[1:]
        else:
            data += bytes([0xC4, part]) + fields[:part]
            fields = fields[part:]
    assert not fields
    return kind.from_bytes(data)


class Refused(Exception):
    """The other side said no."""


class Ours:
    """kms-crypto, through its example program or the Python package."""

    name = "kms-crypto"

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, op, **fields):
        plain = {name: it.hex() if isinstance(it, bytes) else it for name, it in fields.items()}
        if "cfrags" in plain:
            plain["cfrags"] = [it.hex() for it in plain["cfrags"]]
        self.process.stdin.write(json.dumps({"op": op, "fmt": "simple", **plain}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the peer ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def key(self):
        answer = self.ask("keygen")
        return bytes.fromhex(answer["sk"]), bytes.fromhex(answer["pk"])

    def derive(self, seed, label):
        return bytes.fromhex(self.ask("derive", seed=seed, label=label)["sk"])

    def encrypt(self, key, text):
        answer = self.ask("encrypt", pk=key, pt=text)
        return bytes.fromhex(answer["capsule"]), bytes.fromhex(answer["ct"])

    def decrypt_original(self, secret, capsule, message):
        return bytes.fromhex(self.ask("decrypt_original", sk=secret, capsule=capsule, ct=message)["pt"])

    def split(self, secret, receiving, signer, needed, total, flags):
        answer = self.ask("kfrags", sk=secret, rpk=receiving, ssk=signer, m=needed, n=total,
                          sign_d=flags[0], sign_r=flags[1])
        return [bytes.fromhex(it) for it in answer["kfrags"]]

    def reencrypt(self, capsule, frag, verifying, delegating, receiving):
        answer = self.ask("reencrypt", capsule=capsule, kfrag=frag, vk=verifying, pk=delegating, rpk=receiving)
        return bytes.fromhex(answer["cfrag"])

    def decrypt(self, secret, delegating, verifying, capsule, answers, message):
        answer = self.ask("decrypt", rsk=secret, pk=delegating, vk=verifying, capsule=capsule, cfrags=answers, ct=message)
        return bytes.fromhex(answer["pt"])


class Theirs:
    """umbral-pre, through its Python package."""

    name = "umbral-pre"

    def key(self):
        secret = umbral.SecretKey.random()
        return secret.to_be_bytes(), secret.public_key().to_compressed_bytes()

    def derive(self, seed, label):
        return umbral.SecretKeyFactory.from_secure_randomness(seed).make_key(label).to_be_bytes()

    def encrypt(self, key, text):
        capsule, message = umbral.encrypt(umbral.PublicKey.from_compressed_bytes(key), text)
        return to_fields(umbral.Capsule, capsule), bytes(message)

    def decrypt_original(self, secret, capsule, message):
        secret = umbral.SecretKey.from_be_bytes(secret)
        return bytes(umbral.decrypt_original(secret, from_fields(umbral.Capsule, capsule), message))

    def split(self, secret, receiving, signer, needed, total, flags):
        frags = umbral.generate_kfrags(
            umbral.SecretKey.from_be_bytes(secret), umbral.PublicKey.from_compressed_bytes(receiving),
            umbral.Signer(umbral.SecretKey.from_be_bytes(signer)), needed, total, *flags)
        return [to_fields(umbral.KeyFrag, it) for it in frags]

    def reencrypt(self, capsule, frag, *keys):
        keys = map(umbral.PublicKey.from_compressed_bytes, keys)
        frag = from_fields(umbral.KeyFrag, frag).verify(*keys)
        return to_fields(umbral.CapsuleFrag, umbral.reencrypt(from_fields(umbral.Capsule, capsule), frag))

    def decrypt(self, secret, delegating, verifying, capsule, answers, message):
        secret = umbral.SecretKey.from_be_bytes(secret)
        delegating, verifying = map(umbral.PublicKey.from_compressed_bytes, (delegating, verifying))
        capsule = from_fields(umbral.Capsule, capsule)
        answers = [from_fields(umbral.CapsuleFrag, it).verify(capsule, verifying, delegating, secret.public_key())
                   for it in answers]
        return bytes(umbral.decrypt_reencrypted(secret, delegating, capsule, answers, message))


def exchange(owner, sender, node, recipient, needed, total, flags):
    """One message through all hands; returns what was exchanged."""
    alice, alice_public = owner.key()
    signer, verifying = owner.key()
    bob, receiving = recipient.key()
    text = b"from %s to %s" % (sender.name.encode(), recipient.name.encode())
    capsule, message = sender.encrypt(alice_public, text)
    assert owner.decrypt_original(alice, capsule, message) == text
    frags = owner.split(alice, receiving, signer, needed, total, flags)
    answers = [node.reencrypt(capsule, it, verifying, alice_public, receiving) for it in frags]
    for chosen in (answers[:needed], answers[total - needed:], answers):
        opened = recipient.decrypt(bob, alice_public, verifying, capsule, chosen, message)
        assert opened == text
    return {"secret": bob, "delegating": alice_public, "verifying": verifying, "capsule": capsule,
            "answers": answers[:needed], "message": message}


def refusals(ours, made):
    """What umbral-pre made, with one byte changed anywhere, opens nothing here."""
    for name in ("capsule", "message"):
        for at in range(len(made[name])):
            changed = bytearray(made[name])
            changed[at] ^= 1
            yield f"{name}, byte {at}", {**made, name: bytes(changed)}
    for at in range(len(made["answers"][0])):
        changed = bytearray(made["answers"][0])
        changed[at] ^= 1
        yield f"answer, byte {at}", {**made, "answers": [bytes(changed), *made["answers"][1:]]}
    yield "one answer missing", {**made, "answers": made["answers"][1:]}
    yield "one answer twice", {**made, "answers": [*made["answers"], made["answers"][0]]}
    yield "another recipient", {**made, "secret": ours.key()[0]}


def main():
    ours, theirs = Ours(sys.argv[1:]), Theirs()
    count = 0
    for roles in itertools.product((ours, theirs), repeat=4):
        for needed, total, flags in ((1, 1, (True, True)), (2, 3, (False, False)), (3, 5, (True, False)), (8, 12, (False, True))):
            made = exchange(*roles, needed, total, flags)
            count += 1
    # The last one had umbral-pre in every role.
    refused = 0
    assert ours.decrypt(*made.values()), "what is changed below is right before it is changed"
    for name, changed in refusals(ours, made):
        try:
            ours.decrypt(*(changed[key] for key in made))
        except Refused:
            refused += 1
        else:
            sys.exit(f"accepted: {name}")
    for label in (b"", b"label", bytes(range(256))):
        seed = bytes(range(32))
        assert ours.derive(seed, label) == theirs.derive(seed, label), label
    print(f"{count} exchanges, {refused} refusals, and the keys by label agree")


main()
