"""Whether a character that a parameter never had is one that no parameter of the workload has.

That a parameter's value has a new character has a chance that its own history tells. Which character it is says more: names get a
hyphen one day, which many fields have; a character that no field of the service ever had is another thing. So the chance is taken
times the share of new characters that no other parameter had: a prediction falls back on a more general context where its own has
nothing (Cleary & Witten 1984).
"""

from typing import Final

import msgspec

__all__ = ["NO_ALPHABET", "Alphabet", "strangeness"]


class Alphabet(msgspec.Struct, frozen=True, gc=False):
    """The character classes (as in `Parameter.classes`) that are normal for any parameter of a workload.

    `new`: the -log10 of the share of those new to a parameter that were none of these.
    """

    classes: int = 0
    new: float = 0.0


NO_ALPHABET: Final = Alphabet()


def strangeness(alphabet: Alphabet, unseen: int) -> float:
    """Tell how much odder than one new class it is that a value has just these `unseen` ones, in decades; each further is one.

    >>> alphabet = Alphabet(0b011, new=0.5)
    >>> strangeness(alphabet, 0b001), strangeness(alphabet, 0b110)
    (0.0, 1.5)
    """
    return (alphabet.new if unseen & ~alphabet.classes else 0.0) + unseen.bit_count() - 1
