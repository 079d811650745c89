// Slash commands: what there is, and the row of options that takes the message box's place.

import { encodeFile } from "./api.js";
import { avatar, h, icon } from "./dom.js";

const SUBCOMMAND = 1, GROUP = 2, STRING = 3, INTEGER = 4, BOOLEAN = 5, USER = 6, CHANNEL = 7, ROLE = 8;
const MENTIONABLE = 9, NUMBER = 10, ATTACHMENT = 11;
const KINDS = { [STRING]: "text", [INTEGER]: "whole number", [BOOLEAN]: "true or false", [USER]: "member", [CHANNEL]: "channel", [ROLE]: "role", [MENTIONABLE]: "member or role", [NUMBER]: "number", [ATTACHMENT]: "file" };
const COMPLETE_MS = 150;

/** List every command that can be sent: {name: "settings show", description, options}. */
export function leaves(commands) {
  const out = [];
  const walk = (node, name) => {
    const inner = (node.options ?? []).filter((o) => o.type === SUBCOMMAND || o.type === GROUP);
    if (inner.length) inner.forEach((o) => walk(o, `${name} ${o.name}`));
    else out.push({ name, description: node.description, options: node.options ?? [] });
  };
  commands.forEach((command) => walk(command, command.name));
  return out.sort((a, b) => a.name.localeCompare(b.name));
}

/** Say what an option takes. */
function takes(option) {
  const parts = [KINDS[option.type] ?? "text"];
  const low = option.min_value ?? option.min_length, high = option.max_value ?? option.max_length;
  const unit = option.type === STRING ? " characters" : "";
  if (low && high !== undefined) parts.push(`${low} to ${high}${unit}`);
  else if (high !== undefined) parts.push(option.type === STRING ? `at most ${high}${unit}` : `${low ?? ""}${low === undefined ? "at most " : " to "}${high}`);
  else if (low) parts.push(`at least ${low}${unit}`);
  if (!option.required) parts.push("optional");
  return parts.join(", ");
}

/** The row of options of one command. */
export class CommandRow {
  constructor({ command, world, api, channel, suggest, onsend, onleave }) {
    Object.assign(this, { command, world, api, channel, suggest, onsend, onleave });
    this.fields = new Map();
    // Where the keyboard is when there is nothing to fill in: Enter sends.
    this.name = h("span", { class: "command-name", tabindex: "-1", role: "note", "aria-label": `/${command.name}: Enter sends it` }, `/${command.name}`);
    this.row = h("div", { class: "command-fields" });
    this.hint = h("div", { class: "command-hint", id: "command-hint" });
    this.more = h("div", { class: "command-more", role: "group", "aria-label": "More options" });
    this.element = h("div", { class: "command", role: "group", "aria-label": `Command /${command.name}` },
      h("div", { class: "command-about" }, this.hint, this.more,
        h("button", { type: "button", class: "icon-button small", "aria-label": "Leave the command", title: "Leave the command (Esc)", onclick: () => onleave() }, icon("close"))),
      h("div", { class: "command-line" }, this.name, this.row));
    for (const option of command.options) if (option.required) this.#add(option);
    this.#offerMore();
    this.#explain(null);
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Put the keyboard where the next thing is to be written. */
  focus() {
    const inputs = [...this.fields.values()].map((f) => f.input);
    (inputs.find((input) => !input.value) ?? inputs[0] ?? this.name).focus();
  }

  /** Fill options from text: a lone text goes to the first, `name: value` to others. */
  fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const option = this.command.options.find((o) => o.name === name);
      if (!option) continue;
      const field = this.fields.get(name) ?? this.#add(option);
      field.input.value = value;
      field.input.dispatchEvent(new Event("input"));
    }
    this.suggest.hide();
  }

  #offerMore() {
    const left = this.command.options.filter((o) => !this.fields.has(o.name));
    this.more.replaceChildren(...left.map((option) => h("button", {
      type: "button", class: "more-option", title: option.description, "data-option": option.name,
      onclick: () => { this.#add(option).input.focus(); this.#offerMore(); },
    }, `+ ${option.name}`)));
  }

  #explain(option) {
    if (option) this.hint.replaceChildren(h("b", {}, option.name), ` ${option.description} `, h("span", { class: "faint" }, takes(option)));
    else this.hint.replaceChildren(this.command.description ?? "");
  }

  #add(option) {
    const id = `option-${option.name}`;
    const isFile = option.type === ATTACHMENT;
    const completes = !isFile && (option.autocomplete || option.choices?.length || [BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE].includes(option.type));
    const long = option.type === STRING && !completes;
    const input = isFile
      ? h("input", { type: "file", id })
      : h(long ? "textarea" : "input", {
        id, rows: long ? 1 : null, type: long ? null : "text", autocomplete: "off", spellcheck: "false",
        inputmode: option.type === INTEGER ? "numeric" : option.type === NUMBER ? "decimal" : null,
        role: completes ? "combobox" : null, "aria-expanded": completes ? "false" : null, "aria-autocomplete": completes ? "list" : null,
      });
    input.setAttribute("aria-describedby", "command-hint");
    input.setAttribute("data-option", option.name);
    if (option.required) input.setAttribute("aria-required", "true");
    const holder = h("div", { class: long ? "option long" : "option" }, h("label", { for: id }, option.name), input,
      !option.required && h("button", { type: "button", class: "option-remove", "aria-label": `Remove ${option.name}`, onclick: () => this.#remove(option) }, icon("close")));
    const field = { option, input, holder, value: null, chosen: null };
    this.fields.set(option.name, field);
    this.row.append(holder);
    input.addEventListener("focus", () => { this.#explain(option); if (completes) this.#complete(field); });
    input.addEventListener("blur", () => { this.suggest.hide(); this.#explain(null); });
    input.addEventListener("input", () => {
      field.chosen = null;
      this.#wrong(field, "");
      if (long) grow(input);
      if (completes) this.#complete(field);
    });
    return field;
  }

  #remove(option) {
    this.fields.get(option.name).holder.remove();
    this.fields.delete(option.name);
    this.#offerMore();
    this.focus();
  }

  #wrong(field, text) {
    field.holder.classList.toggle("wrong", Boolean(text));
    field.input.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) this.hint.replaceChildren(h("b", {}, field.option.name), " ", h("span", { class: "form-error", role: "alert" }, text));
  }

  #complete(field) {
    const { option, input } = field;
    const typed = input.value.trim().toLowerCase();
    const offer = (items) => {
      if (document.activeElement !== input) return;
      this.suggest.show(input, option.description || option.name, items.slice(0, 25).map((item) => ({
        ...item,
        pick: () => {
          input.value = item.label;
          field.chosen = item;
          this.#next(field);
        },
      })), { first: Boolean(typed) || !option.autocomplete });
    };
    const matching = (items) => items.filter((item) => item.label.toLowerCase().includes(typed.replace(/^[@#]/, "")));
    if (option.autocomplete) {
      clearTimeout(field.timer);
      field.timer = setTimeout(async () => {
        const asked = input.value;
        try {
          const options = this.#soFar(field);
          const choices = await this.api.act("autocomplete", { channel: this.channel.id, name: this.command.name, focused: option.name, typed: asked, options });
          if (asked === input.value) offer(choices.map((c) => ({ label: String(c.name), value: c.value })));
        } catch { this.suggest.hide(); }
      }, COMPLETE_MS);
    } else if (option.choices?.length) offer(matching(option.choices.map((c) => ({ label: c.name, value: c.value }))));
    else if (option.type === BOOLEAN) offer(matching([{ label: "True", value: true }, { label: "False", value: false }]));
    else offer(matching(this.#entities(option)));
  }

  #entities(option) {
    const { world } = this;
    const people = [...world.members.values()].map(({ user }) => ({ label: world.name(user), description: user.username, value: { user: user.id }, mark: avatar(user, "tiny") }));
    const roles = [...world.roles.values()].filter((r) => r.id !== world.guild.id).map((r) => ({ label: r.name, value: { role: r.id } }));
    if (option.type === USER) return people;
    if (option.type === ROLE) return roles;
    if (option.type === MENTIONABLE) return [...people, ...roles];
    return [...world.channels.values()]
      .filter((c) => c.type !== 1 && world.sees(c) && (!option.channel_types?.length || option.channel_types.includes(c.type)))
      .map((c) => ({ label: c.name, value: { channel: c.id } }));
  }

  #soFar(except) {
    const out = {};
    for (const field of this.fields.values()) {
      if (field === except || field.option.type === ATTACHMENT) continue;
      try {
        const value = this.#read(field);
        if (value !== undefined) out[field.option.name] = value;
      } catch { /* not yet something */ }
    }
    return out;
  }

  /** Return a field's value; undefined for an optional one left empty. Throws what is wrong with it. */
  #read({ option, input, chosen }) {
    const text = input.value.trim();
    if (!text) {
      if (option.required) throw new Error("is required.");
      return undefined;
    }
    if (chosen) return chosen.value;
    if (option.choices?.length) {
      const choice = option.choices.find((c) => c.name.toLowerCase() === text.toLowerCase());
      if (!choice) throw new Error("takes one of the choices in the list.");
      return choice.value;
    }
    switch (option.type) {
      case INTEGER:
      case NUMBER: {
        const number = Number(text);
        if (Number.isNaN(number) || (option.type === INTEGER && !/^[+-]?\d+$/.test(text))) throw new Error(`takes a ${KINDS[option.type]}.`);
        if (number < (option.min_value ?? -Infinity) || number > (option.max_value ?? Infinity)) throw new Error(`takes ${option.min_value ?? "anything"} to ${option.max_value ?? "anything"}.`);
        return number;
      }
      case BOOLEAN:
        if (!/^(true|false|yes|no)$/i.test(text)) throw new Error("takes True or False.");
        return /^(true|yes)$/i.test(text);
      case USER: case CHANNEL: case ROLE: case MENTIONABLE: {
        const wanted = text.toLowerCase().replace(/^[@#]/, "");
        const found = this.#entities(option).find((e) => [e.label, e.description].some((t) => t?.toLowerCase() === wanted));
        if (!found) throw new Error(`takes a ${KINDS[option.type]} from the list.`);
        return found.value;
      }
      default:
        if (text.length < (option.min_length ?? 0)) throw new Error(`takes at least ${option.min_length} characters.`);
        if (option.max_length && text.length > option.max_length) throw new Error(`takes at most ${option.max_length} characters; this is ${text.length}.`);
        return text;
    }
  }

  async #values() {
    const out = {};
    for (const field of this.fields.values()) {
      try {
        if (field.option.type === ATTACHMENT) {
          const [file] = field.input.files;
          if (!file && field.option.required) throw new Error("is required.");
          if (file) out[field.option.name] = await encodeFile(file, "file");
          continue;
        }
        const value = this.#read(field);
        if (value !== undefined) out[field.option.name] = value;
      } catch (error) {
        field.input.focus();
        this.#wrong(field, error.message);
        return null;
      }
    }
    return out;
  }

  async send() {
    const options = await this.#values();
    if (options) this.onsend(this.command.name, options);
  }

  #next(field) {
    const inputs = [...this.fields.values()].map((f) => f.input);
    const empty = inputs.slice(inputs.indexOf(field.input) + 1).find((input) => !input.value);
    empty?.focus();
  }

  #key(event) {
    if (event.isComposing) return;
    const field = this.fields.get(event.target.dataset?.option);
    const isInput = field && event.target === field.input;
    if (isInput && this.suggest.key(event)) return;
    if (event.key === "Escape") {
      event.preventDefault();
      this.onleave();
    } else if ((isInput || event.target === this.name) && event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.target === this.name && event.key === "Backspace") {
      event.preventDefault();
      this.onleave();
    } else if (isInput && event.key === "Backspace" && !event.target.value && event.target.type !== "file") {
      event.preventDefault();
      if (!field.option.required) this.#remove(field.option);
      else if (![...this.fields.values()].some((f) => f.input.value)) this.onleave();
    }
  }
}

/** Let a box be as high as its text. */
export function grow(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
