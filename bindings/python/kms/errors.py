"""The errors of the catalogue (spec/API.md §3), each an :class:`OSError` with its errno."""

from __future__ import annotations

import json
from typing import Any

__all__ = [
    "Error", "Internal", "Misc", "BadType", "BadKey", "BadParameter", "NoNetwork", "Locked", "WrongPassphrase", "NoIdentity",
    "BadData", "Tampered", "WarmingUp", "UnknownRecipient", "AmbiguousRecipient", "NoQuorum", "Timeout", "BadProofs",
    "NotGranted", "Revoked", "Expired", "TooFewNodes", "NotStored", "NotRecorded", "Ledger", "NotFound", "NotOwner",
    "NotForYou", "WrongKey", "Unsupported", "Io", "Exists", "Cancelled", "Busy",
]


class Error(OSError):
    """Something that was not done. ``errno`` and ``strerror`` are those of :class:`OSError`."""

    code: str = "INTERNAL"
    """Its name in the catalogue."""
    number: int = -32603
    """Its number in JSON-RPC."""
    data: dict[str, Any]
    """What the catalogue has besides: ``nodes`` (each with its own words), ``at``, ``path`` …"""

    def __init__(self, errno: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(errno, message)
        self.data = data if data is not None else {}

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.data)


class Internal(Error):
    """A defect."""


class Misc(Error):
    """The wrong number of arguments, or a client that was opened before a fork."""


class BadType(Error):
    """A parameter of another type."""


class BadKey(Error):
    """Not a key; the sentence says where the mistake is."""


class BadParameter(Error):
    """A value that is not allowed, or terms that cannot be read."""


class NoNetwork(Error):
    """No ledger is configured, or it cannot be opened."""


class Locked(Error):
    """The identity was opened without its passphrase, or has locked itself."""


class WrongPassphrase(Error, PermissionError):
    """Or the identity file was altered."""


class NoIdentity(Error):
    """No such identity."""


class BadData(Error):
    """Not encrypted data, not a ticket, or of a version not known here."""


class Tampered(Error):
    """Altered, cut off, or not by the owner."""


class WarmingUp(Error):
    """The daemon is not ready yet."""


class UnknownRecipient(Error):
    """Nobody by that name."""


class AmbiguousRecipient(Error):
    """Several people, or a key that is not the one that was compared."""


class NoQuorum(Error):
    """Fewer nodes than needed gave their part: ``data["nodes"]``."""


class Timeout(Error, TimeoutError):
    """Too few nodes answered in time."""


class BadProofs(Error):
    """Too few answers were valid."""


class NotGranted(Error, PermissionError):
    """No such grant."""


class Revoked(Error):
    """The owner withdrew it, ``data["at"]``."""


class Expired(Error):
    """It is over, since ``data["at"]``."""


class TooFewNodes(Error):
    """Not enough nodes serve so long."""


class NotStored(Error):
    """Not enough nodes took a fragment; nothing is granted."""


class NotRecorded(Error):
    """No node wrote into the ledger."""


class Ledger(Error):
    """The ledger cannot be read, or refuses."""


class NotFound(Error, FileNotFoundError):
    """No such policy or grant."""


class NotOwner(Error, PermissionError):
    """It belongs to somebody else."""


class NotForYou(Error, PermissionError):
    """A ticket for somebody else, or for something else."""


class WrongKey(Error):
    """The key does not open it."""


class Unsupported(Error):
    """Known, and not done here."""


class Io(Error):
    """A file cannot be read or written: ``filename``."""


class Exists(Error, FileExistsError):
    """It is there already."""


class Cancelled(Error):
    """By the caller."""


class Busy(Error):
    """Too much is under way."""


def _kind(code: str) -> type[Error]:
    found = globals().get("".join(word.capitalize() for word in code.split("_")))
    return found if isinstance(found, type) and issubclass(found, Error) else Error


def _made(code: str, number: int, errno: int, message: str, data: str | dict[str, Any]) -> Error:
    """The exception for an error of the catalogue."""
    known: dict[str, Any] = json.loads(data) if isinstance(data, str) else data
    error = _kind(code)(errno, message, known)
    error.code, error.number = code, number
    if "path" in known:
        error.filename = known["path"]
    return error
