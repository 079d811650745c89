// Discord's markdown as DOM nodes. Nothing that somebody wrote is ever parsed as HTML.

import { h, isLink } from "./dom.js";

/** Return nodes for a text; `world` gives names to mentions. `inline`: one line, for quotes and titles. */
export function markdown(text, world, { inline = false } = {}) {
  if (!text) return [];
  return inline ? spans(text.replaceAll("\n", " "), world) : blocks(text, world);
}

/** Return a text as it reads, without markup: for announcements and previews. */
export function plain(text, world) {
  const holder = h("div", {}, markdown(text, world));
  return holder.textContent.replace(/\s+/g, " ").trim();
}

function blocks(text, world) {
  const out = [];
  // Code blocks first: nothing in them means anything.
  const parts = text.split(/```(?:([\w+-]+)\n)?\n?([\s\S]+?)\n?```/g);
  for (let i = 0; i < parts.length; i += 3) {
    if (parts[i]) out.push(...lines(i > 0 ? parts[i].replace(/^\n/, "") : parts[i], world));
    if (i + 2 < parts.length) out.push(h("pre", { tabindex: "0" }, h("code", {}, parts[i + 2])));
  }
  return out;
}

function lines(text, world) {
  const out = [], rows = text.split("\n");
  let i = 0;
  const take = (pattern) => {
    const taken = [];
    while (i < rows.length && pattern.test(rows[i])) taken.push(rows[i++]);
    return taken;
  };
  while (i < rows.length) {
    const row = rows[i];
    let match;
    if (/^>>> /.test(row)) {
      const rest = [row.slice(4), ...rows.slice(i + 1)].join("\n");
      i = rows.length;
      out.push(h("blockquote", {}, lines(rest, world)));
    } else if (/^> /.test(row)) {
      out.push(h("blockquote", {}, lines(take(/^> /).map((r) => r.slice(2)).join("\n"), world)));
    } else if ((match = /^(#{1,3}) +(.+)$/.exec(row))) {
      i++;
      // A heading in a message is no heading of the page.
      out.push(h("div", { class: `h${match[1].length}` }, spans(match[2], world)));
    } else if ((match = /^-# +(.+)$/.exec(row))) {
      i++;
      out.push(h("div", { class: "subtext" }, spans(match[1], world)));
    } else if (/^\s*[-*] +\S/.test(row)) {
      out.push(h("ul", {}, take(/^\s*[-*] +\S/).map((r) => h("li", {}, spans(r.replace(/^\s*[-*] +/, ""), world)))));
    } else if ((match = /^\s*(\d+)\. +\S/.exec(row))) {
      const items = take(/^\s*\d+\. +\S/);
      const start = match[1];
      out.push(h("ol", { start }, items.map((r) => h("li", {}, spans(r.replace(/^\s*\d+\. +/, ""), world)))));
    } else {
      const paragraph = [];
      while (i < rows.length && !/^(>>> |> |#{1,3} +\S|-# +\S|\s*[-*] +\S|\s*\d+\. +\S)/.test(rows[i])) {
        paragraph.push(rows[i++]);
      }
      if (!paragraph.length) paragraph.push(rows[i++]);
      out.push(h("div", { class: "text" }, spans(paragraph.join("\n"), world)));
    }
  }
  return out;
}

const RULES = [
  [/^\\([^\w\s])/, (m) => m[1]],
  [/^(`+)([\s\S]*?[^`])\1(?!`)/, (m) => h("code", {}, m[2].trim() || m[2])],
  [/^<@!?(\d+)>/, (m, world) => h("span", { class: "mention" }, `@${world.name(world.user(m[1]))}`)],
  [/^<@&(\d+)>/, (m, world) => h("span", { class: "mention" }, `@${world.roles.get(m[1])?.name ?? "deleted-role"}`)],
  [/^<#(\d+)>/, (m, world) => channel(m[1], world)],
  [/^<\/([^:>]+):\d+>/, (m) => h("span", { class: "mention" }, `/${m[1]}`)],
  [/^<a?:(\w+):\d+>/, (m) => `:${m[1]}:`],
  [/^<t:(-?\d+)(?::([tTdDfFR]))?>/, (m) => stamp(Number(m[1]) * 1000, m[2] ?? "f")],
  [/^\[((?:\\.|[^\]\\])+)\]\(<?(https?:\/\/[^\s)>]+)>?(?: "[^"]*")?\)/, (m, world) => link(m[2], spans(m[1], world), world)],
  [/^<(https?:\/\/[^\s>]+)>/, (m, world) => link(m[1], m[1], world)],
  [/^https?:\/\/[^\s<]+[^\s<.,:;"')\]*_~|]/, (m, world) => link(m[0], m[0], world)],
  [/^\*\*\*([\s\S]+?)\*\*\*(?!\*)/, (m, world) => h("strong", {}, h("em", {}, spans(m[1], world)))],
  [/^\*\*([\s\S]+?)\*\*(?!\*)/, (m, world) => h("strong", {}, spans(m[1], world))],
  [/^__([\s\S]+?)__(?!_)/, (m, world) => h("u", {}, spans(m[1], world))],
  [/^\*(?!\s)((?:\*\*[\s\S]+?\*\*|[^*])+?)\*(?!\*)/, (m, world) => h("em", {}, spans(m[1], world))],
  [/^_((?:__|[^_])+?)_(?!\w)/, (m, world) => h("em", {}, spans(m[1], world))],
  [/^~~([\s\S]+?)~~/, (m, world) => h("s", {}, spans(m[1], world))],
  [/^\|\|([\s\S]+?)\|\|/, (m, world) => spoiler(spans(m[1], world))],
];

function spans(text, world) {
  const out = [];
  let said = "", rest = text;
  const flush = () => { if (said) { out.push(said); said = ""; } };
  next: while (rest) {
    // Only these characters can begin something; _ and a link not within a word.
    const skip = rest.search(/[\\`<[*_~|]|https?:\/\//);
    if (skip !== 0) {
      said += skip < 0 ? rest : rest.slice(0, skip);
      rest = skip < 0 ? "" : rest.slice(skip);
      continue;
    }
    if (!(rest[0] === "_" && /\w$/.test(said))) {
      for (const [pattern, make] of RULES) {
        const match = pattern.exec(rest);
        if (!match) continue;
        const made = make(match, world);
        if (typeof made === "string") said += made;
        else { flush(); out.push(made); }
        rest = rest.slice(match[0].length);
        continue next;
      }
    }
    said += rest[0];
    rest = rest.slice(1);
  }
  flush();
  return out;
}

function link(url, content, world) {
  if (!isLink(url)) return h("span", {}, content);
  // A link to a message here goes there; others open beside the page.
  const jump = /^https?:\/\/(?:(?:ptb\.|canary\.)?discord(?:app)?\.com)\/channels\/(?:\d+|@me)\/(\d+)(?:\/(\d+))?$/.exec(url);
  if (jump && world.channels.has(jump[1])) {
    const shown = content === url ? [`#${world.title(world.channels.get(jump[1]))}`, jump[2] ? " › message" : ""] : content;
    return h("a", { href: "#", class: "mention", "data-channel": jump[1], "data-jump": jump[2] ?? null }, shown);
  }
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, content);
}

function channel(id, world) {
  const found = world.channels.get(id);
  if (!found || !world.sees(found)) return h("span", { class: "mention" }, "#unknown");
  return h("a", { href: "#", class: "mention", "data-channel": id }, `#${world.title(found)}`);
}

function stamp(ms, style) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "Invalid date";
  const forms = {
    t: { timeStyle: "short" }, T: { timeStyle: "medium" }, d: { dateStyle: "short" }, D: { dateStyle: "long" },
    f: { dateStyle: "long", timeStyle: "short" }, F: { dateStyle: "full", timeStyle: "short" },
  };
  const text = style === "R" ? relative(ms) : new Intl.DateTimeFormat("en", forms[style]).format(date);
  return h("time", { class: "stamp", datetime: date.toISOString(), title: date.toLocaleString("en") }, text);
}

function relative(ms) {
  const seconds = (ms - Date.now()) / 1000;
  const units = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? units.at(-1);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / size), unit);
}

function spoiler(content) {
  const cover = h("span", { class: "spoiler", role: "button", tabindex: "0", "aria-label": "Spoiler, hidden" }, h("span", {}, content));
  const reveal = (event) => {
    if (event.type === "keydown" && !["Enter", " "].includes(event.key)) return;
    event.preventDefault();
    cover.classList.add("seen");
    for (const name of ["role", "tabindex", "aria-label"]) cover.removeAttribute(name);
  };
  cover.addEventListener("click", reveal, { once: true });
  cover.addEventListener("keydown", reveal);
  return cover;
}
