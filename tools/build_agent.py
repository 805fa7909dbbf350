"""Build what a box installs: a wheel of the agent alone, and `dipper-agent.pyz`, one file that python3 runs.

    python tools/build_agent.py [--out dist/agent]

The files for nginx and systemd and the example configuration are laid beside them. The zipapp's bytes depend on the
sources only.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agent_exporter", "contracts")
BESIDE = (
    "agent_exporter/agent.example.toml",
    "agent_exporter/nginx/dipper-log.conf",
    "agent_exporter/nginx/dipper-server.conf",
    "agent_exporter/systemd/dipper-agent.service",
    "docs/agent.md",
)
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "import sys\n\nfrom agent_exporter.cli import main\n\nsys.exit(main())\n"
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def stage(target: Path) -> None:
    """Copy the two packages and what the wheel's metadata needs."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(ROOT / "packaging" / "agent" / "pyproject.toml", target)
    shutil.copy(ROOT / "agent_exporter" / "README.md", target)
    shutil.copy(ROOT / "LICENSE", target)


def build_wheel(staged: Path, out: Path) -> Path:
    """The wheel of a staged tree."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=staged, check=True, stdout=subprocess.DEVNULL)
    return next(out.glob("dipper_agent-*.whl"))


def build_zipapp(staged: Path, out: Path) -> Path:
    """The zipapp of a staged tree."""
    path = out / "dipper-agent.pyz"
    with path.open("wb") as f:
        f.write(SHEBANG)
        with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as archive:
            files = sorted(p for name in PACKAGES for p in (staged / name).rglob("*") if p.is_file())
            entries = [("__main__.py", MAIN.encode())]
            entries += [(p.relative_to(staged).as_posix(), p.read_bytes()) for p in files]
            for name, data in entries:
                info = zipfile.ZipInfo(name, FIRST_ZIP_DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
    path.chmod(0o755)
    return path


def main(argv: list[str] | None = None) -> int:
    """Build everything; prints what was made."""
    parser = argparse.ArgumentParser(description="Build the agent's wheel and zipapp.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "agent")
    out = parser.parse_args(argv).out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("dipper_agent-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as staged:
        stage(Path(staged))
        made = [build_wheel(Path(staged), out), build_zipapp(Path(staged), out)]
    made += [Path(shutil.copy(ROOT / name, out)) for name in BESIDE]
    for path in made:
        print(f"{path.stat().st_size:8d}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
