"""Quality in plain words: one line for each thing that was looked at, and how it was judged."""

from __future__ import annotations

from spectra_bids.columns import STATUSES
from spectra_bids.figures.style import number
from spectra_bids.report.quality_model import TOLD, ModelRows, QualityPage
from spectra_bids.report.subject import status_words
from spectra_bids.report.words import counted

#: Level at which sites are said to differ.
LEVEL = 0.05


def missing_words(page: QualityPage) -> str:
    """How many bundles are missing, why, and where most."""
    usable = (page.statuses == "ok").sum()
    worst = usable.sort_values(kind="stable")
    n = len(page.sessions)
    beside = f" {counted(len(page.absent), 'bundle')} of the atlas nobody has." if page.absent else ""
    if int(worst.iloc[0]) == n:
        return f"every session has every bundle.{beside}"
    least = [f"{bundle} ({count:,} of {n:,})" for bundle, count in worst[worst < n][:3].items()]
    counts = page.coverage["status"].value_counts()
    why = [f"{counts[s]:,} {status_words(s)}" for s in STATUSES if s != "ok" and counts.get(s, 0)]
    return f"{', '.join(why)}. Fewest in {', '.join(least)}.{beside}"


def _places(n: int, page: QualityPage) -> str:
    """How many bundles; with several scalars, of them."""
    return counted(n, "bundle") if len(page.units) == 1 else counted(n, "bundle and scalar", "bundles and scalars")


def far_words(page: QualityPage) -> tuple[str, bool]:
    """Who is unusually far from the others; and whether anybody is."""
    if page.outliers["excess"].isna().all():
        return "too few sessions to say what is usual.", False
    far = page.far
    chance = f"chance alone would give about {number(round(page.chance, 1))}"
    if far.empty:
        return f"none (of {page.outliers['excess'].notna().sum():,} looked at).", False
    pairs = far[["bundle", "scalar"]].drop_duplicates()
    text = f"{counted(len(far), 'profile')} of {counted(far['label'].nunique(), 'session')}, in "
    text += f"{_places(len(pairs), page)}; {chance}."
    if page.by_person:
        most = far.groupby("label", sort=False)["bundle"].nunique().sort_values(ascending=False, kind="stable")[:3]
        named = [f"{label} (in {counted(int(n), 'bundle')})" for label, n in most.items()]
        text += f" Most: {', '.join(named)}."
    return text, True


def turned_words(page: QualityPage) -> tuple[str, bool]:
    """Whose profiles look reversed; and whether any does."""
    told = page.orientation[page.orientation["verdict"] == "cannot_tell"]
    n_symmetric = len(told[["bundle", "scalar"]].drop_duplicates())
    if not (page.orientation["verdict"].isin(TOLD)).any():
        return "no bundle's profiles tell the ends apart.", False
    rest = f" ({_places(n_symmetric, page)} cannot tell)" if n_symmetric else ""
    turned = page.turned
    if turned.empty:
        return f"no profile looks reversed{rest}.", False
    text = f"{counted(len(turned), 'profile looks', 'profiles look')} reversed{rest}"
    if page.by_person:
        named = [f"{row.label} in {row.bundle}" for row in turned[:4].itertuples()]
        text += f": {', '.join(named)}{' and others' if len(turned) > 4 else ''}"
    return text + ".", True


def site_words(page: QualityPage) -> str:
    """Where the levels of sites differ."""
    if page.sites is None or page.sites.empty:
        return "there is no column of sites (site, scanner, ...) in the participants' table."
    said = []
    for column, rows in page.sites.groupby("column", sort=False):
        tests = rows.drop_duplicates(["bundle", "scalar"])
        differ = tests[tests["q"] <= LEVEL].sort_values("share", ascending=False, kind="stable")
        of = _places(len(tests), page)
        if differ.empty:
            said.append(f"no difference between the levels of {column} was found ({of})")
            continue
        top = differ.iloc[0]
        said.append(
            f"levels of {column} differ in {len(differ)} of {of} (q ≤ .05), most in {top['bundle']}, {top['scalar']}: "
            f"{top['share']:.0%} of the variance of the means"
        )
    return f"{'; '.join(said)}. Not adjusted for who was scanned where."


def model_words(model: ModelRows) -> str:
    """Rows of a model, and why others are none."""
    text = counted(model.n, "row")
    if not model.dropped:
        return f"{text}, nobody left out."
    why = "; ".join(f"{n} {reason}" for reason, n in list(model.reasons.items())[:4])
    return f"{text}, {len(model.dropped)} left out: {why}."


def decision_words(page: QualityPage) -> str:
    """What the decisions file takes out."""
    if not page.decisions_name:
        return "no --qc-file is in force."
    counts = page.coverage["decision"].value_counts()
    rejected = page.coverage[page.coverage["decision"] == "reject"]
    people = len(rejected[["participant_id", "session_id"]].drop_duplicates())
    text = f"the file {page.decisions_name} rejects {counted(len(rejected), 'bundle')} of {counted(people, 'session')}"
    return f"{text} and accepts {counts.get('accept', 0)}." if counts.get("accept", 0) else f"{text}."


METHODS = (
    "Every session and scalar of the output directory counts, whatever a model uses. Rejected bundles are measured "
    "like the others, but do not decide what is usual.",
    "Unusual profiles: the 1D profile's deviations from the nodes' medians, in median absolute deviations, are "
    "split into the few ways in which profiles usually vary (spherical principal components) and the rest; the "
    "robust distance within the former and that of the latter (ROBPCA's score and orthogonal distance) are each "
    "held against a limit. Limits are set so that about one bundle and scalar in twenty has anybody beyond one if "
    "all is well, and are wider where there are few sessions.",
    "Flip audit: each profile's correlation with the mean of the other sessions, and with the reverse of that mean. "
    "Where the usual difference of the two is less than 2.5 of its robust standard deviations ends cannot be told "
    "apart; elsewhere a profile is called reversed if the reverse wins by at least half of the usual difference.",
    "Sites: columns of the participants' table are known by their names (site, scanner, center, vendor, ...). The "
    "share is 1 − the variance within levels over the whole, each with its degrees of freedom; the test is that of "
    "Kruskal and Wallis, adjusted over bundles and scalars after Benjamini and Hochberg. Groups and ages that "
    "differ between sites are part of it.",
    "Decisions (--qc-file): of the lines that concern a bundle of a session, the one that names most wins. What is "
    "rejected counts as not measured (qc fail) in every model; tables of single sessions stay as they are.",
)
