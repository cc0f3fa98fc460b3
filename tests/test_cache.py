"""The caching law: machine code is never stale, never a crash, and compiled once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import Network
from fastnn.kernels.jit import JIT, UNITS, compiled_signatures
from fastnn.kernels.losses import softmax_

pytestmark = pytest.mark.skipif(not JIT, reason="without the JIT there is no machine code")

#: Prints a result of a small kernel and how many signatures were compiled, not loaded.
SCRIPT = """
import numpy as np
from fastnn import functional
from fastnn.kernels.jit import CompileTimer, KERNELS
with CompileTimer() as timer:
    value = functional.activation("leaky_relu", np.array([-1.0]))[0]
misses = sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS.values())
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in KERNELS.values())
print(value, misses, hits, timer.seconds > 0)
"""


def run(package, cache, **environment):
    """Return what the script prints, of a package in a folder and with a cache folder."""
    variables = {**os.environ, "PYTHONPATH": str(package), "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        cwd=package, env={**variables, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, misses, hits, compiled = done.stdout.split()
    lines = done.stderr.splitlines()
    assert len(lines) == (compiled == "True")
    assert all(line.startswith("fastnn compiles its kernels") for line in lines)
    return float(value), int(misses), int(hits), compiled == "True"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Return the folder of a copy of the package, whose sources may be edited."""
    root = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastnn.__file__).parent, root / "fastnn", ignore=ignore)
    return root


@pytest.fixture(scope="module")
def filled(package, tmp_path_factory):
    """Return a cache folder in which the script's kernels are."""
    cache = tmp_path_factory.mktemp("cache")
    assert run(package, cache) == (-0.01, 1, 0, True)
    return cache


def entries(cache):
    return sorted(cache.rglob("*.nbc"))


def test_second_process_compiles_nothing(package, filled):
    assert run(package, filled) == (-0.01, 0, 1, False)


def test_an_edited_callee_is_seen(package, filled):
    """Numba looks at the kernel's own file only; the derivative lives in another."""
    source = package / "fastnn/kernels/activations.py"
    kept = source.read_text()
    source.write_text(kept.replace("LEAK = 0.01", "LEAK = 0.5"))
    try:
        assert run(package, filled)[:2] == (-0.5, 1)
    finally:
        source.write_text(kept)
    assert run(package, filled) == (-0.01, 0, 1, False)


@pytest.mark.parametrize("damage", [b"", b"not a pickle", None])
def test_a_damaged_entry_counts_as_absent(package, filled, damage, tmp_path):
    cache = shutil.copytree(filled, tmp_path / "cache")
    for entry in entries(cache):
        whole = entry.read_bytes()
        entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert run(package, cache)[:2] == (-0.01, 1)
    assert run(package, cache) == (-0.01, 0, 1, False)  # and has been written anew


def test_other_settings_have_other_entries(package, filled, tmp_path):
    cache = shutil.copytree(filled, tmp_path / "cache")
    assert run(package, cache, NUMBA_BOUNDSCHECK="1")[1] == 1
    assert run(package, cache, NUMBA_OPT="1")[1] == 1
    assert run(package, cache)[1] == 0


def test_two_processes_at_once(package, tmp_path):
    variables = {**os.environ, "PYTHONPATH": str(package), "NUMBA_CACHE_DIR": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=package,
            env=variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate(timeout=300)[0].split()[0] == "-0.01"
    assert run(package, tmp_path) == (-0.01, 0, 1, False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".nbc"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(package, tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert run(package, tmp_path)[:2] == (-0.01, 1)
    finally:
        tmp_path.chmod(0o700)


def test_a_cache_folder_that_is_a_file(package, tmp_path):
    """Nobody can write there, not even the superuser."""
    place = tmp_path / "file"
    place.write_text("")
    assert run(package, place / "below")[0] == -0.01


@pytest.mark.parametrize("setting", ["fastnn", "root"])
def test_the_line_about_compiling_is_the_program_s_to_silence(setting, package, tmp_path):
    quiet = {
        "fastnn": "logging.getLogger('fastnn').setLevel(logging.ERROR)",
        "root": "logging.basicConfig(filename='log')",
    }
    script = f"import logging; {quiet[setting]}\n{SCRIPT}"
    variables = {**os.environ, "PYTHONPATH": str(package), "NUMBA_CACHE_DIR": str(tmp_path / "c")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("-0.01 1 0 True", "")
    if setting == "root":
        (line,) = (tmp_path / "log").read_text().splitlines()
        assert line.startswith("WARNING:fastnn:fastnn compiles its kernels")
        assert line.split()[-1].startswith(str(tmp_path / "c"))


def test_import_is_light():
    """It imports neither scikit-learn nor matplotlib nor Numba, and compiles nothing."""
    heavy = ("numba", "sklearn", "matplotlib", "scipy", "pandas", "click", "tqdm")
    script = f"import sys, fastnn; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_importing_everything_compiles_nothing():
    script = (
        "import sys, fastnn\n"
        "from fastnn.kernels.jit import CompileTimer, compiled_signatures\n"
        "with CompileTimer() as timer:\n"
        "    [getattr(fastnn, name) for name in fastnn.__all__]\n"
        "print(timer.seconds, sum(compiled_signatures().values()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("0.0 0", "")


ARCHITECTURES = [
    ([2, 1], (), "log_loss"),
    ([5, 3], (), "cross_entropy"),
    ([1, 1, 1], "tanh", "squared_error"),
    *(
        ([4, *[width] * depth, 3], activation, loss)
        for depth, (width, activation, loss) in enumerate(
            [
                (7, "relu", "cross_entropy"),
                (16, "logistic", "squared_error"),
                (33, "gelu", "huber"),
                (2, "elu", "poisson"),
                (5, "softplus", "quantile"),
                (9, "tanh", "absolute_error"),
                (64, "silu", "cross_entropy"),
                (3, "leaky_relu", "log_loss"),
                (20, "identity", "cross_entropy"),
                (100, "tanh", "squared_error"),
            ]
        )
    ),
    ([70, 40, 2], "relu", "cross_entropy"),
    ([3, 5, 4], ["square"], "log_loss"),
    ([6, 4, 3, 2, 1], ["relu", "tanh", "elu"], "poisson"),
    ([128, 1], (), "log_loss"),
    ([2, 300, 2], "logistic", "cross_entropy"),
    ([9, 8, 7, 6, 5], "relu", "huber"),
    ([10, 1, 10], "gelu", "cross_entropy"),
]


def train(sizes, activation, loss, **options):
    net = Network(sizes, activation=activation, loss=loss, random_state=0)
    X = np.random.default_rng(0).normal(size=(40, sizes[0])).astype(np.float32)
    y = np.arange(40) % sizes[-1] if loss == "cross_entropy" else np.ones((40, sizes[-1]))
    net.fit(X, y, epochs=2, learning_rate=1e-4, **options)
    net.step(X[0], y[0])
    net.loss(X, y), net.forward(X), net.gradients(X, y)


def test_twenty_architectures_compile_once():
    assert len(ARCHITECTURES) == 20
    settings = [{}, {"batch_size": 8, "optimizer": "adam"}]
    for options in settings:
        for architecture in ARCHITECTURES[:4]:  # among them one whose single step is the quick one
            train(*architecture, **options)
    before = compiled_signatures()
    assert sum(before.values()) > 0
    apart = compiled_signatures(UNITS)  # those of other tests
    optimizers = ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"]
    for i, architecture in enumerate(ARCHITECTURES):
        for options in settings:
            train(*architecture, **options)
        name = optimizers[i % len(optimizers)]
        train(*architecture, optimizer=name, batch_size=None, l1=1e-3, l2=1e-3, clip_norm=1.0)
    assert compiled_signatures() == before
    units = compiled_signatures(UNITS)
    assert units
    assert max(count - apart[name] for name, count in units.items()) <= 1  # float32


def test_a_helper_is_refused_to_python():
    """It has no entry point: a jump there would end the process."""
    with pytest.raises(TypeError, match="softmax_ can be called from a kernel only"):
        softmax_(1, 2, np.zeros(2), np.zeros(2))
