// The emoji picker.

import { h } from "./dom.js";
import { closeFloating, float } from "./floating.js";

const RECENT = "playground-emoji";
const USUAL = "🔁 👍 ❤️ 😂 🎉 😮";
// Group, then "emoji words" separated by bars.
const GROUPS = {
  "This bot": "🔁 repeat again deeper recursion|✏️ pencil edit tweak|🎲 die dice seed random|↩️ back undo return|🌿 branch herb leaf|🔒 lock keep|🔓 unlock open|🗑️ delete waste bin trash|⭐ star gallery|✉️ envelope mail dm|🎨 palette art paint|👀 eyes look seen|🔕 bell mute|🖼️ picture frame|❌ cross no cancel|⏹️ stop|▶️ play start|🆕 new",
  "Smileys": "😀 grin happy|😃 smile|😄 laugh|😁 beam|😅 sweat|😂 joy tears lol|🤣 rofl|🙂 slight smile|🙃 upside down|😉 wink|😊 blush|😇 angel|🥰 love hearts|😍 heart eyes|🤩 star struck wow|😘 kiss|😋 yum|😜 tongue wink|🤪 zany|🤔 thinking hmm|🤨 eyebrow|😐 neutral|😶 no mouth|🙄 eye roll|😏 smirk|😬 grimace|😌 relieved|😴 sleep|🤤 drool|😎 cool sunglasses|🤓 nerd|🧐 monocle|😕 confused|😟 worried|🙁 frown|😮 wow open mouth|😲 astonished|🥺 pleading|😢 cry|😭 sob|😱 scream|😤 triumph|😡 angry rage|🤯 mind blown|🥳 party|😳 flushed|🥶 cold|🥵 hot|🤗 hug|🤭 giggle|🤫 shush|🫡 salute|🫠 melt|💀 skull dead|👻 ghost|🤖 robot bot|👽 alien|😺 cat grin|😻 cat love",
  "Hands and people": "👍 thumbs up yes like|👎 thumbs down no|👌 ok|✌️ victory peace|🤞 fingers crossed|🤘 rock|👏 clap|🙌 raise hooray|👐 open hands|🤝 handshake|🙏 thanks please pray|💪 strong muscle|👋 wave hello bye|✋ hand stop|🤙 call|👉 point right|👈 point left|👆 point up|👇 point down|🫶 heart hands|✍️ write|🧑 person|👩 woman|👨 man|👧 girl|👦 boy|🧑‍🎨 artist|🕺 dance|🚶 walk",
  "Hearts and signs": "❤️ red heart love|🧡 orange heart|💛 yellow heart|💚 green heart|💙 blue heart|💜 purple heart|🖤 black heart|🤍 white heart|💔 broken heart|💯 hundred|✅ check done yes|☑️ checkbox|✔️ tick|❎ cross|❓ question|❗ exclamation|⚠️ warning|🚫 forbidden|⛔ no entry|♻️ recycle|🔄 refresh|➕ plus|➖ minus|🔝 top|🔜 soon|🆗 ok|🔥 fire lit|✨ sparkles|💥 boom|💡 idea bulb|💤 sleep|🎯 target|🏆 trophy|🥇 gold medal|🎉 party tada|🎊 confetti|🎁 gift",
  "Clothes and things": "👒 hat|🎩 top hat|🧢 cap|👓 glasses|🕶️ sunglasses|👔 shirt tie|👕 shirt|👗 dress|👖 jeans trousers|🧥 coat jacket|🧣 scarf|🧤 gloves|👜 handbag bag|🎒 backpack bag|👟 shoe sneaker|👠 heel shoe|👢 boot|☂️ umbrella|🔑 key|🔨 hammer|🪄 wand magic|📷 camera|📱 phone|💻 laptop|📌 pin|📎 clip|✂️ scissors|📖 book|📝 memo note|⏳ hourglass wait|⏰ alarm clock|🔔 bell|🔍 search|🔗 link|🏮 lantern lamp",
  "Nature and places": "🐶 dog|🐱 cat|🦊 fox|🐻 bear|🐼 panda|🐸 frog|🐧 penguin|🐦 bird|🦋 butterfly|🐝 bee|🐢 turtle|🐙 octopus|🌱 seedling|🌲 tree|🌳 tree|🌵 cactus|🌸 blossom|🌹 rose|🌻 sunflower|🍁 leaf autumn|🌈 rainbow|☀️ sun|⛅ cloud sun|☁️ cloud sky|🌧️ rain|❄️ snow|🌙 moon night|🌟 star glow|🌊 wave sea|🏙️ city|🌃 night city|🌆 sunset city|🏠 house|🏫 school|🚗 car|🚲 bicycle|🚌 bus|🚀 rocket|✈️ plane",
  "Food": "🍎 apple|🍌 banana|🍓 strawberry|🍉 melon|🥑 avocado|🍞 bread|🧀 cheese|🍕 pizza|🍔 burger|🍟 fries|🍜 noodles|🍣 sushi|🍰 cake|🎂 birthday|🍪 cookie|🍫 chocolate|☕ coffee|🍵 tea|🍺 beer|🥂 cheers",
};

function entries(text) {
  return text.split("|").map((entry) => {
    const [emoji, ...words] = entry.split(" ");
    return { emoji, words: words.join(" ") };
  });
}

function recent() {
  const kept = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
  return [...new Set([...kept, ...USUAL.split(" ")])].slice(0, 9);
}

/** Let a member pick an emoji; `chosen(emoji)` is called once. */
export function pickEmoji(place, chosen) {
  const all = Object.entries(GROUPS).map(([group, text]) => [group, entries(text)]);
  const named = new Map(all.flatMap(([, list]) => list.map(({ emoji, words }) => [emoji, words])));
  const search = h("input", { type: "text", class: "emoji-search", placeholder: "Find an emoji", "aria-label": "Find an emoji", autocomplete: "off" });
  const area = h("div", { class: "emoji-area" });
  const preview = h("div", { class: "emoji-preview", "aria-hidden": "true" }, "Pick one");
  const pick = (emoji) => {
    localStorage.setItem(RECENT, JSON.stringify([emoji, ...recent().filter((e) => e !== emoji)].slice(0, 9)));
    closeFloating();
    chosen(emoji);
  };
  const cell = (emoji, words) => h("button", { type: "button", class: "emoji-cell", tabindex: "-1", "aria-label": `${emoji} ${words}`, "data-emoji": emoji, title: words, onclick: () => pick(emoji) }, emoji);
  function draw() {
    const wanted = search.value.trim().toLowerCase();
    area.replaceChildren();
    const sections = wanted
      ? [["Found", [...named].filter(([e, words]) => words.includes(wanted) || e === wanted).map(([emoji, words]) => ({ emoji, words }))]]
      : [["Often used", recent().map((emoji) => ({ emoji, words: named.get(emoji) ?? "" }))], ...all];
    for (const [group, list] of sections) {
      area.append(h("div", { class: "emoji-group", role: "group", "aria-label": group },
        h("div", { class: "emoji-title", "aria-hidden": "true" }, group),
        h("div", { class: "emoji-grid" }, list.map(({ emoji, words }) => cell(emoji, words)))));
    }
    if (wanted && !sections[0][1].length) area.append(h("div", { class: "faint nothing" }, "No emoji of that name here. Any emoji can be pasted into the search and taken with Enter."));
  }
  search.addEventListener("input", draw);
  const panel = h("div", { class: "emoji-picker", role: "dialog", "aria-label": "Emoji picker" }, search, area, preview);
  panel.addEventListener("focusin", ({ target }) => { if (target.dataset.emoji) preview.textContent = target.getAttribute("aria-label"); });
  panel.addEventListener("pointerover", ({ target }) => { if (target.dataset?.emoji) preview.textContent = target.getAttribute("aria-label"); });
  panel.addEventListener("keydown", (event) => {
    const cells = [...area.querySelectorAll(".emoji-cell")], at = cells.indexOf(document.activeElement);
    if (event.key === "Enter" && event.target === search) {
      event.preventDefault();
      const pasted = /\p{Extended_Pictographic}|\p{Regional_Indicator}/u.test(search.value);
      if (cells.length) pick(cells[0].dataset.emoji);
      else if (pasted) pick(search.value.trim());
      return;
    }
    if (event.target === search && !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const width = Math.max(1, Math.floor(area.querySelector(".emoji-grid")?.clientWidth / (cells[0]?.offsetWidth || 1)));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at < 0 ? 0 : at + width, ArrowUp: at - width }[event.key];
    if (to === undefined) {
      if (event.key.length === 1 && event.target !== search && event.key !== " ") search.focus();
      return;
    }
    event.preventDefault();
    if (to < 0) search.focus();
    else cells[Math.min(to, cells.length - 1)]?.focus();
  });
  draw();
  float(panel, place, { focus: search, align: "end" });
}
