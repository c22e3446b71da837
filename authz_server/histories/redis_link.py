"""One connection to Redis or Valkey: scripts out, their answers in, in order. What goes wrong on it is a HistoryFault.

An answer that is waited for no longer is still owed: it is read, and dropped, before the next one's. So an answer that is late
costs its call its history, and not the connection.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final

from authz_server.histories.redis_errand import Errand
from authz_server.histories.redis_fault import Fault, HistoryFault, of_reply

__all__ = ["Link"]

_MAX_OWED: Final = 8
_READ_BYTES: Final = 16 * 1024
_BATCH: Final = 50

Command = tuple[str | bytes | int, ...]


class Link:
    """A connection, for one thread at a time. `trips` and `seconds` count what `answer` took since it was asked.

    `epoch` is its owner's. `asked`: when something was last sent, on the clock `perf_counter`.
    """

    def __init__(self, connection: Any, hiredis: Any, timeout: float, epoch: int) -> None:
        """Take over a connection of the package `redis` that is open; `hiredis` packs and parses, and is the module.

        What `redis` itself does around a command costs as much as the round trip, and closes what times out.
        """
        self._connection = connection
        self._socket = connection._sock
        self._timeout = timeout
        self._socket.settimeout(timeout)
        self._reader = hiredis.Reader()
        self._pack: Callable[[Command], bytes] = hiredis.pack_command
        self._broken = hiredis.HiredisError
        self._error = hiredis.ReplyError
        self._owed: deque[Errand | None] = deque()
        self.epoch = epoch
        self.asked = 0.0
        self.trips = 0
        self.seconds = 0.0

    def run(self, errand: Errand) -> Any:
        """Run one script in one round trip (two where Redis doesn't know it yet); raises HistoryFault."""
        [answer] = self.run_all((errand,))
        if isinstance(answer, Fault):
            raise HistoryFault(answer)
        return answer

    def run_all(self, errands: Sequence[Errand]) -> list[Any]:
        """Run scripts in one round trip; an answer is Redis's or a Fault. Raises HistoryFault where the connection fails."""
        self._write([_by_name(errand) for errand in errands], errands)
        answers = self._collect()
        return answers[len(answers) - len(errands) :]

    def ask(self, errand: Errand) -> None:
        """Send a script; `answer` waits for it. Raises HistoryFault."""
        self._write((_by_name(errand),), (errand,))

    def answer(self) -> Any:
        """Return the answer to what was asked last; raises HistoryFault."""
        answer = self._collect()[-1]
        if isinstance(answer, Fault):
            raise HistoryFault(answer)
        self.trips += 1
        self.seconds += perf_counter() - self.asked
        return answer

    def send(self, errand: Errand) -> None:
        """Send a script without waiting; its answer is dropped. Raises HistoryFault."""
        self.ask(errand)
        if len(self._owed) > _MAX_OWED:
            self._collect()

    def wait(self, seconds: float) -> None:
        """Wait for so long until nothing is owed; raises HistoryFault."""
        self._socket.settimeout(max(0.001, seconds))
        self._collect()
        self._socket.settimeout(self._timeout)

    def command(self, *words: str, seconds: float = 0.0) -> Any:
        """Run a command that is no script, and wait at least for so long; raises HistoryFault."""
        self._write((words,), (None,))
        self._socket.settimeout(max(seconds, self._timeout))
        answer = self._collect()[-1]
        self._socket.settimeout(self._timeout)
        if isinstance(answer, Fault):
            raise HistoryFault(answer)
        return answer

    def close(self) -> None:
        """End it; never raises."""
        with suppress(Exception):
            self._connection.disconnect()

    def _write(self, commands: Sequence[Command], errands: Sequence[Errand | None]) -> None:
        """Send commands, some at a time: the timeout is that of one sending."""
        self.asked = perf_counter()
        try:
            for first in range(0, len(commands), _BATCH):
                self._socket.sendall(b"".join([self._pack(command) for command in commands[first : first + _BATCH]]))
        except TimeoutError as error:
            raise HistoryFault(Fault.TIMEOUT) from error
        except OSError as error:
            raise HistoryFault(Fault.CONNECTION) from error
        self._owed.extend(errands)

    def _collect(self) -> list[Any]:
        """Read all answers that are owed, and run what Redis had no script for."""
        answers: list[Any] = []
        unknown: list[tuple[int, Errand]] = []
        while self._owed:
            answer = self._read()
            errand = self._owed.popleft()
            if answer is _NO_SCRIPT and errand is not None:
                unknown.append((len(answers), errand))
            answers.append(answer)
        if unknown:
            again = [errand for _, errand in unknown]
            self._write([_by_text(errand) for errand in again], again)
            for (index, _), answer in zip(unknown, self._collect(), strict=True):
                answers[index] = answer
        return answers

    def _read(self) -> Any:
        try:
            answer = self._reader.gets()
            while answer is False:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise HistoryFault(Fault.CONNECTION)
                self._reader.feed(data)
                answer = self._reader.gets()
        except TimeoutError as error:
            raise HistoryFault(Fault.TIMEOUT, late=True) from error
        except (OSError, self._broken) as error:
            raise HistoryFault(Fault.CONNECTION) from error
        if isinstance(answer, self._error):
            text = str(answer)
            return _NO_SCRIPT if text.startswith("NOSCRIPT") else of_reply(text)
        return answer


_NO_SCRIPT: Final = object()


def _by_name(errand: Errand) -> Command:
    return "EVALSHA", errand.script.sha, len(errand.keys), *errand.keys, *errand.args


def _by_text(errand: Errand) -> Command:
    return "EVAL", errand.script.text, len(errand.keys), *errand.keys, *errand.args
