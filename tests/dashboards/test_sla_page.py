"""The page of service level reports, run by Streamlit's own harness."""

import base64
import re
from xml.etree import ElementTree as ET

import pytest

from dashboards.context import set_context
from tests.dashboards.synthetic import make_context
from tests.dashboards.test_script import markup, open_page


@pytest.mark.parametrize(("language", "headline"), [("en", "The objective was missed."), ("zh", "目标未达成。")])
def test_the_page_is_the_report_and_offers_its_files(language, headline):
    set_context(make_context(3))
    app = open_page("sla", lang=language, customer="c001")
    assert f"<h2>{headline}</h2>" in markup(app)
    assert "<svg" not in markup(app)  # Streamlit would take it out
    drawn = re.search(r'<img class="burn" alt="[^"]+" src="data:image/svg\+xml;base64,([^"]+)">', markup(app))
    assert drawn is not None
    assert ET.fromstring(base64.b64decode(drawn[1])).tag == "{http://www.w3.org/2000/svg}svg"
    assert [button.proto.label for button in app.get("download_button")] == ["PDF", "HTML", "CSV", "JSON"]


def test_a_customer_without_service_level_is_told_what_to_do():
    set_context(make_context(3))
    said = markup(open_page("sla", lang="en", customer="c002"))
    assert "has no service level yet." in said
    assert "dipper objectives apply FILE" in said
