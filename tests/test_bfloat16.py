"""Products in bfloat16: the native backend against the reference, which rounds the same operands."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.backends import native

needs_bfloat16 = pytest.mark.skipif(not native.has_bfloat16(),
                                    reason="this CPU, or the instruction set in use, has no bfloat16")
SIZES = [(37, 50, 33, 1), (37, 50, 33, 70), (64, 128, 64, 200), (301, 130, 47, 49), (1024, 256, 40, 130)]


def _net(inputs, hidden, outputs, **options):
    return fb.Sequential(fb.Linear(inputs, hidden), fb.GELU(), fb.Linear(hidden, outputs), seed=1,
                         compute_dtype="bfloat16", **options)


def _data(inputs, outputs, rows):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, inputs)).astype("f"), rng.standard_normal((rows, outputs)).astype("f")


@needs_bfloat16
@pytest.mark.parametrize(("inputs", "hidden", "outputs", "rows"), SIZES)
def test_gradients_agree_with_the_reference(inputs, hidden, outputs, rows):
    net, (x, y) = _net(inputs, hidden, outputs), _data(inputs, outputs, rows)
    reference = net.copy(backend="reference")
    assert net.loss_and_grad(x, y, fb.MSE()) == pytest.approx(reference.loss_and_grad(x, y, fb.MSE()), rel=1e-5)
    for name, gradient in net.grads.items():
        scale = np.abs(reference.grads[name]).max()
        # an activation that falls on the other side of a rounding boundary is off by 2^-8 of itself
        np.testing.assert_allclose(gradient, reference.grads[name], rtol=0, atol=5e-3 * scale, err_msg=name)


@needs_bfloat16
@pytest.mark.parametrize(("inputs", "hidden", "outputs", "rows"), SIZES)
def test_bits_do_not_depend_on_how_rows_are_cut(inputs, hidden, outputs, rows):
    net, (x, _) = _net(inputs, hidden, outputs), _data(inputs, outputs, rows)
    whole = net.predict(x)
    for size in (1, 7, 48):
        np.testing.assert_array_equal(net.predict(x, batch_size=size), whole)


@needs_bfloat16
def test_training_gives_the_same_bits_for_any_number_of_threads_and_learns():
    x, y = _data(64, 33, 150)
    before, bits = fb.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fb.set_num_threads(threads)
            native.set_fork_cost(0)
            net = _net(64, 70, 33)
            history = fb.Trainer(net, fb.MSE(), fb.Adam(0.01)).fit(x, y, epochs=5, batch_size=64, progress=False)
            bits.append(net.params.flat.tobytes())
            assert history["loss"][-1] < history["loss"][0]
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)
    assert bits[0] == bits[1] == bits[2]


def test_the_products_are_those_of_rounded_operands():
    net = fb.Sequential(fb.Linear(3, 16, bias=False), compute_dtype="bfloat16", backend="reference", seed=0)
    net.params["0.weight"] = np.full((3, 16), 1 + 2**-9)          # rounds to 1, the even neighbour
    np.testing.assert_array_equal(net.predict([[1.0, 2.0, 4.0]]), np.full((1, 16), 7.0))


@pytest.mark.parametrize(("options", "message"), [
    ({"compute_dtype": "float16"}, "compute_dtype is 'float16'; expected \"bfloat16\""),
    ({"compute_dtype": "bfloat16", "dtype": "float64"},
     'compute_dtype is "bfloat16", which goes with dtype "float32" alone'),
])
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fb.Sequential(fb.Linear(3, 16), backend="reference", **options)


@pytest.mark.skipif(native.has_bfloat16(), reason="this CPU has bfloat16")
def test_a_cpu_without_it_says_so():
    with pytest.raises(ValueError, match="compute_dtype"):
        _net(4, 16, 16)


def test_copies_and_files_keep_it(tmp_path):
    pytest.importorskip("safetensors")
    net = _net(8, 16, 16, backend="reference")
    net.save(tmp_path / "net.safetensors")
    for other in (net.copy(), fb.load(tmp_path / "net.safetensors", backend="reference")):
        assert other.compute_dtype == "bfloat16"
    assert net.copy(compute_dtype="float32").compute_dtype == "float32"
