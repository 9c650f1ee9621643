"""The command line: ``python -m fastbp <command>``.

A command is a module of ``fastbp.commands`` with ``add_arguments(parser)`` and ``run(args)``; it is imported only when
it is called.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from fastbp.core.interrupts import catch
from fastbp.core.terminal import open_output

PROGRAM = "python -m fastbp"
COMMANDS = {
    "train": "train a network on a table, or on the handwritten digits that ship with fastbp",
    "predict": "apply a model that was trained on a table to another table",
    "bench": "time a training step against the other libraries that are installed",
    "explain": "explain the gradient of a weight by the chain rule, beside its numerical twin",
    "info": "print versions, CPU, instruction set and threads",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given and given[0] in COMMANDS else ""
    prefix = f"{PROGRAM} {command}".rstrip()
    try:
        catch()
        open_output()
        _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough (| head); the interpreter's last flush must find a way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        wording = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        print(f"{prefix}: {wording}", file=sys.stderr)
        return 1
    except (ArithmeticError, ImportError, ValueError) as error:
        print(f"{prefix}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Neural networks by backpropagation.")
    parser.add_argument("--version", action="version", version=f"fastbp {version('fastbp')}")
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, summary in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".",
                                    formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if name in given[:1]:
            import_module(f"fastbp.commands.{name}").add_arguments(sub)
    args = parser.parse_args(given)
    import_module(f"fastbp.commands.{args.command}").run(args)


if __name__ == "__main__":
    sys.exit(main())
