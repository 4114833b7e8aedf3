// How the 3D view looks: colours, sizes, style, light, and the letters of the directions.

const GREY = [173, 178, 184];
const BRIGHT = { light: [194, 24, 91], dark: [255, 72, 136] }; // what is lit; as in the other views
const VIEWS = {
  left: [90, 0], right: [270, 0], front: [180, 0], back: [0, 0], top: [0, 90], bottom: [180, -90],
};
const RADIUS = 0.42, LIT_RADIUS = 0.95; // of a streamline, and of its lit stretch, mm
const FILLED = 0.92, ABOVE = 30; // how much of the view the brain fills, and the height of the buttons, CSS pixels
const STYLE = `
  .s3d { position: relative; width: 100%; height: 100%; min-height: 300px; overflow: hidden; border-radius: inherit; }
  .s3d canvas.s3d-gl { position: absolute; inset: 0; width: 100%; height: 100%; display: block; outline: none;
    cursor: grab; touch-action: pan-y; }
  .s3d canvas.s3d-gl:active { cursor: grabbing; }
  .s3d:focus-within canvas.s3d-gl:focus-visible { box-shadow: inset 0 0 0 2px #1f7fd0; }
  .s3d-compass { position: absolute; left: 6px; bottom: 6px; width: 84px; height: 84px; pointer-events: none;
    overflow: visible; font: 600 11px system-ui, sans-serif; }
  .s3d-compass line { stroke: currentColor; stroke-width: 1; opacity: .45; }
  .s3d-compass text { fill: currentColor; text-anchor: middle; dominant-baseline: central; }
  .s3d-views { position: absolute; right: 8px; top: 8px; display: flex; flex-wrap: wrap; gap: 4px;
    justify-content: flex-end; max-width: calc(100% - 16px); }
  .s3d-views button { font: 500 12px system-ui, sans-serif; padding: 3px 8px; border-radius: 6px; cursor: pointer;
    color: inherit; border: 1px solid color-mix(in srgb, currentColor 28%, transparent);
    background: color-mix(in srgb, Canvas 72%, transparent); }
  .s3d-views button:hover { background: Canvas; border-color: currentColor; }
  .s3d-views button:focus-visible { outline: 2px solid #1f7fd0; outline-offset: 1px; }
  .s3d-hint { position: absolute; right: 8px; bottom: 6px; font: 11px system-ui, sans-serif; opacity: .6;
    pointer-events: none; }
  [data-live] > img { display: none; }
  @media (max-width: 480px) { .s3d-hint { display: none; } }
  @media print { .s3d-views, .s3d-hint { display: none; } }`;

/* The surface facing away from the eye is tinted, the one facing it is clear. */
const GLASS = `#version 300 es
precision highp int;
precision highp float;
uniform float opacity;
in vec4 vClr;
in vec3 vN;
out vec4 color;
void main() {
float facing = abs(normalize(vN).z);
color = vec4(vClr.rgb, opacity * (0.05 + 0.95 * pow(1.0 - facing, 2.0)));
}`;
/* A lamp at the camera; no highlights, which would be read as colours of the scale. */
const LIT = `#version 300 es
precision highp int;
precision highp float;
uniform float opacity;
in vec4 vClr;
in vec3 vN;
out vec4 color;
void main() {
color = vec4(vClr.rgb * (0.62 + 0.38 * abs(normalize(vN).z)), opacity);
}`;
/* What is lit is seen through whatever lies before it. */
const FRONT = LIT.replace(/\}$/, "  gl_FragDepth = 0.2 * gl_FragCoord.z;\n}");

/* The colour behind the view, 0..255: what blends with the glass must be drawn, not shine through. */
function paper(node, dark) {
  for (; node instanceof Element; node = node.parentNode) {
    const parts = (getComputedStyle(node).backgroundColor.match(/^rgba?\(([^)]*)\)/) || ["", ""])[1].split(/[ ,/]+/);
    if (parts.length >= 3 && (parts.length === 3 || Number(parts[3]) === 1)) return parts.slice(0, 3).map(Number);
  }
  return dark ? [20, 24, 29] : [255, 255, 255];
}

function element(name, attributes, parent) {
  const svg = name === "svg" || name === "line" || name === "text";
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.appendChild(made);
  return made;
}

function styled() {
  if (!document.getElementById("s3d-style")) {
    element("style", { id: "s3d-style" }, document.head).textContent = STYLE;
  }
}

/* The six directions of the body, turning with the view. */
class Compass {
  constructor(parent) {
    this.root = element("svg", { class: "s3d-compass", viewBox: "-42 -42 84 84", "aria-hidden": "true" }, parent);
    this.axes = [["L", "R"], ["P", "A"], ["I", "S"]].map((letters) => ({
      line: element("line", {}, this.root),
      ends: letters.map((letter) => {
        const node = element("text", {}, this.root);
        node.textContent = letter;
        return node;
      }),
    }));
  }

  /* `turn`: 4 x 4, column by column; what it makes of the body's axes on the screen, y up, z to the eye. */
  set(turn) {
    this.axes.forEach((axis, k) => {
      const [x, y, z] = [turn[4 * k], -turn[4 * k + 1], turn[4 * k + 2]];
      for (const [name, value] of Object.entries({ x1: -24 * x, y1: -24 * y, x2: 24 * x, y2: 24 * y })) {
        axis.line.setAttribute(name, value.toFixed(2));
      }
      axis.ends.forEach((node, end) => {
        const sign = end ? 1 : -1, away = Math.hypot(x, y);
        node.setAttribute("x", (sign * 34 * x).toFixed(2));
        node.setAttribute("y", (sign * 34 * y).toFixed(2));
        node.style.opacity = away < 0.35 ? 0 : Math.min(1, 0.55 + 0.45 * (sign * z + 0.5));
      });
    });
  }
}

