"""A Ray cluster of this machine that nobody else can reach, and `sharpv` as one who joins it.

`python -m tests.engines.ray_cluster` starts one, says its address, and ends with its stdin; with arguments it
is the command `sharpv`.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sharpv.cli.app import main

# Others on this machine would need the token, which processes that are started from here inherit. Ray reads
# it when it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Else everything beside the tests goes first.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray._private import services

CPUS = 2


def stay_on_loopback() -> None:
    """Ray takes the machine's own address in place of 127.0.0.1, and listens on all of them."""
    services.resolve_ip_for_localhost = lambda host: host


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        address: of it.
        pid: of the process that all others of it come from.
    """

    address: str
    pid: int

    def workers(self) -> dict[int, str]:
        """Actors of jobs: what each does, by the name that Ray gives its process, by process id."""
        found = {}
        for folder in Path("/proc").iterdir():
            # One may have just ended.
            with suppress(OSError):
                title = (folder / "cmdline").read_text().strip("\0")
                if title.startswith("ray::_Actor") and self._is_ours(folder.name):
                    found[int(folder.name)] = title.removeprefix("ray::")
        return found

    def _is_ours(self, pid: str) -> bool:
        while pid not in ("0", str(self.pid)):
            pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return pid != "0"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Starts a cluster with room for two workers."""
    command = [sys.executable, "-m", "tests.engines.ray_cluster"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("127.0.0.1:")
        yield Cluster(address, process.pid)


def _serve() -> None:
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )
    sys.stdout.write(f"{ray.get_runtime_context().gcs_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    stay_on_loopback()
    if len(sys.argv) > 1:
        main()
    _serve()
