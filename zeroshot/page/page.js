"use strict";
(() => {
  const root = document.documentElement, tip = document.querySelector(".tip"), LANES = 4;
  root.classList.add("js");

  // a document: its marks, its cards, and which event is shown (a click holds one, a pointer only passes over it)
  class Doc {
    constructor(section) {
      this.section = section;
      this.text = section.querySelector(".text");
      this.svg = section.querySelector(".arcs");
      this.segs = [...this.text.querySelectorAll(".seg")];
      this.cards = [...section.querySelectorAll(".card")];
      this.held = this.shown = null;
      this.marks = this.text.dataset.marks.split(";").filter(Boolean).map((word) => {
        const [lane, ...chips] = word.split(",");
        return { lane: Math.min(+lane, LANES - 1), chips };
      });
      for (const seg of this.segs) {
        seg.marks = numbers(seg.dataset.m);
        seg.ends = numbers(seg.dataset.end);
        seg.events = numbers(seg.dataset.t);
        seg.first = [seg.getAttribute("style") || "", seg.dataset.label];
      }
    }
    chip(name) { return document.getElementById(this.section.id + name); }
    event(name) { return +name.slice(1).split("a")[0]; }
    chips(mark, events) { return this.marks[mark].chips.filter((name) => !events || events.includes(this.event(name))); }

    show(events) {
      this.shown = events;
      this.section.classList.toggle("selecting", events !== null);
      for (const card of this.cards) card.classList.toggle("on", events !== null && events.includes(+card.dataset.e));
      for (const seg of this.segs) this.paint(seg, events);
      this.draw(events);
    }
    paint(seg, events) {
      const source = events !== null && seg.events.some((event) => events.includes(event));
      const over = events === null ? [] : seg.marks.filter((mark) => this.chips(mark, events).length);
      seg.classList.toggle("source", source);
      seg.classList.toggle("on", source || over.length > 0);
      if (events === null || !over.length) {
        seg.setAttribute("style", seg.first[0]);
        if (seg.first[1]) seg.dataset.label = seg.first[1];
        return;
      }
      const colours = (mark) => [...new Set(this.chips(mark, events).map((name) => `var(--c${this.chip(name).dataset.c})`))];
      seg.style.backgroundImage = over.map((mark) => stripes(colours(mark))).join(",");
      seg.style.backgroundPosition = over.map((mark) => `0 calc(100% - ${4 * (LANES - 1 - this.marks[mark].lane)}px)`).join(",");
      const ended = seg.ends.flatMap((mark) => this.chips(mark, events)).map((name) => this.chip(name));
      label(seg, [...new Set(ended.map((chip) => chip.dataset.role))].join(" · "));
      if (ended.length) seg.style.setProperty("--lc", `var(--c${ended[0].dataset.c})`);
    }
    draw(events) {
      this.svg.replaceChildren();
      if (events === null) return;
      const origin = this.svg.getBoundingClientRect();
      for (const event of events) {
        const from = this.box(this.segs.filter((seg) => seg.events.includes(event)), origin);
        if (!from) continue;
        this.marks.forEach((mark, index) => {
          for (const name of this.chips(index, [event])) {
            const to = this.box(this.segs.filter((seg) => seg.marks.includes(index)), origin);
            if (to) this.svg.append(...arc(from, to, `var(--c${this.chip(name).dataset.c})`));
          }
        });
      }
    }
    box(segs, origin) {
      if (!segs.length) return null;
      const words = document.createRange();
      words.selectNodeContents(segs[0]); // without the label behind them
      const found = words.getClientRects();
      if (!found.length) return null;
      // the first box may be an empty one at the end of a line
      const box = [...found].find((each) => each.width > 1) || found[0], size = parseFloat(getComputedStyle(this.text).fontSize);
      const x = box.left + box.width / 2 - origin.left, y = box.top - origin.top;
      return { x, top: y + 1, bottom: y + size * 1.35 };
    }
    hold(event) {
      this.held = event === this.held ? null : event;
      for (const card of this.cards) card.querySelector(".head").setAttribute("aria-pressed", String(+card.dataset.e === this.held));
      this.rest();
    }
    rest() { this.show(this.held === null ? null : [this.held]); }
  }

  const wide = () => matchMedia("(min-width:52rem)").matches; // text and cards stand side by side
  const numbers = (words) => (words ? words.split(" ").map(Number) : []);
  // a shorter label keeps the room of the one that stands there at rest, so that no line breaks anew under the pointer
  const pen = document.createElement("canvas").getContext("2d");
  function label(seg, text) {
    const full = seg.first[1], wide = (words) => pen.measureText(words).width;
    if (!full) return;
    const style = getComputedStyle(seg, "::after");
    pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    seg.dataset.label = text || full;
    seg.style.setProperty("--pad", `${Math.max(0, wide(full) - wide(text || full))}px`);
  }
  const stripes = (colours) =>
    `repeating-linear-gradient(90deg,${colours.map((each, at) => `${each} ${9 * at}px ${9 * (at + 1)}px`).join(",")})`;
  function arc(from, to, colour) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    let line;
    if (Math.abs(from.top - to.top) < 12) {
      const lift = Math.min(15, 5 + Math.abs(from.x - to.x) / 30);
      line = `M${from.x},${from.top} C${from.x},${from.top - lift} ${to.x},${to.top - lift} ${to.x},${to.top}`;
    } else {
      const down = to.top > from.top, a = down ? from.bottom : from.top, b = down ? to.top : to.bottom + 12;
      const bend = Math.max(14, Math.abs(b - a) * 0.45) * (down ? 1 : -1);
      line = `M${from.x},${a} C${from.x},${a + bend} ${to.x},${b - bend} ${to.x},${b}`;
    }
    path.setAttribute("d", line);
    path.style.stroke = colour;
    const dot = document.createElementNS(path.namespaceURI, "circle"), end = path.getPointAtLength(path.getTotalLength());
    for (const [key, value] of [["cx", end.x], ["cy", end.y], ["r", 3]]) dot.setAttribute(key, value);
    dot.style.fill = colour;
    return [path, dot];
  }

  // what a mark means: the details of its chips, moved nowhere, only copied
  function tell(doc, chips, near) {
    tip.replaceChildren(...chips.map((name) => {
      const chip = doc.chip(name), part = document.createElement("section"), title = document.createElement("h5");
      const card = chip.closest(".card"), role = document.createElement("span");
      part.className = chip.className.replace("open", "");
      role.className = "role";
      role.textContent = chip.dataset.role;
      title.append(role, ` in event ${+card.dataset.e + 1}: `, card.querySelector(".word").cloneNode(true));
      part.append(title, ...[...chip.querySelector(".more").children].map((each) => each.cloneNode(true)));
      return part;
    }));
    tip.hidden = chips.length === 0;
    if (tip.hidden) return;
    const box = near.getBoundingClientRect(), own = tip.getBoundingClientRect(), below = box.bottom + 6;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`;
    tip.style.top = `${below + own.height < innerHeight ? below : Math.max(8, box.top - own.height - 6)}px`;
  }

  const docs = new Map([...document.querySelectorAll(".doc")].map((section) => [section, new Doc(section)]));
  const of = (node) => docs.get(node.closest(".doc"));

  function point(node) {
    const seg = node.closest(".text .seg"), chip = node.closest(".chip"), head = node.closest(".head");
    if (seg) {
      const doc = of(seg), free = doc.held === null;
      const chips = seg.marks.flatMap((mark) => doc.chips(mark, free ? null : [doc.held]));
      if (free) doc.show(seg.events.length ? seg.events : [...new Set(chips.map((name) => doc.event(name)))]);
      tell(doc, seg.events.length && free ? [] : chips, seg);
    } else if (chip || head) {
      const doc = of(node);
      if (doc.held === null) doc.show([+node.closest(".card").dataset.e]);
    }
  }
  function leave(node) {
    tip.hidden = true;
    if (node.closest(".text .seg, .chip, .head")) of(node).rest();
  }
  function press(node) {
    const seg = node.closest(".text .seg"), chip = node.closest(".chiphead"), head = node.closest(".head");
    if (chip) {
      const open = chip.parentNode.classList.toggle("open");
      chip.setAttribute("aria-expanded", String(open));
    } else if (head) {
      const doc = of(head), event = +head.closest(".card").dataset.e;
      doc.hold(event);
      const source = doc.held !== null && doc.segs.find((each) => each.events.includes(event));
      if (source && wide()) source.scrollIntoView({ block: "nearest" });
    } else if (seg) {
      const doc = of(seg), events = seg.events.length ? seg.events : seg.marks.flatMap((mark) => doc.chips(mark).map((name) => doc.event(name)));
      doc.hold(events[(events.indexOf(doc.held) + 1) % events.length] ?? null);
      const card = doc.held !== null && doc.cards[doc.held];
      if (card && wide()) card.scrollIntoView({ block: "nearest" });
      point(node);
    } else if (!node.closest("button,a,summary,input,.card")) {
      for (const doc of docs.values()) if (doc.held !== null) doc.hold(doc.held);
    }
  }
  document.addEventListener("pointerover", (event) => { if (event.pointerType !== "touch") point(event.target); });
  document.addEventListener("pointerout", (event) => { if (event.pointerType !== "touch") leave(event.target); });
  document.addEventListener("focusin", (event) => { if (event.target.matches(":focus-visible")) point(event.target); });
  document.addEventListener("focusout", (event) => leave(event.target));
  document.addEventListener("click", (event) => press(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      tip.hidden = true;
      for (const doc of docs.values()) if (doc.held !== null) doc.hold(doc.held);
    } else if ((event.key === "Enter" || event.key === " ") && event.target.matches(".text .seg")) {
      event.preventDefault();
      press(event.target);
    }
  });
  addEventListener("resize", () => { for (const doc of docs.values()) if (doc.shown) doc.draw(doc.shown); });

  const themes = ["system", "light", "dark"], theme = document.querySelector(".theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  });
  const filter = document.querySelector(".filter");
  if (filter) filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const item of document.querySelectorAll(".contents li")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
  });
})();
