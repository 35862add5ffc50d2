"""Which tasks of a run on one machine may be under way at the same time."""

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Tasks side by side, but for those that need the machine to themselves: such a one waits until the others end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._alone = 0  # waiting or under way

    @contextlib.contextmanager
    def turn(self, alone: bool) -> Iterator[None]:
        """Waits for a task's turn, which lasts as long as the context."""
        with self._changed:
            self._alone += alone
            self._changed.wait_for(lambda: not (self._under_way if alone else self._alone))
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._alone -= alone
                self._changed.notify_all()
