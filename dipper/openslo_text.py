"""OpenSLO's YAML as data that knows where it stands: plain mappings only, every refusal with its path."""

from __future__ import annotations

from typing import Any

import yaml

from contracts.errors import ContractError

API_VERSION = "openslo/v1"
MAX_CHARS = 1_000_000


class Node:
    """A mapping of the text, which knows where it stands."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ContractError("bad_openslo", path, "a mapping", value)
        self.path = path
        self.fields: dict[Any, Any] = value

    def _at(self, name: str) -> str:
        return f"{self.path}{'.' if ': ' in self.path else ': '}{name}"

    def child(self, name: str) -> Node:
        """A mapping below."""
        return Node(self._at(name), self.fields.get(name))

    def wrong(self, name: str, expected: str, got: object) -> ContractError:
        """The refusal of a field."""
        return ContractError("bad_openslo", self._at(name), expected, got)

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text", value)
        return value

    def number(self, name: str) -> float:
        """A number."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number", value)
        return float(value)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of some texts."""
        value = self.fields.get(name)
        if value not in allowed:
            raise self.wrong(name, f"one of {', '.join(allowed) or '(none there)'}", value)
        return str(value)


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags, no anchors (they can grow without bound), no key twice; times stay texts."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not used here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem="expected each key once, as a plain text", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[Node]:
    """The documents of a text, without empty ones. Raises ContractError `bad_openslo`."""
    if len(text) > MAX_CHARS:
        raise ContractError("bad_openslo", "text", f"at most {MAX_CHARS} characters", len(text))
    found = [Node(f"document {n}", document) for n, document in enumerate(_load(text), 1) if document is not None]
    for document in found:
        document.one_of("apiVersion", (API_VERSION,))
    return found


def _load(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_Loader))  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "text"
        raise ContractError("bad_openslo", where, "YAML", error.problem or str(error)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ContractError("bad_openslo", "text", "YAML", str(error).splitlines()[0]) from None
