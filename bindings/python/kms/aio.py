"""The same for asyncio: ``async with kms.aio.Client(passphrase=…) as alice: await alice.encrypt(b"…")``.

Cancelling a task gives its operation up (spec/API.md §2.6).
"""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any

from . import _native
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
    given,
    path,
)
from .client import options, result
from .errors import Error

__all__ = ["Client"]


class Client:
    """An identity of this machine at work. The parameters are those of :class:`kms.Client`; it is opened by ``async with``."""

    def __init__(
        self, *, home: Path | None = None, identity: str | None = None, passphrase: str | None = None,
        ledger: str | None = None, bootstrap: list[str] | str | None = None, network: str | None = None,
        threshold: str | None = None, timeout: float | None = None,
    ) -> None:
        self._options = options(home, identity, passphrase, ledger, bootstrap, network, threshold)
        self._timeout = timeout
        self._core: _native.Core | None = None

    async def __aenter__(self) -> Client:
        opened = await asyncio.get_running_loop().run_in_executor(None, _native.Core.open, self._options)
        self._options, self._core = "", opened
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._core = None

    async def _call(self, operation: str, data: tuple[str, Data] | None = None, /, **params: Any) -> Any:
        if self._core is None:
            raise ValueError("the client is not open: async with")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(found: Any, error: Error | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(found)

        def done(found: Any, error: Error | None) -> None:
            # Called in another thread, perhaps after the loop has ended.
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, found, error)

        taken = (data[0], bytes(data[1])) if data is not None else None
        task = self._core.start(done, operation, json.dumps(given(params)), taken, self._timeout)
        try:
            return result(await future)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def identities(self) -> list[Identity]:
        """Lists the identities on this machine."""
        found: list[Identity] = (await self._call("identities"))["identities"]
        return found

    async def contact_add(self, name: str, key: str) -> Added:
        """Gives somebody's key (``kms1…``) a petname. Raises ``Exists`` if the name has another key."""
        found: Added = await self._call("contact_add", name=name, key=key)
        return found

    async def contact_remove(self, name: str) -> Named:
        """Forgets somebody, in groups too."""
        found: Named = await self._call("contact_remove", name=name)
        return found

    async def contact_verify(self, name: str, fingerprint: str) -> Contact:
        """Notes that the key was compared with its owner, who has read its digits aloud."""
        found: Contact = await self._call("contact_verify", name=name, fingerprint=fingerprint)
        return found

    async def contacts(self) -> Contacts:
        """Lists the contacts and the groups."""
        found: Contacts = await self._call("contacts")
        return found

    async def encrypt(self, data: Data, *, cipher: str | None = None) -> Sealed:
        """Encrypts bytes under a new label, on which they can be granted. Asks nobody."""
        found: Sealed = await self._call("encrypt", ("data", data), cipher=cipher)
        return found

    async def decrypt(
        self, sealed: Data, *, ticket: str | None = None, key: str | None = None, owner: str | None = None,
    ) -> Opened:
        """Decrypts your own data, what a ``ticket`` lets you open, or with a ``key`` that was fetched before."""
        found: Opened = await self._call("decrypt", ("sealed", sealed), ticket=ticket, key=key, owner=owner)
        return found

    async def encrypt_file(self, source: Path, target: Path, *, cipher: str | None = None) -> SealedFile:
        """Encrypts a file of any size into a new one, which appears when it is complete."""
        found: SealedFile = await self._call("encrypt_file", source=path(source), target=path(target), cipher=cipher)
        return found

    async def decrypt_file(
        self, source: Path, target: Path, *, ticket: str | None = None, key: str | None = None, owner: str | None = None,
    ) -> DecryptedFile:
        """Decrypts a file of any size into a new one, which appears when all of it has been verified."""
        found: DecryptedFile = await self._call("decrypt_file", source=path(source), target=path(target), ticket=ticket, key=key, owner=owner)
        return found

    async def inspect(self, sealed: Data) -> Header:
        """What the header says; the first 4096 bytes are enough. Nothing of it has been verified."""
        found: Header = await self._call("inspect", ("sealed", sealed))
        return found

    async def grant(self, label: str, terms: str) -> list[Grant]:
        """Shares what has a label: ``bob,@team ttl=7d m=3/5``. Each recipient must be given their ``ticket``."""
        found: list[Grant] = (await self._call("grant", label=label, terms=terms))["grants"]
        return found

    async def revoke(self, label: str, who: str) -> list[Revocation]:
        """Withdraws access; ``who`` names people, or is ``*``."""
        found: list[Revocation] = (await self._call("revoke", label=label, who=who))["revoked"]
        return found

    async def decrypt_key(self, sealed: Data, ticket: str) -> Key:
        """Fetches the key of something shared with you; the first 4096 bytes are enough."""
        found: Key = await self._call("decrypt_key", ("sealed", sealed), ticket=ticket)
        return found

    async def list_grants(self, label: str | None = None) -> list[GrantInfo]:
        """Lists your grants, oldest first: of one label, or all. Asks nobody."""
        found: list[GrantInfo] = (await self._call("list_grants", label=label))["grants"]
        return found

    async def open_ticket(self, ticket: str) -> Ticket:
        """What a ticket for you says."""
        found: Ticket = await self._call("open_ticket", ticket=ticket)
        return found

    async def tickets(self, store: Path) -> list[StoredTicket]:
        """Lists what a store of the filesystem shares with you; its files are decrypted as they lie there."""
        found: list[StoredTicket] = (await self._call("tickets", store=path(store)))["tickets"]
        return found

    async def policy_health(self, policy: str) -> Health:
        """Whether the nodes of one of your policies would serve its recipient now."""
        found: Health = await self._call("policy_health", policy=policy)
        return found

    async def audit(self, policy: str) -> list[NodeAudit]:
        """Who has used one of your grants, as its nodes have noted it."""
        found: list[NodeAudit] = (await self._call("audit", policy=policy))["nodes"]
        return found
