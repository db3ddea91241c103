import { type MouseEvent, type RefObject, useRef, useState } from "react";
import type { Export } from "../api/api.js";
import type { Config } from "../api/config.js";
import { sentence } from "../errors.js";
import type { PersonalData } from "../session/personal.js";
import { useStore } from "./hooks.js";

/** What other errors are in the middle of a conversation. */
export const SENTENCES = { store_unavailable: "Your data cannot be reached just now. Try again in a moment." };

/** Typed to delete everything, so that no slip of a finger does. */
const WORD = "delete";

interface MyDataProps {
  dialog: RefObject<HTMLDialogElement | null>;
  personal: PersonalData;
  auth: Config["auth"];
}

/** The dialog in which people take all that is theirs along, or have it deleted. */
export function MyData({ dialog, personal, auth }: MyDataProps) {
  const question = useRef<HTMLDialogElement>(null);
  return (
    <>
      <dialog ref={dialog} className="card my-data-card" aria-labelledby="my-data-title" onClose={() => personal.exporting.leave()}>
        <h2 id="my-data-title">My data</h2>
        <ExportSection personal={personal} />
        <section aria-labelledby="delete-data-title">
          <h3 id="delete-data-title">Delete</h3>
          <p>Everything that is yours goes for good, and you are signed out.</p>
          <button type="button" className="danger" onClick={() => question.current?.showModal()}>
            Delete my data
          </button>
        </section>
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
      </dialog>
      <DeleteQuestion dialog={question} personal={personal} auth={auth} />
    </>
  );
}

function ExportSection({ personal }: { personal: PersonalData }) {
  const { record, asking, error } = useStore(personal.exporting.store);
  // After its days an export has no archives any more.
  const known = record && new Date(record.kept_until).getTime() > Date.now() ? record : null;
  const ready = known?.state === "ready" ? known : null;
  return (
    <section aria-labelledby="export-data-title">
      <h3 id="export-data-title">Export</h3>
      <p>A ZIP file of your conversations, recordings, calls and documents.</p>
      <p className="state" role="status">
        {asking ? "Asking for your export…" : exportLine(known)}
      </p>
      {ready && <Archives personal={personal} record={ready} />}
      <p className="error" role="alert">
        {error ? sentence(error, SENTENCES) : ""}
      </p>
      <button
        type="button"
        className={ready ? "" : "primary"}
        // Not disabled, which would take the focus away.
        aria-disabled={asking || known?.state === "running"}
        onClick={() => known?.state !== "running" && void personal.exporting.ask()}
      >
        {ready ? "Make a new export" : "Export my data"}
      </button>
    </section>
  );
}

function exportLine(record: Export | null): string {
  switch (record?.state) {
    case "running":
      return "Your export is being made. That may take some minutes, and goes on when you close this.";
    case "ready": {
      const day = new Date(record.kept_until).toLocaleDateString([], { day: "numeric", month: "long" });
      return record.archives.length === 1 ? `Your export is ready, until ${day}.` : `Your export is ready, in ${record.archives.length} files, until ${day}.`;
    }
    case "failed":
      return "Your export could not be made. Ask for it again.";
    default:
      return "";
  }
}

function Archives({ personal, record }: { personal: PersonalData; record: Export }) {
  const open = (event: MouseEvent, name: string): void => {
    if (personal.linksWork) return;
    event.preventDefault();
    void personal.freshLink(name).then((url) => url && location.assign(url));
  };
  return (
    <ul className="archives" aria-label="Files of your export">
      {record.archives.map(({ name, size, url }) => (
        <li key={name}>
          <a href={url} download={name} onClick={(event) => open(event, name)}>
            Download {name}
          </a>{" "}
          <span className="quiet">{fileSize(size)}</span>
        </li>
      ))}
    </ul>
  );
}

/** Bytes as people say them, in powers of 1,000. */
function fileSize(bytes: number): string {
  const units = ["kilobyte", "megabyte", "gigabyte"];
  const power = Math.min(units.length, Math.max(1, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const format = { style: "unit", unit: units[power - 1] ?? "kilobyte", maximumFractionDigits: 1 } as const;
  return new Intl.NumberFormat("en", format).format(Math.max(0.1, bytes / 1_000 ** power));
}

function DeleteQuestion({ dialog, personal, auth }: MyDataProps) {
  const { asking, error } = useStore(personal.deletion.store);
  const [typed, setTyped] = useState("");
  const sure = typed.trim().toLowerCase() === WORD;
  const closed = (): void => {
    setTyped("");
    // What has been asked for happens, also when its answer is not waited for.
    if (!asking) personal.deletion.leave();
  };
  return (
    <dialog ref={dialog} className="card" aria-labelledby="delete-all-title" aria-describedby="delete-all-what" onClose={closed}>
      <h2 id="delete-all-title">Delete all your data?</h2>
      <div id="delete-all-what" className="what">
        <p>
          Your conversations, recordings, calls, documents and exports are deleted, and{" "}
          {auth === "cognito" ? "so is your account" : "so are your API keys"}. Documents that everybody shares stay.
        </p>
        <p>Nobody can bring it back. Export first what you want to keep.</p>
      </div>
      <form
        className="fields"
        onSubmit={(event) => {
          event.preventDefault();
          if (sure) void personal.deletion.ask();
        }}
      >
        <label>
          Type “{WORD}” to confirm
          <input autoFocus required value={typed} autoComplete="off" autoCapitalize="none" spellCheck={false} onChange={(event) => setTyped(event.target.value)} />
        </label>
        <p className="error" role="alert">
          {error ? sentence(error, SENTENCES) : ""}
        </p>
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Keep my data
          </button>
          <button type="submit" className="danger" disabled={!sure || asking}>
            {asking ? "Asking…" : "Delete everything"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
