"""The catalogue: complete in both languages, and in step with the code that uses it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import dashboards
from contracts.columns import CELL_DIMENSIONS, VITALS_MEASURES, names
from contracts.entities import CHANGE_KINDS
from contracts.health import REASONS
from contracts.health import STATES as HEALTH_STATES
from contracts.incidents import KINDS, LEVELS, SENTENCES, STATES, VERBS_OF_PEOPLE, VERBS_OF_SYSTEM, VERDICTS
from contracts.releases import VERDICTS as RELEASE_VERDICTS
from dashboards.explore_url import VIEWS
from dashboards.frontend import THEMES
from dashboards.intake import KINDS as SILENCES
from dashboards.matched import Finding
from dashboards.messages import LANGUAGES, MESSAGES, Words
from dashboards.model import State
from dashboards.people import ROLES
from dashboards.sidebar import CONTROLS
from dashboards.state import RANGES
from dashboards.views import drawn
from history.query_cells import MEASURES

FOLDER = Path(dashboards.__file__).parent
# Keys that code builds: prefix -> what may follow.
BUILT = {
    "control.": set(CONTROLS),
    "page.": set(drawn()),
    "person.role.": set(ROLES),
    "accounts.": {"name", "role", "customer", "state", "since"},
    "data.kind.": {*SILENCES, "unknown", "self.lag"},
    "data.means.": {*SILENCES, "unknown", "self.lag"},
    "data.stage.": {"received", "queryable", "stream", "signal", "closed", "hour", "scores"},
    "rules.finding.": {*(f.value for f in Finding), "young"},
    "scores.figure.": {"reduce", "drain"},
    "score.state.": set(HEALTH_STATES),
    "reason.": set(REASONS),
    "vital.": set(names(VITALS_MEASURES)),
    "verdict.": {*RELEASE_VERDICTS, "open"},
    "releases.sentence.": set(RELEASE_VERDICTS),
    "releases.": {"enough_harm", "enough_fine"},
    "match.": {"load"},
    "measure.": set(MEASURES),
    "headline.": set(SENTENCES),
    "incident.kind.": {kind.partition(".")[0] for kind in KINDS},
    "incident.state.": set(STATES),
    "incident.level.": set(LEVELS),
    "incident.verdict.": set(VERDICTS),
    "triage.relation.": {"matches", "contains", "within"},
    "triage.baseline.": {"none", "overall", "time_of_day", "time_of_week"},
    "verb.": {*VERBS_OF_PEOPLE, *VERBS_OF_SYSTEM},
    "dim.": {*CELL_DIMENSIONS, "device"},
    "view.": set(VIEWS),
    "source.": {"cell_days", "cell_hours", "cell_minutes"},
    "explore.": {"measure", "step"},
    "explore.threshold_": {"ms", "kbs"},
    "range.": set(RANGES),
    "theme.": set(THEMES),
    "state.": {state.value for state in State},
    "kind.": set(CHANGE_KINDS),
    "against.": {"week", "day", "hour"},
    "ledger.": {"requests", "slices"},
    "term.": {
        name + suffix
        for name in ("reported", "double_counted", "stored", "rejected", "declared_dropped", "pending", "lost")
        for suffix in ("", ".help")
    },
}
CALLED = ("w", "words", "template")


def used_keys() -> tuple[set[str], set[str]]:
    """Literal keys, and the fixed prefixes of built ones, in all calls of the catalogue."""
    literal, built = set(), set()
    for path in set(FOLDER.glob("*.py")) - set(FOLDER.glob("messages*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in MESSAGES:
                literal.add(node.value)
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name not in CALLED:
                continue
            key = node.args[0]
            if isinstance(key, ast.Constant):
                literal.add(key.value)
            elif isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
                built.add(key.values[0].value)
    return literal, built


def places(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


@pytest.mark.parametrize("key", sorted(MESSAGES))
def test_a_message_exists_in_every_language_with_the_same_places(key: str) -> None:
    english, chinese = MESSAGES[key]
    assert len(MESSAGES[key]) == len(LANGUAGES)
    assert english
    assert chinese or key == "sentence.join"
    assert places(english) == places(chinese)


def test_every_key_the_code_uses_exists() -> None:
    literal, built = used_keys()
    assert literal <= set(MESSAGES)
    assert built <= set(BUILT), "declare what may follow a built key's prefix in BUILT"
    assert {prefix + rest for prefix in BUILT for rest in BUILT[prefix]} <= set(MESSAGES)


def test_every_message_is_used() -> None:
    literal, _ = used_keys()
    built = {prefix + rest for prefix in BUILT for rest in BUILT[prefix]}
    singular = {f"{key}.one" for key in literal | built}
    assert set(MESSAGES) - literal - built - singular == set()


def test_one_has_its_own_form_and_an_unknown_key_is_an_error() -> None:
    english = Words("en")
    assert english("overview.undecided", n=1) == "For 1 the data cannot tell."
    assert english("overview.undecided", n=6) == "For 6 the data cannot tell."
    with pytest.raises(KeyError):
        english("overview.nonsense")


def test_an_unknown_language_falls_back_to_english() -> None:
    assert Words("tlh")("no_data") == "no data"


def test_no_text_for_people_stands_outside_the_catalogue() -> None:
    """Chinese outside messages.py and format.py (units, dates) would be a text the catalogue misses."""
    for path in FOLDER.glob("*.py"):
        if path.name.startswith("messages") or path.name in ("format.py", "figures.py"):
            continue
        assert not re.search(r"[\u4e00-\u9fff]", path.read_text(encoding="utf-8")), path.name
