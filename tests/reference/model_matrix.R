# Model matrices of R.   Rscript model_matrix.R TABLE.csv FORMULAS.txt OUT_DIR
# FORMULAS.txt: one right side per line. Writes OUT_DIR/1.csv, 2.csv, ...: rows of complete cases, no header.
args <- commandArgs(trailingOnly = TRUE)
d <- read.csv(args[1], stringsAsFactors = TRUE)
d$group <- factor(d$group, levels = c("control", "patient", "at risk"))
d$site <- factor(d$site)
for (i in seq_along(lines <- readLines(args[2]))) {
  f <- as.formula(paste("~", lines[i]))
  used <- intersect(all.vars(f), names(d))
  frame <- if (length(used)) droplevels(na.omit(d[, used, drop = FALSE])) else d
  m <- model.matrix(f, frame)
  write.table(format(m, digits = 17), file.path(args[3], paste0(i, ".csv")),
              sep = ",", row.names = FALSE, col.names = FALSE, quote = FALSE)
}
