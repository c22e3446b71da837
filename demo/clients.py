"""The outside world: sends planned requests to the gateway and notes how each was answered.

Every client comes from its own loopback address, so that the gateway writes an x-forwarded-for of its own for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from demo.plans import ORDER, Request, Step, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from demo.people import Person

TIMEOUT = ClientTimeout(total=10.0)
PARALLEL_VISITS = 12
DECISION_ID = "x-authz-decision-id"
REQUEST_ID = "x-request-id"
TOO_MANY = 429
REFUSALS = (403, TOO_MANY)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request ended. `status` 0: no answer came. `denied`: meshwarden refused it, not the service.

    `ended` by the monotonic clock, in seconds; it took `seconds`.
    """

    method: str
    target: str
    status: int
    request_id: str
    denied: bool
    seconds: float
    ended: float = 0.0


class Client:
    """One person's browser: an address, a cookie, and the last order. Use as an asynchronous context."""

    def __init__(self, gateway: str, who: Person, *, plain: bool = False) -> None:
        """Send to `gateway` (host:port) as `who`; `plain`: with the headers of a service instead of a browser's."""
        self._url = f"http://{gateway}"
        self._who = who
        self._plain = plain
        self._session_cookie = ""
        self._order = "unknown"
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connections."""
        connector = TCPConnector(local_addr=(self._who.address, 0), limit=6)
        self._session = ClientSession(connector=connector, timeout=TIMEOUT, cookie_jar=DummyCookieJar())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> Answer:
        """Think, send one request, note the answer; keep the cookie and the order it brings."""
        if self._session is None:
            raise RuntimeError("a Client is used as `async with Client(...)`")
        if request.pause:
            await asyncio.sleep(request.pause)
        target = request.target.replace(ORDER, self._order)
        url = URL(self._url + target, encoded=True)
        headers = self._headers(request)
        status, request_id, denied = 0, headers.get(REQUEST_ID, ""), False
        started = time.monotonic()
        try:
            async with self._session.request(
                request.method, url, data=request.body, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
                status, request_id = response.status, response.headers.get(REQUEST_ID, request_id)
                denied = status in REFUSALS and DECISION_ID in response.headers
                if cookie := response.cookies.get("session"):
                    self._session_cookie = cookie.value
                if status == 200 and target == "/ship":
                    self._order = str(json.loads(body)["order"])
        except (ClientError, TimeoutError):
            pass
        ended = time.monotonic()
        return Answer(request.method, target, status, request_id, denied, ended - started, ended)

    async def send_step(self, step: Step) -> list[Answer]:
        """Send the requests of a step at the same time."""
        if len(step) == 1:
            return [await self.send(step[0])]
        return list(await asyncio.gather(*(self.send(request) for request in step)))

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"host": request.host}
        if self._plain:
            content = {} if request.content_type is None else {"content-type": request.content_type}
            return {**headers, **content, **dict(request.headers)}
        headers |= {"user-agent": self._who.agent, "accept": request.accept, "accept-language": self._who.language}
        session = f"session={self._session_cookie}" if self._session_cookie else ""
        if cookies := "; ".join(part for part in (self._who.cookies, session) if part):
            headers["cookie"] = cookies
        if request.content_type is not None:
            headers["content-type"] = request.content_type
        headers.update(request.headers)
        return headers


async def run_visits(
    gateway: str, visits: Iterable[Visit], on_answer: Callable[[Answer], None], parallel: int = PARALLEL_VISITS
) -> list[Answer]:
    """Let people visit, `parallel` at a time, in the plan's order; return all answers in the order they came."""
    answers: list[Answer] = []
    waiting = iter(visits)

    async def work() -> None:
        for visit in waiting:
            async with Client(gateway, visit.person) as client:
                for step in visit.steps:
                    for answer in await client.send_step(step):
                        answers.append(answer)
                        on_answer(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(work())
    return answers
