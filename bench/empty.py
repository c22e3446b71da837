"""The empty handler: the transport alone, as the real server sets it up, answering every Check with prebuilt bytes.

`python -m bench.empty PORT`. Same gRPC options, same pools (one check worker) and bytes in and out; nothing is decoded.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import grpc

from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.response import to_response
from authz_server.settings import Settings

__all__ = ["main"]

_SERVICE: Final = "envoy.service.auth.v3.Authorization"
_STREAM_THREADS: Final = 128
_MAX_RPCS: Final = 4096


def main(port: int) -> None:
    """Serve until the process is ended."""
    verdict = Verdict(Action.ALLOW, Basis.JUDGED, Mode.DRY_RUN, "shop/shop", "0" * 32, "0" * 16, "POST /orders/quick")
    answer = to_response(verdict)

    def behaviour(data: bytes, context: grpc.ServicerContext) -> bytes:
        del data, context
        return answer

    bound = partial(behaviour)
    bound.experimental_thread_pool = ThreadPoolExecutor(1)  # type: ignore[attr-defined]  # as check.py does
    handler = grpc.method_handlers_generic_handler(_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(bound)})
    size = Settings().max_message_bytes
    options = [("grpc.max_receive_message_length", size), ("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 64 * 1024)]
    server = grpc.server(ThreadPoolExecutor(_STREAM_THREADS), options=options, maximum_concurrent_rpcs=_MAX_RPCS)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]))
