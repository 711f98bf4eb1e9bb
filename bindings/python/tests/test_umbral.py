"""kms.umbral as its user sees it; what it exchanges with umbral-pre is in tests/umbral."""

from __future__ import annotations

import ast
import inspect
import unittest
from pathlib import Path

import kms
from kms import errors, umbral


class Exchange(unittest.TestCase):
    """Alice, Bob, three nodes."""

    def setUp(self) -> None:
        self.alice, self.signer, self.bob = (umbral.SecretKey.random() for _ in range(3))
        self.keys = self.signer.public_key(), self.alice.public_key(), self.bob.public_key()
        self.capsule, self.message = umbral.encrypt(self.alice.public_key(), b"peace at dawn")
        self.shares = umbral.generate_kfrags(self.alice, self.bob.public_key(), self.signer, 2, 3)

    def answers(self) -> list[umbral.VerifiedCapsuleFrag]:
        answers = [umbral.reencrypt(self.capsule, share.verify(*self.keys)) for share in self.shares]
        return [answer.verify(self.capsule, *self.keys) for answer in answers]

    def open(self, answers: list[umbral.VerifiedCapsuleFrag]) -> bytes:
        return umbral.decrypt_reencrypted(self.bob, self.alice.public_key(), self.capsule, answers, self.message)

    def test_any_two_of_three_open_and_one_does_not(self) -> None:
        first, second, third = self.answers()
        for enough in ([first, second], [third, first], [first, second, third]):
            self.assertEqual(self.open(enough), b"peace at dawn")
        for wrong in ([], [first], [first, first]):
            with self.assertRaises(errors.WrongKey):
                self.open(wrong)
        self.assertEqual(umbral.decrypt_original(self.alice, self.capsule, self.message), b"peace at dawn")

    def test_everything_survives_as_bytes(self) -> None:
        self.keys = tuple(umbral.PublicKey.from_compressed_bytes(key.to_compressed_bytes()) for key in self.keys)  # type: ignore[assignment]
        self.assertEqual((self.keys[2], hash(self.keys[2])), (self.bob.public_key(), hash(self.bob.public_key())))
        self.bob = umbral.SecretKey.from_be_bytes(self.bob.to_be_bytes())
        self.capsule = umbral.Capsule.from_bytes(bytes(self.capsule))
        self.shares = [umbral.KeyFrag.from_bytes(bytes(share.verify(*self.keys))) for share in self.shares]
        answer = umbral.reencrypt(self.capsule, self.shares[0].verify(*self.keys))
        self.assertEqual(umbral.CapsuleFrag.from_bytes(bytes(answer)), answer)
        self.assertEqual(self.open(self.answers()), b"peace at dawn")
        self.assertEqual([len(bytes(it)) for it in (self.capsule, self.shares[0], answer)], [98, 260, 359])

    def test_what_was_altered_is_refused_and_nothing_secret_is_shown(self) -> None:
        answer = bytearray(bytes(umbral.reencrypt(self.capsule, self.shares[0].verify(*self.keys))))
        answer[-1] ^= 1
        with self.assertRaises(errors.BadProofs):
            umbral.CapsuleFrag.from_bytes(bytes(answer)).verify(self.capsule, *self.keys)
        with self.assertRaises(errors.BadProofs):
            self.shares[0].verify(self.alice.public_key(), *self.keys[1:])
        with self.assertRaises(errors.BadProofs):
            self.shares[0].verify(self.keys[0])
        with self.assertRaises(errors.WrongKey):
            umbral.decrypt_original(self.bob, self.capsule, self.message)
        for kind in (umbral.Capsule, umbral.KeyFrag, umbral.CapsuleFrag):
            with self.assertRaises(errors.BadData):
                kind.from_bytes(b"short")
        for data in (b"", bytes(32), b"\xff" * 32):
            with self.assertRaises(errors.BadKey):
                umbral.SecretKey.from_be_bytes(data)
        with self.assertRaises(errors.BadKey):
            umbral.PublicKey.from_compressed_bytes(bytes(33))
        for needed, total in ((0, 3), (4, 3), (1, 256), (1 << 31, 3)):
            with self.assertRaises(errors.BadParameter):
                umbral.generate_kfrags(self.alice, self.bob.public_key(), self.signer, needed, total)
        with self.assertRaises(TypeError):
            umbral.encrypt(self.alice, b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        secret = self.alice.to_be_bytes()
        for it in (self.alice, self.shares[0]):
            self.assertNotIn(secret.hex(), repr(it))

    def test_keys_of_a_label_are_always_the_same(self) -> None:
        factory = umbral.SecretKeyFactory.from_secure_randomness(bytes(range(32)))
        keys = [factory.make_factory(b"a").make_key(b"b").to_be_bytes() for _ in range(2)]
        self.assertEqual(*keys)
        self.assertNotEqual(keys[0], factory.make_key(b"b").to_be_bytes())
        self.assertEqual(len(factory.make_secret(b"b")), 64)
        self.assertNotEqual(umbral.SecretKeyFactory.random().make_secret(b""), umbral.SecretKeyFactory.random().make_secret(b""))
        with self.assertRaises(errors.BadKey):
            umbral.SecretKeyFactory.from_secure_randomness(b"short")

    def test_the_program_of_its_documentation_runs(self) -> None:
        text = inspect.getdoc(umbral) or ""
        lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
        exec("\n".join(lines), {})

    def test_help_says_what_the_stub_says(self) -> None:
        stub = ast.parse(Path(kms.__file__).with_name("_native.pyi").read_text())
        for definition in stub.body:
            if not isinstance(definition, (ast.ClassDef, ast.FunctionDef)) or definition.name not in umbral.__all__:
                continue
            native = getattr(umbral, definition.name)
            self.assertEqual(inspect.getdoc(native), ast.get_docstring(definition), definition.name)
            for member in ast.iter_child_nodes(definition):
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("__"):
                    said = inspect.getdoc(getattr(native, member.name))
                    self.assertEqual(said, ast.get_docstring(member), f"{definition.name}.{member.name}")
