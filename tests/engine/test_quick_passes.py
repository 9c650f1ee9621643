"""``net.loss_and_grad`` again and again on the native backend: the quick way, and what must not take it.

The first pass of a copy is checked in full, and so says what every later one of the network must give, to the bit.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((6, 4)).astype("float32"), RNG.standard_normal((6, 1)).astype("float32")
LABELS = np.array([0, 2, 1, 1, 2, 0])


def network(outputs: int = 1, dtype: str = "float32", dropout: bool = False) -> fb.Network:
    middle = [fb.Dropout(0.5)] if dropout else []
    return fb.Sequential(fb.Linear(4, 5), fb.Tanh(), *middle, fb.Linear(5, outputs), seed=0, dtype=dtype)


def is_quick(net: fb.Network, x: Any, y: Any, loss: Any) -> bool:
    """Whether a pass would be a quick one."""
    return net._backend.quick_loss_and_grad(x, y, loss) is not None


def passed_like_the_first_of_a_copy(net: fb.Network, x: Any, y: Any, loss: Any, **options: Any) -> None:
    fresh = net.copy()
    fresh.grads.flat = net.grads.flat
    assert net.loss_and_grad(x, y, loss, **options) == fresh.loss_and_grad(x, y, loss, **options)
    np.testing.assert_array_equal(net.grads.flat, fresh.grads.flat)
    assert net.memory.draws == fresh.memory.draws
    for got, wanted in zip(net.input_grads, fresh.input_grads, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_dtype", ["float32", "float64", "int64", "int32", "int16", "bool", ">f8"])
@pytest.mark.parametrize("y_form", [
    lambda y: y, lambda y: y[:, 0], lambda y: y.astype("int32"), lambda y: y[:, 0].tolist()],
    ids=["as it is", "flat", "int32", "a list"])
def test_passes_on_arrays_of_any_dtype_are_the_same_passes(y_form: Callable[[Any], Any], x_dtype: str,
                                                          dtype: str) -> None:
    net, loss = network(dtype=dtype, dropout=True), fb.MSE()
    for rows in (6, 6, 3, 7, 1, 6):
        x, y = (10 * RNG.standard_normal((rows, 4))).astype(x_dtype), np.round(10 * RNG.standard_normal((rows, 1)))
        passed_like_the_first_of_a_copy(net, x, y_form(y.astype(dtype)), loss)


@pytest.mark.parametrize("loss", [
    "mse", "huber", "bce", "poisson", fb.MAE(), fb.Huber(0.5), fb.Quantile(0.2), fb.BinaryCrossEntropy(pos_weight=2.0)],
    ids=repr)
def test_the_second_pass_of_each_loss_is_a_quick_one_and_the_same(loss: Any) -> None:
    net, y = network(), np.abs(Y) % 1
    for _ in range(3):
        passed_like_the_first_of_a_copy(net, X, y, loss)
    assert is_quick(net, X, y, net._losses(loss)[0])


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weight": (1.0, 2.0, 3.0)}], ids=repr)
def test_passes_on_labels_are_quick_and_the_same(options: dict[str, Any]) -> None:
    net, loss = network(3), fb.CrossEntropy(**options)
    for dtype in ("int64", "int32", "uint8", "int64"):
        passed_like_the_first_of_a_copy(net, X, LABELS.astype(dtype), loss)
    assert is_quick(net, X, LABELS, loss)
    for bad, message in ((3, "y has the label 3"), (-1, "y has the label -1")):
        before, draws = net.grads.flat.copy(), net.memory.draws
        with pytest.raises(ValueError, match=message):
            net.loss_and_grad(X, np.where(LABELS == 2, bad, LABELS), loss)
        np.testing.assert_array_equal(net.grads.flat, before)
        assert net.memory.draws == draws


@pytest.mark.parametrize(("loss", "bad", "message"), [
    (fb.MSE(), np.nan, "NaN"), (fb.MSE(), np.inf, "infinite"), (fb.MSE(), 1e300, "infinite"),
    (fb.PoissonNLL(), -1.0, "-1"), (fb.PoissonNLL(), np.inf, "infinite"), (fb.BinaryCrossEntropy(), 1.5, "1.5"),
], ids=str)
def test_targets_that_do_not_fit_are_refused_in_every_pass(loss: fb.Loss, bad: float, message: str) -> None:
    net, good = network(dropout=True), np.full((6, 1), 0.5)
    for _ in range(2):
        net.loss_and_grad(X, good, loss)
        before, draws, y = net.grads.flat.copy(), net.memory.draws, good.copy()
        y[3] = bad
        with pytest.raises(ValueError, match=message):
            net.loss_and_grad(X, y, loss)
        np.testing.assert_array_equal(net.grads.flat, before)
        assert net.memory.draws == draws
    passed_like_the_first_of_a_copy(net, X, good, loss)


@pytest.mark.parametrize("x", [
    X[:, ::-1], np.asfortranarray(X), X[::2], np.lib.stride_tricks.as_strided(X, (6, 4), (0, 4)), X.tolist(),
    X.astype(object).tolist(), np.ma.masked_array(X), X.view(np.matrix)],
    ids=["backwards", "Fortran", "every other", "one row", "lists", "objects", "masked", "matrix"])
def test_unusual_arrays_give_what_they_give_a_copy(x: Any) -> None:
    net, loss, y = network(), fb.MSE(), Y[:len(x)]
    net.loss_and_grad(X, Y, loss)
    passed_like_the_first_of_a_copy(net, x, y, loss)


def test_arrays_that_become_others_in_place_are_seen_as_they_are_now() -> None:
    net, loss, x, y = network(), fb.MSE(), X.copy(), Y.copy()
    for _ in range(2):
        passed_like_the_first_of_a_copy(net, x, y, loss)
    x.flags.writeable = y.flags.writeable = False
    passed_like_the_first_of_a_copy(net, x, y, loss)
    x = X.copy()
    x.shape = (3, 8)
    with pytest.raises(ValueError, match=r"x has shape \(3, 8\)"):
        net.loss_and_grad(x, y, loss)
    x.shape = (6, 4)
    with pytest.raises(ValueError, match="y has 5 rows"):
        net.loss_and_grad(x, y[:5], loss)
    x *= 2
    passed_like_the_first_of_a_copy(net, x, y, loss)


def test_the_next_pass_heeds_what_was_frozen_and_unfrozen() -> None:
    net, loss = network(), fb.MSE()
    for change in (lambda: None, lambda: net.freeze("0.*"), lambda: net.freeze("2.bias"), net.unfreeze):
        change()
        for _ in range(3):
            passed_like_the_first_of_a_copy(net, X, Y, loss)
        for name in net.memory.frozen:
            assert not net.grads[name].any()
    assert net.grads["0.weight"].any()


def test_the_next_pass_heeds_what_a_part_of_the_network_froze() -> None:
    body = fb.Sequential(fb.Linear(4, 5), fb.Tanh(), seed=0)
    body.loss_and_grad(X, np.zeros((6, 5)), fb.MSE())
    x = fb.Input(4)
    net, loss = fb.Network(x, fb.Linear(5, 1)(body(x)), seed=0), fb.MSE()
    for _ in range(2):
        net.loss_and_grad(X, Y, loss)
    body.freeze()
    net.loss_and_grad(X, Y, loss)
    assert not body.grads.flat.any()
    assert sum(g.any() for g in net.grads.values()) == 2
    body.unfreeze()
    part, after = net.part(x, next(t for t, name in net.graph.names.items() if name == "1.tanh")), []
    for _ in range(3):
        net.grads.flat[...] = 7.0
        part.loss_and_grad(X, np.zeros((6, 5)), loss)
        after.append(net.grads.flat.copy())
    np.testing.assert_array_equal(after, [after[0]] * 3)
    assert is_quick(part, X, np.zeros((6, 5)), loss)
    assert not after[0][-6:].any(), "gradients of the network around it are 0"


def test_the_next_pass_heeds_a_setting_of_the_loss_that_was_replaced() -> None:
    net, loss = network(), fb.Huber(10.0)
    for delta in (10.0, 10.0, 0.01, 0.01):
        object.__setattr__(loss, "delta", delta)
        assert net.loss_and_grad(X, 100 * Y, loss) == net.copy().loss_and_grad(X, 100 * Y, fb.Huber(delta))


def test_a_derived_loss_is_asked_each_time() -> None:
    class Growing(fb.Huber):
        def _attrs(self) -> tuple[float, ...]:
            asked.append(1)
            return (float(len(asked)),)

    asked: list[int] = []
    net, loss = network(), Growing(1.0)
    for _ in range(3):
        before = len(asked)
        net.loss_and_grad(X, Y, loss)
        assert len(asked) > before


def test_weights_scales_other_losses_and_input_gradients_go_the_long_way() -> None:
    net, loss, weights = network(), fb.MSE(), np.arange(6.0)
    for _ in range(2):
        passed_like_the_first_of_a_copy(net, X, Y, loss)
        passed_like_the_first_of_a_copy(net, X, Y, loss, sample_weight=weights)
        passed_like_the_first_of_a_copy(net, X, Y, fb.MAE())
        passed_like_the_first_of_a_copy(net, X, Y, loss, input_grads=True)
        passed_like_the_first_of_a_copy(net, X, Y, lambda p, t: ((p - t) ** 2).sum())
        passed_like_the_first_of_a_copy(net, X, Y, loss, accumulate=True)
        passed_like_the_first_of_a_copy(net, X, Y, loss, accumulate=True)


def test_running_statistics_and_the_rows_they_need_are_looked_at_each_time() -> None:
    net = fb.Sequential(fb.Linear(4, 5), fb.BatchNorm(), fb.Linear(5, 1), seed=0)
    other, loss = net.copy(), fb.MSE()
    for _ in range(3):
        net.loss_and_grad(X, Y, loss)
        other.copy().loss_and_grad(X, Y, loss)
        other.loss_and_grad(X, Y, fb.MSE())
    np.testing.assert_array_equal(net.buffers.flat, other.buffers.flat)
    with pytest.raises(ValueError, match="BatchNorm: the batch has 1 value"):
        net.loss_and_grad(X[:1], Y[:1], loss)


def test_dropout_draws_another_mask_in_each_pass_unless_it_is_fixed() -> None:
    net, loss = network(dropout=True), fb.MSE()
    net.loss_and_grad(X, Y, loss)
    assert len({net.loss_and_grad(X, Y, loss) for _ in range(8)}) == 8
    with net.fixed_dropout():
        assert len({net.loss_and_grad(X, Y, loss) for _ in range(8)}) == 1


def test_the_number_of_threads_and_a_call_of_another_kind_between_change_no_bit() -> None:
    net, loss, before = network(), fb.MSE(), fb.get_num_threads()
    trainer, optimizer = fb.Trainer(net, loss, fb.Adam(0.01)), fb.SGD(0.1)
    between: list[Callable[[], Any]] = [
        lambda: fb.set_num_threads(2), lambda: net.predict(X), lambda: net.forward(X, training=True),
        lambda: net.backward(Y), lambda: net.loss(X, Y, loss), lambda: trainer.step(X, Y), lambda: trainer.step(X, Y),
        lambda: trainer.fit(X, Y, batch_size=4, progress=False), lambda: trainer.evaluate(X, Y),
        lambda: optimizer.step(net), lambda: net.loss_and_grad(X[:, :4], Y, "mae"),
        lambda: net.params.flat.__imul__(0.5), lambda: fb.set_num_threads(1)]
    try:
        for change in between:
            for call in (lambda: net.forward(X, training=True), change):
                call()
            for _ in range(2):
                passed_like_the_first_of_a_copy(net, X, Y, loss)
            assert is_quick(net, X, Y, loss)
    finally:
        fb.set_num_threads(before)


def test_steps_of_a_trainer_between_passes_are_those_of_one_by_itself() -> None:
    net = network()
    trainer, loss = fb.Trainer(net, fb.MSE(), fb.Adam(0.01)), fb.MSE()
    other = network()
    alone = fb.Trainer(other, fb.MSE(), fb.Adam(0.01))
    for rows in (6, 6, 2, 6, 1):
        net.loss_and_grad(X, Y, loss)
        net.loss_and_grad(X[:1], Y[:1], loss)
        assert trainer.step(X[:rows], Y[:rows]) == alone.step(X[:rows], Y[:rows])
    np.testing.assert_array_equal(net.params.flat, other.params.flat)


def test_there_is_nothing_to_go_back_through_after_a_pass() -> None:
    net, loss = network(), fb.MSE()
    for _ in range(2):
        net.forward(X, training=True)
        net.loss_and_grad(X, Y, loss)
        with pytest.raises(RuntimeError, match="no forward pass"):
            net.backward(Y)


def test_tensors_of_a_quick_pass_can_be_looked_at() -> None:
    net, loss = network(), fb.MSE()
    for rows in (6, 6, 2, 5):
        net.loss_and_grad(X[:rows], Y[:rows], loss)
        values, fresh = net._backend.values(), net.copy()
        fresh.loss_and_grad(X[:rows], Y[:rows], loss)
        for name, value in fresh._backend.values().items():
            np.testing.assert_array_equal(values[name], value)


def test_gradients_of_the_inputs_are_those_of_the_batch_that_was_given() -> None:
    net, x, labels, loss = network(3), X.copy(), LABELS.copy(), fb.CrossEntropy()
    for _ in range(2):
        net.loss_and_grad(x, labels, loss)
    labels[:] = 0       # copied: it is no longer the network's
    wanted = net.copy()
    wanted.loss_and_grad(X, LABELS, loss, input_grads=True)
    np.testing.assert_array_equal(net.input_grads[0], wanted.input_grads[0])
    net.loss_and_grad(x, LABELS, loss)
    x *= 2
    with pytest.raises(RuntimeError, match="have changed since"):
        net.input_grads  # noqa: B018


def test_the_memory_of_a_batch_stays_where_it_is_while_it_may_be_run_again() -> None:
    net, x, y, loss = network(), X.copy(), Y.copy(), fb.MSE()
    for _ in range(3):
        net.loss_and_grad(x, y, loss)
    for array in (x, y):
        with pytest.raises(ValueError, match="resize"):
            array.resize((1000, 1000), refcheck=False)
    net.loss_and_grad(X, Y, loss)
    x.resize((1000, 1000), refcheck=False)


def test_a_pass_while_another_thread_is_in_the_network_is_refused() -> None:
    net, loss, refused = network(), fb.MSE(), []
    net.loss_and_grad(X, Y, loss)

    def enter() -> None:
        try:
            net.loss_and_grad(X, Y, loss)
        except RuntimeError as error:
            refused.append(str(error))

    with net._backend._gate:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "in use by another thread" in refused[0]
    enter()
    assert len(refused) == 1


def test_a_copy_and_another_dtype_and_backend_start_anew() -> None:
    net, loss = network(dropout=True), fb.MSE()
    for _ in range(2):
        net.loss_and_grad(X, Y, loss)
    for other in (net.copy(), net.copy(dtype="float64"), net.copy(backend="reference")):
        np.testing.assert_allclose(other.loss_and_grad(X, Y, loss), net.copy().loss_and_grad(X, Y, loss), rtol=1e-6)
        assert other.grads.flat.dtype == other.dtype
