"""Speaks to kmsd with python-bitcoinrpc, which was written for bitcoind and knows nothing of kmsd."""

import sys

from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

rpc = AuthServiceProxy(sys.argv[1])
assert isinstance(rpc.uptime(), int)
made = rpc.generate_key("correct horse")
assert made["identity"].startswith("kms1")
assert rpc.unlock("correct horse")["until"] is None
sealed = rpc.encrypt("bGF1bmNo")
assert rpc.decrypt(sealed["sealed"])["data"] == "bGF1bmNo"
assert "== Sharing ==" in rpc.help()
# Its batches ask for version 2.0 and expect the answers of 1.1, with an error that is null: those are not tried.
try:
    rpc.grant(sealed["label"], "nobody")
except JSONRPCException as error:
    assert error.code == -100, error.error
else:
    raise AssertionError("nobody was found")
