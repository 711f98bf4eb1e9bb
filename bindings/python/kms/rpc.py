"""The same over JSON-RPC, for places without the native part: needs a running ``kmsd`` and nothing but Python.

``import kms.rpc`` works without the wheel's native library.
"""

from __future__ import annotations

import base64
import errno
import http.client
import json
import os
import select
import socket
import threading
from typing import Any

from . import errors
from ._operations import Data, Path, given
from ._sync import Operations

__all__ = ["Client"]

_BYTES = {"encrypt": "sealed", "decrypt": "data"}
_WITHOUT_IDENTITY = {"identities", "contact_add", "contact_remove", "contact_verify", "contacts", "inspect"}


class _Local(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, place: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._place)


class Client(Operations):
    """Speaks to ``kmsd`` at ``host`` and ``port``, or on the Unix socket ``unix``.

    Its credential is ``user`` and ``password`` of an rpcauth, or the cookie in ``datadir`` (``$KMSFS_HOME``, else ``~/.kms``).
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 9470, unix: Path | None = None, datadir: Path | None = None,
        user: str | None = None, password: str | None = None, identity: str | None = None, timeout: float | None = 900,
    ) -> None:
        self._place, self._unix, self._timeout = (host, port), unix, timeout
        home = datadir or os.environ.get("KMSFS_HOME") or os.path.expanduser("~/.kms")
        self._cookie = os.path.join(os.fspath(home), ".cookie")
        self._credential = f"{user}:{password}" if user is not None else None
        self._identity = identity
        # Each thread has a connection of its own, which is kept.
        self._kept = threading.local()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes this thread's connection; it is opened again when it is needed."""
        connection: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if connection is not None:
            connection.close()

    def call(self, method: str, **params: Any) -> Any:
        """Calls any method of kmsd, ``getinfo`` say."""
        headers = {"Content-Type": "application/json"}
        if self._unix is None:
            headers["Authorization"] = "Basic " + base64.b64encode(self._secret()).decode()
        connection = self._connection()
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": given(params)})
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            said = response.read()
        except BaseException:
            # Whatever comes on it now is no answer to what is asked next.
            connection.close()
            raise
        if response.status != 200:
            why = said.decode("utf-8", "replace").strip()
            raise errors.Error(errno.EPROTO, f"kmsd says {response.status}: {why}")
        answer = json.loads(said)
        if "error" in answer:
            raise _error(answer["error"])
        return answer["result"]

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if connection is None:
            if self._unix is not None:
                connection = _Local(os.fspath(self._unix), self._timeout)
            else:
                connection = http.client.HTTPConnection(*self._place, timeout=self._timeout)
            self._kept.connection = connection
        # What can be read before anything was asked is the end: kmsd has closed it, or was started again.
        if connection.sock is not None:
            ended = select.poll()
            ended.register(connection.sock, select.POLLIN)
            if ended.poll(0):
                connection.close()
        return connection

    def _secret(self) -> bytes:
        if self._credential is not None:
            return self._credential.encode()
        with open(self._cookie, "rb") as cookie:
            return cookie.read()

    def _call(self, operation: str, data: tuple[str, Data] | None = None, /, **params: Any) -> Any:
        if data is not None:
            params[data[0]] = base64.b64encode(data[1]).decode()
        if operation not in _WITHOUT_IDENTITY:
            params["identity"] = self._identity
        result = self.call(operation, **params)
        if operation in _BYTES:
            result[_BYTES[operation]] = base64.b64decode(result[_BYTES[operation]])
        return result


def _error(error: dict[str, Any]) -> errors.Error:
    data = error.get("data") or {}
    number = getattr(errno, data.get("errno", ""), errno.EIO)
    return errors._made(data.get("name", "MISC"), error["code"], number, error["message"], data)
