// The outbox: answers that the server has not yet taken, kept in this browser.
//
// Each item lies in localStorage under a name of its own (person, project, key), so that two tabs never overwrite each
// other and another person's sign-in neither sends nor sees it. Items go out in order, one at a time. An item leaves only
// on a definitive answer: taken, or refused for good. Sending one twice is harmless: its key is made here, once.
"use strict";
window.Prefloop = window.Prefloop || {};

Prefloop.uuid = () => {
  if (crypto.randomUUID) return crypto.randomUUID();
  // Plain http on a local network has no randomUUID.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
};

// POSTs a form. Resolves to {outcome, body, status}; outcome is "ok", "refused" (definitive), "signed_out",
// "other_person" or "away" (the server cannot be reached, or cannot answer now).
Prefloop.post = async (url, fields, { html = false } = {}) => {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? document.querySelector("meta[name=csrf-token]").content;
  const sent = new URLSearchParams(fields).toString();
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      body: sent,
      headers: { "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8", Accept: html ? "application/json, text/html" : "application/json", "X-CSRFToken": token },
      redirect: "manual",
      keepalive: sent.length < 60_000, // browsers refuse longer ones
      signal: AbortSignal.timeout?.(20_000),
    });
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const body = isJson ? await response.json() : await response.text();
    return { outcome: outcomeOf(response, body), body, status: response.status };
  } catch {
    return { outcome: "away", body: null, status: 0 };
  }

  function outcomeOf({ ok, type, status }, body) {
    if (ok) return "ok";
    if (body?.code === "other_person") return "other_person";
    if (type === "opaqueredirect" || [401, 403, 404].includes(status)) return "signed_out";
    if (status >= 500 || status === 408 || status === 429) return "away";
    return "refused";
  }
};

Prefloop.Outbox = class {
  // addresses: {kind: url}. onSettled(item, result): an item has left. onChange(): something else changed.
  constructor({ person, project, addresses, onSettled, onChange }) {
    this.prefix = `prefloop.outbox.${person}.${project}.`;
    this.addresses = addresses;
    this.onSettled = onSettled;
    this.onChange = onChange;
    this.memory = new Map(); // where localStorage is closed or full
    this.trouble = ""; // why the last attempt failed: "away", "signed_out", "other_person" or nothing
    this.failures = 0;
    this.sending = null;
    this.waiters = [];
    window.addEventListener("online", () => this.flush());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.flush());
    window.addEventListener("focus", () => this.flush());
  }

  items() {
    const items = [...this.memory.values()];
    try {
      for (let index = 0; index < localStorage.length; index += 1) {
        const name = localStorage.key(index);
        if (!name.startsWith(this.prefix)) continue;
        try {
          items.push(JSON.parse(localStorage.getItem(name)));
        } catch {
          localStorage.removeItem(name); // not ours to send: it is no item
        }
      }
    } catch {
      // Closed: the items in memory are all there are.
    }
    return items.sort((one, other) => one.at - other.at);
  }

  get size() {
    return this.items().length;
  }

  holds(assignment) {
    return this.items().some((item) => item.fields.assignment === assignment);
  }

  add(kind, fields, label) {
    const item = { id: fields.key || Prefloop.uuid(), at: Date.now(), kind, fields, label };
    try {
      localStorage.setItem(this.prefix + item.id, JSON.stringify(item));
    } catch {
      this.memory.set(item.id, item);
    }
    this.flush();
    return item;
  }

  remove(item) {
    this.memory.delete(item.id);
    try {
      localStorage.removeItem(this.prefix + item.id);
    } catch {
      // It was in memory only.
    }
  }

  // One attempt to send everything. Resolves to whether the outbox is empty.
  flush() {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
      this.onChange();
      if (this.size === 0) this.waiters.splice(0).forEach((resolve) => resolve());
      else this.retryLater();
    });
    return this.sending;
  }

  async sendAll() {
    clearTimeout(this.timer);
    for (let item = this.items()[0]; item; item = this.items()[0]) {
      const result = await Prefloop.post(this.addresses[item.kind], item.fields);
      if (result.outcome !== "ok" && result.outcome !== "refused") {
        this.trouble = result.outcome;
        this.failures += 1;
        return false;
      }
      this.trouble = "";
      this.failures = 0;
      this.remove(item);
      this.onSettled(item, result);
    }
    this.trouble = ""; // another tab may have sent what this one could not
    this.failures = 0;
    return true;
  }

  retryLater() {
    const seconds = Math.min(30, 2 ** Math.max(0, this.failures - 1));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), seconds * 1000 * (0.8 + 0.4 * Math.random()));
  }

  // Resolves when nothing waits any more.
  drained() {
    if (this.size === 0 && !this.sending) return Promise.resolve();
    const waiting = new Promise((resolve) => this.waiters.push(resolve));
    this.flush();
    return waiting;
  }
};
