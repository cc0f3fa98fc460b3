"""``fastnn warmup``: what it compiles ahead of time is all that later runs need."""

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

import fastnn
from fastnn.cli import main
from fastnn.kernels.jit import JIT

#: Kernels of whole numbers, or of float64 whatever the rows are.
ONE_PRECISION = {
    "linear.permutation_", "linear.compose_", "linear.losses_",
    "orders.shuffle_", "orders.shuffled_",
}  # fmt: skip

#: For subprocesses: they run this very package, with the cache of this process.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}


def run(*arguments):
    """Run the command in this process; return what it prints."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def result_of(*arguments):
    """Return the JSON object that a command prints."""
    return json.loads(run(*arguments, "--json"))


def test_warmup_leaves_nothing_to_compile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = run("warmup")
    assert text.startswith("Compiled ")
    result = result_of("warmup")
    assert result["compile_seconds"] == 0
    assert result["folder"] in text
    assert result_of("train", "--rows", 500, "--epochs", 1)["compile_seconds"] == 0


def test_warmup_uses_every_kernel_in_both_precisions():
    """All but those that measure the machine."""
    script = """
import importlib, pkgutil, fastnn
from click.testing import CliRunner
from fastnn.cli import main
from fastnn.kernels.jit import UNITS, compiled_signatures
assert CliRunner().invoke(main, ["warmup"]).exit_code == 0
for module in pkgutil.walk_packages(fastnn.__path__, "fastnn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name, count in (compiled_signatures() | compiled_signatures(UNITS)).items():
    if ".peak." not in name:
        print(name.removeprefix("fastnn.kernels."), count)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    counts = dict(line.split() for line in result.stdout.splitlines())
    assert counts or not JIT
    for name, count in counts.items():
        one = name.startswith("generators.") or name in ONE_PRECISION
        assert int(count) == (1 if one else 2), name
