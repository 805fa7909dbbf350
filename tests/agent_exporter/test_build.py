"""The wheel and the zipapp hold the agent, need nothing else, and run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent_exporter import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "tools/build_agent.py", "--out", str(out)], cwd=ROOT, check=True, capture_output=True
    )
    return out


def run_isolated(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Without site-packages and the checkout: what is missing in the artefact is missing."""
    return subprocess.run([sys.executable, "-I", "-S", *arguments], cwd=cwd, capture_output=True, text=True, timeout=30)


def test_zipapp_runs_alone(built: Path, tmp_path: Path) -> None:
    done = run_isolated(str(built / "dipper-agent.pyz"), "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, __version__)
    done = run_isolated(str(built / "dipper-agent.pyz"), "run", "--config", "none.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "dipper-agent: none.toml: cannot be read: No such file or directory\n")


def test_wheel_holds_two_packages_and_asks_for_nothing_unless_it_writes_to_kafka(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("dipper_agent-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
        scripts = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
        archive.extractall(tmp_path)
    top = {name.split("/")[0] for name in names}
    assert {t for t in top if not t.endswith(".dist-info")} == {"agent_exporter", "contracts"}
    assert "agent_exporter/nginx/dipper-log.conf" in names
    assert f"Version: {__version__}" in metadata
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert required
    assert [line for line in required if not line.endswith("; extra == 'kafka'")] == []
    assert "dipper-agent = agent_exporter.cli:main" in scripts
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from agent_exporter.cli import main; main(['--version'])"
    )
    assert run_isolated("-c", code, cwd=tmp_path).stdout.strip() == __version__


def test_files_for_nginx_and_systemd_lie_beside(built: Path) -> None:
    beside = {"dipper-log.conf", "dipper-server.conf", "dipper-agent.service", "agent.example.toml", "agent.md"}
    assert {p.name for p in built.iterdir()} >= beside
