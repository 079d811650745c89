// The list above the message box that completes what is being typed.

import { h } from "./dom.js";

export class Suggest {
  constructor(holder) {
    this.list = h("div", { class: "suggest", id: "suggest", role: "listbox", "aria-label": "Suggestions", hidden: true });
    holder.append(this.list);
    this.items = [];
    this.at = -1;
    this.input = null;
  }

  get open() { return this.items.length > 0; }

  /** Offer items {label, description, mark, pick} for an input; `first`: whether Enter takes the first. */
  show(input, heading, items, { first = true } = {}) {
    if (!items.length) return this.hide();
    this.release();
    this.input = input;
    this.items = items;
    this.list.hidden = false;
    this.list.replaceChildren(h("div", { class: "suggest-heading", role: "presentation" }, heading), ...items.map((item, i) =>
      h("div", {
        role: "option", id: `suggest-${i}`, "aria-selected": "false", class: "suggestion", "data-label": item.label,
        onpointerdown: (event) => { event.preventDefault(); this.pick(i); }, // before the input loses focus
        onpointermove: () => this.#point(i),
      }, item.mark, h("span", { class: "suggestion-label" }, item.label), item.description && h("span", { class: "faint" }, item.description))));
    input.setAttribute("aria-controls", "suggest");
    if (input.getAttribute("role") === "combobox") input.setAttribute("aria-expanded", "true");
    this.at = -1;
    if (first) this.#point(0);
  }

  hide() {
    this.release();
    this.items = [];
    this.at = -1;
    this.list.hidden = true;
    this.list.replaceChildren();
  }

  release() {
    this.input?.removeAttribute("aria-activedescendant");
    this.input?.removeAttribute("aria-controls");
    if (this.input?.getAttribute("role") === "combobox") this.input.setAttribute("aria-expanded", "false");
  }

  pick(i) {
    const item = this.items[i];
    this.hide();
    item?.pick();
  }

  /** Take a key that is meant for the list; return whether it was. */
  key(event) {
    if (!this.open || event.isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const from = this.at < 0 && step < 0 ? 0 : this.at;
      this.#point((from + step + this.items.length) % this.items.length);
    } else if ((event.key === "Enter" && !event.shiftKey) || (event.key === "Tab" && !event.shiftKey)) {
      if (this.at < 0) return false;
      this.pick(this.at);
    } else if (event.key === "Escape") {
      this.hide();
    } else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  #point(i) {
    const rows = this.list.querySelectorAll("[role=option]");
    rows[this.at]?.setAttribute("aria-selected", "false");
    this.at = i;
    rows[i]?.setAttribute("aria-selected", "true");
    rows[i]?.scrollIntoView({ block: "nearest" });
    this.input?.setAttribute("aria-activedescendant", `suggest-${i}`);
  }
}
