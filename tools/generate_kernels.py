"""Writes the part of fastbp.kernels that repeats: one Python function for each kernel of src_c/op_list.h.

    python tools/generate_kernels.py pxi     prints the Cython text (setup.py compiles it into fastbp.kernels)
    python tools/generate_kernels.py pyi     prints the type stub, fastbp/engine/kernels.pyi (a test checks it)

The signature of a function follows from the C arguments: inputs, then what is no size as keywords, then `out`. Its
documentation is the comment at the kernel's row. fastbp/engine/kernels.pyx holds what the functions share.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

OP_LIST = Path(__file__).parent.parent / "src_c" / "op_list.h"

IN_PLACE = {"z", "running_mean", "running_var"}
"""Outputs that nobody needs by default: keywords that take an array, instead of a place in `out`."""

DEFAULTS = {"act": '"identity"', "first": "0", "seed": "0", "step": "0", "node": "0", "momentum": "0.1", "eps": "1e-5",
            "label_smoothing": "0.0", "delta": "1.0", "R_total": "None"}

KEEP = "\0"
"""Stands for a space at which a line is not broken."""


@dataclass(frozen=True)
class Argument:
    """One argument of a C kernel."""

    name: str
    ctype: str
    pointer: bool = False
    const: bool = False
    nullable: bool = False
    dims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """One FBP_KERNEL, or the update of one FBP_OPTIMIZER."""

    name: str
    family: str
    comment: str
    shared_comment: str
    arguments: tuple[Argument, ...]

    @property
    def outputs(self) -> list[Argument]:
        return [a for a in self.arguments if a.pointer and not a.const and a.name not in IN_PLACE]

    @property
    def in_place(self) -> list[Argument]:
        return [a for a in self.arguments if a.pointer and not a.const and a.name in IN_PLACE]

    @property
    def inputs(self) -> list[Argument]:
        return [a for a in self.arguments if a.const and (a.name != "constants" or self.meaning("constants"))]

    @property
    def sizes(self) -> list[str]:
        dims = {part for a in self.arguments for dim in a.dims for part in dim.split()}
        return [a.name for a in self.arguments if not a.pointer and a.name in dims]

    @property
    def asked_sizes(self) -> list[str]:
        """Sizes that the inputs alone do not tell."""
        told = {dim for a in self.inputs for dim in a.dims}
        return [s for s in self.sizes if s not in told]

    @property
    def scalars(self) -> list[Argument]:
        rest = [a for a in self.arguments if not a.pointer and a.name not in self.sizes]
        return [a for a in rest if a.name not in ("alpha", "attr") or self.meaning(a.name)]

    @property
    def elementwise(self) -> bool:
        return all(a.dims == ("n",) for a in self.arguments if a.pointer)

    def meaning(self, name: str) -> str:
        """What the comment says about `name`: its text after "name:"."""
        found = re.search(rf"\b{name}: ([^;]*)", self.comment)
        return found[1].strip() if found else ""

    def python_name(self, name: str) -> str:
        """`attr` and `constants` are called in Python what the comment says that they are."""
        return self.meaning(name).split()[0] if name in ("attr", "constants") and self.meaning(name) else name


# ---- reading op_list.h --------------------------------------------------------------------------------------------


def read_kernels(text: str) -> list[Kernel]:
    """Return the kernels of op_list.h in order, then the optimizers' updates."""
    return list(_walk(text, {}, "", "", ""))


def activations(text: str) -> list[str]:
    return re.findall(r"^FBP_ACTIVATION\((\w+)\)", text, re.MULTILINE)


def _walk(text: str, macros: dict[str, tuple[list[str], str, str]], family: str, comment: str,
          shared: str) -> Iterator[Kernel]:
    position, above = 0, comment
    token = re.compile(r"/\*(?P<comment>[\s\S]*?)\*/|#undef .*|(?P<call>FBP_\w+)\("
                       r"|#define (?P<macro>\w+)\((?P<params>[^)]*)\)(?P<body>(?:.*\\\n)*.*)")
    while found := token.search(text, position):
        position = found.end()
        if found["comment"] is not None:
            above = _one_line(found["comment"])
        elif found["macro"]:
            macros[found["macro"]] = (found["params"].split(", "), found["body"].replace("\\\n", "\n"), above)
            above = ""
        elif found["call"]:
            position = _closing(text, position) + 1
            inside = text[found.end():position - 1]
            beside = re.compile(r"[ \t]*/\*(.*)\*/").match(text, position)
            if beside:
                position = beside.end()
            yield from _call(found["call"], inside, macros, family, beside[1].strip() if beside else above, shared)
            above = comment


def _call(macro: str, inside: str, macros: dict[str, tuple[list[str], str, str]], family: str, comment: str,
          shared: str) -> Iterator[Kernel]:
    if macro == "FBP_KERNEL":
        name, arguments = inside.split(",", 1)
        kernel = Kernel(name, family, comment, shared, _arguments(arguments.strip()[1:-1]))
        yield replace(kernel, arguments=tuple(_with_target_dims(a, kernel) for a in kernel.arguments))
    elif macro == "FBP_OPTIMIZER":
        yield Kernel(f"{inside}_update", "FBP_OPTIMIZER", comment, shared, ())
    elif macro in macros:
        names, body, shared = macros[macro]
        for name, value in zip(names, inside.split(", "), strict=True):
            body = re.sub(rf"\b{name}(?:##)?(?=\b|_)", value, body) if name == "name" else \
                re.sub(rf"\b{name}\b", value, body)
        yield from _walk(body, {}, macro, comment, shared)


def _arguments(text: str) -> tuple[Argument, ...]:
    pattern = re.compile(r"(?P<const>const )?(?P<ctype>\w+) (?P<pointer>\*(?:restrict )?)?(?P<name>\w+)"
                         r"(?: /\* \((?P<dims>[^)]*)\)(?P<null> or NULL)? \*/)?(?:,\s*|$)")
    return tuple(Argument(m["name"], m["ctype"], bool(m["pointer"]), bool(m["const"]), bool(m["null"]),
                          tuple(d.strip() for d in (m["dims"] or "").split(",") if d.strip()))
                 for m in pattern.finditer(" ".join(text.split())))


def _with_target_dims(argument: Argument, kernel: Kernel) -> Argument:
    if argument.name == "target" and not argument.dims:
        dims = re.search(r"target \(([^)]*)\)", kernel.comment)
        if not dims:
            raise ValueError(f"op_list.h: {kernel.name}: its comment does not say the shape of the target")
        return replace(argument, dims=tuple(d.strip() for d in dims[1].split(",") if d.strip()))
    if argument.name == "constants":
        meaning = kernel.meaning("constants")
        return replace(argument, nullable=not meaning or "or NULL" in meaning)
    if argument.name == "weight" and kernel.family == "FBP_LOSS":
        return replace(argument, nullable=True)
    return argument


def _closing(text: str, start: int) -> int:
    depth = 1
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError("op_list.h: a parenthesis is not closed")


def _one_line(comment: str) -> str:
    return " ".join(re.sub(r"\n \*", "\n", comment).split())


# ---- what both texts share ----------------------------------------------------------------------------------------


def signature(kernel: Kernel, types: bool) -> str:
    """Return the arguments of the Python function, with type hints if wanted."""
    def hint(text: str) -> str:
        return f": {text}" if types else ""

    def default(text: str) -> str:
        return f" = {text}" if types else f"={text}"

    if kernel.family == "FBP_OPTIMIZER":
        arrays = [f"{name}{hint('Array')}" for name in ("p", "g", *_listed(kernel, "state"))]
        numbers = [f"{name}{hint('float')}" for name in ("lr", "step", *_listed(kernel, "hyper"))]
        return ", ".join([*arrays, "*", *numbers, f"weight_decay{hint('float')}{default('0.0')}",
                          f"isa{hint('str | None')}{default('None')}"])
    required = [a for a in kernel.inputs if not a.nullable]
    optional = [a for a in kernel.inputs if a.nullable]
    parts = [kernel.python_name(a.name) + hint("ArrayLike") for a in required]
    parts += [f"{size}{hint('int')}" for size in kernel.asked_sizes]
    parts += [kernel.python_name(a.name) + hint("ArrayLike | None") + default("None") for a in optional]
    parts.append("*")
    for a in kernel.scalars:
        name = kernel.python_name(a.name)
        kind = "str" if name == "act" else "float" if a.ctype == "double" else "int"
        kind += " | None" * (DEFAULTS.get(name) == "None")
        value = "0.0" if (kernel.name, name) == ("linear_forward", "alpha") else DEFAULTS.get(name)
        parts.append(name + hint(kind) + (default(value) if value else ""))
    parts += [f"{a.name}{hint('Array | None')}{default('None')}" for a in kernel.in_place]
    out = "Array | None" if len(kernel.outputs) == 1 else f"tuple[Array | None,{KEEP}...] | None"
    return ", ".join([*parts, f"out{hint(out)}{default('None')}", f"isa{hint('str | None')}{default('None')}"])


def _listed(kernel: Kernel, what: str) -> list[str]:
    return kernel.meaning(what).split(", ")


def _wrapped(prefix: str, text: str, indent: int, width: int = 120) -> str:
    """Break a line after commas so that it fits, continued at `indent`."""
    lines, line = [], prefix
    for i, part in enumerate(text.split(", ")):
        piece = part if i == 0 else ", " + part
        if len(line) + len(piece) > width - 2 and i:
            lines.append(line + ",")
            line, piece = " " * indent, part
        line += piece
    return "\n".join([*lines, line]).replace(KEEP, " ")


# ---- the Cython text ----------------------------------------------------------------------------------------------


def pxi(text: str) -> str:
    """Return the Cython text for a given op_list.h."""
    kernels = read_kernels(text)
    c_kernels = [k for k in kernels if k.family != "FBP_OPTIMIZER"]
    parts = ["# Made by tools/generate_kernels.py from src_c/op_list.h.\n", _declarations(c_kernels, text)]
    parts += [_typed_call(k) + "\n\n" + _function(k) for k in c_kernels]
    parts += [_optimizer_function(k) for k in kernels if k.family == "FBP_OPTIMIZER"]
    return "\n\n".join(parts) + "\n"


def _declarations(kernels: list[Kernel], text: str) -> str:
    lines = ['cdef extern from "fastbp.h":']
    lines += [f"    const int32_t FBP_OP_{name}" for name in activations(text)]
    lines += [f"    const int32_t FBP_OPTIMIZER_{name}" for name in re.findall(r"^FBP_OPTIMIZER\((\w+)\)", text, re.M)]
    for suffix, real in (("f32", "float"), ("f64", "double")):
        lines.append(f"    ctypedef struct fbp_kernels_{suffix}:")
        for k in kernels:
            types = ", ".join(("const " if a.const else "") + (real if a.ctype == "T" else a.ctype)
                              + (" *" if a.pointer else "") for a in k.arguments)
            lines.append(f"        void (*{k.name})({types}) noexcept nogil")
    lines += ["    ctypedef struct kernel_table \"fbp_table\":", "        fbp_kernels_f32 f32",
              "        fbp_kernels_f64 f64", "", "cdef dict ACTIVATIONS = {"]
    lines += [f'    "{name}": FBP_OP_{name},' for name in activations(text)]
    return "\n".join([*lines, "}"])


def _typed_call(k: Kernel) -> str:
    """The C call for both dtypes, given the arrays' addresses; that of None is NULL."""
    given = [f"void *{a.name}" if a.pointer else f"{a.ctype} {a.name}" for a in k.arguments]

    def call(suffix: str, real: str) -> str:
        passed = [f"<{'const ' if a.const else ''}{real if a.ctype == 'T' else a.ctype} *> {a.name}" if a.pointer
                  else a.name for a in k.arguments]
        return _wrapped(f"            table.{suffix}.{k.name}(", ", ".join(passed) + ")", 16)

    parameters = ", ".join(["bint is_double", *given])
    return "\n".join([
        _wrapped(f"cdef void _{k.name}(const kernel_table *table, ", parameters + ") noexcept:", 8),
        "    with nogil:", "        if is_double:", call("f64", "double"), "        else:", call("f32", "float")])


def _function(k: Kernel) -> str:
    lines = [_wrapped(f"def {k.name}(", signature(k, types=False) + "):", 8), _docstring(k),
             f'    cdef _Arguments call = _Arguments("{k.name}", isa)']
    lines += [f'    call.bind("{size}", {size})' for size in k.asked_sizes]
    given = {a.name: "None" for a in k.arguments if a.pointer}
    for a in k.inputs:
        name = k.python_name(a.name)
        given[a.name] = name
        if a.name == "weight" and k.family == "FBP_LOSS":
            lines += ["    if weight is None:", '        weight = call.equal_weights("B")']
        dtype = ', "int64"' if a.ctype == "int64_t" else ""
        test = f" if {name} is not None else None" if a.nullable else ""
        lines.append(f'    {name} = call.input("{name}", {name}, {a.dims!r}{dtype}){test}')
        if a.ctype == "int64_t":
            lines.append(f'    call.check_labels("{name}", {name}, "D")')
    for a in k.in_place:
        given[a.name] = a.name
        lines.append(f'    {a.name} = call.changed("{a.name}", {a.name}, {a.dims!r}) if {a.name} is not None else None')
    lines += _scalar_checks(k)
    specs = ", ".join(f'("{a.name}", {a.dims!r}, {a.nullable}, {a.ctype != "T"})' for a in k.outputs)
    lines.append(_wrapped("    outs = call.outputs(out, (", specs + ",))", 8))
    given |= {a.name: f"outs[{i}]" for i, a in enumerate(k.outputs)}
    given = {name: f"_address({array})" for name, array in given.items()}
    given |= {size: f'call.sizes["{size}"]' for size in k.sizes}
    given |= {a.name: k.python_name(a.name) for a in k.scalars} | ({"act": "ACTIVATIONS[act]"})
    passed = ", ".join(given.get(a.name, "0") for a in k.arguments)
    lines += [f"    call.check_memory(outs, {k.elementwise})",
              _wrapped(f"    _{k.name}(<const kernel_table *> call.table, ", f"call.is_double, {passed})", 8),
              f"    return {'outs[0]' if len(k.outputs) == 1 else 'outs'}"]
    return "\n".join(lines)


def _scalar_checks(k: Kernel) -> list[str]:
    lines = []
    for a in k.scalars:
        name = k.python_name(a.name)
        if name == "act":
            lines.append("    call.check_activation(act)")
        elif name == "R_total":
            lines += ["    if R_total is None:", '        R_total = call.sizes["R"]',
                      '    call.check_whole("R_total", R_total, 63)']
        elif name == "rate":
            lines.append("    call.check_rate(rate)")
        elif a.ctype != "double":
            lines.append(f'    call.check_whole("{name}", {name}, {64 if a.ctype == "uint64_t" else 63})')
    return lines


def _docstring(k: Kernel) -> str:
    sentences = [s.strip() for s in k.comment.split(";")]
    facts = [s for s in sentences if not re.match(r"(attr|constants|alpha|state|hyper|z|x): |target \(", s)]
    if k.family == "FBP_ACTIVATION" and k.name.endswith("_backward"):
        formula = next(s for s in facts if s.startswith("y = "))
        facts = [f"dx = dy f'(x), where y = f(x) and {formula}", f"f' is computed from {facts[0]}"]
    elif k.family == "FBP_ACTIVATION":
        facts = [s for s in facts if s.startswith("y = ")]
    lines = [f'    """{k.name}: {"; ".join(facts)}.', ""]
    if k.family == "FBP_LOSS":
        lines += ["    row_loss[r] = weight[r] l(x[r], target[r]), dx = d(sum of row_loss) / dx. Means are over the D "
                  "columns,", "    t is the target, e = x - t.", ""]
    lines += ["    Parameters", "    ----------"]
    for a in (*k.inputs, *k.in_place):
        kind = "int64" if a.ctype == "int64_t" else "float32 or float64"
        note = ", any shape" if k.elementwise else ""
        missing = ", optional" if a.nullable else ""
        lines.append(f"    {k.python_name(a.name)} : array ({_dims(a)}) of {kind}{note}{missing}")
        if a.name == "weight" and k.family == "FBP_LOSS":
            lines.append("        Weights of the rows, which should sum to 1; 1 / B each by default.")
        if a.name == "s":
            lines.append(f"        {'The output of the forward pass.' if 's = y' in k.comment else 'Its input.'}")
        if a in k.in_place:
            meaning = k.meaning(a.name)
            lines.append(f"        Receives {meaning}." if meaning else "        Changed in place.")
        if a.name == "constants":
            lines.append("        c of the formula, one for each column.")
    lines += [f"    {size} : int" for size in k.asked_sizes]
    for a in k.scalars:
        name = k.python_name(a.name)
        lines.append(f"    {name} : {'str' if name == 'act' else 'float' if a.ctype == 'double' else 'int'}")
        if k.meaning(name):
            lines.append(f"        {k.meaning(name)[0].upper()}{k.meaning(name)[1:]}.")
    lines += [f"    out : {'array' if len(k.outputs) == 1 else 'tuple of arrays'}, optional",
              *(["        None in the place of one that is not wanted: " + ", ".join(
                  a.name for a in k.outputs if a.nullable) + "."] if any(a.nullable for a in k.outputs) else []),
              "    isa : str, optional", "", "    Returns", "    -------"]
    lines += [f"    {a.name} : array ({_dims(a)}){' of float64' if a.ctype == 'double' else ''}" for a in k.outputs]
    return "\n".join([*lines, '    """'])


def _dims(a: Argument) -> str:
    return ", ".join(a.dims) + ("," if len(a.dims) == 1 else "")


def _optimizer_function(k: Kernel) -> str:
    name = k.name.removesuffix("_update")
    state, hyper = _listed(k, "state"), _listed(k, "hyper")
    formula = [s.strip() for s in k.comment.split(";") if not re.match(r"\s*(state|hyper): ", s)]
    return "\n".join([
        _wrapped(f"def {k.name}(", signature(k, types=False) + "):", 8),
        f'    """{k.name}: one step of {name}: {"; ".join(formula)}. All is as in fastbp.optim.optimizers.', "",
        "    Parameters", "    ----------",
        "    p : array (n,) of float32 or float64, any shape", "        The parameters, changed in place.",
        "    g : array (n,)", "        Their gradient.",
        f"    {', '.join(state)} : array (n,)", "        The optimizer's state, zeros at first, changed in place.",
        "    lr : float", "    step : int", "        The number of this step, counted from 1.",
        f"    {', '.join(hyper)} : float", "    weight_decay : float", "    isa : str, optional", "",
        "    Returns", "    -------", "    bool", "        Whether all parameters are finite.", '    """',
        f'    cdef _Arguments call = _Arguments("{k.name}", isa)',
        f"    return call.update(FBP_OPTIMIZER_{name}, p, g, dict({', '.join(f'{s}={s}' for s in state)}), lr, step,",
        f"                       ({', '.join(hyper)},), weight_decay)",
    ])


# ---- the stub -----------------------------------------------------------------------------------------------------


def pyi(text: str) -> str:
    """Return the type stub for a given op_list.h."""
    kernels = read_kernels(text)
    lines = ["# Made by tools/generate_kernels.py from src_c/op_list.h: python tools/generate_kernels.py pyi",
             "from typing import Any", "", "import numpy as np", "from numpy.typing import ArrayLike", "",
             "Array = np.ndarray[Any, np.dtype[Any]]", ""]
    for k in kernels:
        if k.family == "FBP_OPTIMIZER":
            returns = "bool"
        elif len(k.outputs) == 1:
            returns = "Array"
        else:
            kinds = ["Array | None" if a.nullable else "Array" for a in k.outputs]
            returns = f"tuple[{f',{KEEP}'.join(kinds)}]"
        prefix = f"def {k.name}("
        lines.append(_wrapped(prefix, signature(k, types=True) + f") -> {returns}: ...", len(prefix)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    source = OP_LIST.read_text(encoding="utf-8")
    sys.stdout.write({"pxi": pxi, "pyi": pyi}[sys.argv[1]](source))
