"""How the arrays of one side of a network are handed over: one alone, a tuple of them, or a dict by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastbp.graph.graph import Graph, Tensor
from fastbp.ops.base import Array

Form = bool | Sequence[str]
"""True for one tensor alone, False for a tuple of them, or the names of a dict."""
Outputs = Array | Any
"""What a network hands over: an array where there is one, or else a tuple or a dict, which type checkers let pass."""


@dataclass(frozen=True)
class Side:
    """The inputs or the outputs of a network.

    Attributes
    ----------
    names : tuple of str
        What they are called.
    alone : bool
        Whether there is one, handed over by itself.
    is_dict : bool
        Whether several are handed over as a dict, rather than a tuple.
    named : bool
        Whether somebody gave them their names.
    """

    names: tuple[str, ...]
    alone: bool = False
    is_dict: bool = False
    named: bool = False

    @classmethod
    def of(cls, role: str, form: Form, tensors: Sequence[Tensor], graph: Graph) -> Side:
        """Return one side of a graph; role is "input" or "output"."""
        if not isinstance(form, bool):
            return cls(tuple(form), False, True, True)
        own = [_own_name(t, graph) for t in tensors]
        named = None not in own and len(set(own)) == len(own)
        numbered = [role] if len(tensors) == 1 else [f"{role}{i}" for i in range(len(tensors))]
        return cls(tuple(map(str, own)) if named else tuple(numbered), form, False, named)

    @property
    def form(self) -> Form:
        """What made it."""
        return self.names if self.is_dict else self.alone

    @property
    def keys(self) -> tuple[str, ...]:
        """What they are called in errors and in the history: by name, or by number."""
        return self.names if self.named else tuple(str(i) for i in range(len(self.names)))

    def called(self, what: str) -> list[str]:
        """Return what errors call each of several arrays: the name alone if there is one."""
        if self.alone:
            return [what]
        return [f"{what}[{name!r}]" if self.is_dict else f"{what}[{i}]" for i, name in enumerate(self.names)]

    def several(self, what: str, values: Any) -> list[Any]:
        """Return what is handed over, one thing for each tensor in order.

        Raises
        ------
        ValueError
            For another number of things, or other names.
        """
        if isinstance(values, Mapping) and (not self.alone or (self.named and set(values) == set(self.names))):
            if set(values) != set(self.names):
                raise ValueError(f"{what} has {', '.join(map(repr, values)) or 'no names'}; expected "
                                 f"{', '.join(map(repr, self.names))}, as the network has")
            return [values[name] for name in self.names]
        if self.alone:
            return [values]
        if not isinstance(values, list | tuple) or len(values) != len(self.names):
            found = f"{len(values)} entries" if isinstance(values, list | tuple) else type(values).__name__
            names = f" or a dict of {', '.join(map(repr, self.names))}" if self.named else ""
            raise ValueError(f"{what} has {found}; expected a tuple of {len(self.names)}{names}, as the network has")
        return list(values)

    def handed(self, things: Sequence[Any]) -> Any:
        """Return things, one for each tensor, as they are handed over."""
        if self.is_dict:
            return dict(zip(self.names, things, strict=True))
        return things[0] if self.alone else tuple(things)


def form_of(role: str, tensors: Any) -> Form:
    """Return how tensors were given."""
    if isinstance(tensors, Mapping):
        if not all(isinstance(name, str) and name for name in tensors):
            raise TypeError(f"{role} is a dict whose keys are {', '.join(map(repr, tensors))}; expected names")
        return tuple(tensors)
    return isinstance(tensors, Tensor)


def _own_name(t: Tensor, graph: Graph) -> str | None:
    """Return what somebody called a tensor: the input itself, or the layer that makes it."""
    if t.node is None:
        return t.name or None
    return t.name or getattr(t.node.owner, "name", None)
