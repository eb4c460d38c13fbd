"""Declare the options of `cure grid` about workers."""

from dataclasses import dataclass

from cure.errors import UserError


@dataclass(frozen=True)
class WorkerOptions:
    """The options about workers, as given on the command line; contradictions raise UserError."""

    workers: int | None
    devices: list[str]
    cluster: str | None
    slurm: str | None
    retries: int
    cpu_partition: str | None = None
    cpu_workers: int = 1

    def __post_init__(self) -> None:
        remote = [f"--{name}" for name in ("cluster", "slurm") if getattr(self, name)]
        if len(remote) > 1:
            raise UserError("--cluster and --slurm: name one of them")
        if remote and self.devices:
            raise UserError(
                f"--device-per-worker: only for workers of this machine; with {remote[0]} each worker has its own"
            )
        if self.cluster and self.workers:
            raise UserError("--workers: not with --cluster, which has workers of its own; start more of them there")
        if self.cpu_partition and not self.slurm:
            raise UserError("--cpu-partition: only with --slurm, whose partition takes the stages that need a GPU")
