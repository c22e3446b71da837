"""Where something stands in a workload's learned OpenAPI document: the names the document uses, and JSON pointers to them.

The trainer writes the document with these names and a Finding points into it with them, so the two can't disagree. Everything is
named by what it is (endpoint, location, name), nothing by its position: a pointer in today's decision log finds the same thing
in tomorrow's document. What is distinct gets distinct names.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from authz_server.engine.call import Location
from authz_server.engine.endpoint import WILDCARD

__all__ = [
    "METHODS",
    "body_schema_id",
    "escaped",
    "is_credential",
    "is_json_name",
    "operation_id",
    "parameter_id",
    "path_names",
    "to_body_pointer",
    "to_method",
    "to_path",
    "to_pointer",
    "unescaped",
]

METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
"""Methods that OpenAPI 3.1 has a place for; others stand as `x-<method>`."""

_CREDENTIAL_HEADER: Final = re.compile(
    r"(?:proxy-)?authorization\Z|(?:x-)?(?:auth|access|api|csrf|xsrf|session)[-_]?(?:key|token|id)\Z|x-api\Z"
)
_CREDENTIAL_COOKIE: Final = re.compile(r"sess|(?:^|[^a-z])(?:sid|jwt|auth)(?:[^a-z]|\Z)|token|connect\.sid|phpsessid|jsessionid")
_VERSION: Final = re.compile(r"v[0-9]{1,2}\Z")
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_SIMPLE: Final = re.compile(r"(?!(?:.*I|i)d[0-9]*\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
"""A literal that can't be mistaken for a path parameter's name, nor, its dots doubled, for two segments."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


def path_names(endpoint: str) -> dict[int, str]:
    """Name the path parameters by their positions, after what stands before them; distinct within a path.

    >>> path_names("GET /users/{*}/categories/{*}/{*}")
    {1: 'userId', 3: 'categoryId', 4: 'id'}
    """
    parts = _parts(endpoint)
    names: dict[int, str] = {}
    for position, part in enumerate(parts):
        if part == WILDCARD:
            base = _item(parts[position - 1]) if position else "id"
            name, number = base, 2
            while name in names.values():
                name, number = f"{base}{number}", number + 1
            names[position] = name
    return names


def _parts(endpoint: str) -> list[str]:
    return endpoint.partition(" ")[2].removeprefix("/").split("/")


def _item(segment: str) -> str:
    """Name an item of what a segment names: `order-lines` has an `orderLineId`."""
    words = _WORD.findall(segment) if segment != WILDCARD and not _VERSION.match(segment) else []
    if words and words[-1].lower() == "id":
        del words[-1]
    if not words:
        return "id"
    words[-1] = _singular(words[-1])
    name = words[0][:1].lower() + words[0][1:] + "".join([word[:1].upper() + word[1:] for word in words[1:]])
    return f"{name}Id"


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")) else word


def to_path(endpoint: str) -> str:
    """Write the endpoint's path as OpenAPI does.

    >>> to_path("GET /users/{*}")
    '/users/{userId}'
    """
    names = path_names(endpoint)
    return "/" + "/".join([f"{{{names[i]}}}" if i in names else part for i, part in enumerate(_parts(endpoint))])


def to_method(endpoint: str) -> str:
    """Name the operation's place in its path item."""
    method = endpoint.partition(" ")[0].lower()
    return method if method in METHODS else f"x-{method}"


@lru_cache(maxsize=4096)
def operation_id(endpoint: str) -> str:
    """Name an operation, unlike any other of the workload; letters, digits, `.`, `_` and `-` only.

    >>> operation_id("GET /users/{*}"), operation_id("POST /shop.Cart/Add"), operation_id("GET /users/")
    ('get.users.userId', 'post.shop..Cart.Add', 'get-users-.a2da4d47')
    """
    method, _, template = endpoint.partition(" ")
    names = path_names(endpoint)
    parts = [method.lower()]
    simple = method.lower() in METHODS
    if template != "/":
        for position, part in enumerate(_parts(endpoint)):
            parts.append(names.get(position) or part.replace(".", ".."))
            simple = simple and (position in names or _SIMPLE.match(part) is not None)
    if simple:
        return ".".join(parts)
    digest = blake2b(endpoint.encode(), digest_size=4).hexdigest()
    return f"{_UNSAFE.sub('-', '.'.join(parts))}.{digest}"


def parameter_id(endpoint: str, location: str, name: str) -> str:
    """Name a parameter among the document's components; headers and cookies are the workload's, others the endpoint's.

    >>> parameter_id("GET /users", "query", "a[0]"), parameter_id("GET /users", "header", "x-tenant")
    ('get.users.query.a.5b0.5d', 'header.x-tenant')
    """
    own = "" if location in (Location.HEADER, Location.COOKIE) else f"{operation_id(endpoint)}."
    return f"{own}{location}.{_UNSAFE.sub(_hexadecimal, name)}"


def _hexadecimal(match: re.Match[str]) -> str:
    return "".join([f".{byte:02x}" for byte in match[0].encode("utf-8", "surrogatepass")])


def is_credential(location: str, name: str) -> bool:
    """Tell whether a header or cookie is, by its name, what the caller proves itself with."""
    lower = name.lower()
    if location == Location.HEADER:
        return _CREDENTIAL_HEADER.match(lower) is not None
    return location == Location.COOKIE and _CREDENTIAL_COOKIE.search(lower) is not None


def is_json_name(name: str) -> bool:
    """Tell whether a body parameter's name is a JSON pointer; else it is a flat name, as forms have."""
    return not name or name[0] == "/"


def body_schema_id(endpoint: str, name: str) -> str:
    """Name the schema of the body in which a body parameter stands."""
    return operation_id(endpoint) if is_json_name(name) else f"fields.{operation_id(endpoint)}"


def to_body_pointer(name: str) -> str:
    """Point to a body parameter within its body's schema.

    >>> to_body_pointer("/items/*/id"), to_body_pointer("/prices/{*}"), to_body_pointer("a/b")
    ('/properties/items/items/properties/id', '/properties/prices/additionalProperties', '/properties/a~1b')
    """
    if not is_json_name(name):
        return f"/properties/{escaped(name)}"
    return "".join([_STEPS.get(part) or f"/properties/{escaped(unescaped(part))}" for part in name.split("/")[1:]])


_STEPS: Final = {"*": "/items", "{*}": "/additionalProperties", "{long}": "/additionalProperties"}


def escaped(text: str) -> str:
    """Escape one part of a JSON pointer (RFC 6901, 3)."""
    return text.replace("~", "~0").replace("/", "~1")


def unescaped(part: str) -> str:
    """Undo `escaped`; what is no escape stays."""
    return part.replace("~1", "/").replace("~0", "~")


_NAMED: Final = frozenset({Location.PATH, Location.QUERY, Location.HEADER, Location.COOKIE})


@lru_cache(maxsize=4096)
def to_pointer(endpoint: str, location: str, name: str) -> str:
    """Point to what is known of a learned parameter, or, where there is no place for it, to the endpoint's operation.

    `name` of a path parameter is its position. `location` empty: the operation. Empty where the endpoint is unknown.

    >>> to_pointer("GET /users/{*}", "path", "1")
    '/components/parameters/get.users.userId.path.userId'
    >>> to_pointer("GET /users/{*}", "", "")
    '/paths/~1users~1{userId}/get'
    """
    if not endpoint:
        return ""
    if location == Location.BODY:
        return f"/components/schemas/{body_schema_id(endpoint, name)}{to_body_pointer(name)}"
    if location == Location.PATH:
        name = path_names(endpoint).get(int(name), "")
    if location not in _NAMED or (location == Location.PATH and not name) or name == "content-type":
        return f"/paths/{escaped(to_path(endpoint))}/{escaped(to_method(endpoint))}"
    section = "securitySchemes" if is_credential(location, name) else "parameters"
    return f"/components/{section}/{parameter_id(endpoint, location, name)}"
