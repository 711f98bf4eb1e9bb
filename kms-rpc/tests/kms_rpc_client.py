"""Speaks to kmsd with kms.rpc, where there is no native library: kms_rpc_client.py PORT DATADIR SOCKET."""

import concurrent.futures
import errno
import os
import socket
import sys
import tempfile

import kms.rpc
from kms import errors

port, home, unix = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def refused(kind, number, work, *arguments, **named):
    try:
        work(*arguments, **named)
    except kind as error:
        assert type(error) is kind and error.errno == number, repr(error)
        return error
    raise AssertionError(f"{kind.__name__} was expected")


with kms.rpc.Client(port=port, datadir=home) as me:
    made = me.call("generate_key", passphrase="correct horse")
    me.call("unlock", passphrase="correct horse")
    for data in (b"", b"launch friday", os.urandom(2_000_000), bytearray(b"x"), memoryview(b"view")):
        sealed = me.encrypt(data)
        opened = me.decrypt(sealed["sealed"])
        assert opened["data"] == bytes(data) and opened["owner"] == made["identity"]
    assert me.inspect(sealed["sealed"][:4096])["labels"][0]["label"] == sealed["label"]
    with tempfile.TemporaryDirectory() as here:
        # Paths are those of the client, wherever kmsd was started.
        os.chdir(here)
        with open("plain", "wb") as plain:
            plain.write(b"launch friday")
        me.encrypt_file("plain", "sealed")
        me.decrypt_file("sealed", "back")
        with open("back", "rb") as back:
            assert back.read() == b"launch friday"
        assert refused(errors.Io, errno.ENOENT, me.encrypt_file, "none", "x").filename == os.path.join(here, "none")
        refused(errors.Exists, errno.EEXIST, me.decrypt_file, "sealed", "back")
        os.chdir("/")
    bob = me.call("generate_key", passphrase="battery staple", name="bob")["identity"]
    assert me.contact_add("bob", bob)["added"] and me.contacts()["contacts"][0]["name"] == "bob"
    assert {it["name"]: it["unlocked"] for it in me.identities()} == {"default": True, "bob": False}
    assert me.list_grants() == []
    assert refused(errors.UnknownRecipient, errno.EDESTADDRREQ, me.grant, sealed["label"], "bbo").data["nearest"] == "bob"
    refused(errors.NoNetwork, errno.EHOSTUNREACH, me.grant, sealed["label"], "bob")
    refused(errors.BadType, errno.EINVAL, me.grant, 7, "bob")
    refused(errors.Tampered, errno.EIO, me.decrypt, sealed["sealed"][:-1] + b"\0")
    assert me.call("uptime") >= 0
    # A connection that kmsd has closed meanwhile is opened again.
    me._connection().sock.shutdown(socket.SHUT_RDWR)
    assert me.call("uptime") >= 0
    with concurrent.futures.ThreadPoolExecutor(8) as several:
        assert all(it["data"] == b"%d" % n for n, it in enumerate(several.map(
            lambda n: me.decrypt(me.encrypt(b"%d" % n)["sealed"]), range(40))))
with kms.rpc.Client(unix=unix, identity="bob") as bobs:
    refused(errors.Locked, errno.ENOKEY, bobs.encrypt, b"x")
with kms.rpc.Client(port=port, user="mallory", password="guess") as mallory:
    assert "401" in str(refused(errors.Error, errno.EPROTO, mallory.identities))
assert "kms._native" not in sys.modules
