"""compute_dtype="bfloat16": the native products against the reference's, and what a network does with the option."""

import pickle

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.engine import native
from fastbp.engine.lowering import Lowering
from fastbp.engine.plan_parts import Purpose
from fastbp.ops.bfloat16 import round_to_bfloat16
from fastbp.ops.linear import LEAST_BF16_OUTPUTS

needs_bfloat16 = pytest.mark.skipif(not native.has_bfloat16(), reason="needs avx512 and a CPU with AVX512_BF16")

# Products of bfloat16 are exact in float32; what differs is the order of the additions, and that CPUs take subnormal
# numbers for 0. Of K terms of either sign the sums are apart by about sqrt(K) units in the last place.
TOLERANCE = 2e-6
# In a network a number that is rounded the other way is 2**-8 off: errors of single activations, averaged out.
NET_TOLERANCE = 2e-3


def _net(*layers, **options):
    return fb.Sequential(*layers, seed=1, **{"compute_dtype": "bfloat16", **options})


def _mlp(**options):
    return _net(fb.Linear(33, 70), fb.ReLU(), fb.Linear(None, 50), fb.GELU(), fb.Linear(None, 40), fb.Tanh(),
                fb.Linear(None, 3), **options)


def _data(rows, inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, inputs)).astype(np.float32),
            rng.standard_normal((rows, outputs)).astype(np.float32))


def _distance(actual, expected):
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


# ---- rounding --------------------------------------------------------------------------------------------------------


def test_rounding_is_to_the_nearest_and_ties_go_to_even():
    rng = np.random.default_rng(0)
    x = np.ldexp(rng.choice([-1, 1], 20000) * rng.uniform(0.5, 1, 20000), rng.integers(-120, 120, 20000))
    x = x.astype(np.float32)
    x[:2000] = (x[:2000].view(np.uint32) & 0xFFFF0000 | 0x8000).view(np.float32)     # ties
    exact = x.astype(np.float64)
    unit = np.ldexp(1.0, np.frexp(exact)[1] - 8)
    np.testing.assert_array_equal(round_to_bfloat16(x), np.rint(exact / unit) * unit)


def test_rounding_of_what_is_no_ordinary_number():
    top = np.finfo(np.float32).max
    x = np.array([np.inf, -np.inf, np.nan, top, -top, 0.0, -0.0], np.float32)
    x = np.append(x, np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32))
    expected = [np.inf, -np.inf, np.nan, np.inf, -np.inf, 0.0, -0.0, np.nan, np.nan, np.nan]
    rounded = round_to_bfloat16(x)
    np.testing.assert_array_equal(rounded, expected)
    assert np.signbit(rounded[6])


# ---- products --------------------------------------------------------------------------------------------------------

SIZES = [(1, 12, 1), (1, 17, 5), (2, 16, 12), (7, 13, 3), (15, 31, 2), (16, 32, 48), (33, 17, 12), (64, 64, 64),
         (65, 100, 129), (100, 300, 300), (128, 12, 13), (784, 64, 20), (1024, 33, 7), (1025, 48, 50), (2051, 33, 30),
         (40, 1030, 26)]


@needs_bfloat16
@pytest.mark.parametrize("activation", [fb.ReLU, fb.Tanh, None], ids=["relu", "tanh", "plain"])
@pytest.mark.parametrize(("inputs", "outputs", "rows"), SIZES, ids=str)
def test_products_agree_with_the_reference(inputs, outputs, rows, activation):
    layers = [fb.Linear(inputs, outputs), *([activation()] if activation else [])]
    net = _net(*layers)
    net.params["0.bias"][...] = np.linspace(-1, 1, outputs)
    x, dy = _data(rows, inputs, outputs)
    nets = net, net.copy(backend="reference"), net.copy(compute_dtype="float32")
    (value, reference, plain), dxs = [n.forward(x, training=True) for n in nets], [n.backward(dy) for n in nets]
    assert _distance(value, reference) < TOLERANCE < _distance(value, plain)
    # dy times the derivative of tanh may be rounded the other way
    tolerance = NET_TOLERANCE if activation is fb.Tanh else TOLERANCE
    assert _distance(dxs[0], dxs[1]) < tolerance
    for name in net.grads:
        assert _distance(net.grads[name], nets[1].grads[name]) < tolerance, name
    # and it is not float32 that they agree on
    assert _distance(net.grads["0.weight"], nets[2].grads["0.weight"]) > 1e-4


@needs_bfloat16
def test_gates_of_the_layer_before_are_in_the_products_epilogue():
    x, y = _data(77, 33, 3)
    net = _mlp()
    reference = net.copy(backend="reference")
    net.loss_and_grad(x, y, fb.MSE())
    reference.loss_and_grad(x, y, fb.MSE())
    for name in net.grads:
        assert _distance(net.grads[name], reference.grads[name]) < NET_TOLERANCE, name


@pytest.mark.parametrize("backend", ["reference", pytest.param("native", marks=needs_bfloat16)])
def test_layers_with_few_outputs_stay_as_they_are(backend):
    x, y = _data(9, 40, LEAST_BF16_OUTPUTS - 1)
    net = _net(fb.Linear(40, LEAST_BF16_OUTPUTS - 1), backend=backend)
    plain = net.copy(compute_dtype="float32")
    assert net.loss_and_grad(x, y, fb.MSE()) == plain.loss_and_grad(x, y, fb.MSE())
    np.testing.assert_array_equal(net.grads.flat, plain.grads.flat)


def test_the_plan_says_which_layers_round():
    net = _net(fb.Linear(8, 12), fb.Linear(None, 11), fb.ReLU(), backend="reference")
    for compute_dtype, expected in (("bfloat16", [True, False]), ("float32", [False, False])):
        low = Lowering(net.graph, Purpose(), native.op_phases, compute_dtype)
        assert [s.node.bf16 for s in low.forward if s.node.op == "linear"] == expected


@needs_bfloat16
@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_what_is_not_finite_stays_so(value):
    x, _ = _data(3, 20, 1)
    x[1, 7] = value
    y = _net(fb.Linear(20, 16)).predict(x)
    assert np.isfinite(y[[0, 2]]).all()
    assert not np.isfinite(y[1]).any()


# ---- bits ------------------------------------------------------------------------------------------------------------


@needs_bfloat16
@pytest.mark.parametrize("inputs", [31, 64, 1300])
def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(inputs):
    net = _net(fb.Linear(inputs, 70), fb.ReLU(), fb.Linear(None, 37))
    x, _ = _data(301, inputs, 1)
    together = net.predict(x, batch_size=301)
    for size in (1, 2, 13, 64, 300):
        np.testing.assert_array_equal(net.predict(x, batch_size=size), together, err_msg=f"{size} rows at a time")


def _trained(n_threads, optimizer, **options):
    before = fb.get_num_threads()
    native.set_fork_cost(1e-3)
    fb.set_num_threads(n_threads)
    try:
        net = _mlp(**options)
        x, y = _data(1500, 33, 3)
        trainer = fb.Trainer(net, fb.MSE(), optimizer)
        history = trainer.fit(x, y, epochs=4, batch_size=300, shuffle=False, progress=False)
        return net.params.flat.copy(), history
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


@needs_bfloat16
@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_bits_do_not_depend_on_the_number_of_threads(n_threads):
    alone, _ = _trained(1, fb.Adam(1e-3))
    np.testing.assert_array_equal(_trained(n_threads, fb.Adam(1e-3))[0], alone)


@needs_bfloat16
def test_an_update_in_the_gradients_product_gives_the_bits_of_one_after_it():
    x, y = _data(200, 33, 3)
    fused, stepped = _mlp(), _mlp()
    fb.Trainer(fused, fb.MSE(), fb.Adam(1e-2)).fit(x, y, epochs=6, batch_size=200, shuffle=False, progress=False)
    trainer = fb.Trainer(stepped, fb.MSE(), fb.Adam(1e-2))
    for _ in range(6):
        trainer.step(x, y)
    np.testing.assert_array_equal(fused.params.flat, stepped.params.flat)


# ---- training --------------------------------------------------------------------------------------------------------


@needs_bfloat16
@pytest.mark.parametrize("optimizer", [fb.SGD(0.02, momentum=0.9), fb.Adam(2e-3), fb.AdamW(2e-3, weight_decay=0.1)],
                         ids=lambda o: type(o).__name__)
def test_training_follows_the_reference(optimizer):
    curves = {}
    for name, options in (("native", {}), ("reference", {"backend": "reference"}), ("plain", {"compute_dtype": None})):
        curves[name] = np.asarray(_trained(1, optimizer, **options)[1]["loss"])
    assert curves["native"][-1] < 0.97 * curves["native"][0]
    np.testing.assert_allclose(curves["native"], curves["reference"], rtol=2e-3)
    np.testing.assert_allclose(curves["native"], curves["plain"], rtol=2e-2)


# ---- the option ------------------------------------------------------------------------------------------------------

USABLE = [b for b in backends() if b == "reference" or native.has_bfloat16()]


@pytest.mark.parametrize("backend", USABLE)
def test_copies_pickles_and_files_keep_it(backend, tmp_path):
    pytest.importorskip("safetensors")
    net = _net(fb.Linear(20, 16), backend=backend)
    net.save(tmp_path / "net.safetensors")
    x, _ = _data(5, 20, 1)
    for other in (net.copy(), pickle.loads(pickle.dumps(net)), fb.load(tmp_path / "net.safetensors", backend=backend)):
        assert other.compute_dtype == "bfloat16"
        assert other.dtype == "float32"
        np.testing.assert_array_equal(other.predict(x), net.predict(x))
    plain = fb.load(tmp_path / "net.safetensors", compute_dtype="float32")
    assert plain.compute_dtype == net.copy(compute_dtype="float32").compute_dtype == "float32"
    assert not np.array_equal(plain.predict(x), net.predict(x))


def test_repr_tells():
    net = _net(fb.Linear(4, 12), backend="reference")
    assert repr(net) == "Sequential((B, 4) → (B, 12), 60 parameters, float32 multiplied in bfloat16, reference)"
    assert repr(net.copy(compute_dtype="float32")).endswith("60 parameters, float32, reference)")


def test_by_default_it_is_the_dtype():
    for dtype in ("float32", "float64"):
        assert fb.Sequential(fb.Linear(2, 2), dtype=dtype).compute_dtype == dtype


@pytest.mark.parametrize(("compute_dtype", "dtype", "message"), [
    ("float16", "float32", "compute_dtype is 'float16'; expected \"bfloat16\", or None"),
    ("float64", "float32", "compute_dtype is 'float64'; expected \"bfloat16\", or None"),
    (np.float32, "float32", "compute_dtype is .*float32.*; expected \"bfloat16\", or None"),
    ("bfloat16", "float64", "goes with dtype \"float32\" alone; dtype is 'float64': give compute_dtype=\"float64\""),
])
def test_what_does_not_fit_is_refused(compute_dtype, dtype, message):
    with pytest.raises(ValueError, match=message):
        fb.Sequential(fb.Linear(4, 12), dtype=dtype, compute_dtype=compute_dtype)


def test_a_copy_in_float64_must_say_so():
    net = _net(fb.Linear(4, 12), backend="reference")
    with pytest.raises(ValueError, match='give compute_dtype="float64"'):
        net.copy(dtype="float64")
    assert net.copy(dtype="float64", compute_dtype="float64").compute_dtype == "float64"


def test_gradcheck_refuses_and_says_what_to_do():
    net = _net(fb.Linear(4, 12), backend="reference")
    x, y = _data(3, 4, 12)
    with pytest.raises(ValueError, match=r'multiplies in bfloat16.*net\.copy\(compute_dtype="float32"\)'):
        fb.gradcheck(net, x, y, fb.MSE())
    assert fb.gradcheck(net.copy(compute_dtype="float32"), x, y, fb.MSE())


@pytest.mark.parametrize("backend", USABLE)
def test_verify_and_explain_take_it(backend):
    net = _net(fb.Linear(4, 12), fb.Tanh(), fb.Linear(None, 1), backend=backend)
    x, y = _data(3, 4, 1)
    report = net.verify(x, y, fb.MSE())
    assert report.ok
    assert "bfloat16" in str(report)
    assert "∂E" in str(net.explain(x[:1], y[:1], fb.HalfSquaredError(), weight="w1"))


def test_a_cpu_or_instruction_set_without_it_is_an_error(monkeypatch):
    monkeypatch.setattr("fastbp.engine.native_backend.has_bfloat16", lambda: False)
    message = f"compute_dtype is \"bfloat16\".*AVX512_BF16; the one in use is {native.isa()}. Leave compute_dtype out"
    with pytest.raises(ValueError, match=message):
        fb.Sequential(fb.Linear(4, 12), compute_dtype="bfloat16")
    assert _net(fb.Linear(4, 12), backend="reference").predict(np.zeros((1, 4))).shape == (1, 12)


def test_cpu_info_tells():
    info = fb.cpu_info()
    assert info.bfloat16 == native.has_bfloat16()
    assert info.bfloat16 <= (info.isa == "avx512")
