// The chart of spend: a line for each of the largest.
const colours = ['#4285d6', '#d98324', '#3a9d5d', '#c2568c', '#8a6fd1', '#7c8894'];
const lines = 5;

export async function chart(root) {
  const at = root.querySelector('[data-chart]');
  if (!at || !window.uPlot) return;
  let rows;
  try {
    rows = (await (await fetch(at.dataset.chart)).json()).rows ?? [];
  } catch {
    return; // the table says it
  }
  const by = at.dataset.by;
  const sums = new Map();
  const times = [...new Set(rows.map((r) => r.at))].sort();
  if (times.length < 2) { at.hidden = true; return; } // a point is no line
  for (const r of rows) sums.set(r.by[by], (sums.get(r.by[by]) ?? 0) + Number(r.usd));
  const largest = [...sums].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const place = new Map(times.map((t, i) => [t, i]));
  const shown = largest.slice(0, lines);
  const data = [times.map((t) => new Date(t) / 1000), ...shown.map(() => times.map(() => 0))];
  const rest = times.map(() => 0);
  for (const r of rows) {
    const line = shown.indexOf(r.by[by]);
    (line < 0 ? rest : data[line + 1])[place.get(r.at)] += Number(r.usd);
  }
  const names = shown.map((n) => (n || 'none').slice(0, 40));
  if (largest.length > lines) { data.push(rest); names.push('the rest'); }
  const style = getComputedStyle(document.documentElement);
  const axis = { stroke: style.getPropertyValue('--muted'), grid: { stroke: style.getPropertyValue('--line'), width: 1 }, ticks: { stroke: style.getPropertyValue('--line') } };
  const size = () => ({ width: at.clientWidth, height: 200 });
  const plot = new window.uPlot({
    ...size(),
    axes: [axis, { ...axis, size: 80, values: (_, v) => v.map((x) => `$${x}`) }],
    scales: { y: { range: (_, lo, hi) => [0, hi || 1] } },
    series: [{}, ...names.map((label, i) => ({ label, stroke: colours[i], width: 2, points: { show: times.length < 60, size: 6 }, value: (_, v) => (v == null ? '–' : `$${v.toFixed(4)}`) }))],
  }, data, at);
  new ResizeObserver(() => plot.setSize(size())).observe(at);
}
