"""Synthetic sources, against plain integer arithmetic, exact densities and statistical tests."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from fastnn import datasets
from fastnn.datasets import SYNTHETIC, GaussianMixture, LogisticModel, Rings, Teacher, Xor, make
from fastnn.kernels import generators
from fastnn.kernels.jit import JIT, kernel

SOURCES = [
    *(source() for source in SYNTHETIC.values()),
    LogisticModel(3, scale=1.0, intercept=-2.0, seed=5),
    GaussianMixture(7, 5, separation=1.0, seed=6),
    Teacher((3, 5, 4, 3), activation="relu", label_noise=0.3, seed=7),
    Rings(4, noise=0.2, seed=8),
]
each_source = pytest.mark.parametrize("source", SOURCES, ids=repr)
large = pytest.mark.skipif(not JIT, reason="a million rows need machine code")


@kernel
def random_bits_(key, counters, out):
    for i in range(counters.size):
        out[i] = generators.random_bits(key, counters[i])


@kernel
def on_circle_(turns, out):
    for i in range(turns.size):
        out[i, 0], out[i, 1] = generators.on_circle(turns[i])


@kernel
def flip_(bits, labels, n_classes, label_noise):
    for i in range(bits.size):
        labels[i] = generators.flip(bits[i], labels[i], n_classes, label_noise)


def splitmix(key, counter):
    """SplitMix64 in Python's own integers."""
    z = (key + counter * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def normals(key, start, n):
    out = np.empty(n, np.float32)
    generators.normals_(np.uint64(key), start, out)
    return out


@pytest.mark.kernel
def test_random_bits_are_splitmix():
    counters = np.array([1, 2, 3, 10**6, 2**63 + 11, 2**64 - 1], np.uint64)
    out = np.empty(6, np.uint64)
    random_bits_(np.uint64(1234567), counters, out)
    # The first three are the published test vector of the generator seeded with 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert out[:3].tolist() == published
    assert out.tolist() == [splitmix(1234567, int(c)) for c in counters]


@pytest.mark.kernel
def test_normals_are_those_of_box_and_muller():
    half = generators.BLOCK // 2
    values = normals(99, 0, 2 * generators.BLOCK).reshape(2, 2, half)
    for block in range(2):
        for i in range(half):
            bits = splitmix(99, block * half + i)
            radius = math.sqrt(-2 * math.log((bits >> 33) * 2.0**-31 + 2.0**-32))
            angle = ((bits % 2**31) - 2**30) * (math.pi / 4) / 2**30
            pair = [radius * math.cos(angle) * (1 - 2 * (bits >> 32 & 1)), radius * math.sin(angle)]
            if bits >> 31 & 1:
                pair.reverse()
            assert values[block, :, i] == pytest.approx(pair, rel=2e-6, abs=2e-6)


@pytest.mark.kernel
def test_on_circle():
    turns = np.concatenate((np.linspace(-2.5, 3, 221), np.arange(-8, 9) / 8))
    out = np.empty((turns.size, 2), np.float32)
    on_circle_(turns, out)
    expected = np.column_stack((np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)))
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-7)


@pytest.mark.kernel
def test_flip_draws_the_others_evenly():
    n = 20000 if JIT else 300
    bits = np.random.default_rng(0).integers(0, 2**64, n, np.uint64)
    labels = np.full(n, 2)
    flip_(bits, labels, 4, 0.6)
    counts = np.bincount(labels, minlength=4)
    assert stats.chisquare(counts, n * np.array([0.2, 0.2, 0.4, 0.2])).pvalue > 1e-3


@pytest.mark.kernel
@each_source
def test_rows_do_not_depend_on_the_slicing(source):
    n = 3000 if JIT else 60
    X, y = source.sample(n)
    assert X.shape == (n, source.n_features)
    assert X.dtype == np.float32
    assert X.flags.c_contiguous
    assert y.dtype == np.int64
    cuts = sorted({0, 1, 2, 5, 18, 19, n // 3, n // 2 + 1, n - 1, n})
    for start, stop in itertools.pairwise(cuts):
        part, labels = source.rows(start, stop)
        np.testing.assert_array_equal(part.view(np.uint32), X[start:stop].view(np.uint32))
        np.testing.assert_array_equal(labels, y[start:stop])
    chunks = list(source.chunks(n, n // 4 + 3))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in chunks]), y)


@pytest.mark.kernel
@each_source
def test_both_precisions_have_the_same_rows(source):
    single, y32 = source.rows(7, 40, np.float32)
    double, y64 = source.rows(7, 40, "float64")
    assert double.dtype == np.float64
    np.testing.assert_array_equal(single, double)
    np.testing.assert_array_equal(y32, y64)


@pytest.mark.kernel
def test_slices_of_kernel_calls_join(monkeypatch):
    X, y = Teacher(seed=3).sample(50)
    monkeypatch.setattr("fastnn.datasets.source.SLICE_VALUES", 130)
    for dtype in (np.float32, np.float64):
        again, labels = Teacher(seed=3).sample(50, dtype)
        np.testing.assert_array_equal(again, X)
        np.testing.assert_array_equal(labels, y)


@pytest.mark.kernel
def test_seed_decides():
    for name, source in SYNTHETIC.items():
        X, y = make(name, 30, seed=4)
        np.testing.assert_array_equal(source(seed=4).sample(30)[0], X)
        np.testing.assert_array_equal(source(seed=4).sample(30)[1], y)
        assert not np.array_equal(source(seed=5).sample(30)[0], X)


@pytest.mark.kernel
def test_rows_far_out():
    source = Teacher()
    X, y = source.rows(10**12, 10**12 + 20)
    assert np.isfinite(X).all()
    np.testing.assert_array_equal(source.rows(10**12 + 5, 10**12 + 20)[0], X[5:])
    assert len(source.rows(3, 3)[0]) == 0
    assert set(y) <= {0, 1}


@large
def test_normals_are_normal():
    x = normals(1, 0, 1 << 20).astype(np.float64)
    n = x.size
    assert stats.kstest(x, "norm").pvalue > 0.01
    moments = [(x**k).mean() for k in (1, 2, 3, 4)]
    spread = np.sqrt(np.array([1, 2, 15, 96]) / n)
    assert np.abs((np.array(moments) - [0, 1, 0, 3]) / spread).max() < 3.5


@large
def test_tails_are_normal():
    many = np.concatenate([normals(key, 0, 1 << 24) for key in range(1, 5)])
    for sigma in (4, 4.5, 5):
        expected = 2 * stats.norm.sf(sigma) * many.size
        assert abs((np.abs(many) > sigma).sum() - expected) < 4 * np.sqrt(expected)


@large
@pytest.mark.parametrize("lag", [1, 2, 20, 255, 256, 257, 512])
def test_neighbours_are_independent(lag):
    x = normals(2, 0, 1 << 20).astype(np.float64)
    a, b = x[lag:], x[:-lag]
    for f in (a * b, (a * a - 1) * (b * b - 1) / 2):
        assert abs(f.mean() * np.sqrt(f.size)) < 4
    square = np.histogram2d(special.ndtr(a), special.ndtr(b), bins=32, range=[[0, 1]] * 2)[0]
    # Overlapping pairs: a chi-square statistic of about the nominal distribution.
    assert stats.chisquare(square.ravel()).pvalue > 1e-4


@large
def test_columns_rows_and_seeds_are_uncorrelated():
    X, _ = LogisticModel(30).sample(50_000)
    seeds = np.array([LogisticModel(1, seed=s).sample(50_000)[0][:, 0] for s in range(30)])
    for table in (X.T, X[:30_000].reshape(30, -1), seeds):
        c = np.corrcoef(table)[np.triu_indices(30, 1)] * np.sqrt(table.shape[1])
        assert stats.kstest(c, "norm").pvalue > 1e-3
        assert np.abs(c).max() < 4.5


@large
@each_source
def test_labels_follow_the_probabilities(source):
    """Calibration, Bayes accuracy and log loss, each within 4 standard errors."""
    X, y = source.sample(100_000)
    P = source.probabilities(X)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-12)
    for k in range(source.n_classes):
        assert abs(((y == k) - P[:, k]).sum()) < 4 * np.sqrt((P[:, k] * (1 - P[:, k])).sum())
        for j in range(source.n_features):  # no left-over dependence on a feature
            z = X[:, j] * ((y == k) - P[:, k])
            assert abs(z.sum()) < 4.5 * np.sqrt((X[:, j] ** 2 * P[:, k] * (1 - P[:, k])).sum())
    hits = P.argmax(axis=1) == y
    losses = -np.log(P[np.arange(y.size), y])
    for found, best in ((hits, source.best_accuracy), (losses, source.best_loss)):
        assert abs(found.mean() - best) < 4 * found.std() / np.sqrt(y.size)
    # The same without the noise of the labels.
    for found, best in (
        (P.max(axis=1), source.best_accuracy),
        (special.entr(P).sum(axis=1), source.best_loss),
    ):
        assert abs(found.mean() - best) < 4 * found.std() / np.sqrt(y.size) + 1e-12


@large
def test_maximum_likelihood_recovers_the_coefficients():
    source = LogisticModel(20, intercept=0.7, seed=11)
    X, y = source.sample(100_000, np.float64)
    A = np.column_stack((X, np.ones(len(X))))

    def loss(w):
        z = A @ w
        return np.logaddexp(0, z).sum() - z @ y, A.T @ (special.expit(z) - y)

    fit = optimize.minimize(loss, np.zeros(21), jac=True, method="L-BFGS-B", tol=1e-12)
    p = special.expit(A @ fit.x)
    information = (A * (p * (1 - p))[:, None]).T @ A
    error = fit.x - np.append(source.coef, source.intercept)
    assert np.abs(error / np.sqrt(np.diag(np.linalg.inv(information)))).max() < 3
    assert stats.chi2.sf(error @ information @ error, 21) > 0.01


def test_logistic_best_values():
    certain = LogisticModel(coef=[0.0, 0.0], intercept=1.5)
    p = special.expit(1.5)
    assert certain.best_accuracy == pytest.approx(p)
    assert certain.best_loss == pytest.approx(special.entr(p) + special.entr(1 - p))
    # For a steep sigmoid only the sign of z matters: sigmoid(|z|) averages to 1 - ln 4 phi(0) / s.
    steep = LogisticModel(coef=[3e4])
    assert 1 - steep.best_accuracy == pytest.approx(
        2 * math.log(2) / math.sqrt(2 * math.pi) / 3e4, rel=1e-4
    )
    z = np.linspace(-40, 40, 400_001)
    for intercept, scale in ((0.0, 3.0), (-4.0, 1.0), (2.0, 0.1)):
        source = LogisticModel(4, intercept=intercept, scale=scale)
        weight = stats.norm.pdf(z, intercept, scale) * (z[1] - z[0])
        P = special.expit(np.array([z, -z]))
        assert source.best_accuracy == pytest.approx(P.max(axis=0) @ weight, abs=1e-6)
        assert source.best_loss == pytest.approx(special.entr(P).sum(axis=0) @ weight, abs=1e-6)


def test_mixture_best_values():
    for separation in (0.0, 0.5, 2.0, 7.0):
        two = GaussianMixture(4, 2, separation=separation)
        assert two.best_accuracy == pytest.approx(special.ndtr(separation / 2), abs=1e-9)
        # The logit of two classes is a Gaussian of variance separation^2.
        z = np.linspace(-9, 9, 20001)
        logit = separation * z + separation**2 / 2
        weight = stats.norm.pdf(z) * (z[1] - z[0])
        assert two.best_loss == pytest.approx(np.logaddexp(0, -logit) @ weight, abs=1e-9)
    none = GaussianMixture(9, 10, separation=0.0)
    assert none.best_accuracy == pytest.approx(0.1, abs=1e-9)
    assert none.best_loss == pytest.approx(math.log(10), abs=1e-9)
    means = GaussianMixture(6, 5, separation=2.5, seed=1).means.astype(np.float64)
    distances = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(5, 1)]
    np.testing.assert_allclose(distances, 2.5, rtol=1e-6)


def test_planar_best_values():
    for noise in (0.1, 0.5, 2.0):
        p = special.ndtr(1 / noise)
        assert Xor(noise=noise).best_accuracy == pytest.approx(p**2 + (1 - p) ** 2, abs=2e-6)
    blurred = Rings(3, noise=30.0)
    assert blurred.best_accuracy == pytest.approx(1 / 3, abs=1e-3)
    assert blurred.best_loss == pytest.approx(math.log(3), abs=1e-3)


def test_planar_probabilities():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (200, 2))
    rings = Rings(3, noise=0.2)
    r, rho = np.array([1, 2, 3]) / 3, np.linalg.norm(X, axis=1)[:, None]
    # The density of a noisy circle: Rice's distribution.
    density = special.ive(0, r * rho / 0.04) * np.exp(-((r - rho) ** 2) / 0.08)
    expected = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rings.probabilities(X), expected, atol=1e-8)
    a, b = special.expit(2 * X / 0.25).T
    different = a * (1 - b) + b * (1 - a)
    np.testing.assert_allclose(Xor().probabilities(X)[:, 1], different, atol=1e-12)
    far = rings.probabilities(1e4 * X)
    assert np.isfinite(far).all()


def test_teacher():
    teacher = Teacher((6, 8, 5), label_noise=0.0, seed=2)
    assert (teacher.best_accuracy, teacher.best_loss) == (1.0, 0.0)
    noisy = Teacher((6, 8, 5), label_noise=0.2, seed=2)
    X, y = noisy.sample(2000 if JIT else 50)
    clean = teacher.sample(len(y))[1]
    np.testing.assert_array_equal(clean, teacher.probabilities(X).argmax(axis=1))
    assert 0 < (clean != y).mean() < 0.4
    assert noisy.best_loss == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.05)))
    assert set(clean) == set(range(5))


@each_source
def test_repr_makes_the_same_source(source):
    again = eval(repr(source), {name: getattr(datasets, name) for name in datasets.__all__})
    np.testing.assert_array_equal(again.rows(100, 130)[0], source.rows(100, 130)[0])
    np.testing.assert_array_equal(again.rows(100, 130)[1], source.rows(100, 130)[1])
    assert len(source.feature_names) == source.n_features


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make("circles", 9), ValueError, "name must be one of logistic, .*'circles'"),
        (lambda: make("moons", 9, spread=1), ValueError, "parameter.*noise, seed.*'spread'"),
        (lambda: make("moons", -1), ValueError, "n must be at least 0"),
        (lambda: make("moons", 9, dtype=np.int32), ValueError, "dtype must be float32 or float64"),
        (lambda: make("moons", 9, noise=0), ValueError, "noise must lie in"),
        (lambda: make("moons", 9, noise=math.nan), ValueError, "noise must lie in"),
        (lambda: make("rings", 9, n_classes=1), ValueError, "n_classes must be at least 2"),
        (lambda: make("xor", 9, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: make("xor", 9, seed=1.5), TypeError, "seed must be an integer"),
        (lambda: make("teacher", 9, label_noise=0.5), ValueError, r"label_noise .*\[0, 0.5\)"),
        (lambda: make("teacher", 9, activation="sin"), ValueError, "activation .*tanh, relu"),
        (lambda: make("teacher", 9, layer_sizes=(3,)), ValueError, "layer_sizes must be"),
        (lambda: make("teacher", 9, layer_sizes=7), TypeError, "layer_sizes must be"),
        (lambda: make("gaussians", 9, n_features=2, n_classes=5), ValueError, "at least .* 4"),
        (lambda: make("logistic", 9, coef=[1.0], n_features=2), ValueError, "n_features is 2"),
        (lambda: make("logistic", 9, coef=[math.inf]), ValueError, "coef must be"),
        (lambda: make("logistic", 9, coef=[1.0], scale=2.0), ValueError, "scale"),
        (lambda: Xor().rows(5, 4), ValueError, "stop must be at least 5"),
        (lambda: Xor().chunks(5, 0), ValueError, "chunk_rows must be at least 1"),
        (lambda: Xor().probabilities(np.ones((4, 3))), ValueError, r"\(4, 3\).* 2 features"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
