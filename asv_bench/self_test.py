"""Does asv see a kernel that became 1.3x slower, and nothing where nothing changed?

In a scratch clone, a chain of commits is added to the present one: harmless ones, which add a
comment (the first in a kernel's file, so that all kernels are compiled anew), and from the middle
on slow ones, in which predicting does three of ten blocks of rows twice, which changes no number.
Then

- ``asv continuous`` between two harmless commits must flag nothing,
- ``asv continuous`` from a harmless to a slow commit must flag predictions, and nothing else,

as often as asked; and the page of regressions that ``asv publish`` makes must show the first slow
commit, and no other.  Only ratios are asked: raw times depend on what else the machine does.

    python self_test.py [--repeats 5] [--folder FOLDER]
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
KERNEL = "fastnn/kernels/minibatch.py"
#: In `score_`; other functions loop over blocks in other words.
LOOP = "    for first in range(start, stop, at_once):\n"
SLOW_LOOP = """\
    blocks = (stop - start + at_once - 1) // at_once
    again = (3 * blocks + 5) // 10 if targets.y.shape[0] == 0 else 0
    for block in range(blocks + again):
        first = start + block % blocks * at_once
"""
#: Benchmarks of the slowed kernel, where little of the time is Python's; and of other kernels.
SLOWED = [rf"Activations\.track_forward_over_peak\('{name}'\)" for name in ("gelu", "tanh")]
OTHERS = [
    r"PerSample\.track_epoch_over_peak\('20-32-2'\)",
    r"Linear\.track_fit_over_sklearn\(20\)",
]
#: A line of ``asv continuous``: "| + | 1.9 | 2.5 | 1.3 | kernels.Activations.track...('relu') |".
FLAG = re.compile(r"^\|\s*([+-])\s*\|.*\|\s*(\S+)\s*\|\s*(\S+)\s*\|\s*$", re.MULTILINE)
#: A ratio flags a commit when it grows by this factor.
FACTOR = "1.1"


class Clone:
    """A scratch clone in which commits are made and measured."""

    def __init__(self, folder):
        self.folder = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ROOT, self.folder], check=True)
        self.git("checkout", "-q", "-B", "main")
        self.git("config", "user.name", "self-test")
        self.git("config", "user.email", "self-test@localhost")

    def git(self, *arguments):
        command = ["git", "-C", self.folder, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def asv(self, *arguments):
        """Run asv; return its exit code and what it printed."""
        command = [sys.executable, "-m", "asv", *arguments]
        done = subprocess.run(
            command, cwd=self.folder / "asv_bench", capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    def commit(self, subject, file, change):
        """Change a file by a function of its text; return the commit's hash."""
        path = self.folder / file
        path.write_text(change(path.read_text()))
        self.git("commit", "-qam", subject)
        return self.git("rev-parse", "HEAD")

    def harmless(self, number):
        """Add a comment."""
        file = KERNEL if number == 1 else "fastnn/network.py"
        return self.commit(f"Harmless {number}", file, lambda text: f"{text}# Remark {number}.\n")

    def slow(self):
        """Slow down the kernel that predicts."""

        def change(text):
            head, definition, body = text.partition("def score_(")
            if LOOP not in body:
                sys.exit(f"self_test.py: score_ in {KERNEL} has no line {LOOP!r} to slow down")
            return head + definition + body.replace(LOOP, SLOW_LOOP, 1)

        return self.commit("Slow", KERNEL, change)

    def flagged(self, before, after):
        """Return benchmarks flagged as worse or better, with their ratios."""
        asked = [word for name in SLOWED + OTHERS for word in ("--bench", name)]
        code, text = self.asv("continuous", "-e", "--factor", FACTOR, *asked, before, after)
        if "failed" in text or code not in (0, 1):
            sys.exit(f"self_test.py: asv continuous failed\n{text}")
        return {name: ratio for _, ratio, name in FLAG.findall(text)}

    def regressions(self):
        """Return (benchmark, hash of the commit) of each jump on the page of regressions."""
        code, text = self.asv("publish")
        if code:
            sys.exit(f"self_test.py: asv publish failed\n{text}")
        html = self.folder / "asv_bench" / "html"
        hashes = json.loads((html / "index.json").read_text())["revision_to_hash"]
        shown = json.loads((html / "regressions.json").read_text())["regressions"]
        return [(entry[0], hashes[str(jump[1])]) for entry in shown for jump in entry[6]]


def expected(names, slow):
    """Return whether exactly the right benchmarks were flagged."""
    hits = [any(re.search(pattern, name) for name in names) for pattern in SLOWED]
    false_alarms = [n for n in names if not any(re.search(pattern, n) for pattern in SLOWED)]
    return all(hits) and not false_alarms if slow else not names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where the clone is made (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Clone(options.folder or temporary)
        repeats = range(1, options.repeats + 1)
        harmless = [clone.git("rev-parse", "HEAD"), *map(clone.harmless, repeats)]
        slow = [clone.slow(), *(clone.harmless(-number) for number in repeats[1:])]
        failures = 0
        for kind, pairs in (
            ("harmless", list(itertools.pairwise(harmless))),
            ("slow", list(zip(harmless[1:], slow, strict=True))),
        ):
            for number, (before, after) in enumerate(pairs, 1):
                flags = clone.flagged(before, after)
                right = expected(flags, kind == "slow")
                failures += not right
                listed = ", ".join(f"{name} x{ratio}" for name, ratio in flags.items())
                print(f"{kind} {number}: {'ok' if right else 'WRONG'}: {listed or 'no flag'}")
                sys.stdout.flush()
        shown = clone.regressions()
        right = shown and {commit for _, commit in shown} == {slow[0]}
        right = right and expected([name for name, _ in shown], slow=True)
        failures += not right
        for name, commit in shown:
            print(f"page of regressions: {name} at {commit[:10]}")
        print(f"page of regressions: {'ok' if right else 'WRONG'} (slow since {slow[0][:10]})")
        print("passed" if not failures else f"{failures} wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
