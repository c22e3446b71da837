"""An issue tracker's sessions: free navigation, a login by redirects, tokens that expire, and a client that sends in batches.

The rules, few among many pages: a session begins with an authorisation, whose code is exchanged once for a token; the token is
renewed when it expires, which is minutes; what is deleted has to be asked for before; an attachment is announced, uploaded, and
then tied to an issue; an invitation is accepted once. After `IDLE_SECONDS` the session is over, and the authorisation with it.
"""

import random
from typing import Final

from bench.workflows.session import IDLE_SECONDS, Call, Noise, Tab, Workflow, chance, identifier, merged

__all__ = ["TRACKER"]

_TOKEN_SECONDS: Final = 600.0
"""How long an access token works; then the client gets 401 and renews it."""
_BATCHED: Final = Noise(think=0.03, decide=0.01, reloaded=0.0, back=0.0)
"""A phone that was off line: what was done meanwhile comes at once, before anybody knows how it ended."""
_STATES: Final = "open triaged started blocked done".split()


class _Client:
    """Somebody with an account; `tab` is where they work."""

    def __init__(self, rng: random.Random, *, phone: bool) -> None:
        self.rng = rng
        self.phone = phone
        self.tab = Tab(rng)
        self.issues = [f"/issues/{rng.randint(1, 40)}" for _ in range(4)]
        self.renewed = 0.0

    def login(self) -> None:
        self.tab.get("/oauth/authorize?client=web")
        while chance(self.rng, 0.05):
            self.tab.post("/oauth/consent", {"user": identifier(self.rng)}, 401)
        self.tab.post("/oauth/consent", {"user": identifier(self.rng)}, 303)
        self.exchange()

    def exchange(self) -> None:
        self.tab.post("/oauth/code", {"code": identifier(self.rng)}, 200)
        self.renewed = self.tab.at

    def fresh(self) -> None:
        """Renew the token where it has expired: the call that finds out is refused."""
        if self.tab.at - self.renewed > _TOKEN_SECONDS:
            self.tab.get("/me", 401)
            self.tab.post("/oauth/refresh", {"grant": "refresh"}, 200)
            self.renewed = self.tab.at

    def look(self, tab: Tab, pages: int) -> None:
        issue = self.rng.choice(self.issues)
        for _ in range(pages):
            pages_of = [
                "/boards",
                f"/boards/{self.rng.randint(1, 40)}",
                issue,
                f"{issue}/history",
                f"/wiki/{identifier(self.rng)}",
                "/wiki",
                f"/search?q={self.rng.choice(_STATES)}",
                "/me",
                f"/users/{self.rng.randint(1, 40)}",
                "/notifications",
            ]
            tab.get(self.rng.choice(pages_of))

    def work(self, tab: Tab) -> None:
        """Do one of the many things that need nothing but a login."""
        issue = self.rng.choice(self.issues)
        kind = self.rng.random()
        if kind < 0.35:
            tab.post(f"{issue}/comments", {"length": self.rng.randint(1, 9)})
        elif kind < 0.6:
            tab.change("PATCH", issue, {"state": self.rng.choice(_STATES)})
        elif kind < 0.7:
            tab.post("/issues", {"title": self.rng.choice(_STATES)})
        elif kind < 0.8:
            tab.change("PUT", f"/wiki/{identifier(self.rng)}", {"revision": self.rng.randint(1, 30)})
        elif kind < 0.9:
            tab.change("PUT", f"{issue}/watchers", {"me": True})
        else:
            tab.change("DELETE", f"{issue}/watchers", None, 204)

    def announce(self) -> str:
        upload = f"/uploads/{identifier(self.rng)}"
        self.tab.post("/uploads", {"size": self.rng.randint(1, 9) * 1000})
        return upload

    def attach(self) -> None:
        upload = self.announce()
        if chance(self.rng, 0.1):
            return
        self.tab.change("PUT", upload, None, 204)
        while chance(self.rng, 0.1):
            self.tab.change("PUT", upload, None, 204)
        self.tie()

    def tie(self) -> None:
        self.tab.post(f"{self.rng.choice(self.issues)}/attachments", {"upload": identifier(self.rng)})

    def delete(self, *, asked: bool = True) -> None:
        board = f"/boards/{self.rng.randint(1, 40)}"
        if asked:
            self.tab.get(board)
            self.tab.post(f"{board}/deletion", {"sure": False}, 202)
            if chance(self.rng, 0.3):
                return
        self.tab.change("DELETE", board, {"sure": True}, 204)

    def invited(self) -> str:
        invitation = f"/invitations/{identifier(self.rng)}"
        self.tab.get(invitation)
        return invitation

    def accept(self, invitation: str) -> None:
        self.tab.post(f"{invitation}/acceptance", {"role": "member"})

    def act(self) -> None:
        """Do something, most often something that has no rule."""
        self.fresh()
        kind = self.rng.random()
        if kind < 0.1 and self.phone:
            self.catch_up()
        elif kind < 0.66:
            self.work(self.tab)
        elif kind < 0.84:
            self.attach()
        elif kind < 0.94:
            self.delete()
        else:
            self.accept(self.invited())

    def catch_up(self) -> None:
        """Send what was done while there was no network."""
        batch = Tab(self.rng, self.tab.at + 2.0, _BATCHED)
        for _ in range(self.rng.randint(2, 7)):
            self.work(batch)
        self.tab.calls += batch.calls
        self.tab.at = batch.at

    def come_back(self) -> None:
        self.tab.idle(IDLE_SECONDS + 60, 3 * 3600)
        self.tab.get("/me", 401)
        self.login()


def _honest(rng: random.Random) -> list[Call]:
    client = _Client(rng, phone=chance(rng, 0.35))
    client.login()
    client.look(client.tab, rng.randint(0, 6))
    while chance(rng, 0.72):
        client.act()
        if chance(rng, 0.03):
            client.tab.idle(60, 1200)
        client.look(client.tab, rng.randint(0, 3))
    if chance(rng, 0.03):
        client.come_back()
        client.act()
        return client.tab.calls
    return merged(client.tab, *_others(client))


def _others(client: _Client) -> list[Tab]:
    """Open further tabs, or sit with others at one account: they look and work at once, with the same token."""
    tabs = []
    entered = next(call.at for call in client.tab.calls if call.path == "/oauth/code" and call.status == 200) + 2.0
    for _ in range(3 if chance(client.rng, 0.02) else int(chance(client.rng, 0.15))):
        others = Tab(client.rng, client.rng.uniform(entered, max(entered, client.tab.at)))
        client.look(others, client.rng.randint(1, 5))
        if chance(client.rng, 0.5):
            client.work(others)
        tabs.append(others)
    return tabs


def _abusive(rng: random.Random, kind: str) -> list[Call]:
    client = _Client(rng, phone=chance(rng, 0.35))
    _ABUSES[kind](client)
    return client.tab.calls


def _skip_code(client: _Client) -> None:
    """Begin with a stolen token: no authorisation, no code."""
    client.tab.attack = client.tab.attack_reads = True
    client.look(client.tab, client.rng.randint(0, 3))
    client.work(client.tab)
    client.act()


def _skip_upload(client: _Client) -> None:
    """Tie an upload to an issue that was announced and never checked, or not even announced."""
    _busy(client)
    if chance(client.rng, 0.5):
        client.announce()
    client.tab.attack = True
    client.tie()


def _skip_asking(client: _Client) -> None:
    """Delete without having asked for it, some after an honest deletion of something else."""
    _busy(client)
    client.tab.attack = True
    client.delete(asked=False)


def _replay_code(client: _Client) -> None:
    """Exchange one code again and again, for as many tokens."""
    client.login()
    client.look(client.tab, client.rng.randint(0, 3))
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 5)):
        client.exchange()


def _accept_loop(client: _Client) -> None:
    """Accept one invitation again and again, each time for another seat."""
    _busy(client)
    invitation = client.invited()
    client.accept(invitation)
    client.tab.attack = True
    for _ in range(client.rng.randint(2, 7)):
        client.accept(invitation)


def _late_step(client: _Client) -> None:
    """Go on with a deletion or an attachment after the session is over, without a new login."""
    client.login()
    client.look(client.tab, client.rng.randint(0, 4))
    deletes = chance(client.rng, 0.5)
    if deletes:
        client.tab.post(f"/boards/{client.rng.randint(1, 40)}/deletion", {"sure": False}, 202)
    else:
        client.tab.change("PUT", client.announce(), None, 204)
    client.tab.idle(IDLE_SECONDS + 60, 6 * 3600)
    client.tab.attack = True
    if deletes:
        client.delete(asked=False)
    else:
        client.tie()


def _busy(client: _Client) -> None:
    client.login()
    client.look(client.tab, client.rng.randint(0, 4))
    while chance(client.rng, 0.5):
        client.act()


_ABUSES: Final = {
    "skip_code": _skip_code,
    "skip_upload": _skip_upload,
    "skip_asking": _skip_asking,
    "replayed_code": _replay_code,
    "accept_loop": _accept_loop,
    "late_step": _late_step,
}


TRACKER: Final = Workflow("tracker", "bench/tracker", tuple(_ABUSES), _honest, _abusive)
