"""Run a real SLURM of one node on this machine, for tests: its daemons, in a scratch folder and on free ports."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
CONFIG = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
ReturnToService=2
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
KillWait=30
MinJobAge=30
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=131072 Gres=gpu:4 State=UNKNOWN
PartitionName=cpu Nodes={host} DefaultTime=10:00 MaxTime=60:00 DefMemPerCPU=1000 State=UP
PartitionName=gpus Nodes={host} DefaultTime=10:00 MaxTime=INFINITE DefMemPerCPU=1000 State=UP
"""


def missing() -> list[str]:
    """Return the programs of SLURM that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name)]


@contextlib.contextmanager
def slurm(place: Path) -> Iterator[dict[str, str]]:
    """Start SLURM in the empty folder `place`; yield the environment in which its commands find it."""
    for name in ("munge", "state", "spool"):
        (place / name).mkdir(mode=0o700, parents=True)
    key = place / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for i in range(4):
        (place / f"gpu{i}").touch()
    (place / "gres.conf").write_text(f"Name=gpu File={place}/gpu[0-3]\n")
    host = socket.gethostname().partition(".")[0]
    config = place / "slurm.conf"
    config.write_text(CONFIG.format(host=host, user=getpass.getuser(), place=place, ports=_free_ports(2)))
    env = {"SLURM_CONF": str(config)}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}/munge/socket"]
    munge += [f"--{name}-file={place}/munge/{name}" for name in ("pid", "log", "seed")]
    with contextlib.ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            out = stack.enter_context((place / f"{command[0]}.out").open("w"))
            how = {"stdout": out, "stderr": out, "env": os.environ | env, "start_new_session": True}
            process = subprocess.Popen(command, **how)
            stack.callback(_end, process)
            time.sleep(0.3)
        _until_idle(env)
        yield env


def _until_idle(env: dict[str, str]) -> None:
    end = time.monotonic() + 60
    while "idle" not in (said := command(env, "sinfo", "--noheader")):
        assert time.monotonic() < end, said
        time.sleep(0.2)


def command(env: dict[str, str], *words: str) -> str:
    """Run a command of SLURM and return what it prints."""
    done = subprocess.run(words, env=os.environ | env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
