"""python -m fastbp train TABLE and predict: what a user sees, what is written, and what a bad table is told."""

import csv
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.__main__ import main
from fastbp.commands import train_table
from fastbp.estimators.table import columns, reading
from fastbp.estimators.table.columns import Encoder, NumberColumn, TextColumn
from fastbp.estimators.table.reading import read_table
from fastbp.estimators.table.table_model import TableModel, Target, split

pytest.importorskip("safetensors", reason="safetensors is not installed")
if not find_spec("pandas") and not find_spec("polars"):
    pytest.skip("neither pandas nor polars is installed", allow_module_level=True)

BACKEND = ("--backend", backends()[-1])


def run(capsys, *arguments):
    status = main([str(a) for a in (*arguments, *BACKEND)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(path, table):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def homes(rows=600, seed=0):
    """A table of every kind of column, the price of which can be known within 5."""
    rng = np.random.default_rng(seed)
    size, rooms = rng.uniform(20, 200, rows), rng.integers(1, 7, rows)
    city, street = rng.choice(["Bern", "Oslo", "Rome"], rows), rng.integers(0, 20, rows)
    garden = rng.random(rows) < 0.3
    built = np.datetime64("2000-01-01") + rng.integers(0, 8000, rows)
    price = 3 * size + 20 * rooms + 100 * (city == "Oslo") + 10 * np.sin(street) + 30 * garden + rng.normal(size=rows)
    return {"size": size.round(1), "rooms": rooms, "city": city, "street": [f"street {s}" for s in street],
            "garden": garden, "built": built, "id": [f"x{i}" for i in range(rows)], "empty": [""] * rows,
            "same": [3] * rows, "price": price.round(2)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("homes")
    table, model = write(folder / "homes.csv", homes()), folder / "model.safetensors"
    assert main(["train", str(table), "--target", "price", "--output", str(model), *BACKEND]) == 0
    return table, model


# ---- training and predicting -----------------------------------------------------------------------------------------


def test_a_number_is_predicted(capsys, tmp_path):
    table = write(tmp_path / "homes.csv", homes())
    status, out, err = run(capsys, "train", table, "--target", "price", "--output", tmp_path / "m.safetensors")
    assert (status, err) == (0, "")
    assert "target: 'price', regression (numbers)" in out
    assert "columns in use: 3 of numbers, 2 of text, one-hot, 1 of text, embedded" in out
    assert "left out: 'id', which has another text in nearly every row" in out
    assert "left out: 'empty', which has no values" in out
    assert "left out: 'same', which has the same value in every row" in out
    assert "rows: 420 for training, 90 for validation, 90 for testing" in out
    rmse, spread = map(float, re.search(r"root mean squared error +(\S+) +\(always the mean: (\S+)\)", out).groups())
    assert rmse < 0.15 * spread
    assert float(re.search(r"R² +(\S+)", out)[1]) == pytest.approx(1 - (rmse / spread) ** 2, abs=0.01)
    assert f"model written to {tmp_path / 'm.safetensors'}" in out


def test_the_report_is_of_rows_that_training_did_not_see(capsys, tmp_path):
    data = homes()
    data["price"] = np.random.default_rng(1).normal(size=600)
    _, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "price", "--hidden", 256, 256,
                    "--output", tmp_path / "m.safetensors")
    assert float(re.search(r"R² +(\S+)", out)[1]) < 0.15


def test_a_class_is_predicted(capsys, tmp_path):
    data = homes()
    price = data.pop("price")
    data["dear"] = np.where(price > np.median(price), "yes", "no")
    status, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "dear",
                         "--output", tmp_path / "m.safetensors")
    assert status == 0
    assert "target: 'dear', classification into 2 classes (text)" in out
    assert float(re.search(r"accuracy +([\d.]+)%", out)[1]) > 90
    assert re.search(r"always the most frequent class: 5\d\.", out)
    assert "actual \\ predicted\n        no  yes" in out

    status, out, err = run(capsys, "predict", tmp_path / "m.safetensors", tmp_path / "t.csv", "--probabilities")
    rows = list(csv.reader(out.splitlines()))
    assert rows[0] == ["dear", "probability of no", "probability of yes"]
    right = np.mean([row[0] == actual for row, actual in zip(rows[1:], data["dear"], strict=True)])
    assert f"accuracy  {right:.2%}" in err
    assert all((float(no) < float(yes)) == (label == "yes") for label, no, yes in rows[1:])
    assert all(abs(float(no) + float(yes) - 1) < 1e-4 for _, no, yes in rows[1:])


def test_predictions_are_the_models(capsys, trained, tmp_path):
    table, model = trained
    status, out, _ = run(capsys, "predict", model, table, "--output", tmp_path / "p.csv")
    assert (status, out) == (0, "")
    with (tmp_path / "p.csv").open() as file:
        predicted = np.array([float(row["price"]) for row in csv.DictReader(file)])
    price = homes()["price"]
    assert np.corrcoef(predicted, price)[0, 1] > 0.98
    status, printed, err = run(capsys, "predict", model, table)
    np.testing.assert_array_equal(predicted, np.array(printed.split()[1:], float))
    rmse = float(re.search(r"root mean squared error +(\S+)", err)[1])
    assert rmse == pytest.approx(np.sqrt(np.mean((predicted - price) ** 2)), rel=1e-4)


def test_the_network_inside_can_be_loaded_alone(trained):
    net = fb.load(trained[1], backend=BACKEND[1])
    loaded = TableModel.load(trained[1], BACKEND[1])
    found, _ = loaded.encoder.conform(read_table(trained[0])[0])
    y = net.predict(loaded.encoder.encode(found))[:, 0] * loaded.target.std + loaded.target.mean
    np.testing.assert_allclose(y, loaded.outputs(found), rtol=1e-6)


def test_the_seed_decides(capsys, tmp_path):
    table = write(tmp_path / "t.csv", homes(100))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, "train", table, "--target", "price", "--seed", seed, "--epochs", 3,
            "--output", tmp_path / f"{name}.safetensors")
    a, b, c = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_parquet_gives_what_csv_does(capsys, trained, tmp_path):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = tmp_path / "homes.parquet"
    polars.read_csv(trained[0], try_parse_dates=True).write_parquet(table)
    given = read_table(trained[0])[0], read_table(table)[0]
    for name, values in given[0].items():
        other = given[1][name]
        if name == "garden":  # true in one, True in the other
            other = [v.title() for v in other]
        np.testing.assert_array_equal(values, other if name != "empty" else values, err_msg=name)
    status, out, _ = run(capsys, "predict", trained[1], table)
    assert (status, len(out.splitlines())) == (0, 601)


def test_the_report_of_other_rows_does_not_call_them_test_rows(capsys, tmp_path):
    data = {"x": list(range(60)), "y": ["a", "b"] * 30}
    table, model = write(tmp_path / "t.csv", data), tmp_path / "m.safetensors"
    _, out, _ = run(capsys, "train", table, "--target", "y", "--epochs", 1, "--output", model)
    assert "\ntrained for 1 epoch in " in out
    assert re.search(r"^on \d+ test rows:$", out, re.MULTILINE)
    assert run(capsys, "predict", model, table)[2].startswith("on 60 rows:\n")
    one = write(tmp_path / "one.csv", {"x": [1], "y": ["new"]})
    _, _, err = run(capsys, "predict", model, one, "--output", tmp_path / "p.csv")
    assert err.startswith(f"1 prediction written to {tmp_path / 'p.csv'}\non 1 row:\n")
    assert "  1 row with a class that training did not know: 'new'" in err


@pytest.mark.parametrize("done", [0, 3])
def test_ctrl_c_keeps_the_model_of_the_epochs_that_are_done(capsys, tmp_path, monkeypatch, done):
    table, model = write(tmp_path / "t.csv", homes(100)), tmp_path / "m.safetensors"
    whole = tmp_path / "never_stopped.safetensors"

    class Stop(fb.callbacks.Callback):
        def on_epoch_begin(self, trainer, epoch):
            if epoch > done:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(train_table, "Lambda", lambda **hooks: Stop())
    status, out, err = run(capsys, "train", table, "--target", "price", "--output", model)
    assert (status, err) == (130, "\nstopped\n")
    assert model.exists() == (done > 0)
    if done:
        assert "\nstopped by Ctrl-C after 3 epochs in " in out
        assert f"model written to {model}" in out
        monkeypatch.undo()
        run(capsys, "train", table, "--target", "price", "--epochs", 3, "--output", whole)
        assert model.read_bytes() == whole.read_bytes()


# ---- what is unlike the training data --------------------------------------------------------------------------------


def test_unseen_categories_gaps_and_new_columns_are_named(capsys, trained, tmp_path):
    data = {name: np.asarray(values).astype(object) for name, values in homes(20, seed=9).items()}
    data["city"][:3] = ["Kyiv", "Kyiv", "Lima"]
    data["size"][4] = ""
    data["colour"] = ["red"] * 20
    del data["price"], data["id"]
    status, out, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))
    assert (status, len(out.splitlines())) == (0, 21)
    assert "left out, as training did not know them: columns 'colour'\n" in err
    assert "column 'city': 3 rows with categories that training did not know, such as 'Kyiv', 'Lima'; taken as" in err
    assert re.search(r"column 'size': 1 row without a value, taken as the median [\d.]+\n", err)


def test_missing_columns_and_text_for_numbers_are_refused(capsys, trained, tmp_path):
    data = homes(20)
    del data["size"], data["city"]
    status, out, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))
    assert (status, out) == (1, "")
    assert err.startswith("python -m fastbp predict: the table lacks 'size', 'city', which the model was trained on; "
                          "it has 'rooms', 'street'")
    data = homes(20)
    data["size"] = ["large", *data["size"][1:]]
    _, _, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))
    assert "column 'size' has text such as 'large'; the model was trained on numbers there" in err


def test_rows_without_a_target_are_left_out(capsys, tmp_path):
    data = homes(100)
    data["price"] = ["", *data["price"][1:]]
    _, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "price", "--epochs", 1,
                    "--output", tmp_path / "m.safetensors")
    assert "100 rows, 1 of them left out, as they have no target" in out


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "message"), [
    (["--target", "prize"], "--target is 'prize', but the table has 'size', "),
    (["--target", "prize"], "; did you mean 'price'?"),
    ([], "which column is to be predicted? Write: python -m fastbp train "),
    (["--target", "empty"], "the target 'empty' has no values"),
    (["--target", "same"], "the target 'same' has only the class '3'; expected at least 2"),
    (["--target", "id"], "the target 'id' has 60 classes in 60 rows, too many to learn"),
    (["--target", "city", "--task", "regression"], "the target 'city' has text such as 'Rome'; regression needs"),
    (["--target", "same", "--task", "regression"], "the target 'same' has the same value in every row"),
    (["--target", "built"], "the target 'built' has dates, which cannot be predicted; choose another --target, or "),
    (["--target", "built", "--task", "classification"], "the target 'built' has dates, which cannot be predicted"),
    (["--target", "price", "--output", "m.npz"], "--output is 'm.npz'; expected a name that ends in .safetensors"),
    (["--target", "price", "--output", "absent/m.safetensors"], "there is no folder"),
])
def test_what_cannot_be_trained_on(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "train", write(tmp_path / "t.csv", homes(60)), *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]


def test_an_output_that_is_an_input_is_refused(capsys, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, model = tmp_path / "t.csv", tmp_path / "m.csv"
    table.write_bytes(trained[0].read_bytes())
    model.write_bytes(trained[1].read_bytes())
    (tmp_path / "link.csv").symlink_to(table)
    (tmp_path / "link.safetensors").symlink_to(table)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for output, what in (("t.csv", "table"), ("./link.csv", "table"), ("m.csv", "model")):
        status, out, err = run(capsys, "predict", model, table, "--output", output)
        assert (status, out) == (1, "")
        assert err == (f"python -m fastbp predict: --output is {str(Path(output))!r}, the {what} itself, which would "
                       "be lost; choose another name\n")
    status, out, err = run(capsys, "train", table, "--target", "price", "--output", "link.safetensors")
    assert (status, out) == (1, "")
    assert "--output is 'link.safetensors', the table itself" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("column", ["size", "rooms", "price"])
def test_huge_numbers_to_train_on_are_named(capsys, tmp_path, column):
    model, taken = tmp_path / "m.safetensors", 0
    for row, huge in product(range(1, 60, 6), (1e16, 1e300, -1.7e308)):
        data = {name: list(values) for name, values in homes(60).items()}
        data["price"][1] = ""  # rows are counted in the table, not among those with a target
        data[column][row - 1] = huge
        status, out, err = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "price", "--epochs", 1,
                               "--output", model)
        if status == 0 and huge == 1e16:  # all are standardised by what is among the rows that are trained on
            assert "nan" not in out.lower()
            taken += 1
            model.unlink()
            continue
        assert (status, out, model.exists()) == (1, "", False)
        assert err.startswith(f"python -m fastbp train: column {column!r} has {huge!r} in row {row}; expected numbers ")
        assert err.endswith(": correct it, or leave it empty\n")
    assert 0 < taken < 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("column", "huge"), [("size", 1e300), ("size", -1e308), ("rooms", 1e16), ("price", 1e300)])
def test_huge_numbers_to_predict_from_are_named(capsys, trained, tmp_path, column, huge):
    data = {name: list(values) for name, values in homes(20, seed=3).items()}
    data[column][6] = huge
    status, out, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data), "--output",
                           tmp_path / "p.csv")
    assert (status, out, (tmp_path / "p.csv").exists()) == (1, "", False)
    assert err.startswith(f"python -m fastbp predict: column {column!r} has {huge!r} in row 7; expected numbers ")
    assert err.endswith(": correct it, or leave it empty\n")


def test_a_folder_is_no_table(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    for path in (".", "..", "folder.csv"):
        for target in ([], ["--target", "y"]):
            assert run(capsys, "train", path, *target) == (
                1, "", f"python -m fastbp train: {path!r} is a folder; expected a table, a .csv or .parquet file\n")


def test_tables_that_are_none(capsys, trained, tmp_path):
    cases = {"t.csv": "", "head.csv": "a,b\n", "t.txt": "a\n1\n", "t.parquet": "nonsense"}
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
    for name, message in (("absent.csv", "there is no file"), ("t.txt", "expected a name that ends in .csv or "),
                          ("t.csv", "cannot be read: "), ("head.csv", "has no rows"),
                          ("t.parquet", "cannot be read: ")):
        status, _, err = run(capsys, "train", tmp_path / name, "--target", "a")
        assert status == 1
        assert message in err, name
    few = write(tmp_path / "few.csv", {k: list(v)[:10] for k, v in homes(60).items()})
    assert "10 rows with a target; expected at least 20" in run(capsys, "train", few, "--target", "price")[2]
    none = write(tmp_path / "none.csv", {"empty": [""] * 30, "y": range(30)})
    assert "no column can be learnt from: 'empty' has no values" in run(capsys, "train", none, "--target", "y")[2]


def test_models_that_are_none(capsys, trained, tmp_path):
    table, model = trained
    fb.Sequential(fb.Linear(1, 1), backend="reference").save(tmp_path / "net.safetensors")
    for path, message in ((tmp_path / "net.safetensors", "holds a network, but no model of a table"),
                          (table, "no safetensors file"), (tmp_path / "absent", "No such file")):
        status, out, err = run(capsys, "predict", path, table)
        assert (status, out) == (1, "")
        assert message in err
    assert "--probabilities is given, but the model predicts a number, 'price'" in \
        run(capsys, "predict", model, table, "--probabilities")[2]
    assert "expected a name that ends in .csv" in run(capsys, "predict", model, table, "--output", "p.txt")[2]
    assert "; make it first" in run(capsys, "predict", model, table, "--output", tmp_path / "absent" / "p.csv")[2]


def test_a_target_without_a_table(capsys):
    assert "--target is given without a table" in run(capsys, "train", "--target", "price")[2]


def test_without_pandas_and_polars(tmp_path):
    write(tmp_path / "t.csv", homes(30))
    code = ("import sys; from importlib import util; found = util.find_spec\n"
            "util.find_spec = lambda name, *a: None if name in ('pandas', 'polars') else found(name, *a)\n"
            "from fastbp.__main__ import main; main(['train', 't.csv', '--target', 'price'])")
    err = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True, capture_output=True).stderr
    assert err == ("python -m fastbp train: to read .csv files pandas (with pyarrow) or polars is needed; install them "
                   "with: pip install 'fastbp[table]'\n")


# ---- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_both_libraries_read_the_same(tmp_path, library, monkeypatch):
    pytest.importorskip(library, reason=f"{library} is not installed")
    path = tmp_path / "t.csv"
    path.write_text("n,t,b,d,e,m\n1,x,True,2020-01-02,,1\n2.5,,False,,,a\n,NA,True,1970-01-01,,2\n")
    monkeypatch.setattr(reading, "_library", lambda suffix: library)
    table, dates = read_table(path)
    assert dates == {"d"}
    np.testing.assert_array_equal(table["n"], [1, 2.5, np.nan])
    assert table["t"].tolist() == ["x", None, None]
    assert table["b"].tolist() == ["True", "False", "True"]
    np.testing.assert_array_equal(table["d"], [18263, np.nan, 0])
    assert all(v is None or np.isnan(v) for v in table["e"])
    assert table["m"].tolist() == ["1", "a", "2"]


def test_numbers_are_standardised_and_gaps_filled():
    column = NumberColumn.of("x", np.array([1.0, 2.0, np.nan, 4.0, np.inf]))
    assert column.median == 2
    filled = np.array([1, 2, 2, 4, 2])
    np.testing.assert_allclose(column.encode(np.array([1.0, 2.0, np.nan, 4.0, np.inf]))[:, 0],
                               (filled - filled.mean()) / filled.std())
    assert NumberColumn.of("x", np.full(3, np.nan)) == "has no values"
    assert NumberColumn.of("x", np.full(3, 1e9)) == "has the same value in every row"


def test_numbers_that_float64_cannot_tell_apart_are_not_called_the_same():
    for values in (2**60 + np.arange(500), 2**60 + np.arange(9), 1e9 + np.arange(9) / 1e6):
        reason = NumberColumn.of("x", values.astype(float))
        assert reason == f"has values too close to each other for float64, all about {values[0]:g}: shift or scale them"
    assert isinstance(NumberColumn.of("x", 1e-19 * np.arange(9)), NumberColumn)


def test_text_is_one_of_its_categories():
    values = np.array(["b", "a", "b", "a", "rare", None], dtype=object)
    column = TextColumn.of("x", values)
    assert (column.categories, column.other, column.embedding) == (["a", "b"], True, 0)
    np.testing.assert_array_equal(column.encode(np.array(["a", "b", "new", None], dtype=object)),
                                  [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    known = TextColumn.of("x", values[:4])
    np.testing.assert_array_equal(known.encode(np.array(["new"], dtype=object)), [[0, 0]])
    assert known.unseen(np.array(["new", "a", None, "new"], dtype=object)) == {"new": 2}


def test_text_with_many_categories_is_embedded():
    values = np.array([f"c{i % 300}" for i in range(3000)], dtype=object)
    column = TextColumn.of("x", values)
    assert column.size == columns.MOST_CATEGORIES + 1
    assert 0 < column.embedding <= 32
    encoder = Encoder.of({"x": values, "n": np.arange(3000.0)})
    features, category = encoder.encode({"x": values, "n": np.arange(3000.0)})
    assert (features.shape, category.shape) == ((3000, 1), (3000, 257))
    assert Encoder.from_dict(encoder.to_dict()) == encoder


@pytest.mark.parametrize(("values", "task", "classes"), [
    (np.array(["b", "a"] * 20, dtype=object), "auto", ["a", "b"]),
    (np.array([10.0, 9.0] * 20), "auto", ["9", "10"]),
    (np.arange(40.0), "auto", None),
    (np.array([0.5, 1.0] * 20), "auto", None),
    (np.array([0.5, 1.0] * 20), "classification", ["0.5", "1"]),
    (np.array([10.0, 9.0] * 20), "regression", None),
])
def test_the_task_is_found_out(values, task, classes):
    target, _ = Target.of("y", values, task)
    assert target.classes == classes
    if classes:
        assert [classes[i] for i in target.encode(values)] == columns.as_text(values).tolist()


@pytest.mark.parametrize(("values", "why"), [
    (np.arange(360.0) % 18, "18 distinct whole numbers; to predict a number choose --task regression"),
    (np.arange(360.0) % 25, "25 distinct whole numbers; to predict classes choose --task classification"),
    (np.arange(360.0) % 2 / 4, "numbers; to predict classes choose --task classification"),
    (np.arange(360.0), "360 distinct whole numbers"),
    (np.arange(360.0) / 7, "numbers"),
    (np.array(["b", "a"] * 20, dtype=object), "text"),
])
def test_the_other_task_is_pointed_to_where_it_could_be_meant(values, why):
    assert Target.of("y", values)[1] == why


def test_classes_are_spread_over_the_parts():
    classes = np.repeat([0, 1, 2], [160, 30, 10])
    parts = split(200, (0.7, 0.15, 0.15), 0, classes)
    assert sorted(np.concatenate(parts)) == list(range(200))
    np.testing.assert_allclose([len(part) for part in parts], [140, 30, 30], atol=1)
    for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        np.testing.assert_allclose(np.bincount(classes[part], minlength=3), np.array([160, 30, 10]) * share, atol=2)
