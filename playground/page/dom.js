// Elements are made here and nowhere else; text is always text, never markup.

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "tabIndex", "open", "indeterminate"]);

/** Make an element: h("button", {class: "x", onclick: f, "aria-label": "y"}, child, …). */
export function h(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  reply: "M9 7V3L2 10l7 7v-4c5 0 8.5 1.6 11 5-1-6-4-11-11-11z",
  smile: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm0 18a8 8 0 1 1 0-16 8 8 0 0 1 0 16zM8.5 11a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zm7 0a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zM7 13.5h10c-.5 2.6-2.5 4.5-5 4.5s-4.5-1.9-5-4.5z",
  edit: "M3 17.25V21h3.75L17.8 9.94l-3.75-3.75L3 17.25zM20.7 7.04a1 1 0 0 0 0-1.41l-2.34-2.34a1 1 0 0 0-1.41 0l-1.83 1.83 3.75 3.75 1.83-1.83z",
  more: "M6 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4zm6 0a2 2 0 1 0 0 4 2 2 0 0 0 0-4zm6 0a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  close: "M19 6.4 17.6 5 12 10.6 6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6 13.4 12z",
  plus: "M19 13h-6v6h-2v-6H5v-2h6V5h2v6h6z",
  send: "M3 20.5v-6.7L12 12 3 10.2V3.5L21.5 12z",
  menu: "M3 6h18v2H3zm0 5h18v2H3zm0 5h18v2H3z",
  hash: "M10.6 3 10 7h4l.6-4h2L16 7h4v2h-4.3l-.900 6H19v2h-4.5l-.600 4h-2l.600-4h-4l-.600 4h-2l.600-4H3v-2h3.8l.900-6H4V7h4l.600-4zM9.7 9l-.900 6h4l.900-6z",
  thread: "M4 3h16a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-6l-5 5v-5H4a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zm3 4v2h10V7zm0 4v2h7v-2z",
  moon: "M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z",
  sun: "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM11 1h2v3h-2zm0 19h2v3h-2zM1 11h3v2H1zm19 0h3v2h-3zM4.2 2.8 6.3 4.9 4.9 6.3 2.8 4.2zM19.1 17.7l2.1 2.1-1.4 1.4-2.1-2.1zM2.8 19.8l2.1-2.1 1.4 1.4-2.1 2.1zM17.7 4.9l2.1-2.1 1.4 1.4-2.1 2.1z",
  file: "M6 2h8l6 6v14H6a2 2 0 0 1-2-2V4c0-1.1.9-2 2-2zm7 1.5V9h5.5z",
  previous: "M15.4 7.4 14 6l-6 6 6 6 1.4-1.4L10.8 12z",
  next: "M8.6 16.6 10 18l6-6-6-6-1.4 1.4L13.2 12z",
  external: "M14 3v2h3.6l-9.8 9.8 1.4 1.4L19 6.4V10h2V3zM5 5h6V3H5a2 2 0 0 0-2 2v14c0 1.1.9 2 2 2h14a2 2 0 0 0 2-2v-6h-2v6H5z",
  lock: "M12 2a5 5 0 0 0-5 5v3H6a2 2 0 0 0-2 2v8c0 1.1.9 2 2 2h12a2 2 0 0 0 2-2v-8a2 2 0 0 0-2-2h-1V7a5 5 0 0 0-5-5zm-3 8V7a3 3 0 0 1 6 0v3z",
  down: "M7.4 8.6 6 10l6 6 6-6-1.4-1.4L12 13.2z",
  slash: "M15 3h2.2L9 21H6.8z",
};

/** Make one of the page's icons; it says nothing to screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Make a round avatar: an initial on a colour of the user's own. */
export function avatar(user, size = "") {
  const hue = Number(BigInt(user.id) % 360n);
  const mark = user.bot ? "🎨" : [...(user.global_name ?? user.username)][0].toUpperCase();
  return h("span", { class: `avatar ${size}`, "aria-hidden": "true", "--hue": hue }, mark);
}

/** Say something to screen readers. */
export function announce(text, place = "status") {
  const region = document.getElementById(place);
  region.textContent = "";
  // A region that is emptied and filled at once is not read when the text is the same.
  setTimeout(() => { region.textContent = text; }, 30);
}

/** Show one line for a while. */
export function toast(text) {
  const line = h("div", { class: "toast" }, text);
  document.getElementById("toasts").append(line);
  announce(text, "alert");
  setTimeout(() => line.remove(), 8000);
}

/** Return the path of an address on this server, so that localhost and 127.0.0.1 are one. */
export function local(url) {
  try {
    const parsed = new URL(url, location.href);
    const here = ["127.0.0.1", "localhost"].includes(parsed.hostname) && parsed.port === location.port;
    return here ? parsed.pathname + parsed.search : parsed.href;
  } catch {
    return "";
  }
}

/** Tell whether an address may become a link. */
export function isLink(url) {
  return /^https?:\/\//i.test(url);
}

const DAY = new Intl.DateTimeFormat("en", { dateStyle: "long" });
const TIME = new Intl.DateTimeFormat("en", { timeStyle: "short" });
const BOTH = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "short" });

export function day(date) { return DAY.format(date); }
export function clock(date) { return TIME.format(date); }
export function fullDate(date) { return BOTH.format(date); }

export function stampText(date) {
  const today = new Date(), yesterday = new Date(Date.now() - 86_400_000);
  if (day(date) === day(today)) return `Today at ${clock(date)}`;
  if (day(date) === day(yesterday)) return `Yesterday at ${clock(date)}`;
  return `${date.toLocaleDateString("en")} ${clock(date)}`;
}

export function timeElement(date, text, className = "time") {
  return h("time", { class: className, datetime: date.toISOString(), title: fullDate(date) }, text);
}

export function sizeText(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 ** 2).toFixed(2)} MB`;
}
