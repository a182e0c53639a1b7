"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const KINDS = ["election", "append", "heartbeat", "read", "snapshot", "change", "client", "fault", "other"];
  const TERMS = ["#9bd0c4", "#f6c58f", "#b9c3ea", "#f3b0cf", "#c8e08a", "#ffe08a", "#d9c3a5", "#a9dcf2"];
  const LETTERS = { follower: "F", "pre-candidate": "P", candidate: "C", leader: "L", learner: "l", outside: "o", off: "×" };
  const LEFT = 58, RIGHT = 10, LANE = 16, WIRES_MAX = 2500, ROWS = 160;
  const NS = "http://www.w3.org/2000/svg";
  const many = data.end > 4e6;
  const state = {
    at: 0, group: data.groups[0] || 0, scale: 1, playing: false,
    shown: new Set(KINDS.filter((kind) => !(many && kind === "heartbeat"))),
  };

  const seconds = (micros) => (micros / 1e6).toFixed(many ? 3 : 4).replace(/0$/, "") + " s";
  const role = (name) => `var(--${name})`;
  const nodeX = (node, width) => {
    const place = data.nodes.indexOf(node);
    return LEFT + (width - LEFT - RIGHT) * (place + 0.5) / data.nodes.length;
  };

  // The first place in a sorted list whose key is not below `value`.
  const lower = (list, key, value) => {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle][key] < value) low = middle + 1; else high = middle;
    }
    return low;
  };

  data.messages.sort((a, b) => a.sent - b.sent);
  data.notes.sort((a, b) => a.at - b.at);
  const longest = data.messages.reduce((most, wire) => Math.max(most, wire.ends - wire.sent), 0);
  const histories = new Map();
  for (const row of data.states) {
    const key = row.node + "/" + row.group;
    if (!histories.has(key)) histories.set(key, []);
    histories.get(key).push(row);
  }
  const history = (node) => histories.get(node + "/" + state.group) || [];
  const viewAt = (node, at) => {
    const rows = history(node), place = lower(rows, "at", at + 1) - 1;
    return place < 0 ? null : rows[place].view;
  };
  const ofGroup = (row) => row.group === 0 || row.group === state.group;

  // Everything that can be stepped to, in order of time.
  let events = [];
  const collect = () => {
    events = [];
    for (const note of data.notes) {
      if (!ofGroup(note) || !state.shown.has(note.kind)) continue;
      const who = note.node ? `n${note.node} ` : "";
      events.push({ at: note.at, kind: note.kind, text: who + note.text, story: note.node === 0 });
    }
    if (!data.notes.some((note) => note.kind === "election")) fromStates();
    for (const wire of data.messages) {
      if (!ofGroup(wire) || !state.shown.has(wire.kind)) continue;
      const fate = wire.lost ? " (lost)" : "";
      events.push({ at: wire.sent, kind: wire.kind, text: `n${wire.from} → n${wire.to} ${wire.text}${fate}`, wire });
    }
    if (data.broken) {
      events.push({ at: data.broken.at, kind: "fault", text: `BROKEN: ${data.broken.property}`, story: true });
    }
    events.sort((a, b) => a.at - b.at);
  };
  // Hosts keep no typed events: changes of role and term are read off the states.
  const fromStates = () => {
    if (!state.shown.has("election")) return;
    for (const node of data.nodes) {
      let before = null;
      for (const row of history(node)) {
        const view = row.view;
        if (!before || before.role !== view.role || before.term !== view.term) {
          events.push({ at: row.at, kind: "election", text: `n${node} ${view.role} term=${view.term}` });
        }
        before = view;
      }
    }
  };

  const el = (name, attributes, text) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const drawAxis = (svg, from, to, y, width) => {
    const steps = [100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7];
    const step = steps.find((step) => step / 1000 * state.scale >= 44) || 1e7;
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      svg.append(el("line", { x1: LEFT - 6, x2: width, y1: y(at), y2: y(at), stroke: "var(--line)", "stroke-width": 0.6 }));
      const label = step >= 1000 ? `${at / 1000} ms` : `${(at / 1000).toFixed(1)} ms`;
      svg.append(el("text", { x: LEFT - 9, y: y(at) + 4, "text-anchor": "end", class: "axis" }, label));
    }
  };

  const drawShades = (svg, from, to, y, width) => {
    const named = [];
    for (const shade of data.shades) {
      const end = shade.to === null ? data.end : shade.to;
      if (end < from || shade.from > to) continue;
      const half = (width - LEFT - RIGHT) / data.nodes.length / 2;
      const spans = shade.nodes.length
        ? shade.nodes.map((node) => [nodeX(node, width) - half + 4, nodeX(node, width) + half - 4])
        : [[LEFT, width - RIGHT]];
      const top = Math.max(y(shade.from), -20), height = Math.max(y(end) - top, 2);
      for (const [left, right] of spans) {
        svg.append(el("rect", { x: left, y: top, width: right - left, height, fill: "var(--shade)" }));
        let line = Math.max(top, 0) + 12;
        while (named.some(([x, at]) => x === left && Math.abs(at - line) < 12)) line += 12;
        named.push([left, line]);
        svg.append(el("text", { x: left + 5, y: line, fill: "var(--bad)", class: "label" }, shade.text));
      }
    }
  };

  const drawLanes = (svg, words, from, to, y, width) => {
    for (const node of data.nodes) {
      const rows = history(node), x = nodeX(node, width);
      let place = Math.max(lower(rows, "at", from) - 1, 0);
      for (; place < rows.length && rows[place].at <= to; place++) {
        const { at, view } = rows[place];
        const end = place + 1 < rows.length ? rows[place + 1].at : data.end;
        const before = place > 0 ? rows[place - 1].view : null;
        const top = Math.max(y(at), -4), height = Math.max(y(end) - top, 0.5);
        const rect = { x: x - LANE / 2, y: top, width: LANE, height, fill: role(view.role) };
        svg.append(el("rect", rect));
        const changed = !before || before.role !== view.role || before.term !== view.term;
        const voted = view.vote && (!before || before.vote !== view.vote) ? `votes ${view.vote}` : "";
        const turned = changed && view.role !== "off";
        if (turned || (before && voted)) {
          const text = [turned ? `term ${view.term}` : "", voted].filter(Boolean).join(" ");
          const fits = x + LANE / 2 + 4 + widthOf(text) <= width;
          const [side, anchor] = fits ? [x + LANE / 2 + 4, "start"] : [x - LANE / 2 - 4, "end"];
          const line = below(side, y(at) + 12, text, anchor);
          claim(x, line, LETTERS[view.role], "middle");
          if (turned) {
            words.append(el("text", { x, y: line, "text-anchor": "middle", "font-weight": 700, class: "label" },
              LETTERS[view.role]));
          }
          words.append(el("text", { x: side, y: line, class: "label", "text-anchor": anchor, fill: role(view.role) }, text));
        } else if (before && before.commit < view.commit) {
          words.append(el("circle", { cx: x, cy: y(at), r: 3, fill: "var(--card)", stroke: "var(--ink)" }));
        }
      }
    }
  };

  // Words that lie on others are left out; the list beside has them all.
  let taken = [];
  const widthOf = (words) => words.length * 6.6;
  const claim = (x, y, words, anchor) => {
    const wide = widthOf(words);
    const left = anchor === "end" ? x - wide : anchor === "middle" ? x - wide / 2 : x;
    const free = !taken.some(([l, t, w]) => left < l + w && l < left + wide && Math.abs(t - y) < 12);
    if (free) taken.push([left, y, wide]);
    return free;
  };

  // Where a node turns into something is never left out: it goes a line or two down, from below a note for one.
  const below = (x, y, words, anchor) => {
    for (const down of [0, 14, 28]) if (claim(x, y + down, words, anchor)) return y + down;
    return y;
  };

  const drawWires = (svg, words, from, to, y, width) => {
    const wires = [];
    for (let place = lower(data.messages, "sent", from - longest); place < data.messages.length; place++) {
      const wire = data.messages[place];
      if (wire.sent > to) break;
      if (wire.ends >= from && ofGroup(wire) && state.shown.has(wire.kind)) wires.push(wire);
    }
    const skip = Math.ceil(wires.length / WIRES_MAX), labelled = wires.length <= 120;
    wires.forEach((wire, place) => {
      if (place % skip) return;
      let x1 = nodeX(wire.from, width), x2 = nodeX(wire.to, width);
      const way = Math.sign(x2 - x1) || 1;
      x1 += way * LANE / 2; x2 -= way * LANE / 2;
      const y1 = y(wire.sent);
      let y2 = y(wire.ends);
      if (wire.lost) {
        const part = wire.ends > wire.sent ? 0.85 : 0.3;
        x2 = x1 + (x2 - x1) * part;
        if (wire.ends === wire.sent) y2 = y1 + 10;
      }
      const colour = `var(--${wire.kind})`;
      const chosen = Math.abs(wire.sent - state.at) < 1;
      const line = el("line", { x1, y1, x2, y2, stroke: colour, class: `wire${wire.lost ? " lost" : ""}${chosen ? " chosen" : ""}` });
      line.append(el("title", {}, `n${wire.from} → n${wire.to} ${wire.text}${wire.lost ? " (lost)" : ""}`));
      svg.append(line);
      if (wire.lost) {
        svg.append(el("text", { x: x2, y: y2 + 4, "text-anchor": "middle", fill: colour }, "✕"));
      } else {
        const angle = Math.atan2(y2 - y1, x2 - x1), size = 6;
        const corner = (turn) => `${x2 - size * Math.cos(angle + turn)},${y2 - size * Math.sin(angle + turn)}`;
        svg.append(el("polygon", { points: `${x2},${y2} ${corner(0.4)} ${corner(-0.4)}`, fill: colour }));
      }
      const room = Math.abs(x2 - x1) > 120 && (labelled || chosen);
      if (room && (chosen || wire.kind !== "heartbeat")) {
        const share = 0.36 + (place % 3) * 0.06;
        const text = wire.text.replace(/ · term \d+$/, "");
        const top = y1 + (y2 - y1) * share - 3, anchor = way > 0 ? "start" : "end", wide = widthOf(text);
        const along = x1 + (x2 - x1) * share;
        const x = way > 0 ? Math.min(along, width - wide) : Math.max(along, LEFT + wide);
        if (claim(x, top, text, anchor) || chosen) {
          words.append(el("text", { x, y: top, fill: colour, class: "label", "text-anchor": anchor }, text));
        }
      }
    });
  };

  const drawMarks = (svg, y, width) => {
    if (data.broken) {
      const at = y(data.broken.at);
      svg.append(el("line", { x1: LEFT, x2: width, y1: at, y2: at, stroke: "var(--bad)", "stroke-width": 3 }));
      if (data.broken.node) {
        svg.append(el("circle", { cx: nodeX(data.broken.node, width), cy: at, r: 11, fill: "none", stroke: "var(--bad)", "stroke-width": 3 }));
      }
      svg.append(el("text", { x: LEFT + 8, y: at - 6, fill: "var(--bad)", "font-weight": 700, class: "label" },
        `broken here: ${data.broken.property}`));
    }
    for (const note of data.notes) {
      if (note.node !== 0 || note.kind !== "other") continue;
      const at = y(note.at);
      if (at < -20 || at > Number(svg.getAttribute("height")) + 20) continue;
      svg.append(el("line", { x1: LEFT, x2: width, y1: at, y2: at, stroke: "var(--soft)", "stroke-dasharray": "1 4" }));
      const place = { x: LEFT + 8, y: at + 13, "font-style": "italic" };
      const text = el("text", place, note.text);
      svg.append(text);
      const box = text.getBBox();
      svg.insertBefore(el("rect", { x: box.x - 4, y: box.y - 2, width: box.width + 8, height: box.height + 4,
        rx: 4, fill: "var(--mark)", stroke: "var(--line)" }), text);
    }
    const now = y(state.at);
    svg.append(el("line", { x1: LEFT - 6, x2: width, y1: now, y2: now, stroke: "var(--cursor)", "stroke-width": 1.5 }));
    svg.append(el("polygon", { points: `${LEFT - 8},${now - 5} ${LEFT},${now} ${LEFT - 8},${now + 5}`, fill: "var(--cursor)" }));
  };

  const draw = () => {
    const scroll = $("scroll"), svg = $("svg");
    const width = scroll.clientWidth, height = scroll.clientHeight;
    $("space").style.height = Math.max(data.end / 1000 * state.scale + 60, height) + "px";
    svg.setAttribute("height", height);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const from = (scroll.scrollTop - 20) / state.scale * 1000;
    const to = from + (height + 20) / state.scale * 1000;
    const y = (at) => (at - from) / 1000 * state.scale;
    taken = [];
    for (const note of data.notes) {
      if (note.node === 0 && note.kind === "other") claim(LEFT + 8, y(note.at) + 13, note.text, "start");
    }
    drawAxis(svg, Math.max(from, 0), Math.min(to, data.end), y, width);
    drawShades(svg, from, to, y, width);
    // Words lie above every bar and arrow: a bar that begins just after a letter would hide half of it.
    const words = el("g", {});
    drawLanes(svg, words, from, to, y, width);
    drawWires(svg, words, from, to, y, width);
    svg.append(words);
    drawMarks(svg, y, width);
  };

  const logBar = (view) => {
    const bar = document.createElement("div");
    bar.className = "log";
    const shownMax = 14, first = Math.max(view.mark + 1, view.last - shownMax + 1);
    const block = (text, name) => {
      const entry = document.createElement("span");
      entry.className = "entry " + name;
      entry.textContent = text;
      bar.append(entry);
      return entry;
    };
    if (first > 1) block(view.mark >= first - 1 ? `…${view.mark} cut` : `…${first - 1}`, "cut applied");
    for (let index = first; index <= view.last; index++) {
      let term = 0;
      for (const [start, of] of view.runs) if (start <= index) term = of;
      const name = (index <= view.applied ? "applied" : index <= view.commit ? "committed" : "")
        + (index > view.durable ? " loose" : "");
      const entry = block(term, name);
      entry.style.background = TERMS[term % TERMS.length];
      entry.title = `entry ${index} of term ${term}${index <= view.commit ? ", committed" : ""}`;
    }
    return bar;
  };

  const drawCards = () => {
    const cards = data.nodes.map((node) => {
      const view = viewAt(node, state.at), card = document.createElement("div");
      const name = view ? view.role : "off";
      card.className = "card";
      card.style.borderTopColor = role(name);
      const head = document.createElement("div");
      head.className = "head";
      head.innerHTML = `<b>Node ${node}</b>`;
      const tag = document.createElement("span");
      tag.className = "role";
      tag.style.color = role(name);
      tag.textContent = name;
      head.append(tag);
      card.append(head);
      const facts = document.createElement("div");
      facts.className = "facts";
      if (view && name !== "off") {
        const vote = view.vote ? `voted for ${view.vote}` : "no vote";
        const leader = view.leader ? `leader ${view.leader}` : "no leader";
        facts.textContent = `term ${view.term} · ${vote} · ${leader} · commit ${view.commit} · applied ${view.applied}`;
        facts.title = view.members;
        card.append(facts, logBar(view));
      } else {
        facts.textContent = view ? "does not run" : "has not begun";
        card.append(facts);
      }
      return card;
    });
    $("cards").replaceChildren(...cards);
  };

  let listedFrom = -1;
  const drawEvents = (focus) => {
    const place = Math.max(lower(events, "at", state.at + 1) - 1, 0);
    const from = Math.max(Math.floor(place / (ROWS / 2)) * (ROWS / 2) - ROWS / 4, 0);
    const list = $("events");
    if (from !== listedFrom) {
      listedFrom = from;
      list.replaceChildren(...events.slice(from, from + ROWS).map((event) => {
        const item = document.createElement("li"), button = document.createElement("button");
        button.type = "button";
        button.style.borderLeftColor = `var(--${event.kind})`;
        const time = document.createElement("time");
        time.textContent = (event.at / 1000).toFixed(1);
        const text = document.createElement("span");
        text.textContent = event.text;
        if (event.story) text.className = "story";
        button.append(time, text);
        button.onclick = () => go(event.at);
        item.append(button);
        return item;
      }));
    }
    [...list.children].forEach((item, row) => {
      const event = events[from + row], button = item.firstChild;
      const current = event && event.at <= state.at && from + row === place;
      button.setAttribute("aria-current", current ? "true" : "false");
      if (current) {
        const top = item.offsetTop - list.offsetTop;
        if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 30) {
          list.scrollTop = top - list.clientHeight / 3;
        }
        if (focus) $("told").textContent = `${(event.at / 1000).toFixed(1)} milliseconds: ${event.text}`;
      }
    });
  };

  const show = (focus) => {
    $("clock").textContent = seconds(state.at);
    $("scrub").value = data.end ? state.at / data.end * 1000 : 0;
    draw();
    drawCards();
    drawEvents(focus);
  };

  const go = (at, focus) => {
    state.at = Math.min(Math.max(at, 0), data.end);
    const scroll = $("scroll"), wanted = state.at / 1000 * state.scale;
    if (wanted < scroll.scrollTop + 30 || wanted > scroll.scrollTop + scroll.clientHeight - 50) {
      scroll.scrollTop = wanted - scroll.clientHeight * 0.35;
    }
    show(focus);
  };
  const step = (way) => {
    if (way > 0) {
      const place = lower(events, "at", state.at + 1);
      if (place < events.length) go(events[place].at, true);
    } else {
      const place = lower(events, "at", state.at) - 1;
      if (place >= 0) go(events[place].at, true);
    }
  };

  let timer = 0;
  const play = (on) => {
    state.playing = on;
    $("play").textContent = on ? "❚❚ pause" : "▶ play";
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    clearInterval(timer);
    if (on) {
      timer = setInterval(() => {
        if (state.at >= data.end) return play(false);
        // Thirty pixels a second, whatever the zoom.
        go(state.at + 3 / state.scale * 1000);
      }, 100);
    }
  };
  const zoom = (level) => {
    state.scale = 2 ** level;
    const scroll = $("scroll");
    draw();
    scroll.scrollTop = state.at / 1000 * state.scale - scroll.clientHeight * 0.35;
    draw();
  };

  const buildControls = () => {
    $("title").textContent = data.title;
    $("replay").textContent = data.replay;
    $("about").replaceChildren(...data.about.map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }));
    if (data.broken) {
      const broken = $("broken"), button = document.createElement("button");
      const detail = data.broken.detail.length > 600 ? data.broken.detail.slice(0, 600) + " …" : data.broken.detail;
      broken.textContent = `${data.broken.property} broke at ${seconds(data.broken.at)}: ${detail} `;
      button.type = "button";
      button.textContent = "go there";
      button.onclick = () => go(data.broken.at, true);
      broken.append(button);
      broken.hidden = false;
    }
    const present = new Set(data.messages.map((wire) => wire.kind).concat(data.notes.map((note) => note.kind)));
    present.add("election");
    $("kinds").replaceChildren(...KINDS.filter((kind) => present.has(kind)).map((kind) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = state.shown.has(kind);
      box.onchange = () => {
        if (box.checked) state.shown.add(kind); else state.shown.delete(kind);
        refresh();
      };
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = `var(--${kind})`;
      label.append(box, dot, kind === "other" ? "story and other" : kind);
      return label;
    }));
    $("legend").replaceChildren(...["follower", "pre-candidate", "candidate", "leader", "learner", "outside", "off"].flatMap((name) => {
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = role(name);
      return [dot, `${name} (${LETTERS[name]})  `];
    }), " ○ commit moves · dashed ✕ lost · shaded: a fault lasts · in a log: number = term, green bar = applied, ",
    "grey bar = committed, faint = not on disk yet" + (data.is_cut ? " · this recording was too long and is not whole" : ""));
    if (data.groups.length > 1) {
      $("groupbox").hidden = false;
      $("group").replaceChildren(...data.groups.map((group) => new Option(String(group), String(group))));
      $("group").onchange = () => { state.group = Number($("group").value); refresh(); };
    }
  };
  const refresh = () => { listedFrom = -1; collect(); show(); };

  buildControls();
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("theme")) document.documentElement.dataset.theme = asked.get("theme");
  const usual = many ? 0 : 1.5;
  const level = asked.has("zoom") ? Number(asked.get("zoom")) : usual;
  $("zoom").value = level;
  state.scale = 2 ** level;
  $("zoom").oninput = () => zoom(Number($("zoom").value));
  $("scrub").oninput = () => go(Number($("scrub").value) / 1000 * data.end);
  $("first").onclick = () => go(0);
  $("last").onclick = () => go(data.end);
  $("back").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  $("play").onclick = () => play(!state.playing);
  $("theme").onclick = () => {
    const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  };
  $("scroll").addEventListener("scroll", () => requestAnimationFrame(draw));
  $("scroll").addEventListener("click", (event) => {
    const box = $("svg").getBoundingClientRect();
    go(($("scroll").scrollTop - 20 + event.clientY - box.top) / state.scale * 1000, true);
  });
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
    const deeds = { ArrowDown: () => step(1), ArrowRight: () => step(1), ArrowUp: () => step(-1), ArrowLeft: () => step(-1),
      Home: () => go(0), End: () => go(data.end) };
    if (deeds[event.key]) { deeds[event.key](); event.preventDefault(); }
    if (event.key === " " && event.target.tagName !== "BUTTON") { play(!state.playing); event.preventDefault(); }
  });
  addEventListener("resize", () => show());
  collect();
  draw();
  const begin = asked.has("t") ? Number(asked.get("t")) * 1000 : data.broken ? data.broken.at : Math.min(data.end, (events[0] || { at: 0 }).at);
  go(begin);
})();
