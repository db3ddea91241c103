import { type MouseEvent, useRef } from "react";
import type { Citation } from "../api/api.js";
import { type FreshLink, LINK_MS, openSource } from "../api/sources.js";

interface SourceProps {
  citation: Citation;
  freshLink: FreshLink;
  /** Hears why a document cannot be opened. */
  failed: (error: unknown) => void;
}

/** The passages that an answer rests on, each with a link to its document. */
export function Citations({ citations, ...rest }: { citations: Citation[] } & Omit<SourceProps, "citation">) {
  return (
    <section className="citations">
      <h3>{citations.length === 1 ? "Source" : "Sources"}</h3>
      <ol>
        {citations.map((citation) => (
          <li key={citation.id}>
            <Source citation={citation} {...rest} />
            <details>
              <summary>Passage</summary>
              <blockquote>{citation.text}</blockquote>
            </details>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Source({ citation, freshLink, failed }: SourceProps) {
  const endsAt = useRef(performance.now() + LINK_MS);
  const place = [citation.heading, citation.page && `page ${citation.page}`].filter(Boolean).join(", ");
  const open = (event: MouseEvent): void => {
    if (citation.source_url && performance.now() < endsAt.current) return;
    event.preventDefault();
    void openSource(citation, freshLink).catch(failed);
  };
  return (
    <a className="source" href={citation.source_url ?? "#"} target="_blank" rel="noopener noreferrer" onClick={open}>
      <span className="number">[{citation.id}]</span> <span className="document">{citation.document}</span>{" "}
      <span className="heading">{place}</span>
    </a>
  );
}
