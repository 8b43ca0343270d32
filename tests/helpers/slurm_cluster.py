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
ACCOUNTING = ("mariadbd", "mariadb-install-db", "mariadb", "slurmdbd", "sacctmgr")

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


ACCOUNTS = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port_a}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=limits
"""

DATABASE = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port_a}
SlurmUser=root
LogFile={folder}/dbd.log
PidFile={folder}/dbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port_m}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


def missing(*, accounting: bool = False) -> str:
    """Return why no SLURM, or none with accounts, can be started here; empty if it can."""
    needed = (*NEEDED, *ACCOUNTING) if accounting else NEEDED
    lacking = [name for name in needed if shutil.which(name) is None and not Path("/usr/sbin", name).exists()]
    if lacking:
        more = " slurmdbd mariadb-server" if accounting else ""
        return f"SLURM is not installed ({', '.join(lacking)}): apt-get install slurm-wlm munge{more}"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    try:
        import submitit  # noqa: F401
    except ImportError:
        return "submitit is not installed: pip install 'anyadbench[slurm]'"
    return ""


@contextmanager
def cluster(folder: Path, more: str = "", submitted: int = 0) -> Iterator[dict[str, str]]:
    """Run a controller and one node with two CPUs; yield the environment that reaches them.

    Args:
        folder: For their files.
        more: Further lines of ``slurm.conf``.
        submitted: Jobs that a user may have in the queue, which needs a database; 0 for no limit and none.
    """
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
    values |= {"port_a": _free_port(), "port_m": _free_port()}
    more += ACCOUNTS.format(**values) if submitted else ""
    (folder / "slurm.conf").write_text(CONF.format(**values) + more)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    path = f"{os.environ['PATH']}:/usr/sbin"
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_munge(folder, path))
        if submitted:
            _accounts(folder, path, values, environment, submitted, started)
        started += [_daemon(name, folder, environment) for name in ("slurmctld", "slurmd")]
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


def _daemon(name: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start one of SLURM's daemons with a log of its own."""
    command = [str(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")), "-D"]
    with open(folder / f"{name}.out", "ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def lose_controller(folder: Path) -> None:
    """Kill the controller of a cluster, as if its machine were lost."""
    os.kill(int((folder / "ctld.pid").read_text()), signal.SIGKILL)


@contextmanager
def controller(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run another controller of a cluster that lost its own; it goes on from the saved state."""
    process = _daemon("slurmctld", folder, environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


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


def _accounts(
    folder: Path,
    path: str,
    values: dict[str, object],
    environment: dict[str, str],
    submitted: int,
    started: list[subprocess.Popen[bytes]],
) -> None:
    """Start a database and its daemon, and limit what the user root may submit."""

    def tool(name: str) -> str:
        return str(shutil.which(name, path=path))

    data, socket_file = folder / "data", folder / "sql.socket"
    own = ["--no-defaults", f"--datadir={data}", "--user=root"]
    method = "--auth-root-authentication-method=normal"
    subprocess.run([tool("mariadb-install-db"), *own, method, "--skip-test-db"], check=True, capture_output=True)
    log = open(folder / "sql.out", "wb")  # noqa: SIM115
    where = [f"--socket={socket_file}", f"--port={values['port_m']}", "--bind-address=127.0.0.1"]
    small = ["--innodb-buffer-pool-size=32M", f"--pid-file={folder}/sql.pid"]
    started.append(subprocess.Popen([tool("mariadbd"), *own, *where, *small], stdout=log, stderr=log))
    grant = "CREATE DATABASE slurm; GRANT ALL ON slurm.* TO slurm@'%' IDENTIFIED BY 'slurm';"
    _try([tool("mariadb"), "--no-defaults", f"--socket={socket_file}", "-e", grant], environment)
    (folder / "slurmdbd.conf").write_text(DATABASE.format(**values))
    (folder / "slurmdbd.conf").chmod(0o600)
    started.append(subprocess.Popen([tool("slurmdbd"), "-D"], env=environment, stdout=log, stderr=log))
    change = [tool("sacctmgr"), "--immediate"]
    _try([*change, "add", "cluster", "test"], environment)
    _try([*change, "modify", "user", "where", "name=root", "set", f"MaxSubmitJobs={submitted}"], environment)


def _try(command: list[str], environment: dict[str, str]) -> None:
    """Run a command until it works: what it talks to is just starting."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        assert time.monotonic() < deadline, f"{command}: {done.stdout} {done.stderr}"
        time.sleep(1)


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
