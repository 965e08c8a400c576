/**
 * A small line chart on a canvas: the last seconds of one or two series, with its own scale, grid and read-out under
 * the pointer. Drawn when it is given data, resized or pointed at, never by itself. Colours come from the style sheet.
 */
const PAD = { top: 6, right: 2, bottom: 4, left: 2 };

export class Chart {
  #canvas;
  #context;
  #series = [];
  #slots;
  #format;
  #floor;
  #pointer = null;
  #queued = false;
  #style = null; // computed, for the colours
  #scale = null; // {top, width, height} of the drawing

  /** `slots`: seconds across; `format(value)`: for labels; `floor`: the least top of the scale. */
  constructor(canvas, { slots, format, floor }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#slots = slots;
    this.#format = format;
    this.#floor = floor;
    new ResizeObserver(() => this.#queue()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#queue());
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.#point(null));
  }

  /** `series`: [{name, values (a number or null a second, newest last), color: a CSS custom property, fill?}] */
  show(series) {
    this.#series = series;
    this.#queue();
  }

  #point(x) {
    this.#pointer = x;
    this.#queue();
  }

  #queue() {
    if (!this.#queued) {
      this.#queued = true;
      requestAnimationFrame(() => {
        this.#queued = false;
        this.#draw();
      });
    }
  }

  #draw() {
    const { width, height } = this.#fit();
    this.#style = getComputedStyle(this.#canvas);
    const top = niceTop(Math.max(this.#floor, ...this.#series.flatMap(({ values }) => values.map(Number))));
    this.#scale = { top, width, height };
    this.#grid();
    this.#series.forEach((series) => this.#line(series));
    this.#labels();
    if (this.#pointer !== null) {
      this.#readOut();
    }
  }

  /** Match the canvas to its size in device pixels, and clear it. Returns CSS pixels. */
  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== w || this.#canvas.height !== h) {
      this.#canvas.width = w;
      this.#canvas.height = h;
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#context.clearRect(0, 0, width, height);
    return { width, height };
  }

  #color(name) {
    return this.#style.getPropertyValue(name);
  }

  #x(slot) {
    const { width } = this.#scale;
    return PAD.left + ((width - PAD.left - PAD.right) * slot) / (this.#slots - 1);
  }

  #y(value) {
    const { top, height } = this.#scale;
    return PAD.top + (height - PAD.top - PAD.bottom) * (1 - value / top);
  }

  #grid() {
    const context = this.#context;
    const { top, width } = this.#scale;
    context.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.#y(top * share)) + 0.5;
      context.strokeStyle = this.#color(share === 0 ? "--line" : "--line-soft");
      context.beginPath();
      context.moveTo(0, y);
      context.lineTo(width, y);
      context.stroke();
    }
  }

  /** Over the lines, each letter with a rim in the colour of the ground. */
  #labels() {
    const context = this.#context;
    const { top } = this.#scale;
    context.font = `10px ${this.#color("--mono")}`;
    context.textBaseline = "top";
    context.lineWidth = 4;
    context.strokeStyle = this.#color("--panel");
    context.fillStyle = this.#color("--faint");
    for (const share of [0.5, 1]) {
      const label = [this.#format(top * share), 2, this.#y(top * share) + 3];
      context.strokeText(...label);
      context.fillText(...label);
    }
  }

  #line({ values, color, fill }) {
    const context = this.#context;
    const stroke = this.#color(color);
    for (const run of runs(values)) {
      const points = run.map(([slot, value]) => [this.#x(this.#slots - values.length + slot), this.#y(value)]);
      const path = new Path2D();
      points.forEach(([x, y], index) => (index === 0 ? path.moveTo(x, y) : path.lineTo(x, y)));
      if (fill) {
        this.#area(path, points, stroke);
      }
      context.strokeStyle = stroke;
      context.lineWidth = 1.5;
      context.lineJoin = context.lineCap = "round";
      if (points.length === 1) {
        path.lineTo(points[0][0] + 0.01, points[0][1]);
      }
      context.stroke(path);
    }
  }

  #area(line, points, color) {
    const { height } = this.#scale;
    const area = new Path2D(line);
    area.lineTo(points.at(-1)[0], height - PAD.bottom);
    area.lineTo(points[0][0], height - PAD.bottom);
    this.#context.globalAlpha = 0.15;
    this.#context.fillStyle = color;
    this.#context.fill(area);
    this.#context.globalAlpha = 1;
  }

  #readOut() {
    const { width, height } = this.#scale;
    const slot = Math.round(((this.#pointer - PAD.left) / (width - PAD.left - PAD.right)) * (this.#slots - 1));
    const ago = this.#slots - 1 - slot;
    const found = this.#series.map(({ name, values, color }) => ({ name, color, value: values.at(-1 - ago) ?? null }));
    if (ago < 0 || found.every(({ value }) => value === null)) {
      return;
    }
    const context = this.#context;
    const x = Math.round(this.#x(slot)) + 0.5;
    context.strokeStyle = this.#color("--faint");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    for (const { value, color } of found.filter((one) => one.value !== null)) {
      context.fillStyle = this.#color(color);
      context.beginPath();
      context.arc(x, this.#y(value), 3, 0, 2 * Math.PI);
      context.fill();
    }
    const words = found.filter(({ value }) => value !== null).map(({ name, value }) => `${name} ${this.#format(value)}`);
    this.#label(`${words.join("  ")}  ${ago === 0 ? "now" : `${ago} s ago`}`, x);
  }

  #label(text, x) {
    const context = this.#context;
    const { width } = this.#scale;
    context.font = `11px ${this.#color("--mono")}`;
    const wide = context.measureText(text).width + 12;
    const left = x + 8 + wide > width ? x - 8 - wide : x + 8;
    context.fillStyle = this.#color("--ink");
    context.beginPath();
    context.roundRect(Math.max(0, left), 2, wide, 18, 4);
    context.fill();
    context.fillStyle = this.#color("--panel");
    context.textBaseline = "middle";
    context.fillText(text, Math.max(0, left) + 6, 11.5);
  }
}

/** Stretches without a null, as lists of [slot, value]. */
function runs(values) {
  const found = [[]];
  values.forEach((value, slot) => {
    if (value === null) {
      found.push([]);
    } else {
      found.at(-1).push([slot, value]);
    }
  });
  return found.filter((run) => run.length > 0);
}

/** The next of 1, 2, 4, 5, 10, 20, ... above the value: halves of it are round too. */
export function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 5, 10].find((one) => one * power >= value * 0.999);
  return step * power;
}
