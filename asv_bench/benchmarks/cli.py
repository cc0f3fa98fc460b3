"""Commands in fresh processes, their kernels in the cache."""

import tempfile

from benchmarks.problems import available
from benchmarks.startup import run

#: A command whose own output keeps out of asv's, which reads the time from there.
CODE = """
import contextlib, io, os
os.chdir({folder!r})
from fastnn.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main({words!r}, standalone_mode=False)
"""
#: Each uses what those before it have written.
COMMANDS = {
    "generate": "generate --rows 2000 --output rows.csv --quiet",
    "train": "train rows.csv --target target --quiet --no-plot --output net.safetensors",
    "predict": "predict net.safetensors rows.csv --output predicted.csv",
    "explain": "explain net.safetensors rows.csv",
}


class Command:
    """A command on a table of 2000 synthetic rows."""

    params = [list(COMMANDS)]
    param_names = ["command"]
    number, repeat, rounds, warmup_time, timeout = 1, 3, 1, 0, 600

    def setup(self, command):
        if command not in available("fastnn.cli:main").commands:
            raise NotImplementedError(f"no {command!r}")
        self.folder = tempfile.TemporaryDirectory()
        for name in COMMANDS:
            run(self.code(name))
            if name == command:
                break

    def teardown(self, command):
        self.folder.cleanup()

    def code(self, command):
        return CODE.format(folder=self.folder.name, words=COMMANDS[command].split())

    def timeraw_command(self, command):
        return self.code(command)
