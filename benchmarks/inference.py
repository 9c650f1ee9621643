"""One sample through a trained network: fastbp, ONNX Runtime and PyTorch in turns, microseconds a call in one thread.

    python benchmarks/inference.py

One image through LeNet-5, one window of 32 steps through an LSTM and a GRU, one token through a transformer block.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import fastbp as fb
from harness.layer_rows import LAYER_ROWS
from harness.layers_fastbp import LAYERS, network

ROUNDS, CALLS = 9, 400


def main() -> None:
    """Compare outputs, then time."""
    fb.set_num_threads(1)
    print("| | fastbp µs | ONNX Runtime µs | PyTorch µs |\n| --- | ---: | ---: | ---: |")
    for name, label in (("lenet", "one image, LeNet-5"), ("lstm", "32 steps, LSTM of 64"),
                        ("gru", "32 steps, GRU of 64"), ("block", "one token, transformer block")):
        net, row = network(name), LAYER_ROWS[name]
        if name == "block":
            net = fb.Sequential(fb.Input(1, 64), *LAYERS[name]()[1:], seed=0)
        shape = net.graph.inputs[0].shape
        x = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
        calls = {"fastbp": lambda net=net, x=x: net.predict(x), "onnx": _onnx(net, x), "torch": _torch(row, x)}
        expected = net.predict(x)
        for peer, call in calls.items():
            if call is not None:
                np.testing.assert_allclose(call(), expected, rtol=1e-3, atol=1e-4, err_msg=f"{name}, {peer}")
        times: dict[str, list[float]] = {peer: [] for peer, call in calls.items() if call is not None}
        for _ in range(ROUNDS):
            for peer in times:
                times[peer].append(_time(calls[peer]))
        cells = [f"{median(times[p]):.1f}" if p in times else "–" for p in ("fastbp", "onnx", "torch")]
        print(f"| {label} | {' | '.join(cells)} |")


def _time(call: Any) -> float:
    for _ in range(20):
        call()
    start = perf_counter()
    for _ in range(CALLS):
        call()
    return (perf_counter() - start) / CALLS * 1e6


def _onnx(net: fb.Network, x: Any) -> Callable[[], Any] | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        net.to_onnx(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feeds)[0]


def _torch(row: Any, x: Any) -> Callable[[], Any] | None:
    try:
        import torch
    except ImportError:
        return None
    from harness.layers_torch import Model
    torch.set_num_threads(1)
    problem = row.problem()
    model = Model(row, problem.parameters)
    model.reset(problem.parameters)
    inner = model.net.eval()
    given = torch.from_numpy(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x)

    def call() -> Any:
        with torch.inference_mode():
            return inner(given).numpy()
    return call


if __name__ == "__main__":
    main()
