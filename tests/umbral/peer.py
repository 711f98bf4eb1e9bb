"""The example program umbral_peer once more, through the Python package: the same requests, the same answers."""
import json
import sys

from kms import umbral


def secret(text):
    return umbral.SecretKey.from_be_bytes(bytes.fromhex(text))


def public(text):
    return umbral.PublicKey.from_compressed_bytes(bytes.fromhex(text)) if text is not None else None


def read(kind, text):
    return kind.from_bytes(bytes.fromhex(text))


def both(key):
    return {"sk": key.to_be_bytes().hex(), "pk": key.public_key().to_compressed_bytes().hex()}


def share(asked):
    keys = (public(asked.get(name)) for name in ("vk", "pk", "rpk"))
    return read(umbral.KeyFrag, asked["kfrag"]).verify(*keys)


def checked(asked, text, recipient):
    keys = public(asked["vk"]), public(asked["pk"]), recipient
    return read(umbral.CapsuleFrag, text).verify(read(umbral.Capsule, asked["capsule"]), *keys)


def answer(asked):
    op = asked["op"]
    if op == "u":
        return {"u": umbral.GENERATOR.hex()}
    if op == "keygen":
        return both(umbral.SecretKey.random())
    if op == "pubkey":
        return both(secret(asked["sk"]))
    if op == "derive":
        factory = umbral.SecretKeyFactory.from_secure_randomness(bytes.fromhex(asked["seed"]))
        return both(factory.make_key(bytes.fromhex(asked["label"])))
    if op == "encrypt":
        capsule, message = umbral.encrypt(public(asked["pk"]), bytes.fromhex(asked["pt"]))
        return {"capsule": bytes(capsule).hex(), "ct": message.hex()}
    if op == "decrypt_original":
        capsule, message = read(umbral.Capsule, asked["capsule"]), bytes.fromhex(asked["ct"])
        return {"pt": umbral.decrypt_original(secret(asked["sk"]), capsule, message).hex()}
    if op == "kfrags":
        shares = umbral.generate_kfrags(
            secret(asked["sk"]), public(asked["rpk"]), secret(asked["ssk"]), asked["m"], asked["n"],
            asked.get("sign_d", True), asked.get("sign_r", True))
        return {"kfrags": [bytes(it).hex() for it in shares]}
    if op == "verify_kfrag":
        share(asked)
        return {"ok": True}
    if op == "reencrypt":
        return {"cfrag": bytes(umbral.reencrypt(read(umbral.Capsule, asked["capsule"]), share(asked))).hex()}
    if op == "verify_cfrag":
        checked(asked, asked["cfrag"], public(asked["rpk"]))
        return {"ok": True}
    if op == "decrypt":
        mine = secret(asked["rsk"])
        answers = [checked(asked, it, mine.public_key()) for it in asked["cfrags"]]
        capsule, message = read(umbral.Capsule, asked["capsule"]), bytes.fromhex(asked["ct"])
        return {"pt": umbral.decrypt_reencrypted(mine, public(asked["pk"]), capsule, answers, message).hex()}
    raise ValueError(f"there is no operation {op}")


for line in sys.stdin:
    try:
        said = answer(json.loads(line))
    except (OSError, ValueError, KeyError, OverflowError) as error:
        said = {"error": str(error)}
    print(json.dumps(said), flush=True)
