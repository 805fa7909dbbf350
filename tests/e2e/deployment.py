"""A real `dipper up` and a real agent on one machine, set up through the same commands a person would type."""

import json
import subprocess

from tests.e2e.processes import ROOT, Process, accepts, free_port, python, until

COMMAND_DEADLINE_S = 120


def dipper(*arguments, data):
    """Run a command to its end; its parsed `--json` output."""
    done = subprocess.run(
        python("-m", "dipper", *arguments, "--data", str(data), "--json"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=COMMAND_DEADLINE_S,
    )
    assert done.returncode == 0, f"dipper {' '.join(arguments)}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


class Server:
    """`dipper up` on a free port, which can be killed and started again on the same data."""

    def __init__(self, folder, *arguments):
        self.data = folder / "data"
        self.port = free_port()
        command = python("-m", "dipper", "up", "--data", self.data, "--port", self.port, *arguments)
        self.process = Process(command, folder / "server.out")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process.start()
        until(lambda: accepts(self.port) or not self.process.running(), 90, "dipper up listens")
        assert self.process.running(), self.process.tail()
        return self

    def run(self, *arguments):
        """A command on this deployment."""
        return dipper(*arguments, data=self.data)

    def ledger(self):
        return self.run("ledger")

    def quality(self):
        """Totals per customer over everything stored."""
        return {row["customer"]: row for row in self.run("quality", "--all")["customers"]}


class Box:
    """An agent that tails `log` and sends to `server_port`, enrolled with a one-time token."""

    def __init__(self, folder, server, server_port, logs, name="box-1"):
        self.folder = folder
        added = server.run(
            "devices", "add", name, "--isp", "unicom", "--region", "hebei", "--nat", "full_cone",
            "--cohort", "stable", "--capacity", "30", "--token",
        )  # fmt: skip
        config = folder / f"{name}.toml"
        entries = "\n".join(f'[[log]]\npath = "{path}"\nkind = "{kind}"' for path, kind in logs)
        config.write_text(f"""
server = "http://127.0.0.1:{server_port}"
key_file = "{folder}/{name}.key"
state_dir = "{folder}/{name}-state"
interval_s = 1
{entries}
[sender]
backlog_reports_per_s = 50.0
backoff_max_s = 1.0
""")
        self.config = config
        enrol = ["--server", server.url, "--token", "-", "--device", name, "--key-file", f"{folder}/{name}.key"]
        self._agent(["enroll", *enrol], added["token"])
        self.process = Process(python("-m", "agent_exporter", "run", "--config", config), folder / f"{name}.out")

    def agent(self, verb, *arguments):
        """Another agent command, to its end."""
        return self._agent([verb, "--config", str(self.config), *arguments])

    def _agent(self, arguments, standard_input=""):
        done = subprocess.run(
            python("-m", "agent_exporter", *arguments),
            input=standard_input,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=COMMAND_DEADLINE_S,
        )
        assert done.returncode == 0, f"dipper-agent {arguments[0]}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout
