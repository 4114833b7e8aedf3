"""The embedded demonstration: a cohort made of what the installed packages carry, run through everything.

`people` brings five real people's bundles (packaged with DIPY) to MNI space, `cohort` makes pseudo-subjects and a study
atlas of them, `run` takes these through participant level, group level and report.
"""
