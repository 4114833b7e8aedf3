"""The model and the multiple-testing procedure in words: what was done, what it guarantees, whom to cite."""

from __future__ import annotations

from collections.abc import Mapping

from spectra_bids import __version__
from spectra_bids.report.methods import cite
from spectra_bids.report.references import MODEL_KEYS, PARTICIPANT_KEYS, REFERENCES
from spectra_bids.settings import DecisionSettings, FitSettings, GroupSettings, PermutationSettings

_PROVISO = (
    "if the cells' p values are valid and independent or positively dependent (PRDS); for two-sided tests of "
    "smooth fields, as here, this rests on simulation, not on proof"
)
_FAMILY = (
    "A family is one contrast of one scalar, 1D and 2D apart; each family is corrected on its own and nothing is "
    "corrected across families."
)
_COMBINATIONS = {
    "simes": ("by Simes' test", ("simes1986",)),
    "acat": ("by the Cauchy combination test (ACAT)", ("liu2020",)),
    "bonferroni": ("by Bonferroni's inequality (the smallest p times their number)", ()),
    "minp-galwey": ("by their minimum, corrected for Galwey's effective number of tests", ("galwey2009",)),
    "gates": ("by GATES, Simes' test with effective numbers of tests", ("li2011", "simes1986")),
}

#: Size at nominal .05 of the combinations that exceed it, from docs/error-rates.md (96 smooth cells, n = 60).
_LIBERAL = {"minp-galwey": "11.5 %", "acat": "6.6 %", "gates": "6.1 %"}


def group_methods(
    settings: GroupSettings, formula: str, has_random: bool, who: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """How the group results were made, paragraphs; `who` says for each contrast what was exchanged with what."""
    return (
        f"Group inference used spectra_bids {__version__} with the formula {formula}. "
        f"{model_text(settings.fitting, has_random)}",
        *harmonization(settings.fitting),
        "Missing values are left out cell by cell. Cells without a valid p value leave the family: they are neither "
        "p = 1 nor p = 0.",
        *correction(settings.decision),
        *exchanged(who or {}),
    )


def model_text(fitting: FitSettings, has_random: bool) -> str:
    """The model and its tests."""
    if not has_random:
        by = f" through R's lm {cite('jolly2018')}" if fitting.engine == "pymer4" else ""
        text = (
            f"One linear model per cell was fitted by ordinary least squares{by}; t and F tests have exact degrees of "
            "freedom."
        )
    else:
        kind = "restricted maximum likelihood" if fitting.estimation == "reml" else "maximum likelihood"
        how = (
            f"cell by cell, through pymer4 and lme4 {cite('jolly2018', 'bates2015')}"
            if fitting.engine == "pymer4"
            else "all cells at once"
        )
        df, keys = (
            ("Satterthwaite's", MODEL_KEYS)
            if fitting.ddf == "satterthwaite"
            else ("Kenward and Roger's", ("kenward1997", "halekoh2014"))
        )
        text = (
            f"One linear mixed model per cell was fitted by {kind}, {how}; t and F tests have {df} degrees of freedom "
            f"{cite(*keys)}. A variance of a random effect that is estimated at 0 (a singular fit) is a valid fit."
        )
    if fitting.interval == "profile":
        text += " Confidence intervals are those of the profile likelihood."
    for name, column in (("weighted by", fitting.weights), ("fitted with the offset", fitting.offset)):
        text += f" Rows were {name} {column}." if column else ""
    if fitting.null_formula:
        text += (
            f" Every cell's model was also compared with {fitting.null_formula} by a likelihood-ratio test (both "
            "fitted by maximum likelihood where their fixed parts differ)."
        )
    return text


def harmonization(fitting: FitSettings) -> tuple[str, ...]:
    """What ComBat did, or nothing."""
    chosen = fitting.harmonize
    if chosen is None:
        return ()
    kept = f", keeping the effects of {', '.join(chosen.covariates)}" if chosen.covariates else ""
    of = f" It was estimated from people with {chosen.reference} and applied to all." if chosen.reference else ""
    return (
        f"Before the fits, location and scale of every cell were harmonised between the levels of {chosen.batch} by "
        f"ComBat {cite('johnson2007', 'fortin2018')}{kept}.{of} The fits do not know of this step: their degrees of "
        "freedom count the harmonised values as if they had been measured.",
    )


def correction(decision: DecisionSettings) -> tuple[str, ...]:
    """The multiple-testing procedure, paragraphs."""
    if decision.mode == "fdr":
        name = (
            f"the adaptive two-stage procedure {cite('benjamini2006')}"
            if decision.adaptive
            else f"the Benjamini-Hochberg procedure {cite('benjamini1995')}"
        )
        return (f"{_FAMILY} All cells of a family were corrected together by {name} at level {decision.alpha:g}.",)
    if decision.mode == "perm":
        return (f"{_FAMILY} {_permutation(decision.permutation)} The level is {decision.alpha:g}.",)
    how, keys = _COMBINATIONS[decision.combination]
    top = (
        f" On top, the families of a contrast over all scalars are one hierarchy: Benjamini-Hochberg over the scalars' "
        f"combined p values at level {decision.alpha_scalar:g} selects scalars, and the levels below are multiplied by "
        "the selected share of scalars."
        if decision.alpha_scalar is not None
        else ""
    )
    return (
        f"{_FAMILY if not top else ''} {_blocks(decision)} of a hierarchical procedure "
        f"{cite('benjamini2014', 'bogomolov2021')}: the p values of a block's cells are combined {how}"
        f"{' ' + cite(*keys) if keys else ''}; Benjamini-Hochberg {cite('benjamini1995')} over the m blocks at level "
        f"{decision.alpha_block:g} selects R of them; within each selected block, Benjamini-Hochberg over its cells at "
        f"level α·R/m, α = {decision.alpha_cell[0]:g}, rejects cells. The column q is the adjusted p of a cell times "
        f"m/R, to be compared with α.{top}".strip(),
    )


def _blocks(decision: DecisionSettings) -> str:
    if decision.mode == "hfdr_resel":
        return (
            "Resels are the blocks (patches of a bundle's grid as large as the smoothness of the residuals: the full "
            "width at half maximum along and across the tract, from the mean correlation of neighbouring cells)"
        )
    if decision.block_file is not None:
        return f"The regions of {decision.block_file.name} are the blocks"
    return "Bundles are the blocks"


def _permutation(chosen: PermutationSettings) -> str:
    statistic = {
        "max": "the statistic of a cell",
        "cluster": "the mass of a cluster of cells on the grid",
        "tfce": f"threshold-free cluster enhancement over the grid's neighbours {cite('smith2009')}",
    }[chosen.statistic]
    return (
        f"Residuals of the model without the tested effect were permuted {chosen.n} times by the method of "
        f"Freedman and Lane {cite('freedman1983', 'winkler2014')}, the same way in all "
        f"cells; {statistic} is compared with its maximum over the family in every permutation, which controls the "
        "family-wise error rate over cells."
    )


def exchanged(words: Mapping[str, str]) -> tuple[str, ...]:
    """Who was exchanged with whom, by contrast; nothing where nothing was permuted."""
    if not words:
        return ()
    return (f"Exchanged were, for {'; for '.join(f'{name}: {said}' for name, said in words.items())}.",)


def guarantee(decision: DecisionSettings) -> tuple[str, ...]:
    """What the procedure guarantees and what it does not, paragraphs."""
    if decision.mode == "perm":
        return (
            f"The probability of any false rejection in a family is at most {decision.alpha:g}, if the rows are "
            "exchangeable as said in the methods once the other effects are taken out. This needs no assumption on the "
            "shape of the distribution or on the correlation of cells."
            + (
                ""
                if decision.permutation.statistic == "max"
                else " A cluster or an enhanced value speaks of a neighbourhood: not every cell in it is a finding."
            ),
        )
    if decision.mode == "fdr" and decision.adaptive:
        return (
            "The expected share of false rejections among the rejected cells of a family (the false discovery rate) is "
            f"at most {decision.alpha:g}, if the cells' p values are valid and independent. The adaptive two-stage "
            "procedure is proven for independent p values only; for positively dependent ones, as neighbouring cells "
            "have, this rests on simulation.",
            "Nothing is guaranteed of bundles: a bundle with a rejected cell is not itself a tested finding.",
        )
    if decision.mode == "fdr":
        return (
            "The expected share of false rejections among the rejected cells of a family (the false discovery rate) is "
            f"at most {decision.alpha:g}, {_PROVISO}.",
            "Nothing is guaranteed of bundles: a bundle with a rejected cell is not itself a tested finding.",
        )
    blocks = "bundles" if decision.mode == "hfdr" and decision.block_file is None else "blocks"
    text: tuple[str, ...] = (
        f"The false discovery rate over {blocks} (the expected share of false ones among the selected {blocks}) is at "
        f"most {decision.alpha_block:g}, and the average over the selected {blocks} of the false discovery rate "
        f"over their cells is at most {decision.alpha_cell[0]:g}, {_PROVISO}.",
        f"It does not bound the false discovery rate of all rejected cells pooled over the {blocks}.",
    )
    if decision.combination in _LIBERAL:
        text += (
            f"In simulations of smooth fields the combination {decision.combination} rejected a true null block in "
            f"{_LIBERAL[decision.combination]} of cases at nominal 5 %, Simes' test in 4.0 %: selected blocks are less "
            "certain than their q says.",
        )
    if decision.mode == "hfdr_resel":
        text += ("The blocks follow from the residuals' smoothness, not from the effects that are tested.",)
    if decision.alpha_scalar is not None:
        text += (
            f"With the level over scalars, the false discovery rate over scalars is at most {decision.alpha_scalar:g}, "
            "and the levels below hold on average over the selected scalars.",
        )
    sweep = ", ".join(f"{a:g}" for a in decision.alpha_cell[1:])
    if sweep:
        text += (
            f"The level within {blocks} was fixed in advance at {decision.alpha_cell[0]:g}. Results at the other "
            f"levels ({sweep}) are exploratory.",
        )
    return text


def group_references(settings: GroupSettings, has_random: bool) -> tuple[str, ...]:
    """References of the group page."""
    decision, fitting = settings.decision, settings.fitting
    keys: list[str] = [*PARTICIPANT_KEYS, *(MODEL_KEYS if has_random else ())]
    keys += ["jolly2018"] if fitting.engine == "pymer4" else []
    keys += ["kenward1997", "halekoh2014"] if fitting.ddf == "kenward-roger" else []
    keys += ["johnson2007", "fortin2018"] if fitting.harmonize else []
    if decision.hierarchical:
        keys += ["benjamini2014", "bogomolov2021", *_COMBINATIONS[decision.combination][1], "benjamini1995"]
    elif decision.mode == "perm":
        keys += ["freedman1983", "winkler2014", *(["smith2009"] if decision.permutation.statistic == "tfce" else [])]
    else:
        keys += ["benjamini2006" if decision.adaptive else "benjamini1995"]
    return tuple(REFERENCES[key].text for key in dict.fromkeys(keys))
