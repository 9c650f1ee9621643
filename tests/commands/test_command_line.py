"""python -m fastbp: what a user sees, and what is left on disk."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp.__main__ import COMMANDS, main
from fastbp.commands import train
from fastbp.commands.confusion import confusion_table
from fastbp.engine.cpu import _model, cpu_info


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_training_reaches_its_accuracy_and_writes_the_parameters(capsys, tmp_path):
    path = tmp_path / "digits.safetensors"
    status, out, _ = run(capsys, "train", "--output", path)
    assert status == 0
    assert float(re.search(r"test accuracy ([\d.]+)%", out)[1]) >= 95
    assert f"model written to {path}; fb.load reads it" in out

    data = fb.datasets.load_digits()
    accuracy = np.mean(fb.load(path).predict(data.x_test).argmax(axis=1) == data.y_test)
    assert f"test accuracy {accuracy:.2%}" in out


def test_the_confusion_table_adds_up(capsys, tmp_path):
    _, out, _ = run(capsys, "train", "--epochs", 1, "--hidden", "--output", tmp_path / "p.safetensors")
    rows = [line.split() for line in out.split("actual \\ predicted")[1].splitlines()[2:12]]
    counts = np.array([[0 if count == "." else int(count) for count in row[1:]] for row in rows])
    assert [row[0] for row in rows] == list("0123456789")
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(fb.datasets.load_digits().y_test))
    assert f"test accuracy {np.trace(counts) / counts.sum():.2%}" in out


def test_confusion_table_rows_are_the_actual_classes():
    lines = confusion_table(np.array([0, 0, 1]), np.array([1, 1, 1]), ("a", "b")).splitlines()
    assert [line.split() for line in lines[1:]] == [["a", "b"], ["a", ".", "2"], ["b", ".", "1"]]


def test_a_model_is_a_file_for_other_libraries_too(capsys, tmp_path):
    numpy_form = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    status, *_ = run(capsys, "train", "--epochs", 1, "--hidden", 5, "--output", tmp_path / "p.safetensors")
    assert status == 0
    state = numpy_form.load_file(tmp_path / "p.safetensors")
    assert sorted(value.shape for value in state.values()) == [(5,), (5, 10), (10,), (64, 5)]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_seed_decides_the_result(capsys, tmp_path, backend):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, "train", "--epochs", 2, "--seed", seed, "--backend", backend, "--output",
            tmp_path / f"{name}.safetensors")
    a, b, c = (fb.load(tmp_path / f"{name}.safetensors").state_dict() for name in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["0.weight"], c["0.weight"])


@pytest.mark.parametrize("done", [0, 2])
def test_ctrl_c_keeps_the_parameters_of_the_epochs_that_are_done(capsys, tmp_path, monkeypatch, done):
    class Stop(fb.callbacks.Callback):
        def on_epoch_begin(self, trainer, epoch):
            if epoch > done:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(train, "Lambda", lambda **hooks: Stop())
    path = tmp_path / "p.safetensors"
    status, out, err = run(capsys, "train", "--output", path)
    assert (status, err) == (130, "\nstopped\n")
    assert path.exists() == (done > 0)
    if done:
        assert "stopped by Ctrl-C after 2 of 40 epochs" in out
        assert "after 2 epochs in " in out
        assert f"model written to {path}" in out
        monkeypatch.undo()
        run(capsys, "train", "--epochs", 2, "--output", tmp_path / "never_stopped.safetensors")
        kept, whole = (fb.load(one).state_dict() for one in (path, tmp_path / "never_stopped.safetensors"))
        assert all(np.array_equal(kept[name], whole[name]) for name in whole)


def test_an_output_that_cannot_be_written_is_refused_before_training(capsys, tmp_path):
    path = tmp_path / "missing" / "p.safetensors"
    assert run(capsys, "train", "--output", path) == (
        1, "", f"python -m fastbp train: --output is {str(path)!r}, but there is no folder "
               f"{str(path.parent)!r}; make it first\n")
    assert run(capsys, "train", "--output", "p.txt") == (
        1, "", "python -m fastbp train: --output is 'p.txt'; expected a name that ends in .safetensors\n")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--epochs", "0"], "argument --epochs: '0' is no whole number of at least 1"),
    (["--batch-size", "2.5"], "argument --batch-size: '2.5' is no whole number of at least 1"),
    (["--lr", "-1"], "argument --lr: '-1' is no number above 0"),
    (["--lr", "nan"], "argument --lr: 'nan' is no number above 0"),
    (["--seed", "x"], "argument --seed: 'x' is no whole number of at least 0"),
])
def test_bad_options(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_info(capsys):
    status, out, _ = run(capsys, "info")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert status == 0
    assert facts["cpu"] == cpu_info().model
    assert facts["isa"].startswith(cpu_info().isa)
    assert facts["threads"] == str(fb.get_num_threads())


def test_commands_are_listed_and_run_as_a_module(tmp_path):
    help_text = subprocess.run([sys.executable, "-m", "fastbp", "--help"], cwd=tmp_path, text=True, check=True,
                               capture_output=True).stdout
    assert all(name in help_text for name in COMMANDS)
    nothing = subprocess.run([sys.executable, "-m", "fastbp"], cwd=tmp_path, text=True, capture_output=True)
    assert nothing.returncode == 2
    assert "the following arguments are required: command" in nothing.stderr


def test_a_forced_instruction_set_is_used_or_refused(tmp_path):
    def info(isa):
        return subprocess.run([sys.executable, "-m", "fastbp", "info"], cwd=tmp_path, text=True, capture_output=True,
                              env={"FASTBP_ISA": isa, "PATH": "/usr/bin:/bin"})
    for isa in cpu_info().isas:
        assert re.search(rf"^isa +{isa} ", info(isa).stdout, re.MULTILINE)
    refused = info("sse9")
    assert refused.returncode == 1
    assert "isa is 'sse9', which is unknown; expected one of generic" in refused.stderr


def test_the_model_of_a_cpu_without_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU\n")
    assert _model(tmp_path / "cpuinfo") == "Some CPU"
    assert _model(tmp_path / "absent")


@pytest.mark.parametrize("model", ["lenet", "resnet"])
def test_convolutional_networks_on_images(capsys, tmp_path, model):
    status, out, _ = run(capsys, "train", "--data", "digits", "--model", model, "--epochs", 8, "--output",
                         tmp_path / "p.safetensors")
    assert status == 0
    assert f"network: {model}, " in out
    assert float(re.search(r"test accuracy ([\d.]+)%", out)[1]) >= 93


def test_a_table_has_no_model(capsys, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    status, _, error = run(capsys, "train", tmp_path / "table.csv", "--model", "lenet")
    assert status != 0
    assert "--data and --model are for images" in error
