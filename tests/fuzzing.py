"""Mutation fuzzers for what takes input from outside: the C kernels, model files, and the arrays that networks get.

    python tests/fuzzing.py kernels|files|arrays [seconds] [seed]

A fuzzer makes one case from a random number generator: it takes something right, makes it wrong in some ways, and looks
at what happens. It may work or be refused with the documented errors; nothing else may happen, and nothing may have
changed that should not. Each case has its own seed, which is printed where a case fails, and kept in a file in case the
process dies; ``python tests/fuzzing.py kernels --case SEED`` runs it again. ``tools/fuzz.sh`` runs all of them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cases
import kernel_cases
import numpy as np

import fastbp as fb
from fastbp import kernels
from fastbp.files import container

Array = Any
Rng = np.random.Generator

# ---- arrays that are somehow unusual ---------------------------------------------------------------------------------

ODD_NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-310, 1e38, -3.4e38, 1e308, 88.73, -104.0]


def _unaligned(a: Array) -> Array:
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


def _with_odd_numbers(rng: Rng, a: Array) -> Array:
    a = a.copy()
    if a.size and a.dtype.kind == "f":
        with np.errstate(all="ignore"):
            a.reshape(-1)[rng.integers(0, a.size, 3)] = np.array(rng.choice(ODD_NUMBERS, 3)).astype(a.dtype)
    elif a.size and a.dtype.kind == "i":
        a.reshape(-1)[rng.integers(0, a.size)] = rng.choice([-1, 2**31, -2**63, 2**63 - 1, 5, 1000])
    return a


def unusual(rng: Rng, a: Array) -> Any:
    """Return an array with another layout, values, dtype or shape, or something that is no array at all."""
    kinds: list[Callable[[], Any]] = [
        lambda: _with_odd_numbers(rng, a), lambda: _with_odd_numbers(rng, a), lambda: _unaligned(a),
        lambda: _read_only(a), lambda: np.asfortranarray(a), lambda: a[::-1], lambda: np.repeat(a, 2, axis=0)[::2],
        lambda: a.astype(rng.choice(["f4", "f8", "i8", "i4", "?", ">f4", ">f8", "c16", "f2", "g", "O", "u8", "U3"])),
        lambda: a[..., None], lambda: a[None], lambda: a[:0], lambda: a[..., :0], lambda: a[1:], lambda: a[..., 1:],
        lambda: a.T, lambda: a.reshape(-1), lambda: np.concatenate([a, a], axis=int(rng.integers(max(a.ndim, 1)))),
        lambda: np.broadcast_to(a.reshape(-1)[:1], a.shape), lambda: a.tolist(), lambda: memoryview(a),
        lambda: np.ma.masked_array(a), lambda: np.broadcast_to(np.float32(1), (*a.shape[:-1], 2**14)),
        lambda: rng.choice(np.array([None, 3, "x", b"x", {}, [], 1.5, float("nan")], dtype=object)),
        lambda: np.array(a, dtype=[("x", a.dtype)]) if a.dtype.kind in "fi" else a, lambda: np.datetime64("2020-01-01"),
    ]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return kinds[rng.integers(len(kinds))]()
        except (ValueError, TypeError, IndexError, OverflowError):     # it does not go with this one
            return np.zeros((0, 3), a.dtype)


JUNK = [None, True, False, -1, 0, 1, 3, 2**31, 2**62, 2**63, 2**64, -2**63, 10**30, 0.5, -0.0, 1e308, float("inf"),
        float("nan"), "", "x", "relu", "avx512", "generic", b"x", (), [], {}, (1, 2), object]


def junk(rng: Rng) -> Any:
    return JUNK[rng.integers(len(JUNK))]


# ---- kernels ---------------------------------------------------------------------------------------------------------


def _kernel_arguments(rng: Rng) -> tuple[str, dict[str, Any]]:
    """Return a kernel and arguments that fit it."""
    dtype, n = str(rng.choice(["float32", "float64"])), int(rng.integers(1, 70))
    number = rng.integers(len(kernel_cases.CASES) + len(cases.OPTIMIZERS))
    if number >= len(kernel_cases.CASES):
        optimizer = list(cases.OPTIMIZERS.values())[number - len(kernel_cases.CASES)]()
        name = f"{optimizer.name}_update"
        own = [p for p in inspect.signature(getattr(kernels, name)).parameters
               if p not in ("p", "g", "lr", "step", "weight_decay", "isa", *optimizer.state_names)]
        vectors = {p: rng.standard_normal(n).astype(dtype) for p in ("p", "g")}
        states = {p: np.zeros(n, dtype) for p in optimizer.state_names}
        return name, {**vectors, **states, "lr": 0.1, "step": 1, **dict(zip(own, optimizer.hyper(), strict=True))}
    case = kernel_cases.CASES[number]
    exact = case.arrays(rng, max(n, case.smallest))
    arrays = {k: a if a.dtype.kind == "i" else a.astype(dtype) for k, a in exact.items()}
    return case.kernel, {**arrays, **case.numbers}


def _odd_out(rng: Rng, name: str, arguments: dict[str, Any]) -> Any:
    arrays = [a for a in arguments.values() if isinstance(a, np.ndarray)]
    try:
        results = getattr(kernels, name)(**arguments)
    except (TypeError, ValueError, OverflowError):
        results = np.zeros(3)
    if isinstance(results, tuple):
        choices: list[Any] = [results, results[::-1], results[:1], list(results), tuple(unusual(rng, r) for r in results
                              if isinstance(r, np.ndarray)), (results[0],) * len(results), (None,) * len(results)]
    else:
        choices = [results, unusual(rng, np.asarray(results)), (results,), arrays[0] if arrays else None, junk(rng)]
    return choices[rng.integers(len(choices))]


def kernel_case(rng: Rng) -> None:
    name, arguments = _kernel_arguments(rng)
    for _ in range(rng.integers(0, 3)):
        key = list(arguments)[rng.integers(len(arguments))]
        if isinstance(arguments[key], np.ndarray):
            arguments[key] = unusual(rng, arguments[key])
        else:
            made = junk(rng)
            # N is the size of a result: one of many GiB is granted or not, as the machine has them
            arguments[key] = 1000 if key == "N" and isinstance(made, int) and 1000 < made < 2**62 else made
    if rng.random() < 0.05:
        del arguments[list(arguments)[rng.integers(len(arguments))]]
    if rng.random() < 0.05:
        names = ["isa", "act", "alpha", "z", "R_total", "first", "label_smoothing", "nonsense"]
        arguments[names[rng.integers(len(names))]] = junk(rng)
    if rng.random() < 0.2 and not name.endswith("_update"):
        arguments["out"] = _odd_out(rng, name, arguments)
    if rng.random() < 0.5:
        arguments.setdefault("isa", str(rng.choice(fb.cpu_info().isas)))
    written = arguments.get("out")
    written = written if isinstance(written, tuple) else (written,)
    may_change = [*written, *(arguments.get(k) for k in ("running_mean", "running_var", "z"))]
    if name.endswith("_update"):
        may_change += [v for k, v in arguments.items() if k != "g"]
    arrays = [a for a in arguments.values() if type(a) is np.ndarray and a.dtype != object and a.nbytes < 1e6]
    kept = [(a, a.tobytes()) for a in arrays
            if not any(isinstance(m, np.ndarray) and np.may_share_memory(a, m) for m in may_change)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with suppress(TypeError, ValueError, OverflowError):
            getattr(kernels, name)(**arguments)
    for array, before in kept:
        assert array.tobytes() == before, f"{name} changed an input"


# ---- files -----------------------------------------------------------------------------------------------------------


def _networks() -> list[fb.Network]:
    a, b = fb.Input(3), fb.Input(2)
    shared = fb.Linear(2, 2)
    joined = fb.Concat()(fb.Tanh()(fb.Linear(3, 4)(a)), fb.Dropout(0.2)(shared(shared(b))))
    return [fb.Sequential(fb.Linear(3, 4), fb.BatchNorm(), fb.LeakyReLU(0.1), fb.Linear(None, 2), seed=0),
            fb.Network((a, b), (fb.Linear(6, 2)(joined), fb.Softmax()(joined)), seed=1, dtype="float64"),
            fb.Sequential(fb.Input(2, 3), fb.Flatten(), fb.LayerNorm(), fb.Linear(None, 1, trainable=False), seed=2)]


def _files(folder: Path) -> list[Path]:
    paths = []
    for i, net in enumerate(_networks()):
        paths.append(folder / f"net{i}")
        net.save(paths[-1])
    net = _networks()[0]
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(fb.CosineDecay(0.01, steps=9)), clip_norm=1.0)
    trainer.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, progress=False)
    trainer.save_checkpoint(folder / "checkpoint")
    return [*paths, folder / "checkpoint"]


def _mutated_bytes(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, n = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 17))
        kind = rng.integers(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at:at + n] = rng.bytes(n)
        elif kind == 2:
            changed[at:at] = rng.bytes(n)
        elif kind == 3:
            del changed[at:at + n]
        else:
            changed[:8] = int(rng.choice([0, 1, 2**16, 2**40, 2**63 - 1])).to_bytes(8, "little")
    return bytes(changed)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where there is something in a JSON object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in [(*path, k), *_places(v, (*path, k))]]


def _mutated_json(rng: Rng, value: Any) -> None:
    places = _places(value)
    *keys, last = places[rng.integers(len(places))]
    for key in keys:
        value = value[key]
    kind = rng.integers(6)
    if kind == 0:
        del value[last]
    elif kind == 1 and isinstance(value, list):
        value.insert(last, value[rng.integers(len(value))])
    elif kind == 2 and isinstance(value[last], int | float):
        value[last] = value[last] + int(rng.choice([-1, 1, 2**31, 2**62, 10**20]))
    elif kind == 3 and len(value) > 1:
        other = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
        value[last], value[other] = value[other], value[last]
    else:
        made = junk(rng)
        value[last] = made if isinstance(made, int | float | str | list | dict) or made is None else "junk"


def _mutated_description(rng: Rng, path: Path, to: Path) -> None:
    """Write a file whose description or arrays are wrong, but whose digest is right."""
    contents = container.read(path)
    description, tensors = json.loads(json.dumps(contents.description)), dict(contents.tensors)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.8:
            try:
                _mutated_json(rng, description)
            except (KeyError, IndexError, TypeError):
                continue        # an earlier change took it away
        elif tensors:
            name = list(tensors)[rng.integers(len(tensors))]
            array = tensors.pop(name)
            if rng.random() < 0.8:
                tensors[name] = [array[..., None].copy(), array.astype("float64"), array[:0].copy(),
                                 array.reshape(-1).copy(), _with_odd_numbers(rng, array)][rng.integers(5)]
    description.pop("sha256", None)
    container.write(to, description, tensors)


class FileFuzzer:
    """Mutates files of networks and checkpoints; they live in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.files, self.to = _files(folder), folder / "mutated"

    def __call__(self, rng: Rng) -> None:
        path = self.files[rng.integers(len(self.files))]
        if rng.random() < 0.4:
            self.to.write_bytes(_mutated_bytes(rng, path.read_bytes()))
        else:
            _mutated_description(rng, path, self.to)
        read = fb.Trainer.resume if path.name == "checkpoint" and rng.random() < 0.7 else fb.load
        try:
            made = read(self.to)
        except fb.FormatError:
            return
        net = made if isinstance(made, fb.Network) else made.net
        shapes = [t.shape for t in net.graph.inputs]
        if max(t.size for t in map(np.array, shapes)) < 9 and all(np.prod(s, dtype=float) < 1e4 for s in shapes):
            x = tuple(np.zeros((2, *s)) for s in shapes)
            net.predict(x[0] if net._single_input else x)


# ---- arrays ----------------------------------------------------------------------------------------------------------


class ArrayFuzzer:
    """Gives unusual arrays to networks that know the usual ones, and so try the quick ways first."""

    def __init__(self) -> None:
        self.net = fb.Sequential(fb.Linear(6, 7), fb.ReLU(), fb.Linear(7, 4), seed=0)
        self.reference = self.net.copy(backend="reference")
        self.trainer = fb.Trainer(self.net, fb.CrossEntropy(), fb.SGD(1e-4))
        self.start = self.net.params.flat.copy()

    def __call__(self, rng: Rng) -> None:
        x, y = rng.standard_normal((9, 6)).astype("float32"), rng.integers(0, 4, 9)
        self.net.params.flat = self.start      # huge inputs spoil them
        self.net.predict(x)
        self.trainer.step(x, y)
        wrong_x = unusual(rng, x) if rng.random() < 0.7 else x
        wrong_y = unusual(rng, y) if rng.random() < 0.5 else y
        self.reference.params.flat = self.net.params.flat
        with np.errstate(all="ignore"):
            self.same("predict", lambda net: net.predict(wrong_x))
            self.same("loss", lambda net: net.loss(wrong_x, wrong_y, fb.CrossEntropy()))
        before = self.net.params.flat.copy()
        try:
            self.trainer.step(wrong_x, wrong_y)
        except (TypeError, ValueError, fb.DivergenceError):
            np.testing.assert_array_equal(self.net.params.flat, before)
        assert np.isfinite(self.net.params.flat).all()

    def same(self, what: str, use: Callable[[fb.Network], Any]) -> None:
        results = []
        for net in (self.net, self.reference):
            try:
                results.append(use(net))
            except (TypeError, ValueError) as error:
                results.append(str(error))
        if isinstance(results[0], str) or isinstance(results[1], str):
            assert results[0] == results[1], (what, results)
        else:
            native, should = (np.asarray(r, dtype=np.float64) for r in results)
            assert native.shape == should.shape, what
            for a, b in zip(np.atleast_1d(native), np.atleast_1d(should), strict=True):
                if np.isfinite(a).all() and np.isfinite(b).all():     # else it is a matter of order which is NaN
                    scale = float(np.abs(b).max(initial=1))
                    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * scale, err_msg=what)


# ---- running them ----------------------------------------------------------------------------------------------------


def fuzzers(folder: Path) -> dict[str, Callable[[], Callable[[Rng], None]]]:
    """Return what makes each fuzzer, by name."""
    return {"kernels": lambda: kernel_case, "files": lambda: FileFuzzer(folder), "arrays": ArrayFuzzer}


def run(name: str, seed: int, fuzz: Callable[[Rng], None]) -> None:
    """Run one case; say which it was where it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fuzz(np.random.default_rng(seed))
    except BaseException:
        print(f"failed: python tests/fuzzing.py {name} --case {seed}", file=sys.stderr)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fuzzer", choices=["kernels", "files", "arrays"])
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("seed", type=int, nargs="?", default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--case", type=int, help="run this one again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = fuzzers(Path(folder))[arguments.fuzzer]()
        if arguments.case is not None:
            run(arguments.fuzzer, arguments.case, fuzz)
            return
        last = Path(tempfile.gettempdir(), f"fastbp-fuzzing-{arguments.fuzzer}-{os.getpid()}")
        print(f"{arguments.fuzzer}: seed {arguments.seed}; the last case is kept in {last}", flush=True)
        end, n = time.monotonic() + arguments.seconds, 0
        while time.monotonic() < end:
            case = (arguments.seed << 32) + n
            last.write_text(str(case), encoding="utf-8")
            run(arguments.fuzzer, case, fuzz)
            n += 1
        last.unlink()
    print(f"{arguments.fuzzer}: {n} cases")


if __name__ == "__main__":
    main()
