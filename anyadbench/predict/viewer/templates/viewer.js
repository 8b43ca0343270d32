"use strict";
(function () {
  const root = document.documentElement;
  const one = (selector) => document.querySelector(selector);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const data = JSON.parse(one("#data").textContent);
  const [NX, NY, NZ] = data.shape;

  // Axes of a plane: across (u), down (v) and through (w) the screen; `up` where the axis down the screen is reversed.
  const PLANES = {
    axial: { name: "Axial", u: 0, v: 1, w: 2, up: false },
    coronal: { name: "Coronal", u: 0, v: 2, w: 1, up: true },
    sagittal: { name: "Sagittal", u: 1, v: 2, w: 0, up: true },
  };
  // Letters at the first and the last index of each axis: arrays run to the patient's left, to posterior, to superior.
  const ENDS = [["R", "L"], ["A", "P"], ["I", "S"]];
  const SIDES = { L: "left", R: "right", A: "anterior", P: "posterior", S: "superior", I: "inferior" };
  const UNNUMBERED = 255;

  const state = {
    at: [0, 0, 0], view: "planes", plane: "axial", scan: 0, map: 0, cluster: 0, zoom: 1, radiological: true,
    cross: true, mapOpacity: 0.7, maskOpacity: 0.8,
    windows: data.scans.map(() => [0, 255]), scales: data.maps.map((map) => map.levels.slice()),
  };
  const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const volumes = new Map();
  let panels = [], pending = false, idle = 0;

  function remember(name, value) {
    address.set(name, value);
    try { history.replaceState(null, "", "#" + address.toString()); } catch (error) { /* pages in a frame keep none */ }
  }

  // ---- volumes -----------------------------------------------------------------------------------------------------

  function volume(id) {
    if (!volumes.has(id)) { volumes.set(id, unpack(id)); }
    return volumes.get(id);
  }

  async function unpack(id) {
    const bytes = Uint8Array.from(atob(one("#" + id).textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const values = new Uint8Array(await new Response(stream).arrayBuffer());
    // Stored as differences from the row before, which compress better; 8-bit arrays add modulo 256.
    for (let z = 0; z < NZ; z += 1) {
      for (let i = (z * NY + 1) * NX, end = (z + 1) * NY * NX; i < end; i += 1) { values[i] += values[i - NX]; }
    }
    return values;
  }

  const offset = (at) => at[0] + NX * (at[1] + NY * at[2]);
  const dot = (matrix, at) => matrix.map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]);
  const inside = (at) => at.map((value, axis) => Math.min(Math.max(Math.round(value), 0), data.shape[axis] - 1));
  const sliceNumber = (axis, index) => data.start[axis] + index * data.steps[axis];

  function millimetres(at) {
    return dot(data.affine, at).map((value, axis) => {
      const letter = value >= 0 ? "RAS"[axis] : "LPI"[axis];
      return { letter, text: letter + " " + Math.abs(value).toFixed(0) };
    });
  }

  // ---- drawing -----------------------------------------------------------------------------------------------------

  function greys(scan) {
    const [low, high] = state.windows[scan];
    const table = new Uint8ClampedArray(256);
    for (let i = 0; i < 256; i += 1) { table[i] = 255 * (i - low) / Math.max(high - low, 1); }
    return table;
  }

  function heat(map) {
    const [low, high] = state.scales[map];
    const colours = new Float32Array(256 * 4);
    for (let i = 0; i < 256; i += 1) {
      const level = Math.min(Math.max((i - low) / Math.max(high - low, 1), 0), 1);
      const colour = data.colours[Math.round(level * 255)];
      colours.set([colour[0], colour[1], colour[2], state.mapOpacity * Math.sqrt(level)], i * 4);
    }
    return colours;
  }

  function geometry(panel) {
    const plane = PLANES[panel.plane], { u, v } = plane;
    const width = panel.canvas.clientWidth, height = panel.canvas.clientHeight;
    const longest = Math.max(...data.shape.map((n, axis) => n * data.spacing[axis]));
    const scale = (Math.min(width, height) - 34) / longest * state.zoom;
    const w = data.shape[u] * data.spacing[u] * scale, h = data.shape[v] * data.spacing[v] * scale;
    const flip = u === 0 && !state.radiological;
    const place = { plane, flip, scale, w, h, width, height, nu: data.shape[u], nv: data.shape[v] };
    place.left = (width - w) / 2;
    place.top = (height - h) / 2;
    if (state.zoom > 1) {
      const [x, y] = screen({ ...place, left: 0, top: 0 }, state.at);
      place.left = width / 2 - x;
      place.top = height / 2 - y;
    }
    return place;
  }

  function screen(place, at) {
    const { u, v, up } = place.plane;
    const a = place.flip ? place.nu - 1 - at[u] : at[u], b = up ? place.nv - 1 - at[v] : at[v];
    return [place.left + (a + 0.5) / place.nu * place.w, place.top + (b + 0.5) / place.nv * place.h];
  }

  function picked(place, x, y) {
    const { u, v, up } = place.plane, at = state.at.slice();
    const a = Math.floor((x - place.left) / place.w * place.nu), b = Math.floor((y - place.top) / place.h * place.nv);
    at[u] = place.flip ? place.nu - 1 - a : a;
    at[v] = up ? place.nv - 1 - b : b;
    return inside(at);
  }

  function cut(place, values) {
    const { u, v, w, up } = place.plane, strides = [1, NX, NX * NY], out = new Uint8Array(place.nu * place.nv);
    const base = state.at[w] * strides[w];
    for (let b = 0, o = 0; b < place.nv; b += 1) {
      const row = base + (up ? place.nv - 1 - b : b) * strides[v];
      for (let a = 0; a < place.nu; a += 1, o += 1) { out[o] = values[row + (place.flip ? place.nu - 1 - a : a) * strides[u]]; }
    }
    return out;
  }

  function paint(panel, place, grey, level, marks) {
    const image = new ImageData(place.nu, place.nv), pixels = image.data;
    const table = greys(panel.scan), colours = heat(panel.map), fill = 0.12 * state.maskOpacity;
    for (let i = 0, o = 0; i < grey.length; i += 1, o += 4) {
      const g = table[grey[i]], c = level[i] * 4, a = colours[c + 3], m = marks[i] ? fill : 0;
      for (let k = 0; k < 3; k += 1) {
        const mixed = g + a * (colours[c + k] - g);
        pixels[o + k] = mixed + m * (data.contour[k] - mixed);
      }
      pixels[o + 3] = 255;
    }
    return image;
  }

  function outline(context, place, marks, wanted) {
    const dx = place.w / place.nu, dy = place.h / place.nv, { nu, nv } = place;
    const is = (a, b) => a >= 0 && b >= 0 && a < nu && b < nv && wanted(marks[b * nu + a]);
    context.beginPath();
    for (let b = 0; b < nv; b += 1) {
      for (let a = 0; a < nu; a += 1) {
        if (!is(a, b)) { continue; }
        const x = place.left + a * dx, y = place.top + b * dy;
        if (!is(a - 1, b)) { context.moveTo(x, y); context.lineTo(x, y + dy); }
        if (!is(a + 1, b)) { context.moveTo(x + dx, y); context.lineTo(x + dx, y + dy); }
        if (!is(a, b - 1)) { context.moveTo(x, y); context.lineTo(x + dx, y); }
        if (!is(a, b + 1)) { context.moveTo(x, y + dy); context.lineTo(x + dx, y + dy); }
      }
    }
    context.stroke();
  }

  function label(context, text, x, y, align) {
    context.textAlign = align;
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  function annotate(context, place) {
    const { u, v, up } = place.plane, across = ENDS[u].slice(), down = ENDS[v].slice();
    if (place.flip) { across.reverse(); }
    if (up) { down.reverse(); }
    Object.assign(context, { font: "600 13px system-ui, sans-serif", fillStyle: "#fff", strokeStyle: "#000", lineWidth: 3 });
    context.textBaseline = "middle";
    label(context, across[0], 5, place.height / 2, "left");
    label(context, across[1], place.width - 5, place.height / 2, "right");
    label(context, down[0], place.width / 2, 10, "center");
    label(context, down[1], place.width / 2, place.height - 10, "center");
    const bar = [100, 50, 20, 10, 5].find((mm) => mm * place.scale < place.width * 0.36) || 2;
    const long = bar * place.scale, x = place.width - 10 - long, y = place.height - 9;
    context.fillRect(x, y, long, 2);
    context.fillRect(x, y - 3, 1.5, 5);
    context.fillRect(x + long - 1.5, y - 3, 1.5, 5);
    context.font = "12px system-ui, sans-serif";
    label(context, bar + " mm", x + long, y - 11, "right");
    return { bar, across, down };
  }

  async function draw(panel) {
    const map = data.maps[panel.map];
    const [scan, levels, marks] = await Promise.all([data.scans[panel.scan].id, map.id, map.marks].map(volume));
    if (!panels.includes(panel)) { return; }
    const place = geometry(panel), ratio = window.devicePixelRatio || 1, canvas = panel.canvas;
    const context = canvas.getContext("2d");
    canvas.width = Math.round(place.width * ratio);
    canvas.height = Math.round(place.height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, place.width, place.height);
    const marked = cut(place, marks);
    const sheet = document.createElement("canvas");
    sheet.width = place.nu;
    sheet.height = place.nv;
    sheet.getContext("2d").putImageData(paint(panel, place, cut(place, scan), cut(place, levels), marked), 0, 0);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, place.left, place.top, place.w, place.h);
    context.globalAlpha = state.maskOpacity;
    Object.assign(context, { strokeStyle: `rgb(${data.contour.join(",")})`, lineWidth: 1.5, lineCap: "square" });
    outline(context, place, marked, (mark) => mark > 0);
    if (state.cluster && panel.map === state.map) {
      Object.assign(context, { strokeStyle: "#fff", lineWidth: 2 });
      outline(context, place, marked, (mark) => mark === state.cluster);
    }
    context.globalAlpha = 1;
    if (state.cross) {
      const [x, y] = screen(place, state.at);
      context.globalAlpha = 0.65;
      context.fillStyle = "#8df08d";
      [[x - 0.5, 0, 1, y - 7], [x - 0.5, y + 7, 1, place.height], [0, y - 0.5, x - 7, 1], [x + 7, y - 0.5, place.width, 1]]
        .forEach((line) => context.fillRect(...line));
      context.globalAlpha = 1;
    }
    describe(panel, annotate(context, place));
  }

  function describe(panel, drawn) {
    const plane = PLANES[panel.plane], at = millimetres(state.at)[plane.w], number = sliceNumber(plane.w, state.at[plane.w]);
    const where = `slice ${number}, ${at.text} mm`;
    panel.caption.textContent = `${panel.title}, ${where}`;
    panel.slider.value = String(state.at[plane.w]);
    panel.slider.setAttribute("aria-valuetext", where);
    panel.canvas.setAttribute("aria-label", `${panel.title}, ${where}. Left of the picture: the patient's `
      + `${SIDES[drawn.across[0]]}; top: ${SIDES[drawn.down[0]]}.`);
    Object.assign(panel.canvas.dataset, { at: state.at.join(","), left: drawn.across[0], bar: String(drawn.bar) });
  }

  function refresh() {
    root.dataset.ready = "no";
    if (pending) { return; }
    pending = true;
    requestAnimationFrame(async () => {
      pending = false;
      try {
        await Promise.all(panels.map(draw));
        await report();
        if (!pending) { root.dataset.ready = "yes"; }
      } catch (error) {
        one("#failure").hidden = false;
        one("#failure").textContent = "The viewer cannot read its volumes in this browser (" + error.message + "); a newer "
          + "version of Chrome, Edge, Firefox or Safari can. The pictures below show the slices with the highest scores.";
      }
    });
  }

  // ---- what is shown, in words ---------------------------------------------------------------------------------------

  const four = (value) => Number(value.toPrecision(4)).toString();
  const ofLevel = (layer, level) => layer.low + (layer.high - layer.low) * level / 255;

  function reading(layer, level) {
    if (level === 255) { return "≥ " + four(layer.high); }
    return (level === 0 ? "≤ " : "≈ ") + four(ofLevel(layer, level));
  }

  async function report() {
    const map = data.maps[state.map], here = offset(state.at);
    const file = dot(data.toFile, state.at).map((value) => Math.round(value));
    const mark = (await volume(map.marks))[here], found = [];
    found.push(["Position", millimetres(state.at).map((part) => part.text).join(", ") + " mm"]);
    found.push(["Voxel in the file", file.join(", ")]);
    for (const scan of data.scans) { found.push([scan.label, reading(scan, (await volume(scan.id))[here])]); }
    const kind = mark === 0 ? "" : mark === UNNUMBERED ? ", above the threshold" : `, in cluster ${mark}`;
    found.push(["Map", reading(map, (await volume(map.id))[here]) + kind]);
    const item = data.slices.find((slice) => slice.z === state.at[2]);
    found.push(["Score of the axial slice", item ? four(item.score) : "not scored"]);
    one("#readout").replaceChildren(...found.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      return [term, text];
    }));
    const marker = one("#plot-marker"), bar = one(`#plot rect[data-z="${state.at[2]}"]`);
    if (marker) {
      marker.setAttribute("visibility", bar ? "visible" : "hidden");
      if (bar) { marker.setAttribute("x", String(Number(bar.getAttribute("x")) + Number(bar.getAttribute("width")) / 2 - 1)); }
    }
    all("[data-cluster]").forEach((row) => {
      if (Number(row.dataset.cluster) === state.cluster) { row.setAttribute("aria-current", "true"); }
      else { row.removeAttribute("aria-current"); }
    });
    // Screen readers hear where the cursor rests, not every slice on the way.
    clearTimeout(idle);
    idle = setTimeout(() => {
      one("#live").textContent = found.map(([name, value]) => name + " " + value).join("; ");
      remember("voxel", file.join(","));
    }, 400);
  }

  function legend() {
    const map = data.maps[state.map], [low, high] = state.scales[state.map];
    one("#legend-low").textContent = four(ofLevel(map, low));
    one("#legend-high").textContent = four(ofLevel(map, high));
    const mark = one("#legend-threshold"), text = one("#legend-words");
    const share = map.threshold === null ? -1 : (map.threshold - ofLevel(map, low)) / (ofLevel(map, high) - ofLevel(map, low));
    mark.setAttribute("visibility", share >= 0 && share <= 1 ? "visible" : "hidden");
    mark.setAttribute("x", String(Math.min(Math.max(share, 0), 1) * 240 - 1));
    text.textContent = map.threshold === null ? "no threshold" : "threshold " + four(map.threshold);
    one("#map-facts").textContent = map.facts;
  }

  // ---- panels --------------------------------------------------------------------------------------------------------

  function addPanel(plane, scan, map, title) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas"), slider = document.createElement("input");
    const axis = PLANES[plane].w, panel = { plane, scan, map, title, canvas, caption, slider };
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "slice");
    canvas.setAttribute("aria-describedby", "keys");
    Object.assign(slider, { type: "range", min: "0", max: String(data.shape[axis] - 1), step: "1" });
    slider.setAttribute("aria-label", `${title}: slice`);
    slider.addEventListener("input", () => move(axis, Number(slider.value) - state.at[axis]));
    canvas.addEventListener("keydown", (event) => arrow(event, panel));
    canvas.addEventListener("wheel", (event) => {
      const step = Math.sign(event.deltaY) * -1, next = state.at[axis] + step;
      if (!step || next < 0 || next >= data.shape[axis]) { return; }  // at the ends, the page scrolls
      event.preventDefault();
      move(axis, step);
    }, { passive: false });
    point(canvas, panel);
    figure.append(caption, canvas, slider);
    one("#panels").append(figure);
    return panel;
  }

  function point(canvas, panel) {
    let from = null;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      go(picked(geometry(panel), event.clientX - box.left, event.clientY - box.top));
    };
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const windowing = event.button === 2 || event.shiftKey;
      from = { x: event.clientX, y: event.clientY, windowing, ends: state.windows[panel.scan].slice() };
      if (!windowing) { place(event); }
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) { return; }
      if (!from.windowing) { place(event); return; }
      const [low, high] = from.ends, level = (low + high) / 2 + (event.clientY - from.y) / 2;
      setWindow(panel.scan, level, high - low + (event.clientX - from.x));
    });
    ["pointerup", "pointercancel"].forEach((kind) => canvas.addEventListener(kind, () => { from = null; }));
  }

  function arrange() {
    const names = { planes: () => Object.keys(PLANES).map((plane) => [plane, state.scan, state.map, PLANES[plane].name]) };
    names.scans = () => data.scans.map((scan, i) => [state.plane, i, state.map, `${scan.label}, ${state.plane}`]);
    names.maps = () => data.maps.map((map, i) => [state.plane, state.scan, i, `Map of ${map.label}, ${state.plane}`]);
    one("#panels").replaceChildren();
    one("#panels").dataset.view = state.view;
    panels = names[state.view]().map((given) => addPanel(...given));
    one("#plane").closest("label").hidden = state.view === "planes";
    one("#scan").closest("label").hidden = state.view === "scans";
    refresh();
  }

  // ---- moving --------------------------------------------------------------------------------------------------------

  function go(at) {
    state.at = inside(at);
    refresh();
  }

  function move(axis, step) {
    const at = state.at.slice();
    at[axis] += step;
    go(at);
  }

  function arrow(event, panel) {
    const place = geometry(panel), { u, v, w, up } = place.plane, size = event.shiftKey ? 10 : 1;
    const steps = {
      ArrowLeft: [u, place.flip ? size : -size], ArrowRight: [u, place.flip ? -size : size],
      ArrowUp: [v, up ? size : -size], ArrowDown: [v, up ? -size : size],
      PageUp: [w, size], PageDown: [w, -size],
      Home: [w, -state.at[w]], End: [w, data.shape[w] - 1 - state.at[w]],
    };
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) { return; }
    event.preventDefault();
    move(...step);
  }

  function toCluster(number) {
    const found = data.maps[state.map].clusters.find((cluster) => cluster.number === number);
    if (!found) { return; }
    state.cluster = number;
    go(found.peak);
    remember("cluster", String(number));
  }

  function nextCluster(step) {
    const known = data.maps[state.map].clusters, place = known.findIndex((cluster) => cluster.number === state.cluster);
    if (!known.length) { return; }
    toCluster(known[(place < 0 ? (step > 0 ? 0 : known.length - 1) : place + step + known.length) % known.length].number);
  }

  // ---- controls ------------------------------------------------------------------------------------------------------

  function setRange(id, value, words) {
    const range = one("#" + id);
    range.value = String(value);
    range.setAttribute("aria-valuetext", words);
    range.closest("label").querySelector("output").textContent = words;
  }

  function setWindow(scan, level, width) {
    const wide = Math.min(Math.max(width, 2), 512), middle = Math.min(Math.max(level, 0), 255);
    state.windows[scan] = [middle - wide / 2, middle + wide / 2];
    showSettings();
    refresh();
  }

  function showSettings() {
    const scan = data.scans[state.scan], map = data.maps[state.map];
    const [low, high] = state.windows[state.scan], [from, to] = state.scales[state.map], unit = (scan.high - scan.low) / 255;
    setRange("level", (low + high) / 2, four(scan.low + unit * (low + high) / 2));
    setRange("width", high - low, four(unit * (high - low)));
    setRange("map-low", from, four(ofLevel(map, from)));
    setRange("map-high", to, four(ofLevel(map, to)));
    setRange("map-opacity", Math.round(100 * state.mapOpacity), Math.round(100 * state.mapOpacity) + " %");
    setRange("mask-opacity", Math.round(100 * state.maskOpacity), Math.round(100 * state.maskOpacity) + " %");
    legend();
  }

  function reset() {
    state.windows = data.scans.map(() => [0, 255]);
    state.scales = data.maps.map((map) => map.levels.slice());
    Object.assign(state, { mapOpacity: 0.7, maskOpacity: 0.8, zoom: 1 });
    one("#zoom").value = "1";
    showSettings();
    refresh();
  }

  const letters = {
    n: () => nextCluster(1),
    p: () => nextCluster(-1),
    m: () => { state.mapOpacity = state.mapOpacity ? 0 : 0.7; showSettings(); refresh(); },
    k: () => { state.maskOpacity = state.maskOpacity ? 0 : 0.8; showSettings(); refresh(); },
    c: () => one("#cross").click(),
    r: reset,
  };

  function choose(id, use) {
    const select = one("#" + id), wanted = address.get(id);
    if (wanted !== null && Array.from(select.options).some((option) => option.value === wanted)) { select.value = wanted; }
    use(select.value);
    select.addEventListener("change", () => { use(select.value); remember(id, select.value); showSettings(); arrange(); });
  }

  function slide(id, use) {
    const range = one("#" + id);
    range.addEventListener("input", () => { use(Number(range.value)); showSettings(); refresh(); });
  }

  function showMapsClusters() {
    all("[data-clusters-of]").forEach((part) => { part.hidden = Number(part.dataset.clustersOf) !== state.map; });
  }

  function start() {
    one("#viewer").hidden = false;
    all(".script-only").forEach((part) => { part.hidden = false; });
    state.at = inside(data.maps[0].start);
    choose("view", (value) => { state.view = value; });
    choose("plane", (value) => { state.plane = value; });
    choose("scan", (value) => { state.scan = data.scans.findIndex((scan) => scan.name === value); });
    choose("map", (value) => { state.map = Number(value); state.cluster = 0; showMapsClusters(); });
    choose("zoom", (value) => { state.zoom = Number(value); });
    choose("side", (value) => { state.radiological = value === "radiological"; });
    choose("theme", (value) => { if (value) { root.dataset.theme = value; } else { delete root.dataset.theme; } });
    slide("map-opacity", (value) => { state.mapOpacity = value / 100; });
    slide("mask-opacity", (value) => { state.maskOpacity = value / 100; });
    const ends = () => state.windows[state.scan];
    slide("level", (value) => { const half = (ends()[1] - ends()[0]) / 2; state.windows[state.scan] = [value - half, value + half]; });
    slide("width", (value) => { const mid = (ends()[0] + ends()[1]) / 2; state.windows[state.scan] = [mid - value / 2, mid + value / 2]; });
    slide("map-low", (value) => { state.scales[state.map][0] = Math.min(value, state.scales[state.map][1] - 1); });
    slide("map-high", (value) => { state.scales[state.map][1] = Math.max(value, state.scales[state.map][0] + 1); });
    one("#cross").addEventListener("change", (event) => { state.cross = event.target.checked; refresh(); });
    one("#reset").addEventListener("click", reset);
    all("button[data-jump]").forEach((button) => button.addEventListener("click", () => {
      toCluster(Number(button.dataset.jump));
      one("#viewer").scrollIntoView({ block: "nearest" });
    }));
    all("#plot rect[data-z]").forEach((bar) => bar.addEventListener("click", () => move(2, Number(bar.dataset.z) - state.at[2])));
    all("button[data-z]").forEach((button) => button.addEventListener("click", () => {
      move(2, Number(button.dataset.z) - state.at[2]);
      one("#viewer").scrollIntoView();
    }));
    one("#viewer").addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input:not([type=range], [type=checkbox])")) { return; }
      const use = letters[event.key.toLowerCase()];
      if (use) { event.preventDefault(); use(); }
    });
    new ResizeObserver(refresh).observe(one("#panels"));
    showSettings();
    arrange();
    const voxel = (address.get("voxel") || "-").split(",").map(Number);
    toCluster(Number(address.get("cluster")));
    if (voxel.length === 3 && voxel.every(Number.isFinite)) { go(dot(data.fromFile, voxel)); }
  }

  start();
})();
