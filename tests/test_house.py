"""Rules of the house that a program can check."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_MODULE_LINES = 420
FOLDERS = (
    "agent_exporter", "anomaly", "benchmarks", "contracts", "dashboards", "dipper", "feed", "history", "ingest",
    "simulator", "streams", "tests",
)  # fmt: skip


def tracked(pattern):
    listing = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_every_folder_says_what_enters_and_leaves():
    for folder in FOLDERS:
        assert (ROOT / folder / "README.md").is_file(), f"{folder}/README.md is missing"


def test_modules_stay_readable_in_one_sitting():
    modules = [p for p in tracked("*.py") if "tests" not in p.parts]
    assert len(modules) > 20
    long = {str(p.relative_to(ROOT)): n for p in modules if (n := len(p.read_text().splitlines())) > MAX_MODULE_LINES}
    assert long == {}


def test_lock_files_pin_hashes_and_name_no_index():
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-peers.lock"):
        text = (ROOT / name).read_text()
        pins = re.findall(r"^[a-z0-9-]+(?:\[\w+\])?==", text, re.MULTILINE)
        assert len(pins) > 20
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text


def test_every_direct_dependency_earns_its_place():
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    project = (
        (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    )
    names = re.findall(r'"([a-z0-9-]+)(?:[>=<][^"]*)?"', project)
    assert {"chdb", "numpy", "pytest"} <= set(names)
    assert [n for n in names if not re.search(rf"\b{re.escape(n)}\b", reasons)] == []


def test_ci_runs_lint_test_and_verify():
    script = (ROOT / ".ci" / "run").read_text()
    for target in ("make lint", "make test", "make verify"):
        assert target in script


def test_readme_links_lead_somewhere():
    for page in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
