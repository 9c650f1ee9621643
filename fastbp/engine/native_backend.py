"""The native backend: keeps a plan for each purpose its network has been used for, and hands data to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np

from fastbp.core.errors import NonFiniteError
from fastbp.engine.backend import Data, Look, Progress
from fastbp.engine.fusion import fused
from fastbp.engine.lowering import Lowering
from fastbp.engine.native import (
    Gate,
    Plan,
    Status,
    check_op,
    find_instruction,
    has_bfloat16,
    has_optimizer,
    isa,
    op_phases,
)
from fastbp.engine.pieces import Piece, pieces_of
from fastbp.engine.plan_parts import Buffer, LossSpec, PlanStep, Purpose, Trained
from fastbp.engine.ranks import Ranks, Share
from fastbp.engine.reference import apply_update, first_bad_tensor, mini_batch, whole_batch
from fastbp.engine.rooms import room_of
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.memory import Memory
from fastbp.graph.tensor import B
from fastbp.objectives.losses import Loss, is_own
from fastbp.ops.base import Array, Kind
from fastbp.optim.optimizers import Segment, Update

# Within these limits no optimizer can make a parameter that is not finite: of each gradient, the learning rate, the
# learning rate times the weight decay, and what a denominator is kept from 0 by.
_TAME_GRADIENT = {"float32": 1e15, "float64": 1e100}
_TAME_RATE, _TAME_DECAY, _TAME_EPS = 1e6, 1.0, 1e-12
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class _Passing:
    """A pass forward and backward that the next one may be like: with the same loss, its settings unchanged.

    Targets are within the domain, whose ends are finite. Gradients that the plan does not make become 0.
    """

    plan: Plan
    loss: Loss
    settings: dict[str, Any]
    domain: tuple[float, float]
    zero: tuple[str, ...]


class NativeBackend:
    """Runs a graph with the C kernels; see ``backend.py`` for the interface."""

    def __init__(self, memory: Memory) -> None:
        if memory.compute_dtype == "bfloat16" and not has_bfloat16():
            raise ValueError('compute_dtype is "bfloat16", for which the native backend needs the instruction set '
                             f"avx512 and a CPU with AVX512_BF16; the one in use is {isa()}. Leave compute_dtype out "
                             '(to load a file: compute_dtype="float32"), or use backend="reference"')
        self._memory, self._gate = memory, Gate()
        self._plans: dict[Purpose, Plan] = {}
        self._sparse = any(t.dtype == "sparse" for t in memory.graph.inputs)
        self._last: tuple[Plan, int, int, bool] | None = None
        self._spent = False                     # whether backward has been since the last forward
        self._inference: Plan | None = None
        self._training: Plan | None = None
        self._stepping: tuple[Plan, Loss, Update, Sequence[Segment], float, float, tuple[float, float]] | None = None
        self._passing: _Passing | None = None
        self._applying: tuple[Plan, Update, Sequence[Segment], float] | None = None
        # a network with functions in it may be part of a loss's graph alone, and never need its own
        lazy = any(node.op.on_arrays for node in memory.graph.nodes)
        self._made = None if lazy else _as_plans_run_it(memory.graph)
        memory.tell(self)

    def follow(self, memory: Memory) -> None:
        """Let the next pass be one for the parameters that move now."""
        self._passing = None

    @property
    def _graph(self) -> Graph:
        if self._made is None:
            self._made = _as_plans_run_it(self._memory.graph)
        return self._made

    def forward(self, inputs: Sequence[Array], training: bool, backward: bool = False) -> tuple[Array, ...]:
        """Return the outputs. With `backward`, what is not training can be gone back through as well."""
        rows, backward = len(inputs[0]), backward or training
        with self._gate:
            trained = self._memory.trained if backward else None
            purpose = Purpose(backward=backward, training=backward, input_grads=backward, trained=trained)
            plan = self._plan(purpose, rows)
            with _fed(plan, inputs, keep=backward and self._sparse):
                if backward:
                    plan.run("prepare", rows, True)
                elif not plan.lowering.calls_back and not self._sparse and self._graph.outputs[0].by_rows:
                    self._inference = plan
                self._run(plan, "forward", rows, training, self._key(training))
            return tuple(plan.whole(plan.lowering.values[t], t.shape_of(rows)).copy() for t in self._graph.outputs)

    def quick_forward(self, x: Any) -> Array | None:
        return None if self._inference is None else self._inference.quick_forward(x)

    def backward(self, dys: Sequence[Array]) -> tuple[Array | None, ...]:
        assert self._last is not None
        plan, rows, key, training = self._last
        with self._gate:
            for tensor, dy in zip(self._graph.outputs, dys, strict=True):
                if tensor in plan.lowering.grads:
                    plan.write(plan.lowering.grads[tensor], np.ascontiguousarray(dy))
            self._clear_others(plan)
            plan.run("prepare", rows, True)
            if self._spent and plan.lowering.again:
                plan.run("again", rows, training, key)
            self._spent = True
            plan.run("backward", rows, training, key)
            self._leave_out_frozen(plan)
            return self._input_grads(plan, rows)

    def loss(self, data: Data, training: bool) -> float:
        with self._gate:
            plan = self._plan(self._purpose(data, training=training), data.rows)
            with _fed(plan, _sources(data)):
                self._run(plan, "run", data.rows, training, self._key(training))
            return float(plan.total_loss(data.rows))

    def loss_and_grad(self, data: Data, input_grads: bool = False) -> tuple[float, tuple[Array | None, ...]]:
        with self._gate:
            plan = self._loss_and_grad(data, input_grads, self._memory.draw())
            if not input_grads:
                self._passing = self._known_pass(data, plan)
            grads = self._input_grads(plan, data.rows) if input_grads else ()
            return plan.total_loss(data.rows), grads

    def quick_loss_and_grad(self, x: Any, y: Any, loss: Any) -> float | None:
        known = self._passing
        if known is None or known.loss is not loss or vars(loss) != known.settings:
            return None
        with self._gate:
            found = known.plan.quick_loss_and_grad(x, y, known.domain)
            if found is None:
                return None
            for name in known.zero:
                self._memory.grads[name][...] = 0
            value: float
            value, rows, key = found
            self._last, self._spent = (known.plan, rows, key, True), False
            return value

    def evaluate(self, data: Data, batch_size: int, look: Look | None) -> Array | None:
        purpose = self._purpose(data, training=False, tally=look is not None)
        if any(spec.loss is not None for spec in purpose.losses):
            return None     # functions of the user's look at all rows at once
        rows, size, losses = data.rows, min(batch_size, data.rows), []
        with self._gate:
            plan = self._plan(purpose, size)
            places = [(plan.lowering.values[t], t.shape) for t in self._graph.outputs]
            counted = {i: (node.loss.row_right, node.dims[0]) for i, node in enumerate(plan.lowering.loss_nodes)
                       if node.loss is not None and node.loss.row_right is not None}
            with _fed(plan, _sources(data)):
                for first in range(0, rows, size):
                    part = slice(first, min(first + size, rows))
                    count = part.stop - first
                    plan.run("run", count, False, self._memory.step, first=first, in_place=True)
                    losses.append(plan.losses(count))
                    if look is not None:
                        look(part, [plan.view(place, shape, count) for place, shape in places],
                             {i: plan.view(place, (groups,), count).mean(axis=1)
                              for i, (place, groups) in counted.items()})
            self._last = None
        return np.array(losses)

    def apply(self, update: Update, lr: float) -> None:
        if not has_optimizer(update.optimizer):
            apply_update(self._memory, update, lr)
            return
        with self._gate:
            known, self._stepping = self._applying, None
            if known is None or known[1] is not update or known[2] is not update.segments:
                plan = self._update_plan(update.trained(self._memory), update.tables(self._memory))
                known = self._applying = plan, update, update.segments, _tame_rate(update)
            plan, most = known[0], known[3]
            status = plan.apply(update, lr, _TAME_GRADIENT[self._memory.dtype]) if lr <= most else Status.ERROR_GRADIENT
            if status == Status.ERROR_GRADIENT:
                self._apply_carefully(plan, update, lr)
            update.step += 1
            self._memory.step += 1

    def _apply_carefully(self, plan: Plan, update: Update, lr: float) -> None:
        """Take one step, and undo it where it makes a parameter that is not finite."""
        arrays = [self._memory.params.flat, *update.state]
        before = [a.copy() for a in arrays]
        status = plan.apply(update, lr, inf)
        if status == Status.OK:
            return
        if status == Status.ERROR_GRADIENT:
            bad = next(n for n, g in self._memory.grads.items() if not np.isfinite(g).all())
            raise NonFiniteError(update.step, f"the gradient of {bad}")
        spoilt = bad_parameter(self._memory)
        for array, values in zip(arrays, before, strict=True):
            array[...] = values
        raise NonFiniteError(update.step, spoilt)

    def train(self, data: Data, update: Update, order: Array | None, batch_size: int, learning_rates: Array,
              losses: Array, on_progress: Progress | None = None, share: Share | None = None,
              tally: Array | None = None) -> None:
        if share is not None and any(B in t.shape for t in self._graph.tensors):
            self._train_whole(share, data, update, order, batch_size, learning_rates, losses, on_progress, tally)
            return
        rates = np.ascontiguousarray(learning_rates, dtype=np.float64)
        tables = update.tables(self._memory)
        # gradients are looked at before they are used where they are clipped, and where going back would cost too much
        light = len(rates) == 1 or (bool(tables) and share is None and not self._memory.buffers.flat.size)
        checked = share is not None or light or update.clip_norm is not None or update.clip_value is not None
        order = None if order is None else np.require(order, np.int64, ["C", "A"])
        n_rows = data.rows if order is None else order.shape[1]
        with self._gate:
            purpose = self._purpose(data, backward=True, updates=not checked, trained=update.trained(self._memory),
                                    tables=tables, share=share, tally=tally is not None)
            if share is not None:
                self._meet(share.ranks, update, whole=bool(tables))
            plan = self._training_plan(data, purpose, min(n_rows, batch_size) if share is None else share.most)
            for name in plan.lowering.unreached:
                self._memory.grads[name][...] = 0
            self._last = self._stepping = None
            plan.run("prepare", 0, True)
            run = _TrainingRun(self._memory, plan, update, order, n_rows, batch_size, rates, losses, checked, light,
                               share, tally)
            bad = run.to_end(on_progress)
            self._leave_out_frozen(plan)
            if share is not None:
                share.ranks.collect()
            if bad is not None:
                part = data.take(mini_batch(bad[0], data.rows, order, batch_size))
                raise NonFiniteError(bad[0], bad[1] or self._first_bad(part), part, float(rates[bad[0]]), run.undone)
            domain = self._plain_domain(data, plan)
            if len(rates) == 1 and domain is not None and share is None:
                self._stepping = (plan, data.losses[0], update, update.segments, _tame_rate(update),
                                  _TAME_GRADIENT[self._memory.dtype], domain)

    def release(self) -> None:
        if self._training is not None:
            self._training.release()
            self._training = None

    def quick_step(self, x: Any, y: Any, loss: Any, update: Update, lr: float) -> float | None:
        if self._stepping is None:
            return None
        plan, known_loss, known_update, segments, most, limit, domain = self._stepping
        if known_loss is not loss or known_update is not update or update.segments is not segments or lr > most:
            return None
        value: float | None = plan.quick_step(x, y, update, lr, limit, domain)
        if value is not None:
            update.step += 1
            self._memory.clock.step += 1
        return value

    def _plain_domain(self, data: Data, plan: Plan) -> tuple[float, float] | None:
        """Return the domain of targets, if a batch like this one needs no other check; None where it does."""
        simple = data.sample_weight is None and not data.scales and len(data.inputs) == len(data.losses) == 1
        stateless = not (self._memory.buffers.flat.size or plan.lowering.calls_back or self._sparse)
        return data.losses[0].plain_domain(data.targets[0]) if simple and stateless else None

    def _known_pass(self, data: Data, plan: Plan) -> _Passing | None:
        """Return what the next pass may take from this one, if it is one of the same kind."""
        domain, loss = self._plain_domain(data, plan), data.losses[0]
        if domain is None or not is_own(type(loss)):
            return None
        zero = [name for name in self._memory.grads if name not in plan.lowering.reached] + [*plan.lowering.beside]
        finite = max(domain[0], -_LARGEST), min(domain[1], _LARGEST)
        return _Passing(plan, loss, dict(vars(loss)), finite, tuple(zero))

    def values(self) -> dict[str, Array]:
        return self._kept("values")

    def gradients(self) -> dict[str, Array]:
        return self._kept("grads")

    # ---- plans ------------------------------------------------------------------------------------------------------

    def _purpose(self, data: Data, *, backward: bool = False, training: bool = True, input_grads: bool = False,
                 updates: bool = False, trained: Trained | None = None, tables: Trained = (),
                 share: Share | None = None, tally: bool = False) -> Purpose:
        specs = []
        scales = data.scales or (1.0,) * len(data.losses)
        weights = 0 if data.sample_weight is None else prod(data.sample_weight.shape[1:])
        for loss, tensor, target, scale in zip(data.losses, self._graph.outputs, data.targets, scales, strict=True):
            kind: Kind = "int64" if target.dtype.kind == "i" else "real"
            name = loss.native_name(target)
            called = name == "python" or (share is not None and loss.of_batch)
            labels = None if called else _labels_of(loss, tensor, target)
            specs.append(LossSpec(name, loss.native(tensor.shape, target), target.shape[1:], kind, labels,
                                  loss if called else None, scale,
                                  tally and weights < 2 and loss.counts_right))
        if backward and trained is None:
            trained = self._memory.trained
        return Purpose(tuple(specs), weights, backward, training, input_grads, updates, trained, share is not None,
                       share is not None and share.apart, tables)

    def _plan(self, purpose: Purpose, rows: int) -> Plan:
        plan = self._plans.get(purpose)
        if plan is None or plan.capacity < rows:
            low = Lowering(self._graph, purpose, op_phases, self._memory.compute_dtype)
            pieces = pieces_of(low.gradients, self._memory.grads) if purpose.shared else []
            self._applying = self._passing = None       # they may keep the plan whose place this takes
            plan = self._plans[purpose] = Plan(self._memory, low, max(rows, 1), _programs(low, pieces), self._gate)
            plan.pieces = pieces if len(pieces) > 1 else []
        return plan

    def _training_plan(self, data: Data, purpose: Purpose, rows: int) -> Plan:
        """Return a plan that is fed with the data. Training in pieces asks for the same one again and again."""
        plan = self._training
        if plan is None or plan.fed is not data or plan.lowering.purpose != purpose or plan.capacity < rows:
            self.release()
            plan = self._training = self._plan(purpose, rows)
            plan.feed(_sources(data), data)
        return plan

    def _meet(self, ranks: Ranks, update: Update, whole: bool) -> None:
        """Find where ranks add up gradients: in a room each knows a part of them, and not whether a row is 0."""
        if whole:
            ranks.room = ranks.room_key = None
            ranks.in_parts = ()
            return
        room = room_of(ranks, self._memory.params.flat.size, self._memory.params.flat.dtype)
        ranks.in_parts = () if room is None else (*update.state, self._memory.grads.flat)

    def _train_whole(self, share: Share, data: Data, update: Update, order: Array | None, batch_size: int,
                     learning_rates: Array, losses: Array, on_progress: Progress | None, tally: Array | None) -> None:
        """Train on the whole mini-batches on every rank: tensors have the rows of the batch along a second axis.

        The steps of all ranks are the same, to the bit, and nobody need tell another of them.
        """
        share.ranks.in_parts = ()
        if share.is_local:
            data = whole_batch(data, share)
            batch_size = data.rows
        self.train(data, update, order, batch_size, learning_rates, losses, None, None, tally)
        if tally is not None and not share.ranks.leads:
            tally[...] = 0              # every rank has seen the whole batch, and one of them counts it
        if on_progress is not None:
            on_progress(len(learning_rates))

    def _update_plan(self, trained: Trained, tables: Trained) -> Plan:
        """Return a plan that can update parameters from their gradients."""
        for purpose, plan in self._plans.items():
            if purpose.backward and not purpose.updates and (purpose.trained, purpose.tables) == (trained, tables):
                return plan
        return self._plan(Purpose(backward=True, trained=trained, tables=tables), 1)

    def _key(self, training: bool) -> int:
        """Return what the random numbers of a pass by hand are keyed by."""
        return self._memory.draw() if training else self._memory.step

    def _run(self, plan: Plan, program: str, rows: int, training: bool, key: int) -> None:
        plan.run(program, rows, training, key)
        self._last, self._spent = (plan, rows, key, training), False

    def _loss_and_grad(self, data: Data, input_grads: bool, key: int) -> Plan:
        plan = self._plan(self._purpose(data, backward=True, input_grads=input_grads), data.rows)
        with _fed(plan, _sources(data)):
            plan.run("prepare", data.rows, True)
            self._clear_others(plan)
            self._run(plan, "run", data.rows, True, key)
        self._leave_out_frozen(plan)
        return plan

    def _clear_others(self, plan: Plan) -> None:
        """Let the gradients be 0 of all parameters, those of a network around this one too, but for what it writes."""
        for name in self._memory.grads:
            if name not in plan.lowering.reached:
                self._memory.grads[name][...] = 0

    def _leave_out_frozen(self, plan: Plan) -> None:
        """Let the gradients of parameters that are not trained be 0: nodes make those of all that they have."""
        for name in plan.lowering.beside:
            self._memory.grads[name][...] = 0

    def _input_grads(self, plan: Plan, rows: int) -> tuple[Array | None, ...]:
        return tuple(self._input_grad(plan, t, rows) for t in self._graph.inputs)

    def _input_grad(self, plan: Plan, t: Tensor, rows: int) -> Array | None:
        if t.dtype != "real":
            return None
        buffer = plan.lowering.grads.get(t)
        if buffer is None:
            return np.zeros((rows, *t.shape), self._memory.dtype)
        return np.array(plan.view(buffer, t.shape, rows))

    def _kept(self, what: str) -> dict[str, Array]:
        if self._last is None:
            return {}
        plan, rows, *_ = self._last
        kept: dict[Tensor, Buffer] = getattr(plan.lowering, what)
        given = self._memory.graph
        named = {t: given.tensors[place] for t in kept if (place := self._graph.places[t]) < len(given.tensors)}
        return {given.names[named[t]]: plan.whole(b, t.shape_of(rows)) for t, b in kept.items()
                if t in named and _is_the_same(t, named[t])}

    def _first_bad(self, data: Data) -> str:
        """Run the mini-batch that went wrong once more, and look through it; nothing is changed."""
        buffers = self._memory.buffers.flat.copy()
        self._loss_and_grad(data, True, self._memory.step)
        name = first_bad_tensor(self._memory, data, self.values(), self.gradients())
        self._memory.buffers.flat[...] = buffers
        return name


def _is_the_same(t: Tensor, given: Tensor) -> bool:
    """Whether a tensor that plans make is that of the network's own graph."""
    return t is given or (t.node is not None and given.node is not None and t.node.op is given.node.op)


def _as_plans_run_it(graph: Graph) -> Graph:
    made = fused(graph, find_instruction)
    for node in made.nodes:
        check_op(node.op, [t.shape for t in node.inputs], tuple(node.params), tuple(node.buffers))
    return made


class _TrainingRun:
    """One call of ``train``: runs the loop, and goes back to the last good mini-batch when one goes wrong.

    Nothing is saved from step to step. Training is deterministic, so that going back is: start again from what was
    saved at the beginning, and stop one mini-batch earlier. A function of the user's may give something else each time:
    where the losses do not come out the same, what was saved is what is left (`undone`).

    A light run saves no parameters: its gradients are looked at before they are used, and as long as they, and the
    learning rates, are so small that no parameter can be spoilt, a bad mini-batch has changed nothing. From one with
    larger gradients on, it is as any other.
    """

    def __init__(self, memory: Memory, plan: Plan, update: Update, order: Array | None, n_rows: int, batch_size: int,
                 rates: Array, losses: Array, checked: bool, light: bool, share: Share | None,
                 tally: Array | None) -> None:
        self._memory, self._plan, self._update = memory, plan, update
        self._order, self._n_rows, self._batch_size = order, n_rows, batch_size
        self._rates, self._losses, self._checked, self._share, self._tally = rates, losses, checked, share, tally
        self._light = light and float(rates.max(initial=0)) <= _tame_rate(update)
        self._first = self._done = self._counted = 0
        self.undone = False

    def to_end(self, on_progress: Progress | None) -> tuple[int, str] | None:
        """Run; return None, or the number of the bad mini-batch and the parameter that it spoilt, if any."""
        saved = self._save(heavy=not self._light)
        status = self._run(len(self._rates), on_progress, _TAME_GRADIENT[self._memory.dtype] if self._light else inf)
        if status == Status.ERROR_GRADIENT and self._light:
            self._restore(saved)
            self._first, self._light = self._done, False
            self._count()
            saved = self._save(heavy=True)
            status = self._run(len(self._rates), on_progress, inf)
        bad = None
        if status != Status.OK:
            bad = self._done, bad_parameter(self._memory) if status == Status.ERROR_PARAMETER else ""
            if self._light:
                self._restore(saved)
            else:
                self.undone = not self._repeat(saved, bad[0])
        self._count()
        return bad

    def _repeat(self, saved: list[tuple[Array, Array]], stop: int) -> bool:
        """Go back to what was saved, and take the steps up to one again; return whether they came out the same."""
        losses = self._losses[:stop].copy()
        self._restore(saved)
        if self._run(stop, None, inf) == Status.OK and np.array_equal(losses, self._losses[:stop]):
            return True
        self._restore(saved)
        self._done = self._first
        return False

    def _run(self, stop: int, on_progress: Progress | None, limit: float) -> int:
        if self._share is not None:
            self._share.ranks.give(self._memory.params.flat)
        self._plan.begin(self._update, self._order, self._n_rows, self._batch_size, self._rates, self._losses,
                         self._checked, self._share, self._tally, self._first)
        self._done = self._first
        status: int = Status.PAUSED
        try:
            while status == Status.PAUSED:
                # signal handlers, such as Ctrl-C's, run between two calls
                status, self._done = self._plan.advance(stop, 0.05, limit)
                if status == Status.ERROR_STEP and self._share is not None:
                    self._share.ranks.hear()
                if on_progress is not None and status in (Status.OK, Status.PAUSED):
                    on_progress(self._done)
        except BaseException:
            self._done = self._plan.position
            self._count()
            raise
        finally:
            self._plan.end()
        return status

    def _count(self) -> None:
        """Count the steps since the first one."""
        self._update.step += self._done - self._counted
        self._memory.step += self._done - self._counted
        self._counted = self._done

    def _save(self, heavy: bool) -> list[tuple[Array, Array]]:
        arrays = [self._memory.buffers.flat, *([self._memory.params.flat, *self._update.state] if heavy else [])]
        return [(a, a.copy()) for a in arrays]

    def _restore(self, saved: list[tuple[Array, Array]]) -> None:
        for array, values in saved:
            array[...] = values
        self._plan.run("prepare", 0, True)


def bad_parameter(memory: Memory) -> str:
    """Return what an update spoilt."""
    return next((f"{n} after the update" for n, p in memory.params.items() if not np.isfinite(p).all()), "")


def _tame_rate(update: Update) -> float:
    """Return the largest learning rate with which a step need not be undone; -1 if there is none."""
    if getattr(update.optimizer, "eps", 1.0) < _TAME_EPS:
        return -1.0
    decay = max((s.weight_decay for s in update.segments), default=0.0)
    if decay > 1:  # times a parameter it may be infinite, whatever the rate
        return -1.0
    rate = max((s.rate for s in update.segments), default=1.0)
    return min(_TAME_RATE, _TAME_DECAY / decay if decay else _TAME_RATE) / max(rate, 1.0)


def _labels_of(loss: Loss, tensor: Tensor, target: Array) -> range | None:
    """Return what labels may be, if targets are labels.

    Targets that a class of the user's own made, and that the C twin would read past the end of, are refused.
    """
    shape, labels = loss.native_target(tensor.shape, target)
    if target.shape[1:] != shape or (target.dtype.kind == "i") != (labels is not None):
        raise ValueError(f"{loss}: targets() gave an array of shape {target.shape} and dtype {target.dtype}; expected "
                         f"{(len(target), *shape)} {'integers' if labels is not None else 'real numbers'}")
    return labels


@contextmanager
def _fed(plan: Plan, sources: Sequence[Array], keep: bool = False) -> Iterator[None]:
    """Feed a plan, and let go of the arrays when it has run, unless it is to keep them until the next are fed.

    The entries of sparse rows stay where they are, and going back reads them again.
    """
    plan.feed(sources)
    try:
        yield
    finally:
        if not keep:
            plan.release()


def _sources(data: Data) -> list[Array]:
    return [*data.inputs, *data.targets, *([] if data.sample_weight is None else [data.sample_weight])]


def _programs(low: Lowering, pieces: Sequence[Piece]) -> dict[str, list[PlanStep]]:
    """The programs of a lowered graph, by what it is for."""
    s = low.purpose
    if not s.losses:
        if not s.backward:
            return {"forward": low.constants + low.forward}
        return {"forward": low.forward, "again": low.again, "prepare": low.prepare,
                "backward": low.backward + low.gradients, "update": low.applied}
    run = low.first + low.forward + low.loss
    if not s.backward:
        return {"run": low.constants + run}
    run, late = run + low.backward, low.gradients
    parts = {"rows": run} | {f"gradients {i}": piece.steps for i, piece in enumerate(pieces)} if s.shared else {}
    if not s.updates:
        run, late = run + late, []
    # finish_last is for a mini-batch after which "prepare" runs before anything else does
    programs = {"prepare": low.prepare, "run": run, "finish": late + low.updates + low.refresh(),
                "finish_last": late + low.updates}
    return programs if s.updates else programs | {"update": low.applied, "refresh": low.refresh()} | parts
