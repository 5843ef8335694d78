// The curves of a run, or of several in the same charts: drawn with uPlot, kept up to date, all under one cursor.
(() => {
  const root = document.getElementById("curves");
  if (!root || !window.uPlot) return;

  const PAUSE = 2000; // ms between two questions while the run goes on
  const TABLE_ROWS = 20;
  const HEIGHT = { major: 200, minor: 120 };
  const controls = root.querySelector("[data-controls]");
  const slider = root.querySelector("[data-smoothing]");
  const sliderShown = root.querySelector("[data-smoothing-shown]");
  const lost = root.querySelector("[data-lost]");
  const thinned = root.querySelector("[data-thinned]");

  // One Map from step to value for each curve: a step that comes again (after a resume) replaces the old one.
  const curves = [...root.querySelectorAll("[data-chart]")].map((figure) => {
    const chart = JSON.parse(figure.dataset.chart);
    return { figure, chart, box: figure.querySelector(".curve-plot"), values: chart.series.map(() => new Map()), most: chart.series.map(() => -Infinity), log: false, plot: null };
  });
  // Where the points come from: one run's events, or those of each run that is compared.
  const sources = (root.dataset.sources ? JSON.parse(root.dataset.sources) : [{ run: null, url: root.dataset.events }]).map((source) => ({ ...source, line: 0 }));
  let smoothing = Number(remembered("curve-smoothing") ?? 0.5);

  function remembered(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  }

  // -- numbers ----------------------------------------------------------------------------------------------
  // Exponential moving average, corrected for its start, so that the first values are not drawn towards zero.
  function smoothed(values, weight) {
    let mean = 0;
    let known = 0;
    return values.map((value) => {
      if (value == null) return null;
      known = weight * known + (1 - weight);
      mean = weight * mean + (1 - weight) * value;
      return mean / known;
    });
  }

  function written(chart, value) {
    if (value == null) return "–";
    if (chart.percent) return `${(100 * value).toFixed(chart.digits)} %`;
    if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1).replaceAll("-", "−");
    return value.toLocaleString("en-GB", { minimumFractionDigits: chart.digits, maximumFractionDigits: chart.digits }).replace("-", "−");
  }

  function stepsOf(values) {
    return [...new Set(values.flatMap((map) => [...map.keys()]))].sort((a, b) => a - b);
  }

  // -- drawing ----------------------------------------------------------------------------------------------
  function colours() {
    const style = getComputedStyle(root);
    const read = (name) => style.getPropertyValue(name).trim();
    const series = { train: read("--series-1"), heldout: read("--series-3"), chosen: read("--series-4"), rejected: read("--series-3") };
    for (let place = 0; place < 12; place += 1) series[`run-${place + 1}`] = read(`--series-${(place % 4) + 1}`);
    return { ink: read("--ink-2"), line: read("--line"), surface: read("--surface"), series };
  }

  function draw(curve, steps, colour) {
    const { chart, box } = curve;
    const columns = curve.values.map((map) =>
      steps.map((step) => {
        const value = map.get(step);
        return value == null || (curve.log && value <= 0) ? null : value;
      }),
    );
    const data = [steps];
    const series = [{}];
    chart.series.forEach((one, index) => {
      const stroke = colour.series[one.colour];
      const sparse = one.kind !== "step";
      const dash = one.run == null ? (sparse ? [5, 4] : undefined) : [undefined, [7, 4], [2, 3]][Math.floor((Number(one.colour.slice(4)) - 1) / 4)];
      const weight = sparse || chart.exact ? 0 : smoothing;
      if (weight > 0) {
        data.push(columns[index]);
        series.push({ stroke, alpha: 0.3, width: 1, points: { show: false }, spanGaps: true });
      }
      data.push(weight > 0 ? smoothed(columns[index], weight) : columns[index]);
      series.push({
        stroke, width: sparse ? 1.5 : 2, dash, spanGaps: true,
        points: { show: (sparse && curve.values[index].size < 200) || curve.values[index].size < 2, size: 6, fill: colour.surface, stroke, width: 1.5 },
      });
    });
    curve.plot?.destroy();
    curve.plot = new uPlot(options(curve, series, colour), data, box);
    describe(curve, steps);
  }

  const isEmpty = (curve) => curve.values.every((map) => !map.size);

  function options(curve, series, colour) {
    const { chart, box } = curve;
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: colour.ink, font, grid: { stroke: colour.line, width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(120, box.clientWidth),
      height: chart.minor ? HEIGHT.minor : HEIGHT.major,
      padding: [8, 18, 0, 0], // room for half of the last step's number
      legend: { show: false },
      cursor: { sync: { key: "run" }, points: { size: 7, width: 2, fill: colour.surface }, focus: { prox: 30 } },
      scales: {
        x: { time: false, range: (u, low, high) => stepsShown(u.data[0], low, high) },
        y: curve.log ? { distr: 3, range: (_, low, high) => (low == null ? [0.1, 1] : [low * 0.92, high * 1.08]) } : { range: (_, low, high) => around(chart, low, high) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 30, gap: 9, values: (u, splits) => (u.data[0].length ? splits : splits.map(() => "")), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000] },
        {
          ...axis, size: 52, space: chart.minor ? 28 : 36,
          values: (_, splits) => splits.map((value) => (isEmpty(curve) ? "" : short(chart, value))),
          ...(curve.log ? { splits: (u) => roundBetween(u.scales.y.min, u.scales.y.max), filter: (_, splits) => splits } : {}),
        },
      ],
      series,
      hooks: {
        drawAxes: [(u) => isEmpty(curve) || base(u, chart, colour)],
        setCursor: [(u) => show(curve, u.cursor.idx == null ? null : u.data[0][u.cursor.idx])],
      },
    };
  }

  // uPlot makes 0 to 100 of a single step 0.
  function stepsShown(steps, low, high) {
    if (!steps.length) return [0, 1];
    return steps.length === 1 ? [Math.max(0, steps[0] - 1), steps[0] + 1] : [low, high];
  }

  // Some air above and below; an accuracy is never outside 0 to 100 %.
  function around(chart, low, high) {
    if (low == null) return [0, 1];
    if (chart.percent) return [Math.max(0, Math.min(low, 0.4) - 0.05), Math.min(1.02, Math.max(high, 0.6) + 0.05)];
    const air = (high - low || Math.abs(high) || 1) * 0.08;
    return [low >= 0 && low - air < 0 ? 0 : low - air, high + air];
  }

  function short(chart, value) {
    if (chart.percent) return `${Math.round(100 * value)} %`;
    const size = Math.abs(value);
    if (size !== 0 && size < 0.001) return value.toExponential(0).replaceAll("-", "−");
    if (size >= 10000) return `${Number((value / 1000).toPrecision(3))} k`;
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }

  function roundBetween(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const digit of [1, 1.5, 2, 3, 4, 5, 7]) {
        const value = digit * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  }

  // The dashed line where nothing has been learnt: ln 2, one half, zero.
  function base(u, chart, colour) {
    if (chart.base == null || chart.base < u.scales.y.min || chart.base > u.scales.y.max) return;
    const y = Math.round(u.valToPos(chart.base, "y", true)) + 0.5;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = colour.ink;
    ctx.globalAlpha = 0.55;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  // -- words: the values at the cursor, or the newest; and the whole curve for those who do not see it -------
  function show(curve, step) {
    curve.values.forEach((map, index) => {
      const value = step == null ? [...map.values()].at(-1) : map.get(step) ?? before(map, step);
      curve.figure.querySelector(`[data-value="${index}"]`).textContent = written(curve.chart, value);
    });
    curve.figure.querySelector("[data-step]").textContent = step == null ? "" : `step ${step}`;
  }

  function before(map, step) {
    let found;
    for (const [at, value] of map) if (at <= step) found = value;
    return found;
  }

  function describe(curve, steps) {
    const { chart, figure, box } = curve;
    const sentences = chart.series.map((series, index) => {
      const points = [...curve.values[index]];
      if (!points.length) return `${series.label}: no values yet`;
      const lowest = points.reduce((a, b) => (b[1] < a[1] ? b : a));
      const highest = points.reduce((a, b) => (b[1] > a[1] ? b : a));
      const at = ([step, value]) => `${written(chart, value)} at step ${step}`;
      return `${series.label}: first ${at(points[0])}, newest ${at(points.at(-1))}, lowest ${at(lowest)}, highest ${at(highest)}`;
    });
    box.setAttribute("aria-label", `${chart.title}. ${sentences.join(". ")}.`);
    box.classList.toggle("curve-empty", isEmpty(curve));
    show(curve, null);
    if (figure.querySelector("details").open) fillTable(curve);
  }

  function fillTable(curve) {
    const steps = stepsOf(curve.values);
    const every = Math.max(1, Math.ceil(steps.length / TABLE_ROWS));
    const shown = steps.filter((step, index) => index % every === 0 || index === steps.length - 1 || curve.chart.series.some((s, i) => s.kind !== "step" && curve.values[i].has(step)));
    const table = document.createElement("table");
    table.className = "table";
    const head = table.createTHead().insertRow();
    for (const title of ["step", ...curve.chart.series.map((series) => series.label)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = "num";
      cell.textContent = title;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const step of shown) {
      const row = body.insertRow();
      for (const text of [step, ...curve.values.map((map) => written(curve.chart, map.get(step)))]) {
        const cell = row.insertCell();
        cell.className = "num";
        cell.textContent = text;
      }
    }
    curve.figure.querySelector(".curve-table").replaceChildren(table);
  }

  function drawAll() {
    const colour = colours();
    // The same steps in every chart, so that the cursor means the same in all of them.
    const steps = stepsOf(curves.flatMap((curve) => curve.values));
    for (const curve of curves) draw(curve, steps, colour);
    root.dataset.drawn = String(steps.length);
  }

  let due = 0;
  function drawSoon() {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(drawAll);
  }

  // -- the data -----------------------------------------------------------------------------------------------
  function add(points, run) {
    for (const point of points) {
      for (const curve of curves) {
        curve.chart.series.forEach((series, index) => {
          if ((series.run ?? null) !== run || series.kind !== point.kind || point[series.key] == null) return;
          const value = point[series.key] * series.scale;
          curve.most[index] = Math.max(curve.most[index], value);
          curve.values[index].set(point.step ?? 0, curve.chart.rises ? curve.most[index] : value);
        });
      }
    }
  }

  function forget(run) {
    for (const curve of curves) {
      curve.chart.series.forEach((series, index) => {
        if ((series.run ?? null) !== run) return;
        curve.values[index].clear();
        curve.most[index] = -Infinity;
      });
    }
  }

  async function follow(source) {
    let pause = PAUSE;
    try {
      const answer = await fetch(`${source.url}?after=${source.line}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      lost.hidden = true;
      if (news.again) forget(source.run);
      if (news.every > 1 && thinned) {
        thinned.hidden = false;
        thinned.querySelector("[data-every]").textContent = String(news.every);
      }
      source.line = news.line;
      add(news.points, source.run);
      if (news.points.length || news.again || !root.dataset.drawn) drawSoon();
      if (news.over) return;
      if (news.more) pause = 0;
    } catch {
      lost.hidden = false;
      pause = 3 * PAUSE;
    }
    setTimeout(follow, document.hidden ? 5 * pause : pause, source);
  }

  // -- what a person may change ---------------------------------------------------------------------------
  function setSmoothing(value) {
    smoothing = value;
    sliderShown.textContent = value.toFixed(2);
  }

  slider.value = String(smoothing);
  setSmoothing(Number(slider.value));
  controls.hidden = false;
  slider.addEventListener("input", () => {
    setSmoothing(Number(slider.value));
    try {
      localStorage.setItem("curve-smoothing", slider.value);
    } catch {
      // Private window: the choice lasts for this page.
    }
    drawSoon();
  });
  for (const curve of curves) {
    curve.figure.querySelector("[data-log]")?.addEventListener("click", (event) => {
      curve.log = !curve.log;
      event.currentTarget.setAttribute("aria-pressed", String(curve.log));
      drawSoon();
    });
    curve.figure.querySelector("details").addEventListener("toggle", () => fillTable(curve));
    new ResizeObserver(() => {
      const width = Math.max(120, curve.box.clientWidth);
      if (curve.plot && curve.plot.width !== width) curve.plot.setSize({ width, height: curve.plot.height });
    }).observe(curve.box);
  }
  document.addEventListener("themechange", drawSoon);
  sources.forEach(follow);
})();
