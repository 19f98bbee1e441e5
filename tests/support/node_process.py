"""A real node in its own process, started on free loopback ports and stopped by its pid."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from dexsdk import Client, Key, SyncClient, Tls
from tests.support.forked_node import ForkedNode

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
NETWORK_ID = "triodex-test"


class NodeDied(Exception):
    """The node ended before it was ready; its log is the message."""


@final
class NodeProcess:
    """One node. ``start`` and ``kill`` may be called again and again on the same data."""

    def __init__(
        self,
        data_dir: Path,
        *,
        backend: str = "trio",
        settings: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        module: str = "dexnode",
        network_id: str = NETWORK_ID,
        forked: bool = False,
        start_seconds: float = START_SECONDS,
        config: Path | None = None,
    ) -> None:
        """`forked` shares the imports with other nodes instead of starting an interpreter; `config`
        is a file that names the operators, in the place of the usual one."""
        self.data_dir = data_dir
        self.network_id = network_id
        self.operator_key_path = data_dir / "operator.key"
        self.log_path = data_dir / "node.log"
        self._backend = backend
        self._settings = settings
        self._environment = dict(environment or {})
        self._module = module
        self._forked = forked
        self._start_seconds = start_seconds
        self._config = config
        self._process: subprocess.Popen[str] | ForkedNode | None = None
        self.grpc_address = self.flight_address = self.metrics_address = ""
        data_dir.mkdir(parents=True, exist_ok=True)
        if not self.operator_key_path.exists():
            Key.generate().save(self.operator_key_path)
        self.operator_key = Key.load(self.operator_key_path)

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> NodeProcess:
        """Start the node and wait until it is ready."""
        self.begin()
        ready = self._read_ready_line()
        self.grpc_address = ready["grpc"]
        self.flight_address = ready["flight"]
        self.metrics_address = ready["metrics"]
        return self

    def begin(self) -> None:
        """Start the node, and leave it to itself."""
        public_key = self.operator_key.public_bytes.hex()
        operators = f'[{{ name = "test", public_key = "{public_key}" }}]'
        environment = {
            **os.environ,
            # tests.support.volatile_node is found wherever the tests were started.
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            **({} if self._config else {"DEX_OPERATORS": operators}),
            **self._environment,
        }
        command = self._command()
        if self._forked:
            self._process = ForkedNode(command, environment, self._module, self.log_path)
            return
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *command],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )

    def _command(self) -> list[str]:
        command = ["node", "run", "--json"]
        command += ["--data-dir", str(self.data_dir), "--rpc-backend", self._backend]
        if self._config is not None:
            command += ["--config", str(self._config)]
        for setting in (
            f"node.network_id={self.network_id}",
            "grpc.port=0",
            "flight.port=0",
            "metrics.port=0",
            *self._settings,
        ):
            command += ["--set", setting]
        return command

    def _read_ready_line(self) -> dict[str, str]:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], self._start_seconds)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            raise NodeDied(self.log_path.read_text(errors="replace")[-4_000:])
        answer: dict[str, Any] = json.loads(line)
        ready: dict[str, str] = answer["ready"]
        return ready

    def kill(self) -> int:
        """End the node at once with SIGKILL; returns its exit code."""
        return self._end(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal and wait for nothing."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """End the node in order with SIGTERM; returns its exit code."""
        return self._end(signal.SIGTERM)

    def wait_exit(self) -> int:
        """Wait until the node has ended by itself; returns its exit code."""
        assert self._process is not None
        self._process.wait(STOP_SECONDS)
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        code = process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return code

    # --- clients

    def client(self, key: Key | None = None, account_id: str | None = None) -> SyncClient:
        """A blocking client of this node."""
        return SyncClient(
            self.grpc_address,
            network_id=self.network_id,
            key=key,
            account_id=account_id,
            flight_address=self.flight_address,
        )

    def trio_client(self, key: Key | None = None, account_id: str | None = None) -> Client:
        """A Trio client of this node."""
        return Client(
            self.grpc_address,
            network_id=self.network_id,
            key=key,
            account_id=account_id,
            flight_address=self.flight_address,
        )

    def operator(self, tls: Tls | None = None) -> SyncClient:
        """A blocking client that speaks as the operator."""
        return SyncClient(
            self.grpc_address, network_id=self.network_id, key=self.operator_key, tls=tls
        )

    def open_account(self, funds: Mapping[str, int] | None = None) -> tuple[Key, str]:
        """A new account with money: atoms by asset id."""
        key = Key.generate()
        with self.client(key) as client:
            account_id: str = client.register_key()
        for asset_id, amount_atoms in (funds or {}).items():
            self.fund(account_id, asset_id, amount_atoms)
        return key, account_id

    def fund(self, account_id: str, asset_id: str, amount_atoms: int) -> None:
        """Book money for an account."""
        with self.operator() as operator:
            reference = secrets.token_hex(8)
            operator.admin.credit_account(account_id, asset_id, amount_atoms, reference)
