// Draws the lanes beside the list of steps, and walks through time. The list is the page's own; only the picture, the states
// and what is dimmed are made here.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const by = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll('#steps .step')];
  const count = rows.length;
  const [board, sheet, heads, slider, tip] = ['board', 'sheet', 'heads', 'slider', 'tip'].map(by);
  if (!count) return;

  let now = 0;
  let playing = 0;
  const focus = new Set();
  let lane = 100; // width of a lane
  let middles = []; // y of each step
  let svg = null;
  const marks = []; // drawn things and the step from which on they are there

  const make = (name, attributes, parent, text) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const number = (at) => rows[at].id.slice(1);
  const x = (at) => (at + 0.5) * lane;
  const seconds = (micros) => (micros / 1e6).toFixed(6) + ' s';
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + '\u2026' : text);

  // --- which steps are shown ---

  const touches = (step) => !focus.size || (step.from === null && step.to === null) || focus.has(step.from) || focus.has(step.to);
  const shown = (at) => !rows[at].hidden;
  function filter() {
    const inner = by('inner').checked;
    data.steps.forEach((step, at) => {
      rows[at].hidden = !step.broken && (!touches(step) || (!inner && step.kind === 'inner'));
    });
    if (!shown(now)) now = nearest(now);
    [...heads.querySelectorAll('button')].forEach((head, at) => head.classList.toggle('away', focus.size > 0 && !focus.has(at)));
    draw();
    pick(now, true);
  }
  function nearest(at) {
    for (let off = 1; off < count; off += 1) {
      if (at - off >= 0 && shown(at - off)) return at - off;
      if (at + off < count && shown(at + off)) return at + off;
    }
    return 0;
  }

  // --- the picture ---

  function measure() {
    const wide = board.clientWidth;
    const lanes = data.lanes.length;
    lane = Math.max(74, Math.min(150, (wide - Math.min(560, wide * 0.46)) / Math.max(1, lanes)));
    const style = board.style;
    style.setProperty('--lanes', lane * lanes + 'px');
    style.setProperty('--wide', 330 + lane * lanes + 'px');
  }

  function draw() {
    measure();
    if (svg) svg.remove();
    marks.length = 0;
    middles = [];
    let before = 0;
    rows.forEach((row, at) => {
      // The middle of a row's first line, so that long sentences do not pull their arrow down.
      if (!row.hidden) before = row.offsetTop + 16;
      middles[at] = before;
    });
    const height = sheet.scrollHeight;
    svg = make('svg', { width: lane * data.lanes.length, height, 'aria-hidden': 'true' });
    rails(height);
    data.steps.forEach((step, at) => { if (shown(at)) mark(step, at); });
    rings();
    sheet.append(svg);
    headings();
  }

  function headings() {
    heads.querySelectorAll('button').forEach((old) => old.remove());
    const left = sheet.clientWidth - lane * data.lanes.length;
    data.lanes.forEach((column, at) => {
      const head = document.createElement('button');
      head.className = column.kind + (focus.size && !focus.has(at) ? ' away' : '');
      head.textContent = column.name;
      head.setAttribute('aria-pressed', focus.has(at));
      head.style.left = left + at * lane + 5 + 'px';
      head.style.width = lane - 10 + 'px';
      head.onclick = () => { if (!focus.delete(at)) focus.add(at); filter(); };
      head.onmousemove = (event) => show(event, column.name, column.what);
      head.onmouseleave = hide;
      heads.append(head);
    });
  }

  function rails(height) {
    data.lanes.forEach((column, at) => {
      make('line', { class: 'rail', x1: x(at), x2: x(at), y1: 0, y2: height }, svg);
      if (column.kind === 'store' || column.kind === 'bus') {
        make('line', { class: 'alive ' + column.kind, x1: x(at), x2: x(at), y1: 0, y2: height }, svg);
      }
    });
    for (const [at, from, to] of data.spans) {
      const end = to === null ? height : middles[to];
      make('line', { class: 'alive ' + data.lanes[at].kind, x1: x(at), x2: x(at), y1: middles[from], y2: end }, svg);
      if (to !== null) make('line', { class: 'stop ' + data.lanes[at].kind, x1: x(at) - 7, x2: x(at) + 7, y1: end, y2: end }, svg);
    }
  }

  /// Where a message left: just below the last step before it.
  function tail(step, at) {
    if (step.left >= step.at) return middles[at];
    let before = at - 1;
    while (before >= 0 && data.steps[before].at > step.left) before -= 1;
    return before < 0 ? Math.max(4, middles[0] - 12) : Math.min(middles[at], middles[before] + 7);
  }

  function mark(step, at) {
    if (step.from === null && step.to === null) return;
    const group = make('g', { class: 'mark ' + step.kind + (step.broken ? ' broken' : '') }, svg);
    const y = middles[at];
    if (step.from === null || step.to === null || step.from === step.to) box(group, step, x(step.to ?? step.from), y);
    else arrow(group, step, x(step.from), tail(step, at), x(step.to), y);
    group.onclick = () => pick(at);
    group.onmousemove = (event) => {
      const took = step.at > step.left ? '\non its way for ' + ((step.at - step.left) / 1000).toFixed(1) + ' ms' : '';
      show(event, 'Step ' + number(at) + ', ' + seconds(step.at), words(at) + took);
    };
    group.onmouseleave = hide;
    marks.push([at, group]);
  }

  function arrow(group, step, x1, y1, x2, y2) {
    if (step.lost) { x2 = x1 + (x2 - x1) * 0.6; }
    const way = Math.sign(x2 - x1);
    const angle = Math.atan2(y2 - y1, x2 - x1);
    const [endX, endY] = [x2 - Math.cos(angle) * 3, y2 - Math.sin(angle) * 3];
    make('path', { class: 'hit', d: `M${x1} ${y1}L${x2} ${y2}` }, group);
    make('path', { d: `M${x1} ${y1}L${endX - Math.cos(angle) * 6} ${endY - Math.sin(angle) * 6}` }, group);
    make('circle', { class: 'dot', cx: x1, cy: y1, r: 2.4 }, group);
    if (step.lost) {
      make('path', { d: `M${x2 - 5} ${y2 - 5}L${x2 + 5} ${y2 + 5}M${x2 - 5} ${y2 + 5}L${x2 + 5} ${y2 - 5}` }, group);
    } else {
      const back = (turn) => `${endX - Math.cos(angle + turn) * 9},${endY - Math.sin(angle + turn) * 9}`;
      make('polygon', { points: `${endX},${endY} ${back(0.42)} ${back(-0.42)}` }, group);
      if (step.kind === 'durable') make('rect', { x: x2 - 4.5 + way * 4.5, y: y2 - 4.5, width: 9, height: 9, rx: 2 }, group);
    }
    const room = Math.max(6, Math.floor((Math.abs(x2 - x1) - 14) / 5.6));
    const label = short(step.label, Math.max(room, 10));
    // Near the head of a slanted arrow, where no other label is.
    const along = y1 === y2 ? 0.5 : 0.68;
    make('text', { x: x1 + (x2 - x1) * along, y: y1 + (y2 - y1) * along - 4 }, group, label);
  }

  function box(group, step, at, y) {
    const label = short(step.label, Math.floor((lane + 10) / 6));
    const wide = Math.max(26, label.length * 6.1 + 12);
    make('rect', { x: at - wide / 2, y: y - 9, width: wide, height: 18, rx: 5 }, group);
    make('text', { x: at, y: y + 4 }, group, label);
  }

  function rings() {
    const seen = new Set();
    for (const [step, at] of data.states) {
      if (!shown(step) || seen.has(step + '/' + at)) continue;
      seen.add(step + '/' + at);
      const drawn = data.steps[step];
      if (drawn.to === at && drawn.kind === 'durable') continue;
      if ((drawn.from === drawn.to || drawn.from === null || drawn.to === null) && (drawn.to ?? drawn.from) === at) continue;
      marks.push([step, make('circle', { class: 'ring', cx: x(at), cy: middles[step], r: 3.6 }, svg)]);
    }
  }

  // --- who holds what ---

  const holdings = data.lanes.map((_, at) => data.states.filter((state) => state[1] === at));
  /// What a lane holds at a step: of each part what was last said of it.
  function held(at, step) {
    const parts = new Map();
    for (const state of holdings[at]) {
      if (state[0] > step) break;
      if (state[3] === null) parts.delete(state[2]); else parts.set(state[2], state);
    }
    // What changed last comes first.
    return [...parts.values()].sort((one, other) => other[0] - one[0] || (one[2] < other[2] ? -1 : 1));
  }
  const line = (state) => (state[2] ? state[2] + ': ' : '') + state[3];
  function there(at, step) {
    const spans = data.spans.filter((span) => span[0] === at);
    if (!spans.length) return true;
    return spans.some((span) => span[1] <= step && (span[2] === null || span[2] > step));
  }
  function absence(at, step) {
    if (there(at, step)) return '';
    return data.lanes[at].kind === 'client' ? 'not connected' : 'not running';
  }
  function states() {
    const list = by('states');
    list.textContent = '';
    data.lanes.forEach((column, at) => {
      const holds = held(at, now);
      const away = absence(at, now);
      if (!holds.length && column.kind !== 'client' && column.kind !== 'node') return;
      const name = document.createElement('dt');
      name.className = column.kind;
      name.textContent = column.name + ' ';
      const note = document.createElement('small');
      note.textContent = away;
      name.append(note);
      list.append(name);
      for (const state of holds) {
        const what = document.createElement('dd');
        what.textContent = line(state);
        what.className = state[0] === now ? 'fresh' : '';
        list.append(what);
      }
    });
  }

  // --- the tip ---

  function words(at) {
    const copy = rows[at].querySelector('.words').cloneNode(true);
    copy.querySelectorAll('em').forEach((em) => em.remove());
    return copy.textContent.trim();
  }
  function show(event, title, text) {
    tip.textContent = text;
    const head = document.createElement('b');
    head.textContent = title;
    tip.prepend(head);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + 'px';
    tip.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + 'px';
  }
  function hide() { tip.hidden = true; }

  /// The lane and the step under the pointer, away from arrows.
  sheet.addEventListener('mousemove', (event) => {
    if (event.target.closest('.mark')) return;
    const at = Math.floor((event.clientX - svg.getBoundingClientRect().left) / lane);
    if (at < 0 || at >= data.lanes.length) { hide(); return; }
    const y = event.clientY - sheet.getBoundingClientRect().top;
    let step = 0;
    for (let next = 0; next < count && middles[next] - 15 <= y; next += 1) step = next;
    const text = [absence(at, step), ...held(at, step).map(line)].filter(Boolean).join('\n');
    if (text) show(event, data.lanes[at].name + ' at step ' + number(step), text); else hide();
  });
  sheet.addEventListener('mouseleave', hide);

  // --- time ---

  function pick(at, still) {
    now = Math.max(0, Math.min(count - 1, at));
    rows.forEach((row, other) => {
      row.classList.toggle('now', other === now);
      row.classList.toggle('later', other > now);
      if (other === now) row.setAttribute('aria-current', 'step'); else row.removeAttribute('aria-current');
    });
    for (const [from, element] of marks) {
      element.classList.toggle('later', from > now);
      element.classList.toggle('now', from === now);
    }
    slider.value = now + 1;
    by('where').textContent = 'step ' + number(now) + ' of ' + number(count - 1) + ', ' + seconds(data.steps[now].at);
    by('number').textContent = number(now) + ', ' + seconds(data.steps[now].at);
    by('told').textContent = words(now);
    states();
    if (!still) reveal();
    try { history.replaceState(null, '', '#' + number(now)); } catch { /* Not in every sandbox. */ }
  }
  function reveal(centered) {
    const row = rows[now];
    const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
    const view = board.clientHeight - 46;
    if (centered || top < board.scrollTop + 20 || bottom > board.scrollTop + view - 20) {
      board.scrollTop = Math.max(0, top - view * (centered ? 0.62 : 0.5));
    }
  }
  function go(way) {
    let at = now + way;
    while (at >= 0 && at < count && !shown(at)) at += way;
    if (at >= 0 && at < count) pick(at); else stop();
  }
  function stop() {
    clearInterval(playing);
    playing = 0;
    by('play').textContent = '\u25B6\uFE0E play';
  }
  function play() {
    if (playing) { stop(); return; }
    if (now === count - 1) pick(0);
    by('play').textContent = '\u25A0\uFE0E stop';
    playing = setInterval(() => go(1), 650);
  }
  const moment = () => { stop(); pick(data.moment); reveal(true); };

  const keys = {
    ArrowRight: () => go(1), ArrowDown: () => go(1), j: () => go(1),
    ArrowLeft: () => go(-1), ArrowUp: () => go(-1), k: () => go(-1),
    Home: () => pick(0), End: () => pick(count - 1), ' ': play, m: () => data.moment !== null && moment(),
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (event.target === slider && event.key.startsWith('Arrow')) return;
    if (event.target.closest('button, summary') && event.key === ' ') return;
    if (event.key !== ' ') stop();
    event.preventDefault();
    keys[event.key]();
  });
  slider.max = count;
  slider.oninput = () => { stop(); pick(slider.value - 1); };
  by('first').onclick = () => { stop(); pick(0); };
  by('last').onclick = () => { stop(); pick(count - 1); };
  by('back').onclick = () => { stop(); go(-1); };
  by('on').onclick = () => { stop(); go(1); };
  by('play').onclick = play;
  by('inner').onchange = filter;
  by('moment').hidden = data.moment === null;
  by('moment').onclick = moment;
  rows.forEach((row, at) => { row.onclick = () => { stop(); pick(at, true); }; });
  by('theme').onclick = () => {
    const root = document.documentElement;
    const dark = (root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
    root.dataset.theme = dark ? 'light' : 'dark';
  };
  data.steps.forEach((step, at) => {
    const kind = step.broken ? 'broken' : step.kind;
    if (kind !== 'broken' && kind !== 'fault' && kind !== 'turn') return;
    const tick = document.createElement('i');
    tick.className = kind;
    tick.style.left = (count > 1 ? (at / (count - 1)) * 100 : 50) + '%';
    by('ticks').append(tick);
  });
  addEventListener('resize', () => { draw(); pick(now, true); });

  draw();
  const asked = rows.findIndex((row, at) => '#' + number(at) === location.hash);
  pick(asked >= 0 ? asked : data.moment ?? 0, true);
  reveal(true);
})();
