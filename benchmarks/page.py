"""Size of a group page of many bundles and scalars, and how soon it can be used.

    python benchmarks/page.py BIDS_DIR OUTPUT_DIR --formula FORMULA [--bundles 60] [--scalars 4] [--keep PAGE.html]

Runs the group level on a finished output (fits that are there are taken), repeats its bundles and scalars under other
names until there are as many as asked for, writes the page, and opens it in headless Chromium from the file: prints its
bytes, the seconds from navigation until the load event, until table and explorer answer, and from the choice of a row
until its views are drawn (medians of five).
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd

import spectra_bids.group.page as module
from spectra_bids.cli import main as spectra_bids
from spectra_bids.report.build import group_figures, group_page


def page_of(arguments):
    """The page model of a run of the group level."""
    caught = []
    with patch.object(module, "group_figures", lambda page: caught.append(page) or ()):
        code = spectra_bids([arguments.bids, arguments.out, "group", "--formula", arguments.formula, "--force"])
    if code or not caught:
        sys.exit(f"the group level failed: exit status {code}")
    return caught[0]


def repeated(page, n_bundles, n_scalars):
    """The page with its bundles and scalars repeated."""
    bundles, scalars = list(page.shape), list(page.units)
    seen = [b for b in bundles if b in set(page.stats["1D"]["bundle"])]
    copies = {
        f"{seen[k % len(seen)]}{'' if k < len(seen) else k // len(seen)}": seen[k % len(seen)] for k in range(n_bundles)
    }
    maps = {
        f"{scalars[k % len(scalars)]}{'' if k < len(scalars) else k}": scalars[k % len(scalars)]
        for k in range(n_scalars)
    }

    def table(frame, keys=("bundle", "block")):
        parts = []
        for name, old in maps.items() if "scalar" in frame else [("", "")]:
            of = frame[frame["scalar"] == old].assign(scalar=name) if old else frame
            here = [k for k in keys if k in of]
            for new, source in copies.items() if here else [("", "")]:
                parts.append(of[of[here[0]] == source].assign(**dict.fromkeys(here, new)) if here else of)
        return pd.concat(parts, ignore_index=True)

    def every(tables):
        return {kind: table(of) for kind, of in tables.items()}

    def measured(of):
        def read(bundle):
            found = of.read(copies[bundle])
            return {new: found[old] for new, old in maps.items()}

        return replace(of, cells={new: of.cells[old] for new, old in copies.items()}, read=read)

    def named(mapping):
        return {new: mapping[old] for new, old in copies.items() if old in mapping}

    profiles = pd.concat(
        [page.profiles[page.profiles["bundle"] == old].assign(bundle=new) for new, old in copies.items()]
    )
    return replace(
        page,
        **{name: every(getattr(page, name)) for name in ("stats", "blocks", "summary", "clusters", "means")},
        measured={kind: measured(of) for kind, of in page.measured.items()},
        profiles=profiles.assign(**{new: profiles[old] for new, old in maps.items()}),
        ends=named(page.ends), sides=named(page.sides), shape=named(page.shape), lines=named(page.lines),
        units={new: page.units[old] for new, old in maps.items()},
        coverage=pd.DataFrame({new: page.coverage[old] for new, old in copies.items()}),
    )  # fmt: skip


def timed(path, folder):
    """Seconds until load, until ready, and from a choice until drawn."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in [
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "no-first-run",
    ]:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder}")
    options.add_argument("--window-size=1440,900")
    session = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    try:
        session.get("about:blank")
        session.get(path.as_uri())
        wait = WebDriverWait(session, 60)
        wait.until(lambda d: d.execute_script("return document.documentElement.dataset.ready === '1'"))
        mark = "return performance.getEntriesByName(arguments[0]).at(-1)?.startTime ?? null"
        ready = session.execute_script(mark, "explorer-ready")
        load = session.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        rows = "const r = [...document.querySelectorAll('#table-results .pick')];"
        start = session.execute_script(rows + "const t = performance.now(); r[r.length >> 1].click(); return t")
        time.sleep(2)
        drawn = session.execute_script(mark, "explorer-drawn")
    finally:
        session.quit()
    return load / 1000, ready / 1000, (drawn - start) / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bids")
    parser.add_argument("out")
    parser.add_argument("--formula", required=True)
    parser.add_argument("--bundles", type=int, default=60)
    parser.add_argument("--scalars", type=int, default=4)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    page = repeated(page_of(arguments), arguments.bundles, arguments.scalars)
    start = time.perf_counter()
    drawn = group_figures(page)
    figures = time.perf_counter() - start
    html = group_page(page, drawn)
    print(
        f"{len(html.encode()):,} bytes; {figures:.1f} s for {len(drawn)} figures, "
        f"then {time.perf_counter() - start - figures:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "page.html"
        path.write_text(html, encoding="utf-8")
        runs = [timed(path.resolve(), f"{folder}/{k}") for k in range(5)]
    for name, of in zip(("load", "ready", "row drawn"), zip(*runs, strict=True), strict=True):
        print(f"{name}: {sorted(of)[2]:.2f} s ({min(of):.2f} to {max(of):.2f})")


if __name__ == "__main__":
    main()
