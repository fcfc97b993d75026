"""A second device for machines without one: tensors on "cpu:1" refuse to be mixed with tensors on "cpu".

They hold ordinary tensors, so that results are those of the CPU, bit for bit. `with TwoDevices():` makes
them.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HERE, THERE = torch.device("cpu"), torch.device("cpu", 1)
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
LOOK_UPS = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)


class OnThere(Tensor):
    """A tensor that says it is on `THERE`, around one that holds its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnThere":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=THERE,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.to(HERE).tolist()

    def __repr__(self) -> str:
        return f"OnThere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run_on_one_device(func, args, kwargs or {})


def here(value: Any) -> Any:
    return value.held if isinstance(value, OnThere) else value


def there(value: Any) -> Any:
    return OnThere(value) if isinstance(value, Tensor) and not isinstance(value, OnThere) else value


def run_on_one_device(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operator on the device of its tensors.

    As on GPUs, scalars and empty tensors may be anywhere, and so may what looks columns up on "cpu".
    """
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    foreign = any(isinstance(leaf, OnThere) for leaf in leaves)
    if func in LOOK_UPS and isinstance(args[0], OnThere):
        leaves = [leaf for leaf in leaves if leaf.dtype not in (torch.bool, torch.int64)]
    local = any(leaf.dim() and leaf.numel() and not isinstance(leaf, OnThere) for leaf in leaves)
    if foreign and local and func not in MOVES:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cpu and cpu:1: {func}")
    target = kwargs.get("device")
    plain, named = tree_map(here, args), tree_map(here, kwargs)
    if target is not None:
        named["device"] = HERE
    out = func(*plain, **named)
    if func._schema.is_mutable and out is plain[0]:
        return args[0]
    return tree_map(there, out) if (foreign if target is None else target == THERE) else out


class OneDeviceEach(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run_on_one_device(func, args, kwargs or {})


class TensorsFromLists(TorchFunctionMode):
    """`torch.tensor` reads its list on the CPU and reaches no dispatch mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") == THERE:
            return func(*args, **kwargs | {"device": HERE}).to(THERE)
        return func(*args, **kwargs)


class TwoDevices(ExitStack):
    """While it is entered, `THERE` is a device."""

    def __enter__(self) -> "TwoDevices":
        self.enter_context(TensorsFromLists())
        self.enter_context(OneDeviceEach())
        return super().__enter__()


def put_there(model: Any, *away: nn.Module) -> None:
    """Puts some modules on `THERE`; the arguments of each block then follow it, as accelerate has it."""
    gone = {part for whole in away for part in whole.modules()}
    blocks = {model, *model.get_decoder().layers, *away}

    def follow(forward: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        @functools.wraps(forward)
        def followed(*args: Any, **kwargs: Any) -> Any:
            return forward(*tree_map(move, args), **tree_map(move, kwargs))

        return followed

    for module in model.modules():
        device = THERE if module in gone else HERE
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(weight.data.to(device), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
        if module in blocks or module._parameters or module._buffers:
            module.forward = follow(module.forward, device)
