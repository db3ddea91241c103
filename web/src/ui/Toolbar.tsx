import { useRef } from "react";
import type { Assistant } from "../session/assistant.js";
import { markdown } from "../session/markdown.js";
import { useStore } from "./hooks.js";
import { Icon } from "./Icon.js";

/** What can be done with the open conversation. `removed` follows its deletion. */
export function Toolbar({ assistant, removed }: { assistant: Assistant; removed: () => void }) {
  const { conversationId, conversations } = useStore(assistant.store);
  const question = useRef<HTMLDialogElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  if (!conversationId) return null;
  const title = conversations?.find((one) => one.conversation_id === conversationId)?.title || "This conversation";

  const download = async (kind: "md" | "json"): Promise<void> => {
    menu.current?.hidePopover();
    const conversation = await assistant.exported(conversationId);
    if (!conversation) return;
    const text = kind === "json" ? JSON.stringify(conversation, null, 2) : markdown(conversation);
    save(text, `conversation-${conversationId}.${kind}`, kind === "json" ? "application/json" : "text/markdown");
  };
  const remove = async (): Promise<void> => {
    question.current?.close();
    if (await assistant.removeConversation(conversationId)) removed();
  };

  return (
    <div className="toolbar">
      <h2>{title}</h2>
      <button type="button" className="plain" popoverTarget="export">
        <Icon name="download" /> <span>Export</span>
      </button>
      <div id="export" className="menu" popover="auto" ref={menu} aria-label="Export">
        <button type="button" className="plain" onClick={() => void download("md")}>
          As text (Markdown)
        </button>
        <button type="button" className="plain" onClick={() => void download("json")}>
          As data (JSON)
        </button>
      </div>
      <button type="button" className="plain" onClick={() => question.current?.showModal()}>
        <Icon name="trash" /> <span>Delete</span>
      </button>
      <dialog ref={question} className="card" aria-labelledby="delete-title">
        <h2 id="delete-title">Delete this conversation?</h2>
        <p>“{title}” and all its messages go for good.</p>
        <div className="buttons">
          <button type="button" autoFocus onClick={() => question.current?.close()}>
            Keep it
          </button>
          <button type="button" className="danger" onClick={() => void remove()}>
            Delete it
          </button>
        </div>
      </dialog>
    </div>
  );
}

function save(text: string, name: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  // The browser has taken the file by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
