"""Which parts go together."""

from __future__ import annotations

from typing import Any

from probseq.part import Part, attends, require


def fresh_part(part: Any, kind: str) -> Any:
    """An unbuilt copy of a part of this kind.

    Raises:
        TypeError: something else.
    """
    got = getattr(part, "kind", type(part).__name__)
    if not isinstance(part, Part) or got != kind:
        shown = part.describe() if isinstance(part, Part) else repr(part)
        raise TypeError(f"{kind}= takes a part of kind {kind}; got {shown}, of kind {got}.")
    return part.fresh()


def check_parts(element: Any, recurrence: Any, likelihood: Any, stop: Any, context: Any, scaling: Any) -> None:
    """Refuse parts that cannot be joined.

    Raises:
        ValueError: what does not go together, why, and what does.
    """
    aligned = context is not None and context.aligned
    sources = [member for member in getattr(context, "members", (context,)) if getattr(member, "source_width", 0)]
    require(
        not attends(recurrence) or len(sources) == 1,
        f"{recurrence.describe()} attends to one source, but the model's context has {len(sources)}. Give it one "
        "Source(reads, encoder).",
    )
    longest = getattr(recurrence, "max_length", None)
    require(
        not hasattr(element, "members") or _is_product(likelihood),
        f"{element!r} has a law for each member: Product((…, …)); got {likelihood.describe()}.",
    )
    require(
        not stop.symbols or likelihood.takes_symbols,
        f"{stop.describe()} adds a symbol to the alphabet and needs Categorical(); got {likelihood.describe()}. Use "
        "BernoulliStop(), LengthStop(n) or FixedLength(n).",
    )
    copied, size = getattr(recurrence, "copies", None), getattr(element, "size", None)
    require(
        not getattr(likelihood, "takes_copies", False) or size is None or copied == size,
        f"{likelihood.describe()} copies symbols by weights that stand last among the features, one for each of {size} "
        f"symbols; {recurrence.describe()} gives {copied or 'none'}. Use Attentive(…, copies={size}), on top if it is "
        "in a Stack.",
    )
    timed, clocked = getattr(stop, "timed", False), getattr(recurrence, "clocked", False)
    require(
        not timed or clocked,
        f"{stop.describe()} asks how much time has passed; got {recurrence.describe()}. Use Clock({recurrence!r}).",
    )
    require(
        not timed or getattr(likelihood, "timed", False),
        f"{stop.describe()} asks P(no event until the end), which {likelihood.describe()} does not know. Use "
        "Waiting(), or Product((Waiting(), …)).",
    )
    first = getattr(element, "members", (element,))[0]
    require(
        not (timed or clocked) or (first.shape == (1,) and first.width == 1),
        f"a Clock adds up times that are read back in before all else; got {element!r}. Use Reals(1), or "
        "Record((Reals(1), …)).",
    )
    require(
        aligned or not stop.aligned,
        f"{stop.describe()} ends y where x does, and needs an x that goes along with it: context=Aligned(…).",
    )
    require(
        not (aligned and stop.plans),
        f"{stop.describe()} draws a length, but the aligned x has one already. Use AlignedLength().",
    )
    require(
        longest is None or stop.aligned or (stop.max_length is not None and stop.max_length <= longest),
        f"{recurrence.describe()} reads {longest} elements at most, but {stop.describe()} allows "
        f"{'any number' if stop.max_length is None else stop.max_length}. Use FixedLength({longest}).",
    )
    _check_scale(element, context, scaling)


def _check_scale(element: Any, context: Any, scaling: Any) -> None:
    known = 0 if context is None else getattr(context, "scale_width", 0)
    uses = scaling is not None and scaling.per_series
    dim = element.shape[0] if element.shape else 1
    require(
        known == (dim if uses else 0),
        f"PerSeries() and one SeriesScale({dim}), among the contexts, go together; got scaling={scaling!r} and "
        f"{known} scales in the context.",
    )


def check_widths(recurrence: Any, inputs: int, state: int, carried: int) -> None:
    """Refuse a recurrence with nothing to read, and one without memory where x is to enter as initial state.

    Raises:
        ValueError: either of them.
    """
    require(
        inputs > 0,
        f"{recurrence.describe()} has nothing to read: with feedback=False on the element, something else must enter "
        "each step. Give a context such as Aligned(…) or Vector(d, enters='input').",
    )
    require(
        not state or carried > 0,
        f"{recurrence.describe()} carries no state that x could set. Let the context enter with enters='input'.",
    )


def _is_product(likelihood: Any) -> bool:
    """Whether it is a product of laws, or a law made of such."""
    inner = getattr(likelihood, "likelihood", None)
    return hasattr(likelihood, "likelihoods") if inner is None else _is_product(inner)
