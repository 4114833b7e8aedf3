"""The 3D view in a real browser with the network off: colours, camera, a click, what is lit, and life without WebGL."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spectra_bids.demo.people import load_people
from spectra_bids.figures.scene_lines import display_lines, sample
from spectra_bids.figures.style import diverging
from spectra_bids.geometry.grid import build_grid
from spectra_bids.report import build, lines

pytestmark = pytest.mark.browser

SOFTWARE = "use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader"
WITHOUT = "disable-gpu disable-webgl disable-webgl2 disable-3d-apis"
#: The harness: a box with a picture, as the page has one; `start` makes the view in it.
START = """
const [name, done] = arguments;
document.querySelector("main").innerHTML = '<div id="box" style="width:600px;height:420px;background:#ffffff">'
  + '<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="></div>';
window.picks = [];
const made = SpectraScene.create(document.getElementById("box"), {dark: false, label: "AFL"});
made.then(async (viewer) => {
  window.viewer = viewer; viewer.onpick = (index) => window.picks.push(index);
  const shown = await viewer.show(name); done(["made", shown, viewer.current.ns, viewer.current.nr]);
}).catch((error) => done(["refused", String(error)]));
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the real build code that holds nothing but the data of the 3D view."""
    shown = {}
    for name, bundle in load_people()[0].items():
        plain = name.replace("_", "")
        shown[plain] = display_lines(sample(bundle), build_grid(bundle, plain), 4000)
    page: Any = SimpleNamespace(lines=shown, space="MNI152NLin2009cAsym", pictures={})
    assets = build.Assets(lines.scene_scripts(page), lines.scene_elements(page), lines.scene_hashes(page))
    path = tmp_path_factory.mktemp("scene") / "harness.html"
    path.write_text(build._render("harness", "3D", (), assets), "utf-8")
    return path


def _browser(folder: Path, flags: str) -> Any:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are absent")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    common = "headless no-sandbox disable-quic no-first-run disable-background-networking disable-component-update"
    for flag in f"{common} disable-sync disable-dev-shm-usage {flags}".split():
        options.add_argument(f"--{flag}")
    startup = {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"], "homepage": "about:blank"}
    options.add_experimental_option("prefs", startup)
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(service=Service(driver), options=options)
    session.set_script_timeout(60)
    session.set_window_size(700, 900)
    session.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    session.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    return session


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    session = _browser(tmp_path_factory.mktemp("profile"), SOFTWARE)
    yield session
    session.quit()


@pytest.fixture
def view(browser: Any, harness: Path) -> Callable[..., Any]:
    """A page with a view of AFL; `view(code, *arguments)` runs code that may use `viewer`, once it is drawn."""
    browser.get(harness.as_uri())
    browser.get_log("browser")
    if not browser.execute_script("return Boolean(document.createElement('canvas').getContext('webgl2'))"):
        pytest.skip("this browser has no WebGL 2, not even in software")
    made = browser.execute_async_script(START, "AFL")
    assert made[:2] == ["made", True], made

    def run(code: str, *arguments: Any) -> Any:
        waiting = "requestAnimationFrame(() => requestAnimationFrame(() => done(out)))"
        script = f"const done = arguments[arguments.length - 1]; const out = (() => {{ {code} }})(); {waiting};"
        return browser.execute_async_script(script, *arguments)

    return run


def pixels(browser: Any) -> np.ndarray:
    """What the view shows, (H, W, 3) 0..255, without buttons, letters and hint."""
    browser.execute_script(
        "for (const n of viewer.root.children) if (n !== viewer.canvas) n.style.visibility = 'hidden'"
    )
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    box = browser.execute_script(
        "const b = viewer.canvas.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")).astype(int)


def blue_and_orange(image: np.ndarray) -> tuple[int, int]:
    """Pixels that are clearly blue and clearly orange."""
    warm = image[..., 0] - image[..., 2]
    return int((warm < -70).sum()), int((warm > 70).sum())


def colour(view: Callable[..., Any], value: str, per: str = "viewer.current.ns * viewer.current.nr") -> None:
    """Colour every cell by a JavaScript expression of its index i."""
    table = (diverging()(np.arange(256))[:, :3] * 255).round().astype(int).ravel().tolist()
    body = f"const n = {per}, values = new Float32Array(n); for (let i = 0; i < n; i++) values[i] = {value};"
    view(f"{body} viewer.colour(values, {{low: -3, high: 3, colours: Uint8Array.from(arguments[0])}});", table)


def test_an_unknown_bundle_shows_the_brain_alone(view, browser):
    bundle = pixels(browser)
    assert browser.execute_async_script("viewer.show('Nobody').then(arguments[0])") is False
    alone = pixels(browser)
    assert np.abs(alone - bundle).max(axis=2).mean() > 1
    assert (alone < 250).any()
    assert view("return viewer.pick(300, 210)") is None


def test_values_change_the_colours_at_once_and_those_without_are_grey(view, browser):
    colour(view, "3")
    assert blue_and_orange(pixels(browser))[0] == 0
    many = blue_and_orange(pixels(browser))[1]
    assert many > 500
    colour(view, "-3")
    blue, orange = blue_and_orange(pixels(browser))
    assert blue > 500
    assert orange == 0
    colour(view, "NaN")
    assert blue_and_orange(pixels(browser)) == (0, 0)


def test_a_value_per_node_colours_its_whole_cross_section(view, browser):
    colour(view, "i < viewer.current.ns / 2 ? -3 : 3", "viewer.current.ns")
    blue, orange = blue_and_orange(pixels(browser))
    assert blue > 200
    assert orange > 200
    node = view("return viewer.indexOf(0)")
    assert node == view("return Math.floor(viewer.current.cells[0] / viewer.current.nr)")


def test_a_cell_that_is_lit_stands_out_from_the_others(view, browser):
    colour(view, "3")
    before = pixels(browser)
    cell = view("return viewer.indexOf(Math.floor(viewer.current.cells.length / 2))")
    view("viewer.highlight(arguments[0])", cell)
    lit = pixels(browser)
    magenta = (lit[..., 0] - lit[..., 1] > 120) & (lit[..., 2] - lit[..., 1] > 40)
    assert magenta.sum() > 20
    assert blue_and_orange(lit)[1] < 0.3 * blue_and_orange(before)[1]
    view("viewer.highlight(null)")
    np.testing.assert_array_equal(pixels(browser), before)


def test_a_click_on_a_streamline_tells_its_cell_and_one_beside_it_nothing(view, browser):
    from selenium.webdriver.common.action_chains import ActionChains

    colour(view, "1")
    place = view(
        "const box = viewer.canvas.getBoundingClientRect();"
        "for (let y = 10; y < box.height; y += 4) for (let x = 10; x < box.width; x += 4)"
        "  if (viewer.nearest(x, y, 2) !== null) return [x, y, viewer.pick(x, y)];"
    )
    centre = view("const b = viewer.canvas.getBoundingClientRect(); return [b.width / 2, b.height / 2]")
    move = [round(place[k] - centre[k]) for k in (0, 1)]
    canvas = browser.find_element("css selector", "canvas.s3d-gl")
    ActionChains(browser).move_to_element_with_offset(canvas, *move).click().perform()
    assert browser.execute_script("return window.picks") == [place[2]]
    corner = [round(4 - centre[0]), round(centre[1] - 4)]
    ActionChains(browser).move_to_element_with_offset(canvas, *corner).click().perform()
    ActionChains(browser).move_to_element_with_offset(canvas, *move).click_and_hold().move_by_offset(
        40, 5
    ).release().perform()
    assert browser.execute_script("return window.picks") == [place[2]]  # a drag turns, it picks nothing


def test_buttons_turn_the_camera_and_the_letters_with_it(view, browser):
    for name, at_right, at_top in (
        ("left", "P", "S"), ("right", "A", "S"), ("front", "L", "S"), ("back", "R", "S"), ("top", "R", "A"),
        ("bottom", "L", "A"),
    ):  # fmt: skip
        browser.find_element("css selector", f"[data-view={name}]").send_keys("\ue007")
        letters = view(
            "return [...viewer.root.querySelectorAll('.s3d-compass text')].filter((n) => n.style.opacity > 0)"
            ".map((n) => [n.textContent, +n.getAttribute('x'), +n.getAttribute('y')])"
        )
        assert len(letters) == 4
        assert max(letters, key=lambda each: each[1])[0] == at_right, name
        assert min(letters, key=lambda each: each[2])[0] == at_top, name


def test_letters_agree_with_where_the_streamlines_are_drawn(view):
    """The leftmost and the foremost vertex lie on the side of the letters L and A, from every camera."""
    for name in ("left", "front", "top", "bottom", "back"):
        offs = view(
            "viewer.camera(arguments[0]); const axes = viewer.screenAxes(), [mvp] = viewer.matrices();"
            "const on = (p) => { const w = (k) => mvp[k] * p[0] + mvp[4 + k] * p[1] + mvp[8 + k] * p[2] + mvp[12 + k];"
            "  return [w(0) / w(3), w(1) / w(3)]; };"
            "const zero = on([0, 0, 0]);"
            "return [0, 1, 2].map((k) => { const p = [0, 0, 0]; p[k] = 30; const q = on(p);"
            "  return [q[0] - zero[0], q[1] - zero[1], axes[4 * k], axes[4 * k + 1]]; })",
            name,
        )
        for dx, dy, ax, ay in offs:
            assert np.sign(round(dx, 3)) == np.sign(round(ax, 3))
            assert np.sign(round(dy, 3)) == np.sign(round(ay, 3))


def test_arrow_keys_turn_the_view_and_tab_leaves_it(view, browser):
    canvas = browser.find_element("css selector", "canvas.s3d-gl")
    before = view("return viewer.nv.scene.renderAzimuth")
    canvas.send_keys("\ue014")
    assert view("return viewer.nv.scene.renderAzimuth") != before
    canvas.send_keys("\ue004")
    assert browser.execute_script("return document.activeElement !== viewer.canvas")


def test_dark_and_light_take_the_colour_of_what_lies_behind(view, browser):
    colour(view, "3")
    view("document.getElementById('box').style.background = 'rgb(20, 24, 29)'; viewer.dark(true)")
    dark = pixels(browser)
    assert np.abs(dark[3, 3] - [20, 24, 29]).max() <= 1
    assert (dark.max(axis=2) > 45).mean() > 0.02  # the brain can be seen
    view("document.getElementById('box').style.background = '#fdfdfc'; viewer.dark(false)")
    light = pixels(browser)
    assert np.abs(light[3, 3] - [253, 253, 252]).max() <= 1
    assert (light.min(axis=2) < 225).mean() > 0.02


def test_another_size_is_drawn_sharply(view, browser):
    view("const box = document.getElementById('box'); box.style.width = '330px'; viewer.resize();")
    sizes = view("return [viewer.canvas.width / devicePixelRatio, viewer.canvas.getBoundingClientRect().width]")
    assert sizes[0] == pytest.approx(sizes[1], abs=1)


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_of(view, browser, harness):
    for name in ("CSTR", "CCForcepsMajor", "AFL"):
        assert browser.execute_async_script("viewer.show(arguments[0]).then(arguments[1])", name)
        colour(view, "i % 5 - 2")
    view("viewer.highlight(3); viewer.camera('top'); viewer.resize(); viewer.zoom(2)")
    assert browser.execute_script("return document.getElementById('box').dataset.live") == "1"
    assert not browser.find_element("css selector", "#box > img").is_displayed()
    assert browser.get_log("browser") == []
    events = " ".join(entry["message"] for entry in browser.get_log("performance"))
    assert harness.as_uri() in events
    assert not re.findall(r'"url":"(?:https?|wss?)://[^"]*', events)


def test_a_lost_context_is_told_to_the_page(view, browser):
    view("window.lost = 0; viewer.onlost = () => { window.lost += 1; };")
    view("viewer.canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    browser.execute_async_script("const end = arguments[0], ask = () => (lost ? end() : setTimeout(ask, 20)); ask()")
    view("viewer.camera('top')")
    assert [entry for entry in browser.get_log("browser") if "Uncaught" in entry["message"]] == []


def test_without_webgl_the_picture_stays(harness, tmp_path):
    session = _browser(tmp_path / "profile", WITHOUT)
    try:
        session.get(harness.as_uri())
        assert session.execute_script("return SpectraScene.available()") is False
        made = session.execute_async_script(START, "AFL")
        assert made[0] == "refused"
        assert "WebGL" in made[1]
        assert session.find_element("css selector", "#box > img").is_displayed()
        assert session.find_elements("css selector", "#box canvas") == []
        assert [entry for entry in session.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        session.quit()
