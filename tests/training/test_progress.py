"""What is shown while a network trains."""

import io
import re
import sys
import types

import numpy as np
import pytest
from regressions import regression

import fastbp as fb

RNG = np.random.default_rng(0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def notebook(monkeypatch):
    """IPython, with a kernel, and what is displayed."""
    shown = []

    class Handle:
        def update(self, thing):
            shown.append(("update", thing))

    def display(thing, display_id=False):
        shown.append(("display", thing))
        return Handle()
    ipython = types.ModuleType("IPython")
    ipython.version_info = (8, 24)
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return shown


def fit(**options):
    trainer, x, y = regression()
    trainer.fit(x, y, epochs=3, batch_size=5, **options)
    return trainer


def test_lines_have_an_epoch_each(capsys):
    net = fb.Sequential(fb.Linear(3, 2), seed=0, backend="reference")
    x, y = RNG.normal(size=(20, 3)), RNG.integers(0, 2, 20)
    trainer = fb.Trainer(net, "cross_entropy", "adam")
    trainer.fit(x, y, epochs=2, validation_data=(x, y), progress="lines")
    trainer.fit(x, y, progress="lines")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert not err
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2", "epoch 3/3"]
    assert re.fullmatch(r"epoch 1/2  loss \S+  accuracy \S+  val_loss \S+  val_accuracy \S+  seconds \S+ s", lines[0])
    assert out.isascii()


def test_epochs_run_together_have_a_line_each(capsys):
    trainer, x, y = regression()
    trainer.fit(x, y, epochs=40, progress="lines")
    assert len(capsys.readouterr().out.splitlines()) == 40


@pytest.mark.parametrize("progress", [False, "auto", True])
def test_nothing_is_shown_in_a_log(progress, capsys):
    fit(progress=progress)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", ["auto", True, "bar"])
def test_a_bar_in_a_terminal(progress, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(progress=progress)
    assert "epoch 3" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()
    assert "loss=" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_bar_in_a_file_where_it_is_asked_for(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    fit(progress="bar")
    assert "6/6" in file.getvalue()


def test_lines_in_a_notebook(notebook, capsys):
    fit()
    assert len(capsys.readouterr().out.splitlines()) == 3
    fit(progress=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("progress", ["auto", "bar", "lines"])
def test_there_may_be_no_output_at_all(progress, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    fit(progress=progress)


@pytest.mark.parametrize("progress", ["lines", "auto"])
def test_an_output_that_is_closed_stops_nothing(progress, monkeypatch):
    for name in ("stdout", "stderr"):
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, name, closed)
    assert len(fit(progress=progress).history) == 3


@pytest.mark.parametrize("progress", ["line", None, 2])
def test_refused_progress(progress):
    with pytest.raises(ValueError, match=r'^fit: progress is .*; expected "auto", "bar", "lines" or False$'):
        fit(progress=progress)


def test_a_live_plot_in_a_notebook_is_drawn_in_place(notebook):
    pytest.importorskip("matplotlib")
    fit(progress=False, callbacks=[fb.callbacks.LivePlot()])
    assert [what for what, _ in notebook] == ["display", "update", "update"]
    assert [axes.get_ylabel() for axes in notebook[-1][1].axes] == ["loss", "learning rate"]


def test_a_live_plot_in_a_file(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = []

    class Look(fb.callbacks.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            drawn.append((tmp_path / "run.png").exists())
    fit(callbacks=[fb.callbacks.LivePlot(tmp_path / "run.png", every_epochs=2), Look()])
    assert drawn == [False, True, True]
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"LivePlot: this is no notebook, and path is None"):
        fit(callbacks=[fb.callbacks.LivePlot()])
    with pytest.raises(FileNotFoundError, match="LivePlot: path"):
        fit(callbacks=[fb.callbacks.LivePlot(tmp_path / "absent" / "run.png")])


def test_what_notebooks_show_is_short_and_rich():
    import fastbp.chainrule as cr
    net = fb.Sequential(fb.Linear(2, 2), "tanh", fb.Linear(2, 1), seed=0, dtype="float64")
    z = (cr.Var("x", 3.0) + cr.Var("y", 2.0)) ** 2
    things = [net, fb.gradcheck(net, [[1.0, 2.0]], [1.0], "mse"), net.verify([[1.0, 2.0]], [1.0], "mse"),
              net.explain([[1.0, 2.0]], [1.0], "mse", weight="w1"), z, fb.Trainer(net, "mse", "adam").history]
    for thing in things:
        assert len(repr(thing)) < 300, repr(thing)
        assert "\n" not in repr(thing)
    for thing in things[:-1]:
        assert thing._repr_html_()
    assert "25" in repr(z)
