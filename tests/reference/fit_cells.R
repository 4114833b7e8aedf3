# The same model for every column of Y, by R's lm or by lmerTest.
#   Rscript fit_cells.R ROWS.csv Y.csv 'RIGHT SIDE' FACTORS CONTRASTS.csv OUT.csv
# ROWS.csv: one row per session. Y.csv: one column per cell. FACTORS: comma separated, 'name=level1|level2' or 'name'.
# CONTRASTS.csv: contrast, then one weight per coefficient; several lines of one name are an F.
# OUT.csv: cell, contrast, estimate, se, df_num, df, value, p, singular. lme4's default optimiser stops early, so its
# tolerances are tightened. F and t of lmer are contestMD and contest1D, Satterthwaite.
args <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(args[1], check.names = FALSE)
Y <- read.csv(args[2], check.names = FALSE)
for (spec in strsplit(args[4], ",", fixed = TRUE)[[1]]) {
  parts <- strsplit(spec, "=", fixed = TRUE)[[1]]
  levels <- if (length(parts) > 1) strsplit(parts[2], "|", fixed = TRUE)[[1]] else sort(unique(rows[[parts[1]]]))
  rows[[parts[1]]] <- factor(rows[[parts[1]]], levels = levels)
}
table <- read.csv(args[5], check.names = FALSE)
contrasts <- lapply(split(table[-1], factor(table$contrast, unique(table$contrast))), as.matrix)
formula <- as.formula(paste("value ~", args[3]))
mixed <- grepl("|", args[3], fixed = TRUE)
if (mixed) {
  suppressMessages(library(lmerTest))
  tight <- lmerControl(optimizer = "nloptwrap", check.conv.singular = "ignore",
                       optCtrl = list(xtol_abs = 1e-13, ftol_abs = 1e-15, xtol_rel = 1e-13, maxeval = 20000))
}
test_lm <- function(fit, L) {
  b <- drop(L %*% coef(fit)); V <- L %*% vcov(fit) %*% t(L); df <- df.residual(fit); k <- nrow(L)
  if (k == 1) { s <- sqrt(drop(V)); return(c(b, s, 1, df, b / s, 2 * pt(-abs(b / s), df))) }
  F <- drop(b %*% solve(V, b)) / k
  c(NA, NA, k, df, F, pf(F, k, df, lower.tail = FALSE))
}
test_lmer <- function(fit, L) {
  if (nrow(L) == 1) {
    r <- contest1D(fit, drop(L))
    return(c(r$Estimate, r$`Std. Error`, 1, r$df, r$`t value`, r$`Pr(>|t|)`))
  }
  r <- contestMD(fit, L)
  c(NA, NA, r$NumDF, r$DenDF, r$`F value`, r$`Pr(>F)`)
}
# lmer evaluates its data again when contrasts are tested, so every fit sees `value` in `rows`.
out <- list()
for (cell in seq_along(Y)) {
  rows$value <- Y[[cell]]
  # A cell is scaled as lme4's tolerances expect; estimates and standard errors are scaled back.
  scale <- sd(rows$value, na.rm = TRUE)
  rows$value <- rows$value / scale
  fit <- if (mixed) suppressMessages(suppressWarnings(lmer(formula, rows, control = tight))) else lm(formula, rows)
  for (name in names(contrasts)) {
    r <- if (mixed) test_lmer(fit, contrasts[[name]]) else test_lm(fit, contrasts[[name]])
    out[[length(out) + 1]] <- data.frame(cell = cell - 1, contrast = name, estimate = r[1] * scale, se = r[2] * scale,
      df_num = r[3], df = r[4], value = r[5], p = r[6], singular = mixed && isSingular(fit))
  }
}
out <- do.call(rbind, out)
write.table(format(out, digits = 17), args[6], sep = ",", row.names = FALSE, quote = FALSE)
