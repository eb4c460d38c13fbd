"""The section `run` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from cure.core.settings import Count, Layout, Precision, Settings

Few = Annotated[Count, Field(le=1024)]  # a CPU library that is asked for a million threads ends the process


class Run(Settings):
    """Where and how things are computed; part of every result, so part of every hash."""

    device: Literal["cuda", "cpu", "auto"]
    threads: Few  # of one CPU process; another number gives other roundings
    processes: Few  # that train or attack one cell together, on this machine; a GPU each
    sync_batchnorm: bool  # batch statistics over all of them, or of each one's rows
    deterministic: bool
    cpu_isa: Literal["native", "avx2"]  # avx2: newer CPUs round as older ones, so that hashes agree
    layout: Layout  # of networks in training, and so of their attacks; probe: whichever is faster here
    precision: Precision  # of forwards in training: all, or the attack's alone, in bfloat16; validation has fp32
    tf32: bool  # CUDA: whether training multiplies with 10-bit mantissas; attacks of an evaluation never do
    compile: bool  # attacks of training by torch.compile: needs a C++ compiler and a minute for each network
    graphs: bool  # CUDA: attacks of fixed shape in training are recorded once and replayed
