"""Writes what repeats in fastbp.kernels, from the rows of src_c/op_list.h (read by op_list.py).

    python tools/generate_kernels.py pxi     the functions in Cython (setup.py compiles them into fastbp.kernels)
    python tools/generate_kernels.py pxd     what other Cython modules may cimport, fastbp/engine/kernels.pxd
    python tools/generate_kernels.py pyi     the type stub, fastbp/engine/kernels.pyi

The last two lie beside kernels.pyx; a test checks that they are up to date. Each kernel has three functions:

    fbp_<name>    on typed memoryviews, for float and double: checks shapes, calls C; cimport this
    _<name>_f32, _f64    point typed memoryviews at the arrays of a call, and call that one without the GIL
    <name>        on Python objects, which the shared text of kernels.pyx holds, by a table of what the kernel takes

fastbp/engine/kernels.pyx holds what they share.
"""

from __future__ import annotations

import sys

import op_list
from op_list import Argument, Kernel, OpList

KEEP = "\0"
"""Stands for a space at which a line is not broken."""

REALS = {"f32": ("float", "f"), "f64": ("double", "d")}
MOST_ARRAYS, MOST_SIZES = 10, 5     # of kernels.pyx


def wrapped(prefix: str, text: str, indent: int, width: int = 120) -> str:
    """Break a line after commas so that it fits, continued at `indent`."""
    lines, line = [], prefix
    for i, part in enumerate(text.split(", ")):
        piece = part if i == 0 else ", " + part
        if len(line) + len(piece) > width - 2 and i:
            lines.append(line + ",")
            line, piece = " " * indent, part
        line += piece
    return "\n".join([*lines, line]).replace(KEEP, " ")


# ---- the functions of typed memoryviews ---------------------------------------------------------------------------


def view_type(a: Argument) -> str:
    item = {"T": "real", "double": "double", "int64_t": "const int64_t"}[a.ctype]
    const = "const " if a.is_read and a.ctype == "T" else ""
    return f"{const}{item}[{':, ' * (len(a.shape) - 1)}::1]"


def typed_arguments(k: Kernel) -> list[str]:
    """Return the arguments of fbp_<name>: arrays in C's order, sizes that they do not tell, numbers."""
    return [*(f"{view_type(a)} {a.name}" for a in k.arrays), *(f"int64_t {size}" for size in k.asked_sizes),
            *(f"{a.ctype} {a.name}" for a in k.scalars)]


def typed_signature(k: Kernel, isa: str) -> str:
    head = f"cdef int fbp_{k.name}("
    text = ", ".join(typed_arguments(k)).replace(":, ", f":,{KEEP}")
    return wrapped(head, f"{text}, const void *isa={isa}) except -1 nogil", len(head))


def size_of(k: Kernel, dim: str) -> str:
    """Return a dimension such as "na + nb" or "D / 2" as an expression of sizes."""
    return dim.replace(" / ", " // ")


def typed_function(k: Kernel) -> str:
    lines = [typed_signature(k, "NULL") + ":"]
    required = [a for a in k.arrays if not a.may_be_null]
    for a in required:
        lines += [f"    if {a.name} is None:", f'        return _none("{k.name}", "{a.name}")']
    found = {}
    for a in k.of("SIZE"):
        if a.name not in k.asked_sizes:
            holder, axis = k.holders(a.name)[0]
            found[a.name] = (holder.name, axis)
    if found:
        lines.append(wrapped("    cdef int64_t ", ", ".join(
            f"{size} = {array}.shape[{axis}]" for size, (array, axis) in found.items()), 8))
    lines += [f'    _check_whole("{k.name}", "{size}", {size})' for size in k.asked_sizes]
    lines += shape_checks(k, found) + scalar_checks(k)
    written = [a for a in k.arrays if not a.is_read]
    empty = sorted({" * ".join(size_of(k, d) if d.isidentifier() else f"({size_of(k, d)})" for d in a.shape)
                    for a in written})
    lines += [f"    if not ({' or '.join(empty)}):", f"        return {int(k.is_update)}       # nothing to write"]
    for a in k.arrays:
        if a.may_be_null:
            const, item = "const " * a.is_read, "real" if a.ctype == "T" else a.ctype
            lines += [f"    cdef {const}{item} *at_{a.name} = NULL", f"    if {a.name} is not None:",
                      f"        at_{a.name} = {first(a)}"]
    return "\n".join(lines + (update_call(k) if k.is_update else c_call(k)))


def shape_checks(k: Kernel, found: dict[str, tuple[str, int]]) -> list[str]:
    lines = []
    for a in k.arrays:
        if all(found.get(dim) == (a.name, axis) for axis, dim in enumerate(a.shape)):
            continue
        for dim in a.shape:
            if dim.endswith(" / 2"):
                size = dim.removesuffix(" / 2")
                lines += [f"    if {size} % 2:", f'        return _odd("{k.name}", "{found[size][0]}", {size})']
        n = len(a.shape)
        values = [f"{a.name}.shape[{axis}]" for axis in range(n)] + [size_of(k, dim) for dim in a.shape]
        call = wrapped(f'_fit{n}("{k.name}", "{a.name}", ', f'"{f",{KEEP}".join(a.shape)}", {", ".join(values)})', 16)
        lines += [f"    if {a.name} is not None:", f"        {call}"] if a.may_be_null else [f"    {call}"]
    return lines


def scalar_checks(k: Kernel) -> list[str]:
    lines = []
    for a in k.scalars:
        if a.kind in ("WHOLE_OR", "COUNT"):
            lines.append(f'    _check_{a.kind[:5].lower()}("{k.name}", "{a.name}", {a.name})')
        elif a.kind == "ACT":
            lines.append(f'    _check_activation("{k.name}", {a.name})')
        elif a.kind in ("SHARE", "SHARE_OR"):
            lines += [f"    if not 0 <= {a.name} < 1:", f'        return _no_share("{k.name}", "{a.name}", {a.name})']
    for a in k.of("LABELS"):
        lines.append(f'    _check_labels("{k.name}", "{a.name}", {first(a)}, {a.shape[0]}, {a.value})')
    return lines


def first(a: Argument) -> str:
    """The address of an array's first element."""
    return f"&{a.name}[{', '.join('0' for _ in a.shape)}]"


def c_call(k: Kernel) -> list[str]:
    passed = ", ".join(passed_to_c(a) for a in k.arguments)
    takes, needs = bool(k.of("SCRATCH", "MEMORY")), bool(k.of("MEMORY"))
    multiply_adds = "MOST_WHOLE" if needs else " * ".join(a.name for a in k.of("SIZE"))
    lines = [f"    cdef void *block = fbp_take_block({multiply_adds})"] * takes
    lines += ["    if block == NULL:", f'        return _no_memory("{k.name}")'] * needs
    lines += ["    cdef const kernel_table *table = <const kernel_table *> (_selected if isa == NULL else isa)"]
    for suffix, test in (("f32", "if real is float"), ("f64", "else")):
        lines += [f"    {test}:", wrapped(f"        table.{suffix}.{k.name}(", passed + ")", 12)]
    return [*lines, *["    fbp_give_block(block)"] * takes, "    return 0"]


def passed_to_c(a: Argument) -> str:
    if a.kind == "NONE":
        return "NULL" if "*" in a.ctype else "0"
    if a.kind in ("SCRATCH", "MEMORY"):
        return "fbp_first_line(block)"
    if not a.is_array:
        return a.name
    return f"at_{a.name}" if a.may_be_null else first(a).replace(", ", f",{KEEP}")


def update_call(k: Kernel) -> list[str]:
    optimizer = k.name.removesuffix("_update")
    states = k.of("STATE")[1:]
    hyper = ", ".join(["lr", "<double> step", "0", *(a.name for a in k.of("REAL")[1:])])
    return [
        "    cdef double hyper[16]", "    cdef void *state[2]",
        f"    hyper[:] = [{hyper}, {', '.join(['0'] * (16 - hyper.count(',') - 1))}]",
        *(f"    state[{i}] = {first(a)}" for i, a in enumerate(states)),
        "    cdef const kernel_table *table = <const kernel_table *> (_selected if isa == NULL else isa)",
        f"    table.begin[FBP_OPTIMIZER_{optimizer}](hyper)",
        f"    return not table.update[0 if real is float else 1][FBP_OPTIMIZER_{optimizer}](",
        "        &p[0], state, &g[0], n, hyper, weight_decay)"]


# ---- a call from Python -------------------------------------------------------------------------------------------


def python_order(k: Kernel) -> list[Argument]:
    """Return the arrays in the order in which a call from Python holds them."""
    states = k.of("STATE")
    inputs = [*states[:1], *k.of("IN", "LABELS"), *states[1:], *k.of("WEIGHTS", "IN_OR_NULL")]
    return [*inputs, *k.of("CHANGED"), *k.results]


def signature_in_c(k: Kernel) -> str:
    """The kernel as the table that a call from Python goes by."""
    sizes = [*k.asked_sizes, *(a.name for a in k.of("SIZE") if a.name not in k.asked_sizes)]
    order = python_order(k)
    if len(order) > MOST_ARRAYS or len(sizes) > MOST_SIZES:
        raise ValueError(f"op_list.h: {k.name}: has {len(order)} arrays and {len(sizes)} sizes; expected at most "
                         f"{MOST_ARRAYS} and {MOST_SIZES}, as kernels.pyx has room for")

    def axis(dim: str) -> str:
        whole, _, divisor = dim.partition(" / ")
        size, _, plus = whole.partition(" + ")
        return f"{{{sizes.index(size)}, {sizes.index(plus) if plus else -1}, {divisor or 1}}}"

    roles = {"WEIGHTS": "w", "CHANGED": "c", "STATE": "c", "OUT": "o", "OUT_OR_NULL": "o"}
    codes = {"T": "T", "double": "d", "int64_t": "q"}
    rows = [f"""{{"{a.name}", '{roles.get(a.kind, "r")}', '{codes[a.ctype]}', {int(a.may_be_null)}, {len(a.shape)}, """
            f"{{{', '.join(axis(dim) for dim in a.shape)}}}}}" for a in order]
    names = ", ".join(f'"{size}"' for size in sizes)
    return "\n".join([
        f'    static const fbp_signature {k.name}_signature = {{"{k.name}", {{{names}}}, {len(k.asked_sizes)}, '
        f"{int(k.any_shape)}, {int(k.any_shape and not k.is_update)}, {len(order) - len(k.results)}, "
        f"{len(k.results)}, {{", *(f"        {row}," for row in rows), "    }};"])


def aimed_functions(k: Kernel) -> str:
    return "\n\n\n".join(aimed_function(k, suffix) for suffix in REALS)


def aimed_function(k: Kernel, suffix: str) -> str:
    real, letter = REALS[suffix]
    held = {a.name: i for i, a in enumerate(python_order(k))}
    lines = [f"cdef int _{k.name}_{suffix}(Call *call, const Numbers *numbers) except -1:"]
    for a in k.arrays:
        code = {"T": letter, "double": "d", "int64_t": "q"}[a.ctype] + str(len(a.shape))
        blank = "None" if a.may_be_null else f"_{code}"
        lines.append(f"    cdef {view_type(a).replace('real', real)} {a.name} = {blank}")
        aim = f"aim_{'const_' * a.is_read}{code}({a.name}, call, {held[a.name]})"
        lines += [f"    if call.at[{held[a.name]}] != NULL:", f"        {a.name} = _{code}", f"        {aim}"] \
            if a.may_be_null else [f"    {aim}"]
    places = number_places(k)
    for a in k.scalars:
        if default(a) == "None":
            array, axis = k.holders(str(a.value))[0]
            lines.append(f"    cdef int64_t {a.name} = {array.name}.shape[{axis}] if {places[a.name]} < 0 else "
                         f"{places[a.name]}")
            places[a.name] = a.name
    if k.is_update:
        lines.append("    cdef int finite")
    passed = ", ".join([*(a.name for a in k.arrays), *places.values(), "call.isa"])
    return "\n".join([*lines, "    with nogil:", wrapped(
        f"        {'finite = ' * k.is_update}fbp_{k.name}[{real}](", passed + ")", 12),
        f"    return {'finite' if k.is_update else '0'}"])


def number_places(k: Kernel) -> dict[str, str]:
    """Return where the struct Numbers has each number, sizes that are asked for first, in the order of fbp_<name>."""
    places, used = {}, {"real": 0, "whole": 0, "key": 0}
    for name, ctype in [*((size, "int64_t") for size in k.asked_sizes), *((a.name, a.ctype) for a in k.scalars)]:
        if ctype == "int32_t":
            places[name] = "numbers.act"
            continue
        kind = {"double": "real", "int64_t": "whole", "uint64_t": "key"}[ctype]
        places[name] = f"numbers.{kind}[{used[kind]}]"
        used[kind] += 1
    return places


def default(a: Argument) -> str:
    """What a keyword is where it is left out, in Python."""
    return "" if a.value is None else "None" if a.value.isidentifier() else a.value


def signature(k: Kernel, types: bool) -> str:
    """Return the arguments of the Python function, with type hints if wanted."""
    def one(name: str, hint: str, value: str = "") -> str:
        if not types:
            return f"{name}={value}" if value else name
        return f"{name}: {hint}" + (f" = {value}" if value else "")

    hints = {"ACT": "str", "REAL": "float", "REAL_OR": "float", "SHARE": "float", "SHARE_OR": "float"}
    parts = []
    for a in python_order(k):
        if a.kind in ("IN", "LABELS", "STATE"):
            parts.append(one(a.name, "Array" if k.is_update else "ArrayLike"))
    parts += [one(size, "int") for size in k.asked_sizes]
    parts += [one(a.name, f"ArrayLike |{KEEP}None", "None") for a in k.of("WEIGHTS", "IN_OR_NULL")]
    parts.append("*")
    for a in k.scalars:
        hint = hints.get(a.kind, "int") + f" |{KEEP}None" * (default(a) == "None")
        parts.append(one(a.name, hint, default(a)))
    parts += [one(a.name, f"Array |{KEEP}None", "None") for a in k.of("CHANGED")]
    if k.results:
        single = len(k.results) == 1
        parts.append(one("out", f"Array |{KEEP}None" if single else f"tuple[Array | None,{KEEP}...] | None", "None"))
    return ", ".join([*parts, one("isa", f"str |{KEEP}None", "None")])


def python_function(k: Kernel) -> str:
    lines = [wrapped(f"def {k.name}(", signature(k, types=False) + "):", 8), documentation(k),
             "    cdef Numbers numbers"]
    places = number_places(k)
    lines += [f'    {places[size]} = _whole(&{k.name}_signature, "{size}", {size})' for size in k.asked_sizes]
    for a in k.scalars:
        check = {"WHOLE_OR": "_whole", "COUNT": "_whole", "KEY": "_key"}.get(a.kind, "_number")
        value = f'{check}(&{k.name}_signature, "{a.name}", {a.name})'
        if a.kind == "ACT":
            value = f'_code_of("{k.name}", {a.name})'
        elif default(a) == "None":
            value = f"-1 if {a.name} is None else {value}"
        lines.append(f"    {places[a.name]} = {value}")
    given = ", ".join(a.name for a in python_order(k) if a not in k.results)
    given = f"({given},)" if "," not in given else f"({given})"
    return "\n".join([*lines, wrapped("    return _run(", ", ".join([
        f"&{k.name}_signature", f"_{k.name}_f32", f"_{k.name}_f64", given, "out" if k.results else "None", "isa",
        "&numbers)"]), 16)])


# ---- documentation ------------------------------------------------------------------------------------------------


def documentation(k: Kernel) -> str:
    formula = k.formula
    if k.family == "FBP_ACTIVATION" and k.name.endswith("_backward"):
        formula = f"dx = dy f'(x), where y = f(x) and {formula}; from {k.of('IN')[1].name}"
    elif k.is_update:
        formula = f"one step of {k.name.removesuffix('_update')}: {formula}; as in fastbp.optim.optimizers"
    lines = [f'    """{k.name}: {formula}.', ""]
    if k.family == "FBP_LOSS":
        lines += ["    row_loss[r] = weight[r] l(x[r], target[r]), dx = d(sum of row_loss) / dx. Means are over the D "
                  "columns,", "    t is the target, e = x - t.", ""]
    lines += ["    Parameters", "    ----------"]
    for a in python_order(k):
        if a not in k.results:
            kind = "int64" if a.ctype == "int64_t" else "float32 or float64"
            note = ", any shape" * k.any_shape + ", optional" * (a.kind in ("WEIGHTS", "IN_OR_NULL", "CHANGED"))
            lines.append(f"    {a.name} : array {shape_text(a)} of {kind}{note}")
            lines += [f"        {text}" for text in notes(k, a)]
    lines += [f"    {size} : int" for size in k.asked_sizes]
    for a in k.scalars:
        lines.append(f"    {a.name} : {'str' if a.kind == 'ACT' else 'float' if a.ctype == 'double' else 'int'}")
        lines += [f"        {text}" for text in notes(k, a)]
    if k.results:
        lines.append(f"    out : {'array' if len(k.results) == 1 else 'tuple of arrays'}, optional")
        if k.of("OUT_OR_NULL"):
            names = ", ".join(a.name for a in k.of("OUT_OR_NULL"))
            lines.append(f"        None in the place of one that is not wanted: {names}.")
    lines += ["    isa : str, optional", "", "    Returns", "    -------"]
    lines += ["    bool", "        Whether all parameters are finite."] * k.is_update
    lines += [f"    {a.name} : array {shape_text(a)}{' of float64' * (a.ctype == 'double')}" for a in k.results]
    return "\n".join([*lines, '    """'])


def notes(k: Kernel, a: Argument) -> list[str]:
    own = {"STATE": "Changed in place.", "CHANGED": "Changed in place.",
           "WEIGHTS": "Weights of the rows, which should sum to 1; 1 / B each by default.",
           "LABELS": f"Labels, from 0 to {a.value} - 1.", "ACT": "An elementwise activation, by the name of its op.",
           "COUNT": "The number of this step, counted from 1.",
           "SHARE": "From 0 up to, but not including, 1.", "SHARE_OR": "From 0 up to, but not including, 1."}
    if k.meaning(a.name):
        meaning = k.meaning(a.name)
        return [f"Receives {meaning}." if a.kind == "CHANGED" else f"{meaning[0].upper()}{meaning[1:]}."]
    return [own[a.kind]] if a.kind in own else []


def shape_text(a: Argument) -> str:
    return f"({', '.join(a.shape)}{',' if len(a.shape) == 1 else ''})"


# ---- the files ----------------------------------------------------------------------------------------------------


def pxi(ops: OpList) -> str:
    """Return the functions in Cython."""
    parts = ["# Made by tools/generate_kernels.py from src_c/op_list.h.\n", declarations(ops)]
    for k in [*ops.kernels, *ops.updates]:
        parts += [typed_function(k), aimed_functions(k), python_function(k)]
    return "\n\n\n".join(parts) + "\n"


def declarations(ops: OpList) -> str:
    lines = ["cdef extern from *:", '    """', *map(signature_in_c, [*ops.kernels, *ops.updates]), '    """',
             *(f"    const fbp_signature {k.name}_signature" for k in [*ops.kernels, *ops.updates]), "", "",
             'cdef extern from "fastbp.h" nogil:']
    lines += [f"    const int32_t FBP_OP_{name}" for name in ops.activations]
    lines += [f"    const int32_t FBP_OPTIMIZER_{name}" for name in ops.optimizers]
    for suffix, (real, _) in REALS.items():
        lines.append(f"    ctypedef struct fbp_kernels_{suffix}:")
        for k in ops.kernels:
            types = ", ".join(("const " * a.is_read + f"{a.ctype} *" if a.is_array else a.ctype) for a in k.arguments)
            lines.append(f"        void (*{k.name})({types.replace('T', real)}) noexcept nogil")
    lines += ['    ctypedef struct kernel_table "fbp_table":', "        fbp_kernels_f32 f32",
              "        fbp_kernels_f64 f64", "        fbp_update update[2][1]", "        fbp_begin begin[1]", "", "",
              "cdef dict ACTIVATIONS = {", *(f'    "{name}": FBP_OP_{name},' for name in ops.activations), "}", "", "",
              "cdef bint _is_activation(int32_t act) noexcept nogil:",
              wrapped("    return act in (", ", ".join(f"FBP_OP_{name}" for name in ops.activations) + ")", 8)]
    return "\n".join(lines)


def pxd(ops: OpList) -> str:
    """Return what other Cython modules may cimport."""
    lines = ["# Made by tools/generate_kernels.py from src_c/op_list.h: python tools/generate_kernels.py pxd",
             "# What Cython code of your own may cimport; the documentation of fastbp.kernels says how.",
             "from libc.stdint cimport int32_t, int64_t, uint64_t", "",
             "ctypedef fused real:", "    float", "    double", "",
             "cdef const void *fbp_isa(str name) except NULL", "cdef int32_t fbp_activation(str name) except -1", ""]
    return "\n".join([*lines, *(typed_signature(k, "*") for k in [*ops.kernels, *ops.updates])]) + "\n"


def pyi(ops: OpList) -> str:
    """Return the type stub."""
    lines = ["# Made by tools/generate_kernels.py from src_c/op_list.h: python tools/generate_kernels.py pyi",
             "from typing import Any", "", "import numpy as np", "from numpy.typing import ArrayLike", "",
             "Array = np.ndarray[Any, np.dtype[Any]]", ""]
    for k in [*ops.kernels, *ops.updates]:
        kinds = ["Array | None" if a.kind == "OUT_OR_NULL" else "Array" for a in k.results]
        returns = "bool" if k.is_update else kinds[0] if len(kinds) == 1 else f"tuple[{f',{KEEP}'.join(kinds)}]"
        prefix = f"def {k.name}("
        lines.append(wrapped(prefix, signature(k, types=True) + f") -> {returns}: ...", len(prefix)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write({"pxi": pxi, "pxd": pxd, "pyi": pyi}[sys.argv[1]](op_list.read()))
