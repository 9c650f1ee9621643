"""python -m fastbp train TABLE and predict: what a user sees, what is written, and what a bad table is told."""

import csv
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.__main__ import main
from fastbp.commands.output import inert
from fastbp.datasets import table_files

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
if backends()[-1] != "native":
    pytest.skip("networks for tables are trained by the native backend", allow_module_level=True)

FAST = ("--epochs", 6, "--folds", 2, "--hidden", 32)


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(path, table):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def homes(rows=300, seed=0):
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
    given = ["train", table, "--target", "price", "--output", model, "--epochs", 16, "--folds", 3]
    assert main([str(a) for a in given]) == 0
    return table, model


def printed(out):
    return [row[0] for row in csv.reader(out.splitlines())][1:]


# ---- training and predicting -----------------------------------------------------------------------------------------


def test_a_number_is_predicted(capsys, tmp_path):
    table = write(tmp_path / "homes.csv", homes())
    status, out, err = run(capsys, "train", table, "--target", "price", "--output", tmp_path / "m.safetensors",
                           "--epochs", 16, "--folds", 3)
    assert (status, err) == (0, "")
    assert "target: 'price', regression (numbers)" in out
    assert "columns in use: 2 of numbers, 1 of dates, 4 of categories" in out
    assert "left out: 'empty', which has no values" in out
    assert "left out: 'same', which has the same value in every row" in out
    assert "rows: 255 for training, 45 for testing" in out
    assert out.count("   held out ") == 16
    rmse, spread = map(float, re.search(r"root mean squared error +(\S+) +\(always their mean: (\S+)\)", out).groups())
    assert rmse < 0.2 * spread
    assert f"model written to {tmp_path / 'm.safetensors'}" in out


def test_the_report_is_of_rows_that_training_did_not_see(capsys, tmp_path):
    data = homes(600)
    data["price"] = np.random.default_rng(1).normal(size=600)
    _, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "price", *FAST, "--output",
                    tmp_path / "m.safetensors")
    assert float(re.search(r"R² +(\S+)", out)[1]) < 0.15


def test_a_class_is_predicted(capsys, tmp_path):
    data = homes()
    price = data.pop("price")
    data["dear"] = np.where(price > np.median(price), "yes", "no")
    model = tmp_path / "m.safetensors"
    status, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "dear", "--output", model,
                         "--epochs", 16, "--folds", 3)
    assert status == 0
    assert "target: 'dear', classification into 2 classes (text)" in out
    assert float(re.search(r"accuracy +([\d.]+)%", out)[1]) > 85
    assert "actual \\ predicted\n        no  yes" in out
    status, out, err = run(capsys, "predict", model, tmp_path / "t.csv", "--proba")
    rows = list(csv.reader(out.splitlines()))
    assert rows[0] == ["dear", "probability of no", "probability of yes"]
    right = np.mean([row[0] == actual for row, actual in zip(rows[1:], data["dear"], strict=True)])
    assert f"accuracy  {right:.2%}" in err
    assert all(abs(float(no) + float(yes) - 1) < 1e-4 for _, no, yes in rows[1:])


def test_predictions_are_the_models(capsys, trained, tmp_path):
    table, model = trained
    assert run(capsys, "predict", model, table, "--output", tmp_path / "p.csv")[:2] == (0, "")
    with (tmp_path / "p.csv").open() as file:
        predicted = np.array([float(row["price"]) for row in csv.DictReader(file)])
    assert np.corrcoef(predicted, homes()["price"])[0, 1] > 0.98
    np.testing.assert_array_equal(predicted, np.array(printed(run(capsys, "predict", model, table)[1]), float))
    estimator = fb.TabularRegressor.load(model)
    data = homes()
    data["empty"] = np.full(300, np.nan)
    expected = estimator.predict({k: v for k, v in data.items() if k != "price"})
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)


def test_the_seed_decides(capsys, tmp_path):
    table = write(tmp_path / "t.csv", homes(100))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, "train", table, "--target", "price", "--seed", seed, *FAST, "--output",
            tmp_path / f"{name}.safetensors")
    a, b, c = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_parquet_gives_what_csv_does(capsys, trained, tmp_path, library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    data = {k: list(v) if k != "empty" else [None] * 300 for k, v in homes().items()}
    data["built"] = np.array(data["built"], "datetime64[us]")
    frame = frames.DataFrame(data)
    path, output = tmp_path / "homes.parquet", tmp_path / "p.parquet"
    frame.to_parquet(path) if library == "pandas" else frame.write_parquet(path)
    expected = printed(run(capsys, "predict", trained[1], trained[0])[1])
    assert printed(run(capsys, "predict", trained[1], path)[1]) == expected
    assert run(capsys, "predict", trained[1], path, "--output", output)[0] == 0
    assert [str(v) for v in frames.read_parquet(output)["price"]] == expected


@pytest.mark.parametrize("target", ["price", "dear"])
@pytest.mark.parametrize("output", ["p.parquet", "p.csv", None])
def test_a_large_parquet_file_is_predicted_in_pieces(capsys, trained, tmp_path, monkeypatch, target, output):
    """The same predictions, whatever the pieces; one has a column without any value."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    model, data = trained[1], {k: list(v) for k, v in homes().items()}
    if target == "dear":
        data["dear"] = ["yes" if p > 400 else "no" for p in data.pop("price")]
        model = tmp_path / "m.safetensors"
        run(capsys, "train", write(tmp_path / "t.csv", data), "--target", target, *FAST, "--output", model)
    data |= {"empty": [None] * 300, "built": np.array(data["built"], "datetime64[us]")}
    data["city"][64:128] = [None] * 64
    pandas.DataFrame(data).to_parquet(tmp_path / "homes.parquet", row_group_size=100)
    given = ["predict", model, tmp_path / "homes.parquet", *(["--proba"] if target == "dear" else [])]
    made = []
    for rows in (300, 64):
        monkeypatch.setattr(table_files, "PIECE_ROWS", rows)
        path = tmp_path / output if output else None
        status, out, err = run(capsys, *given, *(["--output", path] if path else []))
        assert status == 0, err
        assert path is None or "300 predictions written" in err
        made.append(pandas.read_parquet(path).to_csv() if output == "p.parquet" else path.read_text() if path else out)
    whole, pieces = made
    assert whole.splitlines()[0] == pieces.splitlines()[0]
    for a, b in zip(csv.reader(whole.splitlines()[1:]), csv.reader(pieces.splitlines()[1:]), strict=True):
        assert [v for v in a if v in ("yes", "no")] == [v for v in b if v in ("yes", "no")]
        numbers = ([float(v) for v in row if v not in ("yes", "no")] for row in (a, b))
        np.testing.assert_allclose(*numbers, rtol=1e-5)


def test_a_piece_that_cannot_be_read_leaves_no_output(capsys, trained, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    data = {k: list(v) for k, v in homes().items()} | {"empty": [None] * 300}
    data["size"][250] = float("inf")
    pandas.DataFrame(data).to_parquet(tmp_path / "homes.parquet")
    monkeypatch.setattr(table_files, "PIECE_ROWS", 100)
    output = tmp_path / "p.parquet"
    status, _, err = run(capsys, "predict", trained[1], tmp_path / "homes.parquet", "--output", output)
    assert status == 1
    assert "inf" in err
    assert [p.name for p in tmp_path.iterdir()] == ["homes.parquet"]


def test_a_leaderboard_and_a_page(capsys, tmp_path):
    data = homes()
    data["dear"] = np.where(data.pop("price") > 400, "<yes>", "no & no")
    for target, more in (("dear", "Calibration"), ("size", "Predicted and actual")):
        status, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", target, *FAST, "--compare",
                             "--report", tmp_path / "r.html", "--output", tmp_path / "m.safetensors")
        assert status == 0
        assert re.search(r"on the same rows:\n  model .*\n(  (fastbp|linear model|HistGradientBoosting) .*\n){3}", out)
        page = (tmp_path / "r.html").read_text()
        assert f"<h2>{more}</h2>" in page
        assert "HistGradientBoosting" in page
        assert not re.search("<script|<yes>", page)


def test_columns_are_chosen(capsys, tmp_path):
    table = write(tmp_path / "t.csv", homes(100))
    for options, used in ((["--columns", "size", "city"], "1 of numbers, 1 of categories"),
                          (["--drop", "id", "street", "built", "empty", "same"], "2 of numbers, 2 of categories")):
        _, out, _ = run(capsys, "train", table, "--target", "price", *options, *FAST, "--output",
                        tmp_path / "m.safetensors")
        assert f"columns in use: {used}" in out
    for option in ("--columns", "--drop"):
        _, out, err = run(capsys, "train", table, "--target", "price", option, "sise")
        assert f"{option} has 'sise'; expected columns besides the target: 'size', " in err


def test_a_stray_text_among_numbers_is_told(capsys, tmp_path):
    given = homes(100)
    sizes = given["size"].astype(str).astype(object)
    sizes[7] = "?"
    table, model = write(tmp_path / "t.csv", {**given, "size": sizes}), tmp_path / "m.safetensors"
    _, out, _ = run(capsys, "train", table, "--target", "price", *FAST, "--output", model)
    assert "categories: 'size', 'city'" in out
    assert "'size' is taken as categories: 99 of 100 values are numbers, but not '?' in row 8" in out
    for task in ("auto", "regression"):
        status, _, err = run(capsys, "train", table, "--target", "size", "--task", task, *FAST, "--output", model)
        assert status == 1
        assert "99 of 100 values are numbers, but not '?' in row 8" in err


def test_a_column_that_is_left_out_may_hold_anything(capsys, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table, model = tmp_path / "t.parquet", tmp_path / "m.safetensors"
    pandas.DataFrame({**homes(100), "boxes": [[1, 2]] * 100, "far": [np.inf] * 100}).to_parquet(table)
    given = ["train", table, "--target", "price", *FAST, "--output", model]
    for drop, name in (("far", "boxes"), ("boxes", "far")):
        status, _, err = run(capsys, *given, "--drop", drop)
        assert status == 1
        assert f"column {name!r}" in err
        assert "leave the column out with --drop" in err
    assert run(capsys, *given, "--drop", "boxes", "far")[0] == 0
    status, out, _ = run(capsys, "predict", model, table)
    assert (status, len(printed(out))) == (0, 100)


def test_ctrl_c_keeps_the_model_of_the_epochs_that_are_done(capsys, tmp_path, monkeypatch):
    table, model = write(tmp_path / "t.csv", homes(100)), tmp_path / "m.safetensors"
    from fastbp.estimators.tabular import member_training
    late = member_training.Training.late
    calls = []

    def stop(self):
        calls.append(1)
        if len(calls) == 40:
            signal.raise_signal(signal.SIGINT)
        return late(self)

    monkeypatch.setattr(member_training.Training, "late", stop)
    status, out, err = run(capsys, "train", table, "--target", "price", "--folds", 2, "--output", model)
    assert (status, err) == (130, "\nstopped\n")
    assert model.exists()
    assert "\nstopped by Ctrl-C after " in out
    assert run(capsys, "predict", model, table)[0] == 0


def test_the_model_is_kept_when_printing_fails(tmp_path):
    write(tmp_path / "t.csv", homes(60))
    command = [sys.executable, "-m", "fastbp", "train", "t.csv", "--target", "price", *map(str, FAST)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.close()
        process.wait()
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / "t.safetensors").unlink(missing_ok=True)
        with full.open("w") as nowhere:
            subprocess.run(command, cwd=tmp_path, stdout=nowhere, stderr=subprocess.DEVNULL, check=False)
    assert run_quietly("predict", tmp_path / "t.safetensors", tmp_path / "t.csv") == 0


def run_quietly(*arguments):
    return subprocess.run([sys.executable, "-m", "fastbp", *map(str, arguments)], capture_output=True,
                          check=False).returncode


# ---- what could shift rows or columns --------------------------------------------------------------------------------


def test_a_comma_at_the_end_of_every_row_shifts_nothing(capsys, trained, tmp_path):
    lines = trained[0].read_text().splitlines()
    expected = run(capsys, "predict", trained[1], trained[0])[1]
    for name, text in (("rows", "\n".join([lines[0], *(line + "," for line in lines[1:])])),
                       ("header too", "\n".join(line + "," for line in lines)),
                       ("crlf", "\r\n".join(lines) + "\r\n"), ("bom", "\ufeff" + "\n".join(lines)),
                       ("lines at the end", "\n".join(lines) + "\n\n\n")):
        (tmp_path / "t.csv").write_text(text, newline="")
        assert run(capsys, "predict", trained[1], tmp_path / "t.csv")[1] == expected, name


@pytest.mark.parametrize(("text", "message"), [
    ("a,b,y\n1,2,3\n4,5,6,7\n", "line 3 has 4 fields; expected 3, as the header has: 'a', 'b', 'y'"),
    ("a,b,y\n1,2,3,\n4,5,6\n", "line 2 has 4 fields"), ("a,b,y\n1,2\n", "line 2 has 2 fields"),
    ("a,b,y\n1,2,3\n\n4,5,6\n", "line 3 is empty"), ("a;b;y\n1;2;3\n", "fields that are separated by semicolons"),
    ("a\tb\ty\n1\t2\t3\n", "separated by tabs"), ("a,y,y\n1,2,3\n", "two columns called 'y'"),
    ('a,b,y\n1,"2,3\n', "cannot be read: line "), (",,\n1,2,3\n", "the table has"), ("", "it is empty"),
    ("a,y\n", "has no rows")])
def test_tables_that_are_not_what_they_seem(capsys, tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    status, out, err = run(capsys, "train", tmp_path / "t.csv", "--target", "y")
    assert (status, out) == (1, "")
    assert message in err


@pytest.mark.parametrize(("column", "message"), [
    (["1,5", "2,5"], "column 'x' has numbers with a comma, such as '1,5'; expected a point"),
    (["1.234,5", "2"], "column 'x' has numbers with a comma, such as '1.234,5'"),
    (["31.12.2020", "01.02.2021"], "column 'x' has dates such as '31.12.2020'; expected them as 2020-12-31"),
    (["12/31/2020", "2/1/2021"], "column 'x' has dates such as '12/31/2020'"),
    (["2020-13-45", "2020-01-01"], "column 'x' has '2020-13-45' in row 1; expected dates as 2020-12-31"),
    (["1e999", "1"], "column 'x' has '1e999' in row 1; expected numbers")])
def test_numbers_and_dates_written_otherwise(capsys, tmp_path, column, message):
    table = write(tmp_path / "t.csv", {"x": column * 20, "y": range(40)})
    status, out, err = run(capsys, "train", table, "--target", "y")
    assert (status, out) == (1, "")
    assert message in err


def test_empty_lines_of_one_column_are_rows(capsys, tmp_path):
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rng = np.random.default_rng(0)
    x = rng.normal(size=60).round(3)
    write(table, {"x": x, "y": 2 * x})
    assert run(capsys, "train", table, "--target", "y", *FAST, "--output", model)[0] == 0
    (tmp_path / "one.csv").write_text("x\n1\n\n-1\n")
    _, out, err = run(capsys, "predict", model, tmp_path / "one.csv")
    rows = list(map(float, printed(out)))
    assert len(rows) == 3
    assert rows[0] > rows[1] > rows[2]
    assert "column 'x': 1 row without a value" in err


def test_a_row_is_read_alone(capsys, tmp_path):
    """What a file's other rows hold decides nothing: 01, 02 and A1 are text to the model, in whatever company."""
    rng = np.random.default_rng(0)
    code = rng.choice(["01", "02", "03", "A1", "1"], 300)
    y = np.array([{"01": 0.0, "02": 5.0, "03": -5.0, "A1": 9.0, "1": 20.0}[c] for c in code])
    model = tmp_path / "m.safetensors"
    train = write(tmp_path / "t.csv", {"code": code, "x": rng.normal(size=300), "y": y + rng.normal(0, 0.1, 300)})
    assert run(capsys, "train", train, "--target", "y", "--epochs", 16, "--folds", 2, "--output", model)[0] == 0
    every = ["01", "02", "03", "A1", "1", "02"]
    together = printed(run(capsys, "predict", model, write(tmp_path / "p.csv", {"code": every, "x": [0] * 6}))[1])
    for i, c in enumerate(every):
        _, out, err = run(capsys, "predict", model, write(tmp_path / "p.csv", {"code": [c], "x": ["0.0"]}))
        assert (printed(out), err) == ([together[i]], "")
    assert float(together[4]) > float(together[3]) > float(together[1]) > float(together[0]) > float(together[2])


@pytest.mark.parametrize("labels", [["01", "1", "None"], ["007", "7", "07"],
                                    ["9007199254740993", "9007199254740992", "NA"]])
def test_labels_stay_as_they_stand(capsys, tmp_path, labels):
    x = np.tile([0.0, 1.0, 2.0], 40)
    table = write(tmp_path / "t.csv", {"x": x, "y": np.array(labels)[x.astype(int)]})
    _, out, _ = run(capsys, "train", table, "--target", "y", "--epochs", 12, "--folds", 2, "--output",
                    tmp_path / "m.safetensors")
    assert "classification into 3 classes" in out
    _, out, err = run(capsys, "predict", tmp_path / "m.safetensors", table)
    assert set(printed(out)) == set(labels)
    assert "accuracy  100.00%" in err


def test_formulas_are_text(capsys, tmp_path):
    x = np.tile([0.0, 1.0], 40)
    table = write(tmp_path / "t.csv", {"x": x, "=1+1": np.array(["=cmd()", "@sum"])[x.astype(int)]})
    run(capsys, "train", table, "--target", "=1+1", "--folds", 2, "--output", tmp_path / "m.safetensors")
    out = run(capsys, "predict", tmp_path / "m.safetensors", table)[1]
    assert set(out.splitlines()) == {"'=1+1", "'=cmd()", "'@sum"}
    assert [inert(t) for t in ("-1", "+1", "\tx", "a=b")] == ["'-1", "'+1", "'\tx", "a=b"]


def test_predictions_are_written_whole_or_not_at_all(capsys, trained, tmp_path, monkeypatch):
    output = tmp_path / "p.csv"
    output.write_text("what was there")
    output.chmod(0o600)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    status, _, err = run(capsys, "predict", trained[1], trained[0], "--output", output)
    assert status == 1
    assert "No space left" in err
    assert output.read_text() == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    monkeypatch.undo()
    assert run(capsys, "predict", trained[1], trained[0], "--output", output)[0] == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert len(output.read_text().splitlines()) == 301


def test_a_pipe_is_no_place_for_predictions(capsys, trained, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    assert run(capsys, "predict", trained[1], trained[0], "--output", pipe)[0] == 1
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# ---- what is unlike the training data --------------------------------------------------------------------------------


def test_unseen_categories_gaps_and_new_columns_are_named(capsys, trained, tmp_path):
    data = {name: np.asarray(values).astype(object) for name, values in homes(20, seed=9).items()}
    data["city"][:3] = ["Kyiv", "Kyiv", "Lima"]
    data["size"][4] = ""
    data["colour"] = ["red"] * 20
    del data["price"]
    status, out, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))
    assert (status, len(out.splitlines())) == (0, 21)
    assert "left out, as training did not know them: columns 'colour'\n" in err
    assert "column 'city': 3 rows with categories that training did not know, such as 'Kyiv', 'Lima'; taken as" in err
    assert "column 'size': 1 row without a value, taken as the median\n" in err


def test_missing_columns_and_text_for_numbers_are_refused(capsys, trained, tmp_path):
    data = homes(20)
    del data["size"], data["city"]
    status, out, err = run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))
    assert (status, out) == (1, "")
    assert err.startswith("python -m fastbp predict: the table lacks 'size', 'city', which the model was trained on; "
                          "it has 'rooms', 'street'")
    data = homes(20)
    data["size"] = ["large", *data["size"][1:]]
    assert "column 'size' has 'large' in row 1; expected numbers" in \
        run(capsys, "predict", trained[1], write(tmp_path / "t.csv", data))[2]


def test_classes_and_rows_that_training_did_not_know(capsys, tmp_path):
    table, model = write(tmp_path / "t.csv", {"x": list(range(60)), "y": ["a", "b"] * 30}), tmp_path / "m.safetensors"
    run(capsys, "train", table, "--target", "y", *FAST, "--output", model)
    assert run(capsys, "predict", model, table)[2].startswith("on 60 rows:\n")
    one = write(tmp_path / "one.csv", {"x": [1], "y": ["new"]})
    _, _, err = run(capsys, "predict", model, one, "--output", tmp_path / "p.csv")
    assert err.startswith(f"1 prediction written to {tmp_path / 'p.csv'}\non 1 row:\n")
    assert "  1 row with a class that training did not know: 'new'" in err


def test_rows_without_a_target_are_left_out(capsys, tmp_path):
    data = homes(100)
    data["price"] = ["", *data["price"][1:]]
    _, out, _ = run(capsys, "train", write(tmp_path / "t.csv", data), "--target", "price", *FAST, "--output",
                    tmp_path / "m.safetensors")
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
    (["--target", "price", "--output", "m.npz"], "--output is 'm.npz'; expected a name that ends in .safetensors"),
    (["--target", "price", "--output", "absent/m.safetensors"], "there is no folder"),
    (["--target", "price", "--report", "r.txt"], "--report is 'r.txt'; expected a name that ends in .html"),
    (["--target", "price", "--drop", *list(homes(1))[:-1]],
     "no column can be learnt from: there is none but the target")])
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
    (tmp_path / "link.html").symlink_to(table)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for output, what in (("t.csv", "table"), ("./link.csv", "table"), ("m.csv", "model")):
        _, out, err = run(capsys, "predict", model, table, "--output", output)
        assert out == ""
        assert f"--output is {str(Path(output))!r}, the {what} itself, which would be lost; choose another" in err
    for option, path in (("--output", "link.safetensors"), ("--report", "link.html")):
        assert "the table itself" in run(capsys, "train", table, "--target", "price", option, path)[2]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_is_no_table(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    for path in (".", "folder.csv"):
        assert run(capsys, "train", path, "--target", "y") == (
            1, "", f"python -m fastbp train: {path!r} is a folder; expected a table, a .csv or .parquet file\n")


def test_tables_and_models_that_are_none(capsys, trained, tmp_path):
    table, model = trained
    (tmp_path / "t.txt").write_text("a\n1\n")
    (tmp_path / "t.parquet").write_text("nonsense")
    (tmp_path / "t.csv").write_bytes(b"a,y\n\xff,1\n")
    few = write(tmp_path / "few.csv", {k: list(v)[:10] for k, v in homes(60).items()})
    none = write(tmp_path / "none.csv", {"empty": [""] * 30, "y": range(30)})
    for path, target, message in (("absent.csv", "a", "there is no file"),
                                  ("t.txt", "a", "expected a name that ends in"),
                                  ("t.parquet", "a", "cannot be read: "), ("t.csv", "y", "it is no UTF-8 text at byte"),
                                  (few, "price", "10 rows with a target; expected at least 20"),
                                  (none, "y", "no column can be learnt from: 'empty' has no values")):
        assert message in run(capsys, "train", tmp_path / path, "--target", target, *FAST)[2], path
    fb.Sequential(fb.Linear(1, 1), backend="reference").save(tmp_path / "net.safetensors")
    for path, message in ((tmp_path / "net.safetensors", "the model takes 1: leave out others with --drop"),
                          (table, "no safetensors file"), (tmp_path / "absent", "No such file")):
        assert message in run(capsys, "predict", path, table)[2]
    for options, message in ((["--proba"], "--proba is given, but the model predicts a number, 'price'"),
                             (["--output", "p.txt"], "expected a name that ends in .csv or .parquet"),
                             (["--output", tmp_path / "absent" / "p.csv"], "; make it first")):
        assert message in run(capsys, "predict", model, table, *options)[2]


def test_a_target_without_a_table(capsys):
    assert "--target is given without a table" in run(capsys, "train", "--target", "price")[2]
