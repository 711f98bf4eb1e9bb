"""The operations, each of which waits until it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ._operations import (
    Added,
    Contact,
    Contacts,
    Data,
    DecryptedFile,
    Grant,
    GrantInfo,
    Header,
    Health,
    Identity,
    Key,
    Named,
    NodeAudit,
    Opened,
    Path,
    Revocation,
    Sealed,
    SealedFile,
    StoredTicket,
    Ticket,
    path,
)


class Operations(ABC):
    """Whoever can do the operations of spec/API.md §2 on somebody's behalf."""

    @abstractmethod
    def _call(self, operation: str, data: tuple[str, Data] | None = None, /, **params: Any) -> Any:
        """Does one of them; bytes are given and come back as they are."""

    def identities(self) -> list[Identity]:
        """Lists the identities on this machine."""
        found: list[Identity] = self._call("identities")["identities"]
        return found

    def contact_add(self, name: str, key: str) -> Added:
        """Gives somebody's key (``kms1…``) a petname. Raises ``Exists`` if the name has another key."""
        found: Added = self._call("contact_add", name=name, key=key)
        return found

    def contact_remove(self, name: str) -> Named:
        """Forgets somebody, in groups too."""
        found: Named = self._call("contact_remove", name=name)
        return found

    def contact_verify(self, name: str, fingerprint: str) -> Contact:
        """Notes that the key was compared with its owner, who has read its digits aloud."""
        found: Contact = self._call("contact_verify", name=name, fingerprint=fingerprint)
        return found

    def contacts(self) -> Contacts:
        """Lists the contacts and the groups."""
        found: Contacts = self._call("contacts")
        return found

    def encrypt(self, data: Data, *, cipher: str | None = None) -> Sealed:
        """Encrypts bytes under a new label, on which they can be granted. Asks nobody."""
        found: Sealed = self._call("encrypt", ("data", data), cipher=cipher)
        return found

    def decrypt(
        self, sealed: Data, *, ticket: str | None = None, key: str | None = None, owner: str | None = None,
    ) -> Opened:
        """Decrypts your own data, what a ``ticket`` lets you open, or with a ``key`` that was fetched before."""
        found: Opened = self._call("decrypt", ("sealed", sealed), ticket=ticket, key=key, owner=owner)
        return found

    def encrypt_file(self, source: Path, target: Path, *, cipher: str | None = None) -> SealedFile:
        """Encrypts a file of any size into a new one, which appears when it is complete."""
        found: SealedFile = self._call("encrypt_file", source=path(source), target=path(target), cipher=cipher)
        return found

    def decrypt_file(
        self, source: Path, target: Path, *, ticket: str | None = None, key: str | None = None, owner: str | None = None,
    ) -> DecryptedFile:
        """Decrypts a file of any size into a new one, which appears when all of it has been verified."""
        found: DecryptedFile = self._call("decrypt_file", source=path(source), target=path(target), ticket=ticket, key=key, owner=owner)
        return found

    def inspect(self, sealed: Data) -> Header:
        """What the header says; the first 4096 bytes are enough. Nothing of it has been verified."""
        found: Header = self._call("inspect", ("sealed", sealed))
        return found

    def grant(self, label: str, terms: str) -> list[Grant]:
        """Shares what has a label: ``bob,@team ttl=7d m=3/5``. Each recipient must be given their ``ticket``."""
        found: list[Grant] = self._call("grant", label=label, terms=terms)["grants"]
        return found

    def revoke(self, label: str, who: str) -> list[Revocation]:
        """Withdraws access; ``who`` names people, or is ``*``."""
        found: list[Revocation] = self._call("revoke", label=label, who=who)["revoked"]
        return found

    def decrypt_key(self, sealed: Data, ticket: str) -> Key:
        """Fetches the key of something shared with you; the first 4096 bytes are enough."""
        found: Key = self._call("decrypt_key", ("sealed", sealed), ticket=ticket)
        return found

    def list_grants(self, label: str | None = None) -> list[GrantInfo]:
        """Lists your grants, oldest first: of one label, or all. Asks nobody."""
        found: list[GrantInfo] = self._call("list_grants", label=label)["grants"]
        return found

    def open_ticket(self, ticket: str) -> Ticket:
        """What a ticket for you says."""
        found: Ticket = self._call("open_ticket", ticket=ticket)
        return found

    def tickets(self, store: Path) -> list[StoredTicket]:
        """Lists what a store of the filesystem shares with you; its files are decrypted as they lie there."""
        found: list[StoredTicket] = self._call("tickets", store=path(store))["tickets"]
        return found

    def policy_health(self, policy: str) -> Health:
        """Whether the nodes of one of your policies would serve its recipient now."""
        found: Health = self._call("policy_health", policy=policy)
        return found

    def audit(self, policy: str) -> list[NodeAudit]:
        """Who has used one of your grants, as its nodes have noted it."""
        found: list[NodeAudit] = self._call("audit", policy=policy)["nodes"]
        return found
