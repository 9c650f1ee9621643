"""python -m fastbp predict with all that train and save write."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp.__main__ import main


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(path, names, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def read(text):
    header, *rows = csv.reader(text.splitlines())
    return header, rows


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    assert main(["train", "--epochs", "3", "--output", str(path)]) == 0
    return path


def test_a_net_for_digits_on_its_test_images(capsys, digits):
    status, out, err = run(capsys, "predict", digits, "digits")
    data = fb.datasets.load_digits()
    header, rows = read(out)
    assert (status, header) == (0, ["prediction"])
    expected = fb.load(digits).predict(data.x_test).argmax(axis=1)
    assert [row[0] for row in rows] == [data.class_names[i] for i in expected]
    assert f"{np.mean(expected == data.y_test):.2%}" in err


def test_a_net_for_digits_on_a_table_of_pixels(capsys, digits, tmp_path):
    data = fb.datasets.load_digits()
    table = write(tmp_path / "t.csv", [*(f"p{i}" for i in range(64)), "digit"],
                  [[*x, y] for x, y in zip(data.x_test[:20].tolist(), data.y_test.tolist(), strict=False)])
    assert "the table has 65 columns; the model takes 64: leave out others with --drop" in run(
        capsys, "predict", digits, table)[2]
    _, out, _ = run(capsys, "predict", digits, table, "--drop", "digit", "--proba")
    header, rows = read(out)
    assert header == ["prediction", *(f"probability of {i}" for i in range(10))]
    np.testing.assert_allclose(np.array(rows)[:, 1:].astype(float), fb.load(digits).predict_proba(data.x_test[:20]),
                               rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["lenet", "resnet"])
def test_a_convolutional_net(capsys, tmp_path, model):
    path = tmp_path / "m.safetensors"
    run(capsys, "train", "--model", model, "--epochs", 1, "--output", path)
    status, out, _ = run(capsys, "predict", path, "digits", "--output", tmp_path / "p.csv")
    assert (status, out) == (0, "")
    data = fb.datasets.load_digits()
    rows = read((tmp_path / "p.csv").read_text())[1]
    expected = fb.load(path).predict(data.x_test.reshape(-1, 8, 8, 1)).argmax(axis=1)
    assert [int(row[0]) for row in rows] == expected.tolist()


def test_images_of_another_size(capsys, tmp_path):
    fb.Sequential(fb.Linear(7, 2), seed=0).save(tmp_path / "n.safetensors")
    assert "digits are images of 64 pixels; the model takes 7 numbers" in run(
        capsys, "predict", tmp_path / "n.safetensors", "digits")[2]


def test_a_network_of_ones_own(capsys, tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 3))
    net = fb.Sequential(fb.Linear(3, 2), seed=0, dtype="float64")
    net.save(tmp_path / "n.safetensors")
    table = write(tmp_path / "t.csv", "abc", x.tolist())
    header, rows = read(run(capsys, "predict", tmp_path / "n.safetensors", table)[1])
    assert header == ["output 0", "output 1"]
    np.testing.assert_allclose(np.array(rows, float), net.predict(x), rtol=1e-12)
    header, rows = read(run(capsys, "predict", tmp_path / "n.safetensors", table, "--proba")[1])
    assert header == ["probability of 0", "probability of 1"]
    np.testing.assert_allclose(np.array(rows, float), net.predict_proba(x), rtol=1e-5)


@pytest.mark.parametrize("labels", ["text", "numbers"])
def test_a_classifier(capsys, tmp_path, labels):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    y = (x[:, 0] > 0) + 5
    y = np.where(y == 5, "no", "yes") if labels == "text" else y
    model = fb.MLPClassifier((4,), max_iter=300, learning_rate_init=0.05, random_state=0).fit(x, y)
    model.save(tmp_path / "m.safetensors")
    table = write(tmp_path / "t.csv", "abc", x.tolist())
    header, rows = read(run(capsys, "predict", tmp_path / "m.safetensors", table, "--proba")[1])
    assert header == ["prediction", *(f"probability of {c}" for c in model.classes_)]
    assert [row[0] for row in rows] == [str(v) for v in model.predict(x)]
    np.testing.assert_allclose(np.array(rows)[:, 1:].astype(float), model.predict_proba(x), rtol=1e-5, atol=1e-9)


def test_a_regressor_takes_columns_by_their_names(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).standard_normal((40, 2))
    model = fb.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    with pytest.warns(UserWarning, match="converged"):
        model.fit(pandas.DataFrame(x, columns=["a", "b"]), x[:, 0])
    model.save(tmp_path / "m.safetensors")
    table = write(tmp_path / "t.csv", ["b", "note", "a"], [[b, "x", a] for a, b in x.tolist()])
    header, rows = read(run(capsys, "predict", tmp_path / "m.safetensors", table)[1])
    assert header == ["prediction"]
    np.testing.assert_allclose(np.array(rows, float)[:, 0], model.predict(pandas.DataFrame(x, columns=["a", "b"])),
                               rtol=1e-6)
    lacking = write(tmp_path / "l.csv", ["a"], [[1]])
    assert "the table lacks 'b', which the model was trained on; it has 'a'" in run(
        capsys, "predict", tmp_path / "m.safetensors", lacking)[2]
    assert "--proba is given, but the model predicts numbers" in run(
        capsys, "predict", tmp_path / "m.safetensors", table, "--proba")[2]


@pytest.mark.parametrize(("rows", "message"), [
    ([["1", "x", "2"]], "column 'b' has 'x' in row 1; expected numbers"),
    ([["1", "2", "3"], ["1", "", "2"]], "column 'b' has NaN in row 1"), ([["1", "2", "3"]] * 0, "has no rows")])
def test_rows_that_are_no_numbers(capsys, tmp_path, rows, message):
    fb.Sequential(fb.Linear(3, 2), seed=0).save(tmp_path / "n.safetensors")
    status, out, err = run(capsys, "predict", tmp_path / "n.safetensors", write(tmp_path / "t.csv", "abc", rows))
    assert (status, out) == (1, "")
    assert message in err


def test_a_column_that_is_dropped_must_be_there(capsys, tmp_path):
    fb.Sequential(fb.Linear(1, 2), seed=0).save(tmp_path / "n.safetensors")
    table = write(tmp_path / "t.csv", "ab", [[1, 2]])
    err = run(capsys, "predict", tmp_path / "n.safetensors", table, "--drop", "c")[2]
    assert re.search(r"there is no column 'c' to drop; '.*t\.csv' has 'a', 'b'", err)


def test_networks_that_take_more_than_numbers(capsys, tmp_path):
    fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(4, 2)).save(tmp_path / "n.safetensors")
    assert "takes more than a row of numbers" in run(
        capsys, "predict", tmp_path / "n.safetensors", write(tmp_path / "t.csv", "abc", [[1, 2, 3]]))[2]


def test_a_checkpoint_predicts(capsys, tmp_path):
    x = np.random.default_rng(0).standard_normal((8, 3)).astype("float32")
    trainer = fb.Trainer(fb.Sequential(fb.Linear(3, 1), seed=0), fb.MSE(), fb.Adam())
    trainer.fit(x, x[:, :1], epochs=1, progress=False)
    trainer.save_checkpoint(tmp_path / "c.safetensors")
    table = write(tmp_path / "t.csv", "abc", x.tolist())
    header, rows = read(run(capsys, "predict", tmp_path / "c.safetensors", table)[1])
    assert header == ["prediction"]
    np.testing.assert_allclose(np.array(rows, float), trainer.net.predict(x), rtol=1e-5)


@pytest.mark.parametrize("command", [
    ["train", "--epochs", "1", "--output", "d.safetensors"], ["predict", "d.safetensors", "digits"],
    ["predict", "d.safetensors", "pixels.csv", "--output", "o.csv"]], ids=" ".join)
def test_numbers_need_no_scikit_learn(tmp_path, digits, command):
    """It is an extra: what the first command says to try next must work without it."""
    fb.load(digits).save(tmp_path / "d.safetensors")
    pixels = [",".join(f"p{i}" for i in range(64)), ",".join("3" for _ in range(64))]
    (tmp_path / "pixels.csv").write_text("\n".join(pixels))
    code = ("import sys; sys.modules['sklearn'] = None\n"
            f"from fastbp.__main__ import main\nraise SystemExit(main({command}))")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
