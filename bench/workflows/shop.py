"""A shop's sessions: web and mobile clients, who browse, buy, and send things back.

The rules: buying, and all of `/me` and `/orders`, needs a login since the session began; a checkout is made of a basket and
ends with its order; an order needs its payment; a coupon works once a checkout; a refund needs its return, in the same session.
The web logs in where it must, the app at its start, mostly; they do address, delivery and coupon in different orders. After
`IDLE_SECONDS` the session and its checkout are gone, the basket stays.
"""

import random
from typing import Final

from bench.workflows.session import IDLE_SECONDS, Call, Tab, Workflow, chance, identifier, merged

__all__ = ["SHOP"]

_WORDS: Final = "lamp desk chair green oak small wall round table shelf linen box sofa rug blue glass mirror frame bed".split()
_CITIES: Final = "Leeds York Bath Derby Truro Ripon Wells Ely Stoke Perth".split()


class _Client:
    """A shopper at one client; `tab` is where things are bought."""

    def __init__(self, rng: random.Random, *, mobile: bool) -> None:
        self.rng = rng
        self.mobile = mobile
        self.tab = Tab(rng)
        self.logged_in = False
        self.code = _coupon(rng)
        self.came_back = False
        self.paid: list[str] = []
        """Orders of this session or an earlier one."""

    def enter(self) -> None:
        self.tab.get("/feed?size=20" if self.mobile else "/")
        if chance(self.rng, 0.9 if self.mobile else 0.25):
            self.login()

    def login(self) -> None:
        name = f"{self.rng.choice(_WORDS)}@mail.example"
        while chance(self.rng, 0.06):
            self.tab.post("/login", {"email": name, "password": identifier(self.rng)}, 401)
        self.tab.post("/login", {"email": name, "password": identifier(self.rng)}, 200)
        self.logged_in = True
        if self.mobile:
            self.tab.get("/me")

    def browse(self, tab: Tab, pages: int) -> None:
        for _ in range(pages):
            kind = self.rng.random()
            if kind < 0.35:
                page = f"&page={self.rng.randint(2, 9)}" if chance(self.rng, 0.2) else ""
                tab.get(f"/search?q={self.rng.choice(_WORDS)}{page}")
            elif kind < 0.85:
                product = identifier(self.rng)
                tab.get(f"/products/{product}")
                if chance(self.rng, 0.2):
                    tab.get(f"/products/{product}/reviews")
            elif kind < 0.93:
                tab.get("/basket")
            elif self.logged_in:
                tab.change("PUT", f"/me/wishlist/{identifier(self.rng)}", {"note": self.rng.choice(_WORDS)})

    def add(self, tab: Tab) -> None:
        product = identifier(self.rng)
        if chance(self.rng, 0.9):
            tab.get(f"/products/{product}")
        tab.change("PUT", f"/basket/{product}", {"quantity": self.rng.randint(1, 6)})
        if chance(self.rng, 0.12):
            tab.change("DELETE", f"/basket/{product}", None, 204)
            tab.change("PUT", f"/basket/{identifier(self.rng)}", {"quantity": 1})

    def check_out(self) -> str:
        """Make a checkout of the basket, up to where it is paid for; return its path."""
        tab, rng = self.tab, self.rng
        if not self.logged_in:
            self.login()
        if chance(rng, 0.7):
            tab.get("/basket")
        checkout = f"/checkouts/{identifier(rng)}"
        tab.post("/checkouts", {"currency": rng.choice(["EUR", "GBP", "USD"])})
        steps = [self._address, self._delivery] if not self.mobile else [self._delivery, self._address]
        if chance(rng, 0.15):
            steps.append(self._address)
        for step in steps:
            step(checkout)
        if chance(rng, 0.35):
            self.coupon(checkout)
            if self.mobile:
                tab.get(checkout)
        return checkout

    def coupon(self, checkout: str) -> None:
        while chance(self.rng, 0.15):
            self.tab.post(f"{checkout}/coupons", {"code": _coupon(self.rng)}, 422)
        self.tab.post(f"{checkout}/coupons", {"code": self.code})

    def pay(self, checkout: str) -> None:
        while chance(self.rng, 0.05):
            self._pay(checkout, 402)
        self._pay(checkout, 201)

    def order(self, checkout: str) -> None:
        self.tab.post(f"{checkout}/order", {"accept_terms": True, "newsletter": chance(self.rng, 0.1)})
        self.paid.append(f"/orders/{identifier(self.rng)}")
        if chance(self.rng, 0.7):
            self.tab.get(self.paid[-1])

    def buy(self) -> bool:
        """Buy something; half-way through, many give up: tell whether it came to an order."""
        for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3])):
            self.add(self.tab)
            self.browse(self.tab, self.rng.randint(0, 2))
        if chance(self.rng, 0.3):
            return False
        checkout = self.check_out()
        if chance(self.rng, 0.12):
            return False
        self.pay(checkout)
        if chance(self.rng, 0.02):
            return False
        self.order(checkout)
        return True

    def find_order(self) -> str:
        if not self.logged_in:
            self.login()
        self.tab.get("/orders?state=delivered")
        order = self.paid[-1] if self.paid else f"/orders/{identifier(self.rng)}"
        self.tab.get(order)
        return order

    def send_back(self, order: str) -> None:
        reason = self.rng.choice(["broken", "too_small", "too_large", "late", "not_as_shown"])
        self.tab.post(f"{order}/return", {"reason": reason, "items": self.rng.randint(1, 3)})
        if chance(self.rng, 0.6):
            self.tab.get(f"{order}/return/label")

    def refund(self, order: str) -> None:
        self.tab.post(f"{order}/refund", {"to": self.rng.choice(["card", "voucher"])})

    def come_back(self) -> None:
        """Be idle until the session is over; the client notices, and logs in again."""
        self.tab.idle(IDLE_SECONDS + 60, 3 * 3600)
        self.logged_in, self.came_back = False, True
        self.tab.get("/me", 401)
        self.login()
        self.tab.get("/basket")

    def _address(self, checkout: str) -> None:
        body = {"city": self.rng.choice(_CITIES), "street": f"{self.rng.choice(_WORDS)} street"}
        self.tab.change("PUT", f"{checkout}/address", body)

    def _delivery(self, checkout: str) -> None:
        if self.mobile:
            self.tab.get(f"{checkout}/delivery-options")
        self.tab.change("PUT", f"{checkout}/delivery", {"option": self.rng.choice(["post", "courier", "pick_up"])})

    def _pay(self, checkout: str, status: int) -> None:
        self.tab.post(f"{checkout}/payment", {"card": identifier(self.rng), "amount": 500 * self.rng.randint(1, 40)}, status)


def _honest(rng: random.Random) -> list[Call]:
    client = _Client(rng, mobile=chance(rng, 0.45))
    client.enter()
    kind = rng.random()
    if kind < 0.5:
        client.browse(client.tab, rng.randint(1, 9))
        if chance(rng, 0.3):
            client.add(client.tab)
    elif kind < 0.9:
        client.browse(client.tab, rng.randint(0, 5))
        while client.buy() and chance(rng, 0.2):
            client.browse(client.tab, rng.randint(0, 3))
    else:
        for _ in range(1 + chance(rng, 0.15)):
            order = client.find_order()
            if chance(rng, 0.6):
                client.send_back(order)
                if chance(rng, 0.7):
                    client.refund(order)
    if chance(rng, 0.03):
        client.come_back()
        if chance(rng, 0.7):
            client.buy()
    return merged(client.tab, *([] if client.came_back else _others(client)))


def _others(client: _Client) -> list[Tab]:
    """Open further tabs, in which people look around and put things into the basket, whatever the first tab is at."""
    tabs = []
    for _ in range(2 if chance(client.rng, 0.02) else int(chance(client.rng, 0.08))):
        others = Tab(client.rng, client.rng.uniform(client.tab.calls[0].at, client.tab.at))
        logged_in, client.logged_in = client.logged_in, False
        client.browse(others, client.rng.randint(1, 5))
        if chance(client.rng, 0.4):
            client.add(others)
        client.logged_in = logged_in
        tabs.append(others)
    return tabs


def _abusive(rng: random.Random, kind: str) -> list[Call]:
    client = _Client(rng, mobile=chance(rng, 0.45))
    _ABUSES[kind](client)
    return merged(client.tab, *(_others(client) if kind not in ("skip_login", "late_step") else ()))


def _skip_payment(client: _Client) -> None:
    """Order without having paid: at once, after a card that was refused, or after an honest purchase."""
    client.enter()
    client.browse(client.tab, client.rng.randint(0, 4))
    while chance(client.rng, 0.4):
        client.buy()
    client.add(client.tab)
    checkout = client.check_out()
    if chance(client.rng, 0.3):
        client._pay(checkout, 402)
    client.tab.attack = True
    client.order(checkout)


def _skip_login(client: _Client) -> None:
    """Check out, or get at others' orders, without a login."""
    client.tab.get("/feed?size=20" if client.mobile else "/")
    client.browse(client.tab, client.rng.randint(0, 5))
    if chance(client.rng, 0.5):
        client.add(client.tab)
    client.logged_in = True  # as far as the client's own code knows
    client.tab.attack = True
    if chance(client.rng, 0.5):
        checkout = client.check_out()
        client.pay(checkout)
        client.order(checkout)
    else:
        client.tab.attack_reads = True
        order = client.find_order()
        if chance(client.rng, 0.5):
            client.send_back(order)
            client.refund(order)


def _replay_coupon(client: _Client) -> None:
    """Send the coupon again and again; each time something comes off the price."""
    client.enter()
    client.browse(client.tab, client.rng.randint(0, 4))
    client.add(client.tab)
    checkout = client.check_out()
    client.coupon(checkout)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 6)):
        client.tab.post(f"{checkout}/coupons", {"code": client.code})
        if chance(client.rng, 0.3):
            client.tab.get(checkout)
    client.tab.attack = False
    client.pay(checkout)
    client.order(checkout)


def _refund_loop(client: _Client) -> None:
    """Send one thing back, and have it refunded many times."""
    client.enter()
    order = client.find_order()
    client.send_back(order)
    client.refund(order)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 9)):
        if chance(client.rng, 0.4):
            client.tab.get(order)
        client.refund(order)


def _late_step(client: _Client) -> None:
    """Go on after the session is over, where it was left, without a new login, or without a new payment."""
    client.enter()
    client.add(client.tab)
    checkout = client.check_out()
    if chance(client.rng, 0.5):
        client.tab.idle(IDLE_SECONDS + 60, 6 * 3600)
        client.tab.attack = True
        client.pay(checkout)
        client.order(checkout)
    else:
        client.pay(checkout)
        client.come_back()
        client.tab.attack = True
        client.order(checkout)


_ABUSES: Final = {
    "skip_payment": _skip_payment,
    "skip_login": _skip_login,
    "replayed_coupon": _replay_coupon,
    "refund_loop": _refund_loop,
    "late_step": _late_step,
}


def _coupon(rng: random.Random) -> str:
    return f"{rng.choice(_WORDS).upper()}{rng.choice([5, 10, 15, 20])}"


SHOP: Final = Workflow("shop", "bench/shop", tuple(_ABUSES), _honest, _abusive)
