// The line to the playground: requests as a member, and the feed of what happens.

const KEY = "playground-token";

/** Take the token out of the address, where the terminal's link put it, and keep it for a reload. */
export function takeToken() {
  const given = location.hash.slice(1);
  if (/^[\w-]{20,}$/.test(given)) {
    localStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return localStorage.getItem(KEY) ?? "";
}

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export class Api {
  constructor(token) {
    this.token = token;
    this.as = "";
  }

  async request(method, path, body) {
    let response;
    try {
      response = await fetch(`/playground${path}`, {
        method,
        headers: { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new ApiError(0, "The playground does not answer. Is it still running in the terminal?");
    }
    const data = await response.json().catch(() => ({}));
    if (!response.ok) throw new ApiError(response.status, explain(data, response.status));
    return data;
  }

  get(path) { return this.request("GET", path); }

  /** Do one thing as the present member. */
  act(what, body = {}) { return this.request("POST", "/act", { as: this.as, do: what, ...body }); }

  /** Follow the feed for ever; `after()` tells from where: {run, sequence}. */
  follow({ after, onEvent, onResync, onLine }) {
    let socket = null, wait = 300, timer = 0, stopped = false;
    const open = () => {
      if (stopped) return;
      clearTimeout(timer);
      const { run, sequence } = after();
      const query = new URLSearchParams({ token: this.token, run, after: sequence });
      socket = new WebSocket(`ws://${location.host}/playground/events?${query}`);
      socket.onopen = () => { wait = 300; onLine(true); };
      socket.onmessage = async ({ data }) => {
        const event = JSON.parse(data);
        if (event.kind !== "RESYNC") return onEvent(event);
        // The next connection must ask from the new state on, not race it.
        const mine = socket;
        mine.onclose = null;
        try { await onResync(); } catch { /* tried again with the next connection */ }
        mine.close();
        timer = setTimeout(open, 50);
      };
      socket.onclose = () => {
        onLine(false);
        timer = setTimeout(open, wait);
        wait = Math.min(wait * 1.6, 4000);
      };
    };
    window.addEventListener("online", () => { if (socket?.readyState !== WebSocket.OPEN) { wait = 300; open(); } });
    open();
    return () => { stopped = true; socket?.close(); };
  }
}

function explain(data, status) {
  const details = [];
  const walk = (node) => {
    for (const [key, inner] of Object.entries(node ?? {})) {
      if (key === "_errors") details.push(...inner.map((error) => error.message));
      else if (typeof inner === "object") walk(inner);
    }
  };
  walk(data.errors);
  return [data.message ?? `error ${status}`, ...details].join(" · ");
}

/** Read a file as the API takes it. */
export async function encodeFile(file, key = "name") {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
  return { [key]: file.name, data: url.slice(url.indexOf(",") + 1) };
}
