"""Reads src_c/op_list.h, the one description of the kernels: what each is called, takes, writes, and what it is for.

A kernel's row decides its signature; the comment above it, or beside it, is its documentation and decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).parent.parent / "src_c" / "op_list.h"

ARRAYS = ("OUT", "OUT_OR_NULL", "CHANGED", "STATE", "IN", "IN_OR_NULL", "WEIGHTS", "LABELS")
C_TYPES = {"SIZE": "int64_t", "REAL": "double", "REAL_OR": "double", "SHARE": "double", "SHARE_OR": "double",
           "WHOLE_OR": "int64_t", "KEY": "uint64_t", "ACT": "int32_t", "SCRATCH": "void *",
           "MEMORY": "void *"}
DEFAULTS = {"KEY": "0", "ACT": '"identity"'}


@dataclass(frozen=True)
class Argument:
    """One argument of a kernel. Its kind is the name of its macro in op_list.h, which explains it."""

    kind: str
    name: str
    ctype: str
    shape: tuple[str, ...] = ()
    value: str | None = None
    """What a scalar is where it is left out; the size that labels are below."""

    @property
    def is_array(self) -> bool:
        return self.kind in ARRAYS

    @property
    def is_read(self) -> bool:
        return self.kind in ("IN", "IN_OR_NULL", "WEIGHTS", "LABELS")

    @property
    def may_be_null(self) -> bool:
        return self.kind in ("OUT_OR_NULL", "CHANGED", "IN_OR_NULL")


@dataclass(frozen=True)
class Kernel:
    """One FBP_KERNEL, or the update of one optimizer."""

    name: str
    family: str
    """The macro that its row is written with."""
    documentation: str
    arguments: tuple[Argument, ...]

    def of(self, *kinds: str) -> list[Argument]:
        """Return the arguments of these kinds, in order."""
        return [a for a in self.arguments if a.kind in kinds]

    @property
    def arrays(self) -> list[Argument]:
        return [a for a in self.arguments if a.is_array]

    @property
    def results(self) -> list[Argument]:
        return self.of("OUT", "OUT_OR_NULL")

    @property
    def scalars(self) -> list[Argument]:
        return [a for a in self.arguments if not a.is_array and a.kind not in ("SIZE", "SCRATCH", "MEMORY", "NONE")]

    @property
    def asked_sizes(self) -> list[str]:
        """Sizes that no array tells which is always there."""
        return [a.name for a in self.of("SIZE") if not self.holders(a.name)]

    @property
    def any_shape(self) -> bool:
        """Whether the arrays may have any one shape."""
        return all(a.shape == ("n",) for a in self.arrays)

    @property
    def is_update(self) -> bool:
        return self.family == "FBP_UPDATE_ARGS"

    def holders(self, size: str) -> list[tuple[Argument, int]]:
        """Return the arrays that are always given and have this size, each with the axis."""
        return [(a, a.shape.index(size)) for a in self.of("STATE", "IN", "LABELS") if size in a.shape]

    def meaning(self, name: str) -> str:
        """Return what the documentation says of an argument: the text after "name:"."""
        found = re.search(rf"(?:^|; ){name}: ([^;]*)", self.documentation)
        return found[1].strip() if found else ""

    @property
    def formula(self) -> str:
        """The documentation without what it says of arguments."""
        names = "|".join(a.name for a in self.arguments if a.name)
        return "; ".join(s for s in self.documentation.split("; ") if not re.match(rf"({names}): ", s))


@dataclass(frozen=True)
class OpList:
    """All of op_list.h."""

    kernels: list[Kernel]
    updates: list[Kernel]
    activations: list[str]
    optimizers: list[str]


def read(text: str | None = None) -> OpList:
    """Return what a text, or src_c/op_list.h, lists."""
    rows = list(_rows(PATH.read_text(encoding="utf-8") if text is None else text, {}, "", ""))
    return OpList([_kernel(*row) for row in rows if row[0] == "FBP_KERNEL"],
                  [_update(*row) for row in rows if row[0] == "FBP_UPDATE_ARGS"],
                  [args[0] for macro, args, family, _ in rows if macro == "FBP_OP" and family == "FBP_ACTIVATION"],
                  [args[0] for macro, args, _, _ in rows if macro == "FBP_OPTIMIZER"])


Row = tuple[str, list[str], str, str]
"""A macro, its arguments, the macro in whose definition it stands, or itself, and the comment that belongs to it."""

_TOKEN = re.compile(r"/\*(?P<comment>[\s\S]*?)\*/"
                    r"|#define (?P<macro>\w+)\((?P<parameters>[^)]*)\)(?P<body>(?:.*\\\n)*.*)"
                    r"|#.*|(?P<call>FBP_\w+)\(")
_BESIDE = re.compile(r"[ \t]*/\*(.*)\*/")


def _rows(text: str, macros: dict[str, tuple[list[str], str]], family: str, comment: str) -> Iterator[Row]:
    """Yield the rows in order, macros of op_list.h's own replaced by what they stand for."""
    position, above = 0, comment
    while found := _TOKEN.search(text, position):
        position = found.end()
        if found["comment"] is not None:
            above = " ".join(re.sub(r"\n \*", "\n", found["comment"]).split())
        elif found["macro"]:
            macros[found["macro"]] = (found["parameters"].split(", "), found["body"].replace("\\\n", "\n"))
        elif found["call"]:
            macro, end = found["call"], _closing(text, position)
            arguments = _split(text[position:end])
            beside = _BESIDE.match(text, end + 1)
            position, words = (beside.end(), beside[1].strip()) if beside else (end + 1, above)
            if macro in ("FBP_OP", "FBP_OPTIMIZER", "FBP_KERNEL", "FBP_UPDATE_ARGS"):
                yield macro, arguments, family or macro, words
            else:
                yield from _rows(_expanded(*macros[macro], arguments), macros, macro, words)
            above = comment


def _expanded(parameters: list[str], body: str, arguments: list[str]) -> str:
    values = dict(zip(parameters, arguments, strict=True))
    return re.sub(r"\w+", lambda word: values.get(word[0], word[0]), body).replace("##", "")


def _closing(text: str, start: int) -> int:
    depth = 1
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError("op_list.h: a parenthesis is not closed")


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for letter in " ".join(text.split()):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _kernel(macro: str, arguments: list[str], family: str, comment: str) -> Kernel:
    name, given = arguments
    return Kernel(name, family, comment, tuple(_argument(name, text) for text in _split(given[1:-1])))


def _update(macro: str, arguments: list[str], family: str, comment: str) -> Kernel:
    own = _kernel(macro, arguments, family, comment)
    return Kernel(f"{own.name}_update", family, comment, (
        Argument("STATE", "p", "T", ("n",)), *own.of("STATE"), Argument("IN", "g", "T", ("n",)),
        Argument("SIZE", "n", "int64_t"), Argument("REAL", "lr", "double"), Argument("COUNT", "step", "int64_t"),
        *own.of("REAL"), Argument("REAL_OR", "weight_decay", "double", value="0.0")))


def _argument(kernel: str, text: str) -> Argument:
    kind, rest = text.removeprefix("FBP_").split("(", 1)
    parts = _split(rest[:-1])
    if kind == "NONE":
        return Argument(kind, "", parts[0])
    if kind == "LABELS":
        name, shape, limit = parts
        return Argument(kind, name, "int64_t", tuple(_split(shape[1:-1])), limit)
    if kind in ARRAYS:
        ctype, name, shape = parts
        return Argument(kind, name, ctype, tuple(_split(shape[1:-1])))
    if kind not in C_TYPES:
        raise ValueError(f"op_list.h: {kernel}: {text} is no argument; expected one that the file's top explains")
    value = parts[1] if len(parts) > 1 else DEFAULTS.get(kind)
    return Argument(kind, parts[0], C_TYPES[kind], value=value)
