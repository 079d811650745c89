// Returns what a screen reader or a keyboard would stumble over: names that are missing, ids that are there
// twice or nowhere, tab stops out of order.
const text = (id) => document.getElementById(id)?.innerText ?? "";
const name = (e) =>
  e.getAttribute("aria-label") ||
  [...(e.labels ?? [])].map((label) => label.innerText).join("") ||
  (e.getAttribute("aria-labelledby") ?? "").split(" ").map(text).join("") ||
  e.innerText || e.title || "";
const brief = (e) => e.outerHTML.slice(0, 120);
const roles = ["option", "dialog", "listbox", "menu", "menuitem", "toolbar"].map((role) => `[role=${role}]`);
const named = ["button", "a[href]", "input", "textarea", "dialog", "nav", ...roles].join();
const relations = ["aria-labelledby", "aria-describedby", "aria-controls", "aria-activedescendant"];
const bad = [];
for (const e of document.querySelectorAll(named)) {
  if (e.checkVisibility({ visibilityProperty: true }) && !name(e).trim()) bad.push(`no name: ${brief(e)}`);
}
for (const e of document.querySelectorAll("img:not([alt])")) bad.push(`no alt: ${e.src}`);
for (const e of document.querySelectorAll("[tabindex]")) if (e.tabIndex > 0) bad.push(`tab order: ${brief(e)}`);
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) bad.push(`twice: #${id}`);
for (const relation of relations) {
  for (const e of document.querySelectorAll(`[${relation}]`)) {
    const lost = e.getAttribute(relation).split(" ").filter((id) => id && !document.getElementById(id));
    if (lost.length) bad.push(`${relation} leads nowhere: ${lost}`);
  }
}
return bad;
