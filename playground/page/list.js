// The messages of the open channel: drawn anew only where something changed, kept at the bottom.

import { avatar, day, h, icon } from "./dom.js";
import { messageElement } from "./message.js";

const GROUP_MS = 7 * 60_000, NEAR = 80;

export class MessageList {
  constructor({ scroll, list, world, acts }) {
    this.pressed = false;
    list.addEventListener("pointerdown", () => this.hold(true));
    // After the click that it may become.
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { if (this.pressed) setTimeout(() => this.hold(false)); });
    Object.assign(this, { scroll, list, world, acts });
    this.cache = new Map(); // message id -> {element, key}
    this.stale = new Set();
    this.stuck = true;
    this.channel = null;
    this.focused = null;
    this.jumper = h("button", { type: "button", class: "jump-down", hidden: true, onclick: () => this.bottom() }, "Jump to the newest ", icon("down"));
    scroll.parentElement.append(this.jumper);
    scroll.addEventListener("scroll", () => {
      this.stuck = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
      this.jumper.hidden = this.stuck;
      if (scroll.scrollTop < 120 && scroll.scrollHeight > scroll.clientHeight) this.#earlier();
    });
    new ResizeObserver(() => { if (this.stuck) scroll.scrollTop = scroll.scrollHeight; }).observe(list);
    new ResizeObserver(() => { if (this.stuck) scroll.scrollTop = scroll.scrollHeight; }).observe(scroll);
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => this.#tools(event.target.closest("li.message")));
    list.addEventListener("pointerover", (event) => { if (event.pointerType !== "touch") this.#tools(event.target.closest("li.message")); });
    list.addEventListener("contextmenu", (event) => {
      const item = event.target.closest("li.message");
      if (!item || event.target.closest("a, input, textarea")) return;
      event.preventDefault();
      const byKey = event.button !== 2;
      this.acts.messageMenu(this.#message(item), byKey ? item.querySelector(".toolbar") ?? item : { x: event.clientX, y: event.clientY });
    });
  }

  hold(pressed) {
    this.pressed = pressed;
    if (!pressed) this.soon();
  }

  bottom() {
    this.stuck = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.jumper.hidden = true;
  }

  /** Draw the open channel from the beginning. */
  reset(channel) {
    this.channel = channel;
    this.cache.clear();
    this.stale.clear();
    this.list.replaceChildren();
    this.focused = null;
    this.draw();
    this.bottom();
  }

  /** Draw a message again, soon. */
  touch(...ids) {
    for (const id of ids) if (id) this.stale.add(id);
    this.soon();
  }

  soon() {
    // A press that began on an element must end on the same one, or it is no click.
    if (this.waiting || this.pressed) return;
    this.waiting = true;
    queueMicrotask(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const { world, channel } = this;
    if (!channel || !world.me) return;
    const keptFocus = this.#focusPath();
    const messages = world.shown(channel.id);
    const rows = [];
    if (world.older.get(channel.id)) rows.push(this.#row("earlier", "", () => h("li", { class: "earlier" }, h("button", { type: "button", class: "text-button", onclick: () => this.#earlier() }, "Show earlier messages"))));
    else rows.push(this.#row("beginning", world.me.id + channel.name, () => this.#beginning()));
    let before = null;
    messages.forEach((message, i) => {
      const date = new Date(message.timestamp);
      if (!before || day(date) !== day(new Date(before.timestamp))) {
        rows.push(this.#row(`day ${day(date)}`, "", () => h("li", { class: "day", role: "presentation" }, h("span", {}, day(date)))));
        before = null;
      }
      const grouped = Boolean(before) && before.author.id === message.author.id && message.type === 0 && !message.interaction_metadata?.name
        && before.type !== 18 && date - new Date(before.timestamp) < GROUP_MS && Boolean(before.visible_to) === Boolean(message.visible_to);
      const last = i === messages.length - 1;
      const key = `${grouped} ${world.me.id} ${this.acts.busyKey(message.id)}`;
      if (this.stale.has(message.id)) this.cache.delete(message.id);
      rows.push(this.#row(message.id, key, () => messageElement(message, { world, acts: this.acts, grouped, first: last && !this.focused })));
      before = message;
    });
    this.stale.clear();
    this.#place(rows);
    if (!this.list.querySelector('li.message[tabindex="0"]')) this.#tabStop([...this.list.querySelectorAll("li.message")].at(-1));
    this.#focusAgain(keptFocus);
    const under = this.list.querySelector("li.message:hover, li.message:focus-within");
    if (under) this.#tools(under); // what was drawn anew has lost its buttons
    if (this.stuck) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  #row(id, key, make) {
    const known = this.cache.get(id);
    if (known?.key === key) return known.element;
    const element = make();
    this.cache.set(id, { element, key });
    return element;
  }

  #place(rows) {
    // Elements that stay are not moved: moving would lose focus and reload nothing but cost much.
    let at = this.list.firstChild;
    for (const row of rows) {
      if (row === at) at = at.nextSibling;
      else this.list.insertBefore(row, at);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  #beginning() {
    const { world, channel } = this;
    const name = world.title(channel), bot = world.name(world.bot);
    const example = { prompt: "1girl, red jacket, blue jeans, night sky", depth: "1" };
    const greeting = channel.type === 1 ? `This is the beginning of your direct messages with ${bot}.`
      : world.isThread(channel) ? "This is the beginning of the thread." : `This is the beginning of #${name}.`;
    const offer = !world.isThread(channel) && world.offered(1, channel).some((c) => c.name === "imagine");
    return h("li", { class: "beginning" },
      h("div", { class: "beginning-mark" }, channel.type === 1 ? avatar(world.bot, "big") : icon(world.isThread(channel) ? "thread" : "hash")),
      h("div", { class: "beginning-title" }, channel.type === 1 || world.isThread(channel) ? name : `Welcome to #${name}!`), h("p", {}, greeting),
      offer && h("p", {}, `Ask ${bot} for a picture: type `, h("span", { class: "mention" }, "/imagine"), " or ",
        h("button", { type: "button", class: "button", id: "try", onclick: () => this.acts.tryCommand("imagine", example) }, "begin with an example"),
        " Then react 🔁 to a picture, or reply to it with what one thing should be."));
  }

  async #earlier() {
    if (this.fetching || !this.world.older.get(this.channel?.id)) return;
    this.fetching = true;
    const height = this.scroll.scrollHeight, top = this.scroll.scrollTop;
    try {
      await this.world.earlier();
      this.draw();
      this.scroll.scrollTop = top + this.scroll.scrollHeight - height;
    } finally { this.fetching = false; }
  }

  /** Show a message and mark it for a moment. */
  jump(id) {
    const item = this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!item) return false;
    this.stuck = false;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    item.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    item.classList.add("marked");
    setTimeout(() => item.classList.remove("marked"), 1800);
    this.#tabStop(item);
    item.focus({ preventScroll: true });
    return true;
  }

  #message(item) { return this.world.messages.get(this.channel.id)?.get(item.dataset.id); }

  #tabStop(item) {
    this.list.querySelectorAll('li.message[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
    if (item) item.tabIndex = 0;
  }

  #tools(item) {
    if (!item || item.classList.contains("system")) return;
    if (item.contains(document.activeElement) || item === document.activeElement) {
      this.#tabStop(item);
      this.focused = item.dataset.id;
    }
    if (item.querySelector(":scope > .toolbar")) return;
    const message = this.#message(item);
    if (!message || message.flags & 128) return;
    const toolbar = this.acts.toolbar(message);
    const old = this.toolbar;
    // One that has the keyboard stays until the keyboard leaves.
    if (old?.isConnected && !old.contains(document.activeElement) && !old.closest("li").matches(":focus-within")) old.remove();
    else if (old?.isConnected && old.closest("li") !== item) old.classList.add("leaving");
    this.list.querySelectorAll(".toolbar.leaving").forEach((t) => { if (!t.closest("li").matches(":focus-within")) t.remove(); });
    this.toolbar = toolbar;
    item.append(toolbar);
  }

  #key(event) {
    const item = event.target;
    if (!item.matches("li.message")) return;
    const all = [...this.list.querySelectorAll("li.message")], at = all.indexOf(item);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    const message = this.#message(item);
    if (to !== undefined) {
      event.preventDefault();
      if (to < 0) return void this.#earlier();
      const next = all[Math.min(to, all.length - 1)];
      this.#tabStop(next);
      next.focus();
    } else if (!message || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "r") { event.preventDefault(); this.acts.reply(message); }
    else if (event.key === "+") { event.preventDefault(); this.acts.pickReaction(message, item); }
    else if (event.key === "e" && message.author.id === this.world.me.id) { event.preventDefault(); this.acts.edit(message); }
    else if (event.key === "Enter") { event.preventDefault(); this.acts.messageMenu(message, item.querySelector(".toolbar") ?? item); }
  }

  #focusPath() {
    const item = document.activeElement?.closest?.("#messages li.message");
    if (!item) return null;
    return { id: item.dataset.id, key: document.activeElement.dataset.key ?? null, index: [...this.list.querySelectorAll("li.message")].indexOf(item), element: document.activeElement };
  }

  #focusAgain(path) {
    if (!path || path.element.isConnected) return;
    const item = this.list.querySelector(`[data-id="${CSS.escape(path.id)}"]`) ?? [...this.list.querySelectorAll("li.message")][Math.max(0, path.index - 1)];
    const inside = path.key && item?.querySelector(`[data-key="${CSS.escape(path.key)}"]`);
    (inside || item)?.focus({ preventScroll: true });
  }
}
