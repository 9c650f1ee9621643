"""The history of training."""

import math

import numpy as np
import pytest
from regressions import regression

import fastbp as fb


def test_history():
    trainer, x, y = regression()
    history = trainer.fit(x, y, epochs=2)
    assert len(history) == 2
    assert history.epochs == [1, 2]
    assert history.keys() == ["epoch", "loss", "lr", "seconds", "samples_per_second"]
    assert [row["loss"] for row in history] == history["loss"] == history.to_dict()["loss"]
    assert history[-1] == list(history)[1]
    assert (np.array(history["samples_per_second"]) > 0).all()
    assert (np.array(history["seconds"]) > 0).all()
    assert repr(history).startswith("History(2 epochs; the newest: loss=")
    trainer.fit(x, y, validation_data=(x, y))
    assert [math.isnan(v) for v in history["val_loss"]] == [True, True, False]


def test_empty_history():
    history = fb.History()
    assert (len(history), history.epochs, history.to_dict(), repr(history)) == (0, [], {}, "History(no epochs yet)")
    with pytest.raises(KeyError, match=r"'loss'; there are no epochs yet"):
        history["loss"]


def test_history_is_not_changed_through_its_rows():
    history = fb.History([{"epoch": 1, "loss": 0.5}])
    history[0]["loss"] = 9
    next(iter(history))["loss"] = 9
    assert history["loss"] == [0.5]
