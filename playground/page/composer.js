// The message box: text, replies, edits, files, mentions, and slash commands.

import { encodeFile } from "./api.js";
import { CommandRow, grow, leaves } from "./commands.js";
import { avatar, h, icon, sizeText, toast } from "./dom.js";
import { pickEmoji } from "./emoji.js";
import { Suggest } from "./suggest.js";

const MOST_FILES = 10, MOST_BYTES = 10 * 1024 ** 2, MOST_CHARACTERS = 2000;

export class Composer {
  constructor(holder, { world, api, acts }) {
    Object.assign(this, { world, api, acts });
    this.files = [];
    this.drafts = new Map();
    this.mode = null; // {reply: message, ping} or {edit: message}
    this.command = null;
    this.text = h("textarea", { id: "text", rows: 1, autocomplete: "off", "aria-label": "Message", "aria-autocomplete": "list", maxlength: 4000 });
    this.note = h("div", { class: "composer-note" });
    this.previews = h("ul", { class: "previews", "aria-label": "Files to send" });
    this.left = h("span", { class: "characters-left", "aria-live": "polite" });
    this.picker = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files", id: "files" });
    this.slot = h("div", { class: "composer-slot" });
    const attach = h("button", { type: "button", class: "icon-button", "aria-label": "Attach files", title: "Attach files", onclick: () => this.picker.click() }, icon("plus"));
    const slash = h("button", { type: "button", class: "icon-button", "aria-label": "Use a command", title: "Use a command", id: "use-command", onclick: () => this.#startSlash() }, icon("slash"));
    const emoji = h("button", { type: "button", class: "icon-button", "aria-label": "Emoji", title: "Emoji", onclick: (e) => pickEmoji(e.currentTarget, (chosen) => this.#insert(chosen)) }, icon("smile"));
    const send = h("button", { type: "submit", class: "icon-button send", "aria-label": "Send", title: "Send" }, icon("send"));
    this.plain = h("div", { class: "composer-row" }, attach, this.text, this.left, slash, emoji);
    this.slot.append(this.plain);
    this.form = h("form", { class: "composer", "aria-label": "Write a message" }, this.note, this.previews, h("div", { class: "composer-box" }, this.slot, send), this.picker);
    holder.append(this.form);
    this.suggest = new Suggest(this.form);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.command) this.command.send();
      else this.#send();
    });
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#key(event));
    this.text.addEventListener("blur", () => this.suggest.hide());
    this.text.addEventListener("focus", () => this.#typed());
    this.text.addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); this.addFiles(event.clipboardData.files); } });
    this.picker.addEventListener("change", () => { this.addFiles(this.picker.files); this.picker.value = ""; });
  }

  /** Turn to another channel; what was begun stays where it was. */
  visit(channel) {
    if (this.channel) this.drafts.set(this.channel.id, this.text.value);
    this.channel = channel;
    this.mode = null;
    this.files = [];
    this.leaveCommand(false);
    this.text.value = this.drafts.get(channel.id) ?? "";
    this.refresh();
    this.#drawNote();
    this.#drawFiles();
    grow(this.text);
  }

  /** Show what the present member may do here. */
  refresh() {
    if (!this.channel) return;
    const { world, channel } = this, thread = world.isThread(channel);
    const moderates = world.may(channel, "MANAGE_THREADS");
    const state = channel.thread_metadata;
    let hindrance = "";
    if (!world.may(channel, thread ? "SEND_MESSAGES_IN_THREADS" : "SEND_MESSAGES")) hindrance = "You may not write here.";
    else if (state?.locked && !moderates) hindrance = "This thread is locked; a moderator can open it.";
    this.text.disabled = Boolean(hindrance);
    const name = channel.type === 1 ? `@${world.title(channel)}` : thread ? channel.name : `#${channel.name}`;
    this.text.placeholder = hindrance || `Message ${name}`;
    this.text.setAttribute("aria-label", `Message ${name}`);
  }

  focus() {
    if (this.command) this.command.focus();
    else this.text.focus();
  }

  reply(message) {
    this.leaveCommand(false);
    this.mode = { reply: message, ping: message.author.id !== this.world.me.id };
    this.#drawNote();
    this.text.focus();
  }

  edit(message) {
    this.leaveCommand(false);
    this.mode = { edit: message };
    this.text.value = message.content.replace(/<@!?(\d+)>/g, (whole, id) => (this.world.members.has(id) ? `@${this.world.user(id).username}` : whole));
    this.#drawNote();
    grow(this.text);
    this.text.focus();
  }

  #leaveMode() {
    if (this.mode?.edit) this.text.value = "";
    this.mode = null;
    this.#drawNote();
    grow(this.text);
  }

  #drawNote() {
    const before = this.acts.replyingTo;
    this.acts.replyingTo = this.mode?.reply ?? null;
    if (before?.id !== this.acts.replyingTo?.id) this.acts.redraw(before?.id, this.acts.replyingTo?.id);
    this.note.replaceChildren();
    if (!this.mode) return;
    const shut = h("button", { type: "button", class: "icon-button small", "aria-label": "Cancel", title: "Cancel (Esc)", onclick: () => { this.#leaveMode(); this.text.focus(); } }, icon("close"));
    if (this.mode.edit) return void this.note.append(h("span", { class: "grow" }, "Editing message ", h("span", { class: "faint" }, "· Esc to cancel, Enter to save")), shut);
    const ping = h("button", { type: "button", class: "ping", id: "ping", "aria-pressed": String(this.mode.ping), title: "Whether the reply pings", onclick: () => {
      this.mode.ping = !this.mode.ping;
      show();
    } });
    const show = () => {
      ping.setAttribute("aria-pressed", String(this.mode.ping));
      ping.textContent = this.mode.ping ? "@ ON" : "@ OFF";
      ping.setAttribute("aria-label", this.mode.ping ? "Ping: on" : "Ping: off");
    };
    show();
    this.note.append(h("span", { class: "grow" }, "Replying to ", h("b", {}, this.world.name(this.mode.reply.author))), ping, shut);
  }

  // Files

  addFiles(list) {
    for (const file of list) {
      if (this.files.length >= MOST_FILES) return toast(`At most ${MOST_FILES} files go with a message.`);
      if (file.size > MOST_BYTES) toast(`${file.name} is too large: ${sizeText(file.size)}, and at most ${sizeText(MOST_BYTES)} go.`);
      else this.files.push(file);
    }
    this.#drawFiles();
    this.text.focus();
  }

  #drawFiles() {
    for (const image of this.previews.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    this.previews.replaceChildren(...this.files.map((file) => h("li", {},
      file.type.startsWith("image/") ? h("img", { src: URL.createObjectURL(file), alt: "" }) : icon("file"),
      h("span", { class: "preview-name" }, file.name, h("span", { class: "faint" }, ` ${sizeText(file.size)}`)),
      h("button", { type: "button", class: "icon-button small", "aria-label": `Remove ${file.name}`, onclick: () => {
        this.files = this.files.filter((other) => other !== file);
        this.#drawFiles();
        this.text.focus();
      } }, icon("close")))));
  }

  // Writing

  #insert(text) {
    const { selectionStart: from, selectionEnd: to } = this.text;
    this.text.setRangeText(text, from, to, "end");
    this.text.focus();
    this.#typed();
  }

  #startSlash() {
    this.text.value = "/";
    this.text.focus();
    this.#typed();
  }

  #typed() {
    grow(this.text);
    const value = this.text.value, left = MOST_CHARACTERS - value.length;
    this.left.textContent = left < 200 ? String(left) : "";
    this.left.classList.toggle("over", left < 0);
    if (document.activeElement !== this.text || !this.channel) return;
    if (value.startsWith("/") && !this.mode?.edit) return this.#offerCommands(value.slice(1));
    const at = /(?:^|\s)@(\w*)$/.exec(value.slice(0, this.text.selectionStart));
    if (at) return this.#offerMembers(at[1].toLowerCase());
    this.suggest.hide();
  }

  #offerCommands(typed) {
    const all = leaves(this.world.offered(1, this.channel));
    const exact = all.find((command) => typed.startsWith(`${command.name} `));
    if (exact) return this.startCommand(exact, typed.slice(exact.name.length + 1));
    const wanted = typed.trim().toLowerCase();
    const found = all.filter((c) => c.name.startsWith(wanted));
    found.push(...all.filter((c) => !found.includes(c) && (c.name.includes(wanted) || c.description.toLowerCase().includes(wanted))));
    this.suggest.show(this.text, this.world.name(this.world.bot), found.map((command) => ({
      label: `/${command.name}`, description: command.description, mark: avatar(this.world.bot, "tiny"), pick: () => this.startCommand(command),
    })));
  }

  #offerMembers(typed) {
    const { world } = this;
    const found = [...world.members.values()].map((m) => m.user).filter((u) => `${u.username} ${world.name(u)}`.toLowerCase().includes(typed));
    this.suggest.show(this.text, "Members", found.map((user) => ({
      label: world.name(user), description: user.username, mark: avatar(user, "tiny"),
      pick: () => {
        const end = this.text.selectionStart, start = this.text.value.lastIndexOf("@", end - 1);
        // A name with spaces has to be one word in the box.
        this.text.setRangeText(`@${user.username.replaceAll(" ", "_")} `, start, end, "end");
        this.#typed();
      },
    })));
  }

  /** Put a command's options in the place of the text. */
  startCommand(command, rest = "") {
    this.suggest.hide();
    this.mode = null;
    this.#drawNote();
    this.text.value = "";
    this.command = new CommandRow({
      command, world: this.world, api: this.api, channel: this.channel, suggest: this.suggest,
      onsend: (name, options) => { this.leaveCommand(); this.acts.slash(this.channel, name, options); },
      onleave: () => this.leaveCommand(),
    });
    this.slot.replaceChildren(this.command.element);
    if (rest.trim()) this.command.fill(segments(rest, command.options));
    this.command.focus();
  }

  /** Begin a command by its name, with some options filled. */
  try(name, values) {
    const command = leaves(this.world.offered(1, this.channel)).find((c) => c.name === name);
    if (!command) return toast(`/${name} is not there yet; the bot is still starting.`);
    this.startCommand(command);
    this.command.fill(values);
    this.command.focus();
  }

  leaveCommand(focus = true) {
    this.suggest.hide();
    if (!this.command) return;
    this.command = null;
    this.slot.replaceChildren(this.plain);
    if (focus) this.text.focus();
  }

  #key(event) {
    if (this.suggest.key(event) || event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "Escape" && this.mode) {
      event.preventDefault();
      this.#leaveMode();
    } else if (event.key === "ArrowUp" && !this.text.value && !this.mode) {
      const mine = this.world.shown(this.channel.id).filter((m) => m.author.id === this.world.me.id && m.type !== 18).at(-1);
      if (mine) { event.preventDefault(); this.edit(mine); }
    }
  }

  #withMentions(text) {
    let out = text;
    const users = [...this.world.members.values()].map((m) => m.user).sort((a, b) => b.username.length - a.username.length);
    for (const user of users) {
      const name = user.username.replaceAll(" ", "_").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      out = out.replace(new RegExp(`@${name}(?!\\w)`, "gi"), `<@${user.id}>`);
    }
    return out;
  }

  async #send() {
    const text = this.#withMentions(this.text.value.trim()), { mode, files, channel } = this;
    if (!text && !files.length) return;
    if (this.text.value.startsWith("/") && !mode?.edit) toast("No command of that name; the text is sent as it is.");
    if (text.length > MOST_CHARACTERS) return toast(`A message has at most ${MOST_CHARACTERS} characters; this one has ${text.length}.`);
    const written = this.text.value;
    this.text.value = "";
    this.mode = null;
    this.files = [];
    this.#drawNote();
    this.#drawFiles();
    this.#typed();
    try {
      if (mode?.edit) await this.api.act("edit", { message: mode.edit.id, text });
      else {
        const encoded = await Promise.all(files.map((file) => encodeFile(file)));
        const reply = mode?.reply ? { reply_to: mode.reply.id, ping: mode.ping } : {};
        await this.api.act("send", { channel: channel.id, text, files: encoded, ...reply });
      }
    } catch (error) {
      toast(error.message);
      // Nothing that was written is lost.
      if (this.channel === channel && !this.text.value) {
        Object.assign(this, { mode, files });
        this.text.value = written;
        this.#drawNote();
        this.#drawFiles();
        this.#typed();
      }
    }
  }
}

/** Read `a cat depth: 2` as options: what comes before the first name belongs to the first option. */
function segments(text, options) {
  const names = options.map((o) => o.name).join("|");
  if (!names) return {};
  const parts = text.split(new RegExp(`(?:^|\\s)(${names}):\\s*`));
  const out = {};
  if (parts[0].trim()) out[options[0].name] = parts[0].trim();
  for (let i = 1; i < parts.length; i += 2) out[parts[i]] = parts[i + 1].trim();
  return out;
}
