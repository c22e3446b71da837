"""A booking site's sessions: holds that expire, a wizard with optional steps, payments by redirect, retries by the server.

The rules: a hold comes before travellers' names, these before a payment is begun; a payment is begun, confirmed at the bank and
then captured, and only then is a booking issued, once for each capture; a hold lasts `_HOLD_SECONDS`, after which the client,
who gets 410, takes a new one and goes on; a voucher is redeemed once for each it asked for; a refund needs a cancellation. Seats,
meals and luggage are optional and in any order. After `IDLE_SECONDS` the session is over.
"""

import random
from typing import Final

from bench.workflows.session import IDLE_SECONDS, Call, Tab, Workflow, chance, identifier, merged

__all__ = ["BOOKING"]

_HOLD_SECONDS: Final = 600.0
_CITIES: Final = "oslo bonn riga cork lyon graz bari turku".split()


class _Client:
    """A traveller; `tab` is where they book."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tab = Tab(rng)
        self.held = 0.0
        self.hold_path = ""
        self.known = False

    def enter(self) -> None:
        self.tab.get("/")
        if chance(self.rng, 0.4):
            self.log_in()

    def log_in(self) -> None:
        self.tab.get("/login")
        while chance(self.rng, 0.05):
            self._twice("/login", {"name": identifier(self.rng)}, 401)
        self._twice("/login", {"name": identifier(self.rng)}, 303)
        self.known = True

    def search(self, tab: Tab, times: int) -> None:
        for _ in range(times):
            a, b = self.rng.sample(_CITIES, 2)
            tab.get(f"/trips?from={a}&to={b}&day={self.rng.randint(1, 9)}")
            if chance(self.rng, 0.6):
                tab.get(f"/trips/{identifier(self.rng)}")
            if chance(self.rng, 0.1):
                tab.get(f"/trips/{identifier(self.rng)}/seats")

    def hold(self) -> None:
        self.hold_path = f"/holds/{identifier(self.rng)}"
        self._twice("/holds", {"trip": identifier(self.rng), "seats": self.rng.randint(1, 5)})
        self.held = self.tab.at

    def names(self) -> None:
        self.tab.change("PUT", f"{self.hold_path}/travellers", {"n": self.rng.randint(1, 5)})

    def extras(self) -> None:
        steps = [name for name in ("seats", "meals", "luggage", "insurance") if chance(self.rng, 0.3)]
        self.rng.shuffle(steps)
        for name in steps:
            self.tab.get(f"{self.hold_path}/{name}")
            if chance(self.rng, 0.8):
                self.tab.change("PUT", f"{self.hold_path}/{name}", {"choice": self.rng.randint(0, 6)})
        if chance(self.rng, 0.15):
            self.names()

    def prepare(self) -> None:
        self.hold()
        self.names()
        self.extras()
        if chance(self.rng, 0.05):
            self.tab.idle(200, 900)

    def begin(self) -> None:
        """Begin to pay; where the hold has expired, take a new one first, and give the names again."""
        while self.tab.at - self.held > _HOLD_SECONDS:
            self._twice(f"{self.hold_path}/payment", {"method": "card"}, 410)
            self.hold()
            self.names()
        self._twice(f"{self.hold_path}/payment", {"method": "card"}, 303)

    def confirm(self) -> None:
        while chance(self.rng, 0.06):
            self.tab.get(f"/payment/return?result=failed&id={identifier(self.rng)}", 402)
        self.tab.get(f"/payment/return?result=ok&id={identifier(self.rng)}")
        self._twice(f"{self.hold_path}/capture", None, 200)

    def issue(self) -> None:
        self._twice("/bookings", {"hold": identifier(self.rng)})
        if chance(self.rng, 0.8):
            self.tab.get(f"/bookings/{identifier(self.rng)}/ticket")

    def voucher(self) -> None:
        self.tab.post("/vouchers/check", {"code": identifier(self.rng)}, 200)
        self.redeem()

    def redeem(self) -> None:
        self._twice("/vouchers/redemption", {"code": identifier(self.rng)})

    def book(self) -> bool:
        self.search(self.tab, self.rng.randint(1, 4))
        if chance(self.rng, 0.25):
            return False
        self.prepare()
        if chance(self.rng, 0.25):
            self.voucher()
        if chance(self.rng, 0.2):
            return False
        self.begin()
        if chance(self.rng, 0.06):
            return False
        self.confirm()
        self.issue()
        return True

    def call_off(self) -> str:
        if not self.known:
            self.log_in()
        self.tab.get("/bookings")
        booking = f"/bookings/{identifier(self.rng)}"
        self.tab.get(booking)
        self._twice(f"{booking}/cancellation", {"reason": self.rng.choice(["ill", "moved", "weather"])})
        return booking

    def refund(self, booking: str) -> None:
        self._twice(f"{booking}/refund", {"to": self.rng.choice(["card", "voucher"])})

    def come_back(self) -> None:
        self.tab.idle(IDLE_SECONDS + 60, 4 * 3600)
        self.known = False
        self.tab.get("/trips?from=oslo&to=bonn&day=1")
        self.log_in()

    def _twice(self, path: str, body: dict[str, object] | None, status: int = 201) -> None:
        """Post; seldom the server's gateway tries again by itself, at once, what the first time was too slow."""
        if chance(self.rng, 0.01):
            self.tab.post(path, body, 504)
            self.tab.at -= 1.0
        self.tab.post(path, body, status)


def _honest(rng: random.Random) -> list[Call]:
    client = _Client(rng)
    client.enter()
    kind = rng.random()
    if kind < 0.35:
        client.search(client.tab, rng.randint(1, 8))
    elif kind < 0.85:
        while client.book() and chance(rng, 0.2):
            pass
    else:
        booking = client.call_off()
        if chance(rng, 0.8):
            client.refund(booking)
    if chance(rng, 0.03):
        client.come_back()
        client.book()
        return client.tab.calls
    others = Tab(rng, rng.uniform(client.tab.calls[0].at, client.tab.at))
    if chance(rng, 0.1):
        client.search(others, rng.randint(1, 4))
    return merged(client.tab, others)


def _abusive(rng: random.Random, kind: str) -> list[Call]:
    client = _Client(rng)
    client.enter()
    _ABUSES[kind](client)
    return client.tab.calls


def _skip_payment(client: _Client) -> None:
    """Have a booking issued that was not paid for: nothing begun, begun and broken off, or after an honest one."""
    while chance(client.rng, 0.3):
        client.book()
    client.search(client.tab, 1)
    client.prepare()
    if chance(client.rng, 0.4):
        client.begin()
    client.tab.attack = True
    client.issue()


def _skip_bank(client: _Client) -> None:
    """Capture a payment that the bank did not confirm."""
    client.search(client.tab, client.rng.randint(1, 3))
    client.prepare()
    client.begin()
    client.tab.attack = True
    client._twice(f"{client.hold_path}/capture", None, 200)
    client.issue()


def _replay_voucher(client: _Client) -> None:
    """Redeem one voucher again and again."""
    client.search(client.tab, client.rng.randint(1, 3))
    client.prepare()
    client.voucher()
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 6)):
        client.redeem()


def _refund_loop(client: _Client) -> None:
    """Have one cancellation refunded many times."""
    booking = client.call_off()
    client.refund(booking)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 8)):
        client.refund(booking)


def _issue_loop(client: _Client) -> None:
    """Have one payment's booking issued many times."""
    client.book()
    client.search(client.tab, 1)
    client.prepare()
    client.begin()
    client.confirm()
    client.issue()
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 5)):
        client.issue()


def _late_step(client: _Client) -> None:
    """Go on where it was left after the session is over."""
    client.search(client.tab, client.rng.randint(1, 3))
    client.prepare()
    client.begin()
    client.tab.idle(IDLE_SECONDS + 60, 6 * 3600)
    client.tab.attack = True
    client._twice(f"{client.hold_path}/capture", None, 200)
    client.issue()


_ABUSES: Final = {
    "skip_payment": _skip_payment,
    "skip_bank": _skip_bank,
    "replayed_voucher": _replay_voucher,
    "refund_loop": _refund_loop,
    "issue_loop": _issue_loop,
    "late_step": _late_step,
}


BOOKING: Final = Workflow("booking", "bench/booking", tuple(_ABUSES), _honest, _abusive)
