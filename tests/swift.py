"""A real S3 store on this machine: OpenStack Swift with its ``s3api`` middleware, started and stopped by the tests.

One memcached and one account, container, object and proxy server, each a single process on a free port of the loopback
interface. Rings, configuration, objects and logs lie in one temporary folder; ``/etc/swift`` is not read.

Seen on Swift 2.30: a bulk delete asks for Content-MD5 (delete key by key), and conditional puts are refused with 501.
"""

import configparser
import http.client
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import botocore.session
from botocore.config import Config

PACKAGES = ("swift-proxy", "swift-account", "swift-container", "swift-object", "memcached")
COMMANDS = (
    "swift-ring-builder",
    "swift-account-server",
    "swift-container-server",
    "swift-object-server",
    "swift-proxy-server",
    "memcached",
    "setpriv",
)
STORAGE_SERVERS = ("account", "container", "object")

HOST = "127.0.0.1"
REGION = "us-east-1"
DEVICE = "device"
START_SECONDS = 120.0
STOP_SECONDS = 10.0

# Debian's servers run on Debian's Python, whatever interpreter runs the tests, and read /etc/swift/swift.conf before
# their own configuration: this runs the server's own command after pointing it at our folder.
SYSTEM_PYTHON = "/usr/bin/python3"
LAUNCH = """
import runpy, sys
from swift.common.utils import set_swift_dir
set_swift_dir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def missing_commands() -> list[str]:
    """The commands of ``COMMANDS`` which are not on this machine; empty where a store can be started."""
    return [command for command in (*COMMANDS, SYSTEM_PYTHON) if _which(command) is None]


class SwiftStore:
    """A running Swift; a context manager.

    ``endpoint``, ``access_key`` and ``secret_key`` open it with any S3 client (path-style addresses, signature v4);
    ``environment()`` holds the same for code which takes them from the environment.

    Raises ``RuntimeError``, with the end of every log, where a server dies or is not ready within ``START_SECONDS``.
    """

    def __init__(self) -> None:
        self.access_key = "test:tester"
        self.secret_key = secrets.token_hex(16)
        self.folder = Path()
        self.ports: dict[str, int] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.ports['proxy']}"

    def start(self) -> None:
        """Start every server and return once a bucket can be made."""
        self.folder = Path(tempfile.mkdtemp(prefix="swift-", dir=_folder_with_attributes()))
        (self.folder / "storage" / DEVICE).mkdir(parents=True)
        self.ports = dict(zip(("memcached", *STORAGE_SERVERS, "proxy"), _free_ports(5), strict=True))
        self._write_configuration()
        self._build_rings()
        for server in self.ports:
            self._start(server)
        deadline = time.monotonic() + START_SECONDS
        for server in self.ports:
            self._wait_until_ready(server, deadline)

    def stop(self) -> None:
        """Stop the servers which were started here, and remove the folder."""
        for process in self.processes.values():
            process.terminate()
        for server in list(self.processes):
            self._reap(server)
        if self.folder != Path():
            shutil.rmtree(self.folder)
            self.folder = Path()

    def stop_proxy(self) -> None:
        """Take the store away: connections to ``endpoint`` are refused until ``start_proxy``."""
        self.processes["proxy"].terminate()
        self._reap("proxy")

    def start_proxy(self) -> None:
        """Bring the store back at the same address, with everything that was in it."""
        self._start("proxy")
        self._wait_until_ready("proxy", time.monotonic() + START_SECONDS)

    def bucket(self, name: str = "lake") -> str:
        """Make an empty bucket with a name of its own, and return that name."""
        bucket = f"{name}-{secrets.token_hex(4)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket

    def client(self) -> Any:
        """A botocore S3 client, to look at the store past the code under test."""
        return botocore.session.Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )

    def environment(self) -> dict[str, str]:
        """The variables with which an S3 client finds this store and no other one."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }

    def logs(self, lines: int = 20) -> str:
        """The last lines of every server's log."""
        ends = []
        for path in sorted(self.folder.glob("*.log")):
            end = path.read_text(errors="replace").splitlines()[-lines:]
            ends.append("\n".join([f"--- {path.name}", *end]))
        return "\n".join(ends)

    def _write_configuration(self) -> None:
        # The hash prefix keeps object paths from being guessed in a public store; here it only has to be there.
        self._write(
            "swift.conf", {"swift-hash": {"swift_hash_path_prefix": "tests", "swift_hash_path_suffix": "tests"}}
        )
        for server in STORAGE_SERVERS:
            application = {"use": f"egg:swift#{server}"}
            if server == "object":
                # A listing which takes longer than this to update is left to a daemon that does not run here, and
                # would never name the object.
                application["container_update_timeout"] = "60"
            self._write(
                f"{server}-server.conf",
                {
                    "DEFAULT": self._server_defaults(server),
                    "pipeline:main": {"pipeline": f"{server}-server"},
                    f"app:{server}-server": application,
                },
            )
        # Without proxy-logging, the answer to a HEAD of what is not there has a body, and clients stumble over it.
        filters = ("catch_errors", "healthcheck", "proxy-logging", "cache", "s3api", "tempauth", "slo")
        eggs = {"cache": "memcache", "proxy-logging": "proxy_logging"}
        sections = {f"filter:{name}": {"use": f"egg:swift#{eggs.get(name, name)}"} for name in filters}
        sections["filter:cache"]["memcache_servers"] = f"{HOST}:{self.ports['memcached']}"
        sections["filter:s3api"]["location"] = REGION
        # Ten times shorter than Amazon's, so that a few hundred objects are a listing of several pages.
        sections["filter:s3api"]["max_bucket_listing"] = "100"
        sections["filter:tempauth"]["user_test_tester"] = f"{self.secret_key} .admin"
        sections["filter:slo"]["allow_async_delete"] = "false"
        self._write(
            "proxy-server.conf",
            {
                "DEFAULT": self._server_defaults("proxy"),
                "pipeline:main": {"pipeline": " ".join((*filters, "proxy-server"))},
                "app:proxy-server": {
                    "use": "egg:swift#proxy",
                    "account_autocreate": "true",
                    # Waiting, not failing, is what a test on a busy machine wants.
                    "node_timeout": "60",
                    "conn_timeout": "10",
                },
                **sections,
            },
        )

    def _server_defaults(self, server: str) -> dict[str, str]:
        return {
            "bind_ip": HOST,
            "bind_port": str(self.ports[server]),
            "workers": "0",
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "swift_dir": str(self.folder),
            "devices": str(self.folder / "storage"),
            "mount_check": "false",
            "disable_fallocate": "true",
            "fallocate_reserve": "0",
            # No such socket: the servers log to their standard error, and the machine's own log stays clean.
            "log_address": str(self.folder / "no-system-log"),
            "log_level": "INFO",
        }

    def _write(self, name: str, sections: dict[str, dict[str, str]]) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict(sections)
        with (self.folder / name).open("w") as file:
            parser.write(file)

    def _build_rings(self) -> None:
        # 16 partitions, one copy, may be moved at once; the three builders share nothing and run side by side.
        script = 'set -e; for step in "create 4 1 0" "add $2 1" rebalance; do swift-ring-builder "$1" $step; done'
        builders = {}
        for server in STORAGE_SERVERS:
            device = f"r1z1-{HOST}:{self.ports[server]}/{DEVICE}"
            with (self.folder / f"{server}-ring.log").open("wb") as log:
                builders[server] = subprocess.Popen(
                    ["/bin/sh", "-c", script, "rings", f"{server}.builder", device],
                    cwd=self.folder,
                    env=_server_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        for server, builder in builders.items():
            if builder.wait() != 0:
                raise RuntimeError(f"swift-ring-builder failed for {server}:\n{self.logs()}")

    def _start(self, server: str) -> None:
        if server == "memcached":
            port = str(self.ports[server])
            user = pwd.getpwuid(os.geteuid()).pw_name
            command = ["memcached", "-l", HOST, "-p", port, "-U", "0", "-m", "64", "-u", user]
        else:
            executable = str(_which(f"swift-{server}-server"))
            configuration = str(self.folder / f"{server}-server.conf")
            command = [SYSTEM_PYTHON, "-c", LAUNCH, str(self.folder), executable, configuration, "-v"]
        with (self.folder / f"{server}.log").open("ab") as log:
            self.processes[server] = subprocess.Popen(
                # No server outlives the tests, even tests which are killed.
                [str(_which("setpriv")), "--pdeathsig", "KILL", "--", *command],
                env=_server_environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_until_ready(self, server: str, deadline: float) -> None:
        while not self._is_ready(server):
            if self.processes[server].poll() is not None:
                raise RuntimeError(f"swift: the {server} server ended while starting:\n{self.logs()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"swift: the {server} server was not ready in {START_SECONDS:.0f} s:\n{self.logs()}")
            time.sleep(0.1)

    def _is_ready(self, server: str) -> bool:
        try:
            if server != "proxy":
                socket.create_connection((HOST, self.ports[server]), timeout=5).close()
                return True
            connection = http.client.HTTPConnection(HOST, self.ports[server], timeout=5)
            try:
                connection.request("GET", "/healthcheck")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (ConnectionError, TimeoutError):
            return False

    def _reap(self, server: str) -> None:
        process = self.processes.pop(server)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _which(command: str) -> str | None:
    # Debian keeps some servers in sbin, which an ordinary user's PATH does not name.
    return shutil.which(command, path=_server_environment()["PATH"])


def _server_environment() -> dict[str, str]:
    # Nothing of the virtual environment or of the user's own Python may reach Debian's servers.
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def _folder_with_attributes() -> str:
    """A folder for temporary files whose file system keeps user attributes: Swift stores an object's metadata there."""
    refused = []
    for folder in (tempfile.gettempdir(), "/var/tmp", "/dev/shm"):
        try:
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                os.setxattr(file.name, "user.swift.metadata", bytes(2048))
                return folder
        except OSError as error:
            refused.append(f"{folder}: {error.strerror}")
    raise RuntimeError(f"swift needs a file system with user attributes, such as ext4 or xfs; {'; '.join(refused)}")


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface which nobody listens on now, all different."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports
