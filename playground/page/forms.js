// A form that the bot opened (Discord's modal).

import { select } from "./components.js";
import { h, icon } from "./dom.js";
import { markdown } from "./markdown.js";

const ROW = 1, INPUT = 4, TEXT = 10, LABEL = 18;
let counter = 0;

/** Show a modal; `submit(values)` sends it and throws what went wrong. */
export function showForm(modal, world, submit) {
  const back = document.activeElement;
  const values = {};
  const fields = [];
  const title = `form-${++counter}`;
  const wrong = h("p", { class: "form-error", role: "alert" });
  const send = h("button", { type: "submit", class: "button" }, "Submit");
  const form = h("form", { novalidate: true }, modal.components.map((c) => part(c)), wrong,
    h("div", { class: "dialog-actions" },
      h("button", { type: "button", class: "button plain", onclick: () => dialog.close() }, "Cancel"), send));
  const dialog = h("dialog", { class: "dialog form", "aria-labelledby": title },
    h("header", {}, h("h2", { id: title }, modal.title),
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    h("p", { class: "form-note" }, `This form will be submitted to ${world.name(world.bot)}.`), form);

  function part(component) {
    if (component.type === ROW) return component.components.map((inner) => field(inner, inner.label, null));
    if (component.type === LABEL) return field(component.component, component.label, component.description);
    if (component.type === TEXT) return h("div", { class: "form-text" }, markdown(component.content, world));
    return null;
  }

  function field(component, label, description) {
    const id = `field-${++counter}`, required = component.required !== false;
    const note = description && h("div", { class: "faint", id: `${id}-note` }, description);
    const error = h("div", { class: "form-error", id: `${id}-error` });
    const described = [note && `${id}-note`, `${id}-error`].filter(Boolean).join(" ");
    const name = h("label", { for: component.type === INPUT ? id : null, id: `${id}-label` }, label ?? component.label ?? "",
      required && h("span", { class: "required", "aria-hidden": "true" }, " *"));
    let control, check;
    if (component.type === INPUT) {
      const long = component.style === 2;
      control = h(long ? "textarea" : "input", {
        id, name: component.custom_id, value: component.value ?? "", placeholder: component.placeholder, "aria-required": String(required), "aria-describedby": described,
        maxlength: component.max_length ?? 4000, rows: long ? 4 : null, type: long ? null : "text", autocomplete: "off",
      });
      values[component.custom_id] = control.value;
      const least = component.min_length ?? 0;
      check = () => {
        values[component.custom_id] = control.value;
        if (required && !control.value) return "This field is required.";
        return control.value && control.value.length < least ? `Write at least ${least} characters.` : "";
      };
      if (component.max_length) {
        const count = h("span", { class: "count faint", "aria-hidden": "true" });
        const tell = () => { count.textContent = `${control.value.length} / ${component.max_length}`; };
        control.addEventListener("input", tell);
        tell();
        name.append(count);
      }
    } else {
      const offered = component.options ?? [];
      values[component.custom_id] = offered.filter((o) => o.default).map((o) => o.value);
      control = select(component, world, {
        key: component.custom_id, immediate: false, describedBy: described, label: label ?? component.placeholder, disabled: component.disabled,
        onchange: (chosen) => { values[component.custom_id] = chosen; },
      });
      const least = component.min_values ?? 1;
      check = () => {
        const count = values[component.custom_id].length;
        return (required || count) && count < least ? "Make a selection." : "";
      };
    }
    const inside = control.matches("input, textarea") ? control : control.querySelector("button");
    fields.push({ inside, run: () => {
      error.textContent = check();
      inside.setAttribute("aria-invalid", String(Boolean(error.textContent)));
      return !error.textContent;
    } });
    return h("div", { class: "field" }, name, note, control, error);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const bad = fields.filter((f) => !f.run());
    if (bad.length) return bad[0].inside.focus();
    send.disabled = true;
    wrong.textContent = "";
    try {
      await submit(values);
      dialog.close();
    } catch (error) {
      wrong.textContent = error.message; // the form stays, with what was written
      send.disabled = false;
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (back?.isConnected) back.focus();
    else document.getElementById("text")?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  fields[0]?.inside.focus();
}
