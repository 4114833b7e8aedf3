# Time lmerTest on the standard task.   Rscript engine_lmertest.R ROWS.csv Y.csv P_VALUES.csv
# Default optimiser settings, as a user runs it; coef(summary()) gives the Satterthwaite tests.
suppressMessages(library(lmerTest))
args <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(args[1]); rows$site <- factor(rows$site)
Y <- as.matrix(read.csv(args[2]))
formula <- as.formula(paste("y ~", paste(setdiff(names(rows), "site"), collapse = " + "), "+ (1|site)"))
fit <- function(k) { rows$y <- Y[, k]; coef(summary(suppressMessages(lmer(formula, rows))))[, "Pr(>|t|)"] }
invisible(fit(1))
took <- system.time(p <- t(sapply(seq_len(ncol(Y)), fit)))
write.table(p, args[3], sep = ",", row.names = FALSE, col.names = FALSE)
peak <- as.numeric(sub("\\D+(\\d+).*", "\\1", grep("VmHWM", readLines("/proc/self/status"), value = TRUE))) / 1e3
cat(sprintf('RESULT {"cells": %d, "wall": [%.6f], "cpu": [%.6f], "fitted": %d, "data_mb": %.1f, "peak_mb": %.1f}\n',
            ncol(Y), took[["elapsed"]], took[["user.self"]] + took[["sys.self"]], ncol(Y), object.size(Y) / 1e6, peak))
