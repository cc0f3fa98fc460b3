"""`explain`: the factors multiply to the kernels' gradient, and the text shows the derivation."""

import numpy as np
import pytest
import scipy.sparse
from click.testing import CliRunner
from sklearn.datasets import load_iris

import fastnn
from fastnn import Network, explain, functional
from fastnn.cli import main
from fastnn.kernels import activations, losses

pytestmark = pytest.mark.kernel

RATE = 0.05


def target(loss, n_outputs, rng):
    kind = losses.TABLE[loss].targets
    return {
        "probability": rng.uniform(0.1, 0.9, n_outputs),
        "class": int(rng.integers(n_outputs)),
        "real": rng.normal(size=n_outputs),
        "count": rng.integers(1, 5, n_outputs),
    }[kind]


def neuron(weights, bias, **options):
    net = Network([len(weights), 1], dtype="float64", **options)
    net.parameters[:] = [*weights, bias]
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("activation", activations.TABLE)
def test_factors_multiply_to_the_kernels_gradient(activation, loss, dtype):
    rng = np.random.default_rng(3)
    net = Network(
        [3, 4, 2], activation=activation, loss=loss, dtype=dtype, random_state=5, loss_scale=0.5
    )
    x, y = rng.normal(size=3), target(loss, 2, rng)
    trace = explain(net, x, y, learning_rate=RATE)
    gradient = net.gradients([x], [y])
    assert gradient.any()
    tolerance = 200 * np.finfo(dtype).eps
    for l, layer in enumerate(trace.layers):
        size = np.abs(gradient).max()
        W = gradient[net.plan.weights[l] : net.plan.biases[l]].reshape(layer.W.shape)
        b = gradient[net.plan.biases[l] :][: layer.b.size]
        np.testing.assert_array_equal(layer.dJ_dW, W)
        np.testing.assert_array_equal(layer.dJ_db, b)
        np.testing.assert_allclose(layer.product_W, W, rtol=tolerance, atol=tolerance * size)
        np.testing.assert_allclose(layer.product_b, b, rtol=tolerance, atol=tolerance * size)
        moved = layer.W - RATE * layer.dJ_dW
        np.testing.assert_allclose(layer.W_new, moved, rtol=tolerance, atol=tolerance * size)
        moved = layer.b - RATE * layer.dJ_db
        np.testing.assert_allclose(layer.b_new, moved, rtol=tolerance, atol=tolerance * size)
        assert all(v.dtype == dtype for v in (layer.z, layer.a, layer.dJ_da, layer.da_dz))


#: J of the prediction a, and a of the score z, as the textbook has them.
VALUES = {
    "log_loss": lambda a, y, p: -(y * np.log(a) + (1 - y) * np.log(1 - a)),
    "cross_entropy": lambda a, y, p: -(y * np.log(a)),
    "squared_error": lambda a, y, p: (a - y) ** 2 / 2,
    "absolute_error": lambda a, y, p: abs(a - y),
    "huber": lambda a, y, p: (a - y) ** 2 / 2 if abs(a - y) <= p else p * (abs(a - y) - p / 2),
    "poisson": lambda a, y, p: a - y * np.log(a),
    "quantile": lambda a, y, p: p * (y - a) if y >= a else (1 - p) * (a - y),
}
LINKS = {
    "log_loss": lambda z: 1 / (1 + np.exp(-z)),
    "cross_entropy": lambda z: np.exp(z) / np.exp(z).sum(),
    "poisson": np.exp,
}


def slope(f, at, h=1e-3):
    """Return the fourth-order difference of ``f`` at a number."""
    return (8 * (f(at + h) - f(at - h)) - (f(at + 2 * h) - f(at - 2 * h))) / (12 * h)


@pytest.mark.parametrize("loss", losses.TABLE)
def test_each_factor_is_the_derivative_it_is_named_for(loss):
    rng = np.random.default_rng(4)
    net = Network([2, 3], loss=loss, dtype="float64", random_state=1)
    x, y = rng.normal(size=2), target(loss, 3, rng)
    trace = explain(net, x, y)
    (layer,) = trace.layers
    link = LINKS.get(loss, lambda z: z)
    np.testing.assert_allclose(layer.z, x @ net.weights[0] + net.biases[0], rtol=1e-14)
    np.testing.assert_allclose(layer.a, link(layer.z), rtol=1e-14)
    assert trace.loss == pytest.approx(net.loss([x], [y]), rel=1e-14)
    for k in range(3):
        J = lambda a, k=k: VALUES[loss](a, trace.y[k], net.loss_parameter)  # noqa: E731
        assert layer.dJ_da[k] == pytest.approx(slope(J, layer.a[k]), rel=1e-8)
        for j in range(3):
            unit = np.eye(3)[j]
            expected = slope(lambda t, k=k, unit=unit: link(layer.z + t * unit)[k], 0.0)
            found = layer.da_dz[k, j] if layer.da_dz.ndim == 2 else layer.da_dz[k] * (k == j)
            assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("activation", activations.TABLE)
def test_hidden_factor_is_the_activations_derivative(activation):
    net = Network([1, 1, 1], activation=activation, dtype="float64")
    net.parameters[:] = [0.7, 0.2, 1.3, -0.1]
    layer = explain(net, [0.9], 0.3).layers[0]
    expected = slope(lambda z: float(functional.activation(activation, z)), layer.z[0])
    assert layer.da_dz[0] == pytest.approx(expected, rel=1e-9)
    assert layer.dJ_da[0] == pytest.approx(1.3 * explain(net, [0.9], 0.3).layers[1].delta[0])


#: Names and formulas of the steps of a sigmoid neuron, as derivation N1 to N10 has them.
DERIVATION = [
    ("z", "x.w + b"),
    ("a", "1 / (1 + exp(-z))"),
    ("(1 - a, a)", "softmax(0, z)"),
    ("J", "-(y log a + (1 - y) log(1 - a))"),
    ("J", "-sum_k y_k log a_k"),
    ("dJ/da", "(a - y) / (a (1 - a))"),
    ("da/dz", "a (1 - a)"),
    ("dz/dw", "x"),
    ("dz/db", "1"),
    ("dJ/dw", "dJ/da * da/dz * dz/dw"),
    ("dJ/dw", "(a - y) x"),
    ("dJ/db", "dJ/da * da/dz * dz/db"),
    ("dJ/db", "delta"),
    ("dJ/dx", "delta w"),
    ("w_new", "w_old - alpha * dJ/dw"),
    ("b_new", "b_old - alpha * dJ/db"),
]


def test_single_neuron_is_the_derivation():
    trace = explain(neuron([0.5, -0.25], 0.1, loss="log_loss"), [1, 2], 1, learning_rate=0.1)
    lines = str(trace).splitlines()[4:]
    tags = [line.split()[0] for line in lines if line.startswith("N")]
    assert tags == [f"N{i}" for i in range(1, 11)]
    rows = {}
    for line in lines:
        name = line[5:].split("=")[0].split()
        rows.setdefault(" ".join(name), line.split("= ")[-1])
    a = 1 / (1 + np.exp(-0.1))
    assert float(rows["z"]) == pytest.approx(0.1)
    assert float(rows["a"]) == pytest.approx(a, rel=1e-5)
    assert float(rows["J"]) == pytest.approx(-np.log(a), rel=1e-5)
    assert float(rows["dJ/da"]) == pytest.approx(-1 / a, rel=1e-5)
    assert float(rows["da/dz"]) == pytest.approx(a * (1 - a), rel=1e-5)
    assert rows["dz/dw"] == "[1, 2]"
    assert rows["dJ/db"] == f"{a - 1:.6g}"
    assert rows["w_new"] == f"[{0.5 - 0.1 * (a - 1):.6g}, {-0.25 - 0.2 * (a - 1):.6g}]"
    assert rows["b_new"] == f"{0.1 - 0.1 * (a - 1):.6g}"
    starts = {line.rindex("= ") for line in lines}
    assert len(starts) == 1, "the values stand under each other"
    assert "1 * 0.5 + 2 * (-0.25) + 0.1" in lines[0]
    assert [
        tuple(part.strip() for part in line[5:].split(" = ")[:2]) for line in lines
    ] == DERIVATION


def test_two_class_lines_repeat_the_sigmoid_as_a_softmax():
    net = neuron([0.5, -0.25], 0.1, loss="log_loss", loss_scale=0.5)
    lines = str(explain(net, [1, 2], 1)).splitlines()
    values = {line.split()[0]: line.split("= ")[-1] for line in lines if line.startswith("N")}
    a = 1 / (1 + np.exp(-0.1))
    assert values["N3"] == f"[{1 - a:.6g}, {a:.6g}]"
    assert values["N5"] == values["N4"] == f"{-np.log(a) / 2:.6g}"


def test_saturated_factors_are_exact_where_they_exist_and_noted_where_not():
    net = neuron([1.0], 0.0, loss="log_loss")
    layer = explain(net, [300.0], 0).layers[0]
    assert layer.a[0] == 1  # the textbook's 1 - a would be 0
    assert layer.product_b[0] == pytest.approx(layer.delta[0]) == 1
    far = explain(net, [800.0], 0)
    assert not np.isfinite(far.layers[0].product_b).all()
    assert far.layers[0].delta[0] == 1
    assert "saturated" in str(far)
    assert "saturated" not in str(explain(net, [3.0], 0))


def test_deep_networks_fold_and_unfold():
    net = Network([3, 4, 2, 3], activation=["tanh", "gelu"], loss="cross_entropy", random_state=0)
    trace = explain(net, [1, 2, -1], 2)
    folded, full = str(trace), trace.full()
    assert len(folded.splitlines()) < 30 < len(full.splitlines())
    assert f"{trace.loss:.6g}" in folded
    for l, layer in enumerate(trace.layers):
        assert f"delta[{l}]" in folded
        assert f"{layer.W_new[0, 0]:.6g}" in trace.layer(l)
        assert f"{layer.W_new[0, 0]:.6g}" in full
    with pytest.raises(IndexError):
        trace.layer(3)


def test_notebook_forms_hold_every_step():
    net = Network([2, 2, 1], activation="relu", loss="squared_error", random_state=0)
    trace = explain(net, [1, 2], 0.5)
    html, latex, markdown = trace._repr_html_(), trace._repr_latex_(), trace._repr_markdown_()
    assert html.count("<details>") == html.count("</details>") == 2
    assert html.count("<table>") == html.count("</table>") > 2
    assert latex.startswith("$$\\begin{aligned}")
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\frac{\partial J}{\partial a}") >= 2
    rows = [line for line in markdown.splitlines() if line.startswith("| N")]
    assert rows
    assert all(row.replace(r"\|", "").count("|") == 5 for row in rows)
    single = explain(neuron([0.5], 0.1, loss="quantile"), [1], 2)
    assert "<details>" not in single._repr_html_()
    assert r"\text{ if }" in single._repr_markdown_()


def test_long_rows_are_shortened_only_in_print():
    net = Network([50, 20, 9], random_state=0, loss="cross_entropy")
    trace = explain(net, np.arange(50), 3)
    assert max(len(line) for line in trace.full().splitlines()) < 160
    assert trace.layers[0].dJ_dW.shape == (50, 20)


def test_model_is_left_alone_and_a_trace_outlives_it():
    net = Network([2, 3, 1], random_state=0)
    before = net.parameters.copy()
    trace = explain(net, [1, 2], 3, learning_rate=0.5)
    np.testing.assert_array_equal(net.parameters, before)
    W = trace.layers[0].W.copy()
    net.parameters[:] = 0
    np.testing.assert_array_equal(trace.layers[0].W, W)


def test_rows_may_be_sparse_or_a_matrix_of_one():
    net = Network([3, 2, 1], random_state=0)
    plain = explain(net, [1, 0, 2], 1)
    for row in ([[1, 0, 2]], scipy.sparse.csr_array([[1.0, 0, 2]])):
        np.testing.assert_array_equal(explain(net, row, 1).layers[1].delta, plain.layers[1].delta)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], 1, "x has 3 features, but the network takes 2"),
        ([[1, 2], [3, 4]], 1, "x must be one row, got 2"),
        ([1, np.nan], 1, "x must be finite"),
        ([1, 2], 2, r"log_loss takes y in \[0, 1\]"),
        ([1, 2], [0, 1], "y must have shape"),
    ],
)
def test_bad_rows_and_targets_are_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        explain(Network([2, 1], loss="log_loss"), x, y)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="model must be a Network, a Model or a fitted fastnn"):
        explain(object(), [1], 1)
    with pytest.raises(TypeError, match="got function"):
        explain(lambda x: x, [1], 1)
    with pytest.raises(ValueError, match="learning_rate"):
        explain(Network([1, 1]), [1], 1, learning_rate=-1)


IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]


def iris_model():
    net = Network([4, 3, 3], loss="cross_entropy", dtype="float64", random_state=0)
    names = ["a", "b", "c", "d"]
    return fastnn.Model(
        net, names, IRIS.mean(axis=0), IRIS.std(axis=0), "species",
        ["virginica", "setosa", "versicolor"],
    )  # fmt: skip


def test_estimators_are_explained_with_their_labels():
    with pytest.raises(ValueError, match="this MLPClassifier is not fitted yet"):
        explain(fastnn.MLPClassifier(), IRIS[0], "setosa")
    with pytest.warns(UserWarning, match="iterations"):
        fitted = fastnn.MLPClassifier((5,), max_iter=5, random_state=0).fit(IRIS, NAMES)
    trace = explain(fitted, IRIS[60], "versicolor")
    np.testing.assert_allclose(trace.layers[-1].a, fitted.predict_proba(IRIS[60:61])[0])
    np.testing.assert_array_equal(trace.y, [0, 1, 0])
    assert fastnn.check_gradients(fitted, IRIS[::30], NAMES[::30]).ok
    assert fastnn.input_gradients(fitted, IRIS, NAMES).shape == IRIS.shape
    with pytest.raises(ValueError, match="y holds the label rose, but the model knows"):
        explain(fitted, IRIS[0], "rose")


def test_binary_and_regression_estimators():
    with pytest.warns(UserWarning, match="iterations"):
        binary = fastnn.MLPClassifier((3,), max_iter=5, random_state=0).fit(IRIS[:100], NAMES[:100])
    trace = explain(binary, IRIS[0], "versicolor")
    assert trace.y == 1
    assert trace.layers[-1].a[0] == pytest.approx(binary.predict_proba(IRIS[:1])[0, 1])
    with pytest.warns(UserWarning, match="iterations"):
        regressor = fastnn.MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(
            IRIS, SPECIES
        )
    trace = explain(regressor, IRIS[0], 0.0)
    assert trace.layers[-1].a[0] == pytest.approx(regressor.predict(IRIS[:1])[0])


def test_a_model_is_explained_in_its_units():
    model = iris_model()
    trace = explain(model, IRIS[0], "setosa")
    np.testing.assert_allclose(trace.x, (IRIS[0] - IRIS.mean(axis=0)) / IRIS.std(axis=0))
    np.testing.assert_array_equal(trace.y, [0, 1, 0])
    slopes = fastnn.input_gradients(model, IRIS[:2])
    step = 1e-6 * np.eye(4)
    for j in range(4):
        moved = model.outputs(IRIS[:2] + step[j]) - model.outputs(IRIS[:2] - step[j])
        np.testing.assert_allclose(slopes[:, :, j], moved / 2e-6, atol=1e-8)
    assert fastnn.check_gradients(model, IRIS[::30], NAMES[::30]).ok


def test_a_regression_model_is_explained_in_its_units():
    net = Network([4, 3, 1], dtype="float64", random_state=0)
    names = ["a", "b", "c", "d"]
    model = fastnn.Model(net, names, [1, 2, 3, 4], [2, 2, 2, 2], "t", None, 5.0, 3.0)
    assert explain(model, IRIS[0], 8.0).y == 1
    slopes = fastnn.input_gradients(model, IRIS[:1])[0, 0]
    step = 1e-6 * np.eye(4)
    moved = model.predict(IRIS[0] + step) - model.predict(IRIS[0] - step)
    np.testing.assert_allclose(slopes, moved / 2e-6, rtol=1e-6)


@pytest.fixture
def files(tmp_path):
    fastnn.save(tmp_path / "iris.safetensors", iris_model())
    rows = [",".join([*map(str, x), name]) for x, name in zip(IRIS, NAMES, strict=True)]
    (tmp_path / "iris.csv").write_text("\n".join(["a,b,c,d,species", *rows]) + "\n")
    return [str(tmp_path / "iris.safetensors"), str(tmp_path / "iris.csv")]


def test_command_line_prints_the_trace(files):
    run = CliRunner().invoke(main, ["explain", *files, "--row", "70"])
    assert run.exit_code == 0, run.output
    assert run.output == str(explain(iris_model(), IRIS[70], "versicolor")) + "\n"
    full = CliRunner().invoke(main, ["explain", *files, "--full", "--learning-rate", "0.5"])
    expected = explain(iris_model(), IRIS[0], "setosa", learning_rate=0.5)
    assert full.output == expected.full() + "\n"
    one = CliRunner().invoke(main, ["explain", *files, "--layer", "1"])
    assert one.output == explain(iris_model(), IRIS[0], "setosa").layer(1) + "\n"


def test_command_line_names_what_is_wrong(files, tmp_path):
    far = CliRunner().invoke(main, ["explain", *files, "--row", "150"])
    assert far.exit_code == 2
    assert "--row must be below 150" in far.output
    deep = CliRunner().invoke(main, ["explain", *files, "--layer", "2"])
    assert deep.exit_code == 2
    assert "--layer must be below 2" in deep.output
    fastnn.save(tmp_path / "net.safetensors", Network([4, 1]))
    bare = CliRunner().invoke(main, ["explain", str(tmp_path / "net.safetensors"), files[1]])
    assert bare.exit_code == 2
    assert "bare network" in bare.output
