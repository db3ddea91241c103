import { useEffect, useRef } from "react";
import type { Deletion } from "../api/api.js";
import { sentence } from "../errors.js";
import type { Job } from "../session/personal.js";
import { useStore } from "./hooks.js";
import { SENTENCES } from "./MyData.js";

/** In the place of the page while all that is the user's is being deleted. */
export function Deleting({ deletion, signOut }: { deletion: Job<Deletion>; signOut: () => void }) {
  const { record, asking, error } = useStore(deletion.store);
  const heading = useRef<HTMLHeadingElement>(null);
  const failed = record?.state === "failed";
  // What had the focus is gone: the page at first, then the button that tries again.
  useEffect(() => heading.current?.focus(), [failed]);
  const gone = Object.values(record?.deleted ?? {}).reduce((sum, count) => sum + count, 0);
  return (
    <main className="sign-in">
      <section className="card" aria-labelledby="deleting-title">
        <h1 id="deleting-title" ref={heading} tabIndex={-1}>
          Deleting your data
        </h1>
        {!failed && <p>This takes some minutes, and goes on when you close the page. You are signed out when all is gone.</p>}
        <p className="quiet state" role="status">
          {!failed && gone > 0 ? `${gone.toLocaleString("en")} entries are gone so far.` : ""}
        </p>
        <p className="error" role="alert">
          {error ? sentence(error, SENTENCES) : failed ? FAILED : ""}
        </p>
        <div className="buttons">
          <button type="button" onClick={signOut}>
            Sign out now
          </button>
          {failed && (
            <button type="button" className="danger" disabled={asking} onClick={() => void deletion.ask()}>
              Try again
            </button>
          )}
        </div>
      </section>
    </main>
  );
}

const FAILED = "The deletion stopped before all was gone. An operator has been told; you can also try again.";
