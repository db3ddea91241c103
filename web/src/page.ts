import type { Citation, ConversationSummary, Turn, Usage } from "./api.js";
import type { AnswerView } from "./chat.js";
import { ParleyError, sentence } from "./errors.js";
import type { ConnectionState } from "./socket.js";
import { type FreshLink, linkToSource } from "./sources.js";

/** The element with this id, which index.html promises. */
export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}.`);
  return found as T;
}

function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  text?: string,
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) node.className = className;
  // Everything that people or models wrote goes in as text, never as HTML.
  if (text !== undefined) node.textContent = text;
  return node;
}

/** The transcript. It stays at its end while the reader is there, and never pulls a reader who has scrolled up. */
export class Transcript {
  constructor(
    private readonly root: HTMLElement,
    private readonly freshLink: FreshLink,
    /** A model that answers in place of the one that is named, as in the sandbox. */
    private readonly standIn?: string,
  ) {
    this.clear();
  }

  clear(): void {
    const empty = make("div", "empty");
    empty.append(
      make("h2", "", "What would you like to know?"),
      make("p", "quiet", "Answers from the documents come with the passages that they rest on."),
    );
    this.root.replaceChildren(empty);
  }

  show(turns: Turn[]): void {
    this.clear();
    for (const turn of turns) {
      if (turn.role === "user") {
        this.question(turn.message);
        continue;
      }
      const view = this.answer();
      view.done({ ...turn, citations: turn.citations ?? [], model: turn.model ?? "" });
      if (turn.usage) view.usage(turn.usage);
    }
    this.root.scrollTop = this.root.scrollHeight;
  }

  question(text: string): void {
    const article = make("article", "turn question");
    article.append(make("h2", "visually-hidden", "You"), make("p", "text", text));
    this.append(article);
    this.root.scrollTop = this.root.scrollHeight;
  }

  notice(text: string): void {
    const note = make("p", "error", text);
    note.setAttribute("role", "alert");
    this.append(note);
  }

  answer(): AnswerView {
    const article = make("article", "turn answer");
    const text = make("p", "text");
    const missing = make("p", "quiet", "Answered without the documents, which cannot be reached just now.");
    missing.hidden = true;
    const sources = make("div", "sources");
    const footer = make("p", "quiet footer");
    const model = make("span", "model");
    const cost = make("span", "cost");
    footer.append(model, cost);
    article.append(make("h2", "visually-hidden", "Parley"), text, missing, sources, footer);
    const waiting = (): void => {
      // Busy: a screen reader speaks the answer once, when it is complete.
      article.setAttribute("aria-busy", "true");
      article.classList.add("waiting");
    };
    const settled = (): void => {
      article.removeAttribute("aria-busy");
      article.classList.remove("waiting");
    };
    waiting();
    this.append(article);
    return {
      text: (words) => this.keepingEnd(() => (text.textContent = words)),
      done: (answer) =>
        this.keepingEnd(() => {
          settled();
          text.textContent = answer.message;
          model.textContent = this.standIn ? `${this.standIn} in place of ${answer.model}` : answer.model;
          missing.hidden = answer.knowledge !== "unavailable";
          sources.replaceChildren(...(answer.citations.length ? [this.citations(answer.citations)] : []));
        }),
      usage: (usage) => this.keepingEnd(() => (cost.textContent = usageLine(usage))),
      failed: (error, retry) =>
        this.keepingEnd(() => {
          settled();
          const note = make("p", "error", sentence(error));
          note.setAttribute("role", "alert");
          sources.replaceChildren(note);
          if (error instanceof ParleyError && !error.retryable) return;
          const again = make("button", "", "Try again");
          again.type = "button";
          again.addEventListener("click", () => {
            if (!retry()) return;
            sources.replaceChildren();
            text.textContent = "";
            waiting();
          });
          sources.append(again);
        }),
    };
  }

  private citations(list: Citation[]): HTMLElement {
    const section = make("section", "citations");
    section.append(make("h3", "", list.length === 1 ? "Source" : "Sources"));
    const items = make("ol", "");
    for (const citation of list) {
      const link = make("a", "source");
      const place = [citation.heading, citation.page && `page ${citation.page}`].filter(Boolean).join(", ");
      link.append(
        make("span", "number", `[${citation.id}]`),
        make("span", "document", citation.document),
        make("span", "heading", place),
      );
      linkToSource(link, citation, this.freshLink, (error) => this.notice(sentence(error)));
      const details = make("details", "");
      details.append(make("summary", "", "Passage"), make("blockquote", "", citation.text));
      const item = make("li", "");
      item.append(link, details);
      items.append(item);
    }
    section.append(items);
    return section;
  }

  private append(node: HTMLElement): void {
    this.root.querySelector(".empty")?.remove();
    this.keepingEnd(() => this.root.append(node));
  }

  private keepingEnd(change: () => unknown): void {
    const atEnd = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 80;
    change();
    if (atEnd) this.root.scrollTop = this.root.scrollHeight;
  }
}

function usageLine({ input_tokens, output_tokens, cost_usd }: Usage): string {
  const tokens = `${input_tokens.toLocaleString("en")} tokens in, ${output_tokens.toLocaleString("en")} out`;
  if (cost_usd === null || cost_usd === undefined) return tokens;
  // A turn costs fractions of a cent: two significant digits, never in scientific notation.
  const digits = cost_usd === 0 ? 0 : Math.min(8, Math.max(2, 1 - Math.floor(Math.log10(cost_usd))));
  return `${tokens}, $${cost_usd.toFixed(digits)}`;
}

const CONNECTION_WORDS: Record<ConnectionState, string> = {
  connecting: "Connecting",
  open: "Connected",
  lost: "Connection lost, trying again",
  closed: "",
};

export function showConnection(state: ConnectionState): void {
  const node = element("connection");
  node.dataset.state = state;
  node.textContent = CONNECTION_WORDS[state];
}

export function showConversations(
  list: ConversationSummary[],
  current: string | undefined,
  open: (conversationId: string) => void,
): void {
  const items = list.map((conversation) => {
    const button = make("button", "", conversation.title || "Untitled");
    button.type = "button";
    if (conversation.conversation_id === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => open(conversation.conversation_id));
    const item = make("li", "");
    item.append(button);
    return item;
  });
  element("conversation-list").replaceChildren(...items);
}

export interface Field {
  name: string;
  label: string;
  type: "text" | "password";
  autocomplete: AutoFill;
}

/** Fills the sign-in card with labelled fields and puts the cursor into the first. */
export function showSignInFields(hint: string, fields: Field[]): void {
  element("sign-in-hint").textContent = hint;
  const labels = fields.map(({ name, label, type, autocomplete }) => {
    const input = make("input", "");
    Object.assign(input, { name, type, autocomplete, required: true, spellcheck: false, autocapitalize: "none" });
    const node = make("label", "", label);
    node.append(input);
    return node;
  });
  element("sign-in-fields").replaceChildren(...labels);
  element("sign-in-fields").querySelector("input")?.focus();
}
