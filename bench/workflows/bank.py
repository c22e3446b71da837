"""A bank's sessions: two factors, payees, transfers in three steps, cards, rewards.

The rules: everything needs a login and one of two second factors, whichever the client chose; a new payee is confirmed before the
transfer; a transfer is drafted, authorised with a code, and executed once; a reward is claimed once for each activation. After
`IDLE_SECONDS` the session and its draft are gone.
"""

import random
from typing import Final

from bench.workflows.session import IDLE_SECONDS, Call, Tab, Workflow, chance, identifier, merged

__all__ = ["BANK"]

_PAYEES: Final = "rent water power school garden phone sports garage".split()


class _Client:
    """A customer; `tab` is where money moves."""

    def __init__(self, rng: random.Random, *, mobile: bool) -> None:
        self.rng = rng
        self.mobile = mobile
        self.tab = Tab(rng)
        self.account = f"/accounts/{identifier(rng)}"
        self.came_back = False

    def login(self) -> None:
        while chance(self.rng, 0.05):
            self.tab.post("/auth/login", self._credentials(), 401)
        self.tab.post("/auth/login", self._credentials(), 200)

    def second_factor(self) -> None:
        if chance(self.rng, 0.75 if self.mobile else 0.3):
            self.tab.post("/auth/approval", {"device": identifier(self.rng)}, 200)
            return
        self.tab.post("/auth/code", {"channel": self.rng.choice(["sms", "voice"])}, 202)
        while chance(self.rng, 0.07):
            self.tab.post("/auth/code/verification", _code(self.rng), 401)
        self.tab.post("/auth/code/verification", _code(self.rng), 200)

    def enter(self) -> None:
        self.login()
        self.second_factor()
        self.tab.get("/overview" if self.mobile else "/accounts")

    def look(self, tab: Tab, pages: int) -> None:
        for _ in range(pages):
            tab.get(
                self.rng.choice(
                    [
                        "/accounts",
                        self.account,
                        f"{self.account}/transactions?page={self.rng.randint(1, 9)}",
                        f"{self.account}/statements/{self.rng.randint(2019, 2026)}",
                        "/payees",
                        "/cards",
                        "/rewards",
                    ]
                )
            )

    def payee(self) -> None:
        if self.mobile:
            self.tab.get("/payees")
        self.tab.post("/payees", {"name": self.rng.choice(_PAYEES), "number": identifier(self.rng)})
        self.tab.change("PATCH", f"/payees/{identifier(self.rng)}/confirmation", _code(self.rng))

    def draft(self) -> str:
        if chance(self.rng, 0.25):
            self.payee()
        elif chance(self.rng, 0.6):
            self.tab.get("/payees")
        transfer = f"/transfers/{identifier(self.rng)}"
        for _ in range(1 + chance(self.rng, 0.15)):
            self.tab.post("/transfers", {"amount": 250 * self.rng.randint(1, 40), "currency": "EUR", "note": "rent"})
        if self.mobile or chance(self.rng, 0.2):
            self.tab.get(f"{transfer}/fees")
        return transfer

    def authorise(self, transfer: str) -> None:
        while chance(self.rng, 0.06):
            self.tab.change("PUT", f"{transfer}/authorisation", _code(self.rng), 403)
        self.tab.change("PUT", f"{transfer}/authorisation", _code(self.rng))

    def execute(self, transfer: str) -> None:
        self.tab.post(f"{transfer}/execution", {"urgent": chance(self.rng, 0.1)}, 202)
        if chance(self.rng, 0.6):
            self.tab.get(f"{self.account}/transactions?page=1")

    def move_money(self) -> None:
        transfer = self.draft()
        if chance(self.rng, 0.15):
            return
        self.authorise(transfer)
        if chance(self.rng, 0.03):
            return
        self.execute(transfer)

    def card(self) -> None:
        self.tab.get("/cards")
        card = f"/cards/{identifier(self.rng)}"
        if chance(self.rng, 0.5):
            self.tab.change("PUT", f"{card}/limit", {"monthly": self.rng.randint(1, 50) * 100})
        else:
            self.tab.post(f"{card}/freeze", {"reason": self.rng.choice(["lost", "stolen", "unsure"])})

    def activate(self) -> str:
        self.tab.get("/rewards")
        reward = f"/rewards/{identifier(self.rng)}"
        self.tab.change("PUT", f"{reward}/activation", {"terms": 3})
        return reward

    def claim(self, reward: str) -> None:
        self.tab.post(f"{reward}/claim", {"to": self.rng.choice(["account", "charity"])})

    def come_back(self) -> None:
        self.tab.idle(IDLE_SECONDS + 60, 3 * 3600)
        self.came_back = True
        self.tab.get("/accounts", 401)
        self.enter()

    def _credentials(self) -> dict[str, str]:
        return {"customer": identifier(self.rng), "pin": identifier(self.rng)}


def _honest(rng: random.Random) -> list[Call]:
    client = _Client(rng, mobile=chance(rng, 0.6))
    client.enter()
    client.look(client.tab, rng.randint(0, 5))
    while chance(rng, 0.45):
        kind = rng.random()
        if kind < 0.6:
            client.move_money()
        elif kind < 0.75:
            client.card()
        elif kind < 0.9:
            reward = client.activate()
            if chance(rng, 0.8):
                client.claim(reward)
        client.look(client.tab, rng.randint(0, 2))
    if chance(rng, 0.04):
        client.come_back()
        if chance(rng, 0.5):
            client.move_money()
    if not client.came_back and chance(rng, 0.4):
        client.tab.post("/auth/logout", None, 204)
    elif not client.came_back:
        return merged(client.tab, *_others(client))
    return client.tab.calls


def _others(client: _Client) -> list[Tab]:
    """Open a further tab in which people look at their accounts; never before the second factor."""
    if not chance(client.rng, 0.06):
        return []
    entered = next(call.at for call in client.tab.calls if call.method == "GET")
    others = Tab(client.rng, client.rng.uniform(entered, client.tab.at))
    client.look(others, client.rng.randint(1, 4))
    return [others]


def _abusive(rng: random.Random, kind: str) -> list[Call]:
    client = _Client(rng, mobile=chance(rng, 0.6))
    _ABUSES[kind](client)
    return client.tab.calls


def _skip_second_factor(client: _Client) -> None:
    """Go on with the password alone."""
    client.login()
    client.tab.attack = client.tab.attack_reads = True
    client.tab.get("/overview" if client.mobile else "/accounts")
    client.look(client.tab, client.rng.randint(0, 3))
    if chance(client.rng, 0.6):
        client.move_money()


def _skip_authorisation(client: _Client) -> None:
    """Execute a transfer that nobody authorised; some made an honest one before."""
    client.enter()
    client.look(client.tab, client.rng.randint(0, 4))
    while chance(client.rng, 0.4):
        client.move_money()
    transfer = client.draft()
    if chance(client.rng, 0.3):
        client.tab.change("PUT", f"{transfer}/authorisation", _code(client.rng), 403)
    client.tab.attack = True
    client.execute(transfer)


def _replay_transfer(client: _Client) -> None:
    """Execute one authorised transfer again and again."""
    client.enter()
    transfer = client.draft()
    client.authorise(transfer)
    client.execute(transfer)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 6)):
        client.execute(transfer)


def _claim_loop(client: _Client) -> None:
    """Claim one reward again and again."""
    client.enter()
    client.look(client.tab, client.rng.randint(0, 3))
    reward = client.activate()
    client.claim(reward)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 9)):
        if chance(client.rng, 0.4):
            client.tab.get("/rewards")
        client.claim(reward)


def _late_step(client: _Client) -> None:
    """Execute after the session is over, without a new login, or with one but of the draft that went with the old session."""
    client.enter()
    transfer = client.draft()
    client.authorise(transfer)
    if chance(client.rng, 0.5):
        client.tab.idle(IDLE_SECONDS + 60, 6 * 3600)
    else:
        client.come_back()
    client.tab.attack = True
    client.execute(transfer)


_ABUSES: Final = {
    "skip_second_factor": _skip_second_factor,
    "skip_authorisation": _skip_authorisation,
    "replayed_transfer": _replay_transfer,
    "claim_loop": _claim_loop,
    "late_step": _late_step,
}


def _code(rng: random.Random) -> dict[str, str]:
    """Make a one-time code out of few: a value that alarms isn't what is measured here."""
    return {"code": str(rng.randint(100_000, 100_099))}


BANK: Final = Workflow("bank", "bench/bank", tuple(_ABUSES), _honest, _abusive)
