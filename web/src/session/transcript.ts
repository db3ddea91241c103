import type { Citation, Conversation, Knowledge, Medium, Usage } from "../api/api.js";
import type { ToolNotice } from "../protocol/messages.js";
import { Store } from "./store.js";

export interface ToolUse {
  name: string;
  status: ToolNotice["status"];
}

/** One message of the conversation as the page shows it. */
export interface Message {
  key: string;
  role: "user" | "assistant";
  medium: Medium;
  text: string;
  /** `waiting`: nothing to read yet; `writing`: more comes. */
  state: "waiting" | "writing" | "done" | "failed";
  tools: ToolUse[];
  citations: Citation[];
  model?: string;
  knowledge?: Knowledge;
  usage?: Usage;
  /** The user spoke into it. */
  interrupted?: boolean;
  error?: unknown;
  /** Asks once more; there is none for what cannot succeed. */
  retry?: (() => void) | undefined;
}

/** The messages of the open conversation, oldest first. */
export class Transcript {
  readonly store = new Store<{ messages: readonly Message[] }>({ messages: [] });

  clear(): void {
    this.store.set({ messages: [] });
  }

  show(conversation: Conversation): void {
    const messages = conversation.turns.map((turn): Message => {
      const { turn_id, role, medium, message, citations = [], model, knowledge, usage } = turn;
      const key = `${turn_id}/${role}`;
      return { key, role, medium, text: message, state: "done", tools: [], citations, ...defined({ model, knowledge, usage }) };
    });
    this.store.set({ messages });
  }

  find(key: string): Message | undefined {
    return this.store.get().messages.find((message) => message.key === key);
  }

  /** Change the message of this key, or append one. */
  put(key: string, change: Partial<Omit<Message, "key">> & Pick<Message, "role" | "medium">): void {
    if (this.update(key, change)) return;
    const fresh: Message = { key, text: "", state: "writing", tools: [], citations: [], ...change };
    this.store.set({ messages: [...this.store.get().messages, fresh] });
  }

  /** False when there is no such message. */
  update(key: string, change: Partial<Omit<Message, "key">>): boolean {
    const { messages } = this.store.get();
    const at = messages.findIndex((message) => message.key === key);
    const known = messages[at];
    if (!known) return false;
    this.store.set({ messages: messages.with(at, { ...known, ...change }) });
    return true;
  }

  /** Give a message the key by which the service calls it. */
  rename(key: string, name: string): void {
    const { messages } = this.store.get();
    this.store.set({ messages: messages.map((message) => (message.key === key ? { ...message, key: name } : message)) });
  }

  remove(key: string): void {
    this.store.set({ messages: this.store.get().messages.filter((message) => message.key !== key) });
  }

  /** A tool is used for the answer of this key. */
  tool(key: string, { name, status }: Pick<ToolNotice, "name" | "status">): void {
    const tools = this.find(key)?.tools ?? [];
    const running = tools.findLastIndex((use) => use.name === name && use.status === "started");
    const use: ToolUse = { name, status };
    this.update(key, { tools: status !== "started" && running >= 0 ? tools.with(running, use) : [...tools, use] });
  }
}

function defined<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)) as never;
}
