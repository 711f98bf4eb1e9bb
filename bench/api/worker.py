"""Does what `scripts/bench api` asks for, from Python: worker.py sync|aio|rpc; examples/api_worker.rs says what there is."""

import asyncio
import json
import os
import sys
import time

import kms
import kms.aio
import kms.rpc


def now():
    return time.perf_counter(), time.process_time()


def since(then):
    return [now - before for now, before in zip(now(), then)]


async def answer(me, asked):
    async def done(result):
        return await result if asyncio.iscoroutine(result) else result

    took = []
    if asked["op"] == "bytes":
        data = b"\7" * asked["size"]
        then = now()
        sealed = await done(me.encrypt(data))
        took.append(since(then))
        then = now()
        opened = await done(me.decrypt(sealed["sealed"]))
        took.append(since(then))
        assert opened["data"] == data
    elif asked["op"] == "files":
        then = now()
        await done(me.encrypt_file(asked["plain"], asked["sealed"]))
        took.append(since(then))
        then = now()
        await done(me.decrypt_file(asked["sealed"], asked["back"]))
        took.append(since(then))
    else:
        with open(asked["sealed"], "rb") as file:
            sealed = file.read()
        for _ in range(asked["times"]):
            then = now()
            await done(me.decrypt_key(sealed, asked["ticket"]))
            took.append(since(then))
    return took


async def main():
    passphrase = os.environ["PASSPHRASE"]
    if sys.argv[1] == "aio":
        async with kms.aio.Client(passphrase=passphrase) as me:
            await serve(me)
    elif sys.argv[1] == "rpc":
        await serve(kms.rpc.Client(port=int(os.environ["RPCPORT"])))
    else:
        await serve(kms.Client(passphrase=passphrase))


async def serve(me):
    for line in sys.stdin:
        print(json.dumps(await answer(me, json.loads(line))), flush=True)


asyncio.run(main())
