// The page can be read without this script. It adds four things: the slider swaps its frames, legends single out
// or hide curves, the point nearest to the pointer is read out, and tables can be sorted and searched.
"use strict";
(() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const REACH = 48; // pixels from the pointer within which a point is read

  // --- Legends. One state for all charts that belong together: a slider, a grid, or a chart alone.
  const states = new Map();

  function stateOf(element) {
    const root = element.closest(".slider") || element.closest(".grid") || element.closest(".chart");
    if (!states.has(root)) states.set(root, { parts: all(root, "[data-name]"), hidden: new Set(), chosen: null });
    return states.get(root);
  }

  function paint(state) {
    for (const part of state.parts) {
      const name = part.dataset.name;
      const isKey = part.matches("button");
      if (isKey) part.setAttribute("aria-pressed", String(!state.hidden.has(name)));
      else part.classList.toggle("off", state.hidden.has(name));
      part.classList.toggle("dim", !isKey && state.chosen !== null && state.chosen !== name);
    }
  }

  function choose(element, name) {
    const state = stateOf(element);
    const chosen = state.hidden.has(name) ? null : name;
    if (state.chosen === chosen) return;
    state.chosen = chosen;
    paint(state);
  }

  function toggle(key) {
    const { hidden } = stateOf(key);
    const name = key.dataset.name;
    if (!hidden.delete(name)) hidden.add(name);
    choose(key, name);
    paint(stateOf(key));
  }

  for (const key of all(document, ".legend button")) {
    key.addEventListener("click", () => toggle(key));
    for (const on of ["pointerenter", "focus"]) key.addEventListener(on, () => choose(key, key.dataset.name));
    for (const off of ["pointerleave", "blur"]) key.addEventListener(off, () => choose(key, null));
  }

  // --- Readings. The points are those of the drawn path; their numbers stand beside it as text.
  function curvesOf(picture) {
    return all(picture, ".curve").map((curve) => {
      const path = curve.firstElementChild;
      const words = (text) => text.split(" ");
      const numbers = path.getAttribute("d").match(/-?[\d.]+/g) || [];
      const x = words(path.dataset.x ?? picture.dataset.x);
      const points = words(path.dataset.y).map((y, i) => ({ curve, x: x[i], y, at: [+numbers[2 * i], +numbers[2 * i + 1]] }));
      return { curve, points: numbers.length ? points : [] };
    });
  }

  function nearest(curves, picture, event) {
    const box = picture.getBoundingClientRect();
    const [right, down] = [box.width / 1000, box.height / +picture.dataset.height];
    let best = { distance: REACH };
    for (const { curve, points } of curves) {
      if (curve.classList.contains("off")) continue;
      for (const point of points) {
        const [left, top] = [point.at[0] * right, point.at[1] * down];
        const distance = Math.hypot(left + box.left - event.clientX, top + box.top - event.clientY);
        if (distance < best.distance) best = { distance, point, left, top };
      }
    }
    return best.point && best;
  }

  function readable(plot) {
    const picture = plot.querySelector(".picture");
    const reading = document.createElement("div");
    const spot = document.createElement("i");
    const names = (picture.dataset.names ?? "").split("\n");
    let curves;
    [reading.className, spot.className] = ["reading", "spot"];

    function clear() {
      reading.remove();
      spot.remove();
      choose(plot, null);
    }

    function show({ point, left, top }) {
      const { across, acrossUnit, up, upUnit } = picture.dataset;
      const name = document.createElement("b");
      name.textContent = point.curve.dataset.name;
      const called = names[+point.x - 1] ? `: ${names[+point.x - 1]}` : "";
      reading.replaceChildren(name, `${across} ${point.x}${called} ${acrossUnit}, ${up} ${point.y} ${upUnit}`.replaceAll(" ,", ","));
      spot.className = `spot ${point.curve.classList[1]}`;
      plot.append(spot, reading);
      const [inner, outer] = [picture.getBoundingClientRect(), plot.getBoundingClientRect()];
      const [x, y] = [left + inner.left - outer.left, top + inner.top - outer.top];
      const flip = x + reading.offsetWidth + 14 > plot.clientWidth;
      const wanted = flip ? x - reading.offsetWidth - 10 : x + 10;
      Object.assign(spot.style, { left: `${x}px`, top: `${y}px` });
      Object.assign(reading.style, { left: `${Math.max(0, wanted)}px`, top: `${Math.max(0, y - reading.offsetHeight - 8)}px` });
      choose(plot, point.curve.dataset.name);
    }

    plot.addEventListener("pointermove", (event) => {
      curves ??= curvesOf(picture);
      const found = nearest(curves, picture, event);
      if (found) show(found);
      else clear();
    });
    plot.addEventListener("pointerleave", clear);
  }
  all(document, ".plot").forEach(readable);

  // --- Sliders.
  function sliding(slider) {
    const [range, output, play] = ["input", "output", ".play"].map((part) => slider.querySelector(part));
    const frames = all(slider, ".frame");
    let timer = null;

    function show() {
      frames.forEach((frame, i) => { frame.hidden = i !== +range.value; });
      const { label, tone } = frames[+range.value].dataset;
      const said = { good: ", good", warn: ", warning", bad: ", bad", neutral: "" }[tone];
      output.textContent = label;
      range.setAttribute("aria-valuetext", label + said);
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    }

    function step() {
      if (+range.value === frames.length - 1) return stop();
      range.value = +range.value + 1;
      return show();
    }

    function start() {
      if (+range.value === frames.length - 1) range.value = 0;
      play.textContent = "Pause";
      timer = setInterval(step, 700);
      show();
    }

    range.addEventListener("input", () => { stop(); show(); });
    play.addEventListener("click", () => (timer === null ? start() : stop()));
    show(); // a reloaded page keeps the position of the slider
  }
  all(document, ".slider").forEach(sliding);

  // --- Tables. A row is a tbody of its own, so that what belongs to it moves with it.
  const GRAVITY = ["bad", "warn", "good", "neutral"];

  function keyOf(row, column) {
    const cell = row.rows[0].cells[column];
    if (!cell) return "";
    return cell.classList.contains("verdict") ? String(GRAVITY.indexOf(row.className)) : cell.textContent.trim();
  }

  const amount = (text) => (text === "inf" ? Infinity : Number.parseFloat(text.replace("<", "")));
  const byAmount = (a, b) => Math.sign(amount(a) - amount(b)) || 0;
  const byText = (a, b) => a.localeCompare(b, "en", { numeric: true });

  function sort(table, heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const compared = heading.classList.contains("right") ? byAmount : byText;
    const keys = new Map([...table.tBodies].map((row) => [row, keyOf(row, heading.cellIndex)]));
    const blank = (row) => ["", "-"].includes(keys.get(row));
    const rows = [...keys.keys()].sort((a, b) =>
      blank(a) - blank(b) || (descending ? -1 : 1) * compared(keys.get(a), keys.get(b)));
    all(table, "[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.append(...rows);
  }

  function searchable(find, table) {
    const [words, marked] = ["[type=search]", "[type=checkbox]"].map((part) => find.querySelector(part));
    const spoken = (row) => all(row, "tr:not(.more)").map((line) => line.textContent).join(" ").toLowerCase();
    const rows = [...table.tBodies].map((row) => ({ row, text: spoken(row) }));

    function filter() {
      const wanted = words.value.toLowerCase().split(/\s+/);
      let shown = 0;
      for (const { row, text } of rows) {
        const grave = ["bad", "warn"].includes(row.className);
        row.hidden = !wanted.every((word) => text.includes(word)) || (!!marked?.checked && !grave);
        shown += !row.hidden;
      }
      find.querySelector("output").textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
    }

    words.addEventListener("input", filter);
    marked?.addEventListener("change", filter);
    find.hidden = false;
    filter(); // a reloaded page keeps what was typed
  }

  function sortable(table) {
    for (const heading of all(table, "thead th")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading));
    }
  }

  for (const sheet of all(document, ".sheet.interactive")) {
    const table = sheet.querySelector("table");
    sortable(table);
    searchable(sheet.previousElementSibling, table);
  }
})();
