"""A Slurm of one's own: controller and two nodes on this machine, as this user, without munge, in a folder."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipi_runs import free_port

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
SBIN = "/usr/sbin:/usr/local/sbin"
"""Where daemons lie, which are not in every user's PATH."""

CONF = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs=4 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Of those that a private Slurm needs."""
    return [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:{SBIN}") is None]


@dataclass
class Slurm:
    """The running Slurm; `environment` is what its commands need."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}\n{self.logs()}")
        return done.stdout

    def submit(self, folder: Path, *arguments: str) -> int:
        """`sbatch` in a folder; the number of the job."""
        return int(self.run("sbatch", "--parsable", *arguments, cwd=folder).strip())

    def jobs(self) -> dict[int, str]:
        """Jobs that are waiting or running, with their states."""
        lines = self.run("squeue", "--noheader", "--format=%A %T").splitlines()
        return {int(number): state for number, state in (line.split() for line in lines)}

    def wait_until_empty(self, seconds: float) -> None:
        """Returns when there is no job any more."""
        deadline = time.monotonic() + seconds
        while left := self.jobs():
            if time.monotonic() > deadline:
                raise TimeoutError(f"still in the queue: {left}\n{self.logs()}")
            time.sleep(0.5)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in self.folder.glob("*.log"))


@contextlib.contextmanager
def private_slurm(folder: Path) -> Iterator[Slurm]:
    """Starts the daemons, waits until both nodes are idle, and ends daemons and jobs at the end."""
    (folder / "state").mkdir(parents=True)
    conf = folder / "slurm.conf"
    ports = [free_port() for _ in range(3)]
    conf.write_text(
        CONF.format(
            host=socket.gethostname().split(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            folder=folder,
            controller_port=ports[0],
            ports=ports[1:],
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    environment |= {"SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:{SBIN}"}
    commands = [["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    slurm = Slurm(folder, environment)
    daemons = [
        subprocess.Popen(
            [*command, "-f", str(conf)],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        _wait_for_nodes(slurm, daemons)
        yield slurm
    finally:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired, TimeoutError):
            while left := slurm.jobs():
                slurm.run("scancel", *map(str, left))
                time.sleep(0.5)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()


def _wait_for_nodes(slurm: Slurm, daemons: list[subprocess.Popen], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    states = ""
    while time.monotonic() < deadline:
        dead = [daemon.args for daemon in daemons if daemon.poll() is not None]
        if dead:
            raise RuntimeError(f"did not start: {dead}\n{slurm.logs()}")
        with contextlib.suppress(RuntimeError):
            states = slurm.run("sinfo", "--noheader", "--Node", "--format=%t")
            if states.split() == ["idle", "idle"]:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the nodes are {states.split()} after {seconds:g} s\n{slurm.logs()}")
