// What is new, as server-sent events: "view" has a view as it is now, "rows" has turns that ended.
const most = 200; // rows of the tail

export function live(here, settle) {
  const root = document.getElementById('live');
  const gone = document.getElementById('gone');
  const sent = new Map(); // what the server sent of each element with an id
  let source;
  let paused = false;
  let held = 0;

  // renew puts in what changed. What did not keeps its focus, its selection and what was opened.
  function renew(html) {
    const next = new DOMParser().parseFromString(`<div>${html}</div>`, 'text/html').body.firstElementChild;
    const focus = document.activeElement?.id;
    const open = new Set([...root.querySelectorAll('details[open][id]')].map((d) => d.id));
    const scrolls = new Map([...root.querySelectorAll('tr[id]')].map((r) => [r.id, r]));
    const fresh = [];
    for (const row of next.querySelectorAll('tr[id]')) {
      const text = row.outerHTML;
      const old = scrolls.get(row.id);
      if (old && sent.get(row.id) === text) row.replaceWith(old);
      else fresh.push(row);
      sent.set(row.id, text);
    }
    root.replaceChildren(...next.childNodes);
    const there = new Set([...root.querySelectorAll('tr[id]')].map((r) => r.id));
    for (const id of sent.keys()) if (!there.has(id)) sent.delete(id);
    for (const id of open) { const d = document.getElementById(id); if (d) d.open = true; }
    settle(root);
    if (focus && document.activeElement?.id !== focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }

  const tail = document.getElementById('tail');
  const told = document.getElementById('told');
  function rows({ html, n, lost }) {
    const body = document.getElementById('turns');
    if (!body) return;
    if (paused) {
      held += n;
      told.textContent = `${held} new turns wait: load the page again, or go on`;
      return;
    }
    const t = document.createElement('template');
    t.innerHTML = html; // the server's own template, escaped there
    const fresh = [...t.content.children].filter((r) => !document.getElementById(r.id));
    settle(t.content);
    for (const r of fresh) r.classList.add('fresh');
    body.prepend(...fresh);
    setTimeout(() => fresh.forEach((r) => r.classList.remove('fresh')), 1500);
    while (body.children.length > most) body.lastElementChild.remove();
    document.getElementById('none')?.remove();
    told.textContent = lost ? `too many to show all of them: ${lost} were left out` : 'new turns appear as they end';
  }
  if (tail) {
    tail.hidden = false;
    const pause = document.getElementById('pause');
    pause.addEventListener('click', () => {
      paused = !paused;
      held = 0;
      pause.setAttribute('aria-pressed', String(paused));
      pause.textContent = paused ? 'Go on' : 'Pause';
      told.textContent = paused ? 'paused' : 'new turns appear as they end';
    });
  }

  let lastSeen = Date.now();
  function away() {
    if (gone.hidden) {
      document.getElementById('since').textContent = new Date(lastSeen).toLocaleTimeString();
      gone.hidden = false;
    }
  }
  // again asks whether Keyturn is back where the browser has given up.
  async function again() {
    try {
      const answer = await fetch(location.href, { method: 'HEAD' });
      if (answer.redirected) { location.reload(); return; }
      if (answer.ok) { open(); return; }
    } catch { /* it is still away */ }
    setTimeout(again, 2000);
  }
  function open() {
    source = new EventSource(`/live?view=${encodeURIComponent(here)}`);
    source.addEventListener('hello', (e) => {
      gone.hidden = true;
      lastSeen = Date.now();
      if (JSON.parse(e.data) !== document.body.dataset.build) location.reload();
    });
    source.addEventListener('view', (e) => { lastSeen = Date.now(); renew(JSON.parse(e.data)); });
    source.addEventListener('rows', (e) => { lastSeen = Date.now(); rows(JSON.parse(e.data)); });
    source.onerror = () => {
      away();
      if (source.readyState === EventSource.CLOSED) setTimeout(again, 1000);
    };
  }
  open();
  addEventListener('pagehide', () => source.close());
  addEventListener('pageshow', (e) => { if (e.persisted) open(); });
}
