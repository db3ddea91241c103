import { type KeyboardEvent, type RefObject, useState } from "react";
import { Icon } from "./Icon.js";

interface ComposerProps {
  field: RefObject<HTMLTextAreaElement | null>;
  busy: boolean;
  /** Null where one cannot speak. */
  talk: { active: boolean; toggle: () => void; languages: string[]; language: string; choose: (language: string) => void } | null;
  /** Whether it was taken. */
  send: (message: string) => boolean;
}

/** Where one types, and the one button to talk. */
export function Composer({ field, busy, talk, send }: ComposerProps) {
  const [text, setText] = useState("");
  const submit = (): void => {
    const message = text.trim();
    if (message && send(message)) setText("");
  };
  const pressed = (event: KeyboardEvent): void => {
    // Enter also ends the composition of a character in many languages; that Enter is not ours.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label htmlFor="message" className="visually-hidden">
        Your message
      </label>
      <textarea
        id="message"
        ref={field}
        rows={1}
        placeholder="Ask a question"
        autoComplete="off"
        aria-describedby="composer-hint"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={pressed}
      />
      {talk && (
        <button type="button" className={`talk ${talk.active ? "danger" : "accent"}`} onClick={talk.toggle}>
          <Icon name={talk.active ? "hangUp" : "microphone"} />
          <span>{talk.active ? "Hang up" : "Talk"}</span>
        </button>
      )}
      <button type="submit" className="primary send" disabled={busy}>
        <Icon name="send" />
        <span>Send</span>
      </button>
      <div className="composer-foot">
        <p id="composer-hint" className="quiet">
          Enter sends, Shift and Enter starts a new line.
        </p>
        {talk && talk.languages.length > 1 && (
          <label className="quiet language">
            Spoken language{" "}
            <select value={talk.language} disabled={talk.active} onChange={(event) => talk.choose(event.target.value)}>
              {talk.languages.map((language) => (
                <option key={language} value={language}>
                  {languageName(language)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
    </form>
  );
}

function languageName(code: string): string {
  return new Intl.DisplayNames([code, "en"], { type: "language" }).of(code) ?? code;
}
