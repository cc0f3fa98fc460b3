"""A training run of ten million synthetic rows, made and learned a part at a time.

The source knows the best accuracy that any model could reach, so the result can be judged.
"""

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from fastnn import Network, datasets

PICTURE = Path(__file__).parent / "pictures" / "ten_million_rows.png"


def main(picture=PICTURE, rows=10_000_000):
    rows = int(rows)
    source = datasets.Spirals(seed=0)
    chunk = max(rows // 40, 1)
    X_test, y_test = source.rows(2 * rows, 2 * rows + 100_000)  # beyond those to learn from
    net = Network([2, 64, 64, 1], activation="relu", loss="log_loss", random_state=0)

    def accuracy():
        return np.mean((net.forward(X_test)[:, 0] > 0.5) == y_test)

    seen, scores, seconds = [0], [accuracy()], 0.0
    for start in range(0, rows, chunk):
        X, y = source.rows(start, min(start + chunk, rows))
        begin = time.perf_counter()
        history = net.fit(
            X, y, optimizer="adam", batch_size=256, warm_start=True, shuffle=False,
            learning_rate=3e-3 * (1 - start / rows),
        )  # fmt: skip
        seconds += time.perf_counter() - begin - history.compile_seconds
        seen.append(start + len(X))
        scores.append(accuracy())
    print(f"{rows:,} rows in {seconds:.1f} s of training, {rows / seconds:,.0f} rows/s")
    print(f"test accuracy {scores[-1]:.4f}, best reachable {source.best_accuracy:.4f}")

    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    ax.plot(np.array(seen[1:]) / 1e6, scores[1:], "o-", color="#0072b2", label="test accuracy")
    ax.axhline(source.best_accuracy, ls="--", color="#d55e00", label="best reachable")
    ax.set(xlabel="rows learned from, in millions", ylabel="accuracy")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, loc="lower right")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
