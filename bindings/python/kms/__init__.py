"""Data that its owner encrypts, shares by m of n nodes, and withdraws.

::

    import kms

    with kms.Client(passphrase=...) as alice:
        sealed = alice.encrypt(b"launch friday")
        [grant] = alice.grant(sealed["label"], "bob ttl=7d m=3/5")

:class:`Client` waits, :class:`kms.aio.Client` is the same for asyncio, :class:`kms.rpc.Client` speaks to ``kmsd`` and needs
no native library. Errors are :class:`kms.errors.Error`, each an :class:`OSError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from .errors import Error

if TYPE_CHECKING:
    from . import aio as aio
    from .client import Client, generate_key

__all__ = ["Client", "Error", "errors", "generate_key"]


def __getattr__(name: str) -> Any:
    # The native library is loaded when it is first needed: kms.rpc does without.
    if name in ("Client", "generate_key"):
        from . import client

        return getattr(client, name)
    if name in ("aio", "rpc"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
