// Buttons and menus under a message, and the newer layout components.

import { avatar, h, icon, isLink } from "./dom.js";
import { markdown } from "./markdown.js";
import { fileCard, picture } from "./message.js";

const ROW = 1, BUTTON = 2, SECTION = 9, TEXT = 10, THUMBNAIL = 11, GALLERY = 12, FILE = 13, LINE = 14, CONTAINER = 17;
const STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link" };
const LINK = 5;

/** Make the rows of a message. */
export function components(rows, message, world, acts) {
  return h("div", { class: "rows" }, rows.map((row) => one(row, message, world, acts)));
}

function one(component, message, world, acts) {
  if (component.type === ROW) return h("div", { class: "row" }, component.components.map((inner) => one(inner, message, world, acts)));
  if (component.type === BUTTON) return button(component, message, acts);
  return select(component, world, {
    key: component.custom_id,
    disabled: component.disabled || acts.busy.has(`${message.id} ${component.custom_id}`),
    onchange: (values) => acts.select(message, component.custom_id, values),
  });
}

function emojiText(emoji) {
  if (!emoji) return null;
  return h("span", { class: "emoji", "aria-hidden": "true" }, emoji.id ? `:${emoji.name}:` : emoji.name);
}

function button(component, message, acts) {
  const inside = [emojiText(component.emoji), component.label && h("span", {}, component.label)];
  const label = component.label ? null : component.emoji?.name;
  if (component.style === LINK && isLink(component.url ?? "")) {
    return h("a", { class: "component link", href: component.url, target: "_blank", rel: "noopener noreferrer", "aria-label": label }, inside, icon("external"));
  }
  const busy = acts.busy.has(`${message.id} ${component.custom_id}`);
  return h("button", {
    type: "button", class: `component ${STYLES[component.style] ?? "secondary"} ${busy ? "busy" : ""}`, "data-key": component.custom_id,
    "data-custom-id": component.custom_id, disabled: Boolean(component.disabled), "aria-busy": busy ? "true" : null, "aria-label": label,
    onclick: () => { if (!busy) acts.click(message, component.custom_id); },
  }, inside);
}

/** What a menu offers: {value, label, description, mark}. */
export function offers(component, world) {
  const people = () => [...world.members.values()].map((m) => ({ value: m.user.id, label: world.name(m.user), description: m.user.username, mark: avatar(m.user, "tiny") }));
  const roles = () => [...world.roles.values()].filter((r) => r.id !== world.guild.id).map((r) => ({ value: r.id, label: `@${r.name}` }));
  const channels = () => [...world.channels.values()]
    .filter((c) => c.type !== 1 && world.sees(c) && (!component.channel_types?.length || component.channel_types.includes(c.type)))
    .map((c) => ({ value: c.id, label: `#${c.name}` }));
  switch (component.type) {
    case 5: return people();
    case 6: return roles();
    case 7: return [...people(), ...roles()];
    case 8: return channels();
    default: return (component.options ?? []).map((o) => ({ ...o, mark: emojiText(o.emoji) }));
  }
}

/** Make a menu: a button that opens a list to choose from, as in Discord with descriptions and several choices. */
export function select(component, world, { key, disabled = false, onchange, immediate = true, describedBy = null, label = null }) {
  const all = offers(component, world);
  const low = component.min_values ?? 1, high = component.max_values ?? 1;
  const given = (component.default_values ?? []).map((v) => v.id);
  let chosen = all.filter((o) => o.default || given.includes(o.value)).map((o) => o.value);
  const text = () => {
    const labels = all.filter((o) => chosen.includes(o.value)).map((o) => o.label);
    return labels.length ? labels.join(", ") : component.placeholder || "Make a selection";
  };
  const shown = h("span", { class: "select-text" }, text());
  const opener = h("button", {
    type: "button", class: "select", role: "combobox", "aria-haspopup": "listbox", "aria-expanded": "false", disabled: Boolean(disabled), "data-key": key,
    "data-custom-id": component.custom_id, "aria-label": `${label ?? component.placeholder ?? "Make a selection"}`, "aria-describedby": describedBy,
  }, shown, icon("down"));
  const holder = h("div", { class: "select-holder" }, opener);
  let list = null;
  const shut = (send) => {
    if (!list) return;
    list.remove();
    list = null;
    opener.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (send && immediate && high > 1 && chosen.length >= low) onchange(chosen);
  };
  const outside = (event) => { if (!holder.contains(event.target)) shut(true); };
  const choose = (value) => {
    if (high === 1) chosen = chosen.includes(value) && low === 0 ? [] : [value];
    else if (chosen.includes(value)) chosen = chosen.filter((v) => v !== value);
    else if (chosen.length < high) chosen = [...chosen, value];
    shown.textContent = text();
    if (high === 1) {
      shut(false);
      opener.focus();
      onchange(chosen);
    } else {
      for (const row of list.querySelectorAll("[role=option]")) row.setAttribute("aria-selected", String(chosen.includes(row.dataset.value)));
      if (!immediate) onchange(chosen);
    }
  };
  const open = () => {
    if (list) return shut(true);
    list = h("div", { class: "select-list", role: "listbox", "aria-label": component.placeholder || "Choices", "aria-multiselectable": high > 1 ? "true" : null, tabindex: "-1" });
    if (all.length > 8) {
      const search = h("input", { type: "text", class: "select-search", placeholder: "Search", "aria-label": "Search the choices" });
      search.addEventListener("input", () => {
        for (const row of list.querySelectorAll("[role=option]")) row.hidden = !row.textContent.toLowerCase().includes(search.value.toLowerCase());
      });
      list.append(search);
    }
    for (const offer of all) {
      list.append(h("div", {
        role: "option", tabindex: "-1", "data-value": offer.value, "aria-selected": String(chosen.includes(offer.value)),
        onclick: () => choose(offer.value),
      }, offer.mark, h("span", { class: "offer" }, h("span", {}, offer.label), offer.description && h("span", { class: "faint" }, offer.description)),
      h("span", { class: "tick", "aria-hidden": "true" }, "✓")));
    }
    if (!all.length) list.append(h("div", { class: "faint nothing" }, "Nothing to choose from"));
    list.addEventListener("keydown", (event) => {
      const rows = [...list.querySelectorAll("[role=option]:not([hidden])")], at = rows.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
      if (to !== undefined && (event.target.tagName !== "INPUT" || event.key.startsWith("Arrow"))) {
        event.preventDefault();
        rows.at(to % rows.length)?.focus();
      } else if ((event.key === "Enter" || (event.key === " " && at >= 0)) && (at >= 0 || rows.length === 1)) {
        event.preventDefault();
        choose(rows[Math.max(at, 0)].dataset.value);
      } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        shut(true);
        opener.focus();
      } else if (event.key === "Tab") shut(true);
    });
    holder.append(list);
    opener.setAttribute("aria-expanded", "true");
    list.classList.toggle("up", opener.getBoundingClientRect().bottom + list.offsetHeight > innerHeight - 8);
    document.addEventListener("pointerdown", outside, true);
    (list.querySelector("input") ?? list.querySelector("[aria-selected=true]") ?? list.querySelector("[role=option]") ?? list).focus();
  };
  opener.addEventListener("click", open);
  opener.addEventListener("keydown", (event) => {
    if (["ArrowDown", "ArrowUp"].includes(event.key)) { event.preventDefault(); open(); }
  });
  return holder;
}

/** Make the layout components of a message that has no text and no embeds of its own. */
export function v2(list, message, world, acts, pictures) {
  const inside = (inner) => v2(inner, message, world, acts, pictures);
  return list.map((c) => {
    if (c.type === CONTAINER) {
      const colour = Number.isInteger(c.accent_color) ? `#${c.accent_color.toString(16).padStart(6, "0")}` : null;
      return h("div", { class: "embed container", "--bar": colour }, inside(c.components));
    }
    if (c.type === TEXT) return h("div", {}, markdown(c.content, world));
    if (c.type === SECTION) return h("div", { class: "section" }, h("div", {}, inside(c.components)), inside([c.accessory]));
    if (c.type === THUMBNAIL) return picture(c.media, name(c.media), c.description, pictures, { most: 96, className: "picture thumbnail" });
    if (c.type === GALLERY) {
      const options = c.items.length === 1 ? { most: 550, least: 320 } : { most: 260, least: 180 };
      return h("div", { class: c.items.length === 1 ? "one" : "grid" }, c.items.map((i) => picture(i.media, name(i.media), i.description, pictures, options)));
    }
    if (c.type === FILE) return fileCard({ ...c.file, filename: name(c.file), size: c.size });
    if (c.type === LINE) return h("hr", { class: c.divider === false ? "blank" : "" });
    return one(c, message, world, acts);
  });
}

function name(media) {
  return decodeURIComponent((media?.url ?? "").split("?")[0].split("/").pop());
}
