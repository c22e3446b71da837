"""The services behind Envoy: one answers HTTP with what it was asked, one gRPC with the bytes it got.

`python -m tests.e2e.echo --http PORT --grpc PORT`. One rule makes calls fail: a payment of `DECLINED` is answered with 402.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from aiohttp import web

DECLINED = 66.6
GRPC_SERVICE = "echo.Echo"
GRPC_METHOD = "Say"


async def answer(request: web.Request) -> web.Response:
    body = await request.text()
    if request.path == "/pay" and json.loads(body)["amount"] == DECLINED:
        return web.json_response({"error": "declined"}, status=402)
    return web.json_response(
        {"method": request.method, "path": request.raw_path, "headers": dict(request.headers), "body": body},
    )


def say(message: bytes, context: grpc.ServicerContext) -> bytes:
    del context
    return message


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--grpc", type=int, required=True)
    options = parser.parse_args()
    server: Any = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(say)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(GRPC_SERVICE, {GRPC_METHOD: handler}),))
    server.add_insecure_port(f"127.0.0.1:{options.grpc}")
    server.start()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{anything:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=options.http, access_log=None, print=lambda *_: None, keepalive_timeout=3600)


if __name__ == "__main__":
    main()
