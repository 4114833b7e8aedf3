// The (s, r) map, or the strip of a 1D profile: cells as rectangles, rejected ones outlined, one of them chosen.
const LUT = Object.fromEntries(["diverging", "sequential"].map((name) => [name, index[name].match(/.{6}/g).map((c) => "#" + c)]));
const QUANTITIES = [
  { key: "value", name: (f) => f.letter, scale: (f) => (f.letter === "t" ? "signed" : "zero") },
  { key: "estimate", name: () => "Estimate", units: true, scale: () => "signed", when: (f) => f.letter === "t" },
  { key: "effect", name: (f) => f.effect, scale: (f) => (f.letter === "t" ? "signed" : "zero"), when: (f) => f.effect },
  { key: "p", name: () => "p", scale: () => "log" },
  { key: "q", name: () => "q", scale: () => "log" },
  { key: "n", name: () => "n", scale: () => "range" },
  { key: "mde", name: () => "Minimum detectable effect", units: true, scale: () => "range", when: (f) => f.letter === "t" },
];
const quantitiesOf = (family) => QUANTITIES.filter((q) => !q.when || q.when(family));

// Colours of a quantity over one bundle: limits, table, position of a value between 0 and 1.
function colouring(quantity, family, values) {
  const known = [...values].filter(isFinite);
  const kind = quantity.scale(family);
  const top = Math.max(...known.map(Math.abs), 0) || 1;
  if (kind === "signed") return { low: -top, high: top, map: "diverging", put: (v) => v };
  if (kind === "zero") return { low: 0, high: top, map: "sequential", put: (v) => v };
  if (kind === "log") {
    const put = (v) => -Math.log10(Math.max(v, 1e-120));
    return { low: 0, high: Math.max(...known.map(put), 2), map: "sequential", put, log: true };
  }
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.05 || 0.5), high + (Math.abs(high) * 0.05 || 0.5)];
  return { low, high, map: "sequential", put: (v) => v };
}

const colourOf = (scale, value) => {
  const u = (scale.put(value) - scale.low) / (scale.high - scale.low);
  return LUT[scale.map][Math.max(0, Math.min(255, Math.round(u * 255)))];
};

// Common x axis of map and profile: nodes, ticked in mm where mm are known, ends in words.
function alongAxis(geo, bundle, left, right) {
  const first = Math.min(...geo.s), last = Math.max(...geo.s);
  const x = (s) => left + ((s - first + 0.5) / (last - first + 1)) * (right - left);
  const byNode = new Map();
  for (let k = 0; k < geo.s.length; k++) if (!byNode.has(geo.s[k])) byNode.set(geo.s[k], geo.sMm[k]);
  const nodes = [...byNode.keys()].sort((a, b) => a - b);
  const known = nodes.every((s) => isFinite(byNode.get(s)));
  const marks = [];
  if (known && nodes.length > 1) {
    for (const tick of ticks(byNode.get(nodes[0]), byNode.get(nodes.at(-1)), (right - left) / 62)) {
      for (let k = 0; k + 1 < nodes.length; k++) {
        const [a, b] = [byNode.get(nodes[k]), byNode.get(nodes[k + 1])];
        if (tick < a || tick > b || (tick === b && k + 2 < nodes.length)) continue;
        marks.push([x(nodes[k] + ((tick - a) / (b - a || 1)) * (nodes[k + 1] - nodes[k])), String(tick)]);
        break;
      }
    }
  } else for (const tick of ticks(first, last, (right - left) / 62)) if (Number.isInteger(tick)) marks.push([x(tick), String(tick)]);
  const [low = "", high = ""] = bundle.ends;
  return { x, first, last, marks, low, high, unit: known ? "mm along" : "node" };
}

function drawAlong(svg, axis, left, right, y) {
  for (const [at, text] of axis.marks) {
    svg.append(draw("line", { x1: at, x2: at, y1: y, y2: y + 4, class: "tick" }));
    svg.append(draw("text", { x: at, y: y + 15, "text-anchor": "middle", class: "small" }, text));
  }
  svg.append(draw("text", { x: left, y: y + 31, class: "end" }, axis.low && `◂ ${axis.low}`));
  svg.append(draw("text", { x: right, y: y + 31, "text-anchor": "end", class: "end" }, axis.high && `${axis.high} ▸`));
  svg.append(draw("text", { x: (left + right) / 2, y: y + 31, "text-anchor": "middle", class: "small" }, axis.unit));
}

function hatch(svg, name) {
  const pattern = draw("pattern", { id: name, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(draw("rect", { width: 5, height: 5, class: "unfit" }), draw("line", { y1: 0, y2: 5, class: "unfit-line" }));
  svg.append(draw("defs", {}, pattern));
}

// Outline of the rejected cells: edges between them and the others.
function outline(view, x0, y0, w, h) {
  const { geo, fits } = view;
  const inside = (s, r) => { const k = geo.find(s, r); return k >= 0 && fits.hit[k] > 0; };
  let path = "";
  for (let k = 0; k < geo.s.length; k++) {
    if (!fits.hit[k]) continue;
    const [s, r] = [geo.s[k], geo.r[k]];
    const [x, y] = [x0(s) - w / 2, y0(r) - h / 2];
    if (!inside(s - 1, r)) path += `M${x} ${y}v${h}`;
    if (!inside(s + 1, r)) path += `M${x + w} ${y}v${h}`;
    if (!inside(s, r + 1)) path += `M${x} ${y}h${w}`;
    if (!inside(s, r - 1)) path += `M${x} ${y + h}h${w}`;
  }
  return path;
}

// Draws the map into `host`; returns {choose(cell)}. `view`: family, bundle, geo, fits, quantity, scale.
function drawMap(host, view, onChoose) {
  const { geo, fits, bundle, family, quantity, scale } = view;
  const width = Math.max(300, Math.round(host.clientWidth)), flat = geo.kind === "1D";
  const left = flat ? 46 : 58, right = width - 10, rows = flat ? 1 : Math.max(...geo.r) - Math.min(...geo.r) + 1;
  const rowHeight = flat ? 40 : Math.max(16, Math.min(30, 220 / rows)), top = 8, bottom = top + rows * rowHeight;
  const axis = alongAxis(geo, bundle, left, right), w = (right - left) / (axis.last - axis.first + 1);
  const lowest = flat ? 0 : Math.min(...geo.r), y = (r) => bottom - (r - lowest + 0.5) * rowHeight;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${bottom + 38}`, width, height: bottom + 38, "aria-hidden": "true" });
  hatch(svg, "x-hatch");
  const shown = quantity.key === "value" ? fits.value.map((v, k) => (isFinite(fits.p[k]) ? v : NaN)) : fits[quantity.key];
  for (let k = 0; k < geo.s.length; k++) {
    const fill = isFinite(shown[k]) ? colourOf(scale, shown[k]) : "url(#x-hatch)";
    const rect = draw("rect", { x: x2(axis.x(geo.s[k]) - w / 2), y: x2(y(geo.r[k]) - rowHeight / 2), width: x2(w), height: x2(rowHeight), fill, "data-cell": k });
    svg.append(rect);
  }
  svg.append(draw("path", { d: outline(view, axis.x, y, w, rowHeight), class: "hit-halo" }));
  svg.append(draw("path", { d: outline(view, axis.x, y, w, rowHeight), class: "hit" }));
  const mark = draw("g", { class: "mark" });
  svg.append(mark);
  drawAlong(svg, axis, left, right, bottom);
  if (!flat) drawAcross(svg, view, y, left, top, bottom);
  host.replaceChildren(svg);
  svg.addEventListener("click", (event) => {
    const cell = event.target.dataset?.cell;
    if (cell !== undefined) onChoose(Number(cell));
  });
  return {
    axis,
    choose(k) {
      if (k < 0) return mark.replaceChildren();
      const box = { x: axis.x(geo.s[k]) - w / 2, y: y(geo.r[k]) - rowHeight / 2, width: w, height: rowHeight };
      mark.replaceChildren(draw("rect", { ...box, class: "mark-halo" }), draw("rect", { ...box, class: "mark-line" }));
    },
  };
}
const x2 = (v) => Number(v.toFixed(2));

function drawAcross(svg, view, y, left, top, bottom) {
  const { geo, bundle } = view;
  const byBin = new Map();
  for (let k = 0; k < geo.r.length; k++) if (!byBin.has(geo.r[k])) byBin.set(geo.r[k], geo.rMm[k]);
  const bins = [...byBin.keys()].sort((a, b) => a - b), known = bins.every((r) => isFinite(byBin.get(r)));
  const every = Math.ceil(bins.length / Math.max(2, (bottom - top) / 26));
  bins.forEach((r, k) => {
    if ((k + Math.floor(every / 2)) % every && bins.length > 1) return;
    const text = known ? mm(byBin.get(r)) : String(r);
    svg.append(draw("text", { x: left - 6, y: y(r) + 4, "text-anchor": "end", class: "small" }, text));
  });
  const [low = "", high = ""] = bundle.sides;
  const middle = (top + bottom) / 2, words = low && high ? `◂ ${low} · ${known ? "mm" : "bin"} · ${high} ▸` : known ? "mm across" : "radial bin";
  const room = (bottom - top) / 5.6;
  const text = words.length > room ? (low && high ? `${low[0]} ◂ mm ▸ ${high[0]}` : "mm") : words;
  svg.append(draw("text", { x: 13, y: middle, "text-anchor": "middle", class: "end", transform: `rotate(-90 13 ${middle})` }, text));
}

// Colour bar with its limits in words.
function drawBar(host, view) {
  const { scale, quantity, family, units } = view;
  const bar = make("span", { class: "bar" });
  const steps = Array.from({ length: 17 }, (_, k) => LUT[scale.map][Math.round((k * 255) / 16)]);
  bar.style.background = `linear-gradient(to right, ${steps.join(",")})`;
  const text = (v) => (scale.log ? pText(10 ** -v) : number(v));
  const unit = quantity.units && units ? ` ${units}` : "";
  const low = make("span", {}, text(scale.low)), high = make("span", {}, text(scale.high) + unit);
  const meaning = family.letter === "t" && ["value", "estimate", "effect"].includes(quantity.key);
  if (meaning && family.down !== "negative effect") { low.title = family.down; high.title = family.up; }
  host.replaceChildren(low, bar, high, make("span", { class: "key hit-key" }, "rejected"), make("span", { class: "key unfit-key" }, "no test"));
}
