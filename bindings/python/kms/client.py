"""An identity of this machine at work, in this process: no daemon is needed."""

from __future__ import annotations

import json
from types import TracebackType
from typing import IO, Any

from . import _native
from ._operations import Data, NewKey, OpenedFile, Path, SealedFile, given, path
from ._sync import Operations

__all__ = ["Client", "generate_key"]


def options(
    home: Path | None, identity: str | None, passphrase: str | None, ledger: str | None, bootstrap: list[str] | str | None,
    network: str | None, threshold: str | None,
) -> str:
    """What a client is opened with, for the native side."""
    if bootstrap is not None and not isinstance(bootstrap, str):
        bootstrap = ",".join(bootstrap)
    home = path(home) if home is not None else None
    return json.dumps(given({
        "home": home, "identity": identity, "passphrase": passphrase, "ledger": ledger, "bootstrap": bootstrap,
        "network": network, "threshold": threshold,
    }))


def result(found: tuple[str, tuple[str, bytes] | None]) -> Any:
    """What the native side gives, in one map."""
    document, data = found
    value = json.loads(document)
    if data is not None:
        value[data[0]] = data[1]
    return value


def generate_key(passphrase: str, name: str = "default", *, home: Path | None = None) -> NewKey:
    """Makes an identity and keeps it under a passphrase. Its 24 recovery words are shown this once.

    ``home`` is the directory of identity, contacts and configuration; left out, those of kmsfs.
    """
    core = _native.Core.open(options(home, name, None, None, None, None, None))
    made: NewKey = result(core.call("generate_key", json.dumps({"passphrase": passphrase})))
    return made


class Client(Operations):
    """An identity at work: ``with kms.Client(passphrase=…) as alice: alice.encrypt(b"…")``.

    Without a ``passphrase`` it can only do what needs no secret: contacts, ``inspect``, ``decrypt`` with a key. ``ledger``,
    ``bootstrap``, ``network`` and ``threshold`` go before the configuration of kmsfs; ``ledger=""`` is no network.
    ``timeout``, in seconds, is for each operation that asks the network.
    """

    def __init__(
        self, *, home: Path | None = None, identity: str | None = None, passphrase: str | None = None,
        ledger: str | None = None, bootstrap: list[str] | str | None = None, network: str | None = None,
        threshold: str | None = None, timeout: float | None = None,
    ) -> None:
        self._timeout = timeout
        said = options(home, identity, passphrase, ledger, bootstrap, network, threshold)
        self._core: _native.Core | None = _native.Core.open(said)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Forgets the identity's secret. Operations under way end with it."""
        self._core = None

    @property
    def identity(self) -> str:
        """The public key, ``kms1…``: for people who want to share with you."""
        return str(self._call("identity")["identity"])

    def encrypt_stream(self, source: IO[bytes], target: IO[bytes], *, cipher: str | None = None) -> SealedFile:
        """Encrypts all that ``source.read`` gives into ``target``, which must be able to ``seek``. Memory does not grow."""
        done: SealedFile = json.loads(self._opened().encrypt_stream(source, target, json.dumps(given({"cipher": cipher}))))
        return done

    def decrypt_stream(
        self, source: IO[bytes], target: IO[bytes], *, ticket: str | None = None, owner: str | None = None,
    ) -> OpenedFile:
        """Decrypts ``source``, which must be able to ``seek``, into ``target``. What is there when it fails is verified."""
        params = json.dumps(given({"ticket": ticket, "owner": owner}))
        done: OpenedFile = json.loads(self._opened().decrypt_stream(source, target, params, self._timeout))
        return done

    def _opened(self) -> _native.Core:
        if self._core is None:
            raise ValueError("the client is closed")
        return self._core

    def _call(self, operation: str, data: tuple[str, Data] | None = None, /, **params: Any) -> Any:
        taken = (data[0], bytes(data[1])) if data is not None else None
        return result(self._opened().call(operation, json.dumps(given(params)), taken, self._timeout))
