"""The people who use the mesh: each has an address, a browser, a language, an account, a home and habits.

Person n of a seed is the same in every phase and every run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from demo.accounts import password_of

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "DemoShop/4.12.0 (Android 15; okhttp/5.1.0)",
    "DemoShop/4.11.2 (iOS 18.6; CFNetwork/1498)",
)
_LANGUAGES = ("en-US,en;q=0.9", "en-GB,en;q=0.8", "de-DE,de;q=0.9,en;q=0.6", "fr-FR,fr;q=0.9,en;q=0.5",
              "es-ES,es;q=0.9", "tr-TR,tr;q=0.8,en;q=0.4", "pl-PL,pl;q=0.9", "en")  # fmt: skip
_FIRST = ("Ann", "Bob", "Chloé", "Dmitri", "Elif", "Fiona", "Göran", "Hana", "Igor", "José", "Karin", "Łukasz", "Mia",
          "Noor", "Oskar", "Priya", "Quentin", "Rosa", "Sean", "Theo", "Uma", "Viktor", "Wei", "Yara", "Zoë")  # fmt: skip
_LAST = ("Smith", "Müller", "García", "O'Brien", "Dupont", "Yılmaz", "Kowalski", "Rossi", "Nguyen", "Andersson",
         "van den Berg", "Jones", "Novák", "Silva", "Schmidt", "Tanaka", "Brown", "Martin", "Ivanov", "Khan")  # fmt: skip
_STREETS = ("Main Street", "High Street", "Bahnhofstraße", "Rue de la République", "Calle Mayor", "Church Lane",
            "Via Roma", "Lindenallee", "Mill Road", "Station Road", "Avenue des Champs-Élysées", "Gartenweg",
            "St. John's Road", "Queen Street", "Schönhauser Allee", "Park Avenue")  # fmt: skip
_CITIES = (("Springfield", "US"), ("London", "GB"), ("Köln", "DE"), ("Lyon", "FR"), ("Madrid", "ES"), ("İzmir", "TR"),
           ("Kraków", "PL"), ("Roma", "IT"), ("Utrecht", "NL"), ("Malmö", "SE"), ("Dublin", "IE"),
           ("Stratford-upon-Avon", "GB"), ("Porto", "PT"))  # fmt: skip

LONGEST_NAME = 10
"""Letters of an account's name, four more characters follow: many have as many, as where a site sets a limit."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a browser. `cookies` are those the browser brings besides the session's."""

    address: str
    username: str
    password: str
    agent: str
    language: str
    cookies: str
    compact_json: bool
    home: dict[str, str]
    phone: str | None


def person(seed: int, number: int) -> Person:
    """Make person `number` (0 to 63,999) of a seed; each comes from a loopback address of its own."""
    rng = random.Random(f"person:{seed}:{number}")  # noqa: S311, a plan, not a secret
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    username = rng.choice((first.lower(), f"{first[0]}{last}".lower(), f"{first}.{last}".lower()))
    username = "".join(c for c in username if c.isascii() and (c.isalnum() or c == ".")) or "user"
    username = username[:LONGEST_NAME] + (str(number) if rng.random() < 0.8 else f"_{number}").rjust(4, "0")[-4:]
    city, country = rng.choice(_CITIES)
    home = {
        "name": f"{first} {last}",
        "street": f"{rng.choice(_STREETS)} {rng.randint(1, 240)}{rng.choice(('', '', '', 'a', 'b'))}",
        "city": city,
        "zip": f"{rng.randint(10_000, 99_999)}" if country != "GB" else f"SW{rng.randint(1, 20)} {rng.randint(1, 9)}AB",
        "country": country,
    }
    if rng.random() < 0.15:
        home["street"] += f", {rng.choice(('Apt', 'Flat', 'Unit'))} {rng.randint(1, 60)}"
    return Person(
        address=f"127.1.{number // 250}.{number % 250 + 1}",
        username=username,
        password=password_of(username),
        agent=rng.choice(_AGENTS),
        language=rng.choice(_LANGUAGES),
        cookies=rng.choice(("", "", "theme=dark", "theme=light; consent=all", "consent=necessary")),
        compact_json=rng.random() < 0.7,
        home=home,
        phone=f"+{rng.randint(1, 99)} {rng.randint(100, 999)} {rng.randint(100_000, 9_999_999)}" if rng.random() < 0.4 else None,
    )


def mistyped(password: str, rng: random.Random) -> str:
    """The password as people get it wrong: caps lock, a letter left out, doubled or swapped."""
    place = rng.randrange(1, len(password))
    return rng.choice((
        password.swapcase(),
        password[:place] + password[place + 1 :] + ("x" if len(password) == place else ""),
        password[:place] + password[place - 1] + password[place:],
        f"{password}{rng.randint(0, 9)}",
    ))  # fmt: skip
