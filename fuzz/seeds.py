#!/usr/bin/env python3
"""Writes the first inputs of every fuzzer into corpus/, out of the vectors in ../spec/vectors.

What a fuzzer has found stands beside them under its own name and is left alone.

    python3 fuzz/seeds.py
"""

import pathlib

HERE = pathlib.Path(__file__).parent
VECTORS = HERE.parent / "spec" / "vectors"
# Who reads what: target, directory, field and value that choose, how the payload becomes an input.
CHOSEN = [
    ("capsule", "schemes", "kind", "capsule"), ("capsule_frag", "schemes", "kind", "capsule-frag"),
    ("key_frag", "schemes", "kind", "key-frag"), ("identity_file", "schemes", "kind", "identity"),
    ("public_key", "schemes", "kind", "public-key"), ("secret_key", "schemes", "kind", "secret-key"),
    ("signature", "schemes", "kind", "signature"), ("config", "format", "kind", "config"),
    ("header", "format", "kind", "header"), ("name", "format", "kind", "name"),
    ("request", "wire", "type", "request"), ("response", "wire", "type", "response"),
]
# How many vectors that are refused stand beside those that are not: the fuzzers make more.
REFUSED = 2
BY_HAND = {
    "leaf": {"hole": bytes(32), "leaf": bytes(range(32))},
    "name": {"plain": b"report.txt", "long": b"n" * 200},
    "length": {"empty": b"\x0c" + (4096).to_bytes(8, "big"), "page": b"\x0c" + (77829).to_bytes(8, "big")},
    "threshold": {"usual": b"3/5", "one": b"1/1", "most": b"255/255"},
    "words": {"art": b"abandon " * 23 + b"art", "vote": b"zoo " * 23 + b"vote"},
    "xattrs": {"one": bytes.fromhex("a146757365722e614162"), "two": bytes.fromhex("a246757365722e614046757365722e624161")},
}


def read(path):
    head, _, payload = path.read_text().partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()), payload


def binary(payload):
    out = b""
    for word in payload.split():
        out += bytes(int(word[1:])) if word[0] == "*" else bytes.fromhex(word)
    return out


def write(target, name, data):
    (HERE / "corpus" / target).mkdir(parents=True, exist_ok=True)
    (HERE / "corpus" / target / f"vector-{name}").write_bytes(data)


def frames(file):
    at = 16
    while at < len(file):
        length = int.from_bytes(file[at : at + 4], "big")
        yield file[at + 4 : at + 4 + length]
        at += 8 + length


def ledger():
    for kind in ("grant", "register", "revoke"):
        _, payload = read(VECTORS / "ledger" / f"entry-{kind}.txt")
        write("ledger_entry", kind, binary(payload.split()[-1]))
    _, payload = read(VECTORS / "ledger" / "file-three-records.txt")
    for number, record in enumerate(frames(binary(payload))):
        write("ledger_record", str(number), record)


def umbral():
    fields, payload = read(VECTORS / "umbral" / "from-umbral-1-of-1.txt")
    write("umbral", "capsule", binary(fields["capsule"]))
    for number, frag in enumerate(payload.split()):
        write("umbral", str(number), binary(frag))


def signing():
    """What is in a key fragment of a signing key: its split, without what is of one node; a signature; two points."""
    _, payload = read(VECTORS / "frost" / "key-frag-0.txt")
    data = binary(payload)
    at = data.index(bytes([3, 5]))
    write("key_frag", "frost", data)
    write("signing", "split", data[at : at + 2 + 3 * 33 + 64])
    write("signing", "commitment", data[at + 2 : at + 2 + 2 * 33])
    _, payload = read(VECTORS / "frost" / "signature.txt")
    write("signing", "signature", binary(payload))
    for path in ("command-sign-commit", "command-sign-share"):
        _, payload = read(VECTORS / "messages" / f"{path}.txt")
        write("request", path, binary(payload))


def main():
    for old in HERE.glob("corpus/*/vector-*"):
        old.unlink()
    for target, directory, field, value in CHOSEN:
        refused = 0
        for path in sorted((VECTORS / directory).glob("*.txt")):
            fields, payload = read(path)
            if fields.get(field) != value:
                continue
            if fields["expect"] != "ok":
                refused += 1
                if refused > REFUSED:
                    continue
            try:
                data = binary(payload)
            except ValueError:
                data = (payload if target == "config" else payload.removesuffix("\n")).encode()
            write(target, path.stem, data)
    ledger()
    umbral()
    signing()
    for target, inputs in BY_HAND.items():
        for name, data in inputs.items():
            write(target, name, data)


if __name__ == "__main__":
    main()
