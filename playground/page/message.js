// One message as an element: header, quote, text, embeds, files, components, reactions.

import { components, v2 } from "./components.js";
import { avatar, clock, h, icon, isLink, local, sizeText, stampText, timeElement } from "./dom.js";
import { lightbox } from "./floating.js";
import { markdown, plain } from "./markdown.js";

const LOADING = 128, COMPONENTS_V2 = 1 << 15;
const THREAD_CREATED = 18, STARTER = 21;

/** Make the element for a message. `grouped`: it follows one of the same author. */
export function messageElement(message, { world, acts, grouped, first }) {
  if (message.type === THREAD_CREATED) return systemLine(message, world, acts);
  const shown = message.type === STARTER ? message.referenced_message : message;
  const pinged = message.mentions?.some((user) => user.id === world.me.id);
  const item = h("li", {
    class: [
      "message", grouped ? "grouped" : "", message.visible_to ? "ephemeral" : "", pinged ? "pinged" : "",
      acts.replyingTo?.id === message.id ? "replying" : "",
    ].join(" "),
    "data-id": message.id, tabindex: first ? "0" : "-1", "aria-labelledby": `author-${message.id} body-${message.id}`,
  });
  if (!shown) {
    item.append(h("div", { class: "body", id: `body-${message.id}` }, h("em", { class: "faint" }, "The message this thread began with was deleted.")));
    return item;
  }
  const date = new Date(message.timestamp);
  if (shown === message) item.append(...above(message, world, acts));
  item.append(grouped
    ? h("div", { class: "gutter" }, timeElement(date, clock(date), "time hover-time"))
    : h("div", { class: "gutter" }, avatar(shown.author)));
  const body = h("div", { class: "body", id: `body-${message.id}` });
  const author = h("div", { class: grouped ? "head sr" : "head", id: `author-${message.id}` },
    h("span", { class: "author", "--hue": Number(BigInt(shown.author.id) % 360n) }, world.name(shown.author)),
    shown.author.bot && h("span", { class: "badge" }, "APP"), " ",
    !grouped && timeElement(date, stampText(date)));
  if (message.flags & LOADING) body.append(thinking(world.name(message.author)));
  else body.append(...content(shown, world, acts));
  item.append(h("div", { class: "column" }, author, body, ...below(message, world, acts)));
  return item;
}

function thinking(name) {
  return h("div", { class: "thinking" }, h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), ` ${name} is thinking…`);
}

function systemLine(message, world, acts) {
  const id = message.message_reference?.channel_id;
  return h("li", { class: "message system", "data-id": message.id, tabindex: "-1" },
    h("div", { class: "gutter" }, icon("thread")),
    h("div", { class: "column" }, h("b", {}, world.name(message.author)), " started a thread: ",
      h("button", { type: "button", class: "text-button", onclick: () => acts.go(id) }, message.content), ". ",
      timeElement(new Date(message.timestamp), stampText(new Date(message.timestamp)))));
}

function above(message, world, acts) {
  const lines = [];
  const cause = message.interaction_metadata;
  const quoted = message.type === 19 && message.message_reference;
  if (quoted) {
    const source = message.referenced_message;
    const snippet = source
      ? [h("span", { class: "quote-author", "--hue": Number(BigInt(source.author.id) % 360n) },
          message.mentions.some((u) => u.id === source.author.id) ? `@${world.name(source.author)}` : world.name(source.author)),
        h("span", { class: "quote-text" }, summary(source, world))]
      : [h("em", {}, "Original message was deleted")];
    lines.push(h("div", { class: "quote" }, h("span", { class: "sr" }, "in reply to "),
      h("button", { type: "button", class: "quote-link", tabindex: "-1", disabled: !source, onclick: () => acts.jump(source.id) },
        source && avatar(source.author, "tiny"), snippet)));
  } else if (cause?.name) {
    const slash = message.interaction?.type === 2 && message.type === 20;
    lines.push(h("div", { class: "quote" }, avatar(cause.user, "tiny"),
      h("span", { class: "quote-author", "--hue": Number(BigInt(cause.user.id) % 360n) }, world.name(cause.user)),
      " used ", h("span", { class: "mention" }, slash ? `/${cause.name}` : cause.name)));
  }
  return lines;
}

/** Return what a message says in one line. */
export function summary(message, world) {
  if (message.flags & LOADING) return "thinking…";
  const embed = message.embeds?.[0];
  const text = message.content || embed?.title || embed?.description || "";
  if (text) return plain(text.split("\n")[0], world);
  return message.attachments?.length ? "Click to see attachment" : "Click to see message";
}

function content(message, world, acts) {
  const out = [];
  if (message.content) out.push(...markdown(message.content, world));
  if (message.edited_timestamp && message.content) {
    const edited = timeElement(new Date(message.edited_timestamp), "(edited)", "edited");
    // Behind the last words, as in a client, where there are any.
    (out.at(-1).classList?.contains("text") ? out.at(-1) : out[out.push(h("div")) - 1]).append(" ", edited);
  }
  const pictures = gallery(message);
  out.push(files(message, pictures));
  out.push(...(message.embeds ?? []).map((embed) => embedElement(embed, world, pictures)));
  const inner = message.components ?? [];
  if (message.flags & COMPONENTS_V2) out.push(h("div", { class: "v2" }, v2(inner, message, world, acts, pictures)));
  else if (inner.length) out.push(components(inner, message, world, acts));
  return out.filter(Boolean);
}

/** List a message's pictures, for the viewer to walk through. */
function gallery(message) {
  const found = [];
  const add = (media, name, alt) => {
    if (media?.url && !found.some((p) => p.url === local(media.url))) {
      found.push({ url: local(media.url), name, alt, width: media.width, height: media.height });
    }
  };
  for (const file of message.attachments ?? []) if (file.content_type?.startsWith("image/")) add(file, file.filename, file.description);
  for (const embed of message.embeds ?? []) {
    add(embed.image, fileName(embed.image), embed.title);
    add(embed.thumbnail, fileName(embed.thumbnail), embed.title);
  }
  return found;
}

function fileName(media) {
  return decodeURIComponent((media?.url ?? "").split("?")[0].split("/").pop());
}

/** Make a picture that opens large. Its place is kept before it is there. */
export function picture(media, name, alt, pictures, { most = 400, least = 0, className = "picture" } = {}) {
  const url = local(media.url);
  const spoiler = name.startsWith("SPOILER_");
  const image = h("img", { src: url, alt: alt || name, loading: "lazy", width: media.width, height: media.height });
  if (media.width) {
    const grow = Math.max(1, Math.min(2, least / media.width));
    const scale = Math.min(grow, most / media.width, 350 / media.height);
    image.style.setProperty("--width", `${Math.round(media.width * scale)}px`);
  }
  const button = h("button", { type: "button", class: `${className} ${spoiler ? "covered" : ""}`, "aria-label": spoiler ? `Spoiler: ${name}` : `Enlarge: ${alt || name}` }, image);
  button.addEventListener("click", () => {
    if (button.classList.contains("covered")) {
      button.classList.remove("covered");
      button.setAttribute("aria-label", `Enlarge: ${alt || name}`);
      return;
    }
    const all = pictures?.length ? pictures : [{ url, name, alt, width: media.width, height: media.height }];
    lightbox(all, Math.max(0, all.findIndex((p) => p.url === url)));
  });
  return button;
}

function files(message, pictures) {
  const list = message.attachments ?? [];
  if (!list.length) return null;
  const images = list.filter((file) => file.content_type?.startsWith("image/"));
  const others = list.filter((file) => !images.includes(file));
  const alone = images.length === 1;
  return h("div", { class: "files" },
    images.length > 0 && h("div", { class: alone ? "one" : "grid" },
      images.map((file) => picture(file, file.filename, file.description, pictures, alone ? { most: 550, least: 320 } : { most: 260, least: 180 }))),
    others.map((file) => fileCard(file)));
}

export function fileCard(file) {
  const url = local(file.url);
  return h("div", { class: "file" }, icon("file"),
    h("div", {}, h("a", { href: url, download: file.filename, target: "_blank", rel: "noopener" }, file.filename),
      h("div", { class: "faint" }, sizeText(file.size ?? 0))));
}

function embedElement(embed, world, pictures) {
  const colour = Number.isInteger(embed.color) ? `#${embed.color.toString(16).padStart(6, "0")}` : null;
  const link = (text, url) => (url && isLink(url) ? h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text) : text);
  const main = h("div", { class: "embed-main" },
    embed.author?.name && h("div", { class: "embed-author" }, link(embed.author.name, embed.author.url)),
    embed.title && h("div", { class: "embed-title" }, link(markdown(embed.title, world, { inline: true }), embed.url)),
    embed.description && h("div", { class: "embed-text" }, markdown(embed.description, world)),
    embed.fields?.length > 0 && h("div", { class: "embed-fields" }, embed.fields.map((field) =>
      h("div", { class: field.inline ? "inline" : "" },
        h("div", { class: "field-name" }, markdown(field.name, world, { inline: true })),
        h("div", { class: "field-value" }, markdown(field.value, world))))));
  const footer = [embed.footer?.text, embed.timestamp && stampText(new Date(embed.timestamp))].filter(Boolean).join(" • ");
  return h("div", { class: "embed", role: "group", "aria-label": embed.title ? plain(embed.title, world) : "Embed", "--bar": colour },
    h("div", { class: "embed-top" }, main,
      embed.thumbnail?.url && picture(embed.thumbnail, fileName(embed.thumbnail), embed.title, pictures, { most: 96, className: "picture thumbnail" })),
    embed.image?.url && picture(embed.image, fileName(embed.image), embed.title, pictures, { most: 420, least: 320 }),
    footer && h("div", { class: "embed-footer" }, footer));
}

function below(message, world, acts) {
  const out = [];
  if (message.thread) out.push(threadCard(message, world, acts));
  const reactors = Object.entries(message.reactors ?? {});
  if (reactors.length) {
    const row = h("div", { class: "reactions" });
    for (const [emoji, users] of reactors) {
      const mine = users.includes(world.me.id);
      const names = users.map((id) => world.name(world.user(id)));
      const who = names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(" and ");
      const shown = emoji.includes(":") ? `:${emoji.split(":")[0]}:` : emoji;
      row.append(h("button", {
        type: "button", class: mine ? "reaction mine" : "reaction", "aria-pressed": String(mine), "data-key": `react ${emoji}`,
        "aria-label": `${shown}, ${users.length}, by ${who}`, title: `${who} reacted with ${shown}`,
        onclick: () => acts.react(message, emoji, !mine),
      }, h("span", { class: "emoji" }, shown), h("span", { class: "count" }, String(users.length))));
    }
    row.append(h("button", { type: "button", class: "reaction add", "aria-label": "Add reaction", title: "Add reaction", "data-key": "react add",
      onclick: (event) => acts.pickReaction(message, event.currentTarget) }, icon("smile")));
    out.push(row);
  }
  const failed = acts.failures.get(message.id);
  if (failed) out.push(h("div", { class: "failure", role: "alert" }, failed));
  if (message.visible_to) {
    out.push(h("div", { class: "only-you" }, "Only you can see this • ",
      h("button", { type: "button", class: "text-button", onclick: () => world.dismiss(message) }, "Dismiss message")));
  }
  return out;
}

function threadCard(message, world, acts) {
  const thread = world.channels.get(message.thread.id) ?? message.thread;
  const last = [...(world.messages.get(thread.id)?.values() ?? [])].at(-1);
  const count = thread.message_count ?? 0;
  return h("button", { type: "button", class: "thread-card", "data-key": "thread", onclick: () => acts.go(thread.id) },
    h("span", { class: "thread-name" }, thread.name),
    h("span", { class: "thread-count" }, `${count} ${count === 1 ? "Message" : "Messages"} ›`),
    h("span", { class: "faint thread-last" }, last ? `${world.name(last.author)}: ${summary(last, world)}` : "Open the thread"));
}
