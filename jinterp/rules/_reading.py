"""What kind of operation each equation of a program is, for rules that go through them backward."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jinterp.model.layers import names
from jinterp.model.program import Atom, Program, Step, variables
from jinterp.rules._product import Product, dims_of, tail_link

Kind = Literal[
    "product", "movement", "linear", "curve", "bilinear", "maximum", "detached", "unknown"
]
"""What a rule has to know of an operation.

product: a dense layer or a convolution, with the constants that scale and shift its units.
movement: every value of the result is one of those given, or a constant.
linear: linear in everything that is given, or affine.
curve: a function of one value, element by element.
bilinear: the product or the quotient of two values that both depend on the inputs.
maximum: the largest or the smallest of some values.
detached: what the model takes as a constant.
unknown: anything else.
"""

_MOVEMENTS = {
    "broadcast_in_dim",
    "concatenate",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "optimization_barrier",
    "pad",
    "reshape",
    "reshard",
    "rev",
    "scatter",
    "select_n",
    "sharding_constraint",
    "slice",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "unstack",
}
_SUMS = {"cumsum", "reduce_sum", "reduce_window_sum", "scatter-add"}
_AFFINE = {"add", "add_any", "convert_element_type", "copy", "neg", "reduce_precision", "sub"}
_SCALINGS = {"div", "mul"}
_MAXIMA = {"cummax", "cummin", "max", "min", "reduce_max", "reduce_min", "reduce_window_max"}
_PRODUCTS = {"conv_general_dilated": "convolution", "dot_general": "dense"}
_ELEMENTWISE = {
    *_AFFINE,
    *("abs", "acos", "acosh", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil"),
    *("clamp", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2"),
    *("expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p"),
    *("logistic", "lt", "max", "min", "mul", "ne", "not", "or", "pow", "rem", "round", "rsqrt"),
    *("select_n", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "xor"),
}
_POSITIVE = {"abs", "erfc", "exp", "exp2", "logistic", "rsqrt", "sqrt", "square"}
_KEEPS_ZERO = {"broadcast_in_dim", "convert_element_type", "copy", "reshape"}
_ABOVE = {"gt": (1, 0), "ge": (1, 0), "lt": (0, 1), "le": (0, 1)}  # the lower side, and the higher
_KEEPS_SIGN = {"clamp", "erf", "min", "mul", "tanh"}
# How much a factor looks like a gate, which only weighs the other: one that is positive more than
# one that is cut on both sides.
_GATES = {"erfc": 2, "exp": 2, "exp2": 2, "logistic": 2, "rsqrt": 2}
_GATES |= {"clamp": 1, "erf": 1, "min": 1, "tanh": 1}


class Node(NamedTuple):
    """One operation on values that depend on the inputs.

    Attributes:
        kind: of it.
        inputs: the values of floats; one that is given twice stands here twice.
        outputs: its results.
        equations: that compute them.
        step: the one it is known by, with the scopes it was made in.
        product: what a product multiplies by.
        gate: which of two factors only weighs the other; None where neither looks like it.
        layer: the innermost layer, "" for none.
        is_first: whether it is given the inputs themselves, at most moved or recast.
        selects: whether it is also given indices or conditions that depend on the inputs.
        is_rectifier: whether it is max(v, 0), in whatever words, or that cut once more.
    """

    kind: Kind
    inputs: tuple[Atom, ...]
    outputs: tuple[Atom, ...]
    equations: tuple[Any, ...]
    step: Step
    product: Product | None = None
    gate: int | None = None
    layer: str = ""
    is_first: bool = False
    selects: bool = False
    is_rectifier: bool = False

    @property
    def name(self) -> str:
        return self.step.eqn.primitive.name

    @property
    def is_by_element(self) -> bool:
        """Whether every value is scaled or shifted by itself, without others."""
        shapes = {v.aval.shape for v in (*self.inputs, *self.outputs)}
        return self.name in _AFFINE | _SCALINGS and len(self.inputs) == len(shapes) == 1


class Reading:
    """What is known of the values of a program while it is read from its inputs on.

    Attributes:
        depends: the values that depend on the inputs.
        roots: for each the values that it is a function of alone, element by element.
        recast: those that hold the inputs, moved, scaled or shifted.
        nonnegative: those that have no negative element.
        gates: how much each looks like a gate.
    """

    def __init__(self, program: Program, inputs: Sequence[Atom]):
        self.program, self.names = program, names(program)
        self.steps = {v: step for step in program.steps for v in step.eqn.outvars}
        self.readers: dict[Atom, list[Any]] = {v: [None] for v in variables(program.outputs)}
        for step in program.steps:
            for v in variables(step.eqn.invars):
                self.readers.setdefault(v, []).append(step.eqn)
        self.order = {id(step.eqn): number for number, step in enumerate(program.steps)}
        self.depends, self.recast = set(inputs), set(inputs)
        for step in program.steps:
            if not self.depends.isdisjoint(variables(step.eqn.invars)):
                self.depends.update(step.eqn.outvars)
        self.roots = {v: (v,) for v in inputs}
        self.nonnegative: set[Atom] = set()
        self.gates = dict.fromkeys(inputs, 0)
        self.in_tails: set[int] = set()

    def nodes(self) -> list[Node]:
        found = [self.node(step) for step in self.program.steps]
        return [node for node in found if node is not None]

    def node(self, step: Step) -> Node | None:
        """The operation that an equation begins; None where no gradient would pass through."""
        eqn = step.eqn
        given = [v for v in variables(eqn.invars) if v in self.depends]
        if not given or id(eqn) in self.in_tails:
            return None
        floats = tuple(v for v in given if _is_float(v))
        root = self.root(eqn, given)
        made = tuple(v for v in eqn.outvars if _is_float(v))
        self.gates.update(dict.fromkeys(eqn.outvars, 2))
        if not floats or not made:
            return None
        kind = self.kind(eqn, floats, root)
        selects = len(floats) < len(given)
        node = Node(kind, floats, made, (eqn,), step, selects=selects)
        if kind == "curve":
            equations = self.between(root, eqn)
            is_rectifier = self.is_rectifier(root, equations)
            node = node._replace(inputs=(root,), equations=equations, is_rectifier=is_rectifier)
        if kind == "bilinear":
            node = node._replace(gate=self.gate(eqn, floats))
        if kind == "product":
            node = self.with_tail(node)
        is_first = all(v in self.recast for v in floats)
        if is_first and kind in ("movement", "linear") and node.name not in _SUMS:
            self.recast.update(node.outputs)
        self.note(node, floats)
        return node._replace(layer=self.names.get(step.scopes, ""), is_first=is_first)

    def root(self, eqn: Any, given: Sequence[Atom]) -> Atom | None:
        """The nearest value of which the result is a function alone, element by element."""
        (*_, out) = eqn.outvars
        shapes = {v.aval.shape for v in (*given, out)}
        common: tuple[Atom, ...] = ()
        if eqn.primitive.name in _ELEMENTWISE and len(shapes) == 1:
            first, *others = (self.roots[v] for v in given)
            common = tuple(v for v in first if all(v in each for each in others))
        self.roots.update({v: (*common, v) for v in eqn.outvars})
        return next((v for v in reversed(common) if _is_float(v)), None)

    def kind(self, eqn: Any, floats: Sequence[Atom], root: Atom | None) -> Kind:
        name = eqn.primitive.name
        if any(map(_is_complex, (*floats, *eqn.outvars))):
            return "unknown"
        if name in _PRODUCTS and len(floats) == 2:
            return "bilinear"
        if name in _PRODUCTS:
            position = 0 if eqn.invars[0] is floats[0] else 1
            return "linear" if dims_of(eqn, position) is None else "product"
        is_scaled = len(floats) == 1 and eqn.invars[1:] != list(floats)
        if name in _AFFINE | _SUMS or (name == "mul" and len(floats) == 1):
            return "linear"
        if name == "div" and is_scaled:
            return "linear"
        if root is not None and (name != "select_n" or eqn.invars[0] in self.depends):
            return "curve"
        if name in _MOVEMENTS:
            return "movement"
        if name in ("mul", "div") and len(floats) == 2:
            return "bilinear"
        if name in _MAXIMA:
            return "maximum"
        return "detached" if name == "stop_gradient" else "unknown"

    def between(self, root: Atom, eqn: Any) -> tuple[Any, ...]:
        """The equations that make a value of the root, in order."""
        found, open_ = {id(eqn): eqn}, [eqn]
        while open_:
            for v in variables(open_.pop().invars):
                if v is not root and v in self.depends:
                    before = self.steps[v].eqn
                    if id(before) not in found:
                        found[id(before)] = before
                        open_.append(before)
        return tuple(sorted(found.values(), key=lambda each: self.order[id(each)]))

    def is_rectifier(self, root: Any, equations: Sequence[Any]) -> bool:
        """Whether the curve is max(v, 0), clamp(0, v, …) or where(v > 0, v, 0)."""
        *before, last = equations
        name, given = last.primitive.name, last.invars
        if name == "select_n" and len(before) == 1 and before[0].primitive.name in _ABOVE:
            low, high = (before[0].invars[n] for n in _ABOVE[before[0].primitive.name])
            if_not, if_so = given[1:]
            if root is low:  # v < 0
                low, if_not, if_so = high, if_so, if_not
            return if_so is root and self.is_zero(low) and self.is_zero(if_not)
        if before:
            return False
        if name == "clamp":
            return given[1] is root and self.is_zero(given[0])
        return name == "max" and any(map(self.is_zero, given))

    def is_zero(self, atom: Atom) -> bool:
        """Whether it is known to be 0."""
        if isinstance(atom, jex.Literal):
            return bool(np.all(np.asarray(atom.val) == 0))
        if atom in self.program.constants:
            held = self.program.constants[atom]
            return not isinstance(held, jax.core.Tracer) and bool(np.all(np.asarray(held) == 0))
        step = self.steps.get(atom)
        if step is None or step.eqn.primitive.name not in _KEEPS_ZERO:
            return False
        return self.is_zero(step.eqn.invars[0])

    def gate(self, eqn: Any, floats: Sequence[Atom]) -> int | None:
        """The divisor, or the factor that looks more like a gate than the other."""
        if eqn.primitive.name == "div":
            return len(floats) - 1
        a, b = (self.gates[v] for v in floats)
        return None if a == b else int(b > a)

    def with_tail(self, node: Node) -> Node:
        """The product with what follows it unit by unit, as long as nothing else reads it."""
        eqn = node.equations[0]
        (value,), position = node.inputs, 0 if eqn.invars[0] is node.inputs[0] else 1
        dims = dims_of(eqn, position)
        assert dims is not None
        tail, equations, last = [], [eqn], eqn.outvars[0]
        while (reader := self.only_reader(last)) is not None:
            link = tail_link(reader, last, dims, self.steps)
            if link is None:
                break
            tail.append(link)
            equations.append(reader)
            (last,) = reader.outvars
            self.in_tails.add(id(reader))
        self.roots[last] = (last,)
        product = Product(
            _PRODUCTS[eqn.primitive.name],
            eqn,
            position,
            eqn.invars[1 - position],
            dims,
            tuple(tail),
            value in self.nonnegative,
        )
        return node._replace(outputs=(last,), equations=tuple(equations), product=product)

    def only_reader(self, value: Atom) -> Any:
        """The one equation that reads a value, if it reads nothing else that depends on x."""
        readers = self.readers.get(value, [])
        if len(readers) != 1 or readers[0] is None:
            return None
        (reader,) = readers
        others = [v for v in variables(reader.invars) if v is not value]
        return None if any(v in self.depends for v in others) else reader

    def note(self, node: Node, floats: Sequence[Atom]) -> None:
        """What is known of the results."""
        least = min(self.gates[v] for v in floats)
        if node.kind == "product":
            least = 0
        elif node.kind == "curve" and len(node.equations) == 1:
            least = _GATES.get(node.name, least)
        self.gates.update(dict.fromkeys(node.outputs, least))
        if self.is_nonnegative(node):
            self.nonnegative.update(node.outputs)

    def is_nonnegative(self, node: Node) -> bool:
        eqn = node.equations[-1]
        known = [
            _is_nonnegative(v) if isinstance(v, jex.Literal) else v in self.nonnegative
            for v in eqn.invars
        ]
        if node.kind == "curve":
            name = eqn.primitive.name
            is_even = name == "integer_pow" and eqn.params["y"] % 2 == 0
            if name == "max":
                return any(known)
            return name in _POSITIVE or is_even or (name in _KEEPS_SIGN and all(known))
        if node.kind in ("movement", "maximum"):
            return all(k for k, v in zip(known, eqn.invars, strict=True) if _is_float(v))
        return node.kind == "linear" and node.name not in ("sub", "neg") and all(known)


def _is_float(atom: Atom) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.inexact)


def _is_complex(atom: Atom) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.complexfloating)


def _is_nonnegative(literal: Any) -> bool:
    return bool(np.all(np.asarray(literal.val) >= 0))
