import { useEffect, useState } from "react";
import type { Config } from "../api/config.js";
import type { Assistant } from "../session/assistant.js";
import { useStore } from "./hooks.js";
import { Icon } from "./Icon.js";

interface ConversationsProps {
  assistant: Assistant;
  config: Config;
  /** On narrow screens it covers the page while it is open. */
  open: boolean;
  /** Something was chosen: the page is wanted again. */
  chosen: () => void;
  showMyData: () => void;
}

/** Past conversations: search, open, or begin another. */
export function Conversations({ assistant, config, open, chosen, showMyData }: ConversationsProps) {
  const { conversations, conversationId } = useStore(assistant.store);
  const [query, setQuery] = useState("");
  const words = query.trim();
  const { found, searching, searchInside } = useSearch(assistant, words);
  const wanted = words.toLocaleLowerCase();
  const shown = (conversations ?? []).filter(
    ({ title, conversation_id }) => !wanted || title.toLocaleLowerCase().includes(wanted) || found.has(conversation_id),
  );
  return (
    <nav id="conversations" className={open ? "open" : ""} aria-label="Conversations">
      <button
        type="button"
        className="primary"
        onClick={() => {
          assistant.startConversation();
          chosen();
        }}
      >
        <Icon name="plus" /> New conversation
      </button>
      {(conversations?.length ?? 0) > 0 && (
        <label className="search">
          <span className="visually-hidden">Search conversations</span>
          <input type="search" placeholder="Search" value={query} onChange={(event) => setQuery(event.target.value)} />
        </label>
      )}
      <p className="quiet result" role="status">
        {words && (searching ? "Searching…" : `${shown.length || "No"} ${shown.length === 1 ? "conversation" : "conversations"} found`)}
      </p>
      <ul id="conversation-list">
        {shown.map(({ conversation_id, title, updated_at }) => (
          <li key={conversation_id}>
            <button
              type="button"
              aria-current={conversation_id === conversationId || undefined}
              onClick={() => {
                void assistant.openConversation(conversation_id);
                chosen();
              }}
            >
              <span className="title">{title || "Untitled"}</span>
              <time className="quiet" dateTime={updated_at}>
                {day(updated_at)}
              </time>
            </button>
          </li>
        ))}
      </ul>
      {words && (
        <button type="button" className="plain" onClick={searchInside} disabled={searching}>
          Search inside them too
        </button>
      )}
      <button type="button" className="plain my-data" onClick={showMyData}>
        <Icon name="person" /> My data
      </button>
      <About config={config} />
    </nav>
  );
}

/** The conversations whose texts hold the words; asked for, because each of them has to be read. */
function useSearch(assistant: Assistant, words: string) {
  const [found, setFound] = useState<ReadonlySet<string>>(new Set());
  const [search, setSearch] = useState<AbortController | null>(null);
  useEffect(() => {
    setFound(new Set());
    return () => setSearch((running) => (running?.abort(), null));
  }, [words]);
  const searchInside = (): void => {
    const running = new AbortController();
    setSearch(running);
    const add = (id: string): void => setFound((before) => new Set([...before, id]));
    void assistant.search(words, add, running.signal).finally(() => setSearch((now) => (now === running ? null : now)));
  };
  return { found, searching: search !== null, searchInside };
}

/** In the sandbox others answer than those that the assistant names: say who. */
function About({ config }: { config: Config }) {
  const parts = [
    ["Answers", config.model],
    ["Finds passages", config.embedder],
    ["Listens", config.recogniser],
  ].filter((part): part is [string, string] => Boolean(part[1]));
  if (!parts.length) return null;
  return (
    <footer className="about quiet">
      <dl>
        {parts.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </footer>
  );
}

function day(time: string): string {
  const date = new Date(time);
  const now = new Date();
  const today = date.toDateString() === now.toDateString();
  if (today) return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const sameYear = date.getFullYear() === now.getFullYear();
  return date.toLocaleDateString([], { day: "numeric", month: "short", ...(!sameYear && { year: "numeric" }) });
}
