import type { Citation } from "./api.js";
import { ParleyError } from "./errors.js";

/** A little less than the 15 minutes that a link is valid, so that none ends on its way. */
const LINK_MS = 14 * 60 * 1000;

/** A link of now to a document's file; null while there is none. Throws `ParleyError`. */
export type FreshLink = (documentId: string) => Promise<string | null>;

/**
 * Makes `link` open a citation's document, at its page. The link that came with an answer soon ends, and an answer read
 * again later has none: then another one is asked for at the click. `failed` hears why there is none.
 */
export function linkToSource(
  link: HTMLAnchorElement,
  citation: Citation,
  fresh: FreshLink,
  failed: (error: unknown) => void,
): void {
  const endsAt = performance.now() + LINK_MS;
  link.href = citation.source_url ?? "#";
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.addEventListener("click", (event) => {
    if (citation.source_url && performance.now() < endsAt) return;
    event.preventDefault();
    // Opened at once: a browser refuses a window that comes later than the click.
    const tab = window.open("", "_blank");
    if (tab) tab.opener = null;
    void open(tab, citation, fresh).catch((error: unknown) => {
      tab?.close();
      failed(error);
    });
  });
}

async function open(tab: Window | null, { document_id, page }: Citation, fresh: FreshLink): Promise<void> {
  const url = await fresh(document_id).catch((error: unknown) => {
    if (error instanceof ParleyError && error.code === "not_found") return null;
    throw error;
  });
  if (!url) throw new ParleyError("no_source", "That document is not there any more.", false);
  if (!tab) throw new ParleyError("no_window", "The browser did not let the document open in a new tab.", true);
  tab.location.replace(page ? `${url}#page=${page}` : url);
}
