"""The operators of Quire on NumPy and DLPack arrays: one function each.

Every function also takes `implementation`, the name of one of implementations(operator), and
`context`, a Context to run on; without it, it runs on this module's own, with one thread per core.
"""

import functools

from quire_llm import _ops
from quire_llm._ops import (
    Context,
    PackedWeight,
    SampledToken,
    SamplingParams,
    implementations,
)

_context = Context()


def sampling_params(**fields):
    """SamplingParams with these fields set."""
    params = SamplingParams()
    for name, value in fields.items():
        setattr(params, name, value)
    return params


def _on_a_context(function):
    @functools.wraps(function)
    def call(*arguments, context=None, **named):
        return function(*arguments, context=context or _context, **named)

    return call


_functions = [*_ops.operators(), "pack_weight"]
for _name in _functions:
    globals()[_name] = _on_a_context(getattr(_ops, _name))

__all__ = [
    "Context",
    "PackedWeight",
    "SampledToken",
    "SamplingParams",
    "implementations",
    "sampling_params",
    *_functions,
]
