"""Run the app as a deployment on this machine: a SuperLink, one SuperNode per client, and a run; then stop all of it.

    python deploy.py                            # without encryption
    python deploy.py --tls                      # with TLS, and nodes that are known by their keys
    python deploy.py --red-team 1               # the last of the nodes is malicious

Certificates and keys are made for this run and deleted with its folder.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

APP = Path(__file__).parent
_BIN = Path(sys.executable).parent


class Deployment:
    """A SuperLink and its SuperNodes on free ports of 127.0.0.1. Leaving the block stops every process that it started.

    Args:
        folder: a new folder for Flower's files, certificates and the logs of all processes.
        tls: whether connections are encrypted and nodes must have a registered key.
        port: the SuperLink's port; a free one by default.
        database: a file that keeps the SuperLink's state; in memory by default.
    """

    def __init__(
        self, folder: Path, *, tls: bool = False, port: int | None = None, database: str | None = None
    ) -> None:
        self.folder, self.tls, self.port, self._database = folder, tls, port or free_port(), database
        self.nodes = list[subprocess.Popen[bytes]]()
        self.environment = {
            **os.environ,
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",  # Flower starts its other processes from there
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "flwr").mkdir(exist_ok=True)
        trust = f'root-certificates = "{self.folder / "ca.pem"}"' if self.tls else "insecure = true"
        connection = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{self.port}"\n{trust}\n'
        (self.folder / "flwr" / "config.toml").write_text(connection)
        if self.tls:
            write_certificates(self.folder)
        try:
            self.start_superlink()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_superlink(self) -> None:
        """Start the SuperLink, and wait until it is healthy."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--disable-runtime-dependency-installation"]
        options += ["--database", self._database] if self._database else []
        options += [*self._certificate(), "--enable-supernode-auth"] if self.tls else ["--insecure"]
        self.superlink = self._started("flower-superlink", *options)
        end = time.monotonic() + 120
        while not self._healthy():
            if time.monotonic() > end or self.superlink.poll() is not None:
                raise RuntimeError(f"expected a healthy SuperLink, got what {self.folder} has in its log")
            time.sleep(0.2)

    def start_node(self, name: str, **config: Any) -> subprocess.Popen[bytes]:
        """Start a SuperNode with this configuration. With TLS its key is made and registered, unless it has one already."""
        if self.tls and not (self.folder / f"{name}.key").exists():
            _, public = write_key(self.folder / name)
            self.flwr("supernode", "register", str(public), "here", "--name", name)
        return self.node_of(name, **config)

    def node_of(self, name: str, **config: Any) -> subprocess.Popen[bytes]:
        """Start a SuperNode whose key, with TLS, has this name."""
        options = ["--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port())]
        options += ["--node-config", " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())]
        if self.tls:
            options += [*self._certificate(), "--root-certificates", str(self.folder / "ca.pem")]
            options += ["--auth-supernode-private-key", str(self.folder / f"{name}.key")]
        else:
            options += ["--insecure"]
        self.nodes.append(self._started("flower-supernode", *options))
        return self.nodes[-1]

    def run(self, app: Path = APP, **config: Any) -> str:
        """Submit a run with this configuration, wait for its end, and return what it logged."""
        values = " ".join(f"{name.replace('_', '-')}={json.dumps(value)}" for name, value in config.items())
        return self.flwr("run", str(app), "here", "--stream", "--run-config", values)

    def flwr(self, *arguments: str) -> str:
        """The output of a command of Flower's."""
        command = [str(_BIN / "flwr"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        if done.returncode:
            raise RuntimeError(f"flwr {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """Every process that this deployment has started, also through others: they all have its FLWR_HOME."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FLWR_HOME") == self.environment["FLWR_HOME"]:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def stop(self) -> None:
        """Stop the nodes first, which would otherwise look for their SuperLink, and then everything else."""
        for process in self.nodes:
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs([psutil.Process(node.pid) for node in self.nodes if node.poll() is None], timeout=10)
        for process in self.processes():
            process.terminate()
        psutil.wait_procs(self.processes(), timeout=5)
        while left := self.processes():
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=1)
        for started in [*self.nodes, self.superlink]:
            started.wait()

    def _certificate(self) -> list[str]:
        names = ("--ssl-ca-certfile", "ca.pem"), ("--ssl-certfile", "server.pem"), ("--ssl-keyfile", "server.key")
        return [part for option, name in names for part in (option, str(self.folder / name))]

    def _started(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        count = len(list(self.folder.glob(f"{name}-*.log")))
        with (self.folder / f"{name}-{count}.log").open("wb") as log:
            return subprocess.Popen([str(_BIN / name), *options], stdout=log, stderr=log, env=self.environment)

    def _healthy(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem")) if self.tls else None
        url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/health"
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def write_key(path: Path) -> tuple[Path, Path]:
    """Write the key pair of a node, and return the two files: as `ssh-keygen -t ecdsa -b 384` makes them."""
    key = ec.generate_private_key(ec.SECP384R1())
    formats = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    private, public = path.with_suffix(".key"), path.with_suffix(".pub")
    private.touch(0o600)
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *formats))
    encoding = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    public.write_bytes(key.public_key().public_bytes(*encoding))
    return private, public


def write_certificates(folder: Path) -> None:
    """Write `ca.pem`, and `server.pem` and `server.key` for 127.0.0.1, valid for one day."""
    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer, now = _name("antivenom example"), datetime.datetime.now(datetime.UTC)

    def certificate(subject: x509.Name, key: Any, extension: Any) -> bytes:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
        made = made.not_valid_after(now + datetime.timedelta(days=1)).add_extension(extension, critical=False)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        made = made.add_extension(issued_by, critical=False)
        return made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    (folder / "ca.pem").write_bytes(certificate(issuer, authority, x509.BasicConstraints(ca=True, path_length=0)))
    (folder / "server.pem").write_bytes(certificate(_name("127.0.0.1"), server, addresses))
    formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "server.key").touch(0o600)
    (folder / "server.key").write_bytes(server.private_bytes(serialization.Encoding.PEM, *formats))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def main() -> None:
    """Deploy, run, and print the accuracy after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tls", action="store_true", help="TLS, and nodes with registered keys")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--red-team", type=int, default=0, metavar="N", help="how many nodes are malicious")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the block below is left, and everything stopped
    with tempfile.TemporaryDirectory() as name, Deployment(Path(name), tls=given.tls) as deployment:
        for place in range(given.nodes):
            red = place >= given.nodes - given.red_team
            deployment.start_node(
                f"node-{place}", **{"partition-id": place, "num-partitions": given.nodes, "allow-red-team": red}
            )
        results = Path(name) / "results"
        deployment.run(results=str(results), nodes=given.nodes, red_team=given.red_team > 0)
        for line in (results / "rounds.jsonl").read_text().splitlines():
            record = json.loads(line)
            print(f"round {record['round']}: {record['usable']} usable replies, left out: {record['left_out']}")
        print("accuracy after each round:", (results / "accuracy.json").read_text())


if __name__ == "__main__":
    main()
