"""Tables in files: what is read and written, and what the errors say."""

import importlib.util
import zipfile

import numpy as np
import pytest

from fastnn.datasets import TableWriter, read_table, write_table

FLOWERS = "width,length,kind\n1.5,2,rose\n0.5,-1e-3,aster\n3,4,rose\n"


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file and return its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_csv(write):
    table = read_table(write(FLOWERS), "kind")
    expected = np.array([[1.5, 2], [0.5, -1e-3], [3, 4]], np.float32)
    np.testing.assert_array_equal(table.X, expected)
    assert table.X.dtype == np.float32
    assert table.X.flags.c_contiguous
    assert table.y.tolist() == [1, 0, 1]
    assert table.y.dtype == np.int64
    assert table.classes.tolist() == ["aster", "rose"]
    assert table.labels.tolist() == ["rose", "aster", "rose"]
    assert (table.feature_names, table.target_name) == (("width", "length"), "kind")
    assert table.task == "classification"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xef\xbb\xbf" + FLOWERS.encode(), "bom.csv"),
        (FLOWERS.replace("\n", "\r\n"), "crlf.csv"),
        (FLOWERS.rstrip("\n"), "no_end.csv"),
        (FLOWERS.replace("\n", "\n\n") + "\n", "blank_lines.csv"),
        (FLOWERS.replace(",", ";"), "semicolons.csv"),
        (FLOWERS.replace(",", "\t"), "tabs.tsv"),
        (FLOWERS.replace(",", "\t"), "tabs.csv"),
        (FLOWERS.replace(",", " , "), "spaces.CSV"),
        (FLOWERS.replace("rose", '"rose"').replace("0.5", '"0.5"'), "quotes.csv"),
    ],
)
def test_dialects(write, content, name):
    table = read_table(write(content, name), "kind")
    expected = np.array([[1.5, 2], [0.5, -1e-3], [3, 4]], np.float32)
    np.testing.assert_array_equal(table.X, expected)
    assert table.labels.tolist() == ["rose", "aster", "rose"]


def test_quoted_fields(write):
    text = '"a, b",c,d\n1,2,"x, y"\n3,4,"line\nbreak"\n5,6,"say ""hi"""\n7,8,\n'
    path = write(text.rsplit("7", 1)[0])
    table = read_table(path, "d")
    assert table.feature_names == ("a, b", "c")
    assert table.labels.tolist() == ["x, y", "line\nbreak", 'say "hi"']
    with pytest.raises(ValueError, match="line 6, column 'd': missing value"):
        read_table(write(text), "d")


def test_choice_of_columns(write):
    path = write("a,b,c,d\n1,2,3,u\n4,5,6,v\n")
    for target in ("d", 3, -1, "3", "-1"):
        assert read_table(path, target).target_name == "d"
    assert read_table(path, "b", features=["c", 0]).X.tolist() == [[3, 1], [6, 4]]
    table = read_table(path, features=["a", "b"])
    assert table.X.tolist() == [[1, 2], [4, 5]]
    assert (table.y, table.classes, table.task, table.target_name) == (None,) * 4
    assert table.labels is None
    assert read_table(path, "d", features=["b"]).X.tolist() == [[2], [5]]


def test_names_that_are_numbers(write):
    path = write("0,1,7\n5,6,0\n8,9,1\n")
    assert read_table(path, "7").y.tolist() == [0, 1]
    assert read_table(path, "1").y.tolist() == [0, 1]
    assert read_table(path, "1").target_name == "1"


def test_file_without_header(write):
    path = write("5.1,3.5,setosa\n4.9,3.0,virginica\n")
    table = read_table(path, -1, header=False)
    assert table.feature_names == ("x0", "x1")
    assert table.labels.tolist() == ["setosa", "virginica"]
    with pytest.raises(ValueError, match=r"line 1.*'5.1'.*header=False"):
        read_table(path, -1)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["no", "yes", "no"], "classification", ["no", "yes"]),
        (["True", "False", "True"], "classification", ["False", "True"]),
        (["10", "9", "10"], "classification", [9, 10]),
        (["1.0", "0", "1e0"], "classification", [0, 1]),
        (["1", "2", "x"], "classification", ["1", "2", "x"]),
        (["1", "2.5", "1"], "regression", None),
        ([str(i) for i in range(21)], "regression", None),
        ([str(i % 20) for i in range(21)], "classification", list(range(20))),
    ],
)
def test_task_is_recognised(write, values, task, classes):
    table = read_table(write("x,t\n" + "".join(f"1,{value}\n" for value in values)), "t")
    assert table.task == task
    if classes is None:
        assert table.classes is None
        assert table.y.dtype == np.float32
        assert table.y.tolist() == [float(value) for value in values]
    else:
        assert table.classes.tolist() == classes
        assert len(table.labels) == len(values)


def test_task_is_given(write):
    path = write("x,t\n1,0\n2,1.5\n")
    assert read_table(path, "t", task="classification").classes.tolist() == [0, 1.5]
    path = write("x,t\n1,0\n2,1\n")
    table = read_table(path, "t", task="regression", dtype=np.float64)
    assert table.y.dtype == table.X.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv: the file is empty"),
        ("\n\n", "table.csv: the file is empty"),
        ("a,t\n", "table.csv: no rows"),
        ("a,b,t\n1,2,u\n3,v\n", r"line 3: 2 fields instead of 3 \('a', 'b', 't'\)"),
        ("a,b,t\n1,2,u\n3,4,5,v\n", "line 3: 4 fields instead of 3"),
        ("a,b,t\n1,2,u\n3,,v\n", "line 3, column 'b': missing value"),
        ("a,b,t\n1,2,u\n3, NaN ,v\n", "line 3, column 'b': missing value .*nan"),
        ("a,b,t\n1,2,u\n?,4,v\n", "line 3, column 'a': missing value"),
        ("a,b,t\n1,2,u\n3,4,\n", "line 3, column 't': missing value"),
        ("a,b,t\n1,2,u\n3,4,NA\n", "line 3, column 't': missing value"),
        ("a,b,t\n1,2,u\n3,-inf,v\n", "line 3, column 'b': -inf is not a finite number"),
        ("a,b,t\n1,2,0\n3,4,inf\n", "line 3, column 't': inf is not a finite number"),
        ("a,b,t\n1,2,u\n3,1e39,v\n", r"line 3, column 'b': 1e\+39 does not fit float32"),
        ("a,b,t\n1,red,u\n", "line 2, column 'b': 'red' is not a number .*one-hot"),
        ("a,b,t\n1,'2',u\n", "line 2, column 'b': .*is not a number"),
        ('a,b,t\n1,"2,u\n3,4,v\n', "line 2: unexpected end of data"),
        ("a,a,t\n1,2,u\n", "two columns have the same name: 'a'"),
        (",a,t\n0,1,u\n", "line 1: column 1 has no name"),
        ("a,b,c\n1,2,3\n", "target 't' is not a column; the columns are 'a', 'b', 'c'"),
        ("t\nu\n", "no feature columns are left; the columns are 't'"),
    ],
)
def test_bad_csv(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_table(write(text), "t")
    assert "\n" not in str(caught.value)


def test_errors_name_the_line_in_later_batches(write, monkeypatch):
    monkeypatch.setattr("fastnn.datasets.delimited._BATCH", 6)
    rows = [f"{i},{i}.5,{i % 3}\n" for i in range(20)]
    table = read_table(write("a,b,t\n" + "".join(rows)), "t")
    assert table.X.tolist() == [[i, i + 0.5] for i in range(20)]
    assert table.y.tolist() == [i % 3 for i in range(20)]
    rows[16] = "nan,1,2\n"
    with pytest.raises(ValueError, match="line 18, column 'a': missing value"):
        read_table(write("a,b,t\n" + "".join(rows)), "t")


def test_bad_arguments(write):
    path = write(FLOWERS)
    for call, error, message in [
        (lambda: read_table(path, 3), ValueError, "target 3 is not a column"),
        (lambda: read_table(path, 1.5), TypeError, "target must be a column's name or number"),
        (lambda: read_table(path, "kind", features=["kind"]), ValueError, "features.*'kind'"),
        (lambda: read_table(path, "kind", features=["width", 0]), ValueError, "twice"),
        (lambda: read_table(path, "kind", features="width"), TypeError, "features must be a list"),
        (lambda: read_table(path, "kind", features=[]), ValueError, "no feature columns"),
        (lambda: read_table(path, "kind", task="ranking"), ValueError, "task must be one of"),
        (lambda: read_table(path, "kind", task="regression"), ValueError, "'kind'.*'rose'"),
        (lambda: read_table(path, "kind", dtype=int), ValueError, "dtype must be float32"),
        (lambda: read_table(write("x", "table.xls")), ValueError, "table.xls: a table is .csv"),
        (
            lambda: read_table(write(b"a,b\n1,\xe9\n", "l.csv")),
            ValueError,
            "l.csv: not UTF-8.*0xe9",
        ),
    ]:
        with pytest.raises(error, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        read_table(path.with_name("nowhere.csv"))


def test_many_columns_are_not_all_listed(write):
    path = write(",".join(f"c{j}" for j in range(50)) + "\n" + ",".join(["1"] * 50) + "\n")
    with pytest.raises(ValueError, match=r"'c19', \.\.\. \(50 columns\)$"):
        read_table(path, "t")


EXTREMES = np.array(
    [[0.1, -0.0, 1e-45], [3.4028235e38, 1 / 3, -7], [16777217, 1.1754944e-38, 2.0**-24]]
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["csv", "tsv", "npy", "npz"])
def test_round_trip(tmp_path, kind, dtype):
    path, X = tmp_path / f"table.{kind}", EXTREMES.astype(dtype)
    names = ["plain", 'comma, quote "', "ünï"]
    write_table(path, X, [5, 3, 5], feature_names=names, target_name="t")
    table = read_table(path, {"npy": -1, "npz": None}.get(kind, "t"), dtype=dtype)
    np.testing.assert_array_equal(table.X, X)
    assert table.X.dtype == dtype
    assert table.X.flags.c_contiguous
    assert table.labels.tolist() == [5, 3, 5]
    if kind != "npy":
        assert (table.feature_names, table.target_name) == (tuple(names), "t")
    write_table(path, X)
    alone = read_table(path, dtype=dtype)
    np.testing.assert_array_equal(alone.X, X)
    assert alone.y is None
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_text_labels_round_trip(tmp_path, kind):
    path, labels = tmp_path / f"table.{kind}", ["a, b", 'say "x"', "ü"]
    write_table(path, np.eye(3), labels)
    assert read_table(path, None if kind == "npz" else "target").labels.tolist() == labels


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_numeric_targets_round_trip(tmp_path, kind):
    path = tmp_path / f"table.{kind}"
    y = np.array([0.1, 1 / 3, 2.5], np.float32)
    write_table(path, np.eye(3, dtype=np.float32), y)
    table = read_table(path, None if kind == "npz" else -1)
    np.testing.assert_array_equal(table.y, y)
    assert table.task == "regression"


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_chunks_make_the_same_file(tmp_path, kind):
    X, y = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), np.arange(50) % 3
    paths = [tmp_path / f"{name}.{kind}" for name in ("whole", "chunks")]
    write_table(paths[0], X, y)
    with TableWriter(paths[1], 50, 4) as writer:
        for first in range(0, 50, 17):
            writer.write(X[first : first + 17], y[first : first + 17])
    tables = [read_table(path, None if kind == "npz" else -1) for path in paths]
    np.testing.assert_array_equal(tables[0].X, tables[1].X)
    np.testing.assert_array_equal(tables[0].X, X)
    np.testing.assert_array_equal(tables[1].y, y)


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_a_failed_writer_leaves_the_old_file(tmp_path, kind):
    path = tmp_path / f"table.{kind}"
    path.write_text("old")

    def interrupted():
        with TableWriter(path, 4, 2) as writer:
            writer.write(np.ones((2, 2)), np.zeros(2))
            raise KeyboardInterrupt

    def unfinished():
        with TableWriter(path, 4, 2) as writer:
            writer.write(np.ones((2, 2)), np.zeros(2))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="2 rows were written, but n_rows is 4"):
        unfinished()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_table_larger_than_any_file_leaves_nothing(tmp_path, kind):
    with pytest.raises((OSError, OverflowError)), TableWriter(tmp_path / f"a.{kind}", 2**57, 2):
        pass
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path, X = tmp_path / "a.csv", np.ones((2, 1))
    with TableWriter(path, 2, 1, target_name=None) as first:
        with TableWriter(path, 2, 1, target_name=None) as second:
            second.write(2 * X)
        first.write(X)
    np.testing.assert_array_equal(read_table(path).X, X)


def test_bad_writes(tmp_path):
    path, X = tmp_path / "table.csv", np.ones((3, 2))
    for call, message in [
        (lambda: write_table(tmp_path / "table.xls", X), "path must end in .csv"),
        (lambda: write_table(path, X, [1, 2]), r"y has shape \(2,\), but X has 3 rows"),
        (lambda: write_table(path, X[0]), "X must be numbers of shape"),
        (lambda: write_table(path, X, feature_names=["a"]), "1 names for 2 features"),
        (lambda: write_table(tmp_path / "t.npy", X, list("abc")), "y holds text"),
        (lambda: write_table(path, X[:0]), "n_rows must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with TableWriter(path, 3, 2) as writer:
        with pytest.raises(ValueError, match="y is missing"):
            writer.write(X)
        with pytest.raises(ValueError, match=r"\(3, 1\), not \(rows, 2\)"):
            writer.write(X[:, :1], [0, 1, 2])
        with pytest.raises(ValueError, match="rows to 4, but n_rows is 3"):
            writer.write(np.ones((4, 2)), np.ones(4))
        writer.write(X, np.ones(3))
    assert len(read_table(path).X) == 3


def test_npy(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, np.asfortranarray(np.arange(12).reshape(4, 3)))
    table = read_table(path, 1, dtype=np.float64)
    assert table.X.tolist() == [[0, 2], [3, 5], [6, 8], [9, 11]]
    assert (table.feature_names, table.target_name) == (("x0", "x2"), "x1")
    assert table.classes.tolist() == [1, 4, 7, 10]
    np.save(path, np.array([[True, False], [False, False]]))
    assert read_table(path, 0).classes.tolist() == [False, True]


def test_npz(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, X=[[1.0, 2], [3, 4]], y=["b", "a"])
    for target in (None, "y"):
        table = read_table(path, target)
        assert table.X.tolist() == [[1, 2], [3, 4]]
        assert table.labels.tolist() == ["b", "a"]
    np.savez_compressed(path, X=[[1.0, 2], [3, 4]], y=[[1], [0]])
    assert read_table(path, features=["x1"]).X.tolist() == [[2], [4]]
    assert read_table(path).y.tolist() == [1, 0]
    np.savez(path, data=[[1, 2], [3, 4]])
    assert read_table(path, "x1").y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([[1.0, 2], [3, np.nan]], r"row 1 \(from 0\), column 'x1': missing value"),
        ([[1.0, 2], [np.inf, 0]], r"row 1 \(from 0\), column 'x0': inf is not a finite"),
        ([[1.0, 2], [3e38, -4e38]], r"row 1 .*'x1': -4e\+38 does not fit float32"),
        ([1.0, 2], r"not float64 of shape \(2,\)"),
        (np.empty((0, 3)), r"not float64 of shape \(0, 3\)"),
        ([["a", "b"]], "not <U1 of shape"),
        (np.ones((2, 2), complex), "not complex128"),
        ({"X": np.ones((3, 2)), "y": np.ones(2)}, r"y has shape \(2,\), but X has 3 rows"),
        ({"X": np.ones((3, 2)), "z": np.ones(3)}, "found X, z"),
        ({"X": np.ones((1, 2)), "y": np.ones(1, complex)}, "y must hold numbers or text"),
        ({"X": np.ones((1, 2)), "y": [np.nan]}, "target 'y' holds nan"),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    path = tmp_path / ("table.npz" if isinstance(arrays, dict) else "table.npy")
    if isinstance(arrays, dict):
        np.savez(path, **arrays)
    else:
        np.save(path, arrays)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_bad_array_files(write, tmp_path):
    for name in ("t.npy", "t.npz"):
        for content in (b"", b"nonsense", b"\x93NUMPY", b"PK\x03\x04nonsense"):
            with pytest.raises(ValueError, match="not a NumPy file of numbers"):
                read_table(write(content, name))
    np.save(tmp_path / "t.npy", np.eye(2))
    with pytest.raises(ValueError, match="not a NumPy file of numbers"):
        read_table((tmp_path / "t.npy").rename(tmp_path / "t.npz"))
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("X", "text")
    with pytest.raises(ValueError, match="other things than NumPy arrays"):
        read_table(tmp_path / "t.npz")
    np.save(tmp_path / "t.npy", np.array([[None]]), allow_pickle=True)
    with pytest.raises(ValueError, match="not a NumPy file of numbers"):
        read_table(tmp_path / "t.npy")
    np.savez(tmp_path / "t.npz", X=np.ones((2, 2)), y=[0, 1])
    with pytest.raises(ValueError, match="target 'x0' given, but the target is array 'y'"):
        read_table(tmp_path / "t.npz", "x0")
    np.save(tmp_path / "t.npy", np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="column 'x1': missing value"):
        read_table(tmp_path / "t.npy", 1)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is there")
def test_parquet_without_pyarrow(write):
    with pytest.raises(ImportError, match=r"pip install '\.\[tables\]'"):
        read_table(write("", "table.parquet"))


def test_parquet(write):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = write("nonsense", "table.parquet")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_table(path)
    columns = {
        "a": pa.array([1, 2, 3], pa.int16()),
        "b": [0.5, 1.5, -2.0],
        "t": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path)
    table = read_table(path, "t")
    assert table.X.tolist() == [[1, 0.5], [2, 1.5], [3, -2]]
    assert table.X.flags.c_contiguous
    assert table.labels.tolist() == ["u", "v", "u"]
    assert read_table(path, "a", features=["b"]).labels.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="column 't': string is not a number"):
        read_table(path)
    with pytest.raises(ValueError, match="target 'z' is not a column"):
        read_table(path, "z")
    for bad, message in (([1.0, None, 2], "missing"), ([1.0, np.inf, 2], "inf is not a finite")):
        pq.write_table(pa.table({**columns, "b": bad}), path)
        with pytest.raises(ValueError, match=rf"row 1 \(from 0\), column 'b': {message}"):
            read_table(path, "t")
