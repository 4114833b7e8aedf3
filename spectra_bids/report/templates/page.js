"use strict";
// Tables with tools: headings sort, a field filters, a button saves what is shown. Everything else works without script.
for (const box of document.querySelectorAll("[data-tools]")) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const key = (row, k) => row.cells[k].dataset.v ?? row.cells[k].textContent;
  const compare = (a, b) => {
    const missing = (x) => (x === "n/a" || x === "" ? 1 : 0);
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  };
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const x = key(a, k), y = key(b, k), order = compare(x, y);
        return down && x !== "n/a" && y !== "n/a" ? -order : order; // what is missing stays last
      });
      body.append(...rows);
    });
  });

  const tools = document.createElement("div");
  tools.className = "tools";
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", "Filter rows: all words must occur");
  const count = document.createElement("span");
  count.setAttribute("aria-live", "polite");
  const texts = new Map();
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = !words.length ? "" : (texts.get(row) ?? texts.set(row, [...row.cells].map((c) => c.textContent).join(" ").toLowerCase()).get(row));
      row.hidden = row.dataset.off === "1" || !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  field.addEventListener("input", filter);
  box.addEventListener("refilter", filter); // choosers beside the field have marked rows
  const save = document.createElement("button");
  save.type = "button";
  save.textContent = "Save as TSV";
  save.addEventListener("click", () => {
    const lines = [heads.map((h) => h.textContent.trim())];
    for (const row of rows) if (!row.hidden) lines.push(heads.map((_, k) => key(row, k).replace(/\s+/g, " ")));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map((l) => l.join("\t")).join("\n") + "\n"], { type: "text/tab-separated-values" }));
    link.download = `${box.dataset.name}.tsv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  tools.append(field, count, save);
  (box.querySelector(".choosers") ?? box.querySelector(".scroll")).before(tools);
  filter();
}
// On paper nothing is folded.
const folded = [];
addEventListener("beforeprint", () => {
  for (const d of document.querySelectorAll("details:not([open])")) { d.open = true; folded.push(d); }
});
addEventListener("afterprint", () => { for (const d of folded.splice(0)) d.open = false; });
