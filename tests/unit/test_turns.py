"""Tasks side by side, and those that are alone."""

import threading
import time

from moist.runtime.turns import Turns


def test_a_task_that_measures_time_is_alone() -> None:
    turns, lock = Turns(), threading.Lock()
    under_way: list[str] = []
    seen: list[tuple[str, ...]] = []
    together = threading.Barrier(3, timeout=30)

    def task(name: str, alone: bool = False) -> None:
        with turns.turn(alone):
            with lock:
                under_way.append(name)
                seen.append(tuple(under_way))
            if name in ("first", "second"):
                together.wait()  # breaks unless the two are under way at once
            time.sleep(0.02)
            with lock:
                seen.append(tuple(under_way))
                under_way.remove(name)

    threads = [threading.Thread(target=task, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    together.wait()
    later = [threading.Thread(target=task, args=(name, True)) for name in ("timed", "timed too")]
    later += [threading.Thread(target=task, args=("late",))]
    for thread in later:
        thread.start()
    for thread in threads + later:
        thread.join(30)
        assert not thread.is_alive()
    assert len(seen) == 10
    assert all(len(names) == 1 for names in seen if {"timed", "timed too"} & {*names})


def test_a_turn_ends_with_its_task_however_that_ends() -> None:
    turns = Turns()
    for alone in (True, False, True):
        try:
            with turns.turn(alone):
                raise RuntimeError
        except RuntimeError:
            pass
    with turns.turn(False):
        pass
