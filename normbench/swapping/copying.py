"""Copies of networks, also of those that Python alone cannot copy; layers replaced wherever they are referred to."""

import copy
import weakref
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

from normbench.swapping.kinds import used_in_forward
from normbench.words import reason

HOLDERS = (nn.Module, list, tuple, dict)  # class attributes that may be or hold layers
INNER = ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set")  # what PyTorch itself keeps
OPAQUE = (Tensor, str, bytes, int, float, type(None), type, ModuleType, BuiltinFunctionType, torch.dtype, torch.device)


def copied(net: nn.Module) -> nn.Module:
    """Copy a network, also one that keeps activations or computed weights, which Python alone cannot copy.

    Raises ValueError, which names the attribute, if it cannot be copied.
    """
    memo: dict[int, Any] = {}
    for layer in net.modules():
        for value in _values(vars(layer)):
            if isinstance(value, UninitializedBuffer):
                fresh: Any = UninitializedBuffer  # which deepcopy refuses, too
                memo[id(value)] = fresh(device=value.device, dtype=value.dtype)
            elif isinstance(value, ModuleType):
                memo[id(value)] = value  # as of `self.F = torch.nn.functional`
            elif isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # deepcopy would refuse it, for its history
    try:
        return copy.deepcopy(net, memo)
    except Exception as error:  # a layer of a user's own can raise anything
        where = _what_cannot_be_copied(net, memo)
        raise ValueError(f"{type(net).__name__} cannot be copied{where}: {reason(error)}") from error


def _what_cannot_be_copied(net: nn.Module, memo: dict[int, Any]) -> str:
    for path, layer in net.named_modules():
        for name, value in vars(layer).items():
            if name in INNER:
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                of = f"layer {path!r}" if path else "the network"
                return f", for attribute {name!r} of {of} ({type(value).__name__}); remove it before the swap"
    return ""


def _values(value: Any, deep: int = 6, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield what a value holds: the value, parts of lists, dicts and objects, and their parts; not layers' insides."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if deep:
        for part in _parts(value):
            yield from _values(part, deep - 1, seen)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, (*OPAQUE, nn.Module)):
        return []
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype == object else []
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        return [*(c.cell_contents for c in cells if _is_filled(c)), *(value.__defaults__ or ())]
    return list(_attributes(value).values())


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in `__slots__` too."""
    slots = [name for cls in type(value).__mro__ for name in _names(vars(cls).get("__slots__", ()))]
    return getattr(value, "__dict__", {}) | {name: getattr(value, name) for name in slots if hasattr(value, name)}


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else [name for name in slots if not name.startswith("__")]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def replace_layers(net: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put new layers where the old ones are referred to: as children, and in lists, dicts, … that layers keep."""
    if net in new:
        return new[net]
    seen: set[int] = set()
    for parent in list(net.modules()):
        for name, child in parent._modules.items():
            if child in new:
                parent._modules[name] = new[child]
        for name, value in list(vars(parent).items()):
            if name not in INNER:
                vars(parent)[name] = _renewed(value, new, seen)
    return net


def _renewed(value: Any, new: dict[nn.Module, nn.Module], seen: set[int]) -> Any:
    """The value with the new layers in it: lists, dicts and objects are changed, others made anew."""
    if isinstance(value, nn.Module):
        return new.get(value, value)
    if isinstance(value, (*OPAQUE, FunctionType)) or id(value) in seen:
        return value
    if isinstance(value, MethodType):
        owner = _renewed(value.__self__, new, seen)
        return value if owner is value.__self__ else getattr(owner, value.__name__)
    if isinstance(value, (tuple, set, frozenset)):
        parts = [_renewed(part, new, seen) for part in value]
        if all(a is b for a, b in zip(parts, value)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, partial):
        arguments = {name: _renewed(part, new, seen) for name, part in value.keywords.items()}
        return partial(_renewed(value.func, new, seen), *_renewed(value.args, new, seen), **arguments)
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            value[...] = np.frompyfunc(partial(_renewed, new=new, seen=seen), 1, 1)(value)
        return value
    if isinstance(value, (list, deque)):
        for index, part in enumerate(value):
            value[index] = _renewed(part, new, seen)
    is_dict = isinstance(value, dict)
    for key, part in list(value.items() if is_dict else _attributes(value).items()):
        if (renewed := _renewed(part, new, seen)) is part:
            continue
        if is_dict:
            value[key] = renewed
        else:
            object.__setattr__(value, key, renewed)
    return value


def out_of_reach(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Find layers that `net` may call but that are none of its own, in plain lists or held by a function; where."""
    own = set(net.modules())
    for path, layer in net.named_modules():
        of_classes = {k: v for cls in type(layer).__mro__ if _is_of_a_user(cls) for k, v in vars(cls).items()}
        for name, value in (vars(layer) | {k: v for k, v in of_classes.items() if isinstance(v, HOLDERS)}).items():
            if name in INNER:
                continue
            for found in _values(value):
                if isinstance(found, nn.Module) and found not in own:
                    yield (f"{path}.{name}" if path else name), found
        kind: Any = type(layer)  # mypy takes no class for hashable
        for found in used_in_forward(kind):
            if isinstance(found, nn.Module) and found not in own:
                yield path, found


def _is_of_a_user(cls: type) -> bool:
    return not cls.__module__.startswith(("torch.", "builtins", "normbench."))
