"""For every test: Ctrl-C interrupts programs that it starts, also where a shell has its background jobs ignore that."""

import signal


def pytest_sessionstart() -> None:
    """What is ignored here would be ignored by every program started from here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
