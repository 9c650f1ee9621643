"""``python -m fastbp explain``: the gradient of a weight by the chain rule, beside its numerical twin."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import replace
from inspect import isabstract
from pathlib import Path

import numpy as np

from fastbp.chainrule import Explanation, compare, load, page, worked_example
from fastbp.chainrule.example import Example
from fastbp.commands.arguments import not_an_input, positive_int
from fastbp.core.checks import file_to_write
from fastbp.objectives import cross_entropy, losses
from fastbp.ops.base import Array
from fastbp.views.explanations.names import Names

# A page for every weight of a network is meant for small ones.
_MOST_WEIGHTS = 200
_LOSSES = {name: kind for name, kind in {**vars(losses), **vars(cross_entropy)}.items()
           if isinstance(kind, type) and issubclass(kind, losses.Loss) and not isabstract(kind)}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE",
                        help="a network and data: .py that sets net, x, y, loss and lr, or .safetensors as net.save "
                             "writes it, with --x, --y and --loss; without it the worked 2-2-2 example")
    parser.add_argument("--x", type=_numbers, metavar="NUMBERS",
                        help='one sample, such as "0.05, 0.10", or rows: "[[0.05, 0.10], [0.2, 0.3]]", or a .npy file')
    parser.add_argument("--y", type=_numbers, metavar="NUMBERS", help="its target, or targets, likewise")
    parser.add_argument("--loss", choices=sorted(_LOSSES), help="the loss")
    parser.add_argument("--weight", metavar="NAME",
                        help='one or more, such as w7 or w1,b2 or "2.weight[0, 1]"; "all" for every one (w7 of the '
                             "worked example, w1 of a file)")
    parser.add_argument("--lr", type=float, help="learning rate of the update (that of the example or file)")
    parser.add_argument("--lang", choices=("en", "ko"), default="en", help="language")
    parser.add_argument("--format", choices=("text", "chain", "markdown", "latex"), default="text",
                        help="what is printed")
    parser.add_argument("--terms", type=positive_int, default=8, help="paths that are shown, the largest first")
    parser.add_argument("--digits", type=_digits, default=9, help="significant digits, 17 for all")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that steps through the explanation")
    parser.add_argument("--svg", type=Path, metavar="FILE",
                        help="write the computational graph; with --compare the plot")
    parser.add_argument("--compare", action="store_true",
                        help="count and time numerical against backpropagated gradients as networks grow")
    parser.add_argument("--backend", choices=("native", "reference"), default="native", help="what runs the network")


def run(args: Namespace) -> None:
    """Print the explanation, and write the files that are asked for."""
    for option, path in (("--html", args.html), ("--svg", args.svg)):
        if path is not None:
            file_to_write(option, path)
            if args.file is not None:
                not_an_input(option, path, example=args.file)
    if args.compare:
        found = compare(backend=args.backend, lang=args.lang)
        print(found)
        _write(args.svg, found.svg)
        return
    example = _example(args)
    explanations = [_explain(example, name, args) for name in _weights(args, example)]
    print("\n\n".join(getattr(e, args.format)() for e in explanations))
    _write(args.html, lambda: page(explanations))
    _write(args.svg, explanations[0].svg)


def _example(args: Namespace) -> Example:
    """Return the worked example, or that of a file with what is given beside it."""
    if args.file is None:
        given = [f"--{name}" for name in ("x", "y", "loss") if getattr(args, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} is given without a file; expected a network to go with it, as in: "
                             "python -m fastbp explain net.safetensors --x … --y … --loss …")
        return worked_example(args.backend)
    x, y = args.x, args.y
    loss = None if args.loss is None else _LOSSES[args.loss]()
    example = load(args.file, args.backend, x=x, y=y, loss=loss)
    if x is not None and x.shape == example.net.graph.inputs[0].shape:
        example = replace(example, x=x[None])
    if y is not None and y.ndim == 1 and len(y) > 1 and len(example.x) == 1:
        example = replace(example, y=y[None])
    return example


def _numbers(text: str) -> Array:
    """Numbers between commas, in brackets where there are several rows, or the name of a .npy file."""
    try:
        if text.endswith(".npy"):
            return np.asarray(np.load(text, allow_pickle=False))
        found = np.asarray(json.loads(text if text.lstrip().startswith("[") else f"[{text}]"))
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from None
    if found.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"{text!r} are no numbers; expected some such as 0.05, 0.10 or [[1, 2], [3, 4]]")
    return found


def _explain(example: Example, weight: str, args: Namespace) -> Explanation:
    lr = example.lr if args.lr is None else args.lr
    found: Explanation = example.net.explain(example.x, example.y, example.loss, weight=weight, lr=lr, lang=args.lang,
                                             terms=args.terms, digits=args.digits)
    return found


def _weights(args: Namespace, example: Example) -> list[str]:
    given = args.weight or ("w7" if args.file is None else "w1")
    if given != "all":
        return [given] if "[" in given else [name.strip() for name in given.split(",")]
    names = Names(example.net.graph).all_weights()
    if len(names) > _MOST_WEIGHTS:
        raise ValueError(f"--weight all: the network has {len(names):,} weights and biases; expected at most "
                         f"{_MOST_WEIGHTS}. Name those you want, as in --weight w1,w2")
    return names


def _write(path: Path | None, content: Callable[[], str]) -> None:
    if path is not None:
        path.write_text(content().rstrip("\n") + "\n", encoding="utf-8")
        print(f"\nwritten to {path}")


def _digits(text: str) -> int:
    value = positive_int(text)
    if value > 17:
        raise ArgumentTypeError(f"{text!r} is more than 17 digits, the most that a number has")
    return value
