"""Customer A walks every page and every door of a whole deployment, and finds nothing of customer B.

Pages come from the navigation, doors from the applications' own documents, applications from the composed service: what
is added later is walked as well, or this test says that nobody declared how. B's traces are planted where no accident
puts them, and a walk without the scoping finds them, so that finding nothing means something.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import dashboards
from contracts.protocols import LogError
from contracts.times import MINUTE_MS
from dashboards import context as page_context
from dashboards import views
from dashboards.context import Context, set_context
from dashboards.gate import Gate
from dashboards.people import ADMIN, CUSTOMER, Person
from dashboards.sessions import COOKIE
from dipper import demo_levels, service
from dipper.customer_side import SharedReports
from dipper.demo_once import _drive
from dipper.engine import open_engine
from dipper.paths import Paths
from dipper.service import Service
from dipper.settings import from_environment, load_policy
from dipper.share import Share, link, share_key
from dipper.watch import PATHS as HEALTH_PATHS
from dipper.watch import Watch
from feed.app import Feed
from feed.customers import CustomerApi
from feed.customers_openapi import DOCUMENT as CUSTOMERS
from feed.openapi import DOCUMENT as FEED
from history.sla_report import promised_months
from ingest.gateway import Gateway
from ingest.openapi import DOCUMENT as GATEWAY
from ingest.registry import passwords
from simulator import world
from simulator.asgi import call
from simulator.drive import SimulatedClock
from simulator.settings import Settings, build_fleet
from tests.history.sla_world import Row, fill
from tests.history.test_sla_causes import incident, series, store_incidents

A, A_NAME = "alfa-tv", "Alfa Television"
B, B_NAME = "zulubravo", "Zuluworthy Bravocast"
B_NUMBER, B_INCIDENT, B_NOTE = 7_654_321, "inc-zulu-9", "zulu rollout of bravo"
PASSWORD = "correct horse battery"
SCRIPT = Path(dashboards.__file__).parent / "app.py"
TRACES = re.compile(rf"{B}|zulu|bravo|{B_NUMBER}", re.IGNORECASE)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """A whole service, not started, over an engine with a few minutes of both customers' traffic."""
    folder = tmp_path_factory.mktemp("walk") / "data"
    settings = Settings(devices=2, customers=2, minutes=2, seed=5, faults_per_hour=0)
    clock = SimulatedClock(settings.start_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "COST", passwords.Cost(log2_n=4, r=8, p=1))
        patch.setattr(world, "CUSTOMERS", ((A, A_NAME, (("vod", 1.0),)), (B, B_NAME, (("vod", 1.0),))))
        patch.setattr(service, "streamlit_app", lambda *_: Pages())
        policy = load_policy()
        fast = {**policy, "log": {**policy["log"], "group_commit_ms": 0}}
        engine = open_engine(Paths(folder), fast, clock, manual=True, live=False)
        try:
            fleet = build_fleet(settings)
            demo_levels.promise(engine.store, fleet.world.customers, clock())
            asyncio.run(_drive(engine, fleet, clock, settings))
            engine.drain(clock())
            plant(engine, settings.start_ms)
            yield Service(engine, from_environment({}, data=folder, port=0))
        finally:
            engine.close()


class Pages:
    """What stands for Streamlit where doors are walked; its pages are walked by its own test harness."""

    def lifespan(self):
        return None

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the pages"})


def plant(engine, start):
    """Accounts and tokens of A; traces of B in history and in the registry."""
    registry = engine.registry
    registry.add_account("portal-a", CUSTOMER, PASSWORD, start, customer=A)
    registry.add_account("portal-bravo", CUSTOMER, PASSWORD, start, customer=B)
    minute = start + MINUTE_MS
    fill(engine.store, [Row(minute, B_NUMBER, B_NUMBER // 3, customer=B)], version=10)
    span = {"onset": minute, "detected_at": minute, "newest": minute + MINUTE_MS, "resolved_at": None}
    own = replace(series(B), onset=minute, newest=minute, bad=B_NUMBER)
    shared = [replace(series(A), onset=minute, newest=minute), own]
    where = {"customer": B}
    store_incidents(
        engine.store,
        incident(B_INCIDENT, state="open", customers=(B,), series=(own,), where=where, **span),
        incident("inc-both", state="open", customers=(A, B), series=tuple(shared), where={}, **span),
    )


def found_in(text):
    """Traces of B, with thousands' separators and escapes taken out of numbers."""
    plain = re.sub(r"(?<=\d)[\u2009\u202f,.' ](?=\d{3})", "", text.replace("\\u2009", "\u2009"))
    return sorted({found.lower() for found in TRACES.findall(plain)})


# ---- pages


def recorder(files):
    """In place of st.download_button: keeps what pages offer; a PDF is made of the same text as the HTML."""

    def offer(place, label, data, *more, **options):
        made = "" if label == "PDF" else data() if callable(data) else data
        files.append(made if isinstance(made, str) else made.decode())

    return offer


def everything_of(page, files, **query):
    """All that a page sends to a browser, as text."""
    app = AppTest.from_file(str(SCRIPT), default_timeout=60)
    if page != next(iter(views.drawn())):
        app._page_hash = calc_hash(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    blocks = [app.main, app.sidebar]
    return "\n".join([*(str(element.proto) for block in blocks for element in walked(block)), *files])


def walked(block):
    for child in block.children.values():
        if hasattr(child, "children"):
            yield from walked(child)
        else:
            yield child


@pytest.fixture
def walk(deployment, monkeypatch):
    """`walk(person, pages)` draws every page (or some) for somebody: traces of B by page. Pages are opened past the
    navigation, so that what protects is where they get their data."""
    monkeypatch.setattr(Person, "sees", lambda person, page: True)

    def run(person, pages=None):
        files = []
        monkeypatch.setattr(DeltaGenerator, "download_button", recorder(files))
        whole = deployment._page_context()
        set_context(replace(whole, person=lambda: person))
        found = {}
        for page in pages or views.drawn():
            files.clear()
            asked = {"lang": "en", "customer": B, "incident": B_INCIDENT, "by": "customer"}
            found[page] = found_in(everything_of(page, files, **asked))
        return found

    yield run
    page_context.clear_context()


def test_no_page_shows_a_customer_anything_of_another(walk):
    found = walk(Person("portal-a", CUSTOMER, A, leaves="local"))
    assert len(found) >= 7
    assert {page: traces for page, traces in found.items() if traces} == {}


def test_a_page_that_were_not_scoped_would_be_noticed(walk, monkeypatch):
    monkeypatch.setattr(Context, "scoped", lambda whole, person: whole)
    found = walk(Person("portal-a", CUSTOMER, A, leaves="local"), ["overview", "triage", "sla"])
    assert all(found.values()), found


def test_the_navigation_shows_a_customer_their_service_levels_only():
    person = Person("portal-a", CUSTOMER, A)
    assert [page for page in views.drawn() if person.sees(page)] == ["sla"]
    assert all(Person("root", ADMIN).sees(page) for page in views.drawn())


# ---- doors


def applications(app):
    """Every application within a composed one, found by looking into what functions and objects hold."""
    found, waiting, seen = [], [app], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if answers(value) and not inspect.isfunction(value):
            found.append(value)
        if inspect.isfunction(value):
            waiting += [cell.cell_contents for cell in value.__closure__ or ()]
        elif answers(value) or type(value).__module__.startswith(("dipper.", "dashboards.", "feed.")):
            waiting += list(getattr(value, "__dict__", {}).values())
    return found


def answers(value):
    """Whether something is called as an ASGI application is: three arguments, awaited."""
    call_ = value if inspect.isfunction(value) else vars(type(value)).get("__call__")
    if not inspect.iscoroutinefunction(call_):
        return False
    return list(inspect.signature(call_).parameters)[-3:] == ["scope", "receive", "send"]


def documented(document):
    """(method, path) of an OpenAPI document, its places filled with everybody's ids."""
    for path, operations in document["paths"].items():
        for method, names in product(operations, ((A, "box-00001"), (B, "box-00002"))):
            filled = re.sub(r"{(\w+)}", lambda place: names[place[1] == "device"], path)  # noqa: B023
            if method in ("get", "post", "put", "delete", "patch") and not filled.endswith("/stream"):
                yield method.upper(), filled


def links(deployment):
    """A's own link, and what becomes of it when it is turned into B's."""
    key = share_key({}, deployment.engine.paths.root)
    month = promised_months(deployment.engine.store, A, deployment.engine.clock())[0]
    until = deployment.engine.clock() + MINUTE_MS
    own, others = (link(key, Share(customer, month, until)) for customer in (A, B))
    mixed = f"{others.partition('.')[0]}.{own.partition('.')[2]}"
    yield from (("GET", f"/v1/shared/en/{text}.{form}") for text in (own, mixed) for form in ("html", "csv", "json"))


# Every kind of application, and how it is walked. One that is not named here fails the test: say which doors it has.
DOORS = {
    Gateway: lambda d: [*documented(GATEWAY), ("GET", "/openapi.json")],
    Feed: lambda d: documented(FEED),
    CustomerApi: lambda d: documented(CUSTOMERS),
    SharedReports: links,
    Watch: lambda d: [("GET", path) for path in HEALTH_PATHS],
    Gate: lambda d: (
        [("GET", f"/{page}") for page in views.drawn()] + [("GET", "/account/login"), ("GET", "/_stcore/metrics")]
    ),
    Pages: lambda d: [],
}


def ask(app, deployment, method, path, headers):
    """The answer's status and text; a door that writes may say that nothing is running."""
    try:
        status, answered, body = asyncio.run(call(app, method, path, headers, b"{}" if method != "GET" else b""))
    except LogError:
        return 503, ""
    return status, str(answered) + body.decode(errors="replace")


@pytest.fixture(scope="module")
def doors(deployment):
    """(application of the local listener, targets of every door in it, headers that A sends everywhere)."""
    local = next(opening.app for opening in deployment.listeners() if opening.name == "DIPPER_PORT")
    kinds = {type(app) for app in applications(local)}
    unknown = kinds - set(DOORS)
    assert not unknown, f"applications nobody walks: {unknown}; name their doors in DOORS"
    assert kinds == set(DOORS)
    targets = [target for kind in DOORS for target in DOORS[kind](deployment)]
    assert len(targets) > 30
    registry = deployment.engine.registry
    token = registry.add_api_token("portal-a", [f"customer:{A}"], deployment.engine.clock())
    session = deployment.people.access.log_in("portal-a", PASSWORD)
    headers = {"authorization": f"Bearer {token}", "cookie": f"{COOKIE}={session}", "accept": "text/html, */*"}
    return local, targets, headers


def test_no_door_tells_a_customer_anything_of_another(deployment, doors):
    local, targets, headers = doors
    answered = 0
    for method, path in targets:
        status, text = ask(local, deployment, method, path, headers)
        answered += status == 200
        asked_for = path if B in path else ""  # an answer may repeat what was asked
        assert found_in(text.replace(asked_for, "").replace(B, "") if asked_for else text) == [], (method, path, status)
        if B in path:
            assert status in (400, 401, 403, 404, 405), (method, path, status)
    assert answered >= 10


def test_a_door_that_were_not_scoped_would_be_noticed(deployment, doors):
    local, targets, headers = doors
    staff = deployment.engine.registry.add_api_token("staff", ["history:read"], deployment.engine.clock())
    with_staff = {**headers, "authorization": f"Bearer {staff}"}
    of_b = [f"/v1/customers/{B}/{what}" for what in ("quality", "sla", "incidents")]
    assert {("GET", path) for path in of_b} <= set(targets)
    for path in of_b:
        assert found_in(ask(local, deployment, "GET", path, with_staff)[1].replace(path, "")), path


def test_without_a_session_every_page_asks_who_it_is(deployment, doors):
    local, _, headers = doors
    for page in views.drawn():
        status, text = ask(local, deployment, "GET", f"/{page}", {"accept": headers["accept"]})
        assert (status, "/account/login" in text) == (303, True), page


def test_the_pages_own_listener_has_no_door_for_boxes_and_scrapers(deployment, doors):
    from dipper.people_side import only_people

    local, targets, headers = doors
    people = only_people(local)
    for method, path in targets:
        if path.startswith("/v1/shared/"):
            continue  # walked above, and slow
        status, _ = ask(people, deployment, method, path, headers)
        private = path.startswith("/v1/") and not path.startswith(("/v1/customers/", "/v1/shared/"))
        if private or path in (*HEALTH_PATHS, "/openapi.json"):
            assert status == 404, path
    own = json.loads(
        ask(people, deployment, "GET", f"/v1/customers/{A}/services", headers)[1].partition("}")[2] or "{}"
    )
    assert own["customer"] == A
