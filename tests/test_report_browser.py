"""The group page in a browser, from a file and without network: the views follow each other, by mouse and by keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explored import PEOPLE, explored
from test_report_build import HOSTILE, browser  # noqa: F401  (a fixture)

from spectra_bids.report.build import group_page

pytestmark = pytest.mark.browser

#: Stands for the 3D view: keeps what it was told, and lets a test pick.
STUB = """
window.told = { colours: [], cells: [], bundles: [] };
window.SpectraScene = { available: () => true, create: async (host) => window.viewer = {
  show: async (name) => { told.bundles.push(name); return true; },
  colour: (values, how) => told.colours.push([values.length, how.low, how.high, [...values].filter(isFinite).length]),
  highlight: (cell) => told.cells.push(cell), resize() {}, dark() {}, onpick: null } };
"""
READY = "return document.querySelector('#x-map rect[data-cell]') !== null"


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:  # noqa: F811
    """Opens a page with the stub in place, waits until it is drawn; at the end no error is on the console."""
    stub = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": STUB})

    def open_page(page: Any, address: str = "") -> Any:
        path = tmp_path / "model.html"
        path.write_text(group_page(page, ()), "utf-8")
        browser.get("about:blank")
        browser.get(path.as_uri() + address)
        browser.execute_script("document.getElementById('explorer').scrollIntoView()")
        _until(browser, READY)
        browser.execute_script("document.getElementById('scene').scrollIntoView()")
        _until(browser, "return window.told.cells.length > 0")
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", stub)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _until(session: Any, script: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(session, 20).until(lambda d: d.execute_script(script))


def _text(session: Any, css: str) -> str:
    text: str = session.execute_script("return document.querySelector(arguments[0]).textContent", css)
    return " ".join(text.split())


def _facts(session: Any) -> dict[str, str]:
    script = "return [...document.querySelectorAll('#x-facts div')].map(d => [...d.children].map(c => c.textContent))"
    return dict(session.execute_script(script))


def _click_cell(session: Any, cell: int) -> None:
    session.execute_script(
        "const cell = document.querySelector(`#x-map rect[data-cell='${arguments[0]}']`);"
        "cell.dispatchEvent(new MouseEvent('click', { bubbles: true }))",
        cell,
    )


def _keys(session: Any, css: str, *keys: str) -> None:
    from selenium.webdriver.common.by import By

    session.find_element(By.CSS_SELECTOR, css).send_keys(*keys)


def _choose_row(session: Any, text: str) -> None:
    """By the keyboard: the button of the row that holds the text."""
    from selenium.webdriver.common.keys import Keys

    script = (
        "return [...document.querySelectorAll('#table-results .pick')]"
        ".find(b => b.closest('tr').innerText.replace(/\\s+/g, ' ').includes(arguments[0]))"
    )
    session.execute_script(script, text).send_keys(Keys.ENTER)


def test_the_page_opens_on_the_clearest_finding_at_its_peak(opened: Any) -> None:
    session = opened(explored())
    assert _text(session, "#x-title") == "AF_L"
    assert _text(session, "#table-results [aria-current] td") == "AF_L"
    assert _text(session, "#x-place").startswith("Node 4, 20 mm from the posterior end")
    facts = _facts(session)
    assert facts["Decision"] == "rejected"
    assert (facts["Estimate"], facts["95 % CI"], facts["t"]) == ("−0.06", "−0.07 to −0.05", "−6")
    assert (facts["p"], facts["q"], facts["n"], facts["x, y, z"]) == ("1e−6", "0.0001", "8", "1, 2, 3 mm")


def test_a_click_on_a_cell_is_followed_by_every_other_view(opened: Any) -> None:
    session = opened(explored())
    _choose_row(session, "CST_R patient_vs_control dti_fa 2D")
    _until(session, "return document.getElementById('x-title').textContent === 'CST_R'")
    _until(session, "return told.bundles.at(-1) === 'CST_R'")
    before = _text(session, "#x-values")
    _click_cell(session, 3 * 7 + 2)  # node 7, bin 2
    assert _text(session, "#x-place") == "Node 7, 35 mm from the posterior end; radial bin 2, 5 mm to the right side"
    assert session.execute_script("return told.cells.at(-1)") == 7 * 3 + 2
    assert session.execute_script("return told.colours.at(-1)") == [36, -0.5, 0.5, 36]
    assert _text(session, "#x-values") != before
    assert "Node 7" in _text(session, "#x-live")
    cursor = float(session.execute_script("return document.querySelector('#x-profile .cursor').getAttribute('x1')"))
    box = session.execute_script(
        "const b = document.querySelector('#x-map .mark-line');"
        "return [b.getAttribute('x'), b.getAttribute('width')].map(Number)"
    )
    assert box[0] < cursor < box[0] + box[1]  # map and profile share their axis


def test_a_pick_in_3d_chooses_the_cell(opened: Any) -> None:
    session = opened(explored())
    session.execute_script("viewer.onpick(9 * 3 + 1)")
    place = _text(session, "#x-place")
    assert place.startswith("Node 9, 45 mm")
    assert session.execute_script("return told.cells.at(-1)") in (9, 9 * 3 + 1)


def test_a_page_whose_3d_view_was_stopped_says_so_and_goes_on(opened: Any) -> None:
    session = opened(explored())
    session.execute_script("viewer.onlost()")
    assert session.execute_script("return document.querySelector('#scene canvas')") is None
    told, place = session.execute_script("return told.cells.length"), _text(session, "#x-place")
    _click_cell(session, 2)
    assert session.execute_script("return told.cells.length") == told
    assert "stopped the 3D view" in _text(session, "#x-scene-note")
    assert session.find_element("id", "x-scene-note").is_displayed()
    assert _text(session, "#x-place") != place


def test_arrow_keys_move_along_and_across(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    session = opened(explored())
    _choose_row(session, "AF_L patient_vs_control dti_fa 2D")
    _until(session, "return document.getElementById('x-what').textContent.includes('2D')")
    _click_cell(session, 0)
    _keys(session, "#x-map", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert _text(session, "#x-place").startswith(
        "Node 2, 10 mm from the posterior end; radial bin 1, on the centre line"
    )
    _keys(session, "#x-map", Keys.END)
    assert _text(session, "#x-place").startswith("Node 11")
    _keys(session, "#x-map", Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN)  # stays on the grid
    assert _text(session, "#x-place").startswith("Node 11, 55 mm from the posterior end; radial bin 0")
    _keys(session, "#x-map", "p")
    assert _text(session, "#x-place").startswith("Node 4")


def test_values_are_shown_by_group_with_adjusted_means_and_say_whose_they_are(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    session = opened(explored())
    _choose_row(session, "CST_R patient_vs_control dti_fa 1D")
    _until(session, "return document.getElementById('x-title').textContent === 'CST_R'")
    assert session.execute_script("return document.querySelectorAll('#x-values circle').length") == PEOPLE
    assert session.execute_script("return document.querySelectorAll('#x-values .mean').length") == 2
    assert "adjusted means" in _text(session, "#x-values-note")
    _keys(session, "#x-values svg", Keys.ARROW_RIGHT)
    page = explored()
    cell = int(re.findall(r"Node (\d+)", _text(session, "#x-place"))[0])
    controls = page.measured["1D"].read("CST_R")["dti_fa"][::2, cell]
    who, level, value = _text(session, ".readout").split(" · ")
    assert who == f"sub-{2 * controls.argmin():03d}"
    assert level == "control"
    assert float(value) == float(f"{controls.min():.3g}")


def test_a_number_is_drawn_as_a_scatter(opened: Any) -> None:
    session = opened(explored(by="age"))
    assert "age" in _text(session, "#x-values svg")
    assert session.execute_script("return document.querySelectorAll('#x-values circle').length") >= PEOPLE - 1


def test_what_the_map_shows_can_be_chosen(opened: Any) -> None:
    session = opened(explored())
    for key in session.execute_script("return [...document.querySelectorAll('#x-quantity option')].map(o => o.value)"):
        session.execute_script(
            "const c = document.getElementById('x-quantity'); c.value = arguments[0];"
            "c.dispatchEvent(new Event('change'))",
            key,
        )
        assert session.execute_script("return document.querySelectorAll('#x-map rect[data-cell]').length") in (12, 36)
    assert session.execute_script("return told.colours.length") >= 5


def test_the_table_is_narrowed_by_choosers_words_and_findings(opened: Any) -> None:
    session = opened(explored())
    count = "return [...document.querySelectorAll('#table-results tbody tr')].filter(r => !r.hidden).length"
    assert session.execute_script(count) == 6
    session.execute_script(
        "const c = document.querySelector('[data-choose]'); c.value = '2D'; c.dispatchEvent(new Event('change'))"
    )
    assert session.execute_script(count) == 3
    session.execute_script("document.getElementById('x-only').click()")
    assert session.execute_script(count) == 1
    session.execute_script("document.getElementById('x-only').click()")
    _keys(session, "[data-name=results] input[type=search]", "minor")
    assert session.execute_script(count) == 1


def test_the_address_brings_back_what_was_looked_at(opened: Any) -> None:
    session = opened(explored())
    _choose_row(session, "CC_Minor patient_vs_control dti_fa 2D")
    _until(session, "return document.getElementById('x-title').textContent === 'CC_Minor'")
    _click_cell(session, 3 * 5 + 2)
    session.execute_script(
        "const c = document.getElementById('x-quantity'); c.value = 'p'; c.dispatchEvent(new Event('change'))"
    )
    session.execute_script("document.getElementById('x-only').click()")
    address, place = session.execute_script("return location.hash"), _text(session, "#x-place")
    session = opened(explored(), address)
    _until(session, "return document.getElementById('x-title').textContent === 'CC_Minor'")
    assert _text(session, "#x-place") == place
    assert session.execute_script(
        "return [document.getElementById('x-quantity').value, document.getElementById('x-only').checked]"
    ) == ["p", True]


def test_a_narrow_screen_does_not_scroll_sideways(opened: Any) -> None:
    session = opened(explored(lambda text: text + "W" * 150 if text in ("AF_L", "control") else text))
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    session.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    _until(session, "return document.querySelector('#x-map svg').clientWidth < 390")
    assert session.execute_script("return document.documentElement.scrollWidth") <= 390


def test_hostile_labels_are_text_in_every_view(opened: Any) -> None:
    text = "</script><script>window.ran=1</script><img src=x onerror='window.ran=1'>" + HOSTILE[2]
    session = opened(explored(lambda plain: plain + text))
    assert _text(session, "#x-title") == "AF_L" + text
    assert session.execute_script("return window.ran") is None
    assert session.execute_script("return document.querySelectorAll('main img').length") == 0


def test_a_page_of_groups_shows_summaries_and_no_dots(opened: Any) -> None:
    session = opened(explored(n=24, level="group"))
    assert session.execute_script("return document.querySelectorAll('#x-values circle').length") == 0
    assert session.execute_script("return document.querySelectorAll('#x-values rect').length") >= 2
    assert "groups of at least five people" in _text(session, "#x-values-note")
    assert session.execute_script("return document.querySelectorAll('#x-profile path.s0').length") == 1


def test_nothing_is_drawn_before_it_is_seen_and_paper_gets_table_and_figures(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "model.html"
    path.write_text(group_page(explored()), "utf-8")
    browser.get("about:blank")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1200, "height": 300, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(path.as_uri())
    _until(browser, "return document.documentElement.dataset.ready === '1'")
    assert browser.execute_script(READY) is False
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return ['explorer', 'table-results', 'summary'].map(i => document.getElementById(i).offsetHeight > 0)"
    assert browser.execute_script(shown) == [False, True, True]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.get_log("browser") == []
