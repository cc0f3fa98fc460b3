"""asv's pages in a real browser: needs selenium, Chromium, its driver, and npm's scripts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("asv")
pytest.importorskip("selenium")
FOLDER = Path(__file__).parent.parent / "asv_bench"
if not (shutil.which("chromedriver") and (FOLDER / "node_modules").exists()):
    pytest.skip("needs Chromium, and npm install in asv_bench", allow_module_level=True)

from dashboard import shown  # noqa: E402

BENCHMARK = """
from pathlib import Path


class Kernel:
    params = [[1, 10]]
    param_names = ["width"]

    def track_time_over_peak(self, width):
        return width * float((Path(__file__).parents[1] / "value").read_text())
"""
#: What the only benchmark gives at each commit; it is slower since number `SLOWER`.
VALUES = [2.0, 2.01, 1.99, 2.0, 2.6, 2.61, 2.59, 2.6]
SLOWER = 4


def run(folder, *command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "HOME": str(folder)},  # where asv keeps what it knows of the machine
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Publish a small project with the package's own asv plugin; return (html, hashes)."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "__init__.py").touch()
    (folder / "benchmarks" / "kernels.py").write_text(BENCHMARK)
    shutil.copy(FOLDER / "pages.py", folder)
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    conf = json.loads((FOLDER / "asv.conf.json").read_text())
    kept = ("version", "project", "branches", "show_commit_url", "plugins")
    small = {name: conf[name] for name in kept} | {"repo": ".", "environment_type": "existing"}
    (folder / "asv.conf.json").write_text(json.dumps(small))
    run(folder, "git", "init", "-q", "-b", "main")
    asv = (sys.executable, "-m", "asv")
    run(folder, *asv, "machine", "--yes")
    hashes = []
    for number, value in enumerate(VALUES):
        (folder / "value").write_text(str(value))
        run(folder, "git", "add", "value")
        identity = ("-c", "user.name=a", "-c", "user.email=a@localhost")
        run(folder, "git", *identity, "commit", "-qm", f"PERF <{number}>")
        hashes.append(run(folder, "git", "rev-parse", "HEAD"))
        run(folder, *asv, "run", "--python=same", f"--set-commit-hash={hashes[-1]}")
    run(folder, *asv, "publish")
    return folder / "html", hashes


@pytest.fixture(scope="module")
def pages(published):
    with shown(published[0]) as pages:
        yield pages


NAME = "kernels.Kernel.track_time_over_peak"


def test_grid_draws_every_benchmark(pages):
    assert pages.grid() == [NAME]


def test_graph_follows_its_parameters(pages):
    lines = pages.graph(NAME)
    assert [len(line) for line in lines] == [len(VALUES)] * 2
    (line,) = pages.switch("10")  # leaves the other value
    assert [value for _, value in line] in ([VALUES], [[10 * v for v in VALUES]], VALUES)


def test_regressions_name_the_commit_and_link_to_it(pages, published):
    html, hashes = published
    rows = pages.regressions()
    (address,) = {address for _, address in rows}
    page, anchor = address.split("#")
    assert page == "commits.html"
    assert hashes[SLOWER].startswith(anchor)
    assert all(NAME in name for name, _ in rows)
    pages.open(address)
    text = pages.wait(f"return document.getElementById({anchor!r}).innerText")
    assert f"PERF <{SLOWER}>" in text
    assert "value" in text
    assert (html / "commits.html").read_text().count("<section") == len(hashes)
