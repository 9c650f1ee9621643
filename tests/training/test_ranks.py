"""Ranks that train together do what one process does with the whole mini-batch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES
from thread_ranks import ThreadComm, run

import fastbp as fb
from fastbp.engine import pieces
from fastbp.graph.graph import Tensor

RNG = np.random.default_rng(0)
ROWS = 23           # in mini-batches of 6: the last has 5, and no number of ranks shares all of them evenly
BATCH = 6
X, LABELS = RNG.normal(size=(ROWS, 4)), RNG.integers(0, 3, ROWS)
WEIGHT = RNG.uniform(0, 2, ROWS)

Made = dict[str, Any]
backends = pytest.mark.parametrize("backend", ["native", "reference"])


def send_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ranks send gradients in pieces, however small."""
    monkeypatch.setenv("FASTBP_SHARED_MEMORY", "0")
    monkeypatch.setattr(ThreadComm, "threads", True)
    monkeypatch.setattr(pieces, "_LEAST_BYTES", 1)
    monkeypatch.setattr(pieces, "_MOST_PIECES", 4)


@pytest.fixture(params=["messages", "pieces", "shared memory"])
def _all_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks of one machine meet in memory that they share, if they may; others send messages, at once or in pieces."""
    monkeypatch.setenv("FASTBP_SHARED_MEMORY", str(int(request.param == "shared memory")))
    if request.param == "pieces":
        send_pieces(monkeypatch)


all_ways = pytest.mark.usefixtures("_all_ways")


def fitted(trainer: fb.Trainer, x: Any = X, y: Any = LABELS, **options: Any) -> Made:
    """Train, and return what must be the same on every rank as in one process."""
    settings = {"epochs": 2, "batch_size": BATCH, "progress": False} | options
    history = trainer.fit(x, y, **settings)
    return {"params": trainer.net.params.flat.copy(), "buffers": trainer.net.buffers.flat.copy(),
            **{k: history[k] for k in history[-1] if k not in ("seconds", "samples_per_second")}}


def assert_same(alone: Made, ranks: list[Any], atol: float = 1e-12) -> None:
    for made in ranks:
        if isinstance(made, BaseException):
            raise made
        assert made.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(made[name], value, rtol=atol, atol=atol, err_msg=name)


def compare(script: Callable[[Any], Made], sizes: tuple[int, ...] = (2, 3), atol: float = 1e-12) -> None:
    alone = script(None)
    for size in sizes:
        assert_same(alone, run(size, script), atol)


def network(comm: Any, *layers: fb.Layer, seed: int = 0, **options: Any) -> fb.Sequential:
    """Return a network that begins differently on each rank: that of rank 0 is what counts."""
    layers = layers or (fb.Linear(4, 8, bias=False), fb.BatchNorm(8), fb.ReLU(), fb.Dropout(0.4), fb.Linear(8, 3))
    return fb.Sequential(*layers, seed=seed + 100 * (comm.rank if comm else 0), **{"dtype": "float64"} | options)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name: str, in_pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_pieces:
        send_pieces(monkeypatch)
    case = LAYERS[name]
    rng = np.random.default_rng(1)
    data = [x[:ROWS] for x in case.inputs(rng, ROWS)]

    def script(comm: Any) -> Made:
        inputs = case.tensors()
        # what goes back through the layer has to reach something that is trained
        scaled = [fb.Scale()(t) if t.dtype == "real" and t.shape else t for t in inputs]
        outputs = case.make()(*scaled)
        net = fb.Network(inputs, outputs, seed=0 if comm is None or comm.rank == 0 else 9, dtype="float64")
        shapes = [t.shape for t in net.graph.outputs]
        targets = [np.random.default_rng(2).normal(size=(ROWS, *s)) for s in shapes]
        losses = [fb.MSE() for _ in shapes]
        single = isinstance(outputs, Tensor)
        trainer = fb.Trainer(net, losses[0] if single else losses, fb.SGD(0.05), clip_norm=1.0, comm=comm)
        return fitted(trainer, tuple(data), targets[0] if single else tuple(targets))
    compare(script, (2,))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_each_loss(name: str, weighted: bool) -> None:
    case = LOSSES[name]
    y = case.target(np.random.default_rng(3), ROWS)

    def script(comm: Any) -> Made:
        size = int(np.prod(case.shape))
        net = network(comm, fb.Linear(4, size), fb.Tanh(), fb.Reshape(case.shape))
        trainer = fb.Trainer(net, case.loss, fb.Adam(0.05), comm=comm)
        return fitted(trainer, y=y, sample_weight=WEIGHT if weighted else None)
    compare(script)


def own_loss(pred: Any, y: Any, weights: Any) -> tuple[float, Any]:
    e = pred - y
    return float((weights[:, None] * e * e).sum()), 2 * weights[:, None] * e


FUNCTIONS: dict[str, Any] = {
    "mean": lambda pred, y: np.mean((pred - y) ** 2),
    "mean of rows, squared": lambda pred, y: np.square(np.mean(pred - y)) + np.mean(np.abs(pred)),
    "spread": lambda pred, y: np.mean((pred - y) ** 2) / (1 + np.var(pred)),
    "extreme": lambda pred, y: np.max(np.abs(pred - y)),
    "own gradient": own_loss,
    "own gradient, no weights": lambda pred, y: (float(np.mean(np.cosh(pred - y))), np.sinh(pred - y) / pred.size),
    "noise": lambda pred, y: np.mean((pred + 0.1 * fb.random.normal(pred.shape) - y) ** 2),
}


@backends
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_as_losses(name: str, backend: str) -> None:
    y = np.random.default_rng(4).normal(size=(ROWS, 3))

    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 3), fb.Tanh(), backend=backend)
        return fitted(fb.Trainer(net, FUNCTIONS[name], fb.SGD(0.1), comm=comm), y=y)
    compare(script)


def contrast(pred: Any, y: Any) -> Any:
    """Every row against every other: (B, B) in between."""
    scores = pred @ y.T
    return np.mean(np.log(np.sum(np.exp(scores), axis=1)) - np.sum(pred * y, axis=1))


@backends
@pytest.mark.parametrize("batches", [False, True])
def test_rows_against_each_other(batches: bool, backend: str) -> None:
    y = np.random.default_rng(4).normal(size=(ROWS, 3))

    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 6), fb.BatchNorm(6), fb.Dropout(0.3), fb.Linear(6, 3), backend=backend)
        trainer = fb.Trainer(net, contrast, fb.Adam(0.01), clip_norm=0.5, comm=comm)
        if not batches:
            return fitted(trainer, y=y, callbacks=[fb.callbacks.Lambda(on_progress=lambda trainer, done: None)])
        cuts = [(0, 4, 6), (6, 7, 12), (12, 15, 16)]
        parts = [(a, c) if comm is None else (a, b) if comm.rank == 0 else (b, c) for a, b, c in cuts]
        return fitted(trainer, [(X[a:b], y[a:b]) for a, b in parts], None)
    compare(script, (2,))


@backends
def test_weights_of_losses_of_batches_of_each_rank(backend: str) -> None:
    """Several heads, each counted by its own weight."""
    y = (LABELS, RNG.normal(size=(ROWS, 2)))

    def script(comm: Any) -> Made:
        a = fb.Input(4)
        net = fb.Network(a, [fb.Linear(4, 3)(a), fb.Linear(4, 2)(a)], seed=0, dtype="float64", backend=backend)
        trainer = fb.Trainer(net, (fb.CrossEntropy(), fb.MSE()), fb.SGD(0.1), loss_weights=[0.3, 2.0], comm=comm)
        rows = slice(0, 6) if comm is None else slice(0, 4) if comm.rank == 0 else slice(4, 6)
        return fitted(trainer, [(X[rows], tuple(t[rows] for t in y))], None)
    compare(script, (2,))


def test_a_layer_that_mixes_rows() -> None:
    def script(comm: Any) -> Made:
        centred = fb.Lambda(lambda x: (x - np.mean(x, axis=0)) / (1 + np.max(np.abs(x), axis=0)))
        net = network(comm, fb.Linear(4, 5), centred, fb.Linear(5, 3))
        return fitted(fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1), comm=comm))
    compare(script)


@all_ways
@backends
def test_all_at_once(backend: str) -> None:
    """Batch normalisation, dropout, class and sample weights, clipping, a schedule, validation, early stopping."""
    def script(comm: Any) -> Made:
        loss = fb.CrossEntropy(class_weight=[1.0, 2.0, 0.5])
        trainer = fb.Trainer(network(comm, backend=backend), loss, fb.Adam(fb.CosineDecay(0.05, 40)), clip_norm=0.5,
                             metrics={"high": lambda y, p: float(p.max())}, comm=comm)
        return fitted(trainer, epochs=8, sample_weight=WEIGHT, validation_split=0.2,
                      callbacks=[fb.callbacks.EarlyStopping(patience=1)])
    compare(script, (2, 3, 4))


@all_ways
def test_float32_to_rounding() -> None:
    def script(comm: Any) -> Made:
        return fitted(fb.Trainer(network(comm, dtype="float32"), fb.CrossEntropy(), fb.SGD(0.1), comm=comm))
    compare(script, atol=2e-5)


@all_ways
@pytest.mark.parametrize("options", [{"shuffle": False}, {"drop_last": True}, {"batch_size": 1000}, {"batch_size": 2},
                                     {"shuffle": lambda epoch, rows: rows[::-1]}])
def test_ways_to_make_batches(options: Any) -> None:
    """With mini-batches of 2 rows, ranks have none; the network has no batch normalisation then."""
    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 8), fb.Dropout(0.3), fb.Linear(8, 3))
        return fitted(fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1), comm=comm), **options)
    compare(script, (2, 4))


@all_ways
def test_several_inputs_and_outputs() -> None:
    y = (LABELS, RNG.normal(size=(ROWS, 2)))

    def script(comm: Any) -> Made:
        a, b = fb.Input(4), fb.Input(2)
        joined = fb.Concat()(fb.Linear(4, 6)(a), b)
        net = fb.Network([a, b], [fb.Linear(8, 3)(joined), fb.Linear(8, 2)(joined)], seed=0, dtype="float64")
        losses = (fb.CrossEntropy(class_weight=[1, 3, 2]), fb.MSE())
        return fitted(fb.Trainer(net, losses, fb.SGD(0.1), comm=comm), (X, X[:, :2]), y, sample_weight=WEIGHT)
    compare(script)


@all_ways
@backends
def test_an_iterable_of_batches_on_each_rank(backend: str) -> None:
    """The batches of one turn are one mini-batch, in the order of the ranks; ragged ones too."""
    cuts = [(0, 4, 6), (6, 7, 12), (12, 15, 16), (16, 20, 23)]
    whole = [(X[a:c], LABELS[a:c], WEIGHT[a:c]) for a, _, c in cuts]
    halves = [[(X[a:b], LABELS[a:b], WEIGHT[a:b]) for a, b, _ in cuts],
              [(X[b:c], LABELS[b:c], WEIGHT[b:c]) for _, b, c in cuts]]

    def script(comm: Any) -> Made:
        trainer = fb.Trainer(network(comm, backend=backend), fb.CrossEntropy(class_weight=[1.0, 2.0, 3.0]), fb.SGD(0.1),
                             comm=comm)
        made = fitted(trainer, whole if comm is None else halves[comm.rank], None)
        rows = slice(0, 6) if comm is None else slice(0, 4) if comm.rank == 0 else slice(4, 6)
        return made | {"step": trainer.step(X[rows], LABELS[rows])}
    compare(script, (2,))


def test_ranks_with_other_numbers_of_batches_all_fail() -> None:
    def script(comm: ThreadComm) -> Any:
        trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)
        return fitted(trainer, [(X[:6], LABELS[:6])] * (2 + comm.rank), None)
    for error in run(2, script):
        assert isinstance(error, ValueError)
        assert "run out of batches on 1 of 2 ranks" in str(error)


def test_batch_normalisation_of_each_rank_apart() -> None:
    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 8), fb.BatchNorm(8), fb.Linear(8, 3))
        return fitted(fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1), comm=comm, sync_batch_norm=False))
    alone, (a, b) = script(None), run(2, script)
    assert_same(a, [b])
    assert np.abs(a["params"] - alone["params"]).max() > 1e-6


# ---- what rank 0 does for all ----------------------------------------------------------------------------------------


@all_ways
def test_callbacks_are_called_on_rank_0_and_followed_by_all(tmp_path: Path) -> None:
    calls: list[int] = []

    def script(comm: Any) -> Made:
        def note(trainer: Any, epoch: int, logs: Any) -> None:
            calls.append(0 if comm is None else comm.rank)
            logs["note"] = 7.0
            trainer.stop = epoch == 4

        def halve(trainer: Any, batch: int) -> None:
            trainer.net.params.flat *= 0.5
        own = [fb.callbacks.LearningRateSchedule(lambda epoch, lr: 0.1 / epoch), fb.callbacks.Lambda(on_epoch_end=note),
               fb.callbacks.Lambda(on_batch_end=halve, every=3),
               fb.callbacks.ExponentialMovingAverage(0.9), fb.callbacks.CSVLogger(tmp_path / "log.csv")]
        return fitted(fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm), epochs=9, callbacks=own)
    compare(script, (2,))
    assert calls == [0] * 8


@all_ways
def test_callbacks_may_be_given_to_rank_0_alone() -> None:
    def script(comm: Any) -> Made:
        def halve(trainer: Any, batch: int) -> None:
            trainer.net.params.flat *= 0.5
        own = [fb.callbacks.Lambda(on_batch_end=halve, every=3)] if comm is None or comm.rank == 0 else []
        return fitted(fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm), callbacks=own)
    compare(script, (2,))


@all_ways
def test_a_checkpoint_is_resumed_with_another_number_of_ranks(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    alone = fitted(fb.Trainer(network(None), fb.CrossEntropy(), fb.Adam(0.01)), epochs=5)

    def begin(comm: Any) -> Any:
        return fitted(fb.Trainer(network(comm), fb.CrossEntropy(), fb.Adam(0.01), comm=comm), epochs=2,
                      callbacks=[fb.callbacks.ModelCheckpoint(path)])

    def go_on(comm: Any) -> Any:
        return fitted(fb.Trainer.resume(path, comm=comm), epochs=3)
    for made in run(4, begin):
        assert isinstance(made, dict), made
    assert_same(alone, run(2, go_on))
    assert_same(alone, [go_on(None)])


# ---- failures --------------------------------------------------------------------------------------------------------


def failing(where: str) -> Callable[[ThreadComm], Any]:
    """Return a script in which rank 1 fails, or rank 0 where only it can."""
    def script(comm: ThreadComm) -> Any:
        mine = comm.rank == (0 if where in ("callback", "progress", "end") else 1)

        def fail(*_: Any) -> None:
            raise KeyError("unhappy")

        def batches() -> Any:
            for i in range(9):
                if mine and i == 4:
                    fail()
                yield X[:6], LABELS[:6]
        trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)
        hook = {"callback": "on_epoch_end", "progress": "on_progress", "end": "on_fit_end"}.get(where)
        own = [fb.callbacks.Lambda(**{hook: fail})] if hook else []
        if where == "argument" and mine:
            return trainer.fit(X[:, :2], LABELS, progress=False)
        if where == "batches":
            return trainer.fit(batches(), epochs=1, progress=False)
        if where == "step":
            return trainer.step(X[:6, :2] if mine else X[:6], LABELS[:6])
        return trainer.fit(X, LABELS, epochs=3, progress=False, callbacks=own)
    return script


@all_ways
@pytest.mark.parametrize("where", ["argument", "batches", "step", "callback", "progress", "end"])
def test_what_one_rank_raises_ends_all(where: str) -> None:
    results = run(3, failing(where))
    own = [r for r in results if not isinstance(r, fb.RankError)]
    assert len(own) == 1
    assert isinstance(own[0], KeyError | ValueError)
    for error in results:
        if error is not own[0]:
            assert f"rank {results.index(own[0])} raised {type(own[0]).__name__}" in str(error)


@all_ways
def test_all_ranks_diverge_at_the_same_step_and_keep_the_last_good_parameters() -> None:
    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 8), fb.ReLU(), fb.Linear(8, 3))
        trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1e4), comm=comm)
        with pytest.raises(fb.DivergenceError) as caught:
            trainer.fit(X, X[:, :3], epochs=99, batch_size=BATCH, progress=False)
        return {"params": net.params.flat / np.abs(net.params.flat).max(), "epoch": caught.value.epoch,
                "batch": caught.value.batch}
    compare(script, atol=1e-9)


def test_networks_that_differ_are_refused() -> None:
    def script(comm: ThreadComm) -> Any:
        return fb.Trainer(network(comm, fb.Linear(4, 3 + comm.rank)), fb.MSE(), fb.SGD(0.1), comm=comm)
    for error in run(2, script):
        assert isinstance(error, ValueError)
        assert "different networks" in str(error)


OTHERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "rows of X": lambda rank: {"x": X[rank:], "y": LABELS[rank:]},
    "epochs": lambda rank: {"epochs": 2 + rank},
    "batch_size": lambda rank: {"batch_size": 4 + rank},
    "shuffle": lambda rank: {"shuffle": bool(rank)},
    "rows of an epoch": lambda rank: {"drop_last": bool(rank)},
    "rows of validation data": lambda rank: {"validation_data": (X, LABELS) if rank else None},
    "checksums of some rows": lambda rank: {"x": X + rank},
}


@all_ways
@pytest.mark.parametrize("name", OTHERS)
def test_ranks_with_other_arguments_all_fail(name: str) -> None:
    """They would wait for each other for ever, or train on something else than was meant."""
    def script(comm: ThreadComm) -> Any:
        trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)
        return fitted(trainer, **OTHERS[name](comm.rank))
    first, second = run(2, script)
    assert isinstance(second, ValueError)
    assert f"fit: {name}: " in str(second)
    assert "on rank 0; give all ranks the same arguments and arrays" in str(second)
    assert isinstance(first, fb.RankError)


def test_arrays_on_one_rank_and_batches_on_the_other() -> None:
    def script(comm: ThreadComm) -> Any:
        trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)
        return fitted(trainer, *((X, LABELS) if comm.rank else ([(X[:6], LABELS[:6])], None)))
    first, second = run(2, script)
    assert isinstance(second, ValueError)
    assert isinstance(first, fb.RankError)


@pytest.mark.parametrize(("comm", "error"), [(3, TypeError), (type("C", (), {"rank": 0, "size": 2})(), TypeError)])
def test_what_is_no_communicator_is_refused(comm: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"Trainer: comm is .* expected a communicator such as mpi4py's MPI.COMM_WORLD"):
        fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)


def test_a_sum_that_is_not_in_place_is_refused() -> None:
    comm = type("C", (), {"rank": 0, "size": 2, "sum": lambda self, array: 2 * array})()
    with pytest.raises(ValueError, match="adds up ones of 2 ranks to 1; expected 2, in the place"):
        fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1), comm=comm)


@pytest.mark.parametrize("name", ["sum_in_place", "all_reduce", "allreduce"])
def test_the_sum_may_have_other_names_and_rank_and_size_may_be_methods(name: str) -> None:
    def script(comm: ThreadComm) -> Made:
        other = type("C", (), {"rank": lambda self: comm.rank, "size": lambda self: comm.size,
                               name: lambda self, array: comm.sum(array)})()
        return fitted(fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1), comm=other))
    assert_same(fitted(fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1))), run(2, script))


def test_one_rank_takes_the_way_of_none() -> None:
    comm = type("C", (), {"rank": 0, "size": 1, "sum": lambda self, array: array})()
    alone = fitted(fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1)))
    one = fitted(fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1), comm=comm))
    assert one["params"].tobytes() == alone["params"].tobytes()


def test_all_ranks_have_the_same_bits_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank updates its part of the parameters; afterwards all have all of them, the moments and the gradient."""
    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 90), fb.Tanh(), fb.Linear(90, 3), dtype="float32")
        trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01), clip_norm=0.1, comm=comm)
        made = fitted(trainer)
        trainer.step(X[:4] if comm is None else X[2 * comm.rank:2 * comm.rank + 2],
                     LABELS[:4] if comm is None else LABELS[2 * comm.rank:2 * comm.rank + 2])
        return made | {"gradient": net.grads.flat.copy(), "first": trainer.update.state[0].copy(),
                       "second": trainer.update.state[1].copy()}
    alone, ranks = script(None), run(2, script)
    assert_same(alone, ranks, 2e-5)
    monkeypatch.setenv("FASTBP_SHARED_MEMORY", "0")
    for made in (*ranks, *run(2, script)):
        for name, values in ranks[0].items():
            if isinstance(values, np.ndarray):
                assert values.tobytes() == made[name].tobytes(), name


def test_gradients_are_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, all of them, from a thread of their own; one used twice is whole before it is sent."""
    def script(comm: Any) -> Made:
        shared = fb.Linear(6, 6)
        net = network(comm, fb.Linear(4, 6), fb.Tanh(), shared, fb.Tanh(), fb.Linear(6, 6), shared, fb.Linear(6, 3))
        return fitted(fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1), comm=comm))
    monkeypatch.setenv("FASTBP_SHARED_MEMORY", "0")
    seen: list[tuple[int, str]] = []
    add = ThreadComm.sum

    def spy(comm: ThreadComm, array: np.ndarray) -> None:
        seen.append((array.size, threading.current_thread().name))
        add(comm, array)
    monkeypatch.setattr(ThreadComm, "sum", spy)
    whole = run(2, script)
    assert not any("fastbp" in name for _, name in seen)
    send_pieces(monkeypatch)
    seen.clear()
    for made in run(2, script):
        assert made["params"].tobytes() == whole[0]["params"].tobytes()
    sizes = [size for size, name in seen if name == "fastbp adds up" and size != 3]
    steps = 2 * -(-ROWS // BATCH)
    assert len(sizes) >= 2 * 2 * steps
    assert sum(sizes) == 2 * steps * whole[0]["params"].size
    assert_same(script(None), whole)


def test_a_loss_that_raises_while_gradients_are_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    send_pieces(monkeypatch)
    calls: list[int] = []

    def script(comm: ThreadComm) -> Any:
        def loss(pred: Any, y: Any, weights: Any) -> Any:
            calls.append(comm.rank)
            if comm.rank and calls.count(1) == 5:
                raise KeyError("unhappy")
            return own_loss(pred, y, weights)
        net = network(comm, fb.Linear(4, 6), fb.Tanh(), fb.Linear(6, 3))
        return fitted(fb.Trainer(net, loss, fb.SGD(0.1), comm=comm), y=X[:, :3])
    first, second = run(2, script)
    assert isinstance(second, KeyError)
    assert isinstance(first, fb.RankError)
    assert "rank 1 raised KeyError: 'unhappy'" in str(first)


def test_frozen_parameters_stay() -> None:
    def script(comm: Any) -> Made:
        net = network(comm, fb.Linear(4, 40), fb.Tanh(), fb.Linear(40, 3))
        net.freeze("0.*")
        trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01), comm=comm)
        first = fitted(trainer)["params"]
        net.unfreeze()
        return fitted(trainer) | {"first": first}
    compare(script)


def test_a_rank_that_is_killed_is_missed_by_the_others(tmp_path: Path) -> None:
    """Without MPI, whose mpiexec ends the others: two processes joined by pipes."""
    script = Path(__file__).parent.parent / "pipe_ranks.py"
    source = str(Path(fb.__file__).parent.parent)
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": source}, check=False)
    # or, between epochs, where ranks send messages, the pipe says so, to who reads as to who writes
    assert any(error in done.stderr for error in (
        "RankError: rank 1 has ended in the middle of training", "EOFError", "BrokenPipeError", "ConnectionResetError"))
    assert fb.Trainer.resume(tmp_path / "run.safetensors").epoch > 0


# ---- averages --------------------------------------------------------------------------------------------------------


def averaged(comm: Any, every: int = 4, rows: Any = None, **options: Any) -> Made:
    mine = slice(7 * comm.rank, 7 * comm.rank + 7) if rows is None else rows
    trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1))
    return fitted(trainer, X[mine], LABELS[mine], callbacks=[fb.callbacks.AverageParameters(comm, every)], **options)


def test_averages_of_equal_ranks_change_nothing() -> None:
    """What is averaged are all parameters, so ranks with the same rows and masks train as one does."""
    alone = fitted(fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1)))

    def script(comm: Any) -> Made:
        trainer = fb.Trainer(network(None), fb.CrossEntropy(), fb.SGD(0.1))
        return fitted(trainer, callbacks=[fb.callbacks.AverageParameters(comm, every=3)])
    assert_same(alone, run(2, script))


@pytest.mark.parametrize("every", [1, 3, 50])
def test_averaged_ranks_end_alike(every: int) -> None:
    a, b, c = run(3, lambda comm: averaged(comm, every, batch_size=4))
    np.testing.assert_array_equal(a["params"], b["params"])
    np.testing.assert_array_equal(a["buffers"], c["buffers"])


def test_a_rank_with_fewer_rows_waits_for_the_others() -> None:
    a, b = run(2, lambda comm: averaged(comm, 1, slice(0, 6 if comm.rank else 23), epochs=3))
    np.testing.assert_array_equal(a["params"], b["params"])


def test_one_average_is_the_mean() -> None:
    def script(comm: Any, average: bool) -> Made:
        net = fb.Sequential(fb.Linear(4, 3), seed=0, dtype="float64")
        own = [fb.callbacks.AverageParameters(comm, 99)] if average else []
        mine = slice(comm.rank, None, comm.size)
        return fitted(fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1)), X[mine], LABELS[mine], callbacks=own)
    apart, joined = run(2, lambda comm: script(comm, False)), run(2, lambda comm: script(comm, True))
    mean = (apart[0]["params"] + apart[1]["params"]) / 2
    np.testing.assert_allclose(joined[0]["params"], mean, rtol=1e-15)
    np.testing.assert_array_equal(joined[1]["params"], joined[0]["params"])


def test_an_averaged_rank_that_raises_ends_all() -> None:
    def script(comm: Any) -> Any:
        def fail(*_: Any) -> None:
            if comm.rank == 1:
                raise KeyError("unhappy")
        trainer = fb.Trainer(network(comm), fb.CrossEntropy(), fb.SGD(0.1))
        own = [fb.callbacks.Lambda(on_epoch_end=fail), fb.callbacks.AverageParameters(comm, 3)]
        return fitted(trainer, callbacks=own)
    first, second = run(2, script)
    assert isinstance(second, KeyError)
    assert isinstance(first, fb.RankError)
    assert "rank 1 raised KeyError" in str(first)
