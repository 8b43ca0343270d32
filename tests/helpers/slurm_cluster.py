"""A real SLURM cluster of one node, started and stopped by a test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port_d}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
MinJobAge=30
KillWait=20
SchedulerParameters=sched_interval=2,batch_sched_delay=1,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=500 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing() -> str:
    """Return why no SLURM can be started here; empty if it can."""
    lacking = [name for name in NEEDED if shutil.which(name) is None and not Path("/usr/sbin", name).exists()]
    if lacking:
        return f"SLURM is not installed ({', '.join(lacking)}): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    try:
        import submitit  # noqa: F401
    except ImportError:
        return "submitit is not installed: pip install 'anyadbench[slurm]'"
    return ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a controller and one node with two CPUs; yield the environment that reaches them."""
    for name in ("ctld", "d"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    port = _free_port()
    values: dict[str, object] = {
        "host": socket.gethostname().partition(".")[0],
        "folder": folder,
        "port": port,
        "port_d": _free_port(),
    }
    values["cpus"] = min(2, os.cpu_count() or 1)
    (folder / "slurm.conf").write_text(CONF.format(**values))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    path = f"{os.environ['PATH']}:/usr/sbin"
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_munge(folder, path))
        for daemon in ("slurmctld", "slurmd"):
            log = open(folder / f"{daemon}.out", "wb")  # noqa: SIM115
            command = [str(shutil.which(daemon, path=path)), "-D"]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        _wait_until_idle(environment, folder)
        yield {"SLURM_CONF": environment["SLURM_CONF"]}
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munge(folder: Path, path: str) -> subprocess.Popen[bytes]:
    """Start munged with its own key and socket."""
    own = folder / "munge"
    own.mkdir(mode=0o700)
    key = own / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    command = [
        str(shutil.which("munged", path=path)), "--foreground", "--force", f"--key-file={key}",
        f"--socket={folder}/munge.socket", f"--pid-file={own}/pid", f"--log-file={own}/log", f"--seed-file={own}/seed",
    ]  # fmt: skip
    log = open(folder / "munged.out", "wb")  # noqa: SIM115
    process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while not (folder / "munge.socket").exists():
        assert process.poll() is None and time.monotonic() < deadline, (folder / "munged.out").read_text()
        time.sleep(0.1)
    return process


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        said = subprocess.run(
            ["sinfo", "-h", "-p", "main", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
        )
        if said.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.out"))
    raise AssertionError(f"SLURM did not come up: {said.stdout} {said.stderr}\n{logs}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
