// What floats above the page: menus, the picture viewer, forms. One at a time; focus comes back.

import { h, icon } from "./dom.js";

let close = null;

/** Close what floats, if anything does. */
export function closeFloating() { close?.(); }

/** Put an element beside a place ({x, y} or an element), close it with Escape or a click elsewhere. */
export function float(element, place, { focus = element, align = "start" } = {}) {
  closeFloating();
  const back = document.activeElement;
  document.body.append(element);
  const box = place instanceof Element ? place.getBoundingClientRect() : null;
  const x = box ? (align === "end" ? box.right - element.offsetWidth : box.left) : place.x;
  const below = box ? box.bottom + 4 : place.y;
  const fits = below + element.offsetHeight <= innerHeight - 8;
  const y = fits ? below : (box ? box.top - 4 : place.y) - element.offsetHeight;
  element.style.left = `${Math.max(8, Math.min(x, innerWidth - element.offsetWidth - 8))}px`;
  element.style.top = `${Math.max(8, Math.min(y, innerHeight - element.offsetHeight - 8))}px`;
  const outside = (event) => { if (!element.contains(event.target)) close(); };
  const escape = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  };
  close = () => {
    close = null;
    document.removeEventListener("pointerdown", outside, true);
    element.remove();
    if (document.activeElement === document.body || !document.activeElement?.isConnected) back?.focus();
  };
  element.addEventListener("keydown", escape);
  setTimeout(() => document.addEventListener("pointerdown", outside, true));
  focus.focus();
}

/** Show a menu. Entries: {text, mark, run, danger, disabled, checked}, {heading} or null for a line. */
export function menu(entries, place, { label = "Menu", align } = {}) {
  const list = h("div", { class: "menu", role: "menu", "aria-label": label, tabindex: "-1" });
  for (const entry of entries) {
    if (entry === null) list.append(h("div", { role: "separator" }));
    else if (entry.heading) list.append(h("div", { class: "menu-heading", role: "presentation" }, entry.heading));
    else {
      const choose = () => {
        closeFloating();
        entry.run();
      };
      const role = entry.checked === undefined ? "menuitem" : "menuitemradio";
      list.append(h("button", {
        type: "button", role, tabindex: "-1", class: entry.danger ? "danger" : "", disabled: Boolean(entry.disabled),
        "aria-checked": entry.checked === undefined ? null : String(entry.checked), onclick: choose,
      }, h("span", {}, entry.text), entry.note && h("span", { class: "note" }, entry.note), entry.mark));
    }
  }
  const items = () => [...list.querySelectorAll("button:not(:disabled)")];
  list.addEventListener("keydown", (event) => {
    const all = items(), at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all.at(to % all.length)?.focus();
    } else if (event.key === "Tab") closeFloating();
    else if (event.key.length === 1 && event.key !== " ") {
      const letter = event.key.toLowerCase();
      const after = [...all.slice(at + 1), ...all.slice(0, at + 1)];
      after.find((item) => item.textContent.trim().toLowerCase().startsWith(letter))?.focus();
    }
  });
  float(list, place, { focus: items()[0] ?? list, align });
}

/** Show pictures large: {url, name, alt, width, height}; arrows go to the neighbours. */
export function lightbox(pictures, at) {
  const back = document.activeElement;
  const image = h("img", { alt: "" });
  const caption = h("figcaption");
  const original = h("a", { class: "icon-button", target: "_blank", rel: "noopener", "aria-label": "Open the file", title: "Open the file" }, icon("external"));
  const step = (by) => show((at + by + pictures.length) % pictures.length);
  const arrow = (by, name, label) =>
    h("button", { type: "button", class: `icon-button ${name}`, "aria-label": label, title: label, onclick: () => step(by) }, icon(name));
  const shut = h("button", { type: "button", class: "icon-button", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, icon("close"));
  const many = pictures.length > 1;
  const dialog = h("dialog", { class: "lightbox", "aria-label": "Picture" },
    h("div", { class: "lightbox-tools" }, original, shut),
    many && arrow(-1, "previous", "Previous picture"),
    h("figure", {}, h("div", { class: "lightbox-frame" }, image), caption),
    many && arrow(1, "next", "Next picture"));
  function show(index) {
    at = index;
    const { url, name, alt, width, height } = pictures[at];
    image.src = url;
    image.alt = alt || name;
    image.classList.remove("natural");
    // Small pictures are enlarged too: that is what one opens them for.
    image.style.setProperty("--ratio", width && height ? width / height : 1);
    original.href = url;
    const size = width ? ` · ${width} × ${height}` : "";
    caption.textContent = `${name}${size}${many ? ` · ${at + 1} of ${pictures.length}` : ""}`;
  }
  image.addEventListener("click", () => image.classList.toggle("natural"));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" && many) step(-1);
    if (event.key === "ArrowRight" && many) step(1);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.tagName === "FIGURE") dialog.close(); });
  dialog.addEventListener("close", () => { dialog.remove(); back?.focus(); });
  document.body.append(dialog);
  show(at);
  dialog.showModal();
  shut.focus();
}

/** Ask before something that cannot be undone; resolves to whether to go on. */
export function confirmBox(title, text, action) {
  const back = document.activeElement;
  return new Promise((resolve) => {
    const go = h("button", { type: "submit", class: "button danger", value: "yes" }, action);
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "confirm-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "confirm-title" }, title), h("p", {}, text),
        h("div", { class: "dialog-actions" },
          h("button", { type: "submit", class: "button plain", value: "" }, "Cancel"), go)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      back?.focus();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    go.focus();
  });
}
