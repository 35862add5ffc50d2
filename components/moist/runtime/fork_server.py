"""python -m moist.runtime.fork_server FD MODULE...: runs programs as `python -m MODULE` does, without its imports.

A process imports what tasks need once, torch among it, and is then forked for each of them. A task has its own process
with the environment, arguments, signals and exit code that it would have as a program of its own.
"""

import contextlib
import gc
import importlib
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from moist.runtime import cores
from moist.runtime.provenance import code_version

USED_LATE = {
    "moist.data.clusters": "sklearn.cluster",
    "moist.data.sources": "sklearn.datasets",
    "moist.models.cost": "fvcore.nn",
    "moist.models.teacher": "torchvision.models.resnet",
    "moist.training.loop": "torch._dynamo",
}
"""What takes long to import, and is so only when these modules of ours first use it."""

STOPPING = (signal.SIGINT, signal.SIGTERM)


def is_possible() -> bool:
    """Elsewhere than on Linux, forking a process with such libraries in it is not safe."""
    return sys.platform == "linux"


class ForkedTask:
    """A task that was started; used as a `subprocess.Popen`."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel

    def wait(self) -> int:
        """The exit code; negative for a signal, as subprocess has it."""
        try:
            return int(self._channel.recv())
        except (EOFError, OSError):
            return -signal.SIGKILL  # whatever killed the process that tasks are forked from ended the task

    def terminate(self) -> None:
        """Ask the task to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End the task."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):  # it may have ended
            self._channel.send(number)

    def __enter__(self) -> "ForkedTask":
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when the task has ended."""
        with self._channel, contextlib.suppress(EOFError, OSError):
            while True:
                self._channel.recv_bytes()


class ForkServer:
    """The process that tasks are forked from; when the process that started it dies, they all end."""

    def __init__(self, modules: Iterable[str], environment: Mapping[str, str]) -> None:
        """Starts at once. `modules` are imported whenever nothing else is to be done."""
        self._lock = threading.Lock()
        self._control, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> ForkedTask:
        """Start `python -m` with these arguments, the module's name first, in this environment."""
        ours, theirs = Pipe()
        ours.send((list(arguments), dict(environment)))
        with self._lock, theirs, contextlib.suppress(OSError):  # a server that was killed shows in the task's exit code
            send_handle(self._control, theirs.fileno(), self._process.pid)
        return ForkedTask(ours)

    def close(self) -> None:
        """End the server; tasks must have ended."""
        self._process.kill()
        self._process.wait()
        self._control.close()


class _Server:
    """The server's side; it has one thread, so that it can be forked."""

    def __init__(self, control: Connection, modules: Iterable[str]) -> None:
        self._control = control
        self._ahead = iter(modules)
        self._tasks: dict[int, BaseProcess] = {}  # by the sentinel that tells of their end
        self._channels: dict[Connection, int] = {}

    def serve(self) -> None:
        """Fork tasks until the other side is gone and they have ended."""
        code_version()  # of what is imported from here on, and not of what it is edited to meanwhile
        for number in STOPPING:  # a terminal's Ctrl-C reaches the tasks, which know what to do
            signal.signal(number, signal.SIG_IGN)
        idle = False
        while self._tasks or not self._control.closed:
            control = [] if self._control.closed else [self._control]
            ready = wait([*control, *self._tasks, *self._channels], None if idle else 0)
            if not ready:
                module = next(self._ahead, None)
                idle = module is None
                _import(module or __name__)
            for each in ready:
                if each is self._control:
                    self._start()
                elif each in self._tasks:
                    self._finish(each)
                elif each in self._channels:
                    self._signal(each)

    def _start(self) -> None:
        try:
            channel = Connection(recv_handle(self._control))
        except (EOFError, ConnectionError):
            self._control.close()
            return
        arguments, environment = channel.recv()
        _import(arguments[0])
        gc.freeze()  # else the tasks' garbage collection would write to, and so copy, all the memory that they share
        with warnings.catch_warnings():
            # Python 3.12 warns of threads that are lost in a fork: numpy's OpenBLAS, whose they are, starts them anew.
            warnings.simplefilter("ignore")
            ours = [self._control, channel, *self._channels]
            task = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, environment, ours))
            # Held back until the task has handlers of its own: what it inherits would ignore them.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            task.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._tasks[task.sentinel] = task
        self._channels[channel] = task.sentinel

    def _signal(self, channel: Connection) -> None:
        """Send a task the signal that its starter asks for; end it if its starter is gone."""
        task = self._tasks[self._channels[channel]]
        try:
            number = channel.recv()
        except (EOFError, ConnectionError):
            number = signal.SIGTERM
            del self._channels[channel]
            channel.close()
        if task.pid is not None:
            os.kill(task.pid, number)

    def _finish(self, sentinel: int) -> None:
        task = self._tasks.pop(sentinel)
        task.join()
        for channel in [channel for channel, other in self._channels.items() if other == sentinel]:
            del self._channels[channel]
            with channel, contextlib.suppress(OSError):
                channel.send(task.exitcode)
        task.close()


def _import(module: str) -> None:
    """Import a module and what it will import late; if that fails, it will again in the task, which then says so."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        importlib.import_module(module)
        for user, used in USED_LATE.items():
            if user in sys.modules and used not in sys.modules:
                importlib.import_module(used)


def _run(arguments: list[str], environment: dict[str, str], servers: list[Connection]) -> None:
    """In a task's process: run the module with nothing that a process of its own would not have."""
    for each in servers:
        each.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    libraries: dict[str, Any] = sys.modules
    if "numpy" in libraries:
        libraries["numpy"].random.seed()
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():  # read when the libraries were loaded, for another task perhaps
        cores.set_threads(int(threads))
    module, *sys.argv[1:] = arguments
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _Server(Connection(int(sys.argv[1])), sys.argv[2:]).serve()
