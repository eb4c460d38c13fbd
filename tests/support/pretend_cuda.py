"""Pretend a CUDA device: code runs as if on one, in host memory.

Every storage is recorded as the host's or the device's. A function mode answers `.device` by this record and catches
copies and factories. A dispatch mode receives every operation, those of autograd too. They record, with the product's
line:

    mixed      an operation on tensors of both sides, a generator of the other side, numpy() of a device tensor
    wait       the host waits for the device: it copies, reads a value, or needs a shape that depends on values
    unstable   an operation that has no deterministic kernel on CUDA
    captured   a wait, a copy from the host or a random draw while a graph is recorded

A graph is the list of its operations, replayed into the tensors of the recording: one that no longer reads what the
code reads gives another result.

This cannot show numbers of CUDA's kernels, cuDNN, NCCL, the order of streams, memory. Autocast uses the CPU's lists.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import jaxtyping
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from cure.nn import order_statistics
from tests.support import cudnn
from tests.support.project import ROOT

HOST, DEVICE = "host", "device"
SIDES = {HOST: torch.device("cpu"), DEVICE: torch.device("cuda", 0)}
OURS = tuple(str(ROOT / folder) for folder in ("cure", "stages", "tests/cuda"))
T = torch.Tensor

WAITS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "bincount", "histc"}
WAITS |= {"_unique2", "unique_dim", "unique_consecutive"}
RANDOM = {"uniform_", "normal_", "bernoulli_", "random_", "rand", "randn", "randint", "randperm", "rand_like"}
RANDOM |= {"randn_like", "multinomial", "poisson", "dropout", "native_dropout"}
UNSTABLE = {"kthvalue", "median", "histc", "put_", "scatter_reduce", "max_unpool2d", "ctc_loss"}
UNSTABLE |= {"nll_loss2d_forward", "nll_loss2d_backward", "grid_sampler_2d_backward", "reflection_pad2d_backward"}
UNSTABLE |= {"adaptive_avg_pool2d_backward", "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward"}
UNSTABLE |= {"upsample_bilinear2d_backward", "upsample_bicubic2d_backward"}
COPIES = {"copy_", "_to_copy", "_foreach_copy_", "set_"}
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index"}
ALL_ON_ONE_SIDE = {"cat", "stack", "index_select", "gather", "scatter", "mm", "addmm", "convolution"}
FROM_PYTHON = {torch.from_numpy, torch.tensor, torch.as_tensor, torch.frombuffer, torch.asarray}
GET_DEVICE, GET_IS_CUDA, GET_IS_CPU = T.device.__get__, T.is_cuda.__get__, T.is_cpu.__get__


class Event(NamedTuple):
    """An event, and the line of the product that caused it."""

    kind: str
    what: str
    line: str


class Record:
    """The storages of the device, and the events on it."""

    def __init__(self) -> None:
        self.sides: dict[int, str] = {}
        self.events: Counter[Event] = Counter()
        self.operations = self.views = self.captures = self.replays = 0
        self.silent = False
        self.thread = threading.get_ident()  # another thread may wait
        self.capture: list[Any] | None = None  # operations of the graph that is being recorded
        self.named: str | None = None  # the side that the present factory was given
        self.around: str | None = None  # the side of the arguments of the present call

    def side(self, t: T) -> str:
        return self.sides.get(t.untyped_storage()._cdata, HOST)

    def put(self, t: T, side: str) -> None:
        self.sides[t.untyped_storage()._cdata] = side

    def note(self, kind: str, what: str) -> None:
        if not self.silent and threading.get_ident() == self.thread:
            self.events[Event(kind, what, line())] += 1

    def wait(self, what: str) -> None:
        self.note("wait", what)
        if self.capture is not None:
            self.note("captured", what)

    @contextmanager
    def seen(self) -> Iterator[Counter[Event]]:
        """Yield the events of a block, filled in at its end."""
        before, found = self.events.copy(), Counter[Event]()
        yield found
        found.update(self.events - before)


def line() -> str:
    """Return the innermost running line of the product."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            return f"{frame.f_code.co_filename.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def side_of(device: Any) -> str | None:
    """Return the side that an argument `device` names; None if it names no device."""
    if isinstance(device, int) and not isinstance(device, bool):
        return DEVICE
    if isinstance(device, str | torch.device):
        return DEVICE if str(device).startswith("cuda") else HOST
    return None


def tensors(*trees: Any) -> list[T]:
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, T)]


class Functions(TorchFunctionMode):
    """Answers for devices, and records copies and factories."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        record, kwargs = self.record, dict(kwargs or {})
        if func == GET_DEVICE:
            return SIDES[record.side(args[0])]
        if func in (GET_IS_CUDA, GET_IS_CPU):
            return record.side(args[0]) == (DEVICE if func == GET_IS_CUDA else HOST)
        if func in (T.numpy, T.__array__) and record.side(args[0]) == DEVICE:
            record.note("mixed", "numpy() of a device tensor")
        if func is T.tolist and record.side(args[0]) == DEVICE:  # it reads without an operation
            record.wait("tolist")
        if func in (T.to, T.cpu, T.cuda):
            return self._to(func, list(args), kwargs)
        if func is T.pin_memory:
            return args[0]
        if func is T.__deepcopy__:  # it fills a storage that is on no side yet
            record.silent = True
            out = func(*args, **kwargs)
            record.silent = False
            record.put(out, record.side(args[0]))
            return out
        named = side_of(kwargs.get("device"))
        if named:
            kwargs["device"] = SIDES[HOST]
        self._check_generator(func, args, kwargs, named)
        outer, record.named = record.named, named
        try:
            out = self._within(func, args, kwargs)
        finally:
            record.named = outer
        if func in FROM_PYTHON:
            for t in tensors(out):
                record.put(t, named or HOST)
            if named == DEVICE:
                record.wait(f"{func.__name__} to the device")
        return out

    def _check_generator(self, func: Any, args: Any, kwargs: Any, named: str | None) -> None:
        if (generator := kwargs.get("generator")) is not None:
            filled = named or next(map(self.record.side, tensors(args)), HOST)
            if getattr(generator, "side", HOST) != filled:
                self.record.note("mixed", f"{func.__name__}: a generator of the other side")

    def _to(self, func: Any, args: list[Any], kwargs: dict[str, Any]) -> T:
        record, t, rest = self.record, args[0], args[1:]
        blocking = not kwargs.pop("non_blocking", len(rest) > 2 and isinstance(rest[2], bool) and rest[2])
        side = {T.cpu: HOST, T.cuda: DEVICE}.get(func) or side_of(kwargs.pop("device", None))
        if func is T.to and rest:
            if isinstance(rest[0], T):
                side, rest[0] = record.side(rest[0]), rest[0].dtype
            elif not isinstance(rest[0], torch.dtype):
                side = side_of(rest.pop(0)) or side
        rest = [value for value in rest if value is not None and not isinstance(value, bool)]
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        out: T = self._within(T.to, (t, *rest), kwargs) if func is T.to and (rest or kwargs) else t
        if side is None or record.side(out) == side:
            return out
        moved = out.clone()  # differentiable, as .to is
        record.put(moved, side)
        if blocking:
            record.wait(f"copy to the {side}")
        return moved

    def _within(self, func: Any, args: Any, kwargs: Any) -> Any:
        record = self.record
        sides = {record.side(t) for t in tensors(args, kwargs)}
        outer, record.around = record.around, DEVICE if DEVICE in sides else HOST
        try:
            return func(*args, **kwargs)
        finally:
            record.around = outer


class Operations(TorchDispatchMode):
    """Receives every operation, gives its outputs a side, and records graphs."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        record, kwargs = self.record, kwargs or {}
        name = func._schema.name.partition("::")[2]
        given = tensors(args, kwargs)
        sides = {record.side(t) for t in given}
        if DEVICE in sides:
            self._check(name, args, kwargs, given, sides)
        out = func(*args, **kwargs)
        known = {t.untyped_storage()._cdata for t in given}
        fresh = [t for t in tensors(out) if t.untyped_storage()._cdata not in known]
        made = DEVICE if DEVICE in sides else (record.named or record.around or HOST) if not given else HOST
        for t in fresh:
            record.put(t, made)
        if made == DEVICE:
            record.operations += 1
            record.views += not fresh and not func._schema.is_mutable
            if record.capture is not None:
                if name in RANDOM:
                    record.note("captured", name)
                record.capture.append((func, args, kwargs, tensors(out), {id(t) for t in fresh}))
        return out

    def _check(self, name: str, args: Any, kwargs: Any, given: list[T], sides: set[str]) -> None:
        record = self.record
        repeats = name == "repeat_interleave" and any(isinstance(value, T) for value in args[1:])
        if name in WAITS or repeats or (name in INDEXING and _by_mask(name, args)):
            record.wait(name)
        if name in UNSTABLE:
            record.note("unstable", name)
        if len(sides) == 1:
            return
        if name in COPIES:
            if not (kwargs.get("non_blocking") or True in args[2:3]):
                record.wait(f"{name} between host and device")
        elif name in INDEXING and record.side(args[0]) == DEVICE:  # indices on the host are allowed and copied
            if name.startswith("index_put") and args[2].ndim and record.side(args[2]) == HOST:
                record.note("mixed", f"{name} of host values")
            if any(record.side(index) == HOST for index in tensors(args[1])):
                record.wait(f"{name} with indices on the host")
        elif name in ALL_ON_ONE_SIDE or any(t.ndim for t in given if record.side(t) == HOST):
            record.note("mixed", f"{name} of {', '.join(f'{record.side(t)} {tuple(t.shape)}' for t in given[:4])}")


def _by_mask(name: str, args: Any) -> bool:
    """Return whether a mask selects as many indices as it has true flags, and not one value for all of these."""
    flags = [index for index in args[1] or () if isinstance(index, T) and index.dtype in (torch.bool, torch.uint8)]
    return bool(flags) and not (name.startswith("index_put") and args[2].numel() == 1 == len(flags))


class Stream:
    """torch.cuda.Stream and torch.cuda.Event: nothing runs later here."""

    def __init__(self, noted: Record) -> None:
        self.noted = noted

    def wait_stream(self, *other: Any) -> None:
        """Do nothing, since other work is done already."""

    wait_event = record_event = record = wait = wait_stream

    def synchronize(self) -> None:
        self.noted.wait("synchronize")

    def query(self) -> bool:
        return True


class Graph:
    """torch.cuda.CUDAGraph."""

    def __init__(self, record: Record) -> None:
        self.record, self.steps = record, list[Any]()

    def replay(self) -> None:
        self.record.replays += 1
        with _disable_current_modes(), torch.no_grad():
            for func, args, kwargs, outs, fresh in self.steps:
                if func._schema.is_mutable or any(id(t) in fresh for t in outs):  # not a view
                    for old, new in zip(outs, tensors(func(*args, **kwargs)), strict=False):
                        if id(old) in fresh:
                            old.detach().copy_(new)


@contextmanager
def pretending() -> Iterator[Record]:
    """Make `cuda` a device inside the block; yield the record of its events."""
    record, from_numpy = Record(), torch.from_numpy
    half, half_type = torch.is_autocast_enabled, torch.get_autocast_dtype
    order_statistics._packing.cache_clear()  # constants on the device of another record

    class Generator(torch._C.Generator):
        side: str

        def __new__(cls, device: Any = "cpu") -> Any:
            made = super().__new__(cls, "cpu")
            made.side = side_of(device) or HOST
            return made

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", *args, **kwargs)

    def array(values: Any) -> T:  # no mode receives it
        out = from_numpy(values)
        record.put(out, HOST)
        return out

    @contextmanager
    def recording(graph: Graph, *args: Any, **kwargs: Any) -> Iterator[None]:
        record.captures, record.capture = record.captures + 1, graph.steps
        try:
            yield
        finally:
            record.capture = None

    def stream(*args: Any, **kwargs: Any) -> Stream:
        return Stream(record)

    def nothing(*args: Any, **kwargs: Any) -> None:
        """Do nothing, for functions without an effect here."""

    own = {"from_numpy": array, "Generator": Generator, "autocast": Autocast} | cudnn.OPERATIONS
    own |= {"is_autocast_enabled": lambda device="cpu": half("cpu")}
    own |= {"get_autocast_dtype": lambda device="cpu": half_type("cpu")}
    cuda = {"is_available": lambda: True, "device_count": lambda: 1, "get_device_name": lambda *args: "pretended"}
    cuda |= {"synchronize": lambda *args: record.wait("synchronize"), "Stream": stream, "current_stream": stream}
    cuda |= {"Event": stream, "stream": lambda stream: nullcontext(), "CUDAGraph": lambda: Graph(record)}
    cuda |= {"graph": recording, "is_current_stream_capturing": lambda: record.capture is not None}
    cuda |= {"max_memory_allocated": lambda *args: 0, "get_rng_state": lambda *args: torch.zeros(1)}
    cuda |= dict.fromkeys(("empty_cache", "reset_peak_memory_stats", "set_rng_state", "manual_seed"), nothing)
    cuda |= dict.fromkeys(("manual_seed_all", "set_device"), nothing) | {"graph_pool_handle": lambda: (0, 0)}
    with ExitStack() as stack:
        for module, names in ((torch, own), (torch.cuda, cuda)):
            for name, value in names.items():
                stack.enter_context(patch.object(module, name, value))
        stack.enter_context(patch.object(torch.cuda.random, "manual_seed", nothing))
        stack.enter_context(patch.object(jaxtyping.config, "jaxtyping_disable", True))  # networks are traced on symbols
        stack.enter_context(Operations(record))
        stack.enter_context(Functions(record))
        yield record
