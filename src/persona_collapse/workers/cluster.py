"""Where workers come from: processes of this machine, a Dask cluster that runs already, or the queue of a batch system.

What leaves this machine is encrypted: scheduler and workers know each other by one certificate, a file that holds its
key too and that only its owner may read.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from distributed import Client, LocalCluster, Security
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..experiment.errors import InputError, first_of
from ..experiment.files import read_text, read_yaml
from ..inputs import machine
from ..record import pipeline

FOLDER = pipeline.TEMPORARY / "dask"
CERTIFICATE = FOLDER / "certificate.pem"
# Stages at a time on one GPU, if its memory has room. The cores are shared out among so many: eight stages that merged
# weights at once took 44 s with 3 threads each on 32 cores, 54 s with 1 and 82 s with 8.
GPU_SLOTS = 8
TIMEOUT = 15  # seconds for a scheduler to answer
OWN_PROCESSES = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}  # lets a worker's stages be processes of their own
LOOPBACK = ("127.", "localhost", "[::1]")
SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}


class Queue(BaseModel):
    """What a cluster file says: how jobs are asked for that run workers, one each."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    system: Literal["slurm", "pbs", "sge", "lsf"]
    jobs: int = Field(ge=1, le=10_000)
    cores: int = Field(ge=1)  # of a job
    memory: str  # of a job, as in "24 GiB"
    walltime: str = "08:00:00"
    queue: str | None = None
    account: str | None = None
    directives: list[str] = []  # further lines for the head of the job's script, as in "--gres=gpu:1"
    # how a job gets to a clone of its own, in which its worker then works
    prologue: list[str] = ['cd "$(sh {here}/bin/clone)"']
    python: str = "sh bin/python --lock cpu"
    interface: str | None = None  # the network interface that workers reach the scheduler by


def read_queue(path: Path) -> Queue:
    """A cluster file; an `InputError` names what is wrong in it."""
    try:
        return Queue.model_validate(read_yaml(path))
    except ValidationError as error:
        allowed = ", ".join(Queue.model_fields)
        raise InputError(f"{path}: {first_of(error)} (keys are {allowed})") from None


# ---- encryption ----


def certificate(path: Path = CERTIFICATE) -> Path:
    """A new certificate with its key, in a file for its owner's eyes."""
    made = Security.temporary()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(made.tls_scheduler_cert + made.tls_scheduler_key)
    return path


def security(path: Path | None) -> Security | None:
    """How both ends use a certificate; None if there is none."""
    if path is None:
        return None
    if "PRIVATE KEY" not in read_text(path):
        raise InputError(f"{path}: holds no certificate with its key; `make scheduler` writes one")
    file = str(path)
    ends = {f"tls_{end}_{part}": file for end in ("scheduler", "worker", "client") for part in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=file, **ends)


def require_safe(address: str, plain: bool) -> None:
    """Raise `InputError` for an address that is none, or that leaves this machine without encryption."""
    url = urlsplit(address)
    if url.scheme not in ("tcp", "tls") or not url.hostname or not url.netloc.rpartition(":")[2].isdigit():
        raise InputError(f"SCHEDULER={address}: allowed is tls://HOST:PORT, or on this machine tcp://127.0.0.1:PORT")
    if url.scheme == "tcp" and not plain and not url.netloc.startswith(LOOPBACK):
        raise InputError(f"SCHEDULER={address}: leaves this machine unencrypted: use tls://, or allow it by PLAIN=1")


# ---- workers ----


def worker_command(address: str, name: str, slots: int, certificate: Path | None) -> list[str]:
    """The command of a worker that works in the folder it is started in, `slots` stages at a time."""
    command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", address, "--name", name]
    command += ["--nworkers", "1", "--nthreads", str(slots), "--memory-limit", "0", "--no-dashboard"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    return [*command, "--local-directory", str(FOLDER), "--death-timeout", "60", *tls_options(certificate)]


def tls_options(certificate: Path | None) -> list[str]:
    """The options of Dask's commands that a certificate takes."""
    return [f"--tls-{part}={certificate}" for part in ("ca-file", "cert", "key") if certificate]


def start_worker(
    address: str, name: str, slots: int, certificate: Path | None, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """A worker process that works in this folder and ends when this process does, even if that is killed."""
    command = worker_command(address, name, slots, certificate)
    with (FOLDER / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the coordinator's to act on
            env={**os.environ, **OWN_PROCESSES, **environment},
            preexec_fn=pipeline.end_with_parent,
        )


def shares(workers: int, device: str, gib: int) -> list[dict[str, str]]:
    """The settings of each of so many workers on this machine, which give it a GPU or its share of the cores.

    Raises:
        InputError: fewer GPUs or cores than workers.
    """
    cores = own_cores()
    if device == "cuda":
        if problem := machine.gpu_problem(gib):
            raise InputError(problem)
        there = range(len(subprocess.check_output(machine.QUERY, text=True).splitlines()))
        gpus = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, there))).split(",")
        if workers > len(gpus):
            raise InputError(f"WORKERS={workers}: allowed are 1 to {len(gpus)}, a GPU for each")
        number = max(1, cores // (workers * GPU_SLOTS))
        return [{"CUDA_VISIBLE_DEVICES": gpu, **threads(number)} for gpu in gpus[:workers]]
    if workers > cores:
        raise InputError(f"WORKERS={workers}: allowed are 1 to {cores}, a core for each")
    return [threads(cores // workers) for _ in range(workers)]


def own_cores() -> int:
    """The cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0))


def threads(number: int | str) -> dict[str, str]:
    """The settings that give each stage of a worker so many threads.

    Dask sets those of them to 1 that are not set, and PyTorch heeds MKL's before OpenMP's.
    """
    return {f"{library}_NUM_THREADS": str(number) for library in ("OMP", "MKL", "OPENBLAS")}


@contextmanager
def ended(processes: list["subprocess.Popen[bytes]"]) -> Iterator[None]:
    """End worker processes, and what they run, however this is left."""
    try:
        yield
    finally:
        for process in processes:
            pipeline.end_with_children(process.pid)


@contextmanager
def local(settings: list[dict[str, str]], slots: int) -> Iterator[tuple[Client, str]]:
    """Workers on this machine, which nothing outside can reach; and the address of Dask's dashboard."""
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as scheduler,
        Client(scheduler) as client,
    ):
        address = scheduler.scheduler_address
        started = [
            start_worker(address, f"worker-{number}", slots, None, setting)
            for number, setting in enumerate(settings, 1)
        ]
        with ended(started):
            yield client, scheduler.dashboard_link


@contextmanager
def joined(address: str, file: Path | None, plain: bool) -> Iterator[tuple[Client, str]]:
    """A cluster that runs already, and one worker here for what must run in this folder."""
    require_safe(address, plain)
    try:
        client = Client(address, timeout=TIMEOUT, security=security(file))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"SCHEDULER={address}: {' '.join(str(error).split())[:200]}") from None
    with client, ended([start_worker(address, "home", 1, file, {})]):
        yield client, client.dashboard_link


@contextmanager
def queued(queue: Queue) -> Iterator[tuple[Client, str]]:
    """Jobs of a batch system that each run a worker, and one worker here for what must run in this folder."""
    import dask_jobqueue

    file = certificate()
    here = Path.cwd()
    options: dict[str, Any] = {"interface": queue.interface} if queue.interface else {}
    with ExitStack() as stack:
        kind = getattr(dask_jobqueue, SYSTEMS[queue.system])
        cluster = stack.enter_context(
            kind(
                n_workers=queue.jobs,
                cores=queue.cores,
                memory=queue.memory,
                processes=1,
                walltime=queue.walltime,
                queue=queue.queue,
                account=queue.account,
                job_extra_directives=queue.directives,
                job_script_prologue=[
                    *(f"export {name}={value}" for name, value in {**OWN_PROCESSES, **threads(queue.cores)}.items()),
                    *(line.replace("{here}", str(here)) for line in queue.prologue),
                ],
                python=queue.python,
                log_directory=str(here / FOLDER),
                security=security(file.absolute()),
                protocol="tls://",
                worker_extra_args=["--nthreads", "1", "--no-dashboard"],
                **options,
            )
        )
        client = stack.enter_context(Client(cluster))
        stack.enter_context(ended([start_worker(cluster.scheduler_address, "home", 1, file, threads(own_cores()))]))
        yield client, cluster.dashboard_link
