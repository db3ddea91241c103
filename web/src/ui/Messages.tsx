import { useEffect, useLayoutEffect, useRef } from "react";
import type { Usage } from "../api/api.js";
import type { FreshLink } from "../api/sources.js";
import { sentence } from "../errors.js";
import type { Message, ToolUse } from "../session/transcript.js";
import { Citations } from "./Citations.js";
import { Icon } from "./Icon.js";

interface MessagesProps {
  messages: readonly Message[];
  freshLink: FreshLink;
  failed: (error: unknown) => void;
  /** A model that answers in place of the one that is named, as in the sandbox. */
  standIn: string | undefined;
  voice: boolean;
  inCall: boolean;
}

/** How near to its end a reader counts as being there. */
const END_PIXELS = 80;

/** The transcript. It stays at its end while the reader is there, and never pulls a reader who has scrolled up. */
export function Messages({ messages, inCall, voice, ...rest }: MessagesProps) {
  const root = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const lastQuestion = messages.findLast((message) => message.role === "user")?.key;
  // Whoever asks wants to see the answer; so does who opens a conversation.
  useEffect(() => {
    atEnd.current = true;
  }, [lastQuestion]);
  useLayoutEffect(() => {
    const node = root.current;
    if (node && atEnd.current) node.scrollTop = node.scrollHeight;
  });
  const scrolled = (): void => {
    const node = root.current;
    if (node) atEnd.current = node.scrollHeight - node.scrollTop - node.clientHeight < END_PIXELS;
  };
  return (
    <div
      className="messages"
      ref={root}
      role="log"
      aria-label="Messages"
      // What is said in a call is heard already; a screen reader would speak into it.
      aria-live={inCall ? "off" : "polite"}
      tabIndex={0}
      onScroll={scrolled}
    >
      {messages.length === 0 && <Empty voice={voice} />}
      {messages.map((message) =>
        message.role === "user" ? (
          <Question key={message.key} message={message} />
        ) : (
          <Answer key={message.key} message={message} {...rest} />
        ),
      )}
    </div>
  );
}

function Empty({ voice }: { voice: boolean }) {
  return (
    <div className="empty">
      <h2>What would you like to know?</h2>
      <p className="quiet">
        {voice ? "Talk or type. " : ""}Answers from the documents come with the passages that they rest on.
      </p>
    </div>
  );
}

function Question({ message }: { message: Message }) {
  return (
    <article className={`turn question ${message.state}`} aria-busy={message.state === "writing" || undefined}>
      <h2 className="visually-hidden">You{message.medium === "voice" ? ", in the call" : ""}</h2>
      <p className="text">{message.text}</p>
      {message.error !== undefined && (
        <p className="error" role="alert">
          {sentence(message.error)}
        </p>
      )}
    </article>
  );
}

function Answer({ message, freshLink, failed, standIn }: { message: Message } & Omit<MessagesProps, "messages" | "inCall" | "voice">) {
  const { state, text, citations, model, usage, error, retry } = message;
  const busy = state === "waiting" || state === "writing";
  return (
    // Busy: a screen reader speaks the answer once, when it is complete.
    <article className={`turn answer ${busy ? "waiting" : ""}`} aria-busy={busy || undefined}>
      <h2 className="visually-hidden">Parley</h2>
      <Tools tools={message.tools} />
      <p className="text">{text}</p>
      {message.interrupted && <p className="quiet interrupted">You interrupted here.</p>}
      {message.knowledge === "unavailable" && (
        <p className="quiet">Answered without the documents, which cannot be reached just now.</p>
      )}
      {state === "failed" && (
        <div className="failure">
          <p className="error" role="alert">
            {sentence(error)}
          </p>
          {retry && (
            <button type="button" onClick={retry}>
              Try again
            </button>
          )}
        </div>
      )}
      {citations.length > 0 && <Citations citations={citations} freshLink={freshLink} failed={failed} />}
      {(model || usage) && (
        <p className="quiet footer">
          {message.medium === "voice" && (
            <span className="medium">
              <Icon name="microphone" /> Spoken
            </span>
          )}
          {model && <span className="model">{standIn ? `${standIn} in place of ${model}` : model}</span>}
          {usage && <span className="cost">{usageLine(usage)}</span>}
        </p>
      )}
    </article>
  );
}

const TOOL_WORDS: Record<string, Record<ToolUse["status"], string>> = {
  search_knowledge: {
    started: "Searching the documents",
    done: "Searched the documents",
    failed: "The documents could not be searched",
  },
};

function Tools({ tools }: { tools: ToolUse[] }) {
  if (!tools.length) return null;
  return (
    <ul className="tools" aria-label="Tools used">
      {tools.map(({ name, status }, index) => (
        <li key={index} data-status={status}>
          <Icon name="tool" />
          {TOOL_WORDS[name]?.[status] ?? toolLine(name, status)}
        </li>
      ))}
    </ul>
  );
}

function toolLine(name: string, status: ToolUse["status"]): string {
  const words = name.replaceAll("_", " ");
  return { started: `Using ${words}`, done: `Used ${words}`, failed: `${words}: failed` }[status];
}

function usageLine({ input_tokens, output_tokens, cost_usd }: Usage): string {
  const tokens = `${input_tokens.toLocaleString("en")} tokens in, ${output_tokens.toLocaleString("en")} out`;
  if (cost_usd === null || cost_usd === undefined) return tokens;
  // A turn costs fractions of a cent: two significant digits, never in scientific notation.
  const digits = cost_usd === 0 ? 0 : Math.min(8, Math.max(2, 1 - Math.floor(Math.log10(cost_usd))));
  return `${tokens}, $${cost_usd.toFixed(digits)}`;
}
