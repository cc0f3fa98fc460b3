"""Ctrl-C is obeyed within a second, whatever the interpreter is busy with."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

#: Seconds that the main thread has to notice a Ctrl-C.
PATIENCE = 0.6


class LastResort:
    """Call a function and end the process if the main thread does not notice a Ctrl-C.

    Python raises ``KeyboardInterrupt`` between two of its own instructions only, and LLVM may
    compile one function for seconds.  The signal also wakes a thread, which waits for `noticed`
    and otherwise does what is left to do.

    Parameters
    ----------
    function : callable
        Called in that thread, just before the process ends.
    code : int
        Its exit code.
    """

    def __init__(self, function: Callable[[], None], code: int) -> None:
        self._function = function
        self._code = code
        self._noticed = threading.Event()

    def noticed(self) -> None:
        """Tell that the interrupt arrived, or can no longer come in the way."""
        self._noticed.set()

    def __enter__(self) -> "LastResort":
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._previous: int | None = None
        with contextlib.suppress(ValueError):  # not in the main thread: there is no Ctrl-C
            self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.noticed()
        if self._previous is not None:
            signal.set_wakeup_fd(self._previous)
        os.close(self._write)  # ends the thread

    def _watch(self) -> None:
        while (number := os.read(self._read, 1)) and number[0] != signal.SIGINT:
            pass
        os.close(self._read)
        if number and not self._noticed.wait(PATIENCE):
            try:
                self._function()
            finally:
                os._exit(self._code)
