// What the page knows: filled from the state, kept up by events. Draws nothing; tells what changed.

export const PERMISSIONS = {
  ADMINISTRATOR: 1n << 3n,
  ADD_REACTIONS: 1n << 6n,
  SEND_MESSAGES: 1n << 11n,
  MANAGE_MESSAGES: 1n << 13n,
  ATTACH_FILES: 1n << 15n,
  MANAGE_THREADS: 1n << 34n,
  SEND_MESSAGES_IN_THREADS: 1n << 38n,
};
const STRUCTURE = new Set([
  "CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE",
  "GUILD_MEMBER_ADD", "GUILD_ROLE_CREATE", "COMMANDS",
]);
const TYPING_MS = 10_000;

export class World extends EventTarget {
  constructor(api) {
    super();
    this.api = api;
    this.channels = new Map();
    this.members = new Map(); // user id -> {user, roles, …}
    this.roles = new Map();
    this.commands = [];
    this.messages = new Map(); // channel id -> Map of message id -> message, in order
    this.older = new Map(); // channel id -> whether there are earlier messages
    this.unread = new Map(); // channel id -> how many
    this.typing = new Map(); // channel id -> when it ends
    this.dismissed = new Set(JSON.parse(sessionStorage.getItem("dismissed") ?? "[]"));
    this.open = null; // the channel that is looked at
    this.me = null;
    this.run = "";
    this.sequence = 0;
    this.botOnline = false;
  }

  tell(what, detail = {}) { this.dispatchEvent(new CustomEvent(what, { detail })); }

  /** Ask for everything but the messages, which come channel by channel. */
  async load() {
    const state = await this.api.get("/state?messages=0");
    if (this.run !== state.run) {
      // Another run of the server: what was known may have been changed meanwhile.
      this.messages.clear();
      this.sequence = state.last_event;
      this.run = state.run;
    }
    this.#structure(state);
  }

  #structure(state) {
    this.guild = state.guild;
    this.bot = state.bot;
    this.botOnline = state.bot_connected;
    this.commands = state.commands;
    this.roles = new Map(state.guild.roles.map((role) => [role.id, role]));
    this.members = new Map(state.members.map((member) => [member.user.id, member]));
    this.channels = new Map(state.channels.map((channel) => [channel.id, channel]));
    this.tell("structure");
  }

  /** The people one can act as: members first, who owns the server last. */
  get people() {
    const people = [...this.members.values()].filter((member) => !member.user.bot).map((member) => member.user);
    const owner = (user) => Number(user.id === this.guild.owner_id);
    return people.sort((a, b) => owner(a) - owner(b));
  }

  rank(user) {
    if (user.id === this.guild.owner_id) return "Owner";
    const rights = this.members.get(user.id).roles.map((id) => BigInt(this.roles.get(id)?.permissions ?? 0));
    const moderates = rights.some((r) => r & (PERMISSIONS.MANAGE_MESSAGES | PERMISSIONS.ADMINISTRATOR));
    return moderates ? "Moderator" : "Member";
  }

  actAs(user) {
    this.me = user;
    this.api.as = user.username;
    this.tell("me");
  }

  user(id) {
    return this.members.get(id)?.user ?? { id, username: "unknown", global_name: "Unknown member", bot: false };
  }

  name(user) { return user.global_name ?? user.username; }

  sees(channel) { return this.me !== null && this.me.id in (channel?.permissions_of ?? {}); }

  may(channel, right) {
    const bits = BigInt(channel?.permissions_of?.[this.me.id] ?? 0);
    return Boolean(bits & PERMISSIONS[right]);
  }

  isThread(channel) { return channel.type === 11 || channel.type === 12; }

  title(channel) { return channel.type === 1 ? this.name(this.bot) : channel.name; }

  /** The commands of a kind (1 slash, 3 message) that a member is offered in a channel. */
  offered(kind, channel) {
    const inDm = channel.type === 1;
    return this.commands.filter((command) => {
      if ((command.type ?? 1) !== kind) return false;
      if (command.contexts && !command.contexts.includes(inDm ? 1 : 0)) return false;
      if (inDm && command.dm_permission === false) return false;
      if (command.nsfw && !channel.nsfw && !inDm) return false;
      const needed = command.default_member_permissions;
      if (needed === null || needed === undefined || inDm) return true;
      const mine = BigInt(channel.permissions_of[this.me.id] ?? 0);
      if (BigInt(needed) === 0n) return Boolean(mine & PERMISSIONS.ADMINISTRATOR);
      return (mine & BigInt(needed)) === BigInt(needed);
    });
  }

  /** What a channel shows to the present member, oldest first. */
  shown(channelId) {
    return [...(this.messages.get(channelId)?.values() ?? [])].filter(
      (message) => !message.visible_to || (message.visible_to === this.me.id && !this.dismissed.has(message.id)),
    );
  }

  find(id) {
    for (const inside of this.messages.values()) if (inside.has(id)) return inside.get(id);
    return null;
  }

  dismiss(message) {
    this.dismissed.add(message.id);
    sessionStorage.setItem("dismissed", JSON.stringify([...this.dismissed].slice(-200)));
    this.tell("message", { channel: message.channel_id, id: message.id });
  }

  async visit(channelId) {
    this.open = channelId;
    this.unread.delete(channelId);
    if (!this.messages.has(channelId)) await this.#fetch(channelId);
    this.tell("visit");
  }

  async #fetch(channelId, before) {
    const query = new URLSearchParams({ channel: channelId, limit: 50, ...(before ? { before } : {}) });
    const page = await this.api.get(`/messages?${query}`);
    const known = this.messages.get(channelId) ?? new Map();
    // What events brought while this was on its way is newer.
    const merged = new Map(page.messages.map((message) => [message.id, message]));
    for (const [id, message] of known) merged.set(id, message);
    this.messages.set(channelId, ordered(merged));
    this.older.set(channelId, page.more);
  }

  /** Fetch earlier messages of the open channel. */
  async earlier() {
    const first = this.messages.get(this.open)?.keys().next().value;
    if (!first || !this.older.get(this.open)) return;
    await this.#fetch(this.open, first);
    this.tell("earlier");
  }

  /** Begin anew after the feed was lost for too long. */
  async resync() {
    this.run = "";
    await this.load();
    if (this.open && this.channels.has(this.open)) await this.visit(this.open);
  }

  apply(event) {
    if (event.sequence <= this.sequence) return;
    this.sequence = event.sequence;
    const { kind, data } = event;
    if (kind === "MESSAGE_CREATE" || kind === "MESSAGE_UPDATE") this.#write(data, kind === "MESSAGE_CREATE");
    else if (kind === "MESSAGE_DELETE") this.#erase(data);
    else if (kind.startsWith("MESSAGE_REACTION")) this.#react(kind, data);
    else if (kind === "TYPING_START") this.#type(data);
    else if (kind.startsWith("GATEWAY_")) this.#line(kind);
    else if (kind === "INTERACTION_FAILED") this.tell("failed", data);
    else if (STRUCTURE.has(kind)) this.#askLater();
  }

  #askLater() {
    // Rights come with the state only; several changes at once are one question.
    this.asking ??= setTimeout(async () => {
      this.asking = undefined;
      try { this.#structure(await this.api.get("/state?messages=0")); } catch { /* the line will come back */ }
    }, 40);
  }

  #write(message, isNew) {
    const inside = this.messages.get(message.channel_id);
    const before = inside?.get(message.id);
    message.reactors = message.reactors ?? before?.reactors ?? {};
    if (inside && (isNew || before)) {
      inside.set(message.id, message);
      for (const other of inside.values()) {
        if (other.referenced_message?.id === message.id) {
          other.referenced_message = message;
          this.tell("message", { channel: other.channel_id, id: other.id });
        }
      }
    }
    const channel = this.channels.get(message.channel_id);
    if (isNew && channel) {
      channel.last_message_id = message.id;
      if (channel.message_count !== undefined && ![18, 21].includes(message.type)) channel.message_count += 1;
    }
    if (isNew && !channel) this.#askLater();
    const mine = message.author.id === this.me?.id || (message.visible_to && message.visible_to !== this.me?.id);
    if (isNew && message.channel_id !== this.open && !mine) {
      this.unread.set(message.channel_id, (this.unread.get(message.channel_id) ?? 0) + 1);
      this.tell("unread");
    }
    if (isNew || !(message.flags & 128)) this.typing.delete(message.channel_id);
    const finished = Boolean(before && before.flags & 128 && !(message.flags & 128));
    this.tell("message", { channel: message.channel_id, id: message.id, fresh: isNew || finished });
  }

  #erase(data) {
    const inside = this.messages.get(data.channel_id);
    const channel = this.channels.get(data.channel_id);
    if (channel?.message_count) channel.message_count -= 1;
    inside?.delete(data.id);
    for (const other of inside?.values() ?? []) {
      if (other.referenced_message?.id === data.id) {
        other.referenced_message = null;
        this.tell("message", { channel: other.channel_id, id: other.id });
      }
    }
    this.tell("message", { channel: data.channel_id, id: data.id });
  }

  #react(kind, data) {
    const message = this.messages.get(data.channel_id)?.get(data.message_id);
    if (!message) return;
    const name = data.emoji && (data.emoji.id ? `${data.emoji.name}:${data.emoji.id}` : data.emoji.name);
    const all = message.reactors;
    if (kind === "MESSAGE_REACTION_REMOVE_ALL") message.reactors = {};
    else if (kind === "MESSAGE_REACTION_REMOVE_EMOJI") delete all[name];
    else if (kind === "MESSAGE_REACTION_ADD") all[name] = [...new Set([...(all[name] ?? []), data.user_id])];
    else {
      all[name] = (all[name] ?? []).filter((id) => id !== data.user_id);
      if (!all[name].length) delete all[name];
    }
    this.tell("message", { channel: data.channel_id, id: data.message_id });
  }

  #type(data) {
    this.typing.set(data.channel_id, Date.now() + TYPING_MS);
    this.tell("typing");
    setTimeout(() => this.tell("typing"), TYPING_MS + 50);
  }

  #line(kind) {
    if (kind === "GATEWAY_IDENTIFY" || kind === "GATEWAY_RESUME") this.botOnline = true;
    else if (kind === "GATEWAY_DISCONNECT") this.botOnline = false;
    this.tell("line");
  }
}

function ordered(messages) {
  // Ids are too long for numbers; longer ones are later, equally long ones compare as texts.
  const byId = ([a], [b]) => a.length - b.length || (a < b ? -1 : 1);
  return new Map([...messages].sort(byId));
}
