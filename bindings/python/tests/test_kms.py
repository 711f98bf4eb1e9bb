"""What a program in Python sees, without a network."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pickle
import signal
import tempfile
import threading
import unittest
from pathlib import Path

import kms
import kms.aio
from kms import errors


class Alone(unittest.TestCase):
    """One identity in a home of its own."""

    place: tempfile.TemporaryDirectory[str]
    home: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.place = tempfile.TemporaryDirectory()
        cls.home = Path(cls.place.name) / "home"
        made = kms.generate_key("correct horse", home=cls.home)
        assert made["identity"].startswith("kms1") and len(made["recovery_words"].split()) == 24

    @classmethod
    def tearDownClass(cls) -> None:
        cls.place.cleanup()

    def client(self) -> kms.Client:
        return kms.Client(home=self.home, passphrase="correct horse", ledger="")

    def test_bytes_come_back_whatever_holds_them(self) -> None:
        with self.client() as me:
            for data in (b"", b"launch friday", bytearray(b"x" * 100_000), memoryview(b"view")):
                sealed = me.encrypt(data)
                self.assertEqual(sealed["size"], len(data))
                opened = me.decrypt(sealed["sealed"])
                self.assertEqual((opened["data"], opened["owner"]), (bytes(data), me.identity))
                self.assertEqual(me.inspect(sealed["sealed"])["labels"][0]["label"], sealed["label"])

    def test_files_and_streams_are_one_format(self) -> None:
        content = os.urandom(3_000_000)
        with tempfile.TemporaryDirectory() as name, self.client() as me:
            here = Path(name)
            (here / "plain").write_bytes(content)
            me.encrypt_file(here / "plain", here / "sealed")
            out = io.BytesIO()
            with open(here / "sealed", "rb") as sealed:
                me.decrypt_stream(sealed, out)
            self.assertEqual(out.getvalue(), content)
            with open(here / "sealed2", "w+b") as target:
                done = me.encrypt_stream(io.BytesIO(content), target, cipher="xsalsa20-poly1305")
            self.assertEqual(done["sealed_size"], (here / "sealed2").stat().st_size)
            me.decrypt_file(here / "sealed2", here / "back")
            self.assertEqual((here / "back").read_bytes(), content)
            self.assertEqual((here / "back").stat().st_mode & 0o777, 0o600)
            with self.assertRaises(errors.Exists) as caught:
                me.decrypt_file(here / "sealed2", here / "back")
            self.assertIsInstance(caught.exception, FileExistsError)

    def test_what_a_stream_raises_is_what_its_user_sees(self) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise RuntimeError("the cable is out")

        with self.client() as me, self.assertRaisesRegex(RuntimeError, "cable"):
            me.encrypt_stream(Broken(), io.BytesIO())

    def test_errors_are_those_of_the_system_and_of_the_catalogue(self) -> None:
        with self.client() as me:
            with self.assertRaises(kms.Error) as caught:
                me.encrypt_file("/nonexistent/plain", "/nonexistent/sealed")
            error = caught.exception
            self.assertEqual((error.code, error.errno, error.filename), ("IO", errno.ENOENT, "/nonexistent/plain"))
            self.assertIsInstance(error, OSError)
            with self.assertRaises(errors.NoNetwork):
                me.contact_add("bob", kms.generate_key("x", "bob", home=self.home)["identity"])
                me.grant("00" * 16, "bob")
            with self.assertRaises(errors.UnknownRecipient) as unknown:
                me.grant("00" * 16, "bbo")
            self.assertEqual(unknown.exception.data["nearest"], "bob")
            sealed = bytearray(me.encrypt(b"x" * 10_000)["sealed"])
            sealed[-1] ^= 1
            with self.assertRaises(errors.Tampered):
                me.decrypt(sealed)
            with self.assertRaises(errors.BadData):
                me.decrypt(b"nothing of the kind")
            with self.assertRaises(errors.Unsupported):
                me.encrypt(b"x", cipher="rot13")
            with self.assertRaises(errors.BadType):
                me.grant(7, "bob")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with self.assertRaises(errors.WrongPassphrase) as wrong:
            kms.Client(home=self.home, passphrase="s3cret", ledger="")
        self.assertIsInstance(wrong.exception, PermissionError)
        self.assertNotIn("s3cret", str(wrong.exception))
        again = pickle.loads(pickle.dumps(wrong.exception))
        self.assertEqual((type(again), again.errno), (errors.WrongPassphrase, errno.EACCES))
        locked = kms.Client(home=self.home)
        with self.assertRaises(errors.Locked):
            locked.encrypt(b"x")
        with self.assertRaises(ValueError):
            me.encrypt(b"x")
        with self.assertRaises(errors.NoIdentity):
            kms.Client(home=self.home, identity="nobody", passphrase="x", ledger="")
        with self.assertRaises(errors.Exists):
            kms.generate_key("x", home=self.home)

    def test_contacts_are_those_of_the_home(self) -> None:
        friend = kms.generate_key("pass", "friend", home=self.home)["identity"]
        me = kms.Client(home=self.home)
        self.assertTrue(me.contact_add("carol", friend)["added"])
        self.assertFalse(me.contact_add("carol", friend)["added"])
        [carol] = [it for it in me.contacts()["contacts"] if it["name"] == "carol"]
        self.assertTrue(me.contact_verify("carol", carol["fingerprint"])["verified"])
        self.assertEqual(me.contact_remove("carol")["identity"], friend)
        self.assertIn("friend", [it["name"] for it in me.identities()])

    def test_asyncio_does_the_same_and_several_things_at_once(self) -> None:
        async def work() -> None:
            async with kms.aio.Client(home=self.home, passphrase="correct horse", ledger="") as me:
                sealed = await asyncio.gather(*(me.encrypt(bytes([n]) * n) for n in range(20)))
                for n, it in enumerate(sealed):
                    self.assertEqual((await me.decrypt(it["sealed"]))["data"], bytes([n]) * n)
                with self.assertRaises(errors.BadData):
                    await me.decrypt(b"")

        asyncio.run(work())

    def test_a_cancelled_task_leaves_no_file(self) -> None:
        async def work(here: Path) -> None:
            async with kms.aio.Client(home=self.home, passphrase="correct horse", ledger="") as me:
                task = asyncio.ensure_future(me.encrypt_file(here / "plain", here / "sealed"))
                await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            with open(here / "plain", "wb") as plain:
                plain.truncate(1 << 30)
            asyncio.run(work(here))
            self.assertFalse((here / "sealed").exists())

    def test_a_signal_ends_what_is_waited_for(self) -> None:
        def interrupted(*_: object) -> None:
            raise InterruptedError("enough")

        before = signal.signal(signal.SIGUSR1, interrupted)
        with tempfile.TemporaryDirectory() as name, self.client() as me:
            here = Path(name)
            with open(here / "plain", "wb") as plain:
                plain.truncate(1 << 32)
            me_thread = threading.main_thread().ident
            assert me_thread is not None
            threading.Timer(0.2, signal.pthread_kill, (me_thread, signal.SIGUSR1)).start()
            with self.assertRaisesRegex(InterruptedError, "enough"):
                me.encrypt_file(here / "plain", here / "sealed")
        signal.signal(signal.SIGUSR1, before)

    def test_a_forked_child_is_told_to_open_its_own(self) -> None:
        me = self.client()
        child = os.fork()
        if child == 0:
            try:
                me.encrypt(b"x")
            except errors.Misc:
                own = self.client()
                os._exit(0 if own.decrypt(own.encrypt(b"x")["sealed"])["data"] == b"x" else 2)
            os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
