/* The 3D view: one bundle in a glass brain, coloured by the cells of its grid. Drawn by NiiVue, which lies packed in
   the page and is unpacked and run when the first view is made.

   SpectraScene.available()                        data are in the page and the browser has WebGL 2
   SpectraScene.create(container, {dark, label})   -> Promise of a viewer
   viewer.names, show(name), colour(values, {low, high, colours}), highlight(index | null), onpick, camera(name),
   resize(), dark(bool)

   Values are of the cells s * nr + r, or of the nodes s; index is one of these. */

class Viewer {
  constructor(container, options) {
    this.options = options;
    this.container = container;
    this.data = JSON.parse(text("spectra-scene-lines"));
    this.names = Object.keys(this.data.bundles);
    this.onpick = null;
    this.current = null;
    this.litMesh = null;
    this.values = null;
    this.scale = null;
    this.lit = null;
    this.mesh = null;
    this.cache = new Map();
    this.root = element("div", { class: "s3d" }, container);
    this.canvas = element("canvas", {
      class: "s3d-gl", tabindex: "0", role: "application",
      "aria-label": `${options.label || "Bundle in 3D"}. Arrow keys turn it, plus and minus zoom.`,
    }, this.root);
  }

  async start() {
    const [NV, glass] = await Promise.all([niivue(), brain()]);
    this.NV = NV;
    const nv = this.nv = new NV.Niivue({
      logLevel: "silent", loadingText: "", show3Dcrosshair: false, isOrientationTextVisible: false,
      isColorbar: false, dragAndDropEnabled: false, isResizeCanvas: true, backColor: [1, 1, 1, 1],
      crosshairWidth: 0, selectionBoxColor: [0, 0, 0, 0], isOrientCube: false,
    });
    this.listen(); // before NiiVue does
    // The first to ask decides: without an alpha channel, or the page would shine through the glass a second time.
    this.canvas.getContext("webgl2", { alpha: false, antialias: true });
    await nv.attachToCanvas(this.canvas, true);
    this.root.style.backgroundColor = "transparent";
    nv.setSliceType(nv.sliceTypeRender);
    this.shaders = {};
    for (const [name, code] of Object.entries({ glass: GLASS, lit: LIT, front: FRONT })) {
      this.shaders[name] = nv.setCustomMeshShader(code, `Spectra ${name}`);
    }
    if (glass) {
      this.glass = new NV.NVMesh(glass.xyz, glass.triangles, "brain", new Uint8Array([90, 102, 128, 255]), 0.24, true,
        nv.gl);
      this.glass.meshShaderIndex = this.shaders.glass;
    }
    this.compass = new Compass(this.root);
    this.buttons();
    element("div", { class: "s3d-hint", "aria-hidden": "true" }, this.root).textContent =
      "drag to turn · click a streamline · Ctrl + wheel to zoom";
    this.watch();
    this.dark(Boolean(this.options.dark));
    this.container.dataset.live = "1";
    return this;
  }

  /* NiiVue's own keys and wheel would take the page's: only what is meant for the view gets through. */
  listen() {
    const keys = {
      ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10], "+": 1.15, "=": 1.15, "-": 1 / 1.15,
    };
    for (const kind of ["keydown", "keyup"]) {
      this.root.addEventListener(kind, (event) => {
        if (event.target !== this.canvas) return;
        const does = kind === "keydown" && !event.ctrlKey && !event.metaKey && !event.altKey ? keys[event.key] : null;
        event.stopPropagation();
        if (!does) return;
        event.preventDefault();
        if (typeof does === "number") this.zoom(does);
        else this.turn(does[0], does[1]);
      }, true);
    }
    this.root.addEventListener("wheel", (event) => {
      event.stopPropagation();
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    }, { capture: true, passive: false });
    let down = null;
    this.canvas.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; });
    this.canvas.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 5;
      down = null;
      if (!still || event.button) return;
      const box = this.canvas.getBoundingClientRect();
      const cell = this.pick(event.clientX - box.left, event.clientY - box.top);
      if (cell !== null && this.onpick) this.onpick(cell);
    });
  }

  /* Redraws what depends on the view each time that NiiVue draws; new sizes and lost contexts. */
  watch() {
    const nv = this.nv, draw = nv.drawScene.bind(nv);
    nv.drawScene = (...all) => { const out = draw(...all); this.turned(); return out; };
    this.canvas.addEventListener("webglcontextlost", () => {
      nv.drawScene = () => {}; // a browser takes contexts back where memory or the graphics driver fails
      this.onlost?.();
    });
    if (window.ResizeObserver) {
      this.observer = new ResizeObserver(() => this.resize());
      this.observer.observe(this.root);
    }
  }

  buttons() {
    const bar = element("div", { class: "s3d-views", role: "group", "aria-label": "Camera" }, this.root);
    for (const name of Object.keys(VIEWS)) {
      const button = element("button", { type: "button", "data-view": name, "aria-label": `From the ${name}` }, bar);
      button.textContent = name[0].toUpperCase() + name.slice(1);
      button.addEventListener("click", () => this.camera(name));
    }
  }

  camera(name) {
    [this.nv.scene.renderAzimuth, this.nv.scene.renderElevation] = VIEWS[name];
    this.zoomed = false;
    this.fit();
  }

  /* As large as it fits. NiiVue shows a box of 0.8 times the scene's radius, to which its zoom is relative. */
  fit() {
    const { nv, canvas } = this, aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
    if (!this.zoomed && nv.extentsMin && aspect > 0) {
      const axes = this.screenAxes(), half = [0, 0], shown = 0.8 * nv.furthestFromPivot;
      for (let k = 0; k < 3; k++) {
        const size = (nv.extentsMax[k] - nv.extentsMin[k]) / 2;
        for (const i of [0, 1]) half[i] += Math.abs(axes[4 * k + i]) * size;
      }
      const room = aspect < 1 ? [shown, shown / aspect] : [shown * aspect, shown];
      const high = canvas.clientHeight, free = high > 3 * ABOVE ? 1 - ABOVE / high : 1; // below the buttons
      nv.scene.volScaleMultiplier = FILLED * Math.min(room[0] / half[0], free * room[1] / half[1]);
      nv.position = [0, (free - 1) * room[1] / nv.scene.volScaleMultiplier, 0];
    }
    nv.drawScene();
  }

  turn(azimuth, elevation) {
    const scene = this.nv.scene, up = Math.max(-90, Math.min(90, scene.renderElevation + elevation));
    this.nv.setRenderAzimuthElevation(scene.renderAzimuth + azimuth, up);
  }

  zoom(factor) {
    const scene = this.nv.scene;
    scene.volScaleMultiplier = Math.max(0.5, Math.min(12, scene.volScaleMultiplier * factor));
    this.zoomed = true;
    this.nv.drawScene();
  }

  matrices() {
    const { renderAzimuth, renderElevation } = this.nv.scene;
    return this.nv.calculateMvpMatrix(null, [0, 0, 0, 0], renderAzimuth, renderElevation);
  }

  turned() {
    const key = `${this.nv.scene.renderAzimuth} ${this.nv.scene.renderElevation}`;
    if (!this.compass || key === this.seen) return;
    this.seen = key;
    this.compass.set(this.screenAxes());
  }

  /* Where a step along each of the body's axes goes on the screen: the model-view-projection, of unit lengths. */
  screenAxes() {
    const [, model] = this.matrices(), out = new Float32Array(16);
    for (let k = 0; k < 3; k++) for (let i = 0; i < 3; i++) out[4 * k + i] = model[4 * k + i];
    return out;
  }

  async show(name) {
    const entry = this.data.bundles[name];
    if (this.wanted === name && this.current) return true;
    this.wanted = name;
    if (!entry) {
      this.current = this.mesh = this.litMesh = null;
      this.scene();
      return false;
    }
    if (!this.cache.has(name)) this.cache.set(name, streamlines(entry, this.data.quantum));
    const lines = await this.cache.get(name);
    if (this.wanted !== name) return true; // another one was asked for meanwhile
    this.current = lines;
    this.lit = null;
    if (this.mesh) this.mesh.unloadMesh(this.nv.gl);
    const steps = { id: "step", vals: new Float32Array(lines.cells.length) };
    this.mesh = this.tubes(lines.xyz, lines.offsets, RADIUS, [255, 255, 255], [steps]);
    Object.assign(this.mesh.dpv[0], { cal_min: 0, cal_max: 255 }); // NiiVue has taken them from the values
    this.mesh.fiberColor = "DPV0";
    this.mesh.colormap = "spectra";
    this.firstCamera(lines.xyz);
    this.paint();
    this.scene();
    this.fit();
    return true;
  }

  tubes(xyz, offsets, radius, colour, perVertex) {
    const mesh = new this.NV.NVMesh(xyz, offsets, "streamlines", new Uint8Array([...colour, 0]), 1, true, this.nv.gl,
      null, null, null, perVertex);
    return Object.assign(mesh, {
      fiberDither: 0, fiberRadius: radius, fiberSides: 5, fiberLength: 0.01, fiberColor: "Fixed",
      meshShaderIndex: this.shaders.lit,
    });
  }

  /* Thicker tubes where the streamlines run through what is lit, to the middle between it and its neighbours. */
  litTubes() {
    if (this.lit === null || !this.current) return null;
    const { xyz, offsets } = this.current, out = [], ends = [0];
    const middle = (i, j) => { for (let k = 0; k < 3; k++) out.push((xyz[3 * i + k] + xyz[3 * j + k]) / 2); };
    for (let line = 0; line + 1 < offsets.length; line++) {
      const first = offsets[line], last = offsets[line + 1] - 1;
      for (let i = first; i <= last; i++) {
        if (this.indexOf(i) !== this.lit) continue;
        if (i > first) middle(i - 1, i);
        for (; i <= last && this.indexOf(i) === this.lit; i++) out.push(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]);
        if (i <= last) middle(i - 1, i);
        ends.push(out.length / 3);
      }
    }
    if (ends.length === 1) return null;
    const mesh = this.tubes(new Float32Array(out), new Uint32Array(ends), LIT_RADIUS,
      BRIGHT[this.isDark ? "dark" : "light"], null);
    mesh.meshShaderIndex = this.shaders.front;
    mesh.updateMesh(this.nv.gl);
    return mesh;
  }

  /* The bundle's broad side: along the axis of the body in which it is thinnest, from the side where it lies. */
  firstCamera(xyz) {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity], mean = [0, 0, 0];
    for (let i = 0; i < xyz.length; i++) {
      const k = i % 3;
      low[k] = Math.min(low[k], xyz[i]);
      high[k] = Math.max(high[k], xyz[i]);
      mean[k] += xyz[i];
    }
    const size = low.map((v, k) => high[k] - v), k = size.indexOf(Math.min(...size));
    const side = mean[k] < 0 ? 0 : 1;
    const name = [["left", "right"], ["back", "front"], ["top", "top"]][k][side];
    [this.nv.scene.renderAzimuth, this.nv.scene.renderElevation] = VIEWS[name];
    this.zoomed = false;
  }

  colour(values, scale) {
    this.values = values;
    this.scale = scale;
    this.paint();
    this.scene();
  }

  highlight(index) {
    this.lit = index === null || index === undefined || index < 0 ? null : index;
    this.paint();
    this.scene();
  }

  /* A vertex's index in the caller's values: its cell, or its node where there is a value per node. */
  indexOf(vertex) {
    const { cells, ns, nr } = this.current;
    const byNode = this.values && this.values.length === ns && nr !== 1;
    return byNode ? Math.floor(cells[vertex] / nr) : cells[vertex];
  }

  /* NiiVue colours a vertex by a table of 256 colours: 1..126 the scale, 0 grey; from 128 on the same, paler, for what
     is not lit while something is. */
  paint() {
    if (!this.mesh) return;
    const { values, scale, lit } = this, n = this.current.cells.length, wanted = this.mesh.dpv[0].vals;
    const span = scale ? Math.max(scale.high - scale.low, 1e-12) : 1;
    for (let i = 0; i < n; i++) {
      const index = this.indexOf(i), value = values && index < values.length ? values[index] : NaN;
      const step = Number.isNaN(value) || !scale ? 0
        : 1 + Math.round(125 * Math.min(1, Math.max(0, (value - scale.low) / span)));
      wanted[i] = lit === null || index === lit ? step : 128 + step;
    }
    this.table();
    this.mesh.updateMesh(this.nv.gl);
    if (this.litMesh) this.litMesh.unloadMesh(this.nv.gl);
    this.litMesh = this.litTubes();
  }

  table() {
    const { scale } = this, back = this.paper;
    const colours = scale ? scale.colours : null, flat = colours && typeof colours[0] === "number";
    const count = colours ? (flat ? colours.length / 3 : colours.length) : 0;
    const at = (share) => {
      if (!count) return GREY;
      const k = Math.min(count - 1, Math.round(share * (count - 1)));
      return flat ? colours.slice(3 * k, 3 * k + 3) : colours[k];
    };
    const R = [], G = [], B = [];
    for (let i = 0; i < 256; i++) {
      const step = i % 128;
      let colour = step === 0 ? GREY : at(Math.min(1, (step - 1) / 125));
      if (i >= 128) colour = Array.from(colour, (v, k) => Math.round(0.55 * v + 0.45 * back[k]));
      R.push(colour[0]); G.push(colour[1]); B.push(colour[2]);
    }
    this.nv.addColormap("spectra", { min: 0, max: 255, R, G, B, A: R.map(() => 255), I: R.map((_, i) => i) });
  }

  /* What NiiVue shows: the bundle first, the glass before it. The frame is the brain's, or the bundle's without it. */
  scene() {
    this.nv.meshes = [this.litMesh, this.mesh, this.glass].filter(Boolean);
    this.nv.setPivot3D();
    this.seen = null;
    this.nv.drawScene();
  }

  /* The index that lies under a place of the canvas (CSS pixels): the nearest vertex to the eye within a few pixels. */
  pick(x, y) {
    if (!this.current) return null;
    const found = this.nearest(x, y, 8);
    return found === null ? null : this.indexOf(found);
  }

  nearest(x, y, reach) {
    const [mvp] = this.matrices(), { xyz } = this.current, box = this.canvas.getBoundingClientRect();
    let best = null, least = Infinity;
    for (let i = 0; i < xyz.length; i += 3) {
      const [px, py, depth] = projected(mvp, xyz, i, box);
      const away = Math.hypot(px - x, py - y);
      if (away > reach) continue;
      const rank = depth * 200 + away / reach; // of those in reach the one in front, then the nearest
      if (rank < least) [best, least] = [i / 3, rank];
    }
    return best;
  }

  /* CSS pixels of a vertex of an index, for those who want to point at it. */
  place(index) {
    const [mvp] = this.matrices(), { xyz } = this.current, box = this.canvas.getBoundingClientRect();
    for (let i = 0; i < xyz.length / 3; i++) {
      if (this.indexOf(i) === index) return projected(mvp, xyz, 3 * i, box).slice(0, 2);
    }
    return null;
  }

  resize() {
    this.nv.resizeListener();
    this.fit();
  }

  dark(on) {
    this.isDark = Boolean(on);
    this.root.style.color = on ? "#d5dbe1" : "#3c4854";
    this.root.style.colorScheme = on ? "dark" : "light";
    this.paper = paper(this.container, on);
    this.nv.opts.backColor = [...this.paper.map((v) => v / 255), 1];
    if (this.glass) {
      this.glass.rgba255 = new Uint8Array(on ? [170, 186, 210, 255] : [90, 102, 128, 255]);
      this.glass.opacity = on ? 0.24 : 0.26;
      this.glass.updateMesh(this.nv.gl);
    }
    this.paint();
    this.scene();
  }
}

function projected(m, xyz, i, box) {
  const [a, b, c] = [xyz[i], xyz[i + 1], xyz[i + 2]];
  const w = m[3] * a + m[7] * b + m[11] * c + m[15];
  const x = (m[0] * a + m[4] * b + m[8] * c + m[12]) / w, y = (m[1] * a + m[5] * b + m[9] * c + m[13]) / w;
  return [(x + 1) / 2 * box.width, (1 - y) / 2 * box.height, (m[2] * a + m[6] * b + m[10] * c + m[14]) / w];
}

async function create(container, options) {
  if (!available()) throw new Error("this page has no 3D view, or the browser has no WebGL 2");
  styled();
  const viewer = new Viewer(container, options || {});
  try {
    return await viewer.start();
  } catch (error) {
    viewer.root.remove();
    delete container.dataset.live;
    throw error;
  }
}

window.SpectraScene = { available, create };
