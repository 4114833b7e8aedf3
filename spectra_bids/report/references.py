"""The works that the methods text cites."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One reference: key, authors, year, title, where, DOI."""

    key: str
    authors: str
    year: int
    title: str
    where: str
    doi: str

    @property
    def text(self) -> str:
        """As in a list of references."""
        return f"{self.authors} ({self.year}). {self.title}. {self.where}. doi:{self.doi}"

    @property
    def short(self) -> str:
        """As in running text."""
        names = [name.split(",")[0].strip() for name in self.authors.split(";")]
        who = names[0] if len(names) == 1 else " & ".join(names) if len(names) == 2 else f"{names[0]} et al."
        return f"{who.removesuffix(' and others')}{' et al.' if who.endswith(' and others') else ''} {self.year}"


_LIST = (
    Reference(
        "yeatman2012",
        "Yeatman, J. D.; Dougherty, R. F.; Myall, N. J.; Wandell, B. A.; Feldman, H. M.",
        2012,
        "Tract profiles of white matter properties: automating fiber-tract quantification",
        "PLoS ONE 7(11), e49790",
        "10.1371/journal.pone.0049790",
    ),
    Reference(
        "chandio2020",
        "Chandio, B. Q.; Risacher, S. L.; Pestilli, F.; Bullock, D.; Yeh, F.-C.; Koudoro, S.; Rokem, A.; Harezlak, J.; "
        "Garyfallidis, E.",
        2020,
        "Bundle analytics, a computational framework for investigating the shapes and profiles of brain pathways "
        "across populations",
        "Scientific Reports 10, 17149",
        "10.1038/s41598-020-74054-4",
    ),
    Reference("feng2026", "Feng and others", 2026, "SPECTRA", "Preprint", "10.64898/2026.05.08.723622"),
    Reference(
        "benjamini1995",
        "Benjamini, Y.; Hochberg, Y.",
        1995,
        "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
        "Journal of the Royal Statistical Society B 57(1), 289-300",
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    Reference(
        "benjamini2006",
        "Benjamini, Y.; Krieger, A. M.; Yekutieli, D.",
        2006,
        "Adaptive linear step-up procedures that control the false discovery rate",
        "Biometrika 93(3), 491-507",
        "10.1093/biomet/93.3.491",
    ),
    Reference(
        "benjamini2014",
        "Benjamini, Y.; Bogomolov, M.",
        2014,
        "Selective inference on multiple families of hypotheses",
        "Journal of the Royal Statistical Society B 76(1), 297-318",
        "10.1111/rssb.12028",
    ),
    Reference(
        "bogomolov2021",
        "Bogomolov, M.; Peterson, C. B.; Benjamini, Y.; Sabatti, C.",
        2021,
        "Hypotheses on a tree: new error rates and testing strategies",
        "Biometrika 108(3), 575-590",
        "10.1093/biomet/asaa086",
    ),
    Reference(
        "simes1986",
        "Simes, R. J.",
        1986,
        "An improved Bonferroni procedure for multiple tests of significance",
        "Biometrika 73(3), 751-754",
        "10.1093/biomet/73.3.751",
    ),
    Reference(
        "bates2015",
        "Bates, D.; Mächler, M.; Bolker, B.; Walker, S.",
        2015,
        "Fitting linear mixed-effects models using lme4",
        "Journal of Statistical Software 67(1), 1-48",
        "10.18637/jss.v067.i01",
    ),
    Reference(
        "kuznetsova2017",
        "Kuznetsova, A.; Brockhoff, P. B.; Christensen, R. H. B.",
        2017,
        "lmerTest package: tests in linear mixed effects models",
        "Journal of Statistical Software 82(13), 1-26",
        "10.18637/jss.v082.i13",
    ),
    Reference(
        "luke2017",
        "Luke, S. G.",
        2017,
        "Evaluating significance in linear mixed-effects models in R",
        "Behavior Research Methods 49(4), 1494-1502",
        "10.3758/s13428-016-0809-y",
    ),
    Reference(
        "parekh2024",
        "Parekh, P.; Fan, C. C.; Frei, O.; Palmer, C. E.; Smith, D. M.; Makowski, C. and others",
        2024,
        "FEMA: fast and efficient mixed-effects algorithm for large sample whole-brain imaging data",
        "Human Brain Mapping 45(2), e26579",
        "10.1002/hbm.26579",
    ),
    Reference(
        "maullinsapey2022",
        "Maullin-Sapey, T.; Nichols, T. E.",
        2022,
        "BLMM: parallelised computing for big linear mixed models",
        "NeuroImage 264, 119729",
        "10.1016/j.neuroimage.2022.119729",
    ),
    Reference(
        "liu2020",
        "Liu, Y.; Xie, J.",
        2020,
        "Cauchy combination test: a powerful test with analytic p-value calculation under arbitrary dependency "
        "structures",
        "Journal of the American Statistical Association 115(529), 393-402",
        "10.1080/01621459.2018.1554485",
    ),
    Reference(
        "galwey2009",
        "Galwey, N. W.",
        2009,
        "A new measure of the effective number of tests, a practical tool for comparing families of non-independent "
        "significance tests",
        "Genetic Epidemiology 33(7), 559-568",
        "10.1002/gepi.20408",
    ),
    Reference(
        "li2011",
        "Li, M.-X.; Gui, H.-S.; Kwan, J. S. H.; Sham, P. C.",
        2011,
        "GATES: a rapid and powerful gene-based association test using extended Simes procedure",
        "American Journal of Human Genetics 88(3), 283-293",
        "10.1016/j.ajhg.2011.01.019",
    ),
    Reference(
        "freedman1983",
        "Freedman, D.; Lane, D.",
        1983,
        "A nonstochastic interpretation of reported significance levels",
        "Journal of Business and Economic Statistics 1(4), 292-298",
        "10.1080/07350015.1983.10509354",
    ),
    Reference(
        "cieslak2014",
        "Cieslak, M.; Grafton, S. T.",
        2014,
        "Local termination pattern analysis: a tool for comparing white matter morphology",
        "Brain Imaging and Behavior 8(2), 292-299",
        "10.1007/s11682-013-9254-z",
    ),
    Reference(
        "winkler2014",
        "Winkler, A. M.; Ridgway, G. R.; Webster, M. A.; Smith, S. M.; Nichols, T. E.",
        2014,
        "Permutation inference for the general linear model",
        "NeuroImage 92, 381-397",
        "10.1016/j.neuroimage.2014.01.060",
    ),
    Reference(
        "smith2009",
        "Smith, S. M.; Nichols, T. E.",
        2009,
        "Threshold-free cluster enhancement: addressing problems of smoothing, threshold dependence and localisation "
        "in cluster inference",
        "NeuroImage 44(1), 83-98",
        "10.1016/j.neuroimage.2008.03.061",
    ),
    Reference(
        "kenward1997",
        "Kenward, M. G.; Roger, J. H.",
        1997,
        "Small sample inference for fixed effects from restricted maximum likelihood",
        "Biometrics 53(3), 983-997",
        "10.2307/2533558",
    ),
    Reference(
        "halekoh2014",
        "Halekoh, U.; Højsgaard, S.",
        2014,
        "A Kenward-Roger approximation and parametric bootstrap methods for tests in linear mixed models: the R "
        "package pbkrtest",
        "Journal of Statistical Software 59(9), 1-32",
        "10.18637/jss.v059.i09",
    ),
    Reference(
        "jolly2018",
        "Jolly, E.",
        2018,
        "Pymer4: connecting R and Python for linear mixed modeling",
        "Journal of Open Source Software 3(31), 862",
        "10.21105/joss.00862",
    ),
    Reference(
        "johnson2007",
        "Johnson, W. E.; Li, C.; Rabinovic, A.",
        2007,
        "Adjusting batch effects in microarray expression data using empirical Bayes methods",
        "Biostatistics 8(1), 118-127",
        "10.1093/biostatistics/kxj037",
    ),
    Reference(
        "fortin2018",
        "Fortin, J.-P.; Cullen, N.; Sheline, Y. I.; Taylor, W. D.; Aselcioglu, I.; Cook, P. A. and others",
        2018,
        "Harmonization of cortical thickness measurements across scanners and sites",
        "NeuroImage 167, 104-120",
        "10.1016/j.neuroimage.2017.11.024",
    ),
    Reference(
        "garyfallidis2014",
        "Garyfallidis, E.; Brett, M.; Amirbekian, B.; Rokem, A.; van der Walt, S.; Descoteaux, M.; Nimmo-Smith, I.",
        2014,
        "Dipy, a library for the analysis of diffusion MRI data",
        "Frontiers in Neuroinformatics 8, 8",
        "10.3389/fninf.2014.00008",
    ),
    Reference(
        "garyfallidis2015",
        "Garyfallidis, E.; Ocegueda, O.; Wassermann, D.; Descoteaux, M.",
        2015,
        "Robust and efficient linear registration of white-matter fascicles in the space of streamlines",
        "NeuroImage 117, 124-140",
        "10.1016/j.neuroimage.2015.05.016",
    ),
    Reference(
        "gorgolewski2016",
        "Gorgolewski, K. J.; Auer, T.; Calhoun, V. D.; Craddock, R. C.; Das, S.; Duff, E. P. and others",
        2016,
        "The brain imaging data structure, a format for organizing and describing outputs of neuroimaging experiments",
        "Scientific Data 3, 160044",
        "10.1038/sdata.2016.44",
    ),
    Reference(
        "yarkoni2019",
        "Yarkoni, T.; Markiewicz, C. J.; de la Vega, A.; Gorgolewski, K. J.; Salo, T.; Halchenko, Y. O. and others",
        2019,
        "PyBIDS: Python tools for BIDS datasets",
        "Journal of Open Source Software 4(40), 1294",
        "10.21105/joss.01294",
    ),
    Reference(
        "harris2020",
        "Harris, C. R.; Millman, K. J.; van der Walt, S. J.; Gommers, R.; Virtanen, P.; Cournapeau, D. and others",
        2020,
        "Array programming with NumPy",
        "Nature 585, 357-362",
        "10.1038/s41586-020-2649-2",
    ),
    Reference(
        "virtanen2020",
        "Virtanen, P.; Gommers, R.; Oliphant, T. E.; Haberland, M.; Reddy, T.; Cournapeau, D. and others",
        2020,
        "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        "Nature Methods 17, 261-272",
        "10.1038/s41592-019-0686-2",
    ),
)
REFERENCES = {reference.key: reference for reference in _LIST}
PARTICIPANT_KEYS = ("yeatman2012", "chandio2020", "feng2026", "garyfallidis2014")
MODEL_KEYS = ("bates2015", "kuznetsova2017", "luke2017", "parekh2024", "maullinsapey2022")
