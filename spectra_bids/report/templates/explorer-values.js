// The profile along the tract by group, and the values of the chosen cell.
const SERIES = 6;
const DASHES = [null, "7 3", "2 2", "9 3 2 3", "4 4", "12 4"];

function frame(host, height, left = 46) {
  const width = Math.max(300, Math.round(host.clientWidth));
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  return { svg, width, left, right: width - 10 };
}

function valueScale(values, top, bottom) {
  const known = values.filter(isFinite);
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const pad = (high - low) * 0.07 || Math.abs(low) * 0.05 || 0.5;
  [low, high] = [low - pad, high + pad];
  return { low, high, y: (v) => bottom - ((v - low) / (high - low)) * (bottom - top) };
}

function drawValueAxis(svg, scale, left, right, top, bottom) {
  for (const tick of ticks(scale.low, scale.high, (bottom - top) / 40)) {
    svg.append(draw("line", { x1: left, x2: right, y1: scale.y(tick), y2: scale.y(tick), class: "rule" }));
    svg.append(draw("text", { x: left - 6, y: scale.y(tick) + 4, "text-anchor": "end", class: "small" }, number(tick)));
  }
}

function line(points) {
  let text = "", pen = "M";
  for (const [x, y] of points) {
    if (!isFinite(y)) { pen = "M"; continue; }
    text += `${pen}${x2(x)} ${x2(y)}`;
    pen = "L";
  }
  return text;
}

function band(points) { // [x, low, high]
  let text = "";
  for (let k = 0; k < points.length; ) {
    const run = [];
    while (k < points.length && isFinite(points[k][1]) && isFinite(points[k][2])) run.push(points[k++]);
    if (run.length > 1) {
      text += "M" + run.map(([x, low]) => `${x2(x)} ${x2(low)}`).join("L");
      text += "L" + run.reverse().map(([x, , high]) => `${x2(x)} ${x2(high)}`).join("L") + "Z";
    }
    if (!run.length) k++;
  }
  return text;
}

function legend(groups) {
  return make("p", { class: "legend" }, ...groups.map((group, k) => {
    const key = draw("svg", { width: 26, height: 10, "aria-hidden": "true" });
    key.append(draw("line", { x1: 1, x2: 25, y1: 5, y2: 5, class: `s${k % SERIES}`, "stroke-width": 2, "stroke-dasharray": DASHES[k % SERIES] }));
    const size = group.n ? ` (${group.n})` : "";
    return make("span", {}, key, `${group.name ? clip(group.name, 40) : "everyone"}${size}`);
  }));
}

// Profile of the bundle, measured by group (or the estimate where nothing measured is here); returns {mark(s)}.
function drawProfile(host, view, profile) {
  const { svg, left, right } = frame(host, 232, view.geo.kind === "1D" ? 46 : 58);
  const top = 8, bottom = 194;
  const axis = alongAxis(profile.geo, view.bundle, left, right);
  // The map's first and last node are the axis here as well, so that both line up.
  const own = alongAxis(view.geo, view.bundle, left, right);
  const x = own.x;
  const nodes = [...profile.geo.s.keys()];
  const curves = profile.data
    ? profile.data.column.groups.map((_, g) => nodes.map((k) => cellGroups1(profile, k)[g]))
    : [nodes.map((k) => ({ mean: profile.fits.estimate[k], low: profile.fits.low[k], high: profile.fits.high[k] }))];
  const span = curves.flat().flatMap((c) => [c.low, c.high, c.mean]);
  const scale = valueScale(profile.data ? span : [...span, 0], top, bottom);
  const hits = new Set();
  for (let k = 0; k < view.geo.s.length; k++) if (view.fits.hit[k]) hits.add(view.geo.s[k]);
  const w = x(1) - x(0);
  for (const s of hits) svg.append(draw("rect", { x: x2(x(s) - w / 2), width: x2(w), y: top, height: bottom - top, class: "hit-node" }));
  drawValueAxis(svg, scale, left, right, top, bottom);
  const at = (k) => x(profile.geo.s[k]);
  curves.forEach((curve, g) => {
    svg.append(draw("path", { d: band(curve.map((c, k) => [at(k), scale.y(c.low), scale.y(c.high)])), class: `f${g % SERIES}` }));
  });
  curves.forEach((curve, g) => {
    const d = line(curve.map((c, k) => [at(k), scale.y(c.mean)]));
    svg.append(draw("path", { d, class: `s${g % SERIES}`, "stroke-width": 1.8, fill: "none", "stroke-dasharray": DASHES[g % SERIES] }));
  });
  const mark = draw("line", { y1: top, y2: bottom, class: "cursor" });
  svg.append(mark);
  drawAlong(svg, own, left, right, bottom);
  const people = profile.data ? profile.data.column.groups.map((name, g) => ({ name, n: profile.data.column.people[g] })) : [];
  host.replaceChildren(...(people.length ? [legend(people)] : []), svg);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width;
    let best = 0;
    for (let k = 1; k < view.geo.s.length; k++) if (Math.abs(x(view.geo.s[k]) - wanted) < Math.abs(x(view.geo.s[best]) - wanted)) best = k;
    view.chooseNode(view.geo.s[best]);
  });
  return { axis, mark(s) { mark.setAttribute("x1", x(s)); mark.setAttribute("x2", x(s)); mark.style.display = s < 0 ? "none" : ""; } };
}

function cellGroups1(profile, k) {
  profile.made ??= new Map();
  if (!profile.made.has(k)) profile.made.set(k, cellGroups(profile.data, k, profile.geo.s.length));
  return profile.made.get(k);
}

// Values of one cell: a strip of dots per group, or a scatter over a number. Returns what the caption says.
function drawValues(host, view, cell) {
  const { data, means, units } = view;
  if (!data) return host.replaceChildren(make("p", { class: "quiet" }, "What was measured here is not in this page."));
  const { svg, left, right } = frame(host, 250, 52);
  const shown = data.values ? cellValues(data, cell) : [];
  const groups = cellGroups(data, cell, view.geo.s.length);
  const top = 10, bottom = 206, made = { svg, left, right, top, bottom, shown, groups, cell, units };
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  const isNumber = data.column.number && data.values;
  made.scale = valueScale([...shown.map((d) => d.value), ...groups.flatMap((g) => (data.values && shown.length ? [] : [g.mean - 2 * g.sd, g.mean + 2 * g.sd, g.mean])),
    ...(means ? [...means.levels.keys()].flatMap((l) => [at(means.low, l, cell, view), at(means.high, l, cell, view)]) : [])], top, bottom);
  drawValueAxis(svg, made.scale, left, right, top, bottom);
  const dots = isNumber ? drawScatter(made, view) : drawStrips(made, view);
  browse(svg, dots, readout, view);
  host.replaceChildren(svg, readout);
}
const at = (column, level, cell, view) => column[level * view.geo.s.length + cell];

function drawStrips(made, view) {
  const { svg, left, right, bottom, shown, groups, scale, cell } = made;
  const width = (right - left) / groups.length, dots = [];
  const radius = shown.length > 400 ? 1.8 : 3.2;
  groups.forEach((group, g) => {
    const middle = left + (g + 0.42) * width;
    const name = clip(group.name || "everyone", Math.max(6, Math.floor(width / 8)));
    svg.append(draw("text", { x: left + (g + 0.5) * width, y: bottom + 18, "text-anchor": "middle", class: "group" }, name));
    svg.append(draw("text", { x: left + (g + 0.5) * width, y: bottom + 34, "text-anchor": "middle", class: "small" }, group.n ? `n = ${group.n}` : "n/a"));
    if (view.data.summary) drawBox(made, view, g, middle, width);
    const taken = [];
    for (const d of shown.filter((one) => one.group === g).sort((a, b) => a.value - b.value)) {
      const y = scale.y(d.value), room = width * 0.3;
      let offset = 0;
      for (let k = 0; k < 60; k++) { // beside those that are already there
        offset = (k % 2 ? 1 : -1) * Math.ceil(k / 2) * radius * 1.9;
        if (Math.abs(offset) > room) { offset = ((d.row * 37) % 100 / 50 - 1) * room; break; }
        if (!taken.some(([tx, ty]) => Math.hypot(tx - offset, ty - y) < radius * 1.9)) break;
      }
      taken.push([offset, y]);
      if (taken.length > 120) taken.shift();
      dots.push({ ...d, x: middle + offset, y, mark: svg.appendChild(draw("circle", { cx: x2(middle + offset), cy: x2(y), r: radius, class: `dot d${g % SERIES}` })) });
    }
    const level = view.means ? view.means.levels.indexOf(group.name) : -1;
    const side = left + (g + 0.86) * width;
    if (level >= 0) drawMean(svg, side, scale, at(view.means.estimate, level, cell, view), at(view.means.low, level, cell, view), at(view.means.high, level, cell, view), g);
    else if (!view.means) drawMean(svg, side, scale, group.mean, group.low, group.high, g);
  });
  return dots;
}

function drawBox(made, view, g, middle, width) {
  const { svg, scale, cell, groups } = made, k = g * view.geo.s.length + cell;
  const { q1, q2, q3 } = view.data.summary, half = Math.min(26, width * 0.2);
  if (q1.length && isFinite(q1[k])) {
    svg.append(draw("rect", { x: middle - half, width: 2 * half, y: scale.y(q3[k]), height: Math.max(1, scale.y(q1[k]) - scale.y(q3[k])), class: `f${g % SERIES}` }));
    svg.append(draw("line", { x1: middle - half, x2: middle + half, y1: scale.y(q2[k]), y2: scale.y(q2[k]), class: `s${g % SERIES}`, "stroke-width": 2 }));
  } else if (isFinite(groups[g].mean)) {
    const { mean, sd } = groups[g];
    svg.append(draw("rect", { x: middle - half, width: 2 * half, y: scale.y(mean + sd), height: Math.max(1, scale.y(mean - sd) - scale.y(mean + sd)), class: `f${g % SERIES}` }));
    svg.append(draw("line", { x1: middle - half, x2: middle + half, y1: scale.y(mean), y2: scale.y(mean), class: `s${g % SERIES}`, "stroke-width": 2 }));
  }
}

function drawMean(svg, x, scale, mean, low, high, g) {
  if (!isFinite(mean)) return;
  if (isFinite(low)) svg.append(draw("line", { x1: x, x2: x, y1: scale.y(low), y2: scale.y(high), class: `s${g % SERIES}`, "stroke-width": 2.4 }));
  svg.append(draw("rect", { x: x - 5, y: scale.y(mean) - 5, width: 10, height: 10, class: `mean d${g % SERIES}`, transform: `rotate(45 ${x} ${scale.y(mean)})` }));
}

function drawScatter(made, view) {
  const { svg, left, right, bottom, shown, scale, cell } = made, { column } = view.data;
  const points = shown.map((d) => ({ ...d, number: column.values[d.row] })).filter((d) => d.number !== null);
  const numbers = points.map((d) => d.number), [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const pad = (high - low) * 0.04 || 1, x = (v) => left + ((v - low + pad) / (high - low + 2 * pad)) * (right - left);
  for (const tick of ticks(low, high, (right - left) / 80)) svg.append(draw("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle", class: "small" }, number(tick)));
  svg.append(draw("text", { x: (left + right) / 2, y: bottom + 35, "text-anchor": "middle", class: "group" }, clip(view.family.by, 40)));
  if (column.within) drawPersons(svg, points, x, scale);
  const slope = view.family.letter === "t" && view.family.slope ? view.fits.estimate[cell] : NaN;
  const dots = points.map((d) => ({ ...d, x: x(d.number), y: scale.y(d.value), mark: svg.appendChild(draw("circle", { cx: x2(x(d.number)), cy: x2(scale.y(d.value)), r: points.length > 400 ? 1.8 : 3.2, class: "dot d0" })) }));
  if (isFinite(slope) && points.length) {
    const mean = (key) => points.reduce((sum, d) => sum + d[key], 0) / points.length;
    const [mx, my] = [mean("number"), mean("value")], end = (v) => scale.y(my + slope * (v - mx));
    svg.append(draw("line", { x1: x(low), x2: x(high), y1: end(low), y2: end(high), class: "fit-line" }));
  }
  if (view.means) view.means.levels.forEach((_, l) => {
    if (view.means.at[l] !== null) drawMean(svg, x(view.means.at[l]), scale, at(view.means.estimate, l, cell, view), at(view.means.low, l, cell, view), at(view.means.high, l, cell, view), 1);
  });
  return dots;
}

function drawPersons(svg, points, x, scale) {
  const people = new Map();
  for (const d of points) people.set(index.person[d.row], [...(people.get(index.person[d.row]) ?? []), d]);
  for (const sessions of people.values()) {
    sessions.sort((a, b) => a.number - b.number);
    if (sessions.length > 1) svg.append(draw("path", { d: line(sessions.map((d) => [x(d.number), scale.y(d.value)])), class: "person" }));
  }
}

// Who a dot is: on hover, and with the arrow keys once the picture has the focus.
function browse(svg, dots, readout, view) {
  if (!dots.length) return;
  const ordered = [...dots].sort((a, b) => a.group - b.group || (a.number ?? a.value) - (b.number ?? b.value));
  let current = -1;
  const say = (k) => {
    if (current >= 0) ordered[current].mark.classList.remove("on");
    current = k;
    if (k < 0) { readout.textContent = view.valuesHint; return; }
    const d = ordered[k];
    d.mark.classList.add("on");
    const where = d.number === undefined ? view.data.column.groups[d.group] : `${view.family.by} ${number(d.number)}`;
    readout.textContent = [index.labels[d.row], where, withUnit(number(d.value), view.units)].filter(Boolean).join(" · ");
  };
  say(-1);
  svg.setAttribute("tabindex", "0");
  svg.removeAttribute("aria-hidden");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Values in the cell. Left and right arrow keys go through the sessions.");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    say(Math.max(0, Math.min(ordered.length - 1, current + step)));
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), k = svg.viewBox.baseVal.width / box.width;
    const [px, py] = [(event.clientX - box.left) * k, (event.clientY - box.top) * k];
    let best = -1, near = 14;
    ordered.forEach((d, i) => { const far = Math.hypot(d.x - px, d.y - py); if (far < near) [near, best] = [far, i]; });
    if (best !== current) say(best);
  });
  svg.addEventListener("pointerleave", () => say(-1));
}
