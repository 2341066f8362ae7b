"""Slurm on this machine alone: the daemons of Debian's packages, started by hand, with all they keep in one folder.

Nothing of a Slurm that runs here already is touched: the daemons have ports, keys and folders of their own, and run as
whoever runs the tests. The cluster is one partition with this machine in it; nothing is accounted or confined.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo")
# Daemons are where administrators find them.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_SECONDS = 60

_CONFIGURATION = """
ClusterName=nbrewind
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class Slurm:
    """A cluster for the length of a `with`; `environment` is what programs need to find it."""

    def __init__(self) -> None:
        # Sockets have short names only.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _PATH}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        return done.stdout

    def log(self) -> str:
        """What the daemons have said lately."""
        return "\n".join(
            f"{name}: {(self.folder / f'{name}.log').read_text()[-2000:]}" for name in self._daemons
        )

    def stop(self) -> None:
        """End the jobs and the daemons, and remove what they left."""
        if "slurmd" in self._daemons:
            subprocess.run(
                ["scancel", "--quiet", "--partition=test"],
                env={**os.environ, **self.environment},
                capture_output=True,
                timeout=_SECONDS,
            )
            self._wait(lambda: not self.ask("squeue", "--noheader"), "the jobs did not end")
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        host = socket.gethostname().partition(".")[0]
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind(("127.0.0.1", 0))
            ports = [free.getsockname()[1] for free in (one, other)]
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                host=host,
                user=getpass.getuser(),
                folder=self.folder,
                controller_port=ports[0],
                daemon_port=ports[1],
            )
        )
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        places = {
            name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed")
        }
        self._launch(
            "munged",
            "--foreground",
            "--force",
            f"--socket={self.folder}/munge.socket",
            *places.values(),
        )
        self._wait((self.folder / "munge.socket").exists, "munged did not start")
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D")
        self._wait(
            lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() == "idle",
            "the node did not become idle",
        )

    def _launch(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=_PATH)
        assert program is not None, f"{name} is not installed"
        with open(self.folder / f"{name}.log", "wb") as log:
            self._daemons[name] = subprocess.Popen(
                [program, *options],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def _wait(self, holds: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    raise RuntimeError(f"{name} ended with {daemon.returncode}:\n{self.log()}")
            try:
                if holds():
                    return
            except subprocess.CalledProcessError:
                # The controller does not answer yet.
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{problem}:\n{self.log()}")
