"""Which names are locale codes: a language (ISO 639-1), with or without script and country, as `de`, `pt-BR` and `zh-Hans`."""

import re
from typing import Final

__all__ = ["is_locale"]

_FORM: Final = re.compile(r"([A-Za-z]{2})(?:[-_](?:[A-Z][a-z]{3}|[a-z]{4}|[A-Za-z]{2})){0,2}\Z")
_LANGUAGES: Final = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da"
    " de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz"
    " ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln"
    " lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi"
    " pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti"
    " tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)


def is_locale(text: str) -> bool:
    """Tell whether a name is a locale code.

    >>> [is_locale(name) for name in ("de", "pt-BR", "zh_Hans_CN", "up", "data")]
    [True, True, True, False, False]
    """
    match = _FORM.match(text)
    return match is not None and match[1].lower() in _LANGUAGES
