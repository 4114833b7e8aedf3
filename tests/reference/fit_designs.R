# One lmerTest fit per design.   Rscript fit_designs.R MANIFEST.csv OUT.csv
# MANIFEST.csv: design, formula, reml, factors (name=level1|level2, comma separated). Beside it <design>.csv: the rows,
# with y, and optionally w (prior weights) and o (offset). OUT.csv: design, kind, name, number, a .. f:
#   fit    n, criterion, singular, columns dropped, random effects, seconds       error  message in name
#   coef   estimate, se, df, t, p              F      NumDF, DenDF, F, p
#   vc     variance or covariance, name = group|column|column                     theta  value
# lme4's default optimiser stops early, so its tolerances are tightened.
suppressMessages({library(lmerTest); library(splines)})
args <- commandArgs(trailingOnly = TRUE)
manifest <- read.csv(args[1], stringsAsFactors = FALSE)
tight <- lmerControl(optimizer = "nloptwrap", check.conv.singular = "ignore",
                     optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
out <- list()
add <- function(design, kind, name, ...) {
  v <- c(..., rep(NA, 6))[1:6]
  out[[length(out) + 1]] <<- data.frame(design = design, kind = kind, name = name, number = length(out),
    a = v[1], b = v[2], c = v[3], d = v[4], e = v[5], f = v[6])
}
for (i in seq_len(nrow(manifest))) {
  case <- manifest[i, ]
  rows <- read.csv(file.path(dirname(args[1]), paste0(case$design, ".csv")), check.names = FALSE)
  for (spec in strsplit(case$factors, ",", fixed = TRUE)[[1]]) {
    parts <- strsplit(spec, "=", fixed = TRUE)[[1]]
    levels <- if (length(parts) > 1) strsplit(parts[2], "|", fixed = TRUE)[[1]] else sort(unique(rows[[parts[1]]]))
    rows[[parts[1]]] <- factor(rows[[parts[1]]], levels = levels)
  }
  w <- if ("w" %in% names(rows)) rows$w else rep(1, nrow(rows))
  o <- if ("o" %in% names(rows)) rows$o else rep(0, nrow(rows))
  rows$w <- w; rows$o <- o
  start <- proc.time()[[3]]
  fit <- tryCatch(suppressMessages(suppressWarnings(
    lmer(as.formula(case$formula), rows, REML = case$reml, weights = w, offset = o, control = tight))),
    error = function(e) e)
  if (inherits(fit, "error")) { add(case$design, "error", conditionMessage(fit)); next }
  took <- proc.time()[[3]] - start
  criterion <- if (case$reml) REMLcrit(fit) else deviance(fit)
  dropped <- length(attr(getME(fit, "X"), "col.dropped"))
  add(case$design, "fit", "", nobs(fit), criterion, isSingular(fit), dropped, length(getME(fit, "b")), took)
  if (dropped > 0) next
  s <- coef(summary(fit))
  for (k in rownames(s)) add(case$design, "coef", k, s[k, ])
  a <- suppressMessages(anova(fit, type = 3))
  for (k in rownames(a)) add(case$design, "F", k, a[k, "NumDF"], a[k, "DenDF"], a[k, "F value"], a[k, "Pr(>F)"])
  v <- as.data.frame(VarCorr(fit))
  for (k in seq_len(nrow(v))) add(case$design, "vc", paste(v$grp[k], v$var1[k], v$var2[k], sep = "|"), v$vcov[k])
  for (t in getME(fit, "theta")) add(case$design, "theta", "", t)
}
out <- do.call(rbind, out)
write.table(format(out, digits = 17, trim = TRUE), args[2], sep = "\t", row.names = FALSE, quote = FALSE)
