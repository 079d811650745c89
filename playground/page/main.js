// Puts the page together: channels on the left, the open one beside them, what members do in between.

import { Api, takeToken } from "./api.js";
import { Composer } from "./composer.js";
import { announce, avatar, h, icon, toast } from "./dom.js";
import { pickEmoji } from "./emoji.js";
import { closeFloating, confirmBox, menu } from "./floating.js";
import { showForm } from "./forms.js";
import { MessageList } from "./list.js";
import { plain } from "./markdown.js";
import { summary } from "./message.js";
import { World } from "./world.js";

const $ = (id) => document.getElementById(id);
const api = new Api(takeToken());
const world = new World(api);
const QUICK = ["🔁", "👍"];
const SHOWN_THREADS = 12;

// What a member does. Errors become a line at the edge.

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error.message);
    return null;
  }
}

const acts = {
  replyingTo: null,
  busy: new Set(), // "message custom_id" of what was pressed and not yet answered
  failures: new Map(), // message id -> what to say below it
  busyKey: (id) => [...acts.busy].filter((key) => key.startsWith(`${id} `)).join() + (acts.failures.get(id) ?? ""),
  redraw: (...ids) => list.touch(...ids),
  go: (channelId, messageId) => visit(channelId, messageId),
  jump: (id) => { if (!list.jump(id)) toast("That message is further up; show earlier messages first."); },
  reply: (message) => composer.reply(message),
  edit: (message) => composer.edit(message),
  tryCommand: (name, values) => composer.try(name, values),
  react: (message, emoji, add) => attempt(() => api.act(add ? "react" : "unreact", { message: message.id, emoji })),
  pickReaction: (message, place) => pickEmoji(place, (emoji) => acts.react(message, emoji, true)),

  async remove(message) {
    if (await confirmBox("Delete message", "This cannot be undone.", "Delete")) await attempt(() => api.act("delete", { message: message.id }));
  },

  /** Send an interaction; show what comes of it. */
  async interact(what, body, message = null, key = null) {
    if (key) acts.busy.add(key);
    if (message) {
      acts.failures.delete(message.id);
      list.touch(message.id);
    }
    const failed = (text) => {
      if (message) acts.failures.set(message.id, text);
      else toast(text);
    };
    try {
      const sent = await api.act(what, body);
      if (sent.failed) failed(message && key ? "This interaction failed" : `${world.name(world.bot)} did not respond. ${world.botOnline ? "Try again." : "It is not running."}`);
      else if (sent.modal) acts.form(sent);
      return sent;
    } catch (error) {
      failed(error.message);
      return null;
    } finally {
      if (key) acts.busy.delete(key);
      if (message) list.touch(message.id);
    }
  },

  form(sent) {
    showForm(sent.modal, world, async (values) => {
      const answer = await api.act("submit_modal", { interaction: sent.id, values });
      if (answer.failed) throw new Error("Something went wrong. Try again.");
    });
  },

  async slash(channel, name, options) {
    sending(`Sending /${name}…`);
    await acts.interact("slash", { channel: channel.id, name, options });
    sending("");
  },
  click: (message, id) => acts.interact("click", { message: message.id, custom_id: id }, message, `${message.id} ${id}`),
  select: (message, id, values) => acts.interact("select", { message: message.id, custom_id: id, values }, message, `${message.id} ${id}`),
  contextCommand: (message, name) => acts.interact("context_menu", { message: message.id, name }),

  /** Make the row of buttons at a message's corner. */
  toolbar(message) {
    const channel = world.channels.get(message.channel_id);
    const button = (label, inside, run) => h("button", { type: "button", class: "icon-button small", "aria-label": label, title: label, onclick: run }, inside);
    const mine = message.author.id === world.me.id;
    const may = !message.visible_to;
    return h("div", { class: "toolbar", role: "toolbar", "aria-label": "Message" },
      may && world.may(channel, "ADD_REACTIONS") && [
        QUICK.map((emoji) => button(`React ${emoji}`, h("span", { class: "emoji" }, emoji), () => acts.react(message, emoji, !message.reactors?.[emoji]?.includes(world.me.id)))),
        button("Add reaction", icon("smile"), (event) => acts.pickReaction(message, event.currentTarget)),
      ],
      may && message.type !== 21 && button("Reply", icon("reply"), () => acts.reply(message)),
      mine && button("Edit", icon("edit"), () => acts.edit(message)),
      button("More", icon("more"), (event) => acts.messageMenu(message, event.currentTarget)));
  },

  /** Show everything that can be done with a message, the bot's own commands too. */
  messageMenu(message, place) {
    if (!message) return;
    const channel = world.channels.get(message.channel_id);
    const mine = message.author.id === world.me.id, open = !message.visible_to && message.type !== 21;
    const picture = message.embeds?.find((e) => e.image)?.image ?? message.attachments?.[0];
    const apps = open ? world.offered(3, channel) : [];
    menu([
      open && world.may(channel, "ADD_REACTIONS") && { text: "Add reaction", mark: icon("smile"), run: () => acts.pickReaction(message, place) },
      open && { text: "Reply", mark: icon("reply"), run: () => acts.reply(message) },
      mine && open && { text: "Edit message", mark: icon("edit"), run: () => acts.edit(message) },
      message.content && { text: "Copy text", run: () => copy(message.content) },
      picture && { text: "Open picture in a new tab", mark: icon("external"), run: () => window.open(new URL(picture.url).pathname, "_blank", "noopener") },
      { text: "Copy message ID", run: () => copy(message.id) },
      ...(apps.length ? [{ heading: "Apps" }, ...apps.map((command) => ({ text: command.name, mark: avatar(world.bot, "tiny"), run: () => acts.contextCommand(message, command.name) }))] : []),
      ...(message.visible_to ? [null, { text: "Dismiss message", run: () => world.dismiss(message) }] : []),
      ...(open && (mine || world.may(channel, "MANAGE_MESSAGES")) ? [null, { text: "Delete message", danger: true, run: () => acts.remove(message) }] : []),
    ].filter((entry) => entry !== false && entry !== "" && entry !== undefined), place, { label: "What to do with this message", align: "end" });
  },
};

async function copy(text) {
  await attempt(async () => {
    await navigator.clipboard.writeText(text);
    announce("Copied");
  });
}

function sending(text) { $("sending").textContent = text; }

const list = new MessageList({ scroll: $("scroll"), list: $("messages"), world, acts });
const composer = new Composer($("compose"), { world, api, acts });

// Channels

function drawChannels() {
  const visible = [...world.channels.values()].filter((channel) => world.sees(channel));
  const texts = visible.filter((c) => c.type === 0);
  const newest = (a, b) => (BigInt(b.last_message_id ?? b.id) > BigInt(a.last_message_id ?? a.id) ? 1 : -1);
  const threadsOf = (parent) => visible.filter((c) => c.parent_id === parent.id).sort(newest);
  const entry = (channel) => {
    const unread = world.unread.get(channel.id) ?? 0, open = channel.id === world.open;
    const locked = channel.thread_metadata?.locked;
    return h("li", {}, h("button", {
      type: "button", class: `channel ${unread ? "unread" : ""} ${channel.type > 10 ? "thread" : ""}`, "data-channel": channel.id, "aria-current": open ? "page" : null,
      onclick: () => visit(channel.id),
    }, channel.type === 1 ? avatar(world.bot, "small") : icon(channel.type > 10 ? "thread" : "hash"),
    h("span", { class: "channel-name" }, world.title(channel)), locked && icon("lock"),
    unread > 0 && h("span", { class: "unread-count", "aria-label": `${unread} unread` }, String(unread))));
  };
  const archived = (channel) => channel.thread_metadata?.archived;
  const blocks = texts.map((channel) => {
    const threads = threadsOf(channel);
    const active = threads.filter((t) => !archived(t)), fresh = active.slice(0, SHOWN_THREADS);
    const put = active.slice(SHOWN_THREADS).concat(threads.filter(archived));
    const current = put.find((t) => t.id === world.open);
    if (current) fresh.push(current);
    return [entry(channel), (fresh.length > 0 || put.length > 0) && h("li", {}, h("ul", { class: "threads", "aria-label": `Threads of ${channel.name}` }, fresh.map(entry),
      put.length > 0 && h("li", {}, h("details", { open: putOpen.has(channel.id), ontoggle: (e) => (e.target.open ? putOpen.add(channel.id) : putOpen.delete(channel.id)) },
        h("summary", {}, `Older threads (${put.length})`), h("ul", {}, put.map(entry))))))];
  });
  const dm = visible.find((c) => c.type === 1);
  const kept = document.activeElement?.dataset?.channel;
  $("channels").replaceChildren(
    h("h2", { class: "section" }, "Text channels"), h("ul", { class: "channel-list" }, blocks),
    h("h2", { class: "section" }, "Direct messages"), h("ul", { class: "channel-list" }, dm ? entry(dm)
      : h("li", {}, h("button", { type: "button", class: "channel", "data-channel": "dm", onclick: openDm }, avatar(world.bot, "small"), h("span", { class: "channel-name" }, world.name(world.bot))))));
  if (kept) $("channels").querySelector(`[data-channel="${CSS.escape(kept)}"]`)?.focus();
}
const putOpen = new Set();

async function openDm() {
  const channel = await attempt(() => api.act("dm"));
  if (!channel) return;
  await world.load();
  await visit(channel.id);
}

function drawHead() {
  const channel = world.channels.get(world.open);
  if (!channel) return;
  const parent = world.channels.get(channel.parent_id), state = channel.thread_metadata;
  const title = world.title(channel);
  $("head-icon").replaceChildren(channel.type === 1 ? avatar(world.bot, "tiny") : icon(world.isThread(channel) ? "thread" : "hash"));
  $("title").replaceChildren(...(parent ? [h("button", { type: "button", class: "text-button parent", onclick: () => visit(parent.id) }, parent.name), h("span", { class: "faint", "aria-hidden": "true" }, " › ")] : []), title);
  $("state").textContent = [state?.archived && "archived", state?.locked && "locked", channel.nsfw && "age-restricted"].filter(Boolean).join(" · ");
  const may = state && (world.may(channel, "MANAGE_THREADS") || channel.owner_id === world.me.id);
  $("thread-menu").hidden = !may;
  const unread = [...world.unread.values()].reduce((a, b) => a + b, 0);
  document.title = `${unread ? `(${unread}) ` : ""}${channel.type === 0 ? "#" : ""}${title} · ${world.guild.name}`;
  $("messages").setAttribute("aria-label", `Messages in ${title}`);
}

function threadMenu() {
  const channel = world.channels.get(world.open), { archived, locked } = channel.thread_metadata;
  const change = (changes) => attempt(() => api.act("edit_thread", { channel: channel.id, changes }));
  menu([
    { text: archived ? "Unarchive thread" : "Archive thread", run: () => change({ archived: !archived }) },
    world.may(channel, "MANAGE_THREADS") && { text: locked ? "Unlock thread" : "Lock thread", mark: icon("lock"), run: () => change(archived && locked ? { locked: false, archived: false } : { locked: !locked }) },
  ].filter(Boolean), $("thread-menu"), { label: "Thread", align: "end" });
}

function drawMe() {
  const { me } = world;
  $("me").replaceChildren(avatar(me, "small"), h("span", { class: "me-name" }, h("b", {}, world.name(me)), h("span", { class: "faint" }, world.rank(me))), icon("down"));
  $("me").setAttribute("aria-label", `You act as ${world.name(me)}, ${world.rank(me)}. Switch member`);
}

function drawLine() {
  $("bot-state").className = world.botOnline ? "dot online" : "dot";
  $("bot-text").textContent = world.botOnline ? "Bot online" : "Bot not running";
}

function drawTyping() {
  const until = world.typing.get(world.open) ?? 0;
  $("typing").replaceChildren(...(until > Date.now() ? [h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), h("b", {}, ` ${world.name(world.bot)}`), " is typing…"] : []));
}

async function visit(channelId, messageId = null) {
  closeFloating();
  const channel = world.channels.get(channelId);
  if (!channel || !world.sees(channel)) return toast("You do not see that channel.");
  drawer(false);
  const done = await attempt(() => world.visit(channelId).then(() => true));
  if (!done || world.open !== channelId) return;
  sessionStorage.setItem("channel", channelId);
  history.replaceState(null, "", `${location.pathname}#/${channelId}`);
  list.reset(world.channels.get(channelId));
  composer.visit(world.channels.get(channelId));
  drawChannels();
  drawHead();
  drawTyping();
  announce(`${world.title(channel)} opened`);
  if (messageId) acts.jump(messageId);
  else if (matchMedia("(hover: hover)").matches) composer.focus();
}

// Members, theme, drawer

function switchMember() {
  menu(world.people.map((user) => ({
    text: world.name(user), note: world.rank(user), checked: user.id === world.me.id, run: () => actAs(user),
  })), $("me"), { label: "Act as" });
}

function actAs(user) {
  localStorage.setItem("playground-as", user.username);
  acts.busy.clear();
  acts.failures.clear();
  world.actAs(user);
  announce(`You act as ${world.name(user)}`);
}

function firstMember() {
  const wanted = localStorage.getItem("playground-as");
  return world.people.find((user) => user.username === wanted) ?? world.people[0];
}

const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(next = null) {
  if (next) localStorage.setItem("playground-theme", next);
  const chosen = localStorage.getItem("playground-theme") ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
  $("theme").replaceChildren(icon(chosen === "dark" ? "sun" : "moon"));
  const label = chosen === "dark" ? "Use light colours" : "Use dark colours";
  $("theme").setAttribute("aria-label", label);
  $("theme").title = label;
}
dark.addEventListener("change", () => theme());

function drawer(open) {
  document.body.classList.toggle("drawer-open", open);
  $("open-drawer").setAttribute("aria-expanded", String(open));
  if (open) $("channels").querySelector("[aria-current], button")?.focus();
}

// What changes

world.addEventListener("structure", () => {
  if (!world.me || !world.members.has(world.me.id)) world.actAs(firstMember());
  else world.me = world.user(world.me.id);
  drawChannels();
  drawMe();
  drawLine();
  if (world.open && !(world.channels.has(world.open) && world.sees(world.channels.get(world.open)))) return void visit(firstChannel());
  if (world.open) {
    list.channel = world.channels.get(world.open);
    composer.channel = list.channel;
    drawHead();
    composer.refresh();
    for (const message of world.shown(world.open)) if (message.thread) list.stale.add(message.id);
    list.cache.delete("beginning");
    list.soon();
  }
});
world.addEventListener("me", () => {
  if (!world.open) return;
  if (!world.sees(world.channels.get(world.open))) return void visit(firstChannel());
  drawChannels();
  drawMe();
  drawHead();
  composer.leaveCommand(false);
  composer.visit(world.channels.get(world.open));
  list.reset(world.channels.get(world.open));
});
world.addEventListener("message", ({ detail: { channel, id, fresh } }) => {
  if (channel === world.open) {
    list.touch(id);
    drawTyping();
    const message = world.messages.get(channel)?.get(id);
    if (fresh && message && message.author.id !== world.me.id && (!message.visible_to || message.visible_to === world.me.id)) {
      announce(`${world.name(message.author)}: ${message.content ? plain(message.content, world) : summary(message, world)}`);
    }
  }
  // The card of a thread shows its newest message.
  const parent = world.channels.get(channel)?.parent_id;
  if (parent && parent === world.open) list.touch(channel);
});
world.addEventListener("unread", () => { drawChannels(); drawHead(); });
world.addEventListener("typing", drawTyping);
world.addEventListener("line", drawLine);

function firstChannel() {
  const kept = sessionStorage.getItem("channel");
  const visible = [...world.channels.values()].filter((channel) => world.sees(channel));
  return (visible.find((c) => c.id === kept) ?? visible.find((c) => c.type === 0))?.id;
}

$("me").addEventListener("click", switchMember);
$("thread-menu").addEventListener("click", threadMenu);
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("open-drawer").addEventListener("click", () => drawer(!document.body.classList.contains("drawer-open")));
$("shade").addEventListener("click", () => drawer(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("drawer-open")) {
    drawer(false);
    $("open-drawer").focus();
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-channel]");
  if (!link) return;
  event.preventDefault();
  visit(link.dataset.channel, link.dataset.jump ?? null);
});
const room = $("room");
room.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) { event.preventDefault(); room.classList.add("dropping"); } });
room.addEventListener("dragleave", (event) => { if (!room.contains(event.relatedTarget)) room.classList.remove("dropping"); });
room.addEventListener("drop", (event) => {
  event.preventDefault();
  room.classList.remove("dropping");
  composer.addFiles(event.dataTransfer.files);
});
document.addEventListener("keydown", (event) => {
  // As in a client: who just types, types into the message box.
  const busy = event.target.closest?.("input, textarea, button, a, select, dialog, [role=menu], li.message, summary");
  if (!busy && event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== " ") composer.focus();
});

async function start() {
  theme();
  const linked = /^#\/(\d+)$/.exec(location.hash)?.[1];
  if (linked) sessionStorage.setItem("channel", linked);
  try {
    await world.load();
  } catch (error) {
    const text = error.status === 401
      ? "This page needs the link that the terminal shows: it holds the key. Open that one."
      : `${error.message} This page tries again.`;
    $("notice").textContent = text;
    $("notice").hidden = false;
    if (error.status !== 401) setTimeout(start, 1500);
    return;
  }
  $("notice").hidden = true;
  $("guild").textContent = world.guild.name;
  $("app").hidden = false;
  await visit(firstChannel());
  api.follow({
    after: () => ({ run: world.run, sequence: world.sequence }),
    onEvent: (event) => world.apply(event),
    onResync: () => world.resync().then(() => { if (world.open) list.reset(world.channels.get(world.open)); }),
    onLine: (there) => {
      $("notice").textContent = "The line to the playground is lost. It is tried again…";
      $("notice").hidden = there;
    },
  });
}

await start();
