// State and wiring: the chosen row and cell, the views that follow them, the choosers of the table, the address.
const $ = (id) => document.getElementById(id);
const box = $("explorer"), table = $("table-results"), tableBox = table.closest(".table");
const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.x, row]));
const live = $("x-live"), mapHost = $("x-map");
const state = { row: null, cell: -1, quantity: "value", profile: "measured", f: 0, b: 0 };
let view = null, views = {}, turn = 0, seen = false, scene = null, sceneAsked = false;
const isDark = matchMedia("(prefers-color-scheme: dark)");
const onPaper = matchMedia("print");

// The table: a button in every row, choosers above.
for (const [key, row] of rows) {
  const button = make("button", { type: "button", class: "pick" });
  button.append(...row.cells[0].childNodes);
  row.cells[0].append(button);
}
table.tBodies[0].addEventListener("click", (event) => {
  const key = event.target.closest("tr")?.dataset.x;
  if (key) chooseRow(key, true);
});
const choosers = [...tableBox.querySelectorAll("[data-choose]")];
const only = $("x-only");
tableBox.querySelector(".choosers").hidden = false;
function applyChoosers() {
  for (const row of rows.values()) {
    const off = choosers.some((c) => c.value && row.cells[Number(c.dataset.choose)].textContent !== c.value) || (only.checked && !row.dataset.found);
    row.dataset.off = off ? "1" : "";
  }
  tableBox.dispatchEvent(new Event("refilter"));
}
for (const control of [...choosers, only]) control.addEventListener("change", () => { applyChoosers(); keep(); });

// The address: #x&c=..&v=..&k=..&b=..&s=..&r=..; what is not there is as at first.
function keep() {
  if (!view) return;
  const { family, geo } = view, entries = { c: family.contrast, v: index.scalars[family.scalar].name, k: family.kind, b: view.bundle.name };
  if (state.cell >= 0) { entries.s = geo.s[state.cell]; if (family.kind === "2D") entries.r = geo.r[state.cell]; }
  if (state.quantity !== "value") entries.m = state.quantity;
  if (state.profile !== "measured") entries.g = state.profile;
  choosers.forEach((c, k) => { if (c.value) entries[`t${k}`] = c.value; });
  if (only.checked) entries.o = 1;
  const field = tableBox.querySelector("input[type=search]");
  if (field?.value) entries.w = field.value;
  history.replaceState(null, "", "#x&" + new URLSearchParams(entries));
}
function restore() {
  if (!location.hash.startsWith("#x&")) return false;
  const wanted = new URLSearchParams(location.hash.slice(3)), get = (name) => wanted.get(name) ?? "";
  choosers.forEach((c, k) => { c.value = [...c.options].some((o) => o.value === get(`t${k}`)) ? get(`t${k}`) : ""; });
  only.checked = get("o") === "1";
  const field = tableBox.querySelector("input[type=search]");
  if (field) field.value = get("w");
  applyChoosers();
  const f = index.families.findIndex((x) => x.contrast === get("c") && index.scalars[x.scalar].name === get("v") && x.kind === get("k"));
  const b = index.bundles.findIndex((x) => x.name === get("b"));
  if (!rows.has(`${f}/${b}`)) return false;
  state.quantity = QUANTITIES.some((q) => q.key === get("m")) ? get("m") : "value";
  state.profile = get("g") || "measured";
  seen = true;
  chooseRow(`${f}/${b}`, false, wanted.has("s") ? [Number(get("s")), Number(get("r"))] : null);
  return true;
}

async function chooseRow(key, byHand, cell = null) {
  const row = rows.get(key);
  if (!row) return;
  for (const other of table.querySelectorAll("[aria-current]")) { other.removeAttribute("aria-current"); other.querySelector(".pick").removeAttribute("aria-pressed"); }
  row.setAttribute("aria-current", "true");
  row.querySelector(".pick").setAttribute("aria-pressed", "true");
  [state.f, state.b] = key.split("/").map(Number);
  const before = state.row === key ? null : view;
  state.row = key;
  if (!seen && !byHand) return;
  seen = true;
  const mine = ++turn, family = index.families[state.f], bundle = index.bundles[state.b];
  const [geo, fits, data, means] = await Promise.all([geometry(family.kind, state.b), fit(state.f, state.b),
    measured(family.scalar, state.b, family.kind, family.by), adjusted(family.scalar, state.b, family.kind, family.by)]);
  if (mine !== turn) return; // another row was chosen meanwhile
  const same = before && before.bundle === bundle && before.geo.kind === geo.kind && state.cell >= 0;
  view = { family, bundle, geo, fits, data, means, units: index.scalars[family.scalar].units, f: state.f, b: state.b, chooseNode, valuesHint: valuesHint(data) };
  const found = cell ? geo.find(cell[0], family.kind === "2D" ? cell[1] : 0) : same ? geo.find(before.geo.s[state.cell], before.geo.r[state.cell]) : -1;
  state.cell = found >= 0 ? found : peak();
  if (!quantitiesOf(family).some((q) => q.key === state.quantity)) state.quantity = "value";
  await drawAll(mine);
  performance.mark("explorer-drawn");
  if (byHand && matchMedia("(max-width: 760px)").matches) box.scrollIntoView({ block: "start" });
  keep();
}

// The rejected cell with the smallest p, else the cell with the smallest.
function peak() {
  const { fits } = view, any = fits.hit.some((h) => h > 0);
  let best = -1;
  fits.p.forEach((p, k) => {
    if (!isFinite(p) || (any && !fits.hit[k])) return;
    const order = best < 0 ? -1 : p - fits.p[best] || Math.abs(fits.value[best]) - Math.abs(fits.value[k]);
    if (order < 0) best = k;
  });
  return best;
}

function valuesHint(data) {
  if (!data?.values) return "";
  return "Point at a dot, or use the arrow keys, to see whose it is.";
}

async function drawAll(mine = turn) {
  if (!view) return;
  const { family, bundle } = view;
  const title = $("x-title");
  title.replaceChildren(...soft(bundle.name));
  const said = family.text && family.text !== family.contrast ? ` (${family.text})` : "";
  $("x-what").textContent = `${family.contrast}${said} · ${index.scalars[family.scalar].name} · ${family.kind === "1D" ? "1D, along the tract" : "2D, along and across the tract"}`;
  const chooser = $("x-quantity");
  chooser.replaceChildren(...quantitiesOf(family).map((q) => make("option", { value: q.key, selected: q.key === state.quantity ? "" : null }, q.name(family))));
  chooser.value = state.quantity;
  await drawCurves(mine);
  if (mine !== turn) return;
  drawColours();
  if (noScene) showPicture();
}

function drawColours() {
  view.quantity = QUANTITIES.find((q) => q.key === state.quantity);
  const shown = state.quantity === "value" ? view.fits.value.map((v, k) => (isFinite(view.fits.p[k]) ? v : NaN)) : view.fits[state.quantity];
  view.scale = colouring(view.quantity, view.family, shown);
  drawBar($("x-bar"), view);
  const signed = view.scale.map === "diverging" && view.family.down !== "negative effect";
  $("x-sign").textContent = signed ? `Blue: ${view.family.down}. Orange: ${view.family.up}.` : view.scale.log ? "The darker end is p = 1." : "";
  views.map = drawMap(mapHost, view, (k) => { chooseCell(k); mapHost.focus({ preventScroll: true }); });
  colourScene();
  showCell();
}

// Curves along the tract: measured by group, adjusted means, or the estimate.
async function drawCurves(mine) {
  const { family, b } = view, v = family.scalar;
  const twin = index.families.findIndex((x) => x.kind === "1D" && x.contrast === family.contrast && x.scalar === family.scalar);
  const geo = await geometry("1D", b);
  const [data, fits, means] = await Promise.all([geo && measured(v, b, "1D", family.by), geo && twin >= 0 ? fit(twin, b) : null, geo && adjusted(v, b, "1D", family.by)]);
  if (mine !== turn) return;
  const options = [];
  if (data) options.push(["measured", family.by && data.column.groups.length > 1 ? `Measured, by ${family.by}` : "Measured"]);
  if (means) options.push(["adjusted", `Adjusted means, by ${family.by}`]);
  if (fits && index.families[twin].letter === "t") options.push(["estimate", "Estimate of the contrast"]);
  const panel = $("x-profile").closest(".panel-box");
  panel.hidden = !options.length;
  if (!options.length) return;
  if (!options.some(([key]) => key === state.profile)) state.profile = options[0][0];
  $("x-curve").replaceChildren(...options.map(([key, text]) => make("option", { value: key, selected: key === state.profile ? "" : null }, clip(text, 60))));
  const profile = { geo, fits };
  if (state.profile === "measured") profile.data = data;
  if (state.profile === "adjusted") {
    const n = geo.s.length;
    const names = means.levels.map((name, l) => (means.at[l] === null || name === String(means.at[l]) ? name : `${name}: ${number(means.at[l])}`));
    profile.data = { column: { groups: names, people: names.map(() => 0) } };
    profile.made = new Map([...geo.s.keys()].map((k) => [k, means.levels.map((name, l) => ({ name, mean: means.estimate[l * n + k], low: means.low[l * n + k], high: means.high[l * n + k] }))]));
  }
  views.profile = drawProfile($("x-profile"), view, profile);
  const unit = view.units ? `, ${view.units}` : "";
  const within = data?.column.within ? ` ${family.by} differs between the sessions of a person, so these curves mix changes within people with differences between them.` : "";
  $("x-profile-note").textContent = {
    measured: `Mean ${index.scalars[v].name}${unit} and its 95 % confidence interval; not adjusted. In brackets: people.${within}`,
    adjusted: `Adjusted mean ${index.scalars[v].name}${unit} and its 95 % confidence interval, at the means of the other terms.`,
    estimate: `Estimate${unit} at every node with its 95 % confidence interval, adjusted for the model's other terms.`,
  }[state.profile] + " Tinted: nodes with a rejection.";
}

function chooseNode(s) {
  const { geo } = view, r = state.cell >= 0 ? geo.r[state.cell] : 0;
  let best = -1;
  for (let k = 0; k < geo.s.length; k++) if (geo.s[k] === s && (best < 0 || Math.abs(geo.r[k] - r) < Math.abs(geo.r[best] - r))) best = k;
  chooseCell(best);
}

function chooseCell(k) {
  if (k < 0 || !view) return;
  state.cell = k;
  showCell();
  keep();
}

const sceneCell = () => { const { geo } = view, k = state.cell; return geo.kind === "2D" ? geo.s[k] * view.bundle.nr + geo.r[k] : geo.s[k]; };

// Everything that follows the cell.
function showCell() {
  const k = state.cell, { geo, fits, family, units } = view;
  views.map.choose(k);
  if (k < 0) return;
  views.profile?.mark(geo.s[k]);
  scene?.highlight(sceneCell());
  $("x-place").textContent = placeWords(k);
  const effect = family.letter === "t" ? [["Estimate", withUnit(number(fits.estimate[k]), units)], ["95 % CI", isFinite(fits.low[k]) ? `${number(fits.low[k])} to ${number(fits.high[k])}` : "n/a"]] : [];
  const facts = [
    ["Decision", fits.hit[k] ? "rejected" : isFinite(fits.p[k]) ? "not rejected" : "not tested"], ...effect,
    [family.letter, number(fits.value[k])], ["df", family.letter === "F" ? `${number(family.df_num)}, ${number(fits.df[k])}` : family.letter === "t" ? number(fits.df[k]) : number(family.df_num)], ["p", number(fits.p[k])],
    [family.fwe ? "family-wise p" : "q", isFinite(fits.q[k]) || !isFinite(fits.p[k]) ? number(fits.q[k]) : "– (bundle not selected)"],
    ...(family.effect ? [[family.effect, number(fits.effect[k])]] : []),
    ["n", isFinite(fits.n[k]) ? String(fits.n[k]) : "n/a"],
    ...(family.letter === "t" ? [["Detectable effect", withUnit(number(fits.mde[k]), units)]] : []),
    ["Fit", index.statuses[fits.status[k]]?.[0].replaceAll("_", " ") ?? "none", statusWords(fits.status[k])],
    ...(isFinite(geo.x[k]) ? [["x, y, z", `${[geo.x, geo.y, geo.z].map((a) => mm(a[k])).join(", ")} mm`]] : []),
  ];
  $("x-facts").replaceChildren(...facts.map(([name, value, title = null]) => make("div", { title }, make("dt", {}, name), make("dd", {}, value))));
  $("x-facts").classList.toggle("is-hit", fits.hit[k] > 0);
  live.textContent = `${placeWords(k)}. ${facts.slice(0, 7).map(([name, value]) => `${name} ${value}`).join(", ")}.`;
  drawValues($("x-values"), view, k);
  $("x-values-note").textContent = valuesNote();
}

function statusWords(code) {
  const found = index.statuses[code];
  return found ? found[1].replace("; p is n/a", "") : "no fit";
}

function placeWords(k) {
  const { geo, bundle } = view, [low] = bundle.ends;
  const along = isFinite(geo.sMm[k]) ? `, ${mm(geo.sMm[k])} mm from the ${low ?? "low"} end` : "";
  if (geo.kind === "1D") return `Node ${geo.s[k]}${along}`;
  const r = geo.rMm[k], side = bundle.sides[r < 0 ? 0 : 1];
  const across = !isFinite(r) ? "" : Math.abs(r) < 0.05 ? ", on the centre line" : `, ${mm(Math.abs(r))} mm ${side ? `to the ${side} side` : r < 0 ? "to the low side" : "outwards"}`;
  return `Node ${geo.s[k]}${along}; radial bin ${geo.r[k]}${across}`;
}

function valuesNote() {
  const { data, means, family, units } = view;
  if (!data) return "";
  const unit = units ? ` (${units})` : "";
  const dots = data.values ? "One dot per session" : index.fewest ? "Boxes: mean ± SD of groups of at least five people" : "Boxes: median and quartiles";
  const diamonds = means ? "diamonds: adjusted means and their 95 % confidence intervals" : data.column.number && data.values ? "" : "diamonds: means and their 95 % confidence intervals, not adjusted";
  const slope = data.column.number && data.values && family.slope ? "line: the model's slope" : "";
  const within = data.column.number && data.values && data.column.within ? "thin lines join the sessions of a person" : "";
  return `${index.scalars[family.scalar].name}${unit} in this cell. ${[dots, diamonds, slope, within].filter(Boolean).join("; ")}.`;
}

// Labels break where a capital begins.
const soft = (text) => text.split(/(?<=[a-z])(?=[A-Z][a-z])/).flatMap((part, k) => (k ? [make("wbr"), part] : [part]));

// 3D: made when it is first seen; where there is none, the picture or words stay.
function askScene() {
  const host = $("scene");
  if (sceneAsked || !host) return;
  sceneAsked = true;
  const none = (why) => { $("x-scene-note").textContent = why; };
  if (!window.SpectraScene || (SpectraScene.available && !SpectraScene.available())) {
    none(window.SpectraScene ? "3D needs WebGL, which this browser does not offer." : "");
    return showPicture();
  }
  SpectraScene.create(host, { dark: isDark.matches, label: "The bundle in 3D, coloured as the map" }).then((made) => {
    scene = made;
    scene.onpick = (k) => {
      if (!view || k === null || k < 0) return;
      const [s, r] = view.geo.kind === "2D" ? [Math.floor(k / view.bundle.nr), k % view.bundle.nr] : [k, 0];
      const found = view.geo.find(s, r);
      if (found >= 0) chooseCell(found); else chooseNode(s);
    };
    scene.onlost = () => {
      scene = null;
      none("The browser has stopped the 3D view. Load the page again to bring it back.");
      showPicture();
    };
    if (view) colourScene();
  }).catch(() => { none("3D could not be started in this browser."); showPicture(); });
}

// Without WebGL: the picture of the row, if there is one among the figures.
let noScene = false;
function showPicture() {
  noScene = true;
  const found = view && [...document.querySelectorAll("figure.picture img")].find((p) => Number(p.dataset.family) === view.f && p.dataset.bundle === view.bundle.name);
  $("scene").replaceChildren(...(found ? [make("img", { src: found.src, alt: found.alt })] : []));
  $("scene").closest(".panel-box").hidden = !found && !$("x-scene-note").textContent;
}
const rgb = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const RGB = { diverging: rgb(index.diverging), sequential: rgb(index.sequential) };
async function colourScene() {
  if (!scene || !view?.scale) return;
  const mine = view;
  const { geo, scale, fits, bundle } = view;
  const values = new Float32Array(geo.kind === "2D" ? bundle.ns * bundle.nr : bundle.ns).fill(NaN);
  for (let k = 0; k < geo.s.length; k++) {
    const v = fits[state.quantity][k];
    if (isFinite(v) && (state.quantity !== "value" || isFinite(fits.p[k]))) values[geo.kind === "2D" ? geo.s[k] * bundle.nr + geo.r[k] : geo.s[k]] = scale.put(v);
  }
  const drawn = await scene.show(bundle.name);
  if (mine !== view || !scene) return; // another row was chosen meanwhile
  scene.colour(values, { low: scale.low, high: scale.high, colours: RGB[scale.map] });
  if (state.cell >= 0) scene.highlight(sceneCell());
  $("x-scene-note").textContent = drawn === false ? "There are no lines of this bundle." : "";
}

mapHost.addEventListener("keydown", (event) => {
  const { key } = event, step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  if (!view || (!step && key !== "Home" && key !== "End" && key !== "p")) return;
  event.preventDefault();
  const { geo } = view;
  if (key === "p") return chooseCell(peak());
  if (!step) return chooseNode(key === "Home" ? Math.min(...geo.s) : Math.max(...geo.s));
  if (step[0]) {
    const s = geo.s[state.cell] + step[0];
    return geo.s.includes(s) ? chooseNode(s) : undefined;
  }
  chooseCell(geo.find(geo.s[state.cell], geo.r[state.cell] + step[1]));
});
$("x-quantity").addEventListener("change", (event) => { state.quantity = event.target.value; drawColours(); keep(); });
$("x-curve").addEventListener("change", async (event) => { state.profile = event.target.value; await drawCurves(turn); views.profile?.mark(view.geo.s[state.cell]); keep(); });
$("x-peak").addEventListener("click", () => chooseCell(peak()));
tableBox.querySelector("input[type=search]")?.addEventListener("change", keep);
isDark.addEventListener("change", () => scene?.dark(isDark.matches));
addEventListener("hashchange", () => restore());

box.hidden = false;
let width = 0;
new ResizeObserver(() => {
  if (!view || onPaper.matches || Math.abs(box.clientWidth - width) < 4) return;
  width = box.clientWidth;
  drawAll().then(() => scene?.resize());
}).observe(box);
if (!restore()) {
  const first = [...rows.keys()][0];
  if (first) chooseRow(first, false);
}
// Nothing is drawn before it is seen.
new IntersectionObserver((entries, observer) => {
  if (!entries.some((e) => e.isIntersecting)) return;
  observer.disconnect();
  seen = true;
  if (!view && state.row) chooseRow(state.row, false);
}, { rootMargin: "150px" }).observe(box);
new IntersectionObserver((entries, observer) => {
  if (!entries.some((e) => e.isIntersecting)) return;
  observer.disconnect();
  askScene();
}).observe($("scene"));
document.documentElement.dataset.ready = "1";
performance.mark("explorer-ready");
