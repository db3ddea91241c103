import { useEffect, useRef, useState } from "react";
import type { Config } from "../api/config.js";
import type { FreshLink } from "../api/sources.js";
import { sentence } from "../errors.js";
import type { Assistant } from "../session/assistant.js";
import type { ConnectionState } from "../session/connection.js";
import type { PersonalData } from "../session/personal.js";
import { CallPanel } from "./CallPanel.js";
import { Composer } from "./Composer.js";
import { Conversations } from "./Conversations.js";
import { useStore } from "./hooks.js";
import { Icon } from "./Icon.js";
import { Messages } from "./Messages.js";
import { MyData } from "./MyData.js";
import { useTheme } from "./theme.js";
import { Toolbar } from "./Toolbar.js";

const CONNECTION_WORDS: Record<ConnectionState, string> = {
  connecting: "Connecting",
  open: "Connected",
  lost: "Connection lost, trying again",
  closed: "",
};

interface WorkspaceProps {
  assistant: Assistant;
  personal: PersonalData;
  config: Config;
  freshLink: FreshLink;
  signOut: () => void;
}

/** The page of somebody who is signed in. */
export function Workspace({ assistant, personal, config, freshLink, signOut }: WorkspaceProps) {
  const { connection, busy, notice } = useStore(assistant.store);
  const { messages } = useStore(assistant.transcript.store);
  const { phase } = useStore(assistant.call.store);
  const [open, setOpen] = useState(false);
  const languages = config.languages ?? [];
  const [language, setLanguage] = useState(languages[0] ?? "");
  const toggle = useRef<HTMLButtonElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const myData = useRef<HTMLDialogElement>(null);
  const voice = config.voice !== false;
  const { active } = assistant.call;

  useEffect(() => field.current?.focus(), []);
  useEffect(() => {
    if (!open) return;
    const escape = (event: KeyboardEvent): void => {
      // A dialog is closed by its own Escape, and by nothing else.
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      setOpen(false);
      toggle.current?.focus();
    };
    document.addEventListener("keydown", escape);
    return () => document.removeEventListener("keydown", escape);
  }, [open]);

  const talk = {
    active,
    toggle: () => (active ? assistant.call.hangUp() : void assistant.talk(language || undefined)),
    languages,
    language,
    choose: setLanguage,
  };
  const chosen = (): void => {
    setOpen(false);
    field.current?.focus();
  };
  const showMyData = (): void => {
    myData.current?.showModal();
    void personal.exporting.look();
  };
  return (
    <div className="chat">
      <header>
        <button
          type="button"
          ref={toggle}
          className="icon-button drawer"
          aria-expanded={open}
          aria-controls="conversations"
          aria-label="Conversations"
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "close" : "menu"} />
        </button>
        <h1>
          <img src="/icon.svg" alt="" width="24" height="24" /> Parley
        </h1>
        {config.environment && <span className="badge">{config.environment}</span>}
        <span id="connection" className="connection" role="status" data-state={connection}>
          <span>{CONNECTION_WORDS[connection]}</span>
        </span>
        <ThemeSwitch />
        <button type="button" className="plain" onClick={signOut}>
          Sign out
        </button>
      </header>
      <Conversations assistant={assistant} config={config} open={open} chosen={chosen} showMyData={showMyData} />
      <main>
        <Toolbar assistant={assistant} removed={() => field.current?.focus()} />
        <Messages
          messages={messages}
          freshLink={freshLink}
          failed={(error) => assistant.report(error)}
          standIn={config.model}
          voice={voice}
          inCall={active}
        />
        {Boolean(notice) && (
          <div className="notice error">
            <p role="alert">{sentence(notice)}</p>
            <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => assistant.dismiss()}>
              <Icon name="close" />
            </button>
          </div>
        )}
        {phase !== "idle" && <CallPanel call={assistant.call} />}
        <Composer field={field} busy={busy} talk={voice ? talk : null} send={(message) => assistant.send(message)} />
      </main>
      <MyData dialog={myData} personal={personal} auth={config.auth} />
    </div>
  );
}

function ThemeSwitch() {
  const [theme, next] = useTheme();
  return (
    <button type="button" className="icon-button" aria-label={`Theme: ${theme}`} title={`Theme: ${theme}`} onClick={next}>
      <Icon name={theme} />
    </button>
  );
}
