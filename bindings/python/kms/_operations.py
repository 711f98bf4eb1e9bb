"""The operations as everybody calls them: what they take and give (spec/API.md §2)."""

from __future__ import annotations

import os
from typing import Any, Optional, TypedDict, Union

Data = Union[bytes, bytearray, memoryview]
"""What can be encrypted: bytes in one piece."""
Path = Union[str, "os.PathLike[str]"]


class NewKey(TypedDict):
    """An identity that was made."""

    name: str
    identity: str
    recovery_words: str


class Identity(TypedDict):
    """An identity on this machine."""

    name: str
    identity: str
    unlocked: bool
    until: Optional[int]


class Contact(TypedDict):
    """Somebody in the contacts."""

    name: str
    identity: str
    fingerprint: str
    verified: bool


class Group(TypedDict):
    """People under one name."""

    name: str
    members: list[str]


class Contacts(TypedDict):
    """Everybody."""

    contacts: list[Contact]
    groups: list[Group]


class Added(TypedDict):
    """A contact that was added, or was there."""

    name: str
    identity: str
    added: bool


class Named(TypedDict):
    """A name and its key."""

    name: str
    identity: str


class Sealed(TypedDict):
    """Data that was encrypted."""

    sealed: bytes
    label: str
    size: int


class SealedFile(TypedDict):
    """A file or stream that was encrypted."""

    label: str
    size: int
    sealed_size: int


class Opened(TypedDict):
    """Data that was decrypted."""

    data: bytes
    owner: str
    label: str
    size: int


class DecryptedFile(TypedDict):
    """A file that was decrypted; one of a store has no label before it is shared."""

    owner: str
    label: str | None
    size: int


class OpenedFile(TypedDict):
    """A stream that was decrypted."""

    owner: str
    label: str
    size: int


class Label(TypedDict):
    """A label in a header."""

    label: str
    scheme: int
    epoch: int


class Header(TypedDict):
    """What a header says; nothing of it has been verified."""

    version: int
    cipher: str
    store: str
    labels: list[Label]


class Grant(TypedDict):
    """A grant that was made; ``ticket`` is what the recipient must be given."""

    recipient: str
    who: Optional[str]
    policy: str
    until: int
    threshold: str
    ticket: str


class Revocation(TypedDict):
    """Access that was withdrawn. `quorum_left`: the nodes that did not sign for the deletion could go on; withdraw again."""

    recipient: str
    who: Optional[str]
    policy: str
    at: int
    removed: int
    nodes: int
    quorum_left: bool


class Key(TypedDict):
    """A key that was fetched: whoever has it can open the data for ever."""

    key: str
    label: str
    owner: str


class GrantInfo(TypedDict):
    """One of one's own grants."""

    policy: str
    label: str
    recipient: str
    who: Optional[str]
    state: str
    until: int
    created: int
    threshold: str
    nodes: list[str]
    revoked: Optional[int]
    quorum_left: bool


class Ticket(TypedDict):
    """What a ticket says."""

    owner: str
    who: Optional[str]
    store: str
    label: str
    kind: str
    policy: str
    until: int
    threshold: str
    nodes: list[str]
    revoked: Optional[int]


class StoredTicket(Ticket):
    """A ticket that lies in a store of the filesystem."""

    ticket: str
    path: str
    file: Optional[str]


class NodeHealth(TypedDict):
    """How a node is."""

    node: str
    good: bool
    answer: str


class Health(TypedDict):
    """How a policy is."""

    policy: str
    state: str
    needed: int
    good: int
    nodes: list[NodeHealth]


class Use(TypedDict):
    """One use of a grant."""

    at: int
    recipient: str
    who: Optional[str]
    outcome: str
    capsules: int


class NodeAudit(TypedDict):
    """What one node has noted. `dropped`: older entries, for which it has no room; `lost`: requests it could not note."""

    node: str
    good: bool
    answer: str
    dropped: int
    lost: int
    entries: list[Use]


def path(given: Path) -> str:
    """An absolute path: who works may be in another directory than who asks."""
    return os.path.abspath(os.fspath(given))


def given(params: dict[str, Any]) -> dict[str, Any]:
    """Without what was left out."""
    return {name: value for name, value in params.items() if value is not None}
