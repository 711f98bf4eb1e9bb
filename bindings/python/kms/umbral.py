"""Umbral itself, without a network: threshold proxy re-encryption on secp256k1, in the bytes of umbral-pre 0.5 to 0.11.

::

    from kms import umbral

    alice, signer, bob = (umbral.SecretKey.random() for _ in range(3))
    keys = signer.public_key(), alice.public_key(), bob.public_key()
    capsule, message = umbral.encrypt(alice.public_key(), b"peace at dawn")
    shares = umbral.generate_kfrags(alice, bob.public_key(), signer, 2, 3)
    answers = [umbral.reencrypt(capsule, share.verify(*keys)) for share in shares[:2]]
    checked = [answer.verify(capsule, *keys) for answer in answers]
    assert umbral.decrypt_reencrypted(bob, alice.public_key(), capsule, checked, message) == b"peace at dawn"

Names and parameters are those of umbral-pre, ``bytes(x)`` and ``from_bytes`` its "simple" encodings (spec/UMBRAL.md); what is made
here has yet to be verified, too. Nothing that :class:`kms.Client` encrypts is written in these encodings.
"""

from __future__ import annotations

from ._native import (
    GENERATOR,
    Capsule,
    CapsuleFrag,
    KeyFrag,
    PublicKey,
    SecretKey,
    SecretKeyFactory,
    VerifiedCapsuleFrag,
    VerifiedKeyFrag,
    decrypt_original,
    decrypt_reencrypted,
    encrypt,
    generate_kfrags,
    reencrypt,
)

__all__ = [
    "GENERATOR", "Capsule", "CapsuleFrag", "KeyFrag", "PublicKey", "SecretKey", "SecretKeyFactory", "VerifiedCapsuleFrag",
    "VerifiedKeyFrag", "decrypt_original", "decrypt_reencrypted", "encrypt", "generate_kfrags", "reencrypt",
]
