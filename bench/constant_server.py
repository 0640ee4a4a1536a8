"""A server that answers every put with the same bytes: what is measured with it is the client.

`python -m bench.constant_server` prints its port, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import sys

from raftkv._native.http2 import MethodTable, Server, Stream
from raftkv.pb.etcd import rpc_pb2 as pb

ANSWER = pb.PutResponse(
    header=pb.ResponseHeader(cluster_id=1 << 63, member_id=1 << 62, revision=1 << 20, raft_term=2)
).SerializeToString()
PATHS = (b"/etcdserverpb.KV/Put", b"/etcdserverpb.KV/Range", b"/etcdserverpb.KV/Txn")


def answer(stream: Stream, _message: bytes) -> None:
    stream.reply(ANSWER)


async def serve() -> None:
    methods = MethodTable()
    for path in PATHS:
        methods.unary(path, answer)
    server = Server(methods, asyncio.Protocol)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listener.close()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
