"""The safetensors format: what comes back is what was written, others read it, and what does not fit is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastbp.files.safetensors import DTYPES, decode, encode

NAMES = st.text(max_size=9).filter(lambda name: name != "__metadata__")
ARRAYS = st.sampled_from(["f8", "f4", "i8", "i4", "u1"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))


def text(data: bytes | bytearray) -> tuple[Any, bytes]:
    """Return the header of a file, and what comes after it."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), bytes(data[8 + length:])


def made(header: Any, rest: bytes = b"") -> bytes:
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + rest


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert set(a) == set(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype
        assert array.shape == b[name].shape
        assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(b[name]).tobytes()


@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=5), metadata=st.dictionaries(st.text(max_size=5), st.text()))
def test_what_comes_back_is_what_was_written(tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    found, told = decode(encode(tensors, metadata))
    assert told == metadata
    same(found, tensors)
    for array in found.values():
        assert array.flags.carray
        assert array.base is None


@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=5),
       metadata=st.dictionaries(st.text(max_size=5), st.text(), min_size=1))
def test_others_read_what_is_written(tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    same(library.load(bytes(encode(tensors, metadata))), tensors)
    contiguous = {name: np.array(array, order="C") for name, array in tensors.items()}
    found, told = decode(library.save(contiguous, metadata))
    assert told == metadata
    same(found, tensors)


def test_strides_and_byte_orders_are_no_matter() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    odd = {"T": array.T, "slice": array[::-1, ::2], "all alike": np.broadcast_to(np.float32(3), (4, 5)),
           "fortran": np.asfortranarray(array)}
    same(decode(encode(odd, {}))[0], odd)


@pytest.mark.parametrize("dtype", ["float16", "complex128", "bool", "uint64", "U3", ">f8", "O"])
def test_what_it_cannot_hold(dtype: str) -> None:
    with pytest.raises(TypeError, match=r"'a' has dtype .*; a file holds float64, float32, int64, int32, uint8"):
        encode({"a": np.zeros(2, dtype)}, {})


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize(("data", "message"), [
    (b"", "it has 0 bytes, but its header alone should have 0"),
    (b"\0" * 7, "it has 7 bytes"),
    (b"\0" * 8, "header is no JSON"),
    ((2**63).to_bytes(8, "little") + b"{}", "its header alone should have 9,223,372,036,854,775,808"),
    (made({})[:-1], "it has 9 bytes, but its header alone should have 2"),
    (made(b"[]"), r"its header is \[\]; expected an object"),
    (made(b"{"), "its header is no JSON"),
    (made(b"\xff\xfe{}"), "its header is no JSON"),
    (made(b"[" * 100_000), "its header is no JSON"),
    (made(b'{"a": NaN}'), "NaN is no number there"),
    (made(b'{"a": 1, "a": 2}'), r"one of the names \['a', 'a'\] comes twice"),
    (made(b'{"a": ' + b"9" * 5000 + b"}"), "its header is no JSON"),
    (made({"__metadata__": []}), r"__metadata__ is \[\]; expected an object of texts"),
    (made({"__metadata__": {"a": 1}}), "__metadata__ is {'a': 1}; expected"),
    (made({"a": 1}), "'a' is 1; expected dtype, shape and data_offsets"),
    (made({"a": {**entry(), "more": 1}}, b"x" * 8), "'a' is .*; expected dtype, shape and data_offsets"),
    (made({"a": entry(dtype="F16")}, b"x" * 8), "'a' has dtype 'F16'; expected one of F64, F32, I64, I32, U8"),
    (made({"a": entry(dtype=[])}, b"x" * 8), r"'a' has dtype \[\]; expected one of"),
    (made({"a": entry(shape=2)}, b"x" * 8), "'a' has shape 2; expected at most 32 whole numbers"),
    (made({"a": entry(shape=[-2])}, b"x" * 8), r"'a' has shape \[-2\]; expected"),
    (made({"a": entry(shape=[2.0])}, b"x" * 8), r"'a' has shape \[2.0\]; expected"),
    (made({"a": entry(shape=[True, 2])}, b"x" * 8), r"'a' has shape \[True, 2\]; expected"),
    (made({"a": entry(shape=[1] * 33)}, b"x" * 8), "'a' has shape .*; expected at most 32"),
    (made({"a": entry(shape=[0, 2**62], data_offsets=[0, 0])}), r"'a' has shape \[0, 46.*\], which is more than can"),
    (made({"a": entry(shape=[2**62, 0, 2**62], data_offsets=[0, 0])}), "'a' has shape .*, which is more than can be"),
    (made({"a": entry(shape=[2**32, 2**32])}, b"x" * 8), "'a' has shape .*, which is more than can be addressed"),
    (made({"a": entry(shape=[2**61, 2])}, b"x" * 8), "'a' has shape .*, which is more than can be addressed"),
    (made({"a": entry(shape=[10**40])}, b"x" * 8), "'a' has shape .*, which is more than can be addressed"),
    (made({"a": entry(data_offsets=[0])}, b"x" * 8), r"'a' has data_offsets \[0\]; expected two whole numbers"),
    (made({"a": entry(data_offsets=[0, 8, 9])}, b"x" * 8), "'a' has data_offsets .*; expected two whole numbers"),
    (made({"a": entry(data_offsets=[-8, 0])}, b"x" * 8), "'a' has data_offsets .*; expected two whole numbers"),
    (made({"a": entry(data_offsets=[0, 4])}, b"x" * 4), r"'a' has data_offsets \[0, 4\]; expected 8 bytes, as shape"),
    (made({"a": entry(data_offsets=[8, 0])}, b"x" * 8), r"'a' has data_offsets \[8, 0\]; expected 8 bytes, as shape"),
    (made({"a": entry(data_offsets=[2**64 - 8, 2**64])}, b"x" * 8), "'a' begins at byte 18,446,.*; expected 0"),
    (made({"a": entry(data_offsets=[4, 12])}, b"x" * 12), "'a' begins at byte 4; expected 0, where the array before"),
    (made({"a": entry(), "b": entry(data_offsets=[4, 12])}, b"x" * 12), "'b' begins at byte 4; expected 8"),
    (made({"a": entry(), "b": entry()}, b"x" * 8), "'b' begins at byte 0; expected 8"),
    (made({"a": entry()}, b"x" * 7), "its arrays should have 8 bytes, but 7 are there"),
    (made({"a": entry()}, b"x" * 9), "its arrays should have 8 bytes, but 9 are there"),
    (made({}, b"x"), "its arrays should have 0 bytes, but 1 are there"),
], ids=range(40))
def test_what_does_not_fit_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        decode(data)
    assert len(str(caught.value)) < 400


@given(data=st.data())
def test_any_bytes_are_decoded_or_refused(data: st.DataObject) -> None:
    file = bytearray(encode({"a": np.arange(3.0), "b": np.ones((2, 0), "f4")}, {"key": "value"}))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file)))
        file[at:at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found, _ = decode(file)
    except ValueError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(file)


numbers = st.one_of(st.integers(-2, 9), st.sampled_from([2**31, 2**32, 2**61, 2**62, 2**63, 2**64, 10**30]))


@given(shape=st.lists(numbers, max_size=4), offsets=st.lists(numbers, max_size=3),
       code=st.sampled_from([*DTYPES, "F8"]), size=st.integers(0, 99))
def test_any_shape_is_decoded_or_refused(shape: list[int], offsets: list[int], code: str, size: int) -> None:
    try:
        found, _ = decode(made({"a": entry(shape=shape, data_offsets=offsets, dtype=code)}, b"x" * size))
    except ValueError:
        return
    assert found["a"].shape == tuple(shape)
    assert found["a"].nbytes == size
