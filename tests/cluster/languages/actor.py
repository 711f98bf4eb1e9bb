"""Somebody who shares, opens or withdraws a file in Python: actor.py sync|aio|rpc share|open|revoke …"""

import asyncio
import json
import os
import sys

import kms
import kms.aio
import kms.rpc


async def act(me, verb, arguments):
    async def done(result):
        return await result if asyncio.iscoroutine(result) else result

    if verb == "share":
        source, target, terms = arguments
        sealed = await done(me.encrypt_file(source, target))
        [grant] = await done(me.grant(sealed["label"], terms))
        return {"label": sealed["label"], "ticket": grant["ticket"]}
    if verb == "open":
        source, target, ticket = arguments
        return {"size": (await done(me.decrypt_file(source, target, ticket=ticket)))["size"]}
    label, who = arguments
    return {"revoked": len(await done(me.revoke(label, who)))}


async def main():
    manner, verb, *arguments = sys.argv[1:]
    passphrase = os.environ["PASSPHRASE"]
    try:
        if manner == "aio":
            async with kms.aio.Client(passphrase=passphrase) as me:
                return await act(me, verb, arguments)
        if manner == "rpc":
            with kms.rpc.Client(port=int(os.environ["RPCPORT"])) as me:
                return await act(me, verb, arguments)
        with kms.Client(passphrase=passphrase) as me:
            return await act(me, verb, arguments)
    except kms.Error as error:
        return {"error": error.code, "errno": error.errno}


print(json.dumps(asyncio.run(main())))
