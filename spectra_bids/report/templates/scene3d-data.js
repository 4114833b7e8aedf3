// What the 3D view reads out of the page: streamlines, brain, and the library that draws them.

const text = (id) => { const node = document.getElementById(id); return node ? node.textContent : ""; };

function webgl() {
  try {
    const context = document.createElement("canvas").getContext("webgl2");
    if (!context) return false;
    const lose = context.getExtension("WEBGL_lose_context");
    if (lose) lose.loseContext();
    return true;
  } catch (error) {
    return false;
  }
}

let able = null;
function available() {
  if (able === null) {
    able = Boolean(text("spectra-scene-library")) && typeof DecompressionStream === "function" && webgl();
  }
  return able;
}

async function unpacked(base64) {
  const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Numbers of 16 bits: low bytes, then high bytes. */
async function numbers(base64) {
  const bytes = await unpacked(base64), n = bytes.length / 2, out = new Uint16Array(n);
  for (let i = 0; i < n; i++) out[i] = bytes[i] | (bytes[n + i] << 8);
  return out;
}

/* Sums of a stretch of differences, modulo 2^16. */
function summed(values, start, end) {
  for (let i = start + 1; i < end; i++) values[i] += values[i - 1];
}

async function points(entry, quantum, order) {
  const planes = await numbers(entry.points), n = entry.vertices, out = new Float32Array(3 * n);
  for (let k = 0; k < 3; k++) {
    for (let o = 0; o < order; o++) summed(planes, k * n, (k + 1) * n);
    for (let i = 0; i < n; i++) out[3 * i + k] = entry.origin[k] + quantum * planes[k * n + i];
  }
  return out;
}

async function streamlines(entry, quantum) {
  const [xyz, counts, cells] = await Promise.all([
    points(entry, quantum, 2), numbers(entry.counts), numbers(entry.cells),
  ]);
  summed(cells, 0, cells.length);
  const offsets = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) offsets[i + 1] = offsets[i] + counts[i];
  return { xyz, offsets, cells, ns: entry.ns, nr: entry.nr };
}

async function brain() {
  const entry = JSON.parse(text("spectra-scene-brain") || "{}");
  if (!entry.points) return null;
  const xyz = await points(entry, entry.quantum, 1), planes = await numbers(entry.triangles), n = entry.faces;
  const triangles = new Uint32Array(3 * n);
  for (let k = 0; k < 3; k++) {
    summed(planes, k * n, (k + 1) * n);
    for (let i = 0; i < n; i++) triangles[3 * i + k] = planes[k * n + i];
  }
  return { xyz, triangles };
}

let library = null;
function niivue() {
  if (library === null) {
    library = unpacked(text("spectra-scene-library")).then((bytes) => {
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(bytes); // the page's policy knows its hash
      document.head.appendChild(script);
      if (!window.niivue) throw new Error("the 3D viewer could not be started");
      return window.niivue;
    });
  }
  return library;
}

