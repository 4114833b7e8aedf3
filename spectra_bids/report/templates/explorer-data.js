// Payload of the page: the index, and blocks that are inflated when they are looked at (see report/explorer.py).
const index = JSON.parse(document.getElementById("x-index").textContent);
const MISSING = -32768;

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Columns of a block as arrays of numbers; NaN where there is none.
function unpack(raw) {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const count = view.getUint32(0, true);
  const columns = [];
  let at = 4 + 4 * count;
  for (let k = 0; k < count; k++) {
    const kind = String.fromCharCode(raw[4 + 4 * k]);
    const n = raw[5 + 4 * k] | (raw[6 + 4 * k] << 8) | (raw[7 + 4 * k] << 16);
    const out = new Float64Array(n);
    if (kind === "b") {
      for (let i = 0; i < n; i++) out[i] = raw[at + i];
      at += n;
    } else {
      for (let i = 0; i < n; i++) {
        const whole = ((raw[at + i] | (raw[at + n + i] << 8)) << 16) >> 16;
        if (whole === MISSING) { out[i] = NaN; continue; }
        const power = kind === "d" ? (raw[at + 2 * n + i] << 24) >> 24 : 0;
        out[i] = power < 0 ? whole / 10 ** -power : whole * 10 ** power; // a quotient is the nearest number there is
      }
      at += kind === "d" ? 3 * n : 2 * n;
    }
    columns.push(out);
  }
  return columns;
}

const blocks = new Map();
function block(id) {
  if (!blocks.has(id)) {
    const element = document.getElementById(id);
    blocks.set(id, element ? inflate(element.textContent).then(unpack) : Promise.resolve(null));
  }
  return blocks.get(id);
}

// Cells of a bundle, and the place of (s, r) among them.
async function geometry(kind, b) {
  const found = await block(`x-geo-${kind}-${b}`);
  if (!found) return null;
  const [s, r, ...places] = found;
  const [sMm, rMm, x, y, z] = places.map((column) => column.map((v) => v / 10));
  const { ns, nr } = index.bundles[b];
  const at = new Map();
  for (let k = 0; k < s.length; k++) at.set(s[k] * 1000 + r[k], k);
  return { kind, s, r, sMm, rMm, x, y, z, ns, nr: kind === "2D" ? nr : 1, find: (i, j) => at.get(i * 1000 + j) ?? -1 };
}

const FIELDS = ["value", "estimate", "low", "high", "df", "p", "q", "effect", "mde", "n", "status", "hit"];
async function fit(f, b) {
  const found = await block(`x-fit-${f}-${b}`);
  return found && Object.fromEntries(FIELDS.map((name, k) => [name, found[k]]));
}

// What was measured in every cell by group: every session's values, or the groups' summaries.
async function measured(v, b, kind, by) {
  const column = index.columns[by];
  if (!column) return null;
  const values = await block(`x-val-${v}-${b}-${kind}`);
  if (values) return { column, rows: index.labels.length, values: values[0] };
  const found = await block(`x-sum-${v}-${b}-${kind}`);
  if (!found) return null;
  const k = 6 * Object.keys(index.columns).indexOf(by);
  const [n, mean, sd, q1, q2, q3] = found.slice(k, k + 6);
  return { column, summary: { n, mean, sd, q1, q2, q3 } };
}

// Values of one cell as [{row, value, group}], those that are there.
function cellValues(data, cell) {
  const out = [];
  for (let row = 0; row < data.rows; row++) {
    const value = data.values[cell * data.rows + row];
    const group = data.column.codes[row];
    if (isFinite(value) && group >= 0) out.push({ row, value, group });
  }
  return out;
}

// Mean, 95 % interval of the mean and people of each group in one cell; sessions of a person in a group count once.
function cellGroups(data, cell, cells) {
  return data.column.groups.map((name, g) => {
    if (data.summary) {
      const k = g * cells + cell;
      const [n, mean, sd] = [data.summary.n[k], data.summary.mean[k], data.summary.sd[k]];
      return interval(name, n, mean, sd);
    }
    const people = new Map();
    for (let row = 0; row < data.rows; row++) {
      const value = data.values[cell * data.rows + row];
      if (data.column.codes[row] !== g || !isFinite(value)) continue;
      const person = index.person[row];
      const before = people.get(person) ?? [0, 0];
      people.set(person, [before[0] + value, before[1] + 1]);
    }
    const each = [...people.values()].map(([sum, n]) => sum / n);
    const mean = each.reduce((a, b) => a + b, 0) / each.length;
    const sd = Math.sqrt(each.reduce((a, b) => a + (b - mean) ** 2, 0) / (each.length - 1));
    return interval(name, each.length, mean, sd);
  });
}

function interval(name, n, mean, sd) {
  const half = n > 1 ? (quantileT(n - 1) * sd) / Math.sqrt(n) : NaN;
  return { name, n, mean, sd, low: mean - half, high: mean + half };
}

// 97.5 % quantile of t (Abramowitz & Stegun 26.7.5; exact for 1 and 2 degrees of freedom).
function quantileT(df) {
  if (!(df >= 1)) return NaN;
  if (df === 1) return 12.706204736;
  if (df === 2) return 4.30265273;
  const z = 1.959963984540054;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  const g4 = (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160;
  return z + g1 / df + g2 / df ** 2 + g3 / df ** 3 + g4 / df ** 4;
}

async function adjusted(v, b, kind, by) {
  const entry = index.adjusted[by];
  const found = entry && (await block(`x-adj-${v}-${b}-${kind}`));
  if (!found) return null;
  const k = 3 * Object.keys(index.adjusted).indexOf(by);
  const [estimate, low, high] = found.slice(k, k + 3);
  return { levels: entry.levels, at: entry.at, estimate, low, high };
}

// Numbers as the tables write them: three digits.
function number(value, digits = 3) {
  if (!isFinite(value)) return "n/a";
  const size = Math.abs(value);
  let text = size >= 999.5 ? value.toFixed(0) : size === 0 ? "0" : value.toPrecision(digits);
  if (size !== 0 && size < 0.0001) text = value.toExponential(digits - 1);
  if (text.includes("e")) {
    const [head, power] = text.split("e");
    text = `${head.includes(".") ? head.replace(/\.?0+$/, "") : head}e${Number(power)}`;
  } else if (text.includes(".")) text = text.replace(/\.?0+$/, "");
  return text.replaceAll("-", "−");
}

function pText(p) {
  if (!isFinite(p)) return "n/a";
  if (p >= 0.1) return p.toFixed(2);
  if (p >= 0.01) return p.toFixed(3);
  if (p >= 0.0001) return String(Number(p.toPrecision(2)));
  if (p <= 1e-120) return "< 1e−119";
  const [head, power] = p.toExponential(0).split("e");
  return `${head}e−${-Number(power)}`;
}

const mm = (value) => (isFinite(value) ? value.toFixed(0).replace("-", "−").replace(/^−0$/, "0") : "n/a");
const withUnit = (text, units) => (units && text !== "n/a" ? `${text} ${units}` : text);

const holder = document.createElement("template");
holder.innerHTML = "<svg></svg>"; // a page that names no address, not even this one's namespace
const SVG = holder.content.firstChild.namespaceURI;
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const clip = (text, length) => ([...text].length > length ? [...text].slice(0, length - 1).join("") + "…" : text);

// Round numbers within [low, high], about `count` of them.
function ticks(low, high, count = 4) {
  const raw = (high - low) / count;
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= raw * 0.999);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}
