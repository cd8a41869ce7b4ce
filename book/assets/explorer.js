// Draws the explorers: figures whose states were computed in the notebook and embedded as JSON (ssltheory/explorers.py).
// No dependency, no request; a page without an explorer costs one query of the document.
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = { solid: "", dashed: "6 4", dotted: "1.5 3.5" };
  let made = 0;

  const element = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const shape = (name, attributes = {}, text = "") => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  };
  const paint = (color) => (color.startsWith("#") ? color : `var(--role-${color})`);
  const px = (value) => Math.round(value * 10) / 10;

  // Axes ---------------------------------------------------------------------------------------------------------

  const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  function ticks([low, high], scale, room) {
    const marks = [];
    if (scale === "log") {
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
      const stride = Math.max(1, Math.ceil((last - first + 1) / room));
      for (let k = first; k <= last; k += stride) {
        marks.push([10 ** k, k >= -2 && k <= 3 ? String(Number((10 ** k).toPrecision(1)))
          : "10" + [...String(k)].map((c) => SUPERSCRIPTS[c]).join("")]);
      }
      if (marks.length >= 2) return marks;
      marks.length = 0;
    }
    const raw = (high - low) / Math.max(1, room), unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let k = Math.ceil(low / step - 1e-6); k * step <= high + 1e-6 * step; k++) {
      const value = k * step;
      if (scale === "log" && value <= 0) continue;
      const text = Math.abs(value) >= 1e5 || digits > 4 ? value.toExponential(0) : value.toFixed(digits);
      marks.push([value, (k === 0 ? "0" : text).replace("-", "−")]);
    }
    return marks;
  }

  function axis([low, high], scale, from, to) {
    if (scale === "log") {
      const a = Math.log10(low), b = Math.log10(high);
      return (value) => (value === null || value <= 0 ? NaN : from + ((Math.log10(value) - a) / (b - a)) * (to - from));
    }
    return (value) => (value === null ? NaN : from + ((value - low) / (high - low)) * (to - from));
  }

  // Items: each takes arrays in data coordinates and the two axes, and returns nodes --------------------------------

  function path(xs, ys) {
    let text = "", pen = false;
    for (let i = 0; i < xs.length; i++) {
      const good = Number.isFinite(xs[i]) && Number.isFinite(ys[i]);
      if (good) text += `${pen ? "L" : "M"}${px(xs[i])} ${px(ys[i])}`;
      pen = good;
    }
    return text;
  }

  function runs(keep) {
    const found = [];
    for (let i = 0, start = -1; i <= keep.length; i++) {
      if (i < keep.length && keep[i]) { if (start < 0) start = i; }
      else if (start >= 0) { found.push([start, i]); start = -1; }
    }
    return found;
  }

  function mark(kind, x, y, size) {
    const r = size / 2;
    if (kind === "square") return `M${px(x - r)} ${px(y - r)}h${px(size)}v${px(size)}h${px(-size)}Z`;
    if (kind === "diamond") return `M${px(x)} ${px(y - 1.2 * r)}l${px(1.2 * r)} ${px(1.2 * r)}l${px(-1.2 * r)} ${px(1.2 * r)}l${px(-1.2 * r)} ${px(-1.2 * r)}Z`;
    if (kind === "cross") return `M${px(x - r)} ${px(y - r)}l${px(size)} ${px(size)}m0 ${px(-size)}l${px(-size)} ${px(size)}`;
    return `M${px(x - r)} ${px(y)}a${px(r)} ${px(r)} 0 1 0 ${px(size)} 0a${px(r)} ${px(r)} 0 1 0 ${px(-size)} 0Z`;
  }

  const DRAW = {
    line(item, X, Y, get) {
      return [shape("path", { d: path(get("x").map(X), get("y").map(Y)), fill: "none", stroke: paint(item.color),
        "stroke-width": item.width, "stroke-dasharray": DASHES[item.dash], "stroke-linejoin": "round" })];
    },
    points(item, X, Y, get) {
      const xs = get("x").map(X), ys = get("y").map(Y);
      const d = xs.map((x, i) => (Number.isFinite(x) && Number.isFinite(ys[i]) ? mark(item.marker, x, ys[i], item.size) : "")).join("");
      const open = item.hollow || item.marker === "cross";
      return [shape("path", { d, fill: open ? "none" : paint(item.color), stroke: paint(item.color), "stroke-width": open ? 1.8 : 0.5 })];
    },
    arrows(item, X, Y, get) {
      const x = get("x"), y = get("y"), u = get("u"), v = get("v");
      let shafts = "", heads = "";
      for (let i = 0; i < x.length; i++) {
        if (u[i] === null || v[i] === null) continue;
        const x0 = X(x[i]), y0 = Y(y[i]), x1 = X(x[i] + u[i]), y1 = Y(y[i] + v[i]), length = Math.hypot(x1 - x0, y1 - y0);
        if (!Number.isFinite(length) || length < 0.5) continue;
        const size = Math.min(6 + item.width, 0.6 * length), a = (x1 - x0) / length, b = (y1 - y0) / length;
        shafts += `M${px(x0)} ${px(y0)}L${px(x1 - 0.7 * size * a)} ${px(y1 - 0.7 * size * b)}`;
        heads += `M${px(x1)} ${px(y1)}L${px(x1 - size * (a - 0.4 * b))} ${px(y1 - size * (b + 0.4 * a))}L${px(x1 - size * (a + 0.4 * b))} ${px(y1 - size * (b - 0.4 * a))}Z`;
      }
      return [shape("path", { d: shafts, fill: "none", stroke: paint(item.color), "stroke-width": item.width }),
        shape("path", { d: heads, fill: paint(item.color) })];
    },
    band(item, X, Y, get) {
      const xs = get("x").map(X), low = get("low").map(Y), high = get("high").map(Y);
      const d = runs(xs.map((x, i) => Number.isFinite(x + low[i] + high[i]))).map(([a, b]) => {
        const there = [], back = [];
        for (let i = a; i < b; i++) {
          there.push(`${px(xs[i])} ${px(low[i])}`);
          back.unshift(`${px(xs[i])} ${px(high[i])}`);
        }
        return `M${there.join("L")}L${back.join("L")}Z`;
      }).join("");
      return [shape("path", { d, fill: paint(item.color), "fill-opacity": item.opacity })];
    },
    circle(item, X, Y, get) {
      const radius = get("radius"), xs = get("x").map(X), ys = get("y").map(Y);
      return radius.flatMap((r, i) => (r === null || !Number.isFinite(xs[i] + ys[i]) ? [] : [shape("ellipse", {
        cx: px(xs[i]), cy: px(ys[i]), rx: px(Math.abs(X(r) - X(0))), ry: px(Math.abs(Y(r) - Y(0))), stroke: paint(item.color),
        "stroke-width": item.width, "stroke-dasharray": DASHES[item.dash], fill: paint(item.color), "fill-opacity": item.opacity })]));
    },
    text(item, X, Y, get) {
      const x = X(get("x")[0]), y = Y(get("y")[0]);
      if (!Number.isFinite(x + y)) return [];
      return [shape("text", { x: px(x), y: px(y), fill: paint(item.color), "text-anchor": item.anchor, "dominant-baseline": "central" }, item.text)];
    },
  };

  // One panel ------------------------------------------------------------------------------------------------------

  function panel(svg, frame, items, arrays, width, clip) {
    const left = 52, right = 14, top = frame.title ? 26 : 10, bottom = 42;
    const ratio = frame.equal ? (frame.ylim[1] - frame.ylim[0]) / (frame.xlim[1] - frame.xlim[0]) : frame.aspect;
    let w = width - left - right, h = w * ratio;
    const tallest = Math.max(240, 1.2 * w);
    if (h > tallest) { if (frame.equal) w *= tallest / h; h = tallest; }
    const X = axis(frame.xlim, frame.xscale, left, left + w), Y = axis(frame.ylim, frame.yscale, top + h, top);
    svg.setAttribute("viewBox", `0 0 ${px(width)} ${px(top + h + bottom)}`);
    svg.setAttribute("height", px(top + h + bottom));

    const grid = shape("g", { class: "explorer-grid" }), words = shape("g", { class: "explorer-words" });
    for (const [value, text] of frame.xticks || ticks(frame.xlim, frame.xscale, Math.max(2, Math.floor(w / 62)))) {
      grid.append(shape("path", { d: `M${px(X(value))} ${top}v${px(h)}` }));
      words.append(shape("text", { x: px(X(value)), y: px(top + h + 16), "text-anchor": "middle" }, text));
    }
    for (const [value, text] of frame.yticks || ticks(frame.ylim, frame.yscale, Math.max(2, Math.floor(h / 42)))) {
      grid.append(shape("path", { d: `M${left} ${px(Y(value))}h${px(w)}` }));
      words.append(shape("text", { x: left - 7, y: px(Y(value)), "text-anchor": "end", "dominant-baseline": "central" }, text));
    }
    words.append(shape("text", { x: px(left + w / 2), y: px(top + h + 36), "text-anchor": "middle", class: "explorer-label" }, frame.xlabel));
    words.append(shape("text", { transform: `translate(13 ${px(top + h / 2)}) rotate(-90)`, "text-anchor": "middle", class: "explorer-label" }, frame.ylabel));
    if (frame.title) words.append(shape("text", { x: left, y: 16, class: "explorer-panel-title" }, frame.title));

    const hole = shape("clipPath", { id: clip });
    hole.append(shape("rect", { x: left, y: top, width: px(w), height: px(h) }));
    const content = shape("g", { "clip-path": `url(#${clip})`, class: "explorer-content" });
    for (const item of items) content.append(...DRAW[item.kind](item, X, Y, (name) => arrays[item[name]]));
    const axes = shape("path", { class: "explorer-axes", d: `M${left} ${top}v${px(h)}h${px(w)}` });
    svg.replaceChildren(hole, grid, content, axes, words);
  }

  function swatch(item) {
    const svg = shape("svg", { width: 26, height: 12, "aria-hidden": "true", focusable: "false" });
    const X = (v) => v, arrays = { line: { x: [1, 25], y: [6, 6] }, points: { x: [13], y: [6] },
      arrows: { x: [1], y: [6], u: [24], v: [0] }, band: { x: [1, 25], low: [1, 1], high: [11, 11] },
      circle: { x: [13], y: [6], radius: [4.5] } }[item.kind];
    if (arrays) svg.append(...DRAW[item.kind](item, X, X, (name) => arrays[name]));
    return svg;
  }

  // One explorer ---------------------------------------------------------------------------------------------------

  function start(root) {
    const data = JSON.parse(root.querySelector(".explorer-states").textContent);
    const own = `explorer-${++made}`, chosen = data.controls.map((control) => control.start);
    const stage = element("div", { class: "explorer-stage" }), legend = element("ul", { class: "explorer-legend" });
    const readout = element("output", { class: "explorer-readout", "aria-live": "polite" });
    const controls = element("div", { class: "explorer-controls" });
    const pictures = data.states[0].slice(1).map(() => shape("svg", { role: "img", width: "100%" }));
    stage.append(...pictures.map((svg) => element("div", { class: "explorer-panel" }, svg)));

    let waiting = 0;
    const redraw = () => { if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; show(); }); };

    function show() {
      let place = 0;
      data.controls.forEach((control, i) => { place = place * control.texts.length + chosen[i]; });
      const [spoken, ...panels] = data.states[place], labelled = new Map();
      readout.textContent = data.readouts[spoken];
      panels.forEach(([frame, ...numbers], i) => {
        const items = numbers.map((number) => data.items[number]);
        for (const item of items) if (item.label && !labelled.has(item.label)) labelled.set(item.label, item);
        pictures[i].setAttribute("aria-label", `${data.title}, ${data.frames[frame].title || `panel ${i + 1}`}. ${data.alt} ${data.readouts[spoken]}`);
        panel(pictures[i], data.frames[frame], items, data.arrays, pictures[i].parentNode.clientWidth || 320, `${own}-${i}`);
      });
      legend.replaceChildren(...[...labelled].map(([label, item]) => element("li", {}, swatch(item), label)));
      legend.hidden = !labelled.size;
    }

    data.controls.forEach((control, i) => {
      const id = `${own}-${control.name}`;
      if (control.kind === "slider") {
        const now = element("span", { class: "explorer-value", "aria-hidden": "true" });
        const input = element("input", { type: "range", id, min: 0, max: control.texts.length - 1, step: 1, value: control.start, "aria-label": control.label });
        const tell = () => {
          now.textContent = control.texts[chosen[i]];
          input.setAttribute("aria-valuetext", control.texts[chosen[i]]);
        };
        input.addEventListener("input", () => { chosen[i] = Number(input.value); tell(); redraw(); });
        tell();
        // A reloaded page may restore the slider's old place without an event.
        requestAnimationFrame(() => { if (Number(input.value) !== chosen[i]) input.dispatchEvent(new Event("input")); });
        controls.append(element("div", { class: "explorer-control" }, element("label", { for: id }, control.label), now, input));
      } else {
        const group = element("fieldset", { class: "explorer-control explorer-choice" }, element("legend", {}, control.label));
        const options = element("div", { class: "explorer-options" });
        control.texts.forEach((text, k) => {
          const input = element("input", { type: "radio", name: id, id: `${id}-${k}`, autocomplete: "off" });
          input.checked = k === control.start;
          input.addEventListener("change", () => { if (input.checked) { chosen[i] = k; redraw(); } });
          options.append(input, element("label", { for: `${id}-${k}` }, text));
        });
        group.append(options);
        controls.append(group);
      }
    });

    // What a setting says stands next to the control that was moved, also where a phone stacks the panels.
    const longest = data.readouts.reduce((a, b) => (b.length > a.length ? b : a), "");
    const said = element("div", { class: "explorer-said" }, readout, element("span", { class: "explorer-sizer", "aria-hidden": "true" }, longest));
    root.append(controls, said, stage, legend);
    root.classList.add("explorer-live");
    show();
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) > 1) { width = entry.contentRect.width; redraw(); }
    }).observe(stage);
  }

  function startAll() {
    for (const root of document.querySelectorAll("figure.explorer:not(.explorer-live)")) {
      try { start(root); } catch (problem) { console.error("explorer:", problem); }
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
