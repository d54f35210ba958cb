// Charts, drawn by uPlot in the colours of the theme. A chart never stands alone: the page has a table with the same numbers, and the
// chart's label says so. Values may be floats here, and nowhere else.

import { el, fill } from './dom.js';

/** How many series have a colour; what is beyond is drawn as one. */
export const SERIES = 8;
/** Steps of an axis of counts: there is no half event. */
const WHOLE = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** What a custom property of the style sheet is in the present theme. */
function colour(name) {
  const probe = el('span', { hidden: true });
  document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Bars of several series, one upon the other: above zero what is positive, below it what is negative. */
export function bars(box, { edges, labels, zone, series, describe, say, signal, isWhole = false }) {
  const middles = labels.map((_, index) => (edges[index] + edges[index + 1]) / 2);
  const stacks = stacked(series, labels.length);
  mount(box, describe, signal, (tip) => {
    const plots = series.map((_, index) => ({
      fill: colour(`s${index + 1}`),
      stroke: colour('panel'),
      width: labels.length > 120 ? 0 : 1,
      points: { show: false },
      paths: uPlot.paths.bars({ size: [labels.length > 120 ? 1 : 0.86, 72] }),
    }));
    const options = base({ zone, range: () => [edges[0], edges.at(-1)], isWhole });
    options.series = [{}, ...plots.reverse()];
    options.hooks = { setCursor: [(plot) => tell(plot, tip, (index) => [
      el('strong', {}, labels[index]),
      series.map((one, at) => one.values[index] !== 0 &&
        el('span', {}, el('i', { class: `key s${at + 1}` }), one.name, el('b', {}, say(one.texts[index])))),
      series.every((one) => one.values[index] === 0) && el('span', {}, 'nothing'),
    ])] };
    return { options, data: [middles, ...stacks.toReversed()] };
  });
}

/** One line over the last seconds; `push(times, values)` draws the next state of it. */
export function line(box, { describe, say, signal, spanS }) {
  let data = [[], []];
  const plot = mount(box, describe, signal, (tip) => {
    const options = base({ zone: Intl.DateTimeFormat().resolvedOptions().timeZone, height: 160, isWhole: true, range: () => [Date.now() / 1000 - spanS, Date.now() / 1000] });
    options.series = [{}, { stroke: colour('s1'), fill: colour('wash'), width: 2, points: { show: false } }];
    options.hooks = { setCursor: [(plot) => tell(plot, tip, (index) => [
      el('strong', {}, new Date(plot.data[0][index] * 1000).toLocaleTimeString('en-GB')),
      el('span', {}, say(plot.data[1][index])),
    ])] };
    return { options, data };
  });
  return { push(times, values) { data = [times, values]; plot.set(data); } };
}

function stacked(series, length) {
  const above = new Array(length).fill(0);
  const below = new Array(length).fill(0);
  return series.map(({ values }) => values.map((value, index) =>
    (value < 0 ? (below[index] += value) : value > 0 ? (above[index] += value) : 0)));
}

function base({ zone, range, height = 280, isWhole = false }) {
  const axis = { stroke: colour('muted'), font: '12px system-ui, sans-serif', ticks: { stroke: colour('line'), width: 1, size: 4 } };
  const span = (plot, low, high) => {
    if (low === null || (low === 0 && high === 0)) return [0, 1];
    return uPlot.rangeNum(Math.min(0, low), Math.max(0, high), { min: { pad: low < 0 ? 0.08 : 0, soft: 0, mode: 1 }, max: { pad: 0.08, soft: 0, mode: 1 } });
  };
  const tzDate = (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone);
  return {
    height,
    tzDate,
    padding: [10, 26, 8, 0],
    legend: { show: false },
    cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { show: false } },
    scales: { x: { time: true, range }, y: { range: span } },
    axes: [
      { ...axis, grid: { show: false }, space: 64, size: 34, values: ticks(tzDate) },
      { ...axis, grid: { stroke: colour('line'), width: 1 }, size: 52, ticks: { show: false }, ...(isWhole && { incrs: WHOLE }), values: (plot, values) => values.map((value) => compact.format(value)) },
    ],
  };
}

const fixed = (options) => new Intl.DateTimeFormat('en-GB', options);
const DAY_TICK = fixed({ day: 'numeric', month: 'short' });
const MONTH_TICK = fixed({ month: 'short', year: 'numeric' });

/** What stands below the axis. uPlot's dates of a zone are local dates that show the zone's clocks. */
function ticks(tzDate) {
  return (plot, splits, at, space, step) => splits.map((seconds) => {
    const shown = tzDate(seconds);
    if (step >= 28 * 86_400) return MONTH_TICK.format(shown);
    if (step >= 86_400) return DAY_TICK.format(shown);
    const clock = `${String(shown.getHours()).padStart(2, '0')}:${String(shown.getMinutes()).padStart(2, '0')}`;
    if (step < 60) return `${clock}:${String(shown.getSeconds()).padStart(2, '0')}`;
    return clock === '00:00' ? DAY_TICK.format(shown) : clock;
  });
}

/** Puts a chart into a box, and again when the theme is another; it follows the width of the box. */
function mount(box, describe, signal, make) {
  let plot = null;
  let kept = null;
  const tip = el('div', { class: 'tip', hidden: true });
  const draw = () => {
    plot?.destroy();
    const { options, data } = make(tip);
    options.width = Math.max(200, box.clientWidth);
    plot = new uPlot(options, kept ?? data, box);
    box.append(tip);
  };
  fill(box);
  box.setAttribute('role', 'img');
  box.setAttribute('aria-label', `${describe} The table has the same numbers.`);
  draw();
  const resized = new ResizeObserver(() => {
    if (box.clientWidth > 0 && box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: plot.height });
  });
  resized.observe(box);
  const end = () => { resized.disconnect(); removeEventListener('themechange', draw); plot.destroy(); };
  addEventListener('themechange', draw);
  signal.addEventListener('abort', end, { once: true });
  return { set(data) { kept = data; plot.setData(data); } };
}

function tell(plot, tip, words) {
  const index = plot.cursor.idx;
  if (index === null || index === undefined || plot.cursor.left < 0 || plot.data[0].length === 0) { tip.hidden = true; return; }
  fill(tip, words(index));
  tip.hidden = false;
  const left = plot.valToPos(plot.data[0][index], 'x') + plot.bbox.left / devicePixelRatio;
  const room = plot.width - tip.offsetWidth - 4;
  tip.style.left = `${Math.max(0, Math.min(room, left + (left > plot.width / 2 ? -tip.offsetWidth - 14 : 14)))}px`;
}
